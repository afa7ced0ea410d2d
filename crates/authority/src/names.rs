//! The names in a certificate, and the DER that they are written in.
//!
//! The subjectAltName extension is written here, because SRVName is an IA5String (RFC 4985 §2), which the library does not write.

use interchange_model::Domain;

/// Most domains in one certificate.
pub(crate) const MOST_DOMAINS: usize = 100;

/// id-ce-subjectAltName, RFC 5280 §4.2.1.6.
pub(crate) const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];

/// id-on-dnsSRV, 1.3.6.1.5.5.7.8.7, RFC 4985 §2; with tag and length.
const DNS_SRV: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 8, 7];

const SEQUENCE: u8 = 0x30;
const IA5_STRING: u8 = 0x16;
/// `[0]`, constructed: otherName, and the explicit tag of its value.
const CONTEXT_0: u8 = 0xa0;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;

/// For which platforms a certificate has names, beside the dNSName that it always has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platforms {
    /// SRVName `_xmpp-server.DOMAIN` (RFC 6120 §13.7.1.2).
    pub xmpp: bool,
    /// `URI:sip:DOMAIN` (RFC 5922 §7.1).
    pub sip: bool,
}

impl Platforms {
    /// Names for all of them.
    pub const ALL: Self = Self { xmpp: true, sip: true };
}

/// The value of the subjectAltName extension: for each domain its dNSName, then its names for the platforms.
pub(crate) fn subject_alt_name(domains: &[Domain], platforms: Platforms) -> Vec<u8> {
    let mut names = Vec::new();
    for domain in domains {
        names.extend(element(DNS_NAME, domain.as_str().as_bytes()));
    }
    for domain in domains {
        if platforms.xmpp {
            let name = element(IA5_STRING, format!("_xmpp-server.{}", domain.as_str()).as_bytes());
            names.extend(element(CONTEXT_0, &[DNS_SRV, &element(CONTEXT_0, &name)].concat()));
        }
        if platforms.sip {
            names.extend(element(URI, format!("sip:{}", domain.as_str()).as_bytes()));
        }
    }
    element(SEQUENCE, &names)
}

/// Tag, length in its shortest form, content (X.690 §10.1).
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut der = vec![tag];
    if content.len() > 0x7f {
        der.push(0x80 | significant.len() as u8);
    }
    der.extend_from_slice(significant);
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
    use x509_parser::prelude::FromDer;

    #[test]
    fn lengths_have_their_shortest_form() {
        for (length, head) in [
            (0, &[0x30, 0][..]),
            (0x7f, &[0x30, 0x7f]),
            (0x80, &[0x30, 0x81, 0x80]),
            (0x100, &[0x30, 0x82, 1, 0]),
            (0x1_0000, &[0x30, 0x83, 1, 0, 0]),
        ] {
            assert_eq!(&element(SEQUENCE, &vec![7; length])[..head.len()], head);
        }
    }

    #[test]
    fn the_most_and_longest_names_read_back() {
        let label = "a".repeat(60);
        let domains: Vec<Domain> = (0..MOST_DOMAINS)
            .map(|number| Domain::parse(&format!("{label}.{label}.{label}.{label}.x{number:02}.io")).unwrap())
            .collect();
        for (platforms, each) in [(Platforms::ALL, 3), (Platforms { xmpp: false, sip: false }, 1)] {
            let der = subject_alt_name(&domains, platforms);
            let (rest, read) = SubjectAlternativeName::from_der(&der).unwrap();
            assert!(rest.is_empty());
            assert_eq!(read.general_names.len(), MOST_DOMAINS * each);
            let last = domains.last().unwrap().as_str();
            assert!(read.general_names.contains(&GeneralName::DNSName(last)));
            let uri = format!("sip:{last}");
            assert_eq!(read.general_names.contains(&GeneralName::URI(&uri)), platforms.sip);
        }
    }
}
