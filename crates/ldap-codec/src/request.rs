//! What a client asks.

use crate::Filter;
use crate::ber::{self, BOOLEAN, ENUMERATED, INTEGER, OCTET_STRING, SEQUENCE, application, context};

/// A search below a base, for entries that a filter fits. RFC 4511 §4.5.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search<'a> {
    /// The distinguished name below which entries are looked for, itself included.
    pub base: &'a str,
    /// Which entries.
    pub filter: &'a Filter,
    /// Which of their attributes; none: no attributes at all.
    pub attributes: &'a [&'a str],
    /// The most entries that are wanted.
    pub most: u32,
    /// How long the server may look, in seconds.
    pub seconds: u32,
}

/// A simple bind, version 3. RFC 4511 §4.2. An empty password is refused here, since a server would take it for an anonymous bind and call it
/// a success (RFC 4513 §5.1.2): `None`.
#[must_use]
pub fn bind(id: u32, name: &str, password: &str) -> Option<Vec<u8>> {
    if password.is_empty() {
        return None;
    }
    Some(message(id, |into| {
        ber::write(into, application(0, true), |into| {
            ber::write_number(into, INTEGER, 3);
            ber::write_bytes(into, OCTET_STRING, name.as_bytes());
            ber::write_bytes(into, context(0, false), password.as_bytes());
        });
    }))
}

/// A search of the whole subtree.
#[must_use]
pub fn search(id: u32, search: &Search<'_>) -> Vec<u8> {
    message(id, |into| {
        ber::write(into, application(3, true), |into| {
            ber::write_bytes(into, OCTET_STRING, search.base.as_bytes());
            // wholeSubtree; aliases are not followed while searching, but to find the base.
            ber::write_number(into, ENUMERATED, 2);
            ber::write_number(into, ENUMERATED, 2);
            ber::write_number(into, INTEGER, search.most);
            ber::write_number(into, INTEGER, search.seconds);
            ber::write_bytes(into, BOOLEAN, &[0]);
            search.filter.encode(into);
            ber::write(into, SEQUENCE, |into| {
                // RFC 4511 §4.5.1.8: "1.1" asks for no attributes; an empty list would ask for all.
                let none = ["1.1"];
                let attributes = if search.attributes.is_empty() { &none[..] } else { search.attributes };
                for attribute in attributes {
                    ber::write_bytes(into, OCTET_STRING, attribute.as_bytes());
                }
            });
        });
    })
}

/// Asks for TLS on the connection. RFC 4511 §4.14.1.
#[must_use]
pub fn start_tls(id: u32) -> Vec<u8> {
    message(id, |into| {
        ber::write(into, application(23, true), |into| ber::write_bytes(into, context(0, false), b"1.3.6.1.4.1.1466.20037"));
    })
}

fn message(id: u32, operation: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    ber::write(&mut bytes, SEQUENCE, |into| {
        ber::write_number(into, INTEGER, id);
        operation(into);
    });
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn requests_are_these_bytes() {
        assert_eq!(hex(&bind(1, "cn=a", "pw").unwrap()), "3012020101600d".to_owned() + "020103" + "0404636e3d61" + "80027077");
        assert_eq!(hex(&start_tls(1)), format!("301d02010177188016{}", hex(b"1.3.6.1.4.1.1466.20037")));
        let filter = Filter::Equal { attribute: "uid".into(), value: b"a*)(".to_vec() };
        let bytes = search(2, &Search { base: "dc=x", filter: &filter, attributes: &["cn"], most: 2, seconds: 5 });
        let want = "302d020102".to_owned()
            + "6328"
            + "040464633d78"
            + "0a0102"
            + "0a0102"
            + "020102"
            + "020105"
            + "010100"
            + "a30b"
            + "0403756964"
            + "0404612a2928"
            + "3004"
            + "0402636e";
        assert_eq!(hex(&bytes), want);
    }

    #[test]
    fn an_empty_password_never_binds() {
        assert_eq!(bind(1, "cn=a", ""), None);
    }
}
