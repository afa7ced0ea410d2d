//! Addresses as XMPP writes them, and XEP-0106 escaping of their user part.

use bytes::BytesMut;
use interchange_model::{Address, Device, Domain};

use crate::codec::push_attribute;

/// An address of a stanza: of a person, perhaps with the person's device, or of a whole domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jid {
    /// The person's unescaped user text; `None` for the domain itself.
    pub(crate) user: Option<String>,
    /// The domain.
    pub(crate) domain: Domain,
    /// The resource as written.
    pub(crate) resource: Option<String>,
}

/// What is wrong with a text that is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JidError {
    /// The domain cannot be told, so neither can whose stanza it is.
    #[error("expected a domain in the address")]
    Domain,
    /// The part before the `@` cannot be.
    #[error("expected a user part that XMPP allows")]
    User,
    /// The part after the `/` cannot be.
    #[error("expected a resource of 1 to 1,023 bytes")]
    Resource,
}

impl Jid {
    /// Parses `user@domain/resource`. A domain spelled as one of `known` costs no parsing.
    ///
    /// # Errors
    /// [`JidError`]; [`JidError::Domain`] comes before the others.
    pub(crate) fn parse(text: &str, known: &[&Domain]) -> Result<Self, JidError> {
        // First the slash, then the first @ of what is before it (RFC 7622 §3.1).
        let (bare, resource) = text.split_once('/').map_or((text, None), |(bare, resource)| (bare, Some(resource)));
        let (user, domain) = bare.split_once('@').map_or((None, bare), |(user, domain)| (Some(user), domain));
        let domain = match known.iter().find(|known| known.as_str() == domain) {
            Some(known) => (*known).clone(),
            None => Domain::parse(domain).map_err(|_| JidError::Domain)?,
        };
        let user = user.map(|user| unescape(user).ok_or(JidError::User)).transpose()?;
        // RFC 7622 §3.4
        if resource.is_some_and(|resource| Device::new(resource).is_none()) {
            return Err(JidError::Resource);
        }
        Ok(Self { user, domain, resource: resource.map(str::to_owned) })
    }

    /// The person it is of; `None` for a domain, and for a user text that the model cannot hold.
    #[must_use]
    pub(crate) fn person(&self) -> Option<Address> {
        Address::new(self.user.as_deref()?, self.domain.clone()).ok()
    }

    /// The device.
    #[must_use]
    pub(crate) fn device(&self) -> Option<Device> {
        self.resource.as_deref().and_then(Device::new)
    }
}

/// Appends ` name='user@domain/device'`.
pub(crate) fn push_address(out: &mut BytesMut, name: &'static str, address: &Address, device: Option<&Device>) {
    let user = escape(address.user());
    let domain = address.domain();
    let mut text =
        String::with_capacity(user.len() + domain.as_str().len() + 2 + device.map_or(0, |device| device.as_str().len()));
    text.push_str(&user);
    text.push('@');
    push_domain_text(&mut text, domain);
    if let Some(device) = device {
        text.push('/');
        text.push_str(device.as_str());
    }
    push_attribute(out, name, &text);
}

/// Appends ` name='domain'`, in U-labels (RFC 7622 §3.2.1).
pub(crate) fn push_domain(out: &mut BytesMut, name: &'static str, domain: &Domain) {
    if domain.as_str().contains("xn--") {
        push_attribute(out, name, &domain.to_unicode());
    } else {
        push_attribute(out, name, domain.as_str());
    }
}

fn push_domain_text(text: &mut String, domain: &Domain) {
    if domain.as_str().contains("xn--") { text.push_str(&domain.to_unicode()) } else { text.push_str(domain.as_str()) }
}

/// What XEP-0106 §4.1 escapes, each as a backslash and the character's two hexadecimal digits.
const fn must_be_escaped(byte: u8) -> bool {
    matches!(byte, b' ' | b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@')
}

/// The character that an escape stands for, the escape being the first three bytes of `text`.
fn escaped(text: &[u8]) -> Option<char> {
    let [b'\\', high, low, ..] = text else { return None };
    match (high, low.to_ascii_lowercase()) {
        (b'2', b'0') => Some(' '),
        (b'2', b'2') => Some('"'),
        (b'2', b'6') => Some('&'),
        (b'2', b'7') => Some('\''),
        (b'2', b'f') => Some('/'),
        (b'3', b'a') => Some(':'),
        (b'3', b'c') => Some('<'),
        (b'3', b'e') => Some('>'),
        (b'4', b'0') => Some('@'),
        (b'5', b'c') => Some('\\'),
        _ => None,
    }
}

/// The user part of a JID from unescaped user text.
///
/// A backslash is escaped only where what follows would make it read as an escape (XEP-0106 §4.2).
#[must_use]
pub(crate) fn escape(user: &str) -> std::borrow::Cow<'_, str> {
    let bytes = user.as_bytes();
    let special = |at: usize| must_be_escaped(bytes[at]) || escaped(&bytes[at..]).is_some();
    let Some(first) = (0..bytes.len()).find(|at| special(*at)) else { return user.into() };
    let mut out = String::with_capacity(user.len() + 8);
    out.push_str(&user[..first]);
    for (at, c) in user[first..].char_indices() {
        if c.is_ascii() && special(first + at) {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let byte = bytes[first + at];
            out.push('\\');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// The user text of a JID's user part, in one pass; `None` when XMPP does not allow it: empty, longer than 1,023 bytes,
/// a character that had to be escaped (RFC 7622 §3.3.1), an escaped blank at either end (XEP-0106 §4.2).
#[must_use]
pub(crate) fn unescape(local: &str) -> Option<String> {
    let bytes = local.as_bytes();
    if !(1..=1023).contains(&local.len()) || bytes.iter().any(|byte| must_be_escaped(*byte) || byte.is_ascii_control()) {
        return None;
    }
    if !bytes.contains(&b'\\') {
        return Some(local.to_owned());
    }
    let mut out = String::with_capacity(local.len());
    let mut rest = local;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match escaped(rest.as_bytes()) {
            Some(c) => {
                out.push(c);
                rest = &rest[3..];
            }
            // An unknown sequence stays as it is (XEP-0106 §4.2).
            None => {
                out.push('\\');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    (!out.starts_with(' ') && !out.ends_with(' ')).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_interworking_table_hold_both_ways() {
        for (user, local) in [
            ("alice", "alice"),
            ("o'malley", r"o\27malley"),
            ("m&m", r"m\26m"),
            ("tschüss", "tschüss"),
            ("space cadet", r"space\20cadet"),
            ("call:me", r"call\3ame"),
            ("at@home", r"at\40home"),
            ("a/b", r"a\2fb"),
            ("100%", "100%"),
            (r"a\27b", r"a\5c27b"),
            (r"a\2bb", r"a\2bb"),
            (r"c:\net", r"c\3a\net"),
            (r"c:\cool", r"c\3a\cool"),
            (r"c:\5commas", r"c\3a\5c5commas"),
            (r"\3and\2is\5cool", r"\5c3and\2is\5c5cool"),
            ("\"<x>\"", r"\22\3cx\3e\22"),
            (r"\", r"\"),
            (r"a\:", r"a\\3a"),
            (r"\5c20", r"\5c5c20"),
            ("+4930;ext=5", "+4930;ext=5"),
        ] {
            assert_eq!(escape(user), local);
            assert_eq!(unescape(local).as_deref(), Some(user), "{local}");
        }
        // Hexadecimal digits in either case, and one pass only.
        assert_eq!(unescape(r"a\2Fb").as_deref(), Some("a/b"));
        assert_eq!(unescape(r"a\5c2fb").as_deref(), Some(r"a\2fb"));
    }

    #[test]
    fn abuse_5_what_xmpp_forbids_in_a_user_part_is_refused() {
        for local in ["", "a b", "a&b", "a'b", "a\"b", "a:b", "a<b", "a>b", r"\20a", r"a\20", "a\u{0}", "a\nb", &"a".repeat(1024)]
        {
            assert_eq!(unescape(local), None, "{local:?}");
        }
    }

    #[test]
    fn the_slash_separates_before_the_at_sign() {
        let jid = Jid::parse("alice@A.example/x@y/z", &[]).unwrap();
        assert_eq!(
            (jid.user.as_deref(), jid.domain.as_str(), jid.resource.as_deref()),
            (Some("alice"), "a.example", Some("x@y/z"))
        );
        assert_eq!(Jid::parse("a.example/x@y", &[]).unwrap().user, None);
        assert_eq!(Jid::parse("alice@a.example/", &[]), Err(JidError::Resource));
        assert_eq!(Jid::parse("a@b@c.example", &[]), Err(JidError::Domain));
        assert_eq!(Jid::parse("@a.example", &[]), Err(JidError::User));
        assert_eq!(Jid::parse("alice@192.0.2.1", &[]), Err(JidError::Domain));
        assert_eq!(Jid::parse("", &[]), Err(JidError::Domain));
        // Test 23: both spellings of an IDN are one domain.
        let spelled = |text| Jid::parse(text, &[]).unwrap().domain;
        assert_eq!(spelled("alice@müller.example"), spelled("alice@xn--mller-kva.example"));
    }

    #[test]
    fn test_23_an_idn_is_written_in_u_labels() {
        let mut out = BytesMut::new();
        push_address(&mut out, "to", &Address::parse("o'malley@xn--mller-kva.example").unwrap(), Device::new("Büro '1").as_ref());
        assert_eq!(std::str::from_utf8(&out).unwrap(), r" to='o\27malley@müller.example/Büro &apos;1'");
    }

    proptest! {
        #[test]
        fn any_user_text_survives(user in "[^\\p{Cc}]{1,200}") {
            prop_assume!(!user.starts_with(' ') && !user.ends_with(' '));
            let local = escape(&user);
            prop_assume!(local.len() <= 1023);
            prop_assert_eq!(unescape(&local), Some(user));
        }

        #[test]
        fn any_backslashes_survive(user in r"[\\2-5acef07 :@x]{1,40}") {
            prop_assume!(!user.starts_with(' ') && !user.ends_with(' '));
            prop_assert_eq!(unescape(&escape(&user)), Some(user));
        }
    }
}
