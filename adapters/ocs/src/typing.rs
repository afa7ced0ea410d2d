//! Whether somebody is writing, both ways: INFO with KeyboardActivity, in sessions that stand. Nothing of it is stored, repeated or bounced.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{Now, Output};
use interchange_model::{Body, Envelope, LinkId, MessageId, Typing, TypingState, Up};
use ocs_codec::keyboard::Keyboard;
use rand::RngExt;
use sip_codec::{ContentType, Method};
use sip_model::outbox::Pair;

use crate::timers::{Alarm, Sleeper};
use crate::{Asked, Ocs};

/// Clients repeat while keys are pressed; whoever has not for so long has stopped.
const STOPPED_AFTER: Duration = Duration::from_secs(12);
/// So often we say again that somebody writes, and for so long at most.
const REPEAT: Duration = Duration::from_secs(8);
const LONGEST: Duration = Duration::from_secs(60);
/// People who are remembered as writing; of more, nothing is told.
const MOST: usize = 50_000;

/// The member's people who are writing.
#[derive(Default)]
pub(crate) struct Writers {
    until: HashMap<Pair, (LinkId, Instant)>,
    ends: BTreeSet<(Instant, u64)>,
    numbers: HashMap<u64, Pair>,
    last: u64,
    alarm: Alarm,
}

/// Somebody of ours writes, and the other has been told so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing {
    since: Instant,
    pub(crate) next: Instant,
}

impl Ocs {
    /// One of the member's people writes, or has stopped.
    pub(crate) fn note_writer(&mut self, now: Now, number: u64, pair: Pair, is_typing: bool) {
        let Some(link) = self.links.get(&number).map(|link| link.id.clone()) else { return };
        let state = if is_typing { TypingState::Composing } else { TypingState::Paused };
        if is_typing {
            if self.writers.until.len() >= MOST {
                return;
            }
            let until = now.instant + STOPPED_AFTER;
            self.writers.last += 1;
            let entry = self.writers.last;
            self.writers.until.insert(pair.clone(), (link.clone(), until));
            self.writers.numbers.insert(entry, pair.clone());
            self.writers.ends.insert((until, entry));
            self.arm_writers();
        } else {
            self.writers.until.remove(&pair);
        }
        self.tell_typing(now, &link, &pair, state);
    }

    /// Words are the end of writing them.
    pub(crate) fn no_longer_writes(&mut self, pair: &Pair) {
        self.writers.until.remove(pair);
    }

    pub(crate) fn wake_writers(&mut self, now: Now) {
        self.writers.alarm.rang();
        while let Some((at, number)) = self.writers.ends.first().copied()
            && at <= now.instant
        {
            self.writers.ends.pop_first();
            let Some(pair) = self.writers.numbers.remove(&number) else { continue };
            let is_over = self.writers.until.get(&pair).is_some_and(|(_, until)| *until <= now.instant);
            if is_over && let Some((link, _)) = self.writers.until.remove(&pair) {
                self.tell_typing(now, &link, &pair, TypingState::Paused);
            }
        }
        self.arm_writers();
    }

    fn arm_writers(&mut self) {
        let next = self.writers.ends.first().map(|(at, _)| *at);
        self.timers.set(&mut self.writers.alarm, Sleeper::Writers, next);
    }

    pub(crate) fn tell_typing(&mut self, now: Now, link: &LinkId, pair: &Pair, state: TypingState) {
        let id = MessageId::new(now.wall, self.random.random());
        let body = Body::Typing(Typing { state, conversation: None });
        let envelope = Envelope::new(id, link.clone(), pair.clone(), now.wall, body);
        self.out.push(Output::Broker(Up::Tell { link: link.clone(), envelope: Arc::new(envelope) }));
    }

    /// The broker tells that somebody of ours writes, or has stopped. No session is begun for that.
    pub(crate) fn typing(&mut self, now: Now, link: &LinkId, envelope: &Envelope, typing: &Typing) {
        let Some(number) = self.names.get(link).copied() else { return };
        let pair = (envelope.from.clone(), envelope.to.clone());
        let Some((session, known)) = self.sessions.standing(number, &pair) else { return };
        let is_typing = typing.state == TypingState::Composing;
        if is_typing == known.writing.is_some() {
            return;
        }
        known.writing = is_typing.then_some(Writing { since: now.instant, next: now.instant + REPEAT });
        self.send_typing(now, session, is_typing);
        self.arm_session(session);
    }

    /// It is said again, while it lasts: the client would forget it.
    pub(crate) fn repeat_typing(&mut self, now: Now, session: u64) {
        let Some(known) = self.sessions.get_mut(session) else { return };
        let Some(writing) = known.writing else { return };
        let goes_on = now.instant < writing.since + LONGEST;
        known.writing = goes_on.then_some(Writing { next: now.instant + REPEAT, ..writing });
        self.send_typing(now, session, goes_on);
    }

    fn send_typing(&mut self, now: Now, session: u64, is_typing: bool) {
        let Some((number, way)) = self.way_of_session(session) else { return };
        // Of all that goes to an edge this can best be left out.
        if self.links.get_mut(&number).is_none_or(|link| link.pace.take(now.instant, 1).is_err()) {
            return;
        }
        let Ok(media) = ContentType::new("application", "xml") else { return };
        let id = format!("{session:016x}");
        let request = self.session_request(now, session, Method::Info, &id);
        let Some(request) = request.map(|request| request.body(media, Keyboard { is_typing }.write())) else { return };
        if let Ok(client) = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions) {
            self.clients.insert(client, Asked::Typing { session });
        }
    }
}
