//! Typing: at most one word in two seconds for each pair of people, the newest.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use interchange_model::{Envelope, LinkId};
use tokio::time::Instant;

use super::Pair;

/// Between two words of one pair.
const PACE: Duration = Duration::from_secs(2);
/// How long a conversation is remembered after its last word; longer than [`PACE`].
const MEMORY: Duration = Duration::from_secs(60);
/// Conversations that are remembered; of more, typing is not passed on.
const MOST: usize = 100_000;

/// What becomes of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is passed on.
    Now,
    /// It waits, and may be superseded: [`Conversations::due`] at this time.
    Later(Instant),
    /// It took the place of one that waits, or there is no room.
    Superseded,
}

#[derive(Debug, Default)]
pub(super) struct Conversations {
    known: HashMap<Pair, Conversation>,
    order: VecDeque<(Instant, Pair)>,
}

#[derive(Debug)]
struct Conversation {
    last: Instant,
    waiting: Option<(LinkId, Envelope)>,
    planned: bool,
}

impl Conversations {
    /// Somebody does something in a conversation.
    pub(super) fn hear(&mut self, now: Instant, pair: &Pair, link: &LinkId, envelope: &Envelope) -> Heard {
        self.forget_old(now);
        if let Some(conversation) = self.known.get_mut(pair) {
            if now < conversation.last + PACE {
                conversation.waiting = Some((link.clone(), envelope.clone()));
                return if std::mem::replace(&mut conversation.planned, true) {
                    Heard::Superseded
                } else {
                    Heard::Later(conversation.last + PACE)
                };
            }
            conversation.last = now;
            conversation.waiting = None;
            return Heard::Now;
        }
        if self.known.len() >= MOST {
            return Heard::Superseded;
        }
        self.known.insert(pair.clone(), Conversation { last: now, waiting: None, planned: false });
        self.order.push_back((now, pair.clone()));
        Heard::Now
    }

    /// The word of a pair that has waited.
    pub(super) fn due(&mut self, now: Instant, pair: &Pair) -> Option<(LinkId, Envelope)> {
        let conversation = self.known.get_mut(pair)?;
        conversation.planned = false;
        let waiting = conversation.waiting.take()?;
        conversation.last = now;
        Some(waiting)
    }

    /// Words were said, which says more than that they are being written.
    pub(super) fn said(&mut self, pair: &Pair) {
        if let Some(conversation) = self.known.get_mut(pair) {
            conversation.waiting = None;
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front()
            && now >= *since + MEMORY
        {
            let Some((_, pair)) = self.order.pop_front() else { return };
            match self.known.get(&pair) {
                Some(conversation) if now < conversation.last + MEMORY || conversation.planned => {
                    let last = if conversation.planned { now } else { conversation.last };
                    self.order.push_back((last, pair));
                }
                _ => {
                    self.known.remove(&pair);
                }
            }
        }
    }
}
