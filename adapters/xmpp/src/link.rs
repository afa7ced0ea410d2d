//! Whether a link works, and when it is tried again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::Outage;
use interchange_model::Health;

use crate::directory::LinkInfo;
use crate::pair::PairKey;
use crate::timers::Alarm;

/// The time between two attempts at what only a person can mend.
const SLOWEST: Duration = Duration::from_secs(300);

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
    outage: Outage,
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
            outage: Outage::default(),
            order: 0,
        }
    }

    /// The place of the next delivery among all of the link.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// A stream failed. When to try again: see [`Outage`]; after 300 s if `slowest`; 20 % more or less.
    pub(crate) fn fell(&mut self, now: Instant, pair: PairKey, slowest: bool, jitter: u64) -> Instant {
        let spread = (jitter % 401) as f64 / 400.0;
        let pause = self.outage.pause(now, spread);
        self.probe = Some(pair);
        let at = now + if slowest { SLOWEST.mul_f64(0.8 + 0.4 * spread) } else { pause };
        self.retry = Some(at);
        at
    }

    /// It works again.
    pub(crate) fn rose(&mut self) {
        self.health = Health::Up;
        self.outage.over();
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
