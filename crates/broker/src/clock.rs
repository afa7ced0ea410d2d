//! The hub's clock: the calendar as it was when the hub started, and from then on what has really passed.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Tells the time of day without ever jumping: a system clock that is set an hour ahead or back while the hub runs makes no message
/// expire early or live longer. Follows the slewing of the system's clock, and takes up a new date at the next start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HubClock {
    started: Instant,
    date: SystemTime,
}

impl HubClock {
    /// A clock that agrees with the system's now.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), date: SystemTime::now() }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> SystemTime {
        self.date + self.started.elapsed()
    }

    /// How long ago that was; zero for a time to come, which only a clock that was set back between two starts can have noted.
    pub(crate) fn since(&self, time: SystemTime) -> Duration {
        self.now().duration_since(time).unwrap_or_default()
    }
}
