//! Domains that a person takes for one another (abuse case 4).
//!
//! Names are compared by their skeletons (UTS #39 §4): each character is replaced by the one that stands for all that look like it, a Cyrillic `а` by a Latin
//! `a`, `1` by `l`, `m` by `rn`. Nothing is decided here: who registers domains asks, and has somebody look.

use std::collections::HashMap;

use interchange_model::{Domain, MemberId};
use unicode_security::confusable_detection::skeleton as of_text;

/// What stands for all domains that look like this one: equal for two that a person may take for one another. For comparing, never for showing.
#[must_use]
pub fn skeleton(domain: &Domain) -> String {
    // Domains are lower-case, and `0` is like the capital `O` only.
    of_text(&domain.to_unicode()).flat_map(char::to_lowercase).collect()
}

/// Domains by what they look like.
#[derive(Debug, Default)]
pub struct Lookalikes {
    known: HashMap<String, Vec<(Domain, MemberId)>>,
}

impl Lookalikes {
    /// Adds a domain of a member. Answers the first domain of another member that was added before and looks the same, and whose it is; one member's own
    /// domains may look as they like.
    pub fn add(&mut self, domain: &Domain, member: &MemberId) -> Option<(Domain, MemberId)> {
        let alike = self.known.entry(skeleton(domain)).or_default();
        let found = alike.iter().find(|(known, owner)| owner != member && known != domain).cloned();
        alike.push((domain.clone(), member.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn abuse_4_domains_that_look_alike_have_one_skeleton() {
        for (one, other) in [
            // Cyrillic а, с, е; Greek ο; a digit for a letter; r and n for m; a dotless i with a dot above.
            ("acme.example", "аcme.example"),
            ("acme.example", "acmе.example"),
            ("globex.example", "glοbex.example"),
            ("google.example", "g00gle.example"),
            ("globex.example", "g1obex.example"),
            ("acme.example", "acrne.example"),
            ("acme.example", "xn--cme-5cd.example"),
        ] {
            assert_eq!(skeleton(&domain(one)), skeleton(&domain(other)), "{one} {other}");
        }
        for (one, other) in
            [("acme.example", "acne.example"), ("acme.example", "acme.test"), ("bücher.example", "bucher.example")]
        {
            assert_ne!(skeleton(&domain(one)), skeleton(&domain(other)), "{one} {other}");
        }
    }

    #[test]
    fn abuse_4_only_domains_of_different_members_are_told() {
        let mut all = Lookalikes::default();
        let (acme, evil) = (MemberId::from("acme"), MemberId::from("evil"));
        assert_eq!(all.add(&domain("acme.example"), &acme), None);
        assert_eq!(all.add(&domain("acrne.example"), &acme), None);
        assert_eq!(all.add(&domain("аcme.example"), &evil), Some((domain("acme.example"), acme.clone())));
        assert_eq!(all.add(&domain("other.example"), &evil), None);
        assert_eq!(all.add(&domain("0ther.example"), &acme), Some((domain("other.example"), evil)));
    }
}
