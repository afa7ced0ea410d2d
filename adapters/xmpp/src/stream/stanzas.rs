//! What happens to the stanzas of an incoming stream, and how they are acknowledged (XEP-0198).

use bytes::Bytes;
use interchange_adapter::{CloseReason, Now};
use interchange_model::{Body, Domain, Envelope, Failure, MessageId, Refusal, Up};

use super::inbound::{Inbound, State};
use crate::address::{Jid, JidError};
use crate::codec::{Element, Namespace};
use crate::core::{Bounce, Core, Submission, bytes_of, pair_key};
use crate::errors::{StanzaError, StreamError, refusal_of};
use crate::pair::PairKey;
use crate::relay;
use crate::sink::Sink;
use crate::translate::{Content, native_id, push_answer, push_end, push_error, push_refusal, to_content};

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
            _ => {
                self.presence(now, core, sink, &stanza);
                true
            }
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
        // An answer to an address that is itself wrong would be wrong.
        if Jid::parse(element.attribute("from").unwrap_or_default(), &[]).is_ok() {
            self.answer_error(now, core, sink, element, (&own, &partner), StanzaError::JID_MALFORMED);
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
        let refuse = match to_content(stanza.element, self.header.language.as_deref()) {
            Content::Nothing | Content::Forged => return true,
            Content::Room => (StanzaError::SERVICE_UNAVAILABLE, Refusal::Unsupported),
            Content::Refused(why) => (StanzaError::of(why), why),
            Content::Text(text) => match (stanza.from.person(), stanza.to.person()) {
                (Some(from), Some(to)) => {
                    let envelope = Envelope {
                        id: core.message_id(now),
                        origin: link,
                        from,
                        from_device: stanza.from.device(),
                        to,
                        to_device: stanza.to.device(),
                        native_id: native_id(stanza.element),
                        accepted: now.wall,
                        hops: Envelope::FULL_HOPS,
                        native: None,
                        body: Body::Text(text),
                    };
                    core.submit(sink, self.conn, place, envelope);
                    return false;
                }
                // A domain, ours or theirs, is not a person.
                (_, None) if stanza.to.user.is_some() => (StanzaError::JID_MALFORMED, Refusal::Malformed),
                _ => (StanzaError::SERVICE_UNAVAILABLE, Refusal::Unsupported),
            },
        };
        self.refuse(now, core, sink, stanza, refuse.0);
        if let (Some(from), Some(to)) = (stanza.from.person(), stanza.to.person()) {
            sink.broker(Up::Refused { link, from, to, why: refuse.1 });
        }
        true
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
        if core.bounced(now, sink, &key, Bounce { id, from: from.as_ref(), to: &to, why }) {
            return true;
        }
        // Too late: it counts as delivered. Its sender is told, if it says of whom it is.
        let Some(from) = from else { return true };
        let of: Option<MessageId> = id.parse().ok();
        let native_id = if of.is_none() { native_id(stanza.element) } else { None };
        if of.is_none() && native_id.is_none() {
            return true;
        }
        let envelope = Envelope {
            id: core.message_id(now),
            origin: pair.link.id.clone(),
            from,
            from_device: stanza.from.device(),
            to,
            to_device: stanza.to.device(),
            native_id: None,
            accepted: now.wall,
            hops: Envelope::FULL_HOPS,
            native: None,
            body: Body::Failure(Failure { of, native_id, why }),
        };
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
        } else if let (true, None, Some(query)) = (get, &stanza.to.user, element.child(Namespace::DiscoInfo, "query")) {
            if query.attribute("node").is_some() {
                // XEP-0030 §3.3: no nodes here.
                return self.refuse(now, core, sink, stanza, StanzaError::ITEM_NOT_FOUND);
            }
            bytes_of(|out| {
                push_answer(out, element, "result");
                out.extend_from_slice(DISCO_INFO);
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

    /// Presence is not carried: news of it is taken and forgotten, and who asks for it is told so.
    fn presence(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, stanza: &Stanza<'_>) {
        self.refuse(now, core, sink, stanza, StanzaError::SERVICE_UNAVAILABLE);
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
    if envelope.failure(envelope.id, why, now.wall).is_none() {
        return;
    }
    let reply = bytes_of(|out| push_refusal(out, envelope, why));
    core.reply(now, sink, &pair_key(envelope.to.domain(), envelope.from.domain()), reply);
}

/// A hosted domain is a server and no gateway: a gateway is asked for registrations (XEP-0030 §3.1).
const DISCO_INFO: &[u8] = b"><query xmlns='http://jabber.org/protocol/disco#info'>\
<identity category='server' type='im' name='Interchange'/>\
<feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:ping'/></query>";
