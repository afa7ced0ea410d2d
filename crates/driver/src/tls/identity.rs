//! Which of the hub's certificates to show.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use interchange_adapter::{Identity, PeerName, dns_name_matches};
use interchange_model::Domain;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{peer, provider};

/// One of the hub's own certificates, with its chain and private key. Never shows the key.
#[derive(Clone)]
pub struct HubCertificate {
    certified: Arc<CertifiedKey>,
    names: Vec<PeerName>,
    valid_from: SystemTime,
    valid_until: SystemTime,
}

impl HubCertificate {
    /// A chain, the hub's own certificate first, then the intermediates; and the private key of the first.
    ///
    /// # Errors
    /// One sentence: the chain is empty or unreadable, the key is of a kind that is not supported (RSA of 2,048 bits or more,
    /// P-256, P-384 and Ed25519 are), or the key does not belong to the certificate.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, String> {
        let Some(leaf) = chain.first() else { return Err("there is no certificate".to_owned()) };
        let read = peer::Leaf::read(leaf).ok_or("the first certificate cannot be read")?;
        let (names, valid_from, valid_until) = (read.names(), read.valid_from(), read.valid_until());
        let certified = CertifiedKey::from_der(chain, key, provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "the key does not belong to the first certificate; the hub's own certificate comes first, then the intermediates"
                    .to_owned()
            }
            Error::General(why) => format!("the key cannot be used: {why}"),
            other => format!("the certificate or its key cannot be used: {other}"),
        })?;
        let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(Self { certified: Arc::new(certified), names, valid_from: time(valid_from), valid_until: time(valid_until) })
    }

    /// The names it stands for.
    #[must_use]
    pub fn names(&self) -> &[PeerName] {
        &self.names
    }

    /// From when it is valid.
    #[must_use]
    pub fn valid_from(&self) -> SystemTime {
        self.valid_from
    }

    /// Until when it is valid.
    #[must_use]
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }

    /// Whether one of its names is `domain`, or a wildcard for it.
    #[must_use]
    pub fn stands_for(&self, domain: &Domain) -> bool {
        self.names.iter().any(|name| match domain_of(name) {
            Some(text) => dns_name_matches(&text, domain, true),
            None => false,
        })
    }
}

impl fmt::Debug for HubCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubCertificate").field("names", &self.names).field("valid_until", &self.valid_until).finish()
    }
}

/// The domain a name stands for, lower case as A-labels; it may begin with `*.`.
fn domain_of(name: &PeerName) -> Option<String> {
    let parsed = |text: &str| Domain::parse(text).ok().map(|domain| domain.as_str().to_owned());
    match name {
        PeerName::Dns(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        PeerName::XmppAddr(name) => parsed(name),
        PeerName::Srv(name) => name.split_once('.').and_then(|(_, domain)| parsed(domain)),
        // RFC 5922 §7.1: scheme sip, no user part.
        PeerName::Uri(uri) => {
            let (scheme, rest) = uri.split_once(':')?;
            let known = scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips");
            if known && !rest.contains(['@', ';', '?']) { parsed(rest) } else { None }
        }
        // The hub's own certificates are found by their alternative names alone.
        PeerName::Common(_) => None,
    }
}

/// All certificates, found by name.
#[derive(Debug)]
pub(super) struct Identities {
    certificates: Vec<HubCertificate>,
    default: usize,
    /// Whole names, and for wildcards the part behind `*.`; several where one name has an RSA and an ECDSA certificate.
    exact: HashMap<String, Vec<usize>>,
    wild: HashMap<String, Vec<usize>>,
}

impl Identities {
    pub(super) fn new(certificates: Vec<HubCertificate>, default: usize) -> Self {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut wild: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in certificate.names.iter().filter_map(domain_of) {
                let found = match name.strip_prefix("*.") {
                    Some(parent) => wild.entry(parent.to_owned()).or_default(),
                    None => exact.entry(name).or_default(),
                };
                if !found.contains(&index) {
                    found.push(index);
                }
            }
        }
        Self { certificates, default, exact, wild }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    fn named(&self, name: &str) -> &[usize] {
        if let Some(found) = self.exact.get(name) {
            return found;
        }
        name.split_once('.').and_then(|(_, parent)| self.wild.get(parent)).map_or(&[], Vec::as_slice)
    }

    /// The certificate for the first of `names` that has any, one whose key the peer can verify where there is a choice; else
    /// the default.
    fn choose<'n>(&self, names: impl IntoIterator<Item = &'n str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = |index: &&usize| self.certificates[**index].certified.key.choose_scheme(schemes).is_some();
        for name in names {
            let found = self.named(name);
            if let Some(&index) = found.iter().find(usable).or(found.first()) {
                return Some(self.certificates[index].certified.clone());
            }
        }
        self.certificates.get(self.default).map(|certificate| certificate.certified.clone())
    }
}

/// The choice for one handshake.
#[derive(Debug)]
pub(super) struct Choice {
    identities: Arc<Identities>,
    domain: Option<Domain>,
}

impl Choice {
    pub(super) fn new(identities: Arc<Identities>, identity: &Identity) -> Self {
        let domain = match identity {
            Identity::Domain(domain) => Some(domain.clone()),
            Identity::Default => None,
        };
        Self { identities, domain }
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = hello.server_name().map(str::to_ascii_lowercase);
        let names = self.domain.as_ref().map(Domain::as_str).into_iter().chain(sni.as_deref());
        self.identities.choose(names, hello.signature_schemes())
    }
}

impl ResolvesClientCert for Choice {
    // The authorities that the server names are a hint (RFC 5246 §7.4.4), and often wrong where it would accept any.
    fn resolve(&self, _authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.identities.choose(self.domain.as_ref().map(Domain::as_str), schemes)
    }

    fn has_certs(&self) -> bool {
        !self.identities.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_name_leads_to_a_domain() {
        for (name, want) in [
            (PeerName::Dns("Chat.A.example.".into()), Some("chat.a.example")),
            (PeerName::Dns("*.a.example".into()), Some("*.a.example")),
            (PeerName::XmppAddr("A.example".into()), Some("a.example")),
            (PeerName::Srv("_xmpp-server.a.example".into()), Some("a.example")),
            (PeerName::Uri("sip:a.example".into()), Some("a.example")),
            (PeerName::Uri("sip:user@a.example".into()), None),
            (PeerName::Uri("https://a.example/".into()), None),
            (PeerName::XmppAddr("user@a.example".into()), None),
        ] {
            assert_eq!(domain_of(&name).as_deref(), want, "{name:?}");
        }
    }
}
