//! When the end of a certificate's time is worth a warning.

use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Days before its end at which a certificate is warned about.
pub(super) const WARN_BEFORE: [u32; 3] = [30, 14, 3];

/// Whether it is time to warn of a certificate that ends at `end`: at the first look (`before` is `None`) whenever 30 days or fewer are left; later when 30, 14
/// or 3 days before the end, or the end itself, lie between the look `before` and now; and from 3 days before the end on at every look. Looks are
/// meant to be a day apart.
#[must_use]
pub fn expiry_is_due(end: SystemTime, before: Option<SystemTime>, now: SystemTime) -> bool {
    let reached = |at: SystemTime, days: u32| at.checked_add(DAY * days).is_none_or(|at| at >= end);
    let [first, .., last] = WARN_BEFORE;
    match before {
        None => reached(now, first),
        Some(before) => reached(now, last) || WARN_BEFORE.iter().any(|days| reached(now, *days) && !reached(before, *days)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_at_30_14_and_3_days_and_then_daily() {
        let end = SystemTime::UNIX_EPOCH + DAY * 1000;
        let days_when_warned = |start: u32| -> Vec<i64> {
            let mut before = None;
            let mut warned = Vec::new();
            for day in start..1003 {
                // A little after midnight each day, never on the second.
                let now = SystemTime::UNIX_EPOCH + DAY * day + Duration::from_secs(u64::from(day % 7));
                if expiry_is_due(end, before, now) {
                    warned.push(1000 - i64::from(day));
                }
                before = Some(now);
            }
            warned
        };
        assert_eq!(days_when_warned(900), [30, 14, 3, 2, 1, 0, -1, -2]);
        // At a start or a reload in between, at once.
        assert_eq!(days_when_warned(980), [20, 14, 3, 2, 1, 0, -1, -2]);
        assert_eq!(days_when_warned(990), [10, 3, 2, 1, 0, -1, -2]);
        assert_eq!(days_when_warned(1002), [-2]);
    }

    #[test]
    fn the_edges_are_exact_and_no_time_is_too_far() {
        let end = SystemTime::UNIX_EPOCH + DAY * 1000;
        let second = Duration::from_secs(1);
        for days in WARN_BEFORE {
            let edge = end - DAY * days;
            assert!(expiry_is_due(end, Some(edge - second), edge), "{days}");
            assert_eq!(expiry_is_due(end, Some(edge), edge + second), days == 3, "{days}");
        }
        assert!(!expiry_is_due(end, None, end - DAY * 30 - second));
        assert!(!expiry_is_due(end, Some(end - DAY * 32), end - DAY * 31));
        // Looks that were missed, as on a machine that slept.
        assert!(expiry_is_due(end, Some(end - DAY * 40), end - DAY * 5));
        // A clock that is set back warns of nothing by itself.
        assert!(!expiry_is_due(end, Some(end - DAY * 20), end - DAY * 40));
        assert!(!expiry_is_due(SystemTime::UNIX_EPOCH + DAY * 100_000_000, None, end));
    }
}
