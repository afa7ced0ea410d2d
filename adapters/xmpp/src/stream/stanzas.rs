//! What happens to the stanzas of an incoming stream, and how they are acknowledged (XEP-0198).

use std::sync::Arc;

use bytes::Bytes;
use interchange_adapter::{CloseReason, Now};
use interchange_model::{Address, Body, Device, Domain, Envelope, Failure, Presence, Receipt, Refusal, Up, Watch};

use super::inbound::{Inbound, State};
use crate::address::{Jid, JidError};
use crate::codec::{Element, Namespace};
use crate::core::{Bounce, Core, Submission, bytes_of, pair_key};
use crate::errors::{StanzaError, StreamError, refusal_of};
use crate::pair::PairKey;
use crate::relay;
use crate::sink::Sink;
use crate::translate::{
    Content, native_id, native_of_message, native_of_presence, push_answer, push_end, push_error, push_refusal, to_content,
    to_presence, watch_of,
};

/// An incoming stanza whose two domains the stream may speak for.
struct Stanza<'a> {
    element: Element<'a>,
    /// The place of the proved pair.
    pair: usize,
    from: Jid,
    to: Jid,
}

/// An answer to a request, which must not overtake what happens to the stanzas before it.
#[derive(Debug)]
pub(super) struct Held {
    /// The place of the request.
    place: u64,
    key: PairKey,
    reply: Bytes,
}

impl Inbound {
    /// A stanza came.
    pub(super) fn stanza(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, element: Element<'_>) {
        // Abuse case 17.
        if self.pairs.is_empty() {
            return self.fail(core, sink, StreamError::NotAuthorized, "", CloseReason::Refused);
        }
        // RFC 6120 §8.1.1.2, §8.1.2.2: between servers both are there.
        let (Some(from), Some(to)) = (element.attribute("from"), element.attribute("to")) else {
            return self.fail(core, sink, StreamError::ImproperAddressing, "", CloseReason::Malformed);
        };
        let known: [&Domain; 2] =
            self.pairs.get(self.last).or(self.pairs.first()).map_or([&self.pairs[0].own; 2], |pair| [&pair.own, &pair.partner]);
        let (from, to) = (Jid::parse(from, &known), Jid::parse(to, &known));
        if matches!(from, Err(JidError::Domain)) || matches!(to, Err(JidError::Domain)) {
            return self.fail(core, sink, StreamError::ImproperAddressing, "", CloseReason::Malformed);
        }
        let (Ok(from), Ok(to)) = (from, to) else {
            self.count();
            // Whose address it is cannot be told from what does not parse; both domains are looked at again by whoever answers.
            self.malformed_address(now, core, sink, element);
            return;
        };
        let Some(pair) = self.find(&to.domain, &from.domain) else { return self.not_proved(core, sink, element, &from, &to) };
        self.last = pair;
        let place = self.count();
        let stanza = Stanza { element, pair, from, to };
        let done = match element.name() {
            "message" => self.message(now, core, sink, &stanza, place),
            "iq" => {
                self.iq(now, core, sink, &stanza, place);
                true
            }
            _ => self.presence(now, core, sink, &stanza, place),
        };
        if done {
            self.done(now, core, sink, place);
        }
    }

    /// A stanza between domains that this stream may not speak for or to: the stream ends (RFC 6120 §4.9.3.9, §4.9.3.7, §4.9.3.6).
    fn not_proved(&mut self, core: &mut Core, sink: &mut Sink<'_>, element: Element<'_>, from: &Jid, to: &Jid) {
        let ours = self.pairs.iter().find(|pair| pair.partner == from.domain);
        let (error, why) = match ours {
            // Abuse case 1.
            None => (StreamError::InvalidFrom, Some(Refusal::NotYours)),
            Some(pair) if core.directory.hosts_for(&to.domain, &pair.link) => (StreamError::ImproperAddressing, None),
            Some(_) => (StreamError::HostUnknown, Some(Refusal::UnknownDomain)),
        };
        let link = ours.unwrap_or(&self.pairs[0]).link.id.clone();
        if let (Some(why), Some(from), Some(to), "message") = (why, from.person(), to.person(), element.name()) {
            sink.broker(Up::Refused { link, from, to, why });
        }
        self.fail(core, sink, error, "", CloseReason::Refused);
    }

    /// A user part or a resource is wrong: that is an error of the stanza alone (RFC 6120 §8.3.3.8), if the domains are proved.
    fn malformed_address(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, element: Element<'_>) {
        let domain = |name| {
            let bare = element.attribute(name)?.split('/').next()?;
            Domain::parse(bare.split_once('@').map_or(bare, |(_, domain)| domain)).ok()
        };
        let (Some(partner), Some(own)) = (domain("from"), domain("to")) else { return };
        if self.find(&own, &partner).is_none() {
            return self.fail(core, sink, StreamError::InvalidFrom, "", CloseReason::Refused);
        }
        let place = self.counted - 1;
        // An answer to an address that is itself wrong would be wrong; the operator is told instead.
        match Jid::parse(element.attribute("from").unwrap_or_default(), &[]) {
            Ok(_) => self.answer_error(now, core, sink, element, (&own, &partner), StanzaError::JID_MALFORMED),
            Err(fault) => sink.note(self.conn, &format!("a stanza from {partner} to {own} was dropped for its sender: {fault}")),
        }
        self.done(now, core, sink, place);
    }

    /// Answers a stanza by an error, where one may be sent.
    fn answer_error(
        &self,
        now: Now,
        core: &mut Core,
        sink: &mut Sink<'_>,
        element: Element<'_>,
        (own, partner): (&Domain, &Domain),
        error: StanzaError,
    ) {
        // RFC 6120 §8.3.1: never an error for an error; RFC 6121 §5.2.2: none for a headline; presence without a type is
        // news, and wants no answer.
        let silent = match (element.name(), element.attribute("type")) {
            (_, Some("error")) | ("message", Some("headline")) | ("iq", Some("result")) => true,
            ("presence", kind) => !matches!(kind, Some("subscribe" | "probe")),
            _ => false,
        };
        if !silent {
            let reply = bytes_of(|out| push_error(out, element, error));
            core.reply(now, sink, &pair_key(own, partner), reply);
        }
    }

    fn refuse(&self, now: Now, core: &mut Core, sink: &mut Sink<'_>, stanza: &Stanza<'_>, error: StanzaError) {
        let pair = &self.pairs[stanza.pair];
        self.answer_error(now, core, sink, stanza.element, (&pair.own, &pair.partner), error);
    }

    /// A message. Whether it is done already: not if it was submitted.
    fn message(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, stanza: &Stanza<'_>, place: u64) -> bool {
        let link = self.pairs[stanza.pair].link.id.clone();
        if stanza.element.attribute("type") == Some("error") {
            return self.bounce(now, core, sink, stanza, place);
        }
        let people = (stanza.from.person(), stanza.to.person());
        let preferred = people.1.as_ref().and_then(|to| core.language(to));
        let refuse = match (to_content(stanza.element, self.header.language.as_deref(), preferred), people) {
            (Content::Nothing | Content::Forged, _) => return true,
            (Content::Room, _) => (StanzaError::SERVICE_UNAVAILABLE, Refusal::Unsupported),
            (Content::Refused(Refusal::TooLarge), _) => (StanzaError::TOO_LARGE, Refusal::TooLarge),
            (Content::Refused(why), _) => (StanzaError::of(why), why),
            (Content::Text(text), (Some(from), Some(to))) => {
                let native = native_of_message(stanza.element, &stanza.from.domain);
                let native_id = native_id(stanza.element);
                let envelope = self.envelope(now, core, stanza, (from, to), Body::Text(text));
                core.submit(sink, self.conn, place, Envelope { native, native_id, ..envelope });
                return false;
            }
            (Content::Receipt(id, what), (Some(from), Some(to))) => {
                // Of a message that went out under a reference of ours, or under its XMPP sender's own id.
                let (of, native_id) = match core.references.read(&id, &to, &from) {
                    Some((of, native_id)) => (Some(of), native_id),
                    None => (None, Some(Arc::from(id))),
                };
                let native = native_of_message(stanza.element, &stanza.from.domain);
                let body = Body::Receipt(Receipt { of, native_id, what });
                let envelope = self.envelope(now, core, stanza, (from, to), body);
                core.submit(sink, self.conn, place, Envelope { native, ..envelope });
                return false;
            }
            (Content::Typing(typing), (Some(from), Some(to))) => {
                let native = native_of_message(stanza.element, &stanza.from.domain);
                let envelope = self.envelope(now, core, stanza, (from, to), Body::Typing(typing));
                sink.broker(Up::Tell { link, envelope: Arc::new(Envelope { native, ..envelope }) });
                return true;
            }
            // Nobody waits for what becomes of these.
            (Content::Receipt(..) | Content::Typing(_), _) => return true,
            // A domain, ours or theirs, is not a person.
            (_, (_, None)) if stanza.to.user.is_some() => (StanzaError::JID_MALFORMED, Refusal::Malformed),
            _ => (StanzaError::SERVICE_UNAVAILABLE, Refusal::Unsupported),
        };
        self.refuse(now, core, sink, stanza, refuse.0);
        if let (Some(from), Some(to)) = (stanza.from.person(), stanza.to.person()) {
            sink.broker(Up::Refused { link, from, to, why: refuse.1 });
        }
        true
    }

    /// An envelope of what a stanza says.
    fn envelope(&self, now: Now, core: &mut Core, stanza: &Stanza<'_>, (from, to): (Address, Address), body: Body) -> Envelope {
        let link = self.pairs[stanza.pair].link.id.clone();
        let (from_device, to_device) = (stanza.from.device(), stanza.to.device());
        Envelope { from_device, to_device, ..Envelope::new(core.message_id(now), link, (from, to), now.wall, body) }
    }

    /// An error for a message of ours. Its text, and whatever it repeats, goes no further.
    fn bounce(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, stanza: &Stanza<'_>, place: u64) -> bool {
        let (Some(id), Some(to)) = (stanza.element.attribute("id"), stanza.to.person()) else { return true };
        let from = stanza.from.person();
        // From somebody whose address cannot be told, no one would know what to do with it.
        if from.is_none() && stanza.from.user.is_some() {
            return true;
        }
        let why = refusal_of(stanza.element);
        let pair = &self.pairs[stanza.pair];
        let key = pair_key(&pair.own, &pair.partner);
        if core.bounced(now, sink, &key, Bounce { id, from: from.as_ref(), to: &to, why }).is_some() {
            return true;
        }
        // Too late: it counts as delivered. Its sender is told, if it says of whom it is.
        let Some(from) = from else { return true };
        let (of, native_id) = match core.references.read(id, &to, &from) {
            Some((of, native_id)) => (Some(of), native_id),
            None => (None, native_id(stanza.element)),
        };
        if of.is_none() && native_id.is_none() {
            return true;
        }
        let envelope = self.envelope(now, core, stanza, (from, to), Body::Failure(Failure { of, native_id, why, detail: None }));
        core.submit(sink, self.conn, place, envelope);
        false
    }

    /// A request must be answered (RFC 6120 §8.2.3); an answer may be that of a ping.
    fn iq(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, stanza: &Stanza<'_>, place: u64) {
        let element = stanza.element;
        let pair = &self.pairs[stanza.pair];
        let key = pair_key(&pair.own, &pair.partner);
        let get = match (element.attribute("type"), element.attribute("id")) {
            (Some("result" | "error"), id) => {
                if let (Some(id), None, None) = (id, &stanza.to.user, &stanza.from.user)
                    && !core.answered(now, sink, &key, id)
                    && let Some(payload) = relay::write(&key, id)
                {
                    sink.broker(Up::Relay { link: pair.link.id.clone(), payload });
                }
                return;
            }
            (Some("get"), Some(_)) => true,
            (Some("set"), Some(_)) => false,
            _ => return self.refuse(now, core, sink, stanza, StanzaError::BAD_REQUEST),
        };
        let reply: Bytes = if get && stanza.to.user.is_none() && element.child(Namespace::Ping, "ping").is_some() {
            // XEP-0199 §4.3
            bytes_of(|out| {
                push_answer(out, element, "result");
                out.extend_from_slice(b"/>");
            })
        } else if let (true, Some(query)) = (get, element.child(Namespace::DiscoInfo, "query")) {
            if query.attribute("node").is_some() {
                // XEP-0030 §3.3: no nodes here.
                return self.refuse(now, core, sink, stanza, StanzaError::ITEM_NOT_FOUND);
            }
            bytes_of(|out| {
                push_answer(out, element, "result");
                out.extend_from_slice(if stanza.to.user.is_none() { DISCO_INFO } else { DISCO_INFO_OF_A_PERSON });
                push_end(out, element);
            })
        } else {
            // RFC 6120 §8.4
            return self.refuse(now, core, sink, stanza, StanzaError::SERVICE_UNAVAILABLE);
        };
        // RFC 6120 §10.1: stanzas are worked off in the order in which they came. Whoever sent messages and then a ping takes its
        // answer for a sign that none of them will bounce any more, so it waits until those are stored or have bounced.
        if self.done == place {
            core.reply(now, sink, &key, reply);
        } else {
            self.held.push_back(Held { place, key, reply });
        }
    }

    /// Presence (docs/presence.md). Whether it is done already: not if it was submitted.
    fn presence(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, stanza: &Stanza<'_>, place: u64) -> bool {
        let element = stanza.element;
        let (Some(from), Some(to)) = (stanza.from.person(), stanza.to.person()) else {
            // Rooms and services are not people.
            self.refuse(now, core, sink, stanza, StanzaError::SERVICE_UNAVAILABLE);
            return true;
        };
        let pair = &self.pairs[stanza.pair];
        let (link, key) = (pair.link.id.clone(), pair_key(&pair.own, &pair.partner));
        core.still_attend(now, &key);
        let kind = element.attribute("type");
        match kind.map(watch_of) {
            Some(Some(watch)) => {
                let body = Body::Watch(watch);
                // Case 66: between people, whatever device the client named (RFC 6121 §3.1.2).
                let envelope = self.envelope(now, core, stanza, (from, to), body);
                let envelope = Envelope { from_device: None, to_device: None, native_id: native_id(element), ..envelope };
                if watch == Watch::Fetch {
                    sink.broker(Up::Tell { link, envelope: Arc::new(envelope) });
                    return true;
                }
                core.submit(sink, self.conn, place, envelope);
                false
            }
            Some(None) if kind == Some("error") => self.presence_error(now, core, sink, stanza, place, (from, to)),
            Some(None) if kind != Some("unavailable") => true,
            _ => {
                let native = if kind.is_none() { native_of_presence(element, &stanza.from.domain) } else { None };
                let presence = to_presence(element, native, core.language(&to));
                let envelope = self.envelope(now, core, stanza, (from, to), Body::Presence(presence));
                sink.broker(Up::Tell { link, envelope: Arc::new(envelope) });
                true
            }
        }
    }

    /// An error for a presence of ours.
    fn presence_error(
        &mut self,
        now: Now,
        core: &mut Core,
        sink: &mut Sink<'_>,
        stanza: &Stanza<'_>,
        place: u64,
        people: (Address, Address),
    ) -> bool {
        let pair = &self.pairs[stanza.pair];
        let (link, key) = (pair.link.id.clone(), pair_key(&pair.own, &pair.partner));
        let why = refusal_of(stanza.element);
        let bounce = Bounce { id: stanza.element.attribute("id").unwrap_or_default(), from: Some(&people.0), to: &people.1, why };
        match core.bounced(now, sink, &key, bounce) {
            // RFC 6121 §3.1.3: whoever cannot be asked has not agreed.
            Some(asked) if asked.body == Body::Watch(Watch::Ask) && !why.is_temporary() => {
                let envelope = self.envelope(now, core, stanza, people, Body::Watch(Watch::Refuse));
                core.submit(sink, self.conn, place, Envelope { from_device: None, to_device: None, ..envelope });
                false
            }
            Some(_) => true,
            None => {
                let envelope = self.envelope(now, core, stanza, people, Body::Presence(Presence::unknown()));
                let envelope = Envelope { from_device: None::<Device>, ..envelope };
                sink.broker(Up::Tell { link, envelope: Arc::new(envelope) });
                true
            }
        }
    }

    /// The broker has answered a submission that came on this stream: it is done, whichever way.
    pub(crate) fn submitted(
        &mut self,
        now: Now,
        core: &mut Core,
        sink: &mut Sink<'_>,
        submission: &Submission,
        result: Result<(), Refusal>,
    ) {
        if result == Err(Refusal::NotYours) {
            return self.fail(core, sink, StreamError::InvalidFrom, "", CloseReason::Refused);
        }
        self.done(now, core, sink, submission.place);
        if self.state == State::Draining && self.open.is_empty() {
            self.close(core, sink, CloseReason::PeerClosed);
        }
    }

    // Stream management, XEP-0198.

    /// Counts a stanza: its place.
    fn count(&mut self) -> u64 {
        self.open.push_back(false);
        self.counted += 1;
        self.counted - 1
    }

    /// A stanza needs nothing more. It is acknowledged with all before it, once they are done as well: whoever is told that a
    /// message arrived must not lose it in a crash of the hub.
    fn done(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, place: u64) {
        let Some(at) = place.checked_sub(self.done).and_then(|at| usize::try_from(at).ok()) else { return };
        let Some(slot) = self.open.get_mut(at) else { return };
        *slot = true;
        while self.open.front() == Some(&true) {
            self.open.pop_front();
            self.done += 1;
        }
        while let Some(Held { key, reply, .. }) = self.held.pop_front_if(|held| held.place < self.done) {
            core.reply(now, sink, &key, reply);
        }
        if self.asked_at.is_some_and(|asked| asked <= self.done) && self.state != State::Closed {
            self.asked_at = None;
            self.write(now, sink);
            self.push_acknowledgement(sink);
        }
    }

    pub(super) fn manage(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, name: &str) {
        match name {
            "enable" if self.managed.is_none() && !self.pairs.is_empty() => {
                // Nothing is counted before (XEP-0198 §4); resumption is not offered.
                self.managed = Some(self.counted);
                self.write(now, sink).extend_from_slice(b"<enabled xmlns='urn:xmpp:sm:3'/>");
            }
            "r" if self.managed.is_some() => {
                self.write(now, sink);
                self.push_acknowledgement(sink);
                // What is not durable yet is acknowledged when it is, without being asked again.
                self.asked_at = (self.done < self.counted).then_some(self.counted);
            }
            "a" if self.managed.is_some() => {}
            "enable" | "resume" => {
                self.write(now, sink).extend_from_slice(
                    b"<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
                );
            }
            _ => self.fail(core, sink, StreamError::UnsupportedStanzaType, "", CloseReason::Malformed),
        }
    }

    pub(super) fn push_acknowledgement(&mut self, sink: &mut Sink<'_>) {
        let Some(began) = self.managed else { return };
        // XEP-0198 §4: the count wraps at 2^32.
        let handled = self.done.saturating_sub(began) & 0xffff_ffff;
        sink.write(self.conn).extend_from_slice(format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>").as_bytes());
    }
}

/// Tells the sender of a submission why it was refused, where an error may be sent.
pub(crate) fn tell_sender(now: Now, core: &mut Core, sink: &mut Sink<'_>, envelope: &Envelope, why: Refusal) {
    // RFC 6121 §5.2.2: nothing for a headline; RFC 6120 §8.3.1: nothing for an error.
    if envelope.body != Body::Watch(Watch::Ask) && envelope.failure(envelope.id, why, now.wall).is_none() {
        return;
    }
    let reply = bytes_of(|out| push_refusal(out, envelope, why));
    core.reply(now, sink, &pair_key(envelope.to.domain(), envelope.from.domain()), reply);
}

/// A hosted domain is a server and no gateway: a gateway is asked for registrations (XEP-0030 §3.1).
const DISCO_INFO: &[u8] = b"><query xmlns='http://jabber.org/protocol/disco#info'>\
<identity category='server' type='im' name='Interchange'/>\
<feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:ping'/></query>";

/// What people of other platforms take part in (XEP-0030 §3.1); a client asks a bare address this.
const DISCO_INFO_OF_A_PERSON: &[u8] = b"><query xmlns='http://jabber.org/protocol/disco#info'>\
<identity category='account' type='registered'/>\
<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/chatstates'/>\
<feature var='urn:xmpp:receipts'/><feature var='urn:xmpp:chat-markers:0'/><feature var='jabber:x:oob'/>\
<feature var='urn:xmpp:message-correct:0'/></query>";
