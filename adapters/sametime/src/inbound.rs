//! What somebody says in a conversation: to the broker, or to a colleague.

use std::sync::Arc;

use interchange_adapter::{ConnId, Now, Output};
use interchange_model::{Address, Body, Failure, MessageId, Refusal, Text, Typing, TypingState, Up};

use crate::codec::{Message, Said, data};
use crate::conversation::Pending;
use crate::{Sametime, Submitted, limits, reason, send, session_of, translate};

impl Sametime {
    pub(crate) fn said(&mut self, now: Now, conn: ConnId, channel: u32, said: Said) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let from = session.person.clone();
        let Some(conversation) = session.conversation(channel) else { return };
        let to = conversation.with.clone();
        let text = match said {
            Said::Text(words) => Some(translate::from_text(&words)),
            Said::Data { kind: data::HTML, data, .. } => Some(translate::from_html(&data)),
            Said::Data { kind: data::MIME, data, .. } => match translate::from_mime(&data) {
                Some(text) => Some(text),
                None => return self.tell_refused(now, conn, &to, None, Refusal::Unsupported),
            },
            Said::Data { kind: data::SUBJECT, data, .. } => {
                conversation.subject = translate::from_subject(&data);
                return;
            }
            Said::Data { kind: data::TYPING, subtype, .. } => return self.types(now, &from, &to, subtype == 0),
            // Timestamps, invitations to places.
            Said::Data { .. } => return,
        };
        let Some(mut text) = text.filter(|text| !text.plain.is_empty()) else { return };
        text.subject = conversation.subject.take();
        text.display_name = self.people.get(&from).and_then(|person| person.name.clone());
        self.write(now, conn, from, to, text);
    }

    fn write(&mut self, now: Now, conn: ConnId, from: Address, to: Address, text: Text) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let Some(link) = self.links.get(&session.link) else { return };
        if link.domains.contains(to.domain()) {
            return self.relay(now, conn, &from, &to, text);
        }
        if session.submissions >= limits::SUBMISSIONS {
            return self.tell_refused(now, conn, &to, None, Refusal::Overloaded);
        }
        session.submissions += 1;
        if let Some(envelope) = self.envelope(now, &from, &to, Body::Text(text)) {
            self.submit(envelope, Submitted::Text { conn, to });
        }
    }

    /// Says something to a colleague. There is no store between: a colleague who is gone is told of by the end of the channel.
    fn relay(&mut self, now: Now, conn: ConnId, from: &Address, to: &Address, text: Text) {
        let colleague = self.people.get(to).filter(|person| !person.hidden.from(from));
        let logins = colleague.map(|person| person.logins.clone()).unwrap_or_default();
        if logins.is_empty() {
            return self.tell_refused(now, conn, to, None, Refusal::Unavailable);
        }
        let Some(envelope) = self.envelope(now, from, to, Body::Text(text)) else { return };
        let envelope = Arc::new(envelope);
        for login in logins {
            self.speak(now, login, from, Pending::new(envelope.clone(), None));
        }
    }

    fn types(&mut self, now: Now, from: &Address, to: &Address, active: bool) {
        let state = if active { TypingState::Composing } else { TypingState::Paused };
        let typing = Body::Typing(Typing { state, conversation: None });
        let Some(envelope) = self.envelope(now, from, to, typing) else { return };
        if self.people.contains_key(to) {
            return self.show_typing(from, to, active);
        }
        let link = envelope.origin.clone();
        self.out.push(Output::Broker(Up::Tell { link, envelope: Arc::new(envelope) }));
    }

    /// Shows on the conversations that are open that somebody writes, or has stopped.
    pub(crate) fn show_typing(&mut self, from: &Address, to: &Address, active: bool) {
        let logins = self.people.get(to).map(|person| person.logins.clone()).unwrap_or_default();
        for login in logins {
            let Some(session) = session_of(&mut self.conns, login) else { continue };
            let Some(channel) = session.conversations.get(from).copied() else { continue };
            if let Some(conversation) = session.conversation(channel).filter(|conversation| conversation.is_open) {
                let message = conversation.say(channel, &Said::typing(active));
                send(&mut self.out, login, &message);
            }
        }
    }

    /// The broker has taken a text, or refused it.
    pub(crate) fn text_submitted(&mut self, now: Now, conn: ConnId, to: &Address, result: Result<(), Refusal>) {
        if let Some(session) = session_of(&mut self.conns, conn) {
            session.submissions = session.submissions.saturating_sub(1);
        }
        if let Err(why) = result {
            self.touched.insert(conn);
            self.tell_refused(now, conn, to, None, why);
        }
    }

    /// Tells somebody, on one login, that what they have written was refused.
    fn tell_refused(&mut self, now: Now, conn: ConnId, to: &Address, of: Option<MessageId>, why: Refusal) {
        let failure = Failure { of, native_id: None, why, detail: None };
        let Some(person) = session_of(&mut self.conns, conn).map(|session| session.person.clone()) else { return };
        if let Some(envelope) = self.envelope(now, &person, to, Body::Failure(failure)) {
            // As if it came from the one it was for.
            let envelope = interchange_model::Envelope { from: to.clone(), to: person, ..envelope };
            self.tell_failure(now, conn, Pending::new(Arc::new(envelope), None));
        }
    }

    /// Tells somebody, on one login, of a failure: by words in the conversation, where people look, since the end of a channel shows nothing when
    /// nothing waits for it. Where the next message would fail for the same reason, the channel ends as well, and the next is refused at once.
    pub(crate) fn tell_failure(&mut self, now: Now, conn: ConnId, pending: Pending) {
        let Body::Failure(failure) = &pending.envelope.body else { return };
        let (why, from) = (failure.why, pending.envelope.from.clone());
        self.speak(now, conn, &from, pending);
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        if !reason::lasts(why) {
            return;
        }
        if session.refused.len() >= limits::REFUSED {
            session.refused.retain(|_, (until, _)| now.instant < *until);
        }
        if session.refused.len() < limits::REFUSED {
            session.refused.insert(from.clone(), (now.instant + limits::REFUSED_FOR, reason::of(why)));
        }
        let open = session.conversations.get(&from).copied();
        let is_open = open.and_then(|channel| session.conversation(channel)).is_some_and(|conversation| conversation.is_open);
        let Some(channel) = open.filter(|_| is_open) else { return };
        send(&mut self.out, conn, &Message::destroy(channel, reason::of(why)));
        // The words came before the end, in the same order: they are not lost with it.
        for sent in session.sent.iter_mut().filter(|sent| sent.channel == channel) {
            sent.channel = 0;
        }
        self.forget_channel(now, conn, channel);
    }
}
