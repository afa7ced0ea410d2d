//! Messages that the broker has been given: their senders wait for an answer, which may be held back a moment to be a better one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use interchange_adapter::{ConnId, Now, Output};
use interchange_model::{Envelope, LinkId, MessageId, Refusal, Token, Up};
use sip_model::seen::{Fate, Fingerprint, Seen};

use crate::Ocs;
use crate::diagnostics::{Carriage, Diagnosis, of_refusal};
use crate::inbound::Open;
use crate::sessions::Wanted;
use crate::timers::{Alarm, Sleeper};

/// Messages of one link that the broker has not answered; more get 503.
const MOST_UNANSWERED: usize = 2_000;
/// Stored messages of all links whose answer is held back; more are answered at once.
const MOST_HELD: usize = 20_000;
/// Transactions that carry one message and wait for one answer: the newest.
const MOST_REPEATS: usize = 4;

/// The messages that wait, and those of the last ten minutes.
#[derive(Default)]
pub(crate) struct Desk {
    waiting: HashMap<Token, Waiting>,
    by_message: HashMap<MessageId, Token>,
    seen: Seen<Answer>,
}

struct Waiting {
    link: u64,
    message: MessageId,
    fingerprint: Fingerprint,
    carriage: Carriage,
    /// The requests that carried it: more than one, where it was repeated as a new transaction.
    requests: Vec<Open>,
    /// The session that its INVITE asks for.
    wanted: Option<Box<Wanted>>,
    /// The broker has it.
    stored: bool,
    /// What became of it, learnt before the broker said that it has it.
    early: Option<Answer>,
    alarm: Alarm,
}

/// What became of a message, as far as its answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is stored, or already with the recipient's server.
    Taken,
    /// It was not, or will not be, delivered.
    Refused(Refusal),
}

impl Desk {
    /// Whether an answer is still owed on a connection.
    pub(crate) fn owes(&self, conn: ConnId) -> bool {
        self.waiting.values().any(|waiting| waiting.requests.iter().any(|open| open.conn == conn))
    }
}

impl Ocs {
    /// Gives a message to the broker. `wanted`: the session that is begun when it is safe.
    pub(crate) fn submit(
        &mut self,
        now: Now,
        number: u64,
        envelope: Envelope,
        open: Open,
        carriage: Carriage,
        wanted: Option<Box<Wanted>>,
    ) {
        let fingerprint = Fingerprint::of(&envelope.origin, &open.request);
        // Real clients use one CSeq again in a session; there a repeat has its branch.
        let fingerprint = match (carriage, open.request.via().branch()) {
            (Carriage::Session, Some(branch)) => fingerprint.with(branch.as_bytes()),
            _ => fingerprint,
        };
        match self.desk.seen.get(now.instant, &fingerprint) {
            Some(Fate::Answered(answer)) => return self.reply(now, &open, answer, carriage, wanted.as_deref(), None),
            // RFC 3261 §8.2.2.2: the first of two requests for one session has its answer to come.
            Some(Fate::Open(_)) if carriage == Carriage::Invite => return self.refuse(now, &open, &Diagnosis::of(482)),
            Some(Fate::Open(token)) => {
                if let Some(waiting) = self.desk.waiting.get_mut(&token) {
                    if waiting.requests.len() >= MOST_REPEATS {
                        waiting.requests.remove(0);
                    }
                    waiting.requests.push(open);
                }
                return;
            }
            None => {}
        }
        let Some(link) = self.links.get_mut(&number) else { return };
        if self.stopped || link.unanswered >= MOST_UNANSWERED {
            return self.refuse(now, &open, &of_refusal(Refusal::Overloaded, carriage));
        }
        link.unanswered += 1;
        let name = link.id.clone();
        let token = Token(self.number());
        let message = envelope.id;
        self.desk.seen.open(now.instant, fingerprint, token);
        self.desk.by_message.insert(message, token);
        let waiting = Waiting {
            link: number,
            message,
            fingerprint,
            carriage,
            requests: vec![open],
            wanted,
            stored: false,
            early: None,
            alarm: Alarm::default(),
        };
        self.desk.waiting.insert(token, waiting);
        self.out.push(Output::Broker(Up::Submit { token, link: name, envelope: Arc::new(envelope) }));
    }

    /// The broker has taken a message, or refuses it.
    pub(crate) fn submitted(&mut self, now: Now, token: Token, result: Result<(), Refusal>) {
        let crowded = self.desk.waiting.len() > MOST_HELD;
        let Some(waiting) = self.desk.waiting.get_mut(&token) else { return };
        let mut wait = Duration::ZERO;
        if let Some(link) = self.links.get_mut(&waiting.link) {
            link.unanswered = link.unanswered.saturating_sub(1);
            wait = link.settings.answer_wait();
        }
        waiting.stored = result.is_ok();
        match (result, waiting.early) {
            (Err(why), _) => self.conclude(now, token, Answer::Refused(why)),
            (Ok(()), Some(answer)) => self.conclude(now, token, answer),
            (Ok(()), None) if wait.is_zero() || self.stopped || crowded => self.conclude(now, token, Answer::Taken),
            (Ok(()), None) => self.timers.set(&mut waiting.alarm, Sleeper::Answer(token), Some(now.instant + wait)),
        }
    }

    /// The recipient's server has it.
    pub(crate) fn delivered(&mut self, now: Now, link: &LinkId, message: MessageId) {
        if let Some(number) = self.names.get(link).copied() {
            self.learn(now, number, message, Answer::Taken);
        }
    }

    /// Uses the open answer to tell of a failure; `false`: there is none any more.
    pub(crate) fn answer_failure(&mut self, now: Now, number: u64, message: MessageId, why: Refusal) -> bool {
        self.learn(now, number, message, Answer::Refused(why))
    }

    fn learn(&mut self, now: Now, number: u64, message: MessageId, answer: Answer) -> bool {
        let Some(token) = self.desk.by_message.get(&message).copied() else { return false };
        let Some(waiting) = self.desk.waiting.get_mut(&token).filter(|waiting| waiting.link == number) else { return false };
        if waiting.stored {
            self.conclude(now, token, answer);
        } else {
            waiting.early = Some(answer);
        }
        true
    }

    /// The answer may wait no longer.
    pub(crate) fn wake_answer(&mut self, now: Now, token: Token) {
        if let Some(waiting) = self.desk.waiting.get_mut(&token) {
            waiting.alarm.rang();
            self.conclude(now, token, Answer::Taken);
        }
    }

    /// The hub stops: whoever waits for more than that a message is stored waits no longer.
    pub(crate) fn stop_waiting(&mut self, now: Now) {
        let mut stored: Vec<Token> =
            self.desk.waiting.iter().filter(|(_, waiting)| waiting.stored).map(|(token, _)| *token).collect();
        stored.sort_unstable();
        for token in stored {
            self.conclude(now, token, Answer::Taken);
        }
    }

    /// An INVITE was taken back before its text was safe. The text, if it is stored, is delivered all the same.
    pub(crate) fn cancelled(&mut self, now: Now, server: sip_stack::ServerId) {
        let waiting = self.desk.waiting.values_mut().find(|waiting| waiting.requests.iter().any(|open| open.server == server));
        let Some(waiting) = waiting else { return };
        let Some(at) = waiting.requests.iter().position(|open| open.server == server) else { return };
        let open = waiting.requests.remove(at);
        self.refuse(now, &open, &Diagnosis::of(487));
    }

    /// Gives the final answer.
    fn conclude(&mut self, now: Now, token: Token, answer: Answer) {
        let Some(mut waiting) = self.desk.waiting.remove(&token) else { return };
        self.timers.set(&mut waiting.alarm, Sleeper::Answer(token), None);
        self.desk.by_message.remove(&waiting.message);
        if waiting.stored {
            self.desk.seen.answered(&waiting.fingerprint, answer);
        } else {
            // Not taken: it may come again.
            self.desk.seen.forget(&waiting.fingerprint);
        }
        for open in &waiting.requests {
            self.reply(now, open, answer, waiting.carriage, waiting.wanted.as_deref(), Some(waiting.message));
        }
    }

    fn reply(
        &mut self,
        now: Now,
        open: &Open,
        answer: Answer,
        carriage: Carriage,
        wanted: Option<&Wanted>,
        message: Option<MessageId>,
    ) {
        match (answer, wanted) {
            (Answer::Taken, Some(wanted)) => self.begin_session(now, open, wanted, true),
            (Answer::Taken, None) => self.accept_words(now, open, message),
            (Answer::Refused(why), _) => self.refuse(now, open, &of_refusal(why, carriage)),
        }
    }
}
