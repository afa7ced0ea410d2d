//! In what platforms differ about presence.

use std::ops::Range;
use std::time::{Duration, Instant};

use interchange_adapter::Now;
use interchange_model::{Address, LinkId, Presence};
use serde::{Deserialize, Serialize};
use sip_codec::{ContentType, Request, RequestBuilder, Response, Unencodable};
use sip_stack::ClientId;

use super::{Asked, Key, Presences, SUBSCRIBE_STEP};
use crate::{Host, Open, Refusing};

/// The numbers and words of a platform.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Accept of our SUBSCRIBEs.
    pub accept: &'static str,
    /// Statuses by which a presentity, or a server without presence, does not let a watcher see, now or later.
    pub refused_by: &'static [u16],
    /// By how much the pauses after failures are multiplied, so that they do not end all at once.
    pub spread: Range<f64>,
    /// The shortest subscription that is granted, in seconds.
    pub least_expires: u32,
    /// A shorter one is refused (RFC 6665 §4.2.1.1), and not made longer.
    pub refuses_brief: bool,
    /// A watcher who may not see yet is told so, and not that nothing is known.
    pub has_pending: bool,
    /// Whoever may no longer see is shown nobody there at the end: a client keeps the state that the last document does not name.
    pub hides_at_end: bool,
    /// A SUBSCRIBE in a dialog whose CSeq is not above the last one is refused (RFC 3261 §12.2.2).
    pub is_ordered: bool,
}

/// What has been seen of a presentity.
pub trait Seen: Default {
    /// A document, or what was read from one.
    type Document;

    /// A NOTIFY came, perhaps with a document. `is_whole`: it is the first since the person was asked about.
    fn update(&mut self, document: Option<Self::Document>, is_whole: bool);

    /// The same as every platform understands it.
    fn presence(&self) -> Presence;
}

/// How a watcher wants to be told, as one word: what is kept over a restart of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptManner {
    /// The value of Event.
    Event(String),
    /// The media type of the documents.
    Form(String),
}

/// A platform with presence.
pub trait Dialect: Host {
    /// How a watcher of the platform wants to be told.
    type Manner;
    /// What has been seen of a presentity.
    type Seen: Seen;

    /// Its numbers and words.
    const TERMS: Terms;

    /// All of presence.
    fn presences(&mut self) -> &mut Presences<Self>;

    /// Sees to it that [`Engine::wake_presence`](super::Engine::wake_presence) is called then.
    fn arm(&mut self, at: Option<Instant>);

    /// Sends a request on a link; `None`: the link is not up. The answer is for
    /// [`Engine::presence_answered`](super::Engine::presence_answered).
    fn send(&mut self, now: Now, link: &LinkId, request: RequestBuilder, asked: Asked) -> Option<ClientId>;

    /// Adds to a request what every one of the platform has. `begins`: it is to begin a dialog.
    ///
    /// # Errors
    /// [`Unencodable`]
    fn sign(&self, request: RequestBuilder, link: &LinkId, key: Key, begins: bool) -> Result<RequestBuilder, Unencodable>;

    /// The 200 to a SUBSCRIBE; `tag`: it begins the dialog.
    ///
    /// # Errors
    /// [`Unencodable`]
    fn granted(&self, open: &Open, link: &LinkId, key: Key, tag: Option<&str>, expires: u32) -> Result<Response, Unencodable>;

    /// How the watcher who sends a SUBSCRIBE wants to be told, and was told before.
    ///
    /// # Errors
    /// Nothing that is accepted can be written.
    fn read_manner(request: &Request, before: Option<&Self::Manner>) -> Result<Self::Manner, Refusing>;

    /// The value of Event in what the watcher is sent.
    fn event(_manner: &Self::Manner) -> &str {
        "presence"
    }

    /// How the watcher wants to be told, to be kept.
    fn keep(manner: &Self::Manner) -> KeptManner;

    /// What was kept of that; `None`: nobody understands it any more.
    fn of_kept(kept: KeptManner) -> Option<Self::Manner>;

    /// What a body says of the presentity.
    ///
    /// # Errors
    /// The status with which it is refused: it cannot be read, or is of somebody else (abuse case 6).
    fn read(media: &ContentType, body: &[u8], of: &Address) -> Result<<Self::Seen as Seen>::Document, u16>;

    /// The body of a NOTIFY; `state`: what the watcher may see, if that is known.
    ///
    /// # Errors
    /// [`Unencodable`]
    fn write(
        manner: &Self::Manner,
        of: &Address,
        state: Option<&Presence>,
        now: Now,
    ) -> Result<Option<(ContentType, String)>, Unencodable>;

    /// What the answer to our SUBSCRIBE says of the presentity, where platforms say something there.
    fn read_answer(_response: &Response, _of: &Address) -> Option<<Self::Seen as Seen>::Document> {
        None
    }

    /// Whether a request in a dialog is for it by more than Call-ID and tags. `watcher`: whose dialog it is, where one of the member's people has begun it.
    fn is_for(_request: &Request, _key: Key, _watcher: Option<&Address>) -> bool {
        true
    }

    /// Somebody over a link is watched from now on.
    fn attend(&mut self, _now: Now, _link: &LinkId) {}

    /// Whether one more person over a link may be addressed.
    fn may_address(&mut self, _link: &LinkId, _person: &Address) -> bool {
        true
    }

    /// Takes the room for a NOTIFY.
    ///
    /// # Errors
    /// When there will be room.
    fn pace(&mut self, _now: Now, _link: &LinkId) -> Result<(), Instant> {
        Ok(())
    }

    /// Between two SUBSCRIBEs on a link.
    fn step(&self, _link: &LinkId) -> Duration {
        SUBSCRIBE_STEP
    }
}
