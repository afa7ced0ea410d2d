//! Whether a link works, and when it is tried again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_model::Health;

use crate::directory::LinkInfo;
use crate::pair::PairKey;
use crate::timers::Alarm;

/// The longest time between two attempts, in seconds.
const SLOWEST: u64 = 300;

/// The state of one link.
#[derive(Debug)]
pub(crate) struct LinkState {
    /// What it is.
    pub(crate) info: Arc<LinkInfo>,
    /// As last told to the broker. Up until a dial fails, since streams are opened on demand.
    pub(crate) health: Health,
    /// Its pairs that have a stream, something waiting, or a refusal to remember.
    pub(crate) pairs: BTreeSet<PairKey>,
    /// While it is down: the pair that is tried, and is the first to be told up.
    pub(crate) probe: Option<PairKey>,
    /// For the timers.
    pub(crate) alarm: Alarm,
    /// When `probe` is tried next; `None` while it is being tried.
    retry: Option<Instant>,
    /// Failures one after another.
    failures: u32,
    order: u64,
}

impl LinkState {
    /// A link that was never dialled.
    pub(crate) fn new(info: Arc<LinkInfo>) -> Self {
        Self {
            info,
            health: Health::Up,
            pairs: BTreeSet::new(),
            probe: None,
            alarm: Alarm::default(),
            retry: None,
            failures: 0,
            order: 0,
        }
    }

    /// The place of the next delivery among all of the link.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// A stream had lived for long before it failed: earlier failures do not count any more.
    pub(crate) fn forgive(&mut self) {
        self.failures = 0;
    }

    /// A stream failed. When to try again: after 1, 2, 4 .. 300 s, after 300 s at once if `slowest`; 20 % more or less.
    pub(crate) fn fell(&mut self, now: Instant, pair: PairKey, slowest: bool, jitter: u64) -> Instant {
        let seconds = if slowest { SLOWEST } else { (1u64 << self.failures).min(SLOWEST) };
        self.failures = (self.failures + 1).min(16);
        self.probe = Some(pair);
        let at = now + Duration::from_millis(seconds * (800 + jitter % 401));
        self.retry = Some(at);
        at
    }

    /// It works again. How often it had failed is forgotten only after a stream has lived for long.
    pub(crate) fn rose(&mut self) {
        self.health = Health::Up;
        self.probe = None;
        self.retry = None;
    }

    /// The peer is alive: when to try instead, if that is sooner.
    pub(crate) fn hasten(&mut self, now: Instant) -> Option<Instant> {
        let soon = now + Duration::from_secs(1);
        let retry = self.retry.filter(|at| *at > soon)?;
        debug_assert!(retry > soon);
        self.retry = Some(soon);
        Some(soon)
    }

    /// The alarm rang: the pair to try now, nothing to do, or when to wake again.
    pub(crate) fn wake(&mut self, now: Instant) -> Result<Option<PairKey>, Instant> {
        match self.retry {
            Some(at) if at > now => Err(at),
            Some(_) => {
                self.retry = None;
                Ok(self.probe.clone())
            }
            None => Ok(None),
        }
    }
}
