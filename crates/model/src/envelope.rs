//! One canonical event on its way from one link to another.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{Address, Device, LinkId, MessageId, Plain, Refusal};

/// One event on its way: who, to whom, what. The same type whatever platform it came from or goes to.
///
/// Serialised (JSON) it is the record on the bus. Fields may be added with a default; none may change its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Given at entry, never changed.
    pub id: MessageId,
    /// The link it came in over, whose peer has proved to speak for the sender's domain.
    pub origin: LinkId,
    /// The sender.
    pub from: Address,
    /// The sender's device, where the platform told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_device: Option<Device>,
    /// The recipient.
    pub to: Address,
    /// The recipient's device, where the sender chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_device: Option<Device>,
    /// The id that the sender's own platform gave the message (an XMPP stanza id), at most 255 bytes: an error
    /// or a receipt must name it, or the sender's client cannot tell which message is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_id: Option<Arc<str>>,
    /// When the hub took it in, by the hub's clock; stored in milliseconds.
    #[serde(with = "millis")]
    pub accepted: SystemTime,
    /// How many more hubs, gateways and proxies it may pass (SIP Max-Forwards; 70 at first).
    pub hops: u8,
    /// What it says.
    pub body: Body,
}

/// What an envelope says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Words from one person to another.
    Text(Text),
    /// The sender of an earlier envelope is told that it was not delivered. `from` is the person it was for.
    Failure(Failure),
}

/// Words from one person to another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Text {
    /// Always present: every platform can show it.
    pub plain: Plain,
    /// A line above it, where the platform has one; at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Plain>,
    /// BCP 47 tag of the language, where the sender told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Arc<str>>,
    /// Opaque name of the conversation, where the platform has one; at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Arc<str>>,
    /// How the sender's client meant it to be shown.
    #[serde(default)]
    pub kind: TextKind,
    /// When it was written, by the sender's clock, if that differs from the time of arrival: the message was stored before.
    /// Informative only: nothing is ordered or expired by it. Stored in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_millis")]
    pub written: Option<SystemTime>,
}

/// How a text is meant to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextKind {
    /// A line in a conversation.
    #[default]
    Chat,
    /// A message that stands by itself (XMPP `normal`).
    Single,
    /// News that wants no answer and no error (XMPP `headline`).
    Headline,
}

/// The sender of an earlier envelope is told that it was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The envelope that failed; `None` when the recipient's side reported it too late to know which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<MessageId>,
    /// The `native_id` of that envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_id: Option<Arc<str>>,
    /// Why.
    pub why: Refusal,
}

/// The fieldless twin of [`Body`]: policy, capability, metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`Body::Text`]
    Text,
    /// [`Body::Failure`]
    Failure,
}

impl Kind {
    /// The stable label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Failure => "failure",
        }
    }
}

impl Body {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Body::Text(_) => Kind::Text,
            Body::Failure(_) => Kind::Failure,
        }
    }

    /// Bytes of text a person wrote in it: for the trace, which never shows the text itself.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Body::Text(text) => text.plain.as_str().len() + text.subject.as_ref().map_or(0, |subject| subject.as_str().len()),
            Body::Failure(_) => 0,
        }
    }
}

impl Envelope {
    /// Hops of an envelope that comes in over a platform which does not count them (RFC 3261 §8.1.1.6).
    pub const FULL_HOPS: u8 = 70;

    /// The failure of this envelope, addressed to its sender; `None` where none may be sent: a failure is never
    /// answered by a failure, nor a headline by anything (RFC 6121 §5.2.2).
    #[must_use]
    pub fn failure(&self, id: MessageId, why: Refusal, now: SystemTime) -> Option<Envelope> {
        match &self.body {
            Body::Failure(_) | Body::Text(Text { kind: TextKind::Headline, .. }) => None,
            Body::Text(_) => Some(Envelope {
                id,
                origin: self.origin.clone(),
                from: self.to.clone(),
                from_device: self.to_device.clone(),
                to: self.from.clone(),
                to_device: self.from_device.clone(),
                native_id: None,
                accepted: now,
                hops: Self::FULL_HOPS,
                body: Body::Failure(Failure { of: Some(self.id), native_id: self.native_id.clone(), why }),
            }),
        }
    }
}

/// Times on the bus are whole milliseconds since 1970.
mod millis {
    use super::{Duration, SystemTime, UNIX_EPOCH};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(to_millis(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        from_millis(u64::deserialize(deserializer)?).ok_or_else(|| serde::de::Error::custom("time out of range"))
    }

    pub(super) fn to_millis(time: SystemTime) -> u64 {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn from_millis(millis: u64) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }
}

mod optional_millis {
    use super::{SystemTime, millis};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(millis::to_millis).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.and_then(millis::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            id: MessageId(7),
            origin: "acme".into(),
            from: Address::parse("alice@acme.example").unwrap(),
            from_device: Device::new("laptop"),
            to: Address::parse("bob@globex.example").unwrap(),
            to_device: None,
            native_id: Some("m1".into()),
            accepted: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            hops: 70,
            body: Body::Text(Text { plain: "hi".into(), written: Some(UNIX_EPOCH), ..Text::default() }),
        }
    }

    #[test]
    fn the_record_on_the_bus_survives_its_text() {
        let json = serde_json::to_string(&envelope()).unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&json).unwrap(), envelope());
        // The form is a contract with records already stored by an older version.
        assert_eq!(
            json,
            r#"{"id":"00000000000000000000000000000007","origin":"acme","from":"alice@acme.example","from_device":"laptop","to":"bob@globex.example","native_id":"m1","accepted":1700000000123,"hops":70,"body":{"text":{"plain":"hi","kind":"chat","written":0}}}"#
        );
    }

    #[test]
    fn a_failure_goes_back_to_the_sender_and_is_not_answered_itself() {
        let failure = envelope().failure(MessageId(8), Refusal::NoSuchUser, UNIX_EPOCH).unwrap();
        assert_eq!(failure.to, envelope().from);
        assert_eq!(failure.to_device, envelope().from_device);
        assert_eq!(failure.from, envelope().to);
        assert!(
            matches!(&failure.body, Body::Failure(body) if body.of == Some(MessageId(7)) && body.native_id.as_deref() == Some("m1"))
        );
        assert_eq!(failure.failure(MessageId(9), Refusal::NoSuchUser, UNIX_EPOCH), None);
    }

    #[test]
    fn debug_of_an_envelope_never_shows_its_text() {
        assert!(!format!("{:?}", envelope()).contains("hi\""));
    }
}
