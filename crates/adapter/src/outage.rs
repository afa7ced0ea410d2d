//! How long a link that is away is left alone before the next attempt.

use std::time::{Duration, Instant};

/// The shortest and the longest pause.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// A pause is this part of the time for which the link has been away.
const PART: u32 = 30;

/// An outage, from the first attempt that failed until the peer has answered.
///
/// The pause is a thirtieth of the outage so far, from 1 s to 5 min: a server that was away for half a minute is found within
/// a second of its return, one that was away for an hour within two minutes; an outage of a day costs some 450 attempts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// An attempt failed, or the link broke. How long to wait before the next, times 0.8 to 1.2 by `spread` (0 to 1), so that not all links
    /// of a place are tried in one moment.
    pub fn pause(&mut self, now: Instant, spread: f64) -> Duration {
        let since = *self.since.get_or_insert(now);
        let pause = (now.saturating_duration_since(since) / PART).clamp(SHORTEST, LONGEST);
        pause.mul_f64(0.8 + 0.4 * spread.clamp(0.0, 1.0))
    }

    /// The peer has answered.
    pub fn over(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_is_noticed_within_a_thirtieth_of_the_outage() {
        let mut outage = Outage::default();
        let start = Instant::now();
        let (mut now, mut attempts) = (start, 0);
        while now - start < Duration::from_secs(86_400) {
            let away = now - start;
            let pause = outage.pause(now, 0.5);
            assert!(pause <= Duration::from_secs(1).max(away / 30) && pause <= LONGEST, "{pause:?} after {away:?}");
            now += pause;
            attempts += 1;
        }
        assert!((300..500).contains(&attempts), "{attempts}");
        outage.over();
        assert_eq!(outage.pause(now, 0.0), Duration::from_millis(800));
    }
}
