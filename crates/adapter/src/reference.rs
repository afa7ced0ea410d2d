//! Names for messages that go out to another platform, by which receipts and late errors find back to their senders.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use interchange_model::{Address, Envelope, MessageId};
use sha2::Sha256;

/// Digits of a message id, and of the code behind it: 64 bits, which nobody guesses in the lifetime of a link.
const ID: usize = 32;
const CODE: usize = 16;
/// The longest reference that is looked at, in bytes.
const LONGEST: usize = ID + CODE + 1 + 344;

/// Makes references, and knows its own again.
///
/// The id that a message has on its way (an XMPP stanza id, an IMDN Message-ID) is `ID CODE`, or `ID CODE . NATIVE`: the envelope's id, a
/// message authentication code over it and both people, and the sender's own id of the message. So a receipt that names it needs no table,
/// also after a restart of the hub, and none can be made up for a message that was never sent to whoever sends it.
#[derive(Debug, Clone)]
pub struct References {
    /// Keyed, ready to be copied.
    code: Hmac<Sha256>,
}

impl References {
    /// `secret`: that of the hub ([`Build::secret`](crate::Build::secret)), the same for all hubs of a bus.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut key = keyed(secret);
        key.update(b"message references");
        Self { code: keyed(&key.finalize().into_bytes()) }
    }

    /// The reference of an envelope that goes out.
    #[must_use]
    pub fn write(&self, envelope: &Envelope) -> String {
        let id = envelope.id.to_string();
        let native = envelope.native_id.as_deref();
        let code = self.code(&id, native, &envelope.from, &envelope.to);
        match native {
            Some(native) => format!("{id}{code}.{}", URL_SAFE_NO_PAD.encode(native)),
            None => format!("{id}{code}"),
        }
    }

    /// The id and the sender's own id of a message that `sender` sent to `recipient`; `None` for a text that is no reference of such a message.
    #[must_use]
    pub fn read(&self, text: &str, sender: &Address, recipient: &Address) -> Option<(MessageId, Option<Arc<str>>)> {
        if text.len() > LONGEST || !text.is_ascii() {
            return None;
        }
        let (head, native) = match text.split_once('.') {
            Some((head, native)) => (head, Some(String::from_utf8(URL_SAFE_NO_PAD.decode(native).ok()?).ok()?)),
            None => (text, None),
        };
        let (id, code) = head.split_at_checked(ID).filter(|(_, code)| code.len() == CODE)?;
        let message = id.parse().ok()?;
        let right = self.code(id, native.as_deref(), sender, recipient);
        // Who guesses learns nothing from the time that this takes: one wrong answer is like another, and no more is said of it.
        (right == code).then(|| (message, native.map(Arc::from)))
    }

    fn code(&self, id: &str, native: Option<&str>, sender: &Address, recipient: &Address) -> String {
        let mut code = self.code.clone();
        for part in [
            id,
            native.unwrap_or_default(),
            sender.user_key(),
            sender.domain().as_str(),
            recipient.user_key(),
            recipient.domain().as_str(),
        ] {
            // The length before each part: no two lists of parts run together to the same bytes.
            code.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            code.update(part.as_bytes());
        }
        code.finalize().into_bytes().iter().take(CODE / 2).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use interchange_model::{Body, Text};

    use super::*;

    fn envelope(native: Option<&str>) -> Envelope {
        Envelope {
            id: MessageId(7),
            origin: "acme".into(),
            from: Address::parse("Alice@acme.example").unwrap(),
            from_device: None,
            to: Address::parse("bob@globex.example").unwrap(),
            to_device: None,
            native_id: native.map(Into::into),
            accepted: SystemTime::UNIX_EPOCH,
            hops: 70,
            native: None,
            body: Body::Text(Text::default()),
        }
    }

    #[test]
    fn what_is_written_is_read_for_the_same_two_people_only() {
        let references = References::new(b"secret");
        let address = |text: &str| Address::parse(text).unwrap();
        let (alice, bob) = (address("alice@acme.example"), address("bob@globex.example"));
        for native in [None, Some("m1"), Some("\u{1F600} <&> \\"), Some("")] {
            let text = references.write(&envelope(native));
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)), "{text}");
            assert_eq!(references.read(&text, &alice, &bob), Some((MessageId(7), native.map(Into::into))));
            // Abuse: in the name of somebody else, of another message, under another key, with another native id.
            assert_eq!(references.read(&text, &bob, &alice), None);
            assert_eq!(references.read(&text, &alice, &address("eve@globex.example")), None);
            assert_eq!(references.read(&text.replacen('7', "8", 1), &alice, &bob), None);
            assert_eq!(References::new(b"other").read(&text, &alice, &bob), None);
            assert_eq!(references.read(&format!("{text}.bTI"), &alice, &bob), None);
        }
    }

    #[test]
    fn anything_else_is_none() {
        let references = References::new(b"secret");
        let (alice, bob) = (Address::parse("alice@acme.example").unwrap(), Address::parse("bob@globex.example").unwrap());
        for text in ["", "m1", ".", "é", &"0".repeat(48), &"0".repeat(47), &"a".repeat(10_000)] {
            assert_eq!(references.read(text, &alice, &bob), None);
        }
        let long = references.write(&envelope(Some(&"x".repeat(255))));
        assert!(references.read(&long, &alice, &bob).is_some());
    }
}
