//! Which message a link dies of.
//!
//! A message that makes a peer, or the hub's own adapter, break is handed over again after every break, and would hold up its link for ever. No
//! single break shows which of those in flight it was. So one that was there at two breaks is handed over alone; one that was there at
//! three, two of them alone, is given up.

use std::collections::HashMap;
use std::time::Duration;

use interchange_model::MessageId;
use tokio::time::Instant;

/// A link that breaks later than this after a message was handed over does not break because of it.
const SOON: Duration = Duration::from_secs(5);

/// Breaks after which a message is handed over alone.
const ALONE_AFTER: u8 = 2;

/// Breaks after which a message is given up, and how many of them it must have been alone at.
const GIVEN_UP_AFTER: u8 = 3;
const GIVEN_UP_ALONE: u8 = 2;

/// Messages in a row that are given up without any that arrives between them: beyond that it is the peer that is broken.
const IN_A_ROW: u8 = 4;

/// Messages that are watched: as many as can be in flight.
const MOST: usize = 1024;

/// The messages that were in flight when their link broke.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    breaks: HashMap<MessageId, Breaks>,
    given_up: u8,
}

#[derive(Debug, Default, Clone, Copy)]
struct Breaks {
    all: u8,
    alone: u8,
}

impl Suspects {
    /// The link broke while these were in flight, each handed over at its time.
    pub(super) fn broke(&mut self, now: Instant, in_flight: &[(MessageId, Instant)]) {
        for (id, since) in in_flight {
            if now.duration_since(*since) > SOON || (self.breaks.len() >= MOST && !self.breaks.contains_key(id)) {
                continue;
            }
            let breaks = self.breaks.entry(*id).or_default();
            breaks.all = breaks.all.saturating_add(1);
            breaks.alone = breaks.alone.saturating_add(u8::from(in_flight.len() == 1));
        }
    }

    /// A message has arrived or was refused: it is none of them.
    pub(super) fn cleared(&mut self, id: MessageId) {
        self.given_up = 0;
        if !self.breaks.is_empty() {
            self.breaks.remove(&id);
        }
    }

    /// Whether a message is to be handed over alone.
    pub(super) fn is_alone(&self, id: MessageId) -> bool {
        self.breaks.get(&id).is_some_and(|breaks| breaks.all >= ALONE_AFTER)
    }

    /// Whether a message is to be given up; it is forgotten then.
    pub(super) fn gives_up(&mut self, id: MessageId) -> bool {
        let enough = |breaks: &Breaks| breaks.all >= GIVEN_UP_AFTER && breaks.alone >= GIVEN_UP_ALONE;
        if self.given_up >= IN_A_ROW || !self.breaks.get(&id).is_some_and(enough) {
            return false;
        }
        self.given_up += 1;
        self.breaks.remove(&id);
        true
    }
}
