//! Throw-away certificates for the demonstration: one authority, one leaf for each server, all in files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The authority of the demonstration.
pub(super) struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, for those who are to trust it.
    pub(super) certificate: PathBuf,
}

impl Authority {
    /// Makes an authority whose files live in `directory`, which must be there.
    pub(super) fn new(directory: &Path) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Interchange demonstration authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        let certificate = directory.join("ca.pem");
        std::fs::write(&certificate, pem).with_context(|| format!("cannot write {}", certificate.display()))?;
        Ok(Self { directory: directory.to_owned(), issuer: Issuer::new(params, key), certificate })
    }

    /// Issues a certificate for these domains.
    pub(super) fn issue(&self, name: &str, domains: &[String]) -> anyhow::Result<Leaf> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(domains.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, name);
        // serverAuth alone: what public authorities issue today, and a link must work with.
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        let leaf =
            Leaf { certificate: self.directory.join(format!("{name}.pem")), key: self.directory.join(format!("{name}.key")) };
        std::fs::write(&leaf.certificate, pem).with_context(|| format!("cannot write {}", leaf.certificate.display()))?;
        crate::secret::write_private(&leaf.key, key.serialize_pem().as_bytes())?;
        Ok(leaf)
    }
}
