//! The authority: one directory, one process at a time.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use interchange_model::Domain;
use rcgen::{Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use time::OffsetDateTime;

use crate::certificate::{self, AuthorityCertificate, LIST_LIFETIME, Lifetime};
use crate::error::AuthorityError;
use crate::files;
use crate::index::{Entry, Index, KeyHolder, MOST_ENTRIES, Revocation, RevocationReason};
use crate::names::{MOST_DOMAINS, Platforms};
use crate::request::Request;
use crate::serial::Serial;

/// An authority in a directory:
///
/// | file | what |
/// |---|---|
/// | `ca.pem`, `ca.key` | its certificate, which members trust, and its key (mode 0600) |
/// | `index.json` | everything that was issued and revoked |
/// | `crl.pem` | the newest list of what was revoked |
/// | `issued/SERIAL/certificate.pem`, `key.pem` | each certificate, with its key (mode 0600) where that was made here |
/// | `current/DOMAIN` | a symbolic link to the newest of those whose key was made here, by its first domain |
///
/// The directory's lock is held while the value lives; a second process waits. Every change is on disk when its function returns.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: AuthorityCertificate,
    index: Index,
    _lock: File,
}

/// What a certificate is wanted for.
#[derive(Debug)]
pub struct Order<'a> {
    /// The domains it stands for, or where a request asks for fewer, the ones that may be asked for: 1 to 100.
    pub domains: Vec<Domain>,
    /// For which platforms it has names.
    pub platforms: Platforms,
    /// Whose key.
    pub key: KeySource<'a>,
    /// For how long.
    pub lifetime: Lifetime,
}

/// Where a certificate's key comes from.
#[derive(Debug, Clone, Copy)]
pub enum KeySource<'a> {
    /// It is made here: ECDSA P-256.
    New,
    /// A member has it.
    Request(&'a Request),
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// What the index says.
    pub entry: Entry,
    /// The certificate's file, PEM.
    pub certificate: PathBuf,
    /// The key's file, PEM (PKCS#8), mode 0600; `None` where a member has it.
    pub key: Option<PathBuf>,
}

/// A list that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Its file, PEM.
    pub path: PathBuf,
    /// Its number: each list has a higher one than the one before it.
    pub number: u64,
    /// By when it is to be replaced: 7 days after it was made.
    pub next_update: OffsetDateTime,
    /// How many certificates are on it.
    pub revoked: usize,
}

impl Authority {
    /// Makes an authority (ECDSA P-256, ten years), and its first list of what was revoked. `name` is the common name of its certificate: 1 to 64 characters.
    /// What a crash left half-way is begun anew.
    ///
    /// # Errors
    /// [`AuthorityError`]: there is one already, the name cannot be used, or a file cannot be written.
    pub fn create(directory: &Path, name: &str, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let now = whole_seconds(now);
        let params = certificate::authority(name, Serial::random()?, now)?;
        files::make_directory(directory)?;
        files::check_directory(directory)?;
        let lock = files::lock(directory)?;
        // The index is written last: without it nothing of this was ever used.
        if Index::load(directory)?.is_some() {
            return Err(AuthorityError::Exists(directory.to_owned()));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let pem = params.self_signed(&key)?.pem();
        files::write(&directory.join("ca.key"), &key.serialize_pem(), files::PRIVATE)?;
        files::write(&directory.join("ca.pem"), &pem, files::PUBLIC)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key)?;
        let certificate = read_certificate(directory, pem)?;
        let mut authority = Self { directory: directory.to_owned(), issuer, certificate, index: Index::new(), _lock: lock };
        authority.write_revocation_list(now)?;
        Ok(authority)
    }

    /// Opens an authority.
    ///
    /// # Errors
    /// [`AuthorityError`]: there is none, a file is damaged, or others may read its key.
    pub fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let missing = || AuthorityError::Missing(directory.to_owned());
        if !Index::path(directory).exists() {
            return Err(missing());
        }
        files::check_directory(directory)?;
        let lock = files::lock(directory)?;
        let index = Index::load(directory)?.ok_or_else(missing)?;
        let key_path = directory.join("ca.key");
        let key = KeyPair::from_pem(&files::read_private(&key_path)?)
            .map_err(|_| AuthorityError::Damaged { path: key_path, why: "it is not a private key".to_owned() })?;
        let path = directory.join("ca.pem");
        let pem =
            files::read(&path)?.ok_or_else(|| AuthorityError::Damaged { path: path.clone(), why: "it is missing".to_owned() })?;
        if !certifies(&pem, &key) {
            return Err(AuthorityError::Damaged { path, why: "it does not belong to the key in ca.key".to_owned() });
        }
        let certificate = read_certificate(directory, pem)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate.pem, key)?;
        Ok(Self { directory: directory.to_owned(), issuer, certificate, index, _lock: lock })
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// Everything it has issued, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.index.entries
    }

    /// The number of its newest list, and by when that is to be replaced.
    #[must_use]
    pub fn newest_list(&self) -> (u64, OffsetDateTime) {
        (self.index.list_number, self.index.list_next_update)
    }

    /// The certificate whose serial number begins with these hexadecimal digits.
    ///
    /// # Errors
    /// [`AuthorityError::Unknown`] or [`AuthorityError::Ambiguous`].
    pub fn find(&self, prefix: &str) -> Result<&Entry, AuthorityError> {
        self.index.find(prefix)
    }

    /// Issues a certificate: dNSName, the names of the platforms, for TLS servers and clients.
    ///
    /// # Errors
    /// [`AuthorityError`]: too many domains, a request for others than the order's, a lifetime longer than the authority's, or a file cannot be
    /// written; in the last case the index may hold a certificate that nobody has.
    pub fn issue(&mut self, order: &Order<'_>, now: OffsetDateTime) -> Result<Issued, AuthorityError> {
        let mut domains: Vec<Domain> = Vec::new();
        for domain in &order.domains {
            if !domains.contains(domain) {
                domains.push(domain.clone());
            }
        }
        if !(1..=MOST_DOMAINS).contains(&domains.len()) {
            return Err(AuthorityError::DomainCount { count: domains.len(), most: MOST_DOMAINS });
        }
        if let KeySource::Request(request) = order.key {
            domains = request.within(&domains)?;
        }
        let order = Order { domains, ..*order };
        self.sign(order, None, now)
    }

    /// Issues a certificate with the same names as another, which stays valid until its time is over, with a new serial number and a new key: made here,
    /// or a request's that asks for no other names.
    ///
    /// # Errors
    /// As [`Self::issue`]; and when it was revoked, or its key is a member's and there is no request.
    pub fn renew(
        &mut self,
        serial: Serial,
        key: KeySource<'_>,
        lifetime: Lifetime,
        now: OffsetDateTime,
    ) -> Result<Issued, AuthorityError> {
        let entry = self.find(&serial.to_string())?;
        if entry.revoked.is_some() {
            return Err(AuthorityError::Revoked(serial));
        }
        match key {
            KeySource::New if entry.key == KeyHolder::Member => return Err(AuthorityError::NeedsRequest(serial)),
            KeySource::Request(request) => {
                if let Some(other) = request.domains().iter().find(|domain| !entry.domains.contains(domain)) {
                    return Err(AuthorityError::OtherNames { serial, asked: other.clone() });
                }
            }
            KeySource::New => {}
        }
        let platforms = Platforms { xmpp: entry.xmpp, sip: entry.sip };
        let order = Order { domains: entry.domains.clone(), platforms, key, lifetime };
        self.sign(order, Some(serial), now)
    }

    fn sign(&mut self, order: Order<'_>, renews: Option<Serial>, now: OffsetDateTime) -> Result<Issued, AuthorityError> {
        let Order { domains, platforms: Platforms { xmpp, sip }, key, lifetime } = order;
        let issued = whole_seconds(now);
        let valid_until = lifetime.after(issued);
        if valid_until > self.certificate.valid_until {
            let (authority, certificate) = (self.certificate.valid_until.date(), valid_until.date());
            return Err(AuthorityError::Outlives { authority, certificate });
        }
        if self.index.entries.len() >= MOST_ENTRIES {
            return Err(AuthorityError::Full(self.index.entries.len()));
        }
        let holder = match key {
            KeySource::New => KeyHolder::Hub,
            KeySource::Request(_) => KeyHolder::Member,
        };
        let serial = Serial::random()?;
        let entry = Entry { serial, domains, xmpp, sip, key: holder, issued, valid_until, renews, revoked: None };
        let params = certificate::leaf(&entry);
        let (pem, private) = match key {
            KeySource::New => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                (params.signed_by(&key, &self.issuer)?.pem(), Some(key.serialize_pem()))
            }
            KeySource::Request(request) => (params.signed_by(request.key(), &self.issuer)?.pem(), None),
        };
        self.change(|index| index.entries.push(entry.clone()))?;

        let folder = Path::new("issued").join(serial.to_string());
        let directory = self.directory.join(&folder);
        files::make_directory(&directory)?;
        let certificate = directory.join("certificate.pem");
        files::write(&certificate, &pem, files::PUBLIC)?;
        let key = match private {
            None => None,
            Some(private) => {
                let path = directory.join("key.pem");
                files::write(&path, &private, files::PRIVATE)?;
                self.make_current(&entry, &folder)?;
                Some(path)
            }
        };
        Ok(Issued { entry, certificate, key })
    }

    /// Certificate and key change together, since a link to their folder changes.
    fn make_current(&self, entry: &Entry, folder: &Path) -> Result<(), AuthorityError> {
        let Some(path) = self.current(entry) else { return Ok(()) };
        files::make_directory(&self.directory.join("current"))?;
        files::point(&path, &Path::new("..").join(folder))
    }

    /// The folder that always holds the newest certificate and key for an entry's first domain; only where the key is made here.
    #[must_use]
    pub fn current(&self, entry: &Entry) -> Option<PathBuf> {
        let first = entry.domains.first().filter(|_| entry.key == KeyHolder::Hub)?;
        Some(self.directory.join("current").join(first.as_str()))
    }

    /// Revokes a certificate. It is on the list from the next [`Self::write_revocation_list`] on.
    ///
    /// # Errors
    /// [`AuthorityError`]: unknown, revoked already, or the index cannot be written.
    pub fn revoke(&mut self, serial: Serial, reason: RevocationReason, now: OffsetDateTime) -> Result<(), AuthorityError> {
        if self.find(&serial.to_string())?.revoked.is_some() {
            return Err(AuthorityError::AlreadyRevoked(serial));
        }
        let revocation = Revocation { at: whole_seconds(now), reason };
        self.change(|index| {
            let revoked = index.entries.iter_mut().filter(|entry| entry.serial == serial);
            revoked.for_each(|entry| entry.revoked = Some(revocation));
        })
    }

    /// Signs a new list of what was revoked, with a higher number than the last (RFC 5280 §5.2.3), to be replaced within 7 days.
    ///
    /// # Errors
    /// [`AuthorityError`], when a file cannot be written; a number may be left out then.
    pub fn write_revocation_list(&mut self, now: OffsetDateTime) -> Result<RevocationList, AuthorityError> {
        let now = whole_seconds(now);
        let number = self.index.list_number.saturating_add(1);
        let next_update = now + LIST_LIFETIME;
        let params = certificate::revocation_list(self.index.entries.iter(), number, next_update, now);
        let pem = params.signed_by(&self.issuer)?.pem()?;
        // The index first: no two lists ever have one number.
        self.change(|index| (index.list_number, index.list_next_update) = (number, next_update))?;
        let path = self.directory.join("crl.pem");
        files::write(&path, &pem, files::PUBLIC)?;
        Ok(RevocationList { path, number, next_update, revoked: params.revoked_certs.len() })
    }

    /// Changes the index, on disk and then here; here only if it is on disk.
    fn change(&mut self, change: impl FnOnce(&mut Index)) -> Result<(), AuthorityError> {
        let mut index = self.index.clone();
        change(&mut index);
        index.save(&self.directory)?;
        self.index = index;
        Ok(())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("directory", &self.directory)
            .field("subject", &self.certificate.subject)
            .finish_non_exhaustive()
    }
}

fn read_certificate(directory: &Path, pem: String) -> Result<AuthorityCertificate, AuthorityError> {
    AuthorityCertificate::read(pem).map_err(|why| AuthorityError::Damaged { path: directory.join("ca.pem"), why: why.to_owned() })
}

/// Whether a certificate is for this key.
fn certifies(pem: &str, key: &KeyPair) -> bool {
    use rcgen::PublicKeyData as _;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    use x509_parser::prelude::FromDer as _;
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
    let read = x509_parser::certificate::X509Certificate::from_der(&der);
    read.is_ok_and(|(_, certificate)| certificate.public_key().raw == key.subject_public_key_info())
}

/// Certificates know no smaller unit.
fn whole_seconds(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(0).unwrap_or(time)
}
