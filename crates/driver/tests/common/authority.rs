//! A certificate authority for tests.

use interchange_driver::{HubCertificate, Roots};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: CertificateDer<'static>,
}

/// A certificate with its key, as an authority hands it out.
pub struct Issued {
    pub certificate: CertificateDer<'static>,
    pub certificate_pem: String,
    pub key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub fn roots(&self) -> Roots {
        let mut roots = Roots::none();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    pub fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let params = params(names, change);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.der().clone(), certificate_pem: certificate.pem(), key }
    }

    /// A usual certificate for these names.
    pub fn usual(&self, names: &[&str]) -> HubCertificate {
        self.issue(names, |_| {}).hub()
    }
}

pub fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let params = params(names, change);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Issued { certificate: certificate.der().clone(), certificate_pem: certificate.pem(), key }
}

fn params(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.split_once(':') {
            Some(("xmpp", name)) => SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], name.into())),
            Some(_) => SanType::URI((*name).try_into().unwrap()),
            None => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    params.distinguished_name.push(DnType::CommonName, "test\n1");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params
}

impl Issued {
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    pub fn hub(&self) -> HubCertificate {
        HubCertificate::new(vec![self.certificate.clone()], self.private_key()).unwrap()
    }
}

pub fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
}

pub fn not_yet(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2150, 1, 1);
    params.not_after = date_time_ymd(2160, 1, 1);
}

pub fn only(purpose: ExtendedKeyUsagePurpose) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.extended_key_usages = vec![purpose]
}
