//! Towards the peer: what the broker hands over becomes requests, and their answers become settlements.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use interchange_adapter::{About, Now, Output};
use interchange_model::{
    Body, DeliveryId, Envelope, Failure, Fault, LinkId, MessageId, Outcome, Receipt, ReceiptKind, Refusal, Text, Token, Up,
};
use rand::RngExt;
use sip_adapter::link::retry_after;
use sip_adapter::presence::Engine as _;
use sip_codec::{RequestBuilder, Response};
use sip_stack::{ClientId, SendError};

use crate::checks::wants_password;
use crate::link::{Delivery, Link};
use crate::outbox::Place;
use crate::refusals;
use crate::settings::{LinkTransport, MAX_TEXT};
use crate::{Asked, Sip, parts, translate};

impl Sip {
    /// The broker hands over an envelope.
    pub(crate) fn deliver(&mut self, now: Now, name: &LinkId, delivery: DeliveryId, envelope: &Arc<Envelope>) {
        let Some(number) = self.names.get(name).copied() else { return self.settle_at(name, delivery, Outcome::LinkDown) };
        if let Body::Watch(watch) = envelope.body {
            // From here on it is kept, and tried until it ends.
            self.deliver_watch(now, name, envelope, watch);
            return self.settle_at(name, delivery, Outcome::Delivered);
        }
        let mut plain = None;
        let built = match &envelope.body {
            Body::Text(text) => {
                self.note_words_out(&envelope.from, &envelope.to);
                match self.build_text(number, envelope, text) {
                    Err(outcome) if is_too_large(outcome) && self.may_have_session(now, number, envelope) => {
                        return self.wait_for_session(now, number, delivery, envelope, outcome);
                    }
                    built => built.map(|(requests, without)| {
                        plain = without.map(Box::new);
                        (requests, false)
                    }),
                }
            }
            Body::Failure(failure) => Ok((Vec::from_iter(self.build_failure(now, number, envelope, failure)), true)),
            Body::Receipt(receipt)
                if receipt.of.is_some_and(|message| self.report_words(now, number, message, Ok(receipt.what))) =>
            {
                Ok((Vec::new(), true))
            }
            Body::Receipt(receipt) => match translate::to_receipt(envelope, receipt, &self.hub) {
                Ok(request) => Ok((Vec::from_iter(request), true)),
                Err(_) => Err(Outcome::Refused(Refusal::Unsupported)),
            },
            _ => Err(Outcome::Refused(Refusal::Unsupported)),
        };
        let up = !self.stopped && self.links.get(&number).is_some_and(|link| link.way().is_some());
        let outcome = match built {
            Err(outcome) => outcome,
            // Said already, or not to be said at all.
            Ok((requests, _)) if requests.is_empty() => Outcome::Delivered,
            // The broker did not know yet that the link is down.
            Ok(_) if !up => Outcome::LinkDown,
            Ok((requests, is_notice)) => {
                let Some(link) = self.links.get_mut(&number) else { return };
                // Parts that arrived before the link went down, or before a refusal, are not sent again. The last is always left.
                let of = requests.len();
                let arrived = link.attempts.arrived(envelope.id).0.min(of - 1);
                let cseqs = std::iter::once(link.attempts.sequence(envelope.id)).chain(std::iter::repeat(1));
                let left = requests.into_iter().skip(arrived);
                let requests = left.zip(cseqs).map(|(request, cseq)| Box::new(request.cseq(cseq))).collect();
                let receipt = receipt_of(link, envelope);
                let words = matches!(envelope.body, Body::Text(_)).then(|| envelope.clone());
                let otherwise = Outcome::Delivered;
                let (id, message, parts) = (delivery, envelope.id, (arrived, of));
                let entry = Delivery { id, message, requests, parts, otherwise, words, plain, is_notice, receipt };
                link.outbox.push((envelope.from.clone(), envelope.to.clone()), entry);
                return self.send_waiting(now, number);
            }
        };
        self.settle_at(name, delivery, outcome);
    }

    /// A text that is too long for single messages.
    fn wait_for_session(&mut self, now: Now, number: u64, id: DeliveryId, envelope: &Arc<Envelope>, otherwise: Outcome) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if self.stopped || link.way().is_none() {
            let name = link.id.clone();
            return self.settle_at(&name, id, Outcome::LinkDown);
        }
        let entry = Delivery {
            id,
            message: envelope.id,
            requests: VecDeque::new(),
            parts: (0, 1),
            otherwise,
            words: Some(envelope.clone()),
            plain: None,
            is_notice: false,
            receipt: None,
        };
        link.outbox.push((envelope.from.clone(), envelope.to.clone()), entry);
        self.send_waiting(now, number);
    }

    /// The request of a text, or those of its parts; and the same without its formatting, where it has some and goes out with it.
    fn build_text(
        &self,
        number: u64,
        envelope: &Envelope,
        text: &Text,
    ) -> Result<(Vec<RequestBuilder>, Option<RequestBuilder>), Outcome> {
        let plain = match self.build_whole(number, envelope, text, false) {
            Ok(plain) => plain,
            Err(Refusal::TooLarge) => return self.build_parts(number, envelope, text).map(|parts| (parts, None)),
            Err(why) => return Err(Outcome::Refused(why)),
        };
        let html = self.links.get(&number).is_some_and(|link| link.settings.html) && text.rich.is_some();
        // Formatting is never a reason to refuse words.
        match self.build_whole(number, envelope, text, true) {
            Ok(Some(formatted)) if html => Ok((vec![formatted], plain)),
            _ => Ok((Vec::from_iter(plain), None)),
        }
    }

    /// The requests of a text that is too large for one.
    fn build_parts(&self, number: u64, envelope: &Envelope, text: &Text) -> Result<Vec<RequestBuilder>, Outcome> {
        let Some(link) = self.links.get(&number) else { return Ok(Vec::new()) };
        let most = link.settings.max_message();
        let words = translate::words_of(text);
        if text.plain.as_str().len() > MAX_TEXT {
            return Err(parts::too_large(0, MAX_TEXT));
        }
        let (mut size, mut whole) = (parts::size(most), most);
        if link.settings.transport == LinkTransport::Udp {
            // What stands around the words in the largest of them, which may have a subject and ask for receipts.
            let sample = parts::sample(text);
            let manner = translate::Manner { max_text: most, imdn: link.settings.imdn, html: false };
            let sample = translate::to_request(envelope, &sample, &self.hub, manner).map_err(Outcome::Refused)?;
            let around = sample.map(|sample| self.size_over_udp(&sample)).transpose().map_err(Outcome::Refused)?.unwrap_or(0);
            // The one letter is in it; the length has up to two digits more, and the Call-ID the number of the part.
            size = size.min(most.saturating_sub(around + 4));
            whole = 0;
        }
        let parts = parts::of(text, &words, size).ok_or_else(|| parts::too_large(size, whole))?;
        let build = |(index, part): (usize, Text)| {
            let request = self.build_whole(number, &parts::envelope_of(envelope, part.clone()), &part, false)?;
            // Each is a message of its own, or a server might take one for a repeat of another.
            let call = format!("{}.{}@{}", envelope.id, index + 1, self.hub.sent_by.host);
            request.map(|request| request.call_id(&call)).transpose().map_err(|_| Refusal::Unsupported)
        };
        parts.into_iter().enumerate().filter_map(|part| build(part).map_err(Outcome::Refused).transpose()).collect()
    }

    /// Bytes of a request with the longest branch (RFC 3428 §8: over UDP the whole request counts).
    fn size_over_udp(&self, request: &RequestBuilder) -> Result<usize, Refusal> {
        let via = self.hub.via(interchange_adapter::Transport::Udp).and_then(|via| via.with_branch(LONG_BRANCH));
        let sample = via.and_then(|via| request.clone().via(via).build()).map_err(|_| Refusal::Unsupported)?;
        Ok(sample.encode().len())
    }

    fn build_whole(&self, number: u64, envelope: &Envelope, text: &Text, html: bool) -> Result<Option<RequestBuilder>, Refusal> {
        let Some(link) = self.links.get(&number) else { return Ok(None) };
        let most = link.settings.max_message();
        let udp = link.settings.transport == LinkTransport::Udp;
        let manner = translate::Manner { max_text: most, imdn: link.settings.imdn, html };
        let request = translate::to_request(envelope, text, &self.hub, manner)?;
        if udp
            && let Some(request) = &request
            && self.size_over_udp(request)? > most
        {
            return Err(Refusal::TooLarge);
        }
        Ok(request)
    }

    /// The sender of an earlier message is told that it failed: by the answer, if that is still open; else by a notice,
    /// where one may be sent.
    fn build_failure(&mut self, now: Now, number: u64, envelope: &Envelope, failure: &Failure) -> Option<RequestBuilder> {
        if let Some(message) = failure.of
            && self.answer_failure(now, number, message, failure.why)
        {
            return None;
        }
        // Whose client has asked for it is told in a way that the client understands (case 68).
        if let Some(told) = translate::to_failed(envelope, failure, &self.hub) {
            return Some(told);
        }
        if !translate::takes_notices(&envelope.to) {
            return None;
        }
        let link = self.links.get_mut(&number)?;
        let more = match link.way() {
            Some(_) => link.notices.allow(now.instant, &(envelope.from.clone(), envelope.to.clone()))?,
            // It will not be sent now, and is counted when it is.
            None => 0,
        };
        translate::to_notice(envelope, failure, more, &self.hub).ok()
    }

    /// Sends what may go: one request for each pair, [`crate::outbox::MOST_OPEN`] in all.
    pub(crate) fn send_waiting(&mut self, now: Now, number: u64) {
        loop {
            let Some(link) = self.links.get_mut(&number) else { return };
            if link.way().is_none() {
                return;
            }
            let Some((place, delivery)) = link.outbox.open_next() else { return };
            let words = delivery.words.clone();
            if words.is_some_and(|envelope| self.send_in_session(now, number, place, &envelope)) {
                continue;
            }
            self.send_page(now, number, place);
        }
    }

    /// Sends an open entry as a request of its own.
    pub(crate) fn send_page(&mut self, now: Now, number: u64, place: Place) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let way = link.way();
        let Some(delivery) = link.outbox.get_mut(place) else { return };
        let Some(request) = delivery.requests.pop_front() else {
            let outcome = delivery.otherwise;
            return self.finish(number, place, outcome);
        };
        if delivery.parts.1 > 1 {
            // What has begun in parts goes on so.
            delivery.words = None;
        }
        let Some(way) = way else { return self.finish(number, place, Outcome::LinkDown) };
        let via = self.conns.get(&way.conn).map(|conn| self.hub.via(conn.via.transport()));
        let sent = match via {
            Some(Ok(via)) => self.layer.send_request(now.instant, *request, via, way.flow, &mut self.actions),
            Some(Err(fault)) => Err(SendError::Unencodable(fault)),
            None => return self.finish(number, place, Outcome::LinkDown),
        };
        match sent {
            Ok(client) => {
                self.clients.insert(client, Asked::Message { link: number, place, sent: now.instant });
            }
            Err(SendError::TooMany) => self.silent(now, number, "too many requests are under way"),
            Err(_) => self.finish(number, place, Outcome::Refused(Refusal::Unsupported)),
        }
    }

    /// An answer to one of our requests.
    pub(crate) fn responded(&mut self, now: Now, client: ClientId, response: &Response) {
        // Of an INVITE more than one 2xx may come (RFC 6026 §7.2).
        let again = response.is_final() && matches!(self.clients.get(&client), Some(Asked::Invite { .. }));
        let asked = if response.is_final() && !again { self.clients.remove(&client) } else { self.clients.get(&client).copied() };
        let Some(asked) = asked else { return };
        if let Some(link) = asked.link().and_then(|number| self.links.get_mut(&number)) {
            link.heard = Some(now.instant);
        }
        if !response.is_final() {
            return;
        }
        match asked {
            Asked::Options { link } => self.probed(now, link, client, response),
            Asked::Message { link, place, .. } => self.answered(now, link, place, response),
            Asked::Presence(asked) => self.presence_answered(now, asked, Some(response)),
            Asked::Typing => self.typing_answered(now, client, Some(response.status())),
            Asked::Invite { session } => self.invite_answered(now, session, response),
            Asked::Bye => {}
        }
    }

    /// The final answer to a MESSAGE.
    fn answered(&mut self, now: Now, number: u64, place: Place, response: &Response) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let Some(delivery) = link.outbox.get(place) else { return };
        let message = delivery.message;
        let code = response.status();
        // RFC 3428 §7: text/plain is what everybody takes.
        if matches!(code, 406 | 415 | 488) && delivery.plain.is_some() {
            return self.send_plain(now, number, place);
        }
        // Decision 13: 200 says that the recipient's side has it, 202 only that somebody keeps it.
        let receipt = if code == 200 && link.attempts.arrived(message).1 { delivery.receipt.clone() } else { None };
        let outcome = match code {
            200..=299 => Outcome::Delivered,
            // RFC 3261 §21.5.4: with Retry-After it is about the server, and the message stays ours.
            503 if let Some(seconds) = retry_after(response) => {
                return self.pause(now, number, seconds, message);
            }
            // We sent it before, and the peer remembers that (RFC 3261 §8.2.2.2).
            482 if link.attempts.is_doubtful(message) => Outcome::Delivered,
            _ if delivery.is_notice => Outcome::Delivered,
            _ => Outcome::Refused(refusals::from_status(code)),
        };
        if outcome == Outcome::Delivered
            && !delivery.requests.is_empty()
            && let Some(delivery) = link.outbox.get_mut(place)
        {
            delivery.parts.0 += 1;
            link.attempts.part_arrived(message, delivery.parts.0, code != 200);
            link.outbox.again(place);
            self.remember_parts(number, message);
            return self.send_waiting(now, number);
        }
        let in_parts = link.attempts.arrived(message).0 > 0;
        match outcome {
            Outcome::Refused(why) if why.is_temporary() => link.attempts.refused(message),
            _ => link.attempts.forget(message),
        }
        if in_parts {
            self.remember_parts(number, message);
        }
        let Some(link) = self.links.get(&number) else { return };
        if matches!(code, 401 | 407)
            && let Some(way) = link.way()
        {
            let text = format!("link {}: {}", link.id, wants_password(code));
            let about = Some(About { link: link.id.clone(), sign: Err(Fault::AuthenticationRefused) });
            self.out.push(Output::Note { conn: way.conn, about, text });
        }
        self.finish(number, place, outcome);
        if let (Some(receipt), Some(name)) = (receipt, self.links.get(&number).map(|link| link.id.clone())) {
            let id = MessageId::new(now.wall, self.random.random());
            let token = Token(self.number());
            let body = Body::Receipt(Receipt {
                of: Some(receipt.id),
                native_id: receipt.native_id.clone(),
                what: ReceiptKind::Delivered,
            });
            let envelope = Envelope { origin: name.clone(), from_device: None, ..receipt.answer(id, body, now.wall) };
            self.out.push(Output::Broker(Up::Submit { token, link: name, envelope: Arc::new(envelope) }));
        }
        self.send_waiting(now, number);
    }

    /// Sends a message that was refused with its formatting once more, without.
    fn send_plain(&mut self, now: Now, number: u64, place: Place) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if let Some(delivery) = link.outbox.get_mut(place) {
            link.attempts.refused(delivery.message);
            let sequence = link.attempts.sequence(delivery.message);
            delivery.requests = delivery.plain.take().map(|plain| Box::new(plain.cseq(sequence))).into_iter().collect();
            delivery.words = None;
        }
        link.outbox.again(place);
        self.send_waiting(now, number);
    }

    /// Nobody answered one of our requests in time (timer F).
    pub(crate) fn timed_out(&mut self, now: Now, client: ClientId) {
        match self.clients.remove(&client) {
            None => {}
            Some(Asked::Options { link }) => self.probe_failed(now, link, client),
            Some(Asked::Message { link, place, sent }) => self.message_timed_out(now, link, place, sent),
            Some(Asked::Presence(asked)) => self.presence_answered(now, asked, None),
            Some(Asked::Typing) => self.typing_answered(now, client, None),
            Some(Asked::Invite { session }) => self.invite_failed(now, session, None),
            Some(Asked::Bye) => {}
        }
    }

    fn message_timed_out(&mut self, now: Now, number: u64, place: Place, sent: Instant) {
        let Some(link) = self.links.get_mut(&number) else { return };
        // The link has gone down since, and all was settled.
        let Some(delivery) = link.outbox.get(place) else { return };
        if link.heard.is_some_and(|heard| heard > sent) {
            // The peer lives and answers others: the trouble is with this message, and it shall not stop the rest for ever.
            link.attempts.unanswered(delivery.message);
            let outcome = if delivery.is_notice { Outcome::Delivered } else { Outcome::Refused(Refusal::TimedOut) };
            self.finish(number, place, outcome);
            self.send_waiting(now, number);
        } else {
            self.silent(now, number, "the server did not answer a message within 32 s");
        }
    }

    pub(crate) fn finish(&mut self, number: u64, place: Place, outcome: Outcome) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if let Some(delivery) = link.outbox.close(place) {
            let name = link.id.clone();
            let (arrived, of) = delivery.parts;
            let outcome = match outcome {
                Outcome::Refused(why) => parts::outcome_of_part(why, arrived, of),
                other => other,
            };
            self.settle_at(&name, delivery.id, outcome);
        }
    }

    fn settle_at(&mut self, link: &LinkId, delivery: DeliveryId, outcome: Outcome) {
        self.out.push(Output::Broker(Up::Settle { link: link.clone(), delivery, outcome }));
    }
}

fn is_too_large(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Refusal::TooLarge) | Outcome::RefusedWith(Refusal::TooLarge, _))
}

/// As long as any branch of ours.
const LONG_BRANCH: &str = "z9hG4bK-hub-ffffffffffffffff-ffffffffffffffff";

impl Link {
    /// Whether requests are under way on it.
    pub(crate) fn is_busy(&self) -> bool {
        !self.outbox.is_empty()
    }
}

/// The envelope whose sender is to be told by a 200 that it has arrived: one that wants it, where the recipient's client is not asked itself.
fn receipt_of(link: &Link, envelope: &Arc<Envelope>) -> Option<Arc<Envelope>> {
    let Body::Text(text) = &envelope.body else { return None };
    (text.wants.delivered && !link.settings.imdn).then(|| envelope.clone())
}
