//! Certificates, keys, authorities and their lists of what they have revoked, from files. Small and blocking: for the start, and for a reload by an operator.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::HubCertificate;
use super::expiry::expiry_is_due;
use super::revocation::{RevocationList, RevocationWarning};

/// Largest file read, in bytes: a system's whole bundle of authorities has a quarter of this.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TlsFileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong, and what would be right, in one sentence.
    pub why: String,
}

/// What does not keep a certificate from being used, and keeps peers from accepting it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateWarning {
    /// Its time is over.
    Expired {
        /// Since when.
        since: SystemTime,
    },
    /// Its time will be over within 30 days.
    ExpiresSoon {
        /// When.
        at: SystemTime,
    },
    /// Its time has not come.
    NotYetValid {
        /// From when it is valid.
        from: SystemTime,
    },
    /// It has no subjectAltName that a domain could be matched with; peers ignore common names.
    NoNames,
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = |time: &SystemTime| {
            let now = SystemTime::now();
            let apart = now.duration_since(*time).or_else(|_| time.duration_since(now)).unwrap_or_default();
            apart.as_secs() / 86_400
        };
        match self {
            CertificateWarning::Expired { since } => write!(f, "the certificate expired {} days ago", days(since)),
            CertificateWarning::ExpiresSoon { at } => write!(f, "the certificate expires in {} days", days(at)),
            CertificateWarning::NotYetValid { from } => write!(f, "the certificate becomes valid in {} days", days(from)),
            CertificateWarning::NoNames => f.write_str("the certificate has no subjectAltName, so it stands for no domain"),
        }
    }
}

impl HubCertificate {
    /// Reads a chain (PEM, the hub's own certificate first) and its private key (PEM: PKCS#8, PKCS#1 or SEC1, not encrypted);
    /// both may be one file.
    ///
    /// # Errors
    /// [`TlsFileError`], naming the file and what is wrong with it. An expired certificate is no error.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, TlsFileError> {
        let certificates = read_certificates(chain)?;
        let private = read_key(key)?;
        Self::new(certificates, private).map_err(|why| TlsFileError {
            path: chain.to_owned(),
            why: if chain == key { why } else { format!("{why} (key: {})", key.display()) },
        })
    }

    /// What an operator should know about it at the time `now`.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<CertificateWarning> {
        let mut warnings = Vec::new();
        if self.valid_until() < now {
            warnings.push(CertificateWarning::Expired { since: self.valid_until() });
        } else if expiry_is_due(self.valid_until(), None, now) {
            warnings.push(CertificateWarning::ExpiresSoon { at: self.valid_until() });
        }
        if self.valid_from() > now {
            warnings.push(CertificateWarning::NotYetValid { from: self.valid_from() });
        }
        if self.names().is_empty() {
            warnings.push(CertificateWarning::NoNames);
        }
        warnings
    }
}

/// The authorities that peers' certificates must lead to, and the lists of what they have revoked.
#[derive(Debug, Clone)]
pub struct Roots {
    store: RootCertStore,
    lists: Vec<RevocationList>,
}

impl Default for Roots {
    fn default() -> Self {
        Self::none()
    }
}

impl Roots {
    /// No authority: every chain is [`ChainFault::UnknownAuthority`](interchange_adapter::ChainFault); pins still work.
    #[must_use]
    pub fn none() -> Self {
        Self { store: RootCertStore::empty(), lists: Vec::new() }
    }

    /// The operating system's, as far as they can be used; and what could not be read, for the log.
    #[must_use]
    pub fn system() -> (Self, Vec<String>) {
        let loaded = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(loaded.certs);
        (Self { store, lists: Vec::new() }, loaded.errors.iter().map(ToString::to_string).collect())
    }

    /// Adds one authority.
    ///
    /// # Errors
    /// One sentence, when it is not a certificate that could be an authority.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), String> {
        self.store.add(certificate).map_err(|error| format!("not a certificate of an authority: {error}"))
    }

    /// Adds all certificates of a PEM file.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn add_file(&mut self, path: &Path) -> Result<(), TlsFileError> {
        for (index, certificate) in read_certificates(path)?.into_iter().enumerate() {
            self.add(certificate)
                .map_err(|why| TlsFileError { path: path.to_owned(), why: format!("certificate {}: {why}", index + 1) })?;
        }
        Ok(())
    }

    /// Adds the lists of revoked certificates in a file (PEM, or one as DER; 16 MiB at most). To be called when all authorities are there: a list that claims
    /// to be one of theirs must be signed by it.
    ///
    /// Where a certificate's authority has a list, the certificate must not be on it; where it has none, nothing is known and the certificate is accepted. The
    /// same holds for every intermediate.
    ///
    /// # Errors
    /// [`TlsFileError`]. A list that is outdated is no error, see [`Self::warnings`].
    pub fn add_revocation_lists(&mut self, path: &Path) -> Result<(), TlsFileError> {
        self.lists.extend(RevocationList::read_file(path, &self.store)?);
        Ok(())
    }

    /// What an operator should know about the lists at the time `now`.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<RevocationWarning> {
        self.lists.iter().flat_map(|list| list.warnings(now)).collect()
    }

    /// How many authorities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    pub(super) fn into_parts(self) -> (RootCertStore, Vec<RevocationList>) {
        (self.store, self.lists)
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let wrong = |why: String| TlsFileError { path: path.to_owned(), why };
    let bytes = read_file(path, LARGEST_FILE)?;
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| wrong(format!("not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("there is no certificate in it (expected `-----BEGIN CERTIFICATE-----`)".to_owned()));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let wrong = |why: &str| TlsFileError { path: path.to_owned(), why: why.to_owned() };
    let bytes = read_file(path, LARGEST_FILE)?;
    // RFC 7468 §11: the label of an encrypted key; PKCS#1 and SEC1 say so in a header line.
    let mentions = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    if mentions(b"BEGIN ENCRYPTED PRIVATE KEY") || mentions(b"Proc-Type: 4,ENCRYPTED") {
        return Err(wrong("its key is encrypted; the hub reads keys without a passphrase, so decrypt it (`openssl pkey`)"));
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(rustls_pki_types::pem::Error::NoItemsFound) => {
            let certificate = <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes)
                .any(|section| matches!(section, Ok((SectionKind::Certificate, _))));
            Err(wrong(if certificate {
                "there is no private key in it, only a certificate"
            } else {
                "there is no private key in it (expected `-----BEGIN PRIVATE KEY-----`)"
            }))
        }
        Err(_) => Err(wrong("its private key is damaged")),
    }
}

pub(super) fn read_file(path: &Path, largest: u64) -> Result<Vec<u8>, TlsFileError> {
    let wrong = |why: String| TlsFileError { path: path.to_owned(), why };
    let length = std::fs::metadata(path).map_err(|error| wrong(format!("cannot be read: {error}")))?.len();
    if length > largest {
        return Err(wrong(format!("it has {length} bytes; such a file has at most {largest}")));
    }
    std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))
}
