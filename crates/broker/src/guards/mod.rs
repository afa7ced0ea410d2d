//! What keeps one link, or one sender, from harming all others: how many texts may come, and how often the same.
//!
//! Plain values: texts and times go in, and why a text is refused comes out. Three rules, in this order:
//! - **The same again** (shared/protocols/interworking.md §7): two machines that answer each other never end by themselves, and XMPP has nothing in which
//!   hops could be counted. So the same words of one pair are taken a few times in [`REPEATED_WITHIN`], and then refused until they pause that long.
//! - **A sender**, and **a link**: a token bucket each. A refused text takes no token.
//!
//! Only texts count. Receipts, failures and watches follow from texts and people, and presence is thinned out elsewhere. Whatever comes again because
//! its answer was lost is known before (`duplicates.rs`), and is never refused here.

pub(crate) mod probing;
mod rate;
mod recent;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use interchange_model::{Body, Domain, Envelope, LinkId, Refusal, Text};
use tokio::time::Instant;

use self::rate::Bucket;
pub use self::rate::Rate;
use self::recent::Recent;

/// How long the same words of a pair must pause to be taken again.
pub const REPEATED_WITHIN: Duration = Duration::from_secs(10);

/// Senders that are counted at one time, some 10 MiB; of more, those longest silent begin with a full bucket.
const MOST_SENDERS: usize = 100_000;

/// Texts whose repeats are counted at one time, some 20 MiB.
const MOST_TEXTS: usize = 100_000;

/// How often at most a link's excess is logged.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// How many texts are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of all senders of one link together.
    pub link: Rate,
    /// Of one sender.
    pub sender: Rate,
    /// How often the same words from one person to another are taken within [`REPEATED_WITHIN`]; 0: without limit.
    pub repeats: u32,
}

impl Limits {
    /// The most that [`Limits::repeats`] may be.
    pub const MOST_REPEATS: u32 = 100;

    /// Without limits: for tests, and for measuring.
    #[must_use]
    pub const fn none() -> Self {
        Self { link: Rate::UNLIMITED, sender: Rate::UNLIMITED, repeats: 0 }
    }
}

impl Default for Limits {
    /// The values of the security requirements (abuse case 25) and of the interworking document (§7).
    fn default() -> Self {
        Self { link: Rate { per_second: 100, burst: 500 }, sender: Rate { per_second: 2, burst: 20 }, repeats: 5 }
    }
}

/// The counts of one hub.
pub(crate) struct Guards {
    limits: Limits,
    keys: (RandomState, RandomState),
    links: HashMap<LinkId, OfLink>,
    senders: Recent<Key, Bucket>,
    texts: Recent<Key, Seen>,
}

/// 128 bits under keys that nobody knows, so nobody can make two that collide.
type Key = (u64, u64);

#[derive(Default)]
struct OfLink {
    bucket: Bucket,
    /// When its excess was last logged.
    logged: Option<Instant>,
}

/// The same words of one pair.
#[derive(Default)]
struct Seen {
    /// When they came: the last few times, oldest first.
    times: VecDeque<Instant>,
    /// The last time they were refused.
    refused: bool,
}

impl Guards {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            keys: (RandomState::new(), RandomState::new()),
            links: HashMap::new(),
            senders: Recent::new(limits.sender.refill().unwrap_or_default(), MOST_SENDERS),
            texts: Recent::new(REPEATED_WITHIN, MOST_TEXTS),
        }
    }

    /// Whether an envelope of a link may be taken. People of `hub`, the hub's own domain, are the hub itself: they answer as fast as they are asked.
    ///
    /// # Errors
    /// [`Refusal::Loop`] for what has come too often, [`Refusal::RateLimited`] for too much in too short a time.
    pub(crate) fn admit(&mut self, now: Instant, envelope: &Envelope, hub: &Domain) -> Result<(), Refusal> {
        let Body::Text(text) = &envelope.body else { return Ok(()) };
        self.repeated(now, envelope, text)?;
        if envelope.from.domain() == hub {
            return Ok(());
        }
        let key = self.key(&envelope.from);
        let of_sender = self.senders.entry(now, key);
        let of_link = self.links.entry(envelope.origin.clone()).or_default();
        let (sender, link) = (of_sender.next(now, self.limits.sender), of_link.bucket.next(now, self.limits.link));
        if let (Some(sender), Some(link)) = (sender, link) {
            (*of_sender, of_link.bucket) = (sender, link);
            return Ok(());
        }
        if of_link.logged.is_none_or(|logged| now >= logged + LOGGED_EVERY) {
            of_link.logged = Some(now);
            let whose = if link.is_none() { "link" } else { "sender" };
            tracing::warn!(link = %envelope.origin, limit = whose, "more messages than are allowed; what is too much is refused, and its senders are told");
        }
        Err(Refusal::RateLimited)
    }

    /// Forgets links that are gone.
    pub(crate) fn retain(&mut self, is_known: impl Fn(&LinkId) -> bool) {
        self.links.retain(|link, _| is_known(link));
    }

    fn repeated(&mut self, now: Instant, envelope: &Envelope, text: &Text) -> Result<(), Refusal> {
        let Ok(most @ 1..) = usize::try_from(self.limits.repeats) else { return Ok(()) };
        let subject = text.subject.as_ref().map(|subject| subject.as_str());
        // What a text without words says, such as a reaction or something encrypted, stands in its native form.
        let native = envelope.native.as_ref().filter(|_| text.plain.is_empty() || text.encrypted).map(|native| &*native.payload);
        let key = self.key(&(&envelope.from, &envelope.to, text.plain.as_str(), subject, native));
        let seen = self.texts.entry(now, key);
        while seen.times.len() >= most.saturating_add(1) {
            seen.times.pop_front();
        }
        // Those that are refused count as well: it must be quiet before it may begin again.
        seen.times.push_back(now);
        let too_often = seen.times.len() > most && seen.times.front().is_some_and(|first| now < *first + REPEATED_WITHIN);
        let began = too_often && !seen.refused;
        seen.refused = too_often;
        if began {
            tracing::warn!(
                link = %envelope.origin,
                id = %envelope.id,
                times = seen.times.len(),
                "the same words again and again between two people, perhaps two machines that answer each other; they are refused until they pause"
            );
        }
        if too_often { Err(Refusal::Loop) } else { Ok(()) }
    }

    fn key(&self, value: &impl Hash) -> Key {
        (self.keys.0.hash_one(value), self.keys.1.hash_one(value))
    }
}

#[cfg(test)]
mod tests;
