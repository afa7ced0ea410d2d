//! What is said in sessions: their messages and envelopes, both ways (RFC 7573).

use std::sync::Arc;

use interchange_adapter::Now;
use interchange_model::{
    Body, Envelope, Failure, MessageId, Outcome, Plain, Receipt, ReceiptKind, Refusal, Text, TextKind, Token, Typing,
    TypingState, Up, Wants,
};
use msrp_stack::sdp::Media;
use msrp_stack::{Complete, FailureReport, Outgoing};
use rand::RngExt;
use sha2::{Digest, Sha256};
use simple_codec::composing::Composing;
use sip_codec::ContentType;

use super::{Conversation, DECLINED, Given, MOST_GIVEN, Sent, Stage, Submitted};
use crate::body::{self, BodyFault, Said};
use crate::outbox::Place;
use crate::settings::SessionPolicy;
use crate::{Sip, native_id, translate};

/// Answers of MSRP (RFC 4975 §10) to what the broker says; each with the words that go with it.
const fn to_status(why: Refusal) -> (u16, &'static str) {
    match why {
        Refusal::TooLarge => (413, "Message Too Large"),
        Refusal::Malformed => (400, "Bad Request"),
        Refusal::Unsupported => (415, "Unsupported Media Type"),
        // It may be sent again: "the downstream transaction did not complete in time".
        Refusal::Overloaded
        | Refusal::RateLimited
        | Refusal::TimedOut
        | Refusal::PeerFault
        | Refusal::Unavailable
        | Refusal::Expired => (408, "Not Delivered Now"),
        Refusal::UnknownDomain | Refusal::NoSuchUser => (403, "No Such Recipient"),
        Refusal::NotAllowed | Refusal::NotYours | Refusal::PeerRefused | Refusal::Loop => (403, "Not Allowed"),
    }
}

/// What a status code of MSRP means to the sender.
const fn from_status(status: u16) -> Refusal {
    match status {
        403 => Refusal::PeerRefused,
        408 => Refusal::TimedOut,
        413 => Refusal::TooLarge,
        415 => Refusal::Unsupported,
        481 | 506 => Refusal::Unavailable,
        _ => Refusal::PeerFault,
    }
}

impl Sip {
    /// A Message-ID of ours: 32 letters and digits.
    pub(super) fn message_id(&mut self) -> String {
        format!("{:032x}", self.random.random::<u128>())
    }

    /// A message of one of the member's people has come whole.
    pub(super) fn take_words(&mut self, now: Now, number: u64, complete: Complete) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        session.used = now.instant;
        // The client did not see our answer and sends it again over a new connection.
        if session.given.iter().any(|given| given.message_id == complete.message_id) {
            return self.answer_words(now, number, complete.key, 200, "OK");
        }
        let theirs = session.theirs.clone();
        let media = ContentType::parse(complete.media.as_bytes()).ok();
        let said = match body::read(media.as_ref(), &complete.body, &theirs) {
            Ok(Some(said)) => said,
            Ok(None) => return self.answer_words(now, number, complete.key, 200, "OK"),
            Err(fault) => {
                let (status, comment) = match fault {
                    BodyFault::Media | BodyFault::Charset => (415, "Unsupported Media Type"),
                    BodyFault::TooLarge => (413, "Message Too Large"),
                    BodyFault::Spoofed => (403, "Sender of the body differs"),
                    BodyFault::NoType | BodyFault::Malformed => (400, "Bad Request"),
                };
                return self.answer_words(now, number, complete.key, status, comment);
            }
        };
        let Some(session) = self.sessions.all.get(&number) else { return };
        let (link, ours, conversation) = (session.link, session.ours.clone(), conversation_of(session));
        let display_name = session.display_name.clone();
        let (body, native_id) = match said {
            Said::Composing(composing) => {
                self.take_composing(now, link, (theirs, ours), &composing);
                return self.answer_words(now, number, complete.key, 200, "OK");
            }
            Said::Receipt(imdn) => match self.receipt(&imdn, &theirs, &ours) {
                Some(body) => (body, None),
                // Case 39: of a message that we know nothing of.
                None => return self.answer_words(now, number, complete.key, 200, "OK"),
            },
            Said::Words(words) => {
                let wants = Wants { delivered: words.wants.delivered || complete.success_report, ..words.wants };
                self.note_words(now, &theirs, &ours);
                let text = Text {
                    plain: words.plain,
                    rich: words.rich,
                    subject: words.subject.map(|subject| translate::cut(&subject)).filter(|subject| !subject.is_empty()),
                    conversation: Some(conversation),
                    display_name,
                    kind: TextKind::Chat,
                    wants,
                    ..Text::default()
                };
                (Body::Text(text), words.message_id.map(|id| native_id::write(&id, words.wants_failure)))
            }
        };
        self.submit_words(now, number, complete, body, native_id);
    }

    fn submit_words(&mut self, now: Now, number: u64, complete: Complete, body: Body, native_id: Option<Arc<str>>) {
        let token = Token(self.number());
        let message = MessageId::new(now.wall, self.random.random());
        let Some(session) = self.sessions.all.get(&number) else { return };
        let Some(link) = self.links.get_mut(&session.link) else { return };
        if self.stopped || link.is_crowded() {
            let (status, comment) = to_status(Refusal::Overloaded);
            return self.answer_words(now, number, complete.key, status, comment);
        }
        link.unanswered += 1;
        let given = matches!(body, Body::Text(_)).then(|| Given {
            message,
            message_id: complete.message_id,
            size: complete.body.len() as u64,
            success_report: complete.success_report,
            failure_report: complete.failure_report,
        });
        let submitted = Submitted { session: number, link: session.link, key: complete.key, given };
        let people = (session.theirs.clone(), session.ours.clone());
        let envelope = Envelope::new(message, link.id.clone(), people, now.wall, body);
        let envelope = Envelope { native_id, hops: Envelope::FULL_HOPS - 1, ..envelope };
        let link = link.id.clone();
        self.sessions.submitted.insert(token, submitted);
        self.out.push(interchange_adapter::Output::Broker(Up::Submit { token, link, envelope: Arc::new(envelope) }));
    }

    /// The broker has taken a message of a session, or refuses it. Whether the token was one of these.
    pub(crate) fn session_submitted(&mut self, now: Now, token: Token, result: Result<(), Refusal>) -> bool {
        let Some(submitted) = self.sessions.submitted.remove(&token) else { return false };
        if let Some(link) = self.links.get_mut(&submitted.link) {
            link.unanswered = link.unanswered.saturating_sub(1);
        }
        let (status, comment) = match result {
            Ok(()) => (200, "OK"),
            Err(why) => to_status(why),
        };
        if let Some(given) = submitted.given.filter(|_| result.is_ok()) {
            self.sessions.give(submitted.session, given);
        }
        self.answer_words(now, submitted.session, submitted.key, status, comment);
        true
    }

    fn answer_words(&mut self, now: Now, number: u64, key: u64, status: u16, comment: &'static str) {
        let mut events = Vec::new();
        if let Some(session) = self.sessions.all.get_mut(&number) {
            session.msrp.answer(key, status, comment, &mut events);
        }
        self.session_events(now, number, events);
    }

    /// What became of a message that came in a session: told there, if its sender wants to hear of it. `false`: there is no such session.
    pub(crate) fn report_words(&mut self, now: Now, number: u64, message: MessageId, what: Result<ReceiptKind, Refusal>) -> bool {
        let Some(session) = self.sessions.by_message.get(&message).copied() else { return false };
        let Some(conversation) = self.sessions.all.get_mut(&session).filter(|one| one.link == number) else { return false };
        let Some(given) = conversation.given.iter().find(|given| given.message == message) else { return false };
        let status = match what {
            Ok(ReceiptKind::Delivered) if given.success_report => 200,
            Err(why) if given.failure_report != FailureReport::No => to_status(why).0,
            _ => return false,
        };
        if conversation.carrier.is_none() {
            return false;
        }
        let (id, size) = (given.message_id.clone(), given.size);
        let mut events = Vec::new();
        conversation.msrp.report(&id, size, status, &mut events);
        self.session_events(now, session, events);
        true
    }

    /// Gives a delivery to a session, where there is one or may be one. `false`: it goes as a single message.
    pub(crate) fn send_in_session(&mut self, now: Now, link: u64, place: Place, envelope: &Arc<Envelope>) -> bool {
        if let Some(number) = self.live_session(link, envelope) {
            let Some(session) = self.sessions.all.get_mut(&number) else { return false };
            if session.stage == Stage::Up {
                return self.say(now, number, place, envelope);
            }
            session.pending.push_back((place, envelope.clone()));
            return true;
        }
        self.would_invite(now, link, envelope) && self.invite(now, link, place, envelope)
    }

    /// Whether a session could carry what is too long for a single message.
    pub(crate) fn may_have_session(&self, now: Now, link: u64, envelope: &Envelope) -> bool {
        self.live_session(link, envelope).is_some() || self.would_invite(now, link, envelope)
    }

    fn would_invite(&self, now: Now, link: u64, envelope: &Envelope) -> bool {
        let offers = self.links.get(&link).is_some_and(|link| link.settings.sessions == SessionPolicy::Offer);
        offers && !self.stopped && envelope.hops > 0 && !self.sessions.is_declined(now, link, &envelope.to)
    }

    fn live_session(&self, link: u64, envelope: &Envelope) -> Option<u64> {
        let number = *self.sessions.by_pair.get(&(link, (envelope.from.clone(), envelope.to.clone())))?;
        let session = self.sessions.all.get(&number)?;
        let wants = session.media.as_ref().is_none_or(|media| media.receives);
        (wants && !matches!(session.stage, Stage::Lost { .. })).then_some(number)
    }

    /// Says a text in a session that stands.
    fn say(&mut self, now: Now, number: u64, place: Place, envelope: &Arc<Envelope>) -> bool {
        let Body::Text(text) = &envelope.body else { return false };
        let Some(session) = self.sessions.all.get(&number) else { return false };
        let Some(peer) = &session.media else { return false };
        let Some(link) = self.links.get(&session.link) else { return false };
        let manner = translate::Manner { max_text: usize::MAX, imdn: link.settings.imdn, html: link.settings.html };
        let Some((media, body)) = content_of(envelope, text, peer, &self.hub, manner) else { return false };
        if peer.max_size.is_some_and(|most| body.len() as u64 > most) {
            return false;
        }
        let id = envelope.id.to_string();
        let success_report = text.wants.delivered && media != CPIM;
        self.say_bytes(now, number, Some(place), envelope, id, &media, body, success_report);
        true
    }

    #[allow(clippy::too_many_arguments)]
    fn say_bytes(
        &mut self,
        now: Now,
        number: u64,
        place: Option<Place>,
        envelope: &Arc<Envelope>,
        message_id: String,
        media: &str,
        body: Vec<u8>,
        success_report: bool,
    ) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        session.next_token += 1;
        session.used = now.instant;
        let token = msrp_stack::Token(session.next_token);
        session.sending.insert(token, Sent { place });
        if success_report {
            if session.wanted.len() >= MOST_GIVEN {
                session.wanted.clear();
            }
            session.wanted.insert(message_id.clone(), envelope.clone());
        }
        let message = Outgoing { token, message_id, media: media.to_owned(), body: body.into(), success_report };
        let mut events = Vec::new();
        session.msrp.send(now.instant, message, &mut events);
        self.session_events(now, number, events);
    }

    /// The connection stands: what waits is said.
    pub(super) fn session_ready(&mut self, now: Now, number: u64) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        let link = session.link;
        for (place, envelope) in std::mem::take(&mut session.pending) {
            if !self.say(now, number, place, &envelope) {
                self.send_page(now, link, place);
            }
        }
    }

    /// The client has taken all of a message.
    pub(super) fn words_sent(&mut self, now: Now, number: u64, token: msrp_stack::Token) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        let Some(sent) = session.sending.remove(&token) else { return };
        session.used = now.instant;
        let link = session.link;
        if let Some(place) = sent.place {
            self.finish(link, place, Outcome::Delivered);
            self.send_waiting(now, link);
        }
    }

    /// The client does not take a message.
    pub(super) fn words_failed(&mut self, now: Now, number: u64, token: msrp_stack::Token, status: u16) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        let Some(sent) = session.sending.remove(&token) else { return };
        let link = session.link;
        let Some(place) = sent.place else { return };
        match status {
            // It may have arrived: tried again in good time, as after any answer that did not come.
            408 => self.finish(link, place, Outcome::Refused(Refusal::TimedOut)),
            403 | 413 => self.finish(link, place, Outcome::Refused(from_status(status))),
            // The session is of no use for it: as a single message then.
            _ => {
                if matches!(status, 415 | 501) {
                    let theirs = session.theirs.clone();
                    self.sessions.decline(now, link, &theirs, DECLINED);
                }
                self.send_page(now, link, place);
                return self.end_session(now, number, true);
            }
        }
        self.send_waiting(now, link);
    }

    /// The client tells what became of a message of ours, in the end.
    pub(super) fn words_reported(&mut self, now: Now, number: u64, message_id: &str, status: u16) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        let Some(envelope) = session.wanted.remove(message_id) else { return };
        let (of, native_id) = (Some(envelope.id), envelope.native_id.clone());
        let body = if status == 200 {
            Body::Receipt(Receipt { of, native_id, what: ReceiptKind::Delivered })
        } else {
            Body::Failure(Failure { of, native_id, why: from_status(status), detail: None })
        };
        let Some(link) = self.links.get(&session.link).map(|link| link.id.clone()) else { return };
        let id = MessageId::new(now.wall, self.random.random());
        let token = Token(self.number());
        let answer = Envelope { origin: link.clone(), from_device: None, ..envelope.answer(id, body, now.wall) };
        self.out.push(interchange_adapter::Output::Broker(Up::Submit { token, link, envelope: Arc::new(answer) }));
    }

    /// Tells in a session that somebody writes. `false`: there is none that would take it.
    pub(crate) fn type_in_session(&mut self, now: Now, link: u64, envelope: &Arc<Envelope>, typing: &Typing) -> bool {
        let Some(number) = self.live_session(link, envelope) else { return false };
        let Some(session) = self.sessions.all.get(&number).filter(|session| session.stage == Stage::Up) else { return false };
        // RFC 7573 §6.1: whoever has left is not to be written to in it.
        if typing.state == TypingState::Gone {
            self.end_session(now, number, true);
            return true;
        }
        if !session.media.as_ref().is_some_and(|media| media.accepts(COMPOSING)) {
            return false;
        }
        let is_active = typing.state == TypingState::Composing;
        let composing = Composing { is_active, refresh: is_active.then_some(60), content_type: Some("text/plain".to_owned()) };
        let id = self.message_id();
        let body = composing.write().into();
        self.say_bytes(now, number, None, envelope, id, COMPOSING, body, false);
        true
    }

    /// The client has ended a session (interworking.md §3.4).
    pub(super) fn tell_gone(&mut self, now: Now, number: u64) {
        let Some(session) = self.sessions.all.get(&number) else { return };
        // Nobody who has heard nothing is told that it is over.
        if session.given.is_empty() {
            return;
        }
        let pair = (session.theirs.clone(), session.ours.clone());
        let Some(link) = self.links.get(&session.link).map(|link| link.id.clone()) else { return };
        self.tell_typing(now, &link, &pair, TypingState::Gone);
    }
}

const CPIM: &str = "message/cpim";
const PLAIN: &str = "text/plain;charset=UTF-8";
const COMPOSING: &str = "application/im-iscomposing+xml";

/// The content of a text, in a form that the client takes; `None`: it takes none that says it all.
fn content_of(
    envelope: &Envelope,
    text: &Text,
    peer: &Media,
    hub: &translate::Hub,
    manner: translate::Manner,
) -> Option<(String, Vec<u8>)> {
    let words = translate::words_of(text);
    if words.is_empty() || envelope.hops == 0 {
        return None;
    }
    let wrapped = peer.accepts_wrapped("text/plain");
    let asks = manner.imdn && !text.wants.is_nothing();
    if peer.accepts("text/plain") && !(wrapped && (asks || text.subject.is_some())) {
        let formatted = translate::formatted(envelope, text, &words, manner).filter(|_| peer.accepts("multipart/alternative"));
        let (media, content) = match formatted {
            Some((boundary, content)) => (format!("multipart/alternative;boundary=\"{boundary}\""), content),
            None => (PLAIN.to_owned(), words.into_owned()),
        };
        return Some((media, content.replace('\n', "\r\n").into_bytes()));
    }
    if !wrapped {
        return None;
    }
    let date = text.written.unwrap_or(envelope.accepted);
    let reference = hub.references.write(envelope);
    let asked = if text.wants.displayed {
        "positive-delivery, negative-delivery, display"
    } else {
        "positive-delivery, negative-delivery"
    };
    let headers = [("Message-ID", reference.as_str()), ("Disposition-Notification", asked)];
    let headers = if asks { headers.as_slice() } else { &[] };
    let subject = text.subject.as_ref().map(Plain::as_str);
    let content = translate::wrapped_with(envelope, date, subject, headers, &[("Content-Type", PLAIN)], &words).ok()?;
    Some((CPIM.to_owned(), content))
}

/// What other platforms see as the name of the conversation: nothing of the Call-ID, which may tell of addresses inside a company.
fn conversation_of(session: &Conversation) -> Arc<str> {
    let hash = Sha256::new().chain_update(b"session conversation\0").chain_update(&session.call_id).finalize();
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

impl crate::link::Link {
    fn is_crowded(&self) -> bool {
        self.unanswered >= crate::inbound::MOST_UNANSWERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_an_answer_of_the_standard() {
        for refusal in Refusal::ALL {
            let (status, comment) = to_status(refusal);
            assert!([400, 403, 408, 413, 415].contains(&status) && !comment.is_empty(), "{refusal}");
        }
        for (status, refusal) in [
            (403, Refusal::PeerRefused),
            (408, Refusal::TimedOut),
            (413, Refusal::TooLarge),
            (415, Refusal::Unsupported),
            (500, Refusal::PeerFault),
        ] {
            assert_eq!(from_status(status), refusal, "{status}");
        }
    }
}
