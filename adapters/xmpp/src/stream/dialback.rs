//! Server dialback (XEP-0220): keys, and the elements that carry them.

use bytes::BytesMut;
use hmac::{Hmac, KeyInit, Mac};
use interchange_model::Domain;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::address::push_domain;
use crate::codec::{push_attribute, push_text};
use crate::errors::StanzaError;

/// Makes and checks the keys of this installation. Every process with the same secret makes the same ones.
pub(crate) struct Keys {
    /// The hexadecimal SHA-256 of the secret, as XEP-0185 §3 wants it.
    secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Keys of the installation's secret, which is used for nothing else in the same way.
    #[must_use]
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { secret: hex(&Sha256::digest(secret)) }
    }

    /// The key with which `originating` proves to `receiving` that it opened the stream of this id.
    ///
    /// XEP-0185 §3 joins the three by blanks. A domain never holds one, so no two triples are joined to the same text
    /// (abuse case 8).
    #[must_use]
    pub(crate) fn key(&self, receiving: &Domain, originating: &Domain, stream: &str) -> String {
        self.mac([receiving.as_str(), " ", originating.as_str(), " ", stream])
    }

    /// Whether a key is ours; takes the same time whatever is wrong with it.
    #[must_use]
    pub(crate) fn is_ours(&self, key: &str, receiving: &Domain, originating: &Domain, stream: &str) -> bool {
        // RFC 6120 allows white space around; some servers break lines.
        self.key(receiving, originating, stream).as_bytes().ct_eq(key.trim().as_bytes()).into()
    }

    /// A text of 32 hexadecimal digits that nobody can guess, different for each `seed` and `count`: ids of streams and pings.
    #[must_use]
    pub(crate) fn unguessable(&self, seed: u64, count: u64) -> String {
        // A colon first: no domain begins so, hence this is never the key of a stream.
        let mut text = self.mac([":id ", &seed.to_string(), " ", &count.to_string(), ""]);
        text.truncate(32);
        text
    }

    fn mac(&self, pieces: [&str; 5]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes keys of any length");
        for piece in pieces {
            mac.update(piece.as_bytes());
        }
        hex(&mac.finalize().into_bytes())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// What a dialback answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The domain is proved.
    Valid,
    /// The key is not the domain's.
    Invalid,
    /// It cannot be told (XEP-0220 §2.4.2).
    Error(StanzaError),
}

impl Answer {
    /// An error with this condition; the stream lives on.
    #[must_use]
    pub(crate) const fn error(condition: &'static str) -> Self {
        Answer::Error(StanzaError { condition, kind: "cancel", text: "" })
    }
}

/// Appends `<db:result/>` with a key (XEP-0220 §2.1.1).
pub(crate) fn push_request(out: &mut BytesMut, from: &Domain, to: &Domain, key: &str) {
    out.extend_from_slice(b"<db:result");
    push_domain(out, "from", from);
    push_domain(out, "to", to);
    out.extend_from_slice(b">");
    push_text(out, key);
    out.extend_from_slice(b"</db:result>");
}

/// Appends `<db:verify/>` with a key that came on the stream `id` (XEP-0220 §2.1.2).
pub(crate) fn push_question(out: &mut BytesMut, from: &Domain, to: &Domain, id: &str, key: &str) {
    out.extend_from_slice(b"<db:verify");
    push_domain(out, "from", from);
    push_domain(out, "to", to);
    push_attribute(out, "id", id);
    out.extend_from_slice(b">");
    push_text(out, key);
    out.extend_from_slice(b"</db:verify>");
}

/// Appends an answer: to a result when `id` is none, else to a verify. `from` and `to` are as written by the peer, turned round.
pub(crate) fn push_answer(out: &mut BytesMut, from: &str, to: &str, id: Option<&str>, answer: Answer) {
    let name: &[u8] = if id.is_some() { b"db:verify" } else { b"db:result" };
    out.extend_from_slice(b"<");
    out.extend_from_slice(name);
    push_attribute(out, "from", from);
    push_attribute(out, "to", to);
    if let Some(id) = id {
        push_attribute(out, "id", id);
    }
    match answer {
        Answer::Valid => out.extend_from_slice(b" type='valid'/>"),
        Answer::Invalid => out.extend_from_slice(b" type='invalid'/>"),
        Answer::Error(error) => {
            out.extend_from_slice(b" type='error'>");
            error.push(out);
            out.extend_from_slice(b"</");
            out.extend_from_slice(name);
            out.extend_from_slice(b">");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn the_example_of_xep_0185_gives_its_key() {
        // XEP-0185 §4; XEP-0220 uses other names, hence another key.
        let keys = Keys::new(b"s3cr3tf0rd14lb4ck");
        assert_eq!(
            keys.key(&domain("xmpp.example.com"), &domain("example.org"), "D60000229F"),
            "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"
        );
    }

    #[test]
    fn abuse_8_a_key_is_good_for_one_stream_and_one_pair_only() {
        let keys = Keys::new(&[1; 32]);
        let (a, b) = (domain("a.example"), domain("b.example"));
        let key = keys.key(&a, &b, "s1");
        assert!(keys.is_ours(&format!("\n {key}\n"), &a, &b, "s1"));
        for (receiving, originating, stream) in [(&a, &b, "s2"), (&b, &a, "s1"), (&a, &a, "s1")] {
            assert!(!keys.is_ours(&key, receiving, originating, stream));
        }
        assert!(!Keys::new(&[2; 32]).is_ours(&key, &a, &b, "s1"));
        assert!(!keys.is_ours("", &a, &b, "s1"));
    }

    #[test]
    fn ids_are_not_guessed_from_one_another() {
        let keys = Keys::new(&[1; 32]);
        let ids: std::collections::HashSet<String> = (0..100).map(|count| keys.unguessable(7, count)).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
