//! A person's address, unescaped, as it is between all platforms.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

use crate::{Domain, DomainError};

/// A person: the real, unescaped user text, and the domain. A device is never part of it.
///
/// Two addresses are equal when their domains are equal and their user texts are equal after width mapping,
/// lower-casing and NFC (RFC 8265 UsernameCaseMapped; XMPP compares so, SIP by case, and the hub must choose one).
/// The user text keeps the case in which it was written, since a SIP server may insist on it.
#[derive(Clone)]
pub struct Address {
    user: Arc<str>,
    /// The comparison key, where it differs from `user`.
    key: Option<Arc<str>>,
    domain: Domain,
}

/// Why a text is not an [`Address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The part before the `@` is empty: a domain is not a person.
    #[error("the address has no user part")]
    NoUser,
    /// A control character, or a blank at either end, in the user part.
    #[error("the user part holds a character that no platform can carry")]
    Character,
    /// More than 1,023 bytes (RFC 7622 §3.3.1).
    #[error("the user part is longer than 1,023 bytes")]
    TooLong,
    /// The part after the `@`.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Address {
    /// Builds an address from unescaped user text and a domain.
    ///
    /// # Errors
    /// [`AddressError`], when the user text is empty, longer than 1,023 bytes, or holds a control character
    /// (also U+0080 to U+009F and the non-characters U+FFFE, U+FFFF, which XML cannot carry), or begins or ends with a blank.
    pub fn new(user: &str, domain: Domain) -> Result<Self, AddressError> {
        if user.is_empty() {
            return Err(AddressError::NoUser);
        }
        let ascii = user.is_ascii();
        let user: Arc<str> = if ascii { user.into() } else { user.nfc().collect::<String>().into() };
        if user.len() > 1023 {
            return Err(AddressError::TooLong);
        }
        if user.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{2028}' | '\u{2029}'))
            || user.starts_with(char::is_whitespace)
            || user.ends_with(char::is_whitespace)
        {
            return Err(AddressError::Character);
        }
        let key = if ascii && !user.bytes().any(|b| b.is_ascii_uppercase()) { None } else { Some(key(&user)) };
        let key = key.filter(|key| **key != *user);
        Ok(Self { user, key, domain })
    }

    /// Parses `user@domain`, where the user part is unescaped text: the last `@` separates.
    /// For configuration, tests and logs; adapters parse their own syntax and call [`Address::new`].
    ///
    /// # Errors
    /// As [`Address::new`] and [`Domain::parse`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (user, domain) = text.rsplit_once('@').ok_or(AddressError::NoUser)?;
        Self::new(user, Domain::parse(domain)?)
    }

    /// The user text, unescaped, in the case in which it was written.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user text in its comparison form.
    #[must_use]
    pub fn user_key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.user)
    }

    /// The domain.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}

/// Width mapping, lower case, NFC (RFC 8265 §3.3.2).
fn key(user: &str) -> Arc<str> {
    let mut mapped = String::with_capacity(user.len());
    for c in user.chars() {
        // Full-width and half-width forms have compatibility mappings; only these are folded (RFC 8264 §5.2.1).
        if matches!(c, '\u{ff01}'..='\u{ffef}' | '\u{3000}') {
            mapped.extend(std::iter::once(c).nfkc());
        } else {
            mapped.push(c);
        }
    }
    mapped.to_lowercase().nfc().collect::<String>().into()
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.user_key() == other.user_key() && self.domain == other.domain
    }
}
impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.user_key().hash(state);
        self.domain.hash(state);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user.escape_debug(), self.domain)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// One of a person's devices: an XMPP resource, a GRUU, an `epid`; unescaped and compared exactly.
/// Nothing is routed or permitted by it; it only lets an answer return to where the question came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Device(Arc<str>);

impl Device {
    /// A device name of 1 to 1,023 bytes without control characters, or `None`: a device is a hint, so a bad one is no error.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=1023).contains(&text.len());
        let clean = !text.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'));
        (fits && clean).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("not a device name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_width_do_not_tell_people_apart_and_case_is_kept() {
        let typed = Address::parse("Alice@A.Example").unwrap();
        assert_eq!(typed, Address::parse("alice@a.example").unwrap());
        assert_eq!(typed.user(), "Alice");
        assert_eq!(typed.user_key(), "alice");
        assert_eq!(Address::parse("ＢＯＢ@b.example").unwrap(), Address::parse("bob@b.example").unwrap());
        // One letter in two Unicode spellings.
        assert_eq!(Address::parse("tschu\u{308}ss@a.example").unwrap(), Address::parse("tschüss@a.example").unwrap());
    }

    #[test]
    fn unescaped_text_may_hold_any_printable_character() {
        for user in ["o'malley", "m&m", "space cadet", "call:me", "at@home", "a/b", "100%", r"a\27b", "<x>", "+4930;ext=5"] {
            let address = Address::new(user, Domain::parse("a.example").unwrap()).unwrap();
            let json = serde_json::to_string(&address).unwrap();
            let back: Address = serde_json::from_str(&json).unwrap();
            assert_eq!(back, address);
            assert_eq!(back.user(), user);
        }
    }

    #[test]
    fn what_no_platform_can_carry_is_refused() {
        for text in [
            "@b.example",
            "b.example",
            "a\u{0}b@b.example",
            "a\r\nb@b.example",
            " a@b.example",
            "a @b.example",
            "a\u{85}@b.example",
            "a@",
            "a@192.0.2.1",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
        assert!(Address::parse(&format!("{}@b.example", "a".repeat(1024))).is_err());
    }
}
