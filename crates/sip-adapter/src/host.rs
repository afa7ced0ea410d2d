//! What an adapter lends to what is built for every kind of SIP.

use std::net::SocketAddr;

use interchange_adapter::{ConnId, Now, Output};
use interchange_model::{Address, LinkId, Refusal, Token};
use rand::rngs::StdRng;
use sip_codec::Request;
use sip_model::address::AddressFault;
use sip_stack::{Action, Refused, ServerId, TransactionLayer};

/// A request of a peer that is to be answered.
pub struct Open {
    /// Its transaction.
    pub server: ServerId,
    /// Where it came from.
    pub conn: ConnId,
    /// What its Via gets as `received` and `rport`; `None` where no Via may be touched.
    pub source: Option<SocketAddr>,
    /// Itself.
    pub request: Box<Request>,
}

/// Why a request is refused, before the platform has put it into its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusing {
    /// By the rules of the protocol.
    Rules(Refused),
    /// The hub, or the other side, does not want it.
    Why(Refusal),
    /// Its Request-URI is no person's.
    Address(AddressFault),
}

impl From<u16> for Refusing {
    fn from(status: u16) -> Self {
        Refusing::Rules(Refused::of(status))
    }
}

/// What every adapter of a kind of SIP has.
pub struct Tools<'a> {
    /// For ids and for spreading what would come all at once.
    pub random: &'a mut StdRng,
    /// Transactions.
    pub layer: &'a mut TransactionLayer,
    /// What the transaction layer wants done.
    pub actions: &'a mut Vec<Action>,
    /// What the adapter will say.
    pub out: &'a mut Vec<Output>,
}

/// An adapter of a kind of SIP, as what is built for every kind of it sees it.
pub trait Host: Sized {
    /// What it is made of.
    fn tools(&mut self) -> Tools<'_>;

    /// A token that was never given before.
    fn new_token(&mut self) -> Token;

    /// A Call-ID that was never given before.
    fn new_call_id(&mut self) -> String;

    /// Whether the hub stops: nothing new is begun.
    fn is_stopped(&self) -> bool;

    /// Whether requests can be sent on a link now.
    fn is_up(&self, link: &LinkId) -> bool;

    /// Whether a connection is one of a link's peer.
    fn is_of(&self, conn: ConnId, link: &LinkId) -> bool;

    /// Whose a request that begins something is: the sender, and the link of its connection that has the sender's domain.
    ///
    /// # Errors
    /// There is no such link, or no such sender.
    fn sender(&self, open: &Open) -> Result<(LinkId, Address), Refusing>;

    /// Answers 200.
    fn answer_ok(&mut self, now: Now, open: &Open);

    /// Answers with 300 or more, in the platform's own words.
    fn answer_refusing(&mut self, now: Now, open: &Open, why: Refusing);
}
