//! What the authority's certificate, those that it issues, and its list say.

use interchange_model::Domain;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::error::AuthorityError;
use crate::index::{Entry, RevocationReason};
use crate::names::{Platforms, SUBJECT_ALT_NAME, subject_alt_name};
use crate::serial::Serial;

/// How long an authority lives: ten years.
pub(crate) const AUTHORITY_LIFETIME: Duration = Duration::days(3652);

/// By when a list is to be replaced by a newer one.
pub(crate) const LIST_LIFETIME: Duration = Duration::days(7);

/// How long what was revoked stays on the list after its time is over anyway: longer than any list counts, so that it was on one that was
/// issued after its end (RFC 5280 §3.3).
const LISTED_AFTER_END: Duration = Duration::days(30);

/// Certificates and lists begin this long before they are made: a peer's clock may be late.
const CLOCK_SKEW: Duration = Duration::minutes(5);

/// Longest common name, in characters (RFC 5280 appendix A.1, ub-common-name).
const LONGEST_COMMON_NAME: usize = 64;

/// Days that a certificate lives where nothing else is said.
pub const DEFAULT_LIFETIME: u16 = 90;

/// Most days that a certificate lives.
pub const LONGEST_LIFETIME: u16 = 398;

/// How long a certificate lives: 1 to 398 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(u16);

impl Lifetime {
    /// So many days.
    ///
    /// # Errors
    /// [`AuthorityError::Lifetime`]: fewer than 1 or more than 398.
    pub fn days(days: u16) -> Result<Self, AuthorityError> {
        if (1..=LONGEST_LIFETIME).contains(&days) { Ok(Self(days)) } else { Err(AuthorityError::Lifetime { days }) }
    }

    pub(crate) fn after(self, now: OffsetDateTime) -> OffsetDateTime {
        now + Duration::days(i64::from(self.0))
    }
}

impl Default for Lifetime {
    fn default() -> Self {
        Self(DEFAULT_LIFETIME)
    }
}

/// The authority's own certificate: what members are to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// PEM.
    pub pem: String,
    /// Its subject: `CN=Interchange links`.
    pub subject: String,
    /// SHA-256 of its DER, for comparing by telephone.
    pub sha256: [u8; 32],
    /// Until when it is valid.
    pub valid_until: OffsetDateTime,
}

impl AuthorityCertificate {
    /// Else: why it cannot be read.
    pub(crate) fn read(pem: String) -> Result<Self, &'static str> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "it is not a PEM certificate")?;
        let (_, read) = X509Certificate::from_der(&der).map_err(|_| "it is not a certificate")?;
        if !read.is_ca() {
            return Err("it is not the certificate of an authority");
        }
        let subject = read.subject().to_string();
        let valid_until = read.validity().not_after.to_datetime();
        let sha256 = Sha256::digest(&der).into();
        Ok(Self { pem, subject, sha256, valid_until })
    }
}

/// The authority's own: ten years, a CA that signs certificates for others directly, and lists, and nothing else.
pub(crate) fn authority(name: &str, serial: Serial, now: OffsetDateTime) -> Result<CertificateParams, AuthorityError> {
    let long = name.chars().count() > LONGEST_COMMON_NAME;
    if name.trim().is_empty() || long || name.chars().any(char::is_control) {
        return Err(AuthorityError::Name);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + AUTHORITY_LIFETIME;
    // RFC 5280 §4.2.1.9: no authority below this one.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A certificate for a link: for TLS on both sides, since a server that dials is a client.
pub(crate) fn leaf(entry: &Entry) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Some proxies' configurations compare it, so it is the first domain, where that is not too long; it proves nothing.
    let first = entry.domains.first().map(Domain::as_str).filter(|name| name.len() <= LONGEST_COMMON_NAME);
    params.distinguished_name = first.map_or_else(DistinguishedName::new, common_name);
    params.serial_number = Some(SerialNumber::from_slice(entry.serial.as_bytes()));
    params.not_before = entry.issued - CLOCK_SKEW;
    params.not_after = entry.valid_until;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let names = subject_alt_name(&entry.domains, Platforms { xmpp: entry.xmpp, sip: entry.sip });
    let mut names = CustomExtension::from_oid_content(SUBJECT_ALT_NAME, names);
    // RFC 5280 §4.1.2.6: critical where there is no subject.
    names.set_criticality(first.is_none());
    params.custom_extensions = vec![names];
    params
}

/// The list of what was revoked (RFC 5280 §5, version 2).
pub(crate) fn revocation_list<'e>(
    entries: impl Iterator<Item = &'e Entry>,
    number: u64,
    next_update: OffsetDateTime,
    now: OffsetDateTime,
) -> CertificateRevocationListParams {
    let revoked = entries.filter(|entry| entry.valid_until + LISTED_AFTER_END >= now).filter_map(|entry| {
        let revocation = entry.revoked?;
        Some(RevokedCertParams {
            serial_number: SerialNumber::from_slice(entry.serial.as_bytes()),
            revocation_time: revocation.at,
            reason_code: code(revocation.reason),
            invalidity_date: None,
        })
    });
    CertificateRevocationListParams {
        this_update: now - CLOCK_SKEW,
        next_update,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

/// RFC 5280 §5.3.1: `unspecified` is not written.
fn code(reason: RevocationReason) -> Option<rcgen::RevocationReason> {
    use rcgen::RevocationReason as Code;
    match reason {
        RevocationReason::Unspecified => None,
        RevocationReason::KeyCompromise => Some(Code::KeyCompromise),
        RevocationReason::AffiliationChanged => Some(Code::AffiliationChanged),
        RevocationReason::Superseded => Some(Code::Superseded),
        RevocationReason::CessationOfOperation => Some(Code::CessationOfOperation),
        RevocationReason::PrivilegeWithdrawn => Some(Code::PrivilegeWithdrawn),
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}
