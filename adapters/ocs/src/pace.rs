//! How fast requests go to an edge, and to how many people: an edge that has merely discovered the hub throttles it beyond 20 messages a second, and
//! stops it when it has addressed 1,000 people.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use interchange_model::Address;

/// People of an edge that does not list the hub who are written to or watched, since the hub has started.
pub(crate) const MOST_ADDRESSES: usize = 900;

/// The bucket of one link: a second's worth at most.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Requests a second; `None`: no limit.
    rate: Option<u32>,
    /// When the bucket, were it to be emptied, would be full: so much has been taken.
    full: Option<Instant>,
    /// Who has been addressed; `None`: nobody counts.
    addressed: Option<HashSet<Address>>,
}

impl Pace {
    pub(crate) fn new(rate: Option<u32>, is_listed: bool) -> Self {
        Self { rate, full: None, addressed: (!is_listed).then(HashSet::new) }
    }

    /// Takes so many requests' worth.
    ///
    /// # Errors
    /// When there will be so much.
    pub(crate) fn take(&mut self, now: Instant, count: u32) -> Result<(), Instant> {
        let Some(rate) = self.rate else { return Ok(()) };
        let one = Duration::from_secs(1) / rate;
        let full = self.full.filter(|full| *full > now).unwrap_or(now);
        // A bucket smaller than what is asked for is given whole.
        let depth = Duration::from_secs(1).max(one * count);
        let after = full + one * count;
        if after > now + depth {
            return Err(after - depth);
        }
        self.full = Some(after);
        Ok(())
    }

    /// Takes note of somebody who is to be addressed; `false`: that would be one too many.
    pub(crate) fn address(&mut self, person: &Address) -> bool {
        let Some(addressed) = &mut self.addressed else { return true };
        if addressed.len() >= MOST_ADDRESSES {
            return addressed.contains(person);
        }
        addressed.insert(person.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_no_second_are_there_more_than_twice_the_rate_and_in_no_minute_more_than_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(15), false);
        let (mut now, mut taken) = (start, 0);
        while now < start + Duration::from_secs(60) {
            match pace.take(now, 1) {
                Ok(()) => taken += 1,
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        assert!((15 * 60..=15 * 61).contains(&taken), "{taken}");
        assert_eq!(Pace::new(None, true).take(start, 1_000_000), Ok(()));
        // More than a bucket at once is possible, alone.
        let mut slow = Pace::new(Some(1), false);
        assert_eq!(slow.take(start, 3), Ok(()));
        assert_eq!(slow.take(start, 3), Err(start + Duration::from_secs(3)));
    }

    #[test]
    fn addresses_are_counted_where_the_hub_is_not_listed() {
        let person = |number: usize| Address::parse(&format!("u{number}@contoso.example")).unwrap();
        let mut pace = Pace::new(None, false);
        assert_eq!((0..2_000).filter(|number| pace.address(&person(*number))).count(), MOST_ADDRESSES);
        assert!(pace.address(&person(7)));
        let mut listed = Pace::new(None, true);
        assert!((0..2_000).all(|number| listed.address(&person(number))));
    }
}
