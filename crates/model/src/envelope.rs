//! One canonical event on its way from one link to another.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Address, Body, Device, Failure, LinkId, MessageId, PlatformName, Refusal, TextKind, millis};

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
    /// The same in the words of the platform it came from, for an adapter of that platform and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

/// What a message or a presence said in its own platform's words, validated and written anew by the adapter it came in through.
///
/// Everything the hub decides it decides by the canonical form beside it, and so does every adapter of another platform. Between two links
/// of one platform it lets through what the model has no words for. Addresses, ids and times are never taken from it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    /// The platform whose words these are.
    pub platform: PlatformName,
    /// At most [`Native::LONGEST`] bytes. For XMPP: the stanza's child elements of allowed namespaces.
    pub payload: Arc<str>,
}

impl Native {
    /// The longest payload, in bytes.
    pub const LONGEST: usize = 128 * 1024;
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes of {}>", self.payload.len(), self.platform)
    }
}

impl Envelope {
    /// Hops of an envelope that comes in over a platform which does not count them (RFC 3261 §8.1.1.6).
    pub const FULL_HOPS: u8 = 70;

    /// What somebody says to somebody, as an adapter takes it in; what more the platform tells (devices, a native id, hops) is put in by whoever
    /// knows it.
    #[must_use]
    pub fn new(id: MessageId, origin: LinkId, (from, to): (Address, Address), accepted: SystemTime, body: Body) -> Self {
        Self {
            id,
            origin,
            from,
            from_device: None,
            to,
            to_device: None,
            native_id: None,
            accepted,
            hops: Self::FULL_HOPS,
            body,
            native: None,
        }
    }

    /// The failure of this envelope, addressed to its sender; `None` where none may be sent: only words are worth one. A failure is
    /// never answered by a failure, nor a headline by anything (RFC 6121 §5.2.2), nor are receipts (RFC 5438 §8).
    #[must_use]
    pub fn failure(&self, id: MessageId, why: Refusal, now: SystemTime) -> Option<Envelope> {
        match &self.body {
            Body::Text(text) if text.kind != TextKind::Headline => {
                let failure = Failure { of: Some(self.id), native_id: self.native_id.clone(), why, detail: None };
                Some(self.answer(id, Body::Failure(failure), now))
            }
            _ => None,
        }
    }

    /// An envelope that goes the other way: from the recipient, and the recipient's device, to the sender's. Its origin is this one's, since
    /// it goes back over the link that this one came in on.
    #[must_use]
    pub fn answer(&self, id: MessageId, body: Body, now: SystemTime) -> Envelope {
        let (from_device, to_device) = (self.to_device.clone(), self.from_device.clone());
        let people = (self.to.clone(), self.from.clone());
        Envelope { from_device, to_device, ..Self::new(id, self.origin.clone(), people, now, body) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::Text;

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
            native: None,
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
