//! How often a sender is told, by a message, of failures that came too late for an answer.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use interchange_model::{Address, Failure};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::outbox::Pair;

/// At most [`FEW`] notices for each pair in this time.
const WINDOW: Duration = Duration::from_secs(60);
const FEW: u32 = 3;
/// How long it is remembered how many were left out.
const MEMORY: Duration = Duration::from_secs(600);
/// Pairs that are counted at one time; the notices of others are left out.
const MOST_PAIRS: usize = 10_000;

/// What a sender is told of a failure, in words. `more`: so many others of the pair were not told about. Never any of the text itself.
#[must_use]
pub fn sentence(failure: &Failure, more: u32) -> String {
    // The time of entry is in the id itself (RFC 9562 §5.7).
    let accepted = failure.of.and_then(|id| u64::try_from(id.0 >> 80).ok()).map(Duration::from_millis);
    let accepted = accepted.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    let of = match accepted.map(|time| OffsetDateTime::from(time).format(MOMENT)) {
        Some(Ok(moment)) => format!("Your message of {moment} UTC"),
        _ => "Your message".to_owned(),
    };
    let others = match more {
        0 => String::new(),
        1 => " One more message was not delivered either.".to_owned(),
        more => format!(" {more} more messages were not delivered either."),
    };
    let detail = failure.detail.map(|detail| format!(" {}", detail.sentence())).unwrap_or_default();
    format!("{of} was not delivered. {}{detail}{others}", failure.why.sentence())
}

const MOMENT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// Whether automatic answers may go to a person: never to what looks like a machine that would answer in turn.
#[must_use]
pub fn takes_notices(person: &Address) -> bool {
    !["msilo", "noreply", "no-reply", "mailer-daemon"].iter().any(|prefix| person.user_key().starts_with(prefix))
}

/// The notices of the last minute.
#[derive(Default)]
pub struct Notices {
    pairs: HashMap<Pair, Count>,
    order: VecDeque<(Instant, Pair)>,
}

struct Count {
    since: Instant,
    told: u32,
    untold: u32,
}

impl Notices {
    /// Whether to tell of one more failure of this pair, and if so, of how many others that were not told.
    pub fn allow(&mut self, now: Instant, pair: &Pair) -> Option<u32> {
        if let Some(count) = self.pairs.get_mut(pair) {
            if now >= count.since + WINDOW {
                let untold = std::mem::replace(count, Count { since: now, told: 1, untold: 0 }).untold;
                self.order.push_back((now, pair.clone()));
                self.forget_old(now);
                return Some(untold);
            }
            if count.told < FEW {
                count.told += 1;
                return Some(0);
            }
            count.untold = count.untold.saturating_add(1);
            return None;
        }
        self.forget_old(now);
        if self.pairs.len() >= MOST_PAIRS {
            return None;
        }
        self.pairs.insert(pair.clone(), Count { since: now, told: 1, untold: 0 });
        self.order.push_back((now, pair.clone()));
        Some(0)
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((since, pair)) = self.order.front()
            && now >= *since + MEMORY
        {
            // A younger window of the pair has an entry of its own.
            if self.pairs.get(pair).is_some_and(|count| count.since == *since) {
                self.pairs.remove(pair);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: u32) -> Pair {
        let address = |user: &str| Address::parse(&format!("{user}{number}@b.example")).unwrap();
        (address("a"), address("b"))
    }

    #[test]
    fn a_few_a_minute_and_then_a_number() {
        let mut notices = Notices::default();
        let start = Instant::now();
        let allowed: Vec<_> = (0..10).map(|second| notices.allow(start + Duration::from_secs(second), &pair(1))).collect();
        assert_eq!(allowed[..3], [Some(0); 3]);
        assert_eq!(allowed[3..], [None; 7]);
        assert_eq!(notices.allow(start, &pair(2)), Some(0));
        assert_eq!(notices.allow(start + Duration::from_secs(70), &pair(1)), Some(7));
        assert_eq!(notices.allow(start + Duration::from_secs(71), &pair(1)), Some(0));
    }

    #[test]
    fn pairs_are_bounded_and_forgotten() {
        let mut notices = Notices::default();
        let start = Instant::now();
        let told = (0..20_000).filter(|number| notices.allow(start, &pair(*number)).is_some()).count();
        assert_eq!(told, MOST_PAIRS);
        assert_eq!(notices.allow(start + MEMORY, &pair(20_001)), Some(0));
        assert_eq!((notices.pairs.len(), notices.order.len()), (1, 1));
    }
}
