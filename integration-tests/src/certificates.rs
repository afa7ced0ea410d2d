//! A test certificate authority, and the right and wrong certificates that tests need.

use std::path::PathBuf;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, OtherNameValue,
    SanType,
};
use time::{Duration, OffsetDateTime};

use crate::processes::Directory;

/// `id-on-xmppAddr`. RFC 6120 §13.7.1.4
const XMPP_ADDRESS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 8, 5];

const LIFETIME: Duration = Duration::days(90);

/// An authority that issues leaves; each test makes its own, so a second one is simply "an authority nobody trusts".
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// Makes a self-signed authority of the given name.
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut parameters, Duration::DAY);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = parameters.self_signed(&key).expect("an authority can sign itself").pem();
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    /// An authority that this one vouches for. What it issues leads here only for whoever has its certificate.
    pub fn intermediate(&self, name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.use_authority_key_identifier_extension = true;
        set_validity(&mut parameters, Duration::DAY);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("an authority can sign another").pem();
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues one leaf.
    pub fn issue(&self, leaf: &Leaf) -> Identity {
        self.issue_for(leaf, &KeyPair::generate().expect("a key can be made"))
    }

    /// Issues one leaf for an RSA key, for who knows no elliptic curves. OpenSSL makes the key: the library here cannot.
    pub fn issue_rsa(&self, leaf: &Leaf) -> Identity {
        let mut command = Command::new("openssl");
        let output = command.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).output();
        let output = output.expect("openssl starts: run scripts/install-test-tools.sh");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let key = String::from_utf8(output.stdout).expect("PEM is text");
        self.issue_for(leaf, &KeyPair::from_pem(&key).expect("OpenSSL's keys can be read"))
    }

    fn issue_for(&self, leaf: &Leaf, key: &KeyPair) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
        parameters.subject_alt_names = leaf.names.clone();
        parameters.key_usages = vec![leaf.usage];
        parameters.extended_key_usages = leaf.purposes.clone();
        parameters.use_authority_key_identifier_extension = true;
        set_validity(&mut parameters, leaf.age);
        let certificate = parameters.signed_by(key, &self.issuer).expect("the authority can sign a leaf");
        Identity { certificate: certificate.pem(), private_key: key.serialize_pem() }
    }
}

/// From `age` ago for the usual lifetime. Without dates rcgen says "until 4096", on which ejabberd 23.01 stumbles: its
/// certificate store sets a timer for the expiry, crashes, and the server then has no certificate at all.
fn set_validity(parameters: &mut CertificateParams, age: Duration) {
    parameters.not_before = OffsetDateTime::now_utc() - age;
    parameters.not_after = parameters.not_before + LIFETIME;
}

/// What a leaf certificate shall say.
#[derive(Clone, Debug)]
pub struct Leaf {
    common_name: String,
    names: Vec<SanType>,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    usage: KeyUsagePurpose,
    age: Duration,
}

impl Leaf {
    /// For an XMPP domain: `dNSName`. See [`Leaf::and_xmpp_address`] for why that is all.
    pub fn xmpp(domain: &str) -> Self {
        Self::named(domain, vec![dns_name(domain)])
    }

    /// For a SIP domain: `dNSName` and `URI:sip:`. RFC 5922 §7.1
    pub fn sip(domain: &str) -> Self {
        Self::named(domain, vec![dns_name(domain), uri(&format!("sip:{domain}"))])
    }

    /// For a host name alone.
    pub fn host(name: &str) -> Self {
        Self::named(name, vec![dns_name(name)])
    }

    fn named(common_name: &str, names: Vec<SanType>) -> Self {
        Self {
            common_name: common_name.to_owned(),
            names,
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            usage: KeyUsagePurpose::DigitalSignature,
            age: Duration::DAY,
        }
    }

    /// Adds one more `dNSName`.
    pub fn and_host(mut self, name: &str) -> Self {
        self.names.push(dns_name(name));
        self
    }

    /// Adds an `id-on-xmppAddr`. ejabberd 23.01 crashes on such a certificate of another server, in both directions:
    /// the process of the stream dies with `badarg` in `xmpp_stream_pkix:get_cert_domains/1`.
    pub fn and_xmpp_address(mut self, domain: &str) -> Self {
        let address = OtherNameValue::Utf8String(domain.to_owned());
        self.names.push(SanType::OtherName((XMPP_ADDRESS.to_vec(), address)));
        self
    }

    /// Without `clientAuth`, as public authorities issue them now.
    pub fn for_servers_only(mut self) -> Self {
        self.purposes = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// Valid only in the past.
    pub fn expired(mut self) -> Self {
        self.age = LIFETIME * 2;
        self
    }

    /// Valid only in the future.
    pub fn not_yet_valid(mut self) -> Self {
        self.age = -Duration::DAY;
        self
    }

    /// For code, not for TLS.
    pub fn for_code_only(mut self) -> Self {
        self.purposes = vec![ExtendedKeyUsagePurpose::CodeSigning];
        self
    }

    /// With a key that may not sign: keyUsage is keyAgreement.
    pub fn that_may_not_sign(mut self) -> Self {
        self.usage = KeyUsagePurpose::KeyAgreement;
        self
    }

    /// Without any subjectAltName: a common name alone.
    pub fn without_names(mut self) -> Self {
        self.names.clear();
        self
    }

    /// With another common name, by which logs can be told apart; it proves nothing.
    pub fn called(mut self, common_name: &str) -> Self {
        self.common_name = common_name.to_owned();
        self
    }
}

fn dns_name(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a test name is ASCII"))
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().expect("a test URI is ASCII"))
}

/// A certificate with its private key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The leaf; its authority is not included.
    pub certificate: String,
    /// PKCS #8.
    pub private_key: String,
}

/// Where an [`Identity`] was written.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The leaf.
    pub certificate: PathBuf,
    /// Its key.
    pub private_key: PathBuf,
}

impl Identity {
    /// Signed by nobody but itself, for a domain.
    pub fn self_signed(domain: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, domain);
        parameters.subject_alt_names = vec![dns_name(domain)];
        set_validity(&mut parameters, Duration::DAY);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = parameters.self_signed(&key).expect("it can sign itself");
        Self { certificate: certificate.pem(), private_key: key.serialize_pem() }
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write(&self, directory: &Directory, name: &str) -> IdentityFiles {
        IdentityFiles {
            certificate: directory.write(&format!("{name}.pem"), &self.certificate),
            private_key: directory.write(&format!("{name}.key"), &self.private_key),
        }
    }
}
