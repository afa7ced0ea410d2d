//! Token buckets, each as one point in time: when it is full again (the generic cell rate algorithm, ITU-T I.371).

use std::time::Duration;

use tokio::time::Instant;

/// How much is taken in the long run, and at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Texts a second; 0: without limit.
    pub per_second: u32,
    /// Texts at once, after a pause: at least 1 where there is a limit.
    pub burst: u32,
}

impl Rate {
    /// The most that either value may be.
    pub const MOST: u32 = 1_000_000;

    /// Without limit.
    pub const UNLIMITED: Self = Self { per_second: 0, burst: 0 };

    /// How long an empty bucket takes to be full; `None`: there is no limit.
    pub(super) fn refill(self) -> Option<Duration> {
        self.interval().map(|interval| interval * self.burst.max(1))
    }

    fn interval(self) -> Option<Duration> {
        Duration::from_secs(1).checked_div(self.per_second)
    }
}

/// The tokens of one link or sender; a new one is full.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    full: Option<Instant>,
}

impl Bucket {
    /// The bucket with one token less; `None`: there is none in it.
    pub(super) fn next(self, now: Instant, rate: Rate) -> Option<Self> {
        let (Some(interval), Some(refill)) = (rate.interval(), rate.refill()) else { return Some(self) };
        let full = self.full.unwrap_or(now).max(now) + interval;
        (full <= now + refill).then_some(Self { full: Some(full) })
    }
}
