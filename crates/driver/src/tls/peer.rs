//! What a certificate says: names, subject, validity.

use interchange_adapter::PeerName;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::text;

/// Most names read from one certificate; public authorities allow a few hundred.
const NAMES: usize = 2_000;

/// id-on-xmppAddr, RFC 6120 §13.7.1.4: 1.3.6.1.5.5.7.8.5.
const XMPP_ADDR: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 8, 5];
/// id-on-dnsSRV, RFC 4985 §2: 1.3.6.1.5.5.7.8.7.
const DNS_SRV: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 8, 7];

const UTF8_STRING: u8 = 0x0c;
const IA5_STRING: u8 = 0x16;

/// The names in a certificate's subjectAltName extension, in order; none when the certificate cannot be read.
#[must_use]
pub fn peer_certificate_names(certificate: &CertificateDer<'_>) -> Vec<PeerName> {
    Leaf::read(certificate).map(|leaf| leaf.names()).unwrap_or_default()
}

/// An end entity's certificate, read.
pub(super) struct Leaf<'a>(X509Certificate<'a>);

impl<'a> Leaf<'a> {
    pub(super) fn read(der: &'a CertificateDer<'_>) -> Option<Self> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Some(Self(certificate)),
            _ => None,
        }
    }

    /// Seconds since 1970.
    pub(super) fn valid_from(&self) -> i64 {
        self.0.validity().not_before.timestamp()
    }

    /// Seconds since 1970.
    pub(super) fn valid_until(&self) -> i64 {
        self.0.validity().not_after.timestamp()
    }

    /// Whether its key may sign handshakes: keyUsage, where there is one, must say digitalSignature (RFC 8446 §4.4.2.2).
    pub(super) fn may_sign(&self) -> bool {
        match self.0.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.digital_signature()),
            Err(_) => false,
        }
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.0.subject().as_raw() == self.0.issuer().as_raw()
    }

    pub(super) fn subject(&self) -> String {
        text::escaped(&self.0.subject().to_string(), 200)
    }

    /// The names; the common name of its subject where it has no subjectAltName at all, as certificates of twenty years ago.
    pub(super) fn names_or_common(&self) -> Vec<PeerName> {
        let is_alternative = |extension: &x509_parser::extensions::X509Extension<'_>| {
            matches!(extension.parsed_extension(), ParsedExtension::SubjectAlternativeName(_))
        };
        if self.0.extensions().iter().any(is_alternative) {
            return self.names();
        }
        let common = self.0.subject().iter_common_name().last().and_then(|name| name.as_str().ok());
        common.map(|name| PeerName::Common(name.to_ascii_lowercase())).into_iter().collect()
    }

    pub(super) fn names(&self) -> Vec<PeerName> {
        let mut names = Vec::new();
        for extension in self.0.extensions() {
            if let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension() {
                names.extend(alternative.general_names.iter().filter_map(name).take(NAMES - names.len()));
            }
        }
        names
    }
}

fn name(name: &GeneralName<'_>) -> Option<PeerName> {
    match name {
        GeneralName::DNSName(text) => Some(PeerName::Dns(text.to_ascii_lowercase())),
        GeneralName::URI(text) => Some(PeerName::Uri((*text).to_owned())),
        GeneralName::OtherName(kind, value) if kind.as_bytes() == XMPP_ADDR => {
            explicit_text(value, UTF8_STRING).map(|text| PeerName::XmppAddr(text.to_owned()))
        }
        GeneralName::OtherName(kind, value) if kind.as_bytes() == DNS_SRV => {
            explicit_text(value, IA5_STRING).map(|text| PeerName::Srv(text.to_ascii_lowercase()))
        }
        _ => None,
    }
}

/// The text in `value [0] EXPLICIT ANY` of an otherName (RFC 5280 §4.2.1.6), when it is a string of the type `tag`.
fn explicit_text(der: &[u8], tag: u8) -> Option<&str> {
    let inner = element(der, 0xa0)?;
    let text = element(inner, tag)?;
    std::str::from_utf8(text).ok()
}

/// The content of the one DER element that `der` must be.
fn element(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (&length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(length)), rest)
        }
        // No name is as long as that, and an indefinite length is not DER.
        _ => return None,
    };
    (rest.len() == length).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_read_strictly() {
        let good = [&[0xa0, 11, UTF8_STRING, 9][..], b"a.example"].concat();
        assert_eq!(explicit_text(&good, UTF8_STRING), Some("a.example"));
        assert_eq!(explicit_text(&good, IA5_STRING), None);
        for cut in 0..good.len() {
            assert_eq!(explicit_text(&good[..cut], UTF8_STRING), None);
        }
        assert_eq!(explicit_text(&[&good[..], b"x"].concat(), UTF8_STRING), None);
        let long = [&[0xa0, 0x81, 131, UTF8_STRING, 0x81, 128][..], &[b'a'; 128]].concat();
        assert_eq!(explicit_text(&long, UTF8_STRING), Some("a".repeat(128).as_str()));
        assert_eq!(explicit_text(&[0xa0, 0x80, UTF8_STRING, 0], UTF8_STRING), None);
        assert_eq!(explicit_text(&[0xa0, 3, UTF8_STRING, 1, 0xff], UTF8_STRING), None);
    }
}
