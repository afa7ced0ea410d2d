//! The right side of an address.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// A domain name, parsed once: lower-case A-labels, no trailing dot, at most 253 bytes, never an IP literal.
///
/// Two spellings of one domain (upper case, U-labels, one trailing dot, full-width letters) parse to equal
/// values, so comparing domains is comparing bytes. Mapping is UTS #46, non-transitional (RFC 5891, RFC 7622 §3.2).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Domain(Arc<str>);

/// Why a text is not a [`Domain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing there.
    #[error("the domain is empty")]
    Empty,
    /// An IPv4 or IPv6 address: links are between domains, and an address proves nothing.
    #[error("an IP address is not a domain")]
    IpLiteral,
    /// A label is empty, too long, or holds a character that a host name cannot have.
    #[error("not a valid domain name")]
    Invalid,
}

impl Domain {
    /// Parses and normalises.
    ///
    /// # Errors
    /// [`DomainError`], when the text is not a domain name or is an IP literal.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        // A label of UTS #46 never grows by more than a few bytes a character; this bounds the work done below.
        if text.len() > 1023 {
            return Err(DomainError::Invalid);
        }
        if text.starts_with('[') || text.parse::<IpAddr>().is_ok() {
            return Err(DomainError::IpLiteral);
        }
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        if plain && Self::is_plain(text) {
            return Ok(Self(text.into()));
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| DomainError::Invalid)?;
        if ascii.is_empty() || ascii.len() > 253 {
            return Err(DomainError::Invalid);
        }
        // Full-width digits can map to an address that was not one before.
        if ascii.parse::<IpAddr>().is_ok() {
            return Err(DomainError::IpLiteral);
        }
        Ok(Self(ascii.into()))
    }

    /// Whether a text of `[a-z0-9.-]` is a valid name as it stands; the case of nearly every domain on a link.
    fn is_plain(text: &str) -> bool {
        text.len() <= 253
            && text.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    // Labels with hyphens in places 3 and 4 are A-labels or reserved: the full check decides.
                    && label.get(2..4) != Some("--")
            })
    }

    /// The A-label form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The U-label form, as XMPP writes it (RFC 7622 §3.2.1).
    #[must_use]
    pub fn to_unicode(&self) -> String {
        if self.0.contains("xn--") { idna::domain_to_unicode(&self.0).0 } else { self.0.to_string() }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::str::FromStr for Domain {
    type Err = DomainError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|why| serde::de::Error::custom(format!("`{}`: {why}", text.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_domain_are_equal() {
        let want = Domain::parse("xn--mller-kva.example").unwrap();
        for text in ["müller.example", "MÜLLER.example", "xn--mller-kva.example.", "XN--mller-kva.EXAMPLE", "müller。example"]
        {
            assert_eq!(Domain::parse(text), Ok(want.clone()), "{text}");
        }
        assert_eq!(want.to_unicode(), "müller.example");
        assert_eq!(Domain::parse("Acme.Example").unwrap().as_str(), "acme.example");
        assert_eq!(Domain::parse("ａｃｍｅ.example").unwrap().as_str(), "acme.example");
    }

    #[test]
    fn what_is_not_a_domain_is_refused() {
        for text in
            ["", ".", "a..b", ".a", "-a.example", "a-.example", "a b", "a@b", "a/b", "a\r\nb", "a_b.example", "xn--0", "a\u{0}b"]
        {
            assert!(Domain::parse(text).is_err(), "{text:?}");
        }
        assert!(Domain::parse(&"a".repeat(64)).is_err());
        assert!(Domain::parse(&"a.".repeat(200)).is_err());
        for text in ["192.0.2.1", "::1", "[::1]", "１92.0.2.1"] {
            assert_eq!(Domain::parse(text), Err(DomainError::IpLiteral), "{text}");
        }
    }
}
