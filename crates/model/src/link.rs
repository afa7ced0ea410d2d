//! Links: who is connected, how, and whether it works.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Domain, LinkId, MemberId, PlatformName};

/// The connection between the hub and one member's server, with one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Its name.
    pub id: LinkId,
    /// Whose it is.
    pub member: MemberId,
    /// Over which platform.
    pub platform: PlatformName,
    /// The member's domains that it serves; whole names, no patterns.
    pub domains: Vec<Domain>,
    /// How fast the hub hands it messages.
    pub pace: Pace,
    /// What only its platform understands.
    pub settings: Settings,
}

/// How fast the hub hands messages to one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// How many messages may be handed over and not yet settled: 1 to 1,000. This also bounds how many can be doubled by a fault.
    pub in_flight: u16,
    /// How long a message may wait for the link before its sender is told that it was not delivered, in seconds: 1 to 2,592,000 (30 days).
    pub time_to_live: u32,
}

impl Pace {
    /// How long a message may wait for the link.
    #[must_use]
    pub const fn time_to_live(&self) -> Duration {
        Duration::from_secs(self.time_to_live as u64)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { in_flight: 64, time_to_live: 24 * 60 * 60 }
    }
}

/// Which line of waiting envelopes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueId {
    /// What waits for a link.
    Link(LinkId),
}

impl QueueId {
    /// The text under which a bus stores the queue: `link:NAME`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            QueueId::Link(link) => format!("link:{link}"),
        }
    }

    /// The queue that has this [`name`](Self::name); `None` for a text that is no queue's name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.strip_prefix("link:").map(|link| QueueId::Link(link.into()))
    }
}

/// Whether a link works. `Retrying` heals alone; `Broken` waits for a person (certificate, password, unknown domain).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nothing known yet.
    Connecting,
    /// Hand me messages.
    Up,
    /// Down, and being tried again without anybody's help.
    Retrying {
        /// One sentence for the operator: what failed, where. Never a secret or a message's text.
        why: String,
    },
    /// Down until somebody changes something; still tried again, seldom.
    Broken {
        /// One sentence for the operator: what is wrong, and how to mend it.
        why: String,
    },
}

impl Health {
    /// The stable label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Health::Connecting => "connecting",
            Health::Up => "up",
            Health::Retrying { .. } => "retrying",
            Health::Broken { .. } => "broken",
        }
    }

    /// Why the link is down; `None` while it is not.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Health::Retrying { why } | Health::Broken { why } => Some(why),
            Health::Connecting | Health::Up => None,
        }
    }

    /// Whether the link takes messages.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Health::Up)
    }
}

/// Settings that only one platform understands: a JSON object, read by that platform's own strict type.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub serde_json::Map<String, serde_json::Value>);

/// Settings that their platform does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{message}", if path.is_empty() { "" } else { ": " })]
pub struct SettingsError {
    /// Keys from the settings' root to the wrong one, joined by dots: `dial.port`. Empty: the whole.
    pub path: String,
    /// What is wrong with it and what would be right, in one line.
    pub message: String,
}

impl SettingsError {
    /// An error at a key.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// How a link is whose settings are these.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::Broken { why: format!("the settings cannot be used: {self}") }
    }
}

impl Settings {
    /// Reads the settings into a platform's own type, which should refuse unknown fields.
    ///
    /// # Errors
    /// [`SettingsError`], naming the path of the key that is wrong.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        let value = serde_json::Value::Object(self.0.clone());
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            SettingsError { path: if path == "." { String::new() } else { path }, message: error.inner().to_string() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[allow(dead_code)]
        dial: Dial,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Dial {
        #[allow(dead_code)]
        port: u16,
    }

    #[test]
    fn an_error_names_the_key() {
        let read = |json: &str| serde_json::from_str::<Settings>(json).unwrap().read::<Wanted>();
        assert!(read(r#"{"dial":{"port":1}}"#).is_ok());
        assert_eq!(read(r#"{"dial":{"port":"x"}}"#).unwrap_err().path, "dial.port");
        let unknown = read(r#"{"dial":{"port":1},"dail":1}"#).unwrap_err();
        assert!(unknown.message.contains("unknown field `dail`"), "{unknown}");
    }
}
