//! Lists of revoked certificates (RFC 5280 §5), checked when they are read, so that a wrong one is a fault of the configuration and not of a peer.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::load::{TlsFileError, read_file};
use crate::text;

/// Largest file of lists, in bytes: room for some 400,000 revoked certificates.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Most lists in one file.
const MOST_LISTS: usize = 1000;

/// A list that an authority has signed.
#[derive(Clone)]
pub(super) struct RevocationList {
    pub(super) der: CertificateRevocationListDer<'static>,
    issuer: String,
    next_update: Option<SystemTime>,
    /// Whether its authority is one of the trusted ones.
    known: bool,
}

/// What does not keep a list from being used, and makes it worth less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationWarning {
    /// A newer one was due. What it names stays refused; what was revoked since then is not.
    Outdated {
        /// Whose list it is.
        issuer: String,
        /// When the newer one was due: its nextUpdate.
        since: SystemTime,
    },
    /// It does not say when a newer one is due, so nobody notices when it is outdated (RFC 5280 §5.1.2.5 requires it).
    NoNextUpdate {
        /// Whose list it is.
        issuer: String,
    },
    /// Its authority is not one of those that are trusted directly; it counts only for one that is trusted through another.
    UnknownIssuer {
        /// Whose list it is.
        issuer: String,
    },
}

impl fmt::Display for RevocationWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RevocationWarning::Outdated { issuer, since } => {
                let days = SystemTime::now().duration_since(*since).unwrap_or_default().as_secs() / 86_400;
                write!(
                    f,
                    "the list of what {issuer} has revoked is outdated: a newer one was due {days} days ago; it is used all the same, \
                     and what was revoked since then is not refused"
                )
            }
            RevocationWarning::NoNextUpdate { issuer } => {
                write!(f, "the list of what {issuer} has revoked does not say when a newer one is due (nextUpdate)")
            }
            RevocationWarning::UnknownIssuer { issuer } => {
                write!(f, "the list of what {issuer} has revoked is of no trusted authority, so it may count for nothing")
            }
        }
    }
}

impl RevocationList {
    /// All lists of a file: PEM, or one as DER. Their signatures are checked as far as their authorities are among `roots`.
    pub(super) fn read_file(path: &Path, roots: &RootCertStore) -> Result<Vec<Self>, TlsFileError> {
        let wrong = |why: String| TlsFileError { path: path.to_owned(), why };
        let bytes = read_file(path, LARGEST_FILE)?;
        let lists: Vec<CertificateRevocationListDer<'static>> = if bytes.first() == Some(&0x30) {
            vec![CertificateRevocationListDer::from(bytes)]
        } else {
            CertificateRevocationListDer::pem_slice_iter(&bytes)
                .take(MOST_LISTS + 1)
                .collect::<Result<_, _>>()
                .map_err(|error| wrong(format!("not PEM: {error}")))?
        };
        match lists.len() {
            0 => {
                return Err(wrong(
                    "there is no list of revoked certificates in it (expected `-----BEGIN X509 CRL-----`)".to_owned(),
                ));
            }
            1..=MOST_LISTS => {}
            _ => return Err(wrong(format!("there are more than {MOST_LISTS} lists in it"))),
        }
        lists
            .into_iter()
            .enumerate()
            .map(|(index, der)| Self::new(der, roots).map_err(|why| wrong(format!("list {}: {why}", index + 1))))
            .collect()
    }

    pub(super) fn new(der: CertificateRevocationListDer<'static>, roots: &RootCertStore) -> Result<Self, String> {
        let unreadable = || "it cannot be read as a list of revoked certificates".to_owned();
        let Ok(([], list)) = CertificateRevocationList::from_der(&der) else { return Err(unreadable()) };
        let issuer = text::escaped(&list.issuer().to_string(), 200);
        let keys: Vec<Vec<u8>> = roots
            .roots
            .iter()
            .filter(|anchor| content(list.issuer().as_raw()) == Some(anchor.subject.as_ref()))
            .map(|anchor| sequence(anchor.subject_public_key_info.as_ref()))
            .collect();
        let signed =
            |key: &Vec<u8>| SubjectPublicKeyInfo::from_der(key).is_ok_and(|(_, key)| list.verify_signature(&key).is_ok());
        if !keys.is_empty() && !keys.iter().any(signed) {
            return Err(format!("it is not signed with the key of {issuer}, whose list it claims to be"));
        }
        let next_update =
            list.next_update().map(|time| UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0)));
        let known = !keys.is_empty();
        Ok(Self { der: der.clone(), issuer, next_update, known })
    }

    pub(super) fn warnings(&self, now: SystemTime) -> Vec<RevocationWarning> {
        let issuer = || self.issuer.clone();
        let mut warnings = Vec::new();
        match self.next_update {
            Some(since) if since < now => warnings.push(RevocationWarning::Outdated { issuer: issuer(), since }),
            Some(_) => {}
            None => warnings.push(RevocationWarning::NoNextUpdate { issuer: issuer() }),
        }
        if !self.known {
            warnings.push(RevocationWarning::UnknownIssuer { issuer: issuer() });
        }
        warnings
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList").field("issuer", &self.issuer).field("next_update", &self.next_update).finish()
    }
}

/// The content of a DER sequence: the trust anchors of the TLS library leave tag and length away.
fn content(der: &[u8]) -> Option<&[u8]> {
    use x509_parser::der_parser::asn1_rs::Any;
    let (rest, any) = Any::from_der(der).ok()?;
    rest.is_empty().then_some(any.data)
}

/// A DER sequence with this content.
fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut der = vec![0x30];
    if content.len() > 0x7f {
        der.push(0x80 | significant.len() as u8);
    }
    der.extend_from_slice(significant);
    der.extend_from_slice(content);
    der
}
