//! Handing envelopes to a peer: waiting, sending, asking for an answer, settling.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use interchange_adapter::{ConnId, Now, Output, References};
use interchange_model::{Address, Body, DeliveryId, Envelope, LinkId, Outcome, Refusal};

use super::told::{ATTENTION, is_of_a_watcher};
use super::{ATTENDED_ANSWER, Bounce, Core, Verdict, settle};
use crate::address::push_domain;
use crate::codec::push_attribute;
use crate::directory::LinkInfo;
use crate::pair::{Delivery, Pair, PairKey, Stream, Waiting};
use crate::sink::Sink;
use crate::stream::dialback::Answer;
use crate::stream::outbound::{Outbound, Purpose};
use crate::translate::{Outgoing, push_message, push_presence};

/// What may wait for the answer to a ping where the last had none: more would hold up what other partners say to the link.
const DOUBTFUL: usize = 8;

/// Dialback questions under way for one link.
const MAX_QUESTIONS: usize = 20;

impl Core {
    /// The broker hands over an envelope.
    pub(crate) fn deliver(&mut self, now: Now, sink: &mut Sink<'_>, link: &LinkId, id: DeliveryId, envelope: Arc<Envelope>) {
        let Some(state) = self.links.get_mut(link) else { return settle(sink, link, id, Outcome::LinkDown) };
        if !state.health.is_up() {
            return settle(sink, link, id, Outcome::LinkDown);
        }
        let (own, partner) = (envelope.from.domain().clone(), envelope.to.domain().clone());
        if !state.info.domains.contains(&partner) {
            return settle(sink, link, id, Outcome::Refused(Refusal::UnknownDomain));
        }
        // A member can deliver among its own domains by itself; what comes back to it has gone round in a circle.
        if state.info.domains.contains(&own) {
            return settle(sink, link, id, Outcome::Refused(Refusal::Loop));
        }
        // Nobody can prove to be a domain that the hub does not stand for any more.
        if !self.directory.hosts(&own) {
            return settle(sink, link, id, Outcome::Refused(Refusal::NotAllowed));
        }
        let order = state.next_order();
        let key = PairKey { own, partner };
        let pair = self.pair(now, link, &key);
        if let Some((until, why)) = pair.refused {
            if now.instant < until {
                return settle(sink, link, id, Outcome::Refused(why));
            }
            pair.refused = None;
        }
        if is_of_a_watcher(&envelope.body) {
            pair.attend(now.instant + ATTENTION);
        }
        if pair.doubtful && pair.waiting.len() >= DOUBTFUL {
            return settle(sink, link, id, Outcome::Refused(Refusal::TimedOut));
        }
        pair.wait(Waiting::Delivery(Delivery { id, order, envelope }));
        self.pump(now, sink, &key);
    }

    /// Sends an answer or an error over our own stream to a peer's domain. While the link is down it waits for the next
    /// attempt: two hubs that have lost one another come up again only by answering each other's pings.
    pub(crate) fn reply(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey, reply: Bytes) {
        let Some(owner) = self.directory.owner(&key.partner) else { return };
        let link = owner.id.clone();
        let Some(up) = self.links.get(&link).map(|state| state.health.is_up()) else { return };
        let pair = self.pair(now, &link, key);
        if pair.refused.is_some_and(|(until, _)| now.instant < until) {
            return;
        }
        pair.wait(Waiting::Reply(reply));
        if up || pair.stream != Stream::None {
            self.pump(now, sink, key);
        }
    }

    pub(super) fn pair(&mut self, now: Now, link: &LinkId, key: &PairKey) -> &mut Pair {
        if !self.pairs.contains_key(key)
            && let Some(state) = self.links.get_mut(link)
        {
            state.pairs.insert(key.clone());
        }
        self.pairs.entry(key.clone()).or_insert_with(|| Pair::new(link.clone(), now.instant))
    }

    /// Sends what waits for a pair, or dials.
    pub(super) fn pump(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let (conn, max_stanza) = match pair.stream {
            Stream::None => return self.open(now, sink, key),
            Stream::Opening(_) => return,
            Stream::Ready { conn, max_stanza, .. } => (conn, max_stanza),
        };
        let xhtml_im = self.links.get(&pair.link).is_some_and(|state| state.info.settings.xhtml_im);
        while let Some(waiting) = pair.take_waiting() {
            let out = sink.write(conn);
            match waiting {
                // No use of the stream, or two hubs that ping each other would never let go.
                Waiting::Reply(bytes) => {
                    out.extend_from_slice(&bytes);
                    pair.count(1);
                }
                Waiting::Told(envelope) => {
                    let from_xmpp = self.directory.link(&envelope.origin).is_some();
                    let start = out.len();
                    let stanzas = match &envelope.body {
                        Body::Presence(presence) => push_presence(out, &envelope, presence),
                        _ => {
                            let how = Outgoing { id: None, with_device: from_xmpp, wall: now.wall, xhtml_im };
                            push_message(out, &envelope, how);
                            1
                        }
                    };
                    // Of a person's many devices, or of somebody's whole caps, more than the peer takes: let be.
                    if out.len() - start > max_stanza {
                        out.truncate(start);
                    } else {
                        pair.count(stanzas);
                    }
                }
                Waiting::Delivery(delivery) => {
                    let from_xmpp = self.directory.link(&delivery.envelope.origin).is_some();
                    let id = stanza_id(pair, &self.references, &delivery.envelope, from_xmpp);
                    note_language(&mut self.languages, &delivery.envelope, from_xmpp);
                    let start = out.len();
                    let how = Outgoing { id: id.as_deref(), with_device: from_xmpp, wall: now.wall, xhtml_im };
                    push_message(out, &delivery.envelope, how);
                    // Formatting is never a reason to refuse words.
                    if xhtml_im && out.len() - start > max_stanza {
                        out.truncate(start);
                        push_message(out, &delivery.envelope, Outgoing { xhtml_im: false, ..how });
                    }
                    // A peer would end the whole stream for one stanza too large (RFC 6120 §4.9.3.14).
                    if out.len() - start > max_stanza {
                        out.truncate(start);
                        settle(sink, &pair.link, delivery.id, Outcome::Refused(Refusal::TooLarge));
                        continue;
                    }
                    pair.count(1);
                    pair.sent(delivery, id);
                    pair.used = now.instant;
                }
            }
            pair.sent = now.instant;
        }
        if pair.needs_ping(now.instant) || (pair.is_asked() && pair.ping_deadline().is_none()) {
            self.ping(now, sink, key, conn);
        }
        self.set_pair_alarm(key);
    }

    /// Asks the peer's domain for an answer: XEP-0199 §4.3.
    pub(super) fn ping(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey, conn: ConnId) {
        let id = self.unguessable();
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let out = sink.write(conn);
        out.extend_from_slice(b"<iq type='get'");
        push_domain(out, "from", &key.own);
        push_domain(out, "to", &key.partner);
        push_attribute(out, "id", &id);
        out.extend_from_slice(b"><ping xmlns='urn:xmpp:ping'/></iq>");
        pair.count(1);
        if pair.is_managed() {
            out.extend_from_slice(b"<r xmlns='urn:xmpp:sm:3'/>");
        }
        let answer = self.settings.answer();
        let answer = if pair.is_attended(now.instant) { answer.min(ATTENDED_ANSWER) } else { answer };
        pair.pinged(now.instant, id, now.instant + answer);
        pair.sent = now.instant;
    }

    fn open(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey) {
        let Some(info) = self.directory.owner(&key.partner).cloned() else { return };
        if let Some(conn) = self.lent.get(key).copied().filter(|_| info.settings.bidi) {
            return self.ready(now, sink, key, (conn, false), info.settings.max_stanza);
        }
        let conn = self.dial(sink, info, key, Purpose::Stanzas);
        if let Some(pair) = self.pairs.get_mut(key) {
            pair.stream = Stream::Opening(conn);
        }
    }

    fn dial(&mut self, sink: &mut Sink<'_>, info: Arc<LinkInfo>, key: &PairKey, purpose: Purpose) -> ConnId {
        self.dialled += 1;
        let conn = ConnId::dialled(self.dialled);
        sink.push(Output::Dial { conn, to: info.settings.target(&key.partner), avoid: Vec::new() });
        self.outbound.insert(conn, Outbound::new(conn, info, key.clone(), purpose));
        conn
    }

    /// Asks the server of `key.partner` whether a key is its own (XEP-0220 §2.1.2), over a connection to its provisioned
    /// address that is used for nothing else: it needs no authentication, so it cannot wait for one that waits for it.
    pub(crate) fn question(
        &mut self,
        sink: &mut Sink<'_>,
        asked_on: ConnId,
        info: Arc<LinkInfo>,
        key: PairKey,
        id: String,
        secret: String,
    ) {
        let open = self.outbound.values().filter(|stream| stream.link.id == info.id && stream.is_question()).count();
        if open >= MAX_QUESTIONS {
            self.verdicts.push(Verdict { conn: asked_on, pair: key, answer: Answer::error("resource-constraint") });
            return;
        }
        self.dial(sink, info, &key, Purpose::Question { asked_on, id, key: secret });
    }

    /// An iq answer came from `key.partner` to `key.own`, over a stream of this hub or of another on the same bus: perhaps that of a ping.
    /// Whether it was.
    pub(crate) fn answered(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey, id: &str) -> bool {
        let Some(pair) = self.pairs.get_mut(key) else { return false };
        let Some(delivered) = pair.answered(id) else { return false };
        pair.probing = false;
        pair.doubtful = false;
        pair.answered_at = Some(now.instant);
        let link = pair.link.clone();
        for delivery in delivered {
            settle(sink, &link, delivery.id, Outcome::Delivered);
        }
        self.link_up(sink, &link);
        self.checked(sink, key, Ok(()));
        self.pump(now, sink, key);
        true
    }

    /// The peer has handled so many stanzas of a stream of ours.
    pub(crate) fn handled(&mut self, key: &PairKey, conn: ConnId, count: u32) {
        if let Some(pair) = self.pairs.get_mut(key)
            && matches!(pair.stream, Stream::Ready { conn: ours, .. } if ours == conn)
        {
            pair.handled(count);
        }
    }

    /// The peer does not manage a stream of ours after all.
    pub(crate) fn unmanaged(&mut self, key: &PairKey, conn: ConnId) {
        if let Some(pair) = self.pairs.get_mut(key)
            && matches!(pair.stream, Stream::Ready { conn: ours, .. } if ours == conn)
        {
            pair.begin(false);
        }
    }

    /// An error came for a stanza of ours; the envelope of the delivery under way that it belongs to, which is settled then.
    pub(crate) fn bounced(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey, bounce: Bounce<'_>) -> Option<Arc<Envelope>> {
        let pair = self.pairs.get_mut(key)?;
        let delivery = pair.bounced(bounce.id, bounce.from, bounce.to)?;
        let link = pair.link.clone();
        settle(sink, &link, delivery.id, Outcome::Refused(bounce.why));
        self.pump(now, sink, key);
        Some(delivery.envelope)
    }
}

/// The id that a stanza gets: the sender's own if it was a stanza's before, so that an error can be told from the sender's
/// other messages all the way; else a reference to the envelope.
fn stanza_id(pair: &Pair, references: &References, envelope: &Envelope, from_xmpp: bool) -> Option<Arc<str>> {
    match &envelope.body {
        // An error has the id of what it answers (RFC 6120 §8.1.3), and is not answered itself.
        Body::Failure(failure) => failure.native_id.clone(),
        _ => {
            let native = envelope.native_id.as_ref().filter(|id| from_xmpp && !pair.has_id(id));
            Some(native.cloned().unwrap_or_else(|| references.write(envelope).into()))
        }
    }
}

/// People whose language is remembered; of more, all are forgotten.
const LANGUAGES: usize = 10_000;

/// Case 21: whoever writes in a language is written to in it, where there is a choice.
fn note_language(languages: &mut HashMap<Address, Arc<str>>, envelope: &Envelope, from_xmpp: bool) {
    let Body::Text(text) = &envelope.body else { return };
    if let (Some(language), false) = (&text.language, from_xmpp)
        && languages.get(&envelope.from) != Some(language)
    {
        if languages.len() >= LANGUAGES {
            languages.clear();
        }
        languages.insert(envelope.from.clone(), language.clone());
    }
}
