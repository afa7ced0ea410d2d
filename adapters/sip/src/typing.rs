//! Whether somebody is writing (RFC 3994), both ways (shared/protocols/interworking.md §3.4). Nothing of it is stored, repeated or bounced.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{Now, Output};
use interchange_model::{Body, Envelope, LinkId, MessageId, Typing, TypingState, Up};
use rand::RngExt;
use simple_codec::composing::Composing;
use sip_adapter::Host as _;
use sip_codec::{ContentType, Method, Name, NameAddr, Request, RequestBuilder, Unencodable, Value};
use sip_stack::ClientId;

use crate::outbox::Pair;
use crate::timers::{Alarm, Sleeper};
use crate::translate::TRACE;
use crate::{Asked, Sip, address};

/// What we ask for: a state that is not repeated for so long is over (RFC 3994 §3.2: not less than 60).
const REFRESH: u32 = 60;
/// The longest that a peer's state is believed.
const LONGEST: u32 = 600;
/// How long somebody whose client does not take this is not told of it.
const NOT_TAKEN: Duration = Duration::from_secs(24 * 60 * 60);
/// How long after their last message somebody is told of it.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// Conversations that are remembered, each way; of more, nothing is told.
const MOST: usize = 50_000;

/// Who writes to whom.
#[derive(Default)]
pub(crate) struct TypingStates {
    /// People of other platforms and ours, who have written to them.
    out: HashMap<Pair, Outgoing>,
    /// Ours who are writing, until then.
    writing: HashMap<Pair, (LinkId, Instant)>,
    ends: BTreeSet<(Instant, u64)>,
    numbers: HashMap<u64, Pair>,
    last: u64,
    asked: HashMap<ClientId, Pair>,
    alarm: Alarm,
}

struct Outgoing {
    /// When the person last wrote, or took what we told.
    welcome: Instant,
    refused: Option<Instant>,
    /// Since when the person has been told that the other writes.
    active: Option<Instant>,
}

impl Sip {
    /// One of the member's people has written to somebody: so that somebody's typing is welcome.
    pub(crate) fn note_words(&mut self, now: Now, from: &interchange_model::Address, to: &interchange_model::Address) {
        let out = &mut self.typing.out;
        if out.len() >= MOST {
            out.retain(|_, one| now.instant < one.welcome + MEMORY);
        }
        if out.len() < MOST {
            let one =
                out.entry((to.clone(), from.clone())).or_insert(Outgoing { welcome: now.instant, refused: None, active: None });
            one.welcome = now.instant;
        }
        // Words are the end of writing them.
        self.typing.writing.remove(&(from.clone(), to.clone()));
    }

    /// The other has written to one of the member's people, which is the end of writing it.
    pub(crate) fn note_words_out(&mut self, from: &interchange_model::Address, to: &interchange_model::Address) {
        if let Some(one) = self.typing.out.get_mut(&(from.clone(), to.clone())) {
            one.active = None;
        }
    }

    /// The broker tells that somebody writes, or has stopped.
    pub(crate) fn typing(&mut self, now: Now, link: &LinkId, envelope: &Arc<Envelope>, typing: &Typing) {
        if let Some(number) = self.names.get(link).copied()
            && self.type_in_session(now, number, envelope, typing)
        {
            return;
        }
        let pair = (envelope.from.clone(), envelope.to.clone());
        // Case 33: nothing to whoever has never written.
        let Some(one) = self.typing.out.get_mut(&pair) else { return };
        if now.instant >= one.welcome + MEMORY || one.refused.is_some_and(|until| now.instant < until) {
            return;
        }
        let is_active = typing.state == TypingState::Composing;
        let repeat = Duration::from_secs(REFRESH.into());
        let is_news = match one.active {
            Some(since) => !is_active || now.instant >= since + repeat,
            None => is_active,
        };
        if !is_news {
            return;
        }
        one.active = is_active.then_some(now.instant);
        let Ok(request) = self.build_composing(envelope, is_active) else { return };
        let sent = self.send_told(now, link, request, Asked::Typing);
        if let Some(client) = sent {
            self.typing.asked.insert(client, pair);
        }
    }

    fn build_composing(&mut self, envelope: &Envelope, is_active: bool) -> Result<RequestBuilder, Unencodable> {
        let to = address::to_uri(&envelope.to)?;
        let call = self.new_call_id();
        let tag = self.layer.new_tag();
        let composing =
            Composing { is_active, refresh: is_active.then_some(REFRESH), content_type: Some("text/plain".to_owned()) };
        let request = Request::builder(Method::Message, to.clone())
            .from(NameAddr::new(address::to_uri(&envelope.from)?).with_tag(&tag)?)
            .to(NameAddr::new(to))
            .call_id(&call)?
            .cseq(1)
            .max_forwards(envelope.hops.min(Envelope::FULL_HOPS))
            .header(Name::Expires, Value::from(REFRESH))?
            .named_header(TRACE, Value::new(&format!("{};hub={}", envelope.id, self.hub.mark))?)?;
        Ok(request.body(ContentType::new("application", "im-iscomposing+xml")?, composing.write()))
    }

    /// The answer to what was told of typing; `None`: there was none.
    pub(crate) fn typing_answered(&mut self, now: Now, client: ClientId, status: Option<u16>) {
        let Some(pair) = self.typing.asked.remove(&client) else { return };
        let Some(one) = self.typing.out.get_mut(&pair) else { return };
        match status {
            Some(200..=299) => one.welcome = now.instant,
            // Case 34: the client, or the server on the way, does not take it.
            Some(405 | 406 | 415 | 488 | 501 | 606) => one.refused = Some(now.instant + NOT_TAKEN),
            _ => one.active = None,
        }
    }

    /// An isComposing document from one of the member's people.
    pub(crate) fn take_composing(&mut self, now: Now, number: u64, pair: Pair, composing: &Composing) {
        let Some(link) = self.links.get(&number).map(|link| link.id.clone()) else { return };
        let state = if composing.is_active {
            let seconds = composing.refresh.unwrap_or(Composing::REFRESH).clamp(1, LONGEST);
            let until = now.instant + Duration::from_secs(seconds.into());
            self.watch_writing(link.clone(), pair.clone(), until);
            TypingState::Composing
        } else {
            self.typing.writing.remove(&pair);
            TypingState::Paused
        };
        self.tell_typing(now, &link, &pair, state);
    }

    fn watch_writing(&mut self, link: LinkId, pair: Pair, until: Instant) {
        if self.typing.writing.len() >= MOST {
            return;
        }
        self.typing.last += 1;
        let number = self.typing.last;
        self.typing.writing.insert(pair.clone(), (link, until));
        self.typing.numbers.insert(number, pair);
        self.typing.ends.insert((until, number));
        self.arm_typing();
    }

    /// Somebody has not said for long that they still write (case 35).
    pub(crate) fn wake_typing(&mut self, now: Now) {
        self.typing.alarm.rang();
        while let Some((at, number)) = self.typing.ends.first().copied()
            && at <= now.instant
        {
            self.typing.ends.pop_first();
            let Some(pair) = self.typing.numbers.remove(&number) else { continue };
            let is_over = self.typing.writing.get(&pair).is_some_and(|(_, until)| *until <= now.instant);
            if is_over && let Some((link, _)) = self.typing.writing.remove(&pair) {
                self.tell_typing(now, &link, &pair, TypingState::Paused);
            }
        }
        self.arm_typing();
    }

    fn arm_typing(&mut self) {
        let next = self.typing.ends.first().map(|(at, _)| *at);
        self.timers.set(&mut self.typing.alarm, Sleeper::Typing, next);
    }

    pub(crate) fn tell_typing(&mut self, now: Now, link: &LinkId, pair: &Pair, state: TypingState) {
        let id = MessageId::new(now.wall, self.random.random());
        let body = Body::Typing(Typing { state, conversation: None });
        let envelope = Envelope::new(id, link.clone(), pair.clone(), now.wall, body);
        self.out.push(Output::Broker(Up::Tell { link: link.clone(), envelope: Arc::new(envelope) }));
    }
}
