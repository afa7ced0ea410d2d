//! Branches and tags of our own: unique within one seed, and not to be guessed from one another.

use sip_codec::Via;

/// A counter behind a keyed mixing function. Whoever sees one output does not see the seed, but this is no cipher: nothing
/// rests on it alone, since a response counts only from the peer that was asked.
pub(crate) struct Source {
    seed: u64,
    counter: u64,
    label: Box<str>,
}

impl Source {
    /// `label` must be a token.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        Self { seed, counter: 0, label: label.into() }
    }

    /// A new branch with the cookie (RFC 3261 §8.1.1.7).
    pub(crate) fn branch(&mut self) -> String {
        let number = self.next();
        // The counter keeps two outputs apart even where the mixing would not
        format!("{}-{}-{:x}-{number:016x}", Via::COOKIE, self.label, self.counter)
    }

    /// A new tag; RFC 3261 §19.3 asks for 32 random bits.
    pub(crate) fn tag(&mut self) -> String {
        format!("{:016x}", self.next())
    }

    fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        mix(mix(self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.seed) ^ self.seed.rotate_left(32))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_follow_the_seed_and_do_not_repeat() {
        let mut first = Source::new(1, "hub");
        let mut again = Source::new(1, "hub");
        let mut other = Source::new(2, "hub");
        let branches: std::collections::BTreeSet<_> = (0..1000).map(|_| first.branch()).collect();
        assert_eq!(branches.len(), 1000);
        assert!(branches.contains(&again.branch()));
        assert!(!branches.contains(&other.branch()));
    }
}
