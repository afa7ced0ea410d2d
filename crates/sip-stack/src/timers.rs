//! The timers of RFC 3261 §17 as values, and the queue they wait in.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::layer::{ClientId, ServerId};

/// Base values. The lettered timers of RFC 3261 table 4 follow from them.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// Estimated round trip: 500 ms.
    pub t1: Duration,
    /// Longest pause between retransmissions: 4 s.
    pub t2: Duration,
    /// Longest life of a message in the network: 5 s.
    pub t4: Duration,
    /// Timer F on reliable flows: 32 s. A shorter one lets a caller with other targets fail over sooner.
    pub reliable_timeout: Duration,
    /// Timer J on reliable flows: how long an answer is kept for a peer that connects anew and repeats its request. 0 in the
    /// book; 32 s. Who sees thousands of requests a second and knows repeats by other means wants less.
    pub reliable_linger: Duration,
    /// How long an INVITE may stay provisional before it is given up: 3 minutes after the last 1xx, as timer C.
    pub invite_proceeding: Duration,
    /// How long an INVITE waits for its first answer before 100 is sent: 200 ms (RFC 3261 §17.2.1).
    pub trying: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            reliable_timeout: Duration::from_secs(32),
            reliable_linger: Duration::from_secs(32),
            invite_proceeding: Duration::from_secs(180),
            trying: Duration::from_millis(200),
        }
    }
}

impl Timers {
    /// 64·T1: B, F, H, J, L, M, and D.
    pub(crate) fn whole(&self) -> Duration {
        self.t1 * 64
    }

    /// RFC 4320 §4.1: when the peer's timer E has reached T2, which is after T1 + 2·T1 + ... below T2 (3.5 s).
    pub(crate) fn silence(&self) -> Duration {
        let (mut sum, mut step) = (Duration::ZERO, self.t1);
        while step < self.t2 && !step.is_zero() {
            sum += step;
            step *= 2;
        }
        sum
    }
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owner {
    Client(ClientId),
    Server(ServerId),
}

/// What is due. A transaction has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A, E, G, and the 2xx of RFC 3261 §13.3.1.4.
    Retransmit,
    /// A 100 by ourselves.
    Trying,
    /// B, D, F, H, I, J, K, L, M.
    End,
}

/// All timers of a layer, soonest first. Every step is logarithmic in their number.
#[derive(Default)]
pub(crate) struct Queue {
    order: BTreeSet<(Instant, Owner, Kind)>,
    places: HashMap<(Owner, Kind), Instant>,
}

impl Queue {
    /// Sets or moves a timer.
    pub(crate) fn set(&mut self, owner: Owner, kind: Kind, at: Instant) {
        self.clear(owner, kind);
        self.order.insert((at, owner, kind));
        self.places.insert((owner, kind), at);
    }

    pub(crate) fn clear(&mut self, owner: Owner, kind: Kind) {
        if let Some(at) = self.places.remove(&(owner, kind)) {
            self.order.remove(&(at, owner, kind));
        }
    }

    pub(crate) fn clear_all(&mut self, owner: Owner) {
        for kind in [Kind::Retransmit, Kind::Trying, Kind::End] {
            self.clear(owner, kind);
        }
    }

    pub(crate) fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _, _)| *at)
    }

    /// Takes the soonest timer that is due, with the time it was due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Owner, Kind)> {
        let first @ (at, owner, kind) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.remove(&first);
        self.places.remove(&(owner, kind));
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_three_and_a_half_seconds() {
        assert_eq!(Timers::default().silence(), Duration::from_millis(3500));
    }
}
