//! A member's request for a certificate (PKCS#10, RFC 2986): its key, and the names it asks for. Nothing else in it counts.

use interchange_model::Domain;
use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::der_parser::asn1_rs::{self, Any, Tag, TaggedExplicit};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::names::MOST_DOMAINS;

/// Largest request read, in bytes.
pub(crate) const LARGEST_REQUEST: usize = 64 * 1024;

/// id-on-dnsSRV (RFC 4985 §2) and id-on-xmppAddr (RFC 6120 §13.7.1.4).
const DNS_SRV: &str = "1.3.6.1.5.5.7.8.7";
const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";

/// A request whose signature is right, so whoever made it holds the key.
#[derive(Debug)]
pub struct Request {
    key: SubjectPublicKeyInfo,
    domains: Vec<Domain>,
}

/// Why a request cannot be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Larger than 64 KiB.
    #[error("it has {0} bytes; a request has less than {LARGEST_REQUEST}")]
    TooLarge(usize),
    /// Neither PEM nor DER of a request.
    #[error("it is not a PKCS#10 request (expected `-----BEGIN CERTIFICATE REQUEST-----`): make one with `openssl req -new`")]
    Unreadable,
    /// It was not signed with the key that it brings.
    #[error("it is not signed with the key in it: make the request anew")]
    Signature,
    /// The key is too weak, or of a kind that peers may not take.
    #[error("its key is {0}: use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits")]
    Key(String),
    /// It asks to become an authority itself.
    #[error("it asks for the certificate of an authority; make it without basicConstraints CA:TRUE")]
    Authority,
    /// It asks for a name that a link has no use for.
    #[error(
        "it asks for {0}, which is not the name of a domain: only DNS, URI:sip:, SRVName _xmpp-server and XmppAddr are, without wildcards"
    )]
    Name(String),
    /// It asks for more names than a certificate may have.
    #[error("it asks for more than {MOST_DOMAINS} domains")]
    TooManyNames,
    /// It asks for a domain that it is not meant for.
    #[error("it asks for {0}, which is not among the domains given: if it is right all the same, name it in the command")]
    Domain(Domain),
}

impl Request {
    /// Reads a request, PEM or DER, of at most 64 KiB, and checks its signature.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn read(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > LARGEST_REQUEST {
            return Err(RequestError::TooLarge(bytes.len()));
        }
        let from_pem = CertificateSigningRequestDer::from_pem_slice(bytes).ok();
        let der = from_pem.as_ref().map_or(bytes, AsRef::as_ref);
        let Ok(([], request)) = X509CertificationRequest::from_der(der) else { return Err(RequestError::Unreadable) };
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let key = strong_key(&request)?;
        let mut domains = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(RequestError::Authority),
                ParsedExtension::SubjectAlternativeName(alternative) => {
                    for name in &alternative.general_names {
                        let domain = domain(name).ok_or_else(|| RequestError::Name(shown(name)))?;
                        if !domains.contains(&domain) {
                            domains.push(domain);
                        }
                        if domains.len() > MOST_DOMAINS {
                            return Err(RequestError::TooManyNames);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(Self { key, domains })
    }

    /// The domains that it asks for; empty when it leaves that to the authority. A common name does not count.
    #[must_use]
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    pub(crate) fn key(&self) -> &SubjectPublicKeyInfo {
        &self.key
    }

    /// The domains that a certificate for this request stands for, where `allowed` may be asked for.
    pub(crate) fn within(&self, allowed: &[Domain]) -> Result<Vec<Domain>, RequestError> {
        if let Some(other) = self.domains.iter().find(|domain| !allowed.contains(domain)) {
            return Err(RequestError::Domain(other.clone()));
        }
        Ok(if self.domains.is_empty() { allowed.to_vec() } else { self.domains.clone() })
    }
}

fn strong_key(request: &X509CertificationRequest<'_>) -> Result<SubjectPublicKeyInfo, RequestError> {
    let info = &request.certification_request_info.subject_pki;
    let weak = |what: String| Err(RequestError::Key(what));
    match info.parsed() {
        Ok(PublicKey::RSA(key)) if !(2048..=8192).contains(&key.key_size()) => {
            return weak(format!("RSA of {} bits", key.key_size()));
        }
        Ok(PublicKey::RSA(_)) => {}
        Ok(PublicKey::EC(point)) if !matches!(point.key_size(), 256 | 384) => {
            return weak(format!("ECDSA of {} bits", point.key_size()));
        }
        Ok(PublicKey::EC(_)) => {}
        // RFC 8410 §3: id-Ed25519.
        Ok(PublicKey::Unknown(_)) if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => {}
        _ => return weak(format!("of the kind {}", info.algorithm.algorithm)),
    }
    SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| RequestError::Key(format!("of the kind {}", info.algorithm.algorithm)))
}

/// The domain that a name stands for; `None` where it stands for something else.
fn domain(name: &GeneralName<'_>) -> Option<Domain> {
    match name {
        GeneralName::DNSName(text) => Domain::parse(text).ok(),
        // RFC 5922 §7.1: scheme sip and no user part; the parse refuses everything but a name.
        GeneralName::URI(uri) => {
            let (scheme, host) = uri.split_once(':')?;
            Domain::parse(host).ok().filter(|_| scheme.eq_ignore_ascii_case("sip"))
        }
        GeneralName::OtherName(kind, value) => {
            let (rest, value) = TaggedExplicit::<Any<'_>, asn1_rs::Error, 0>::from_der(value).ok()?;
            let value = value.into_inner();
            let text = std::str::from_utf8(value.data).ok().filter(|_| rest.is_empty())?;
            match (kind.to_id_string().as_str(), value.tag()) {
                (DNS_SRV, Tag::Ia5String) => Domain::parse(text.strip_prefix("_xmpp-server.")?).ok(),
                (XMPP_ADDR, Tag::Utf8String) => Domain::parse(text).ok(),
                _ => None,
            }
        }
        _ => None,
    }
}

fn shown(name: &GeneralName<'_>) -> String {
    name.to_string().chars().take(100).flat_map(char::escape_debug).collect()
}
