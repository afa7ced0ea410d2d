//! Names and numbers of things. A newtype each, so that no two can be mistaken for one another.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Identifies one envelope from entry to end: trace, deduplication, audit. Given once, never changed.
///
/// Laid out as a UUID of version 7 (RFC 9562 §5.7), so ids sort by the time of entry. Written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u128);

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message id is 32 hexadecimal digits")]
pub struct MessageIdError;

impl MessageId {
    /// Makes an id from the wall clock (milliseconds) and 74 of the random bits given.
    #[must_use]
    pub fn new(wall: SystemTime, random: u128) -> Self {
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &low_bytes(random)).into_uuid().as_u128())
    }
}

fn low_bytes(random: u128) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random.to_be_bytes()[6..]);
    bytes
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for MessageId {
    type Err = MessageIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(MessageIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| MessageIdError)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// One link: one member's server, over one platform.
    LinkId
}
name! {
    /// One registered organisation.
    MemberId
}

/// The name of a platform, as configuration and metrics write it: `xmpp`, `sip`, `echo`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlatformName(pub Cow<'static, str>);

impl PlatformName {
    /// A platform's own constant name.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlatformName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PlatformName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Joins an [`Up::Submit`](crate::Up::Submit) with its [`Down::Submitted`](crate::Down::Submitted). Chosen by the adapter, unique while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Joins a [`Down::Deliver`](crate::Down::Deliver) with its [`Up::Settle`](crate::Up::Settle). Chosen by the bus, unique per queue while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_their_text() {
        let early = MessageId::new(UNIX_EPOCH + Duration::from_millis(1_000), u128::MAX);
        let late = MessageId::new(UNIX_EPOCH + Duration::from_millis(1_001), 0);
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.to_string().len(), 32);
        assert_eq!("+0000000000000000000000000000001".parse::<MessageId>(), Err(MessageIdError));
    }
}
