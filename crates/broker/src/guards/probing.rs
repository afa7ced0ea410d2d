//! Whether a link's people write to many who do not exist: somebody looks for addresses, or works from an old list (abuse case 25).

use std::collections::HashMap;
use std::time::Duration;

use interchange_model::{LinkId, Refusal};
use tokio::time::Instant;

use crate::trace::Stage;

/// How long is counted together.
const WINDOW: Duration = Duration::from_secs(600);

/// Texts of a window before a share says anything.
const LEAST: u32 = 50;

/// The share, in hundredths, above which the operator is told.
const SHARE: u32 = 30;

/// Links that are counted; of more, all begin anew.
const MOST_LINKS: usize = 10_000;

/// The counts of all links.
#[derive(Debug, Default)]
pub(crate) struct Probing {
    links: HashMap<LinkId, Count>,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    texts: u32,
    unknown: u32,
    told: bool,
}

impl Probing {
    /// Notes what became of a text that came in over a link. Answers how many of how many recipients were unknown, once in a window, when those are
    /// too many.
    pub(crate) fn note(&mut self, now: Instant, link: &LinkId, stage: Stage) -> Option<(u32, u32)> {
        let is_unknown = |why| matches!(why, Refusal::UnknownDomain | Refusal::NoSuchUser);
        // What failed was accepted, and counted, before.
        let (texts, unknown) = match stage {
            Stage::Accepted => (1, 0),
            Stage::Refused(why) if is_unknown(why) => (1, 1),
            Stage::Failed(why) | Stage::Dropped(why) if is_unknown(why) => (0, 1),
            _ => return None,
        };
        if self.links.len() >= MOST_LINKS && !self.links.contains_key(link) {
            self.links.clear();
        }
        let count = self.links.entry(link.clone()).or_insert(Count { since: now, texts: 0, unknown: 0, told: false });
        if now >= count.since + WINDOW {
            *count = Count { since: now, texts: 0, unknown: 0, told: false };
        }
        count.texts = count.texts.saturating_add(texts);
        count.unknown = count.unknown.saturating_add(unknown);
        let many = count.texts >= LEAST && u64::from(count.unknown) * 100 > u64::from(count.texts) * u64::from(SHARE);
        let news = many && !count.told;
        count.told |= many;
        news.then_some((count.unknown, count.texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abuse_25_many_unknown_recipients_are_told_once_in_ten_minutes() {
        let mut probing = Probing::default();
        let (start, link) = (Instant::now(), LinkId::from("acme"));
        let mut told = Vec::new();
        for number in 0..200 {
            let now = start + Duration::from_secs(number);
            told.extend(probing.note(now, &link, Stage::Accepted));
            if number % 2 == 0 {
                told.extend(probing.note(now, &link, Stage::Failed(Refusal::NoSuchUser)));
            }
            // Another link, other reasons.
            told.extend(probing.note(now, &"globex".into(), Stage::Accepted));
            told.extend(probing.note(now, &"globex".into(), Stage::Failed(Refusal::Unavailable)));
        }
        assert_eq!(told, [(25, 50)]);
        let later = start + WINDOW;
        let more: Vec<_> = (0..60).filter_map(|_| probing.note(later, &link, Stage::Refused(Refusal::UnknownDomain))).collect();
        assert_eq!(more, [(50, 50)]);
        // Thirty in a hundred are not too many.
        let mut probing = Probing::default();
        let stage = |number: u32| if number % 10 < 3 { Stage::Refused(Refusal::NoSuchUser) } else { Stage::Accepted };
        assert!((10..1_000).rev().all(|number| probing.note(start, &link, stage(number)).is_none()));
    }
}
