//! What one link holds of its queue, and which of it may be handed over now: order, back-off, slow start, time to live.
//!
//! A plain value: leases, outcomes and times go in; what to hand over and what to give up comes out. Its rules:
//! - A conversation is one sender and one recipient. What its peer refuses for now waits, and with it all that follows in the conversation; others go on.
//! - When a later message of the conversation has arrived already, the earlier one is given up instead: order holds, and its sender is told.
//! - A link that has just come up is handed two messages, and one more for each that arrives, up to its pace.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use interchange_bus::MOST_LEASED;
use interchange_model::{Address, DeliveryId, Detail, Envelope, MessageId, Outcome, Pace, Refusal};
use rand::RngExt;
use tokio::time::Instant;

use super::suspects::Suspects;
use crate::bounce::Refused;

/// Messages handed to a link that has just come up before the first has arrived.
const START: usize = 2;

/// Messages that wait in the conversations of one link, leased; more of the queue is not taken then.
const HELD: usize = 512;

/// Messages that wait in one conversation; its next ones are given up, so that one recipient's trouble does not hold up the link.
const HELD_BY_ONE: usize = 128;

/// Messages that wait in one conversation for somebody who is not here, and in all such ones: they wait for hours, and must leave room for those that
/// wait for seconds. The next ones come back.
const HELD_FOR_ONE_ABSENT: usize = 32;
const HELD_FOR_ABSENT: usize = 256;

/// How long a conversation waits after its first, second... refusal in a row, times 0.8 to 1.2.
const PAUSES: [u64; 5] = [1, 2, 5, 15, 60];

/// A lease and what is known of it.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) delivery: DeliveryId,
    pub(super) envelope: Arc<Envelope>,
    /// When it is too old.
    pub(super) expires: Instant,
}

#[derive(Debug)]
struct Held {
    leased: Leased,
    conversation: u64,
    /// Rises with every lease.
    place: u64,
    /// It may go although its conversation waits: it finds out whether that is over.
    first: bool,
}

#[derive(Debug)]
struct Flight {
    held: Held,
    since: Instant,
    /// The adapter has given it back.
    returned: bool,
}

/// A conversation with something in flight or waiting.
#[derive(Debug, Default)]
struct Conversation {
    in_flight: usize,
    /// The last place that has arrived.
    arrived: u64,
    /// Refused for now, while others of it are still in flight.
    failed: Vec<(Held, Refusal)>,
    waiting: VecDeque<Held>,
    /// Refusals in a row.
    refusals: usize,
    why: Option<Refusal>,
    /// When the first of those that wait may go.
    due: Option<Instant>,
}

impl Conversation {
    fn is_stopped(&self) -> bool {
        self.refusals > 0 || !self.failed.is_empty()
    }
}

/// The state of one open queue.
#[derive(Debug)]
pub(super) struct Board {
    in_flight_most: usize,
    /// May be handed over as soon as there is room, in this order.
    ready: VecDeque<Held>,
    in_flight: HashMap<DeliveryId, Flight>,
    conversations: HashMap<u64, Conversation>,
    keys: RandomState,
    /// Waiting in conversations.
    waiting: usize,
    /// Room, while it grows.
    window: usize,
    places: u64,
    /// The one in flight is to be alone there.
    alone: bool,
    returned: bool,
    suspects: Suspects,
    /// Given up, and their failures not stored yet.
    pub(super) refused: Vec<Refused>,
    /// Given up when the queue was closed, so that they come again: why, and why in quarantine.
    doomed: HashMap<MessageId, (Refusal, Option<String>)>,
    /// What was said beside the last refusal of one that is tried again, or given up and not told yet.
    details: HashMap<MessageId, Detail>,
}

impl Board {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            in_flight_most: pace.in_flight.into(),
            ready: VecDeque::new(),
            in_flight: HashMap::new(),
            conversations: HashMap::new(),
            keys: RandomState::new(),
            waiting: 0,
            window: START,
            places: 0,
            alone: false,
            returned: false,
            suspects: Suspects::default(),
            refused: Vec::new(),
            doomed: HashMap::new(),
            details: HashMap::new(),
        }
    }

    pub(super) fn set_pace(&mut self, pace: Pace) {
        // A link that has shown that it takes what it may is not asked to show it again.
        let open = self.window >= self.in_flight_most;
        self.in_flight_most = pace.in_flight.into();
        self.window = if open { self.in_flight_most } else { self.window.min(self.in_flight_most) };
    }

    /// Whether the next of the queue should be leased.
    pub(super) fn wants_more(&self) -> bool {
        let held = HELD.min(MOST_LEASED.saturating_sub(self.in_flight_most + 16)).max(1);
        self.ready.is_empty()
            && self.has_room()
            && !self.alone
            && self.waiting < held
            && self.refused.len() < self.in_flight_most.max(64)
    }

    /// Nothing is in flight or given up.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.values().all(|flight| flight.returned) && self.refused.is_empty()
    }

    /// Nothing more is handed over: the queue is to be closed.
    pub(super) fn rest(&mut self) {
        self.returned = true;
    }

    /// The adapter has given something back, or it rests: the queue is to be closed.
    pub(super) fn is_returned(&self) -> bool {
        self.returned
    }

    fn has_room(&self) -> bool {
        !self.returned && self.in_flight.len() < self.window.min(self.in_flight_most)
    }

    /// Takes a lease. Answers why it has to wait, if it has.
    pub(super) fn take(&mut self, now: Instant, leased: Leased) -> Option<Refusal> {
        self.places += 1;
        if let Some((why, dead)) = self.doomed.remove(&leased.envelope.id) {
            self.refused.push(Refused { dead, ..refused(leased, why) });
            return None;
        }
        let key = self.keys.hash_one((&leased.envelope.from, &leased.envelope.to));
        let held = Held { leased, conversation: key, place: self.places, first: false };
        let absent = self.conversations.get(&key).is_some_and(|conversation| conversation.why == Some(Refusal::Unavailable));
        let is_full = absent && self.absent() >= HELD_FOR_ABSENT;
        let stopped = self.conversations.get_mut(&key).filter(|conversation| conversation.is_stopped());
        match stopped {
            _ if held.leased.expires <= now => self.give_up(held, Refusal::Expired),
            None => self.ready.push_back(held),
            Some(conversation) => {
                let why = conversation.why.unwrap_or(Refusal::PeerFault);
                let most = if absent { HELD_FOR_ONE_ABSENT } else { HELD_BY_ONE };
                if is_full || conversation.waiting.len() >= most {
                    self.give_up(held, why);
                } else {
                    conversation.waiting.push_back(held);
                    self.waiting += 1;
                    return Some(why);
                }
            }
        }
        None
    }

    /// The next to be handed over, which is in flight then.
    pub(super) fn next(&mut self, now: Instant) -> Option<(DeliveryId, Arc<Envelope>)> {
        loop {
            if self.ready.is_empty() || !self.has_room() || self.alone {
                return None;
            }
            let id = self.ready.front()?.leased.envelope.id;
            let alone = self.suspects.is_alone(id);
            if alone && !self.in_flight.is_empty() {
                return None;
            }
            let mut held = self.ready.pop_front()?;
            let conversation = self.conversations.entry(held.conversation).or_default();
            // The conversation was stopped while this had its turn to come.
            if conversation.is_stopped() && !held.first {
                conversation.waiting.push_back(held);
                self.waiting += 1;
                continue;
            }
            held.first = false;
            let key = held.conversation;
            if self.suspects.gives_up(id) {
                let dead = Some("links broke each time when it was handed over".to_owned());
                self.refused.push(Refused { dead, ..refused(held.leased, Refusal::PeerFault) });
                self.conclude(now, key);
                continue;
            }
            if held.leased.expires <= now {
                self.give_up(held, Refusal::Expired);
                self.conclude(now, key);
                continue;
            }
            conversation.in_flight += 1;
            self.alone = alone;
            let (delivery, envelope) = (held.leased.delivery, held.leased.envelope.clone());
            self.in_flight.insert(delivery, Flight { held, since: now, returned: false });
            return Some((delivery, envelope));
        }
    }

    /// What became of one in flight. Its envelope, and why it is tried again, if it is; `None` for one that is not in flight.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        delivery: DeliveryId,
        outcome: Outcome,
    ) -> Option<(Arc<Envelope>, Option<Refusal>)> {
        if outcome == Outcome::LinkDown {
            // It stays in flight until the queue is closed: then it is known what was there beside it.
            let flight = self.in_flight.get_mut(&delivery)?;
            flight.returned = true;
            self.returned = true;
            return Some((flight.held.leased.envelope.clone(), None));
        }
        let Flight { held, .. } = self.in_flight.remove(&delivery)?;
        self.alone = false;
        let envelope = held.leased.envelope.clone();
        self.suspects.cleared(envelope.id);
        let outcome = self.note_detail(envelope.id, outcome);
        self.window = (self.window + 1).min(self.in_flight_most);
        let (key, mut again) = (held.conversation, None);
        let has_room = outcome != Outcome::Absent || self.absent() < HELD_FOR_ABSENT;
        if let Some(conversation) = self.conversations.get_mut(&key) {
            conversation.in_flight -= 1;
            match outcome {
                Outcome::Delivered => {
                    conversation.arrived = conversation.arrived.max(held.place);
                    conversation.refusals = 0;
                }
                Outcome::Refused(why) if why.is_temporary() => {
                    conversation.failed.push((held, why));
                    again = Some(why);
                }
                Outcome::Absent if has_room => {
                    conversation.failed.push((held, Refusal::Unavailable));
                    again = Some(Refusal::Unavailable);
                }
                Outcome::Absent => self.refused.push(refused(held.leased, Refusal::Unavailable)),
                Outcome::Refused(why) => self.refused.push(refused(held.leased, why)),
                Outcome::LinkDown | Outcome::RefusedWith(..) => {}
            }
            self.conclude(now, key);
        }
        Some((envelope, again))
    }

    /// Keeps what was said beside a refusal until the sender is told, also when that is of another reason in the end: that it is too old.
    fn note_detail(&mut self, id: MessageId, outcome: Outcome) -> Outcome {
        let Outcome::RefusedWith(why, detail) = outcome else {
            self.details.remove(&id);
            return outcome;
        };
        if self.details.len() > DOOMED {
            self.details.clear();
        }
        self.details.insert(id, detail);
        Outcome::Refused(why)
    }

    /// What was given up since the last time.
    pub(super) fn take_refused(&mut self) -> Vec<Refused> {
        let mut refused = std::mem::take(&mut self.refused);
        for refused in &mut refused {
            refused.detail = self.details.remove(&refused.envelope.id).or(refused.detail);
        }
        refused
    }

    /// Decides how a conversation goes on, when nothing of it is in flight.
    fn conclude(&mut self, now: Instant, key: u64) {
        let Some(conversation) = self.conversations.get_mut(&key) else { return };
        if conversation.in_flight > 0 {
            return;
        }
        if !conversation.failed.is_empty() {
            let mut failed = std::mem::take(&mut conversation.failed);
            failed.sort_by_key(|(held, _)| std::cmp::Reverse(held.place));
            for (held, why) in failed {
                if held.place < conversation.arrived {
                    self.refused.push(refused(held.leased, why));
                } else {
                    conversation.why = Some(why);
                    conversation.waiting.push_front(held);
                    self.waiting += 1;
                    conversation.due = Some(now);
                }
            }
            if conversation.due.is_some() {
                conversation.due = Some(now + pause(conversation.refusals));
                conversation.refusals += 1;
            }
        }
        if conversation.waiting.is_empty() {
            self.conversations.remove(&key);
        } else if conversation.refusals == 0 {
            // What has waited is first in line for the room there is.
            self.waiting -= conversation.waiting.len();
            self.ready.extend(conversation.waiting.drain(..));
            conversation.due = None;
        } else if conversation.due.is_none() {
            // The one that was tried is given up: the next finds out.
            conversation.due = Some(now);
        }
    }

    /// When [`wake`](Self::wake) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        let when = |conversation: &Conversation| {
            let expires = conversation.waiting.front().map(|held| held.leased.expires);
            conversation.due.into_iter().chain(expires).min()
        };
        self.conversations.values().filter_map(when).min()
    }

    /// Lets the first of each conversation whose pause is over have its turn, and gives up what is too old.
    pub(super) fn wake(&mut self, now: Instant) {
        let mut expired = Vec::new();
        for conversation in self.conversations.values_mut() {
            while conversation.waiting.front().is_some_and(|held| held.leased.expires <= now) {
                expired.extend(conversation.waiting.pop_front());
                self.waiting -= 1;
            }
            if conversation.due.is_some_and(|due| due <= now)
                && let Some(held) = conversation.waiting.pop_front()
            {
                conversation.due = None;
                self.waiting -= 1;
                self.ready.push_back(Held { first: true, ..held });
            }
        }
        for held in expired {
            self.give_up(held, Refusal::Expired);
        }
        self.conversations.retain(|_, conversation| {
            let over = conversation.in_flight == 0 && conversation.waiting.is_empty() && conversation.due.is_some();
            !over
        });
    }

    /// Somebody is here now: what waits for them has its turn.
    pub(super) fn hurry(&mut self, now: Instant, person: &Address) {
        for conversation in self.conversations.values_mut() {
            let is_theirs = |held: &Held| held.leased.envelope.to == *person;
            if conversation.due.is_some() && conversation.waiting.front().is_some_and(is_theirs) {
                conversation.due = Some(now);
            }
        }
    }

    /// How many wait for people who are not here.
    fn absent(&self) -> usize {
        let absent = self.conversations.values().filter(|conversation| conversation.why == Some(Refusal::Unavailable));
        absent.map(|conversation| conversation.waiting.len() + conversation.failed.len()).sum()
    }

    fn give_up(&mut self, held: Held, why: Refusal) {
        self.refused.push(refused(held.leased, why));
    }

    /// Remembers what is given up, or would be if the conversation came to its end, but not settled.
    fn doom(&mut self) {
        if self.doomed.len() > DOOMED {
            self.doomed.clear();
        }
        self.doomed.extend(self.refused.iter().map(|refused| (refused.envelope.id, (refused.why, refused.dead.clone()))));
        for conversation in self.conversations.values() {
            let overtaken = conversation.failed.iter().filter(|(held, _)| held.place < conversation.arrived);
            self.doomed.extend(overtaken.map(|(held, why)| (held.leased.envelope.id, (*why, None))));
        }
    }

    /// The queue is closed: everything goes back to it. What was in flight or given up, for the trace.
    pub(super) fn close(&mut self, now: Instant) -> Vec<Arc<Envelope>> {
        let in_flight: Vec<_> = self.in_flight.values().map(|flight| (flight.held.leased.envelope.id, flight.since)).collect();
        self.suspects.broke(now, &in_flight);
        // What was overtaken must not arrive later, nor what was found to be poison.
        self.doom();
        let returned = self.in_flight.drain().map(|(_, flight)| flight.held.leased.envelope);
        let returned = returned.chain(self.refused.drain(..).map(|refused| refused.envelope)).collect();
        self.ready.clear();
        self.conversations.clear();
        self.waiting = 0;
        self.window = START.min(self.in_flight_most);
        self.alone = false;
        self.returned = false;
        returned
    }
}

/// More are forgotten, all at once: they have gone to another hub.
const DOOMED: usize = 2 * MOST_LEASED;

fn refused(leased: Leased, why: Refusal) -> Refused {
    Refused { delivery: leased.delivery, envelope: leased.envelope, why, detail: None, dead: None }
}

/// The pause after so many refusals in a row.
fn pause(refusals: usize) -> Duration {
    let seconds = PAUSES[refusals.min(PAUSES.len() - 1)];
    Duration::from_secs(seconds).mul_f64(rand::rng().random_range(0.8..1.2))
}

#[cfg(test)]
mod tests;
