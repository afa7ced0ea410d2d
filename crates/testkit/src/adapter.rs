//! What a test of an adapter needs that is its driver, its broker and its peers in one, in virtual time.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use interchange_adapter::{ChainFault, Now, PeerCertificate, PeerName, TlsPeer};
use interchange_model::{Address, Body, Domain, Envelope, Link, MessageId, Pace, PlatformName, Settings, Text};

/// One base for every test, so that two adapters can share a time.
pub fn start() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let wall: SystemTime = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Now { instant: *START.get_or_init(Instant::now), wall }
}

/// A domain that is one.
pub fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// Settings, written as JSON.
pub fn settings(json: &str) -> Settings {
    serde_json::from_str(json).unwrap()
}

/// A link of a platform.
pub fn link(platform: &'static str, id: &str, domains: &[&str], json: &str) -> Link {
    Link {
        id: id.into(),
        member: "member".into(),
        platform: PlatformName::from_static(platform),
        domains: domains.iter().map(|text| domain(text)).collect(),
        pace: Pace::default(),
        settings: settings(json),
    }
}

/// Words from somebody to somebody.
pub fn text(number: u64, from: &str, to: &str, words: &str) -> Envelope {
    let id = MessageId::new(start().wall, u128::from(number) << 4 | 0xabcd);
    let people = (Address::parse(from).unwrap(), Address::parse(to).unwrap());
    Envelope::new(id, "la".into(), people, start().wall, Body::Text(Text { plain: words.into(), ..Text::default() }))
}

/// The words of an envelope.
pub fn words(envelope: &Envelope) -> &str {
    match &envelope.body {
        Body::Text(text) => text.plain.as_str(),
        other => panic!("{other:?}"),
    }
}

/// A peer that shows a certificate with these names.
pub fn certificate(names: &[&str], chain: Result<(), ChainFault>) -> TlsPeer {
    let names = names.iter().map(|name| PeerName::Dns((*name).to_owned())).collect();
    let certificate = PeerCertificate { chain, names, key_sha256: [1; 32], fingerprint: [2; 32], subject: "CN=test".to_owned() };
    TlsPeer { certificate: Some(certificate), ..TlsPeer::default() }
}

/// A peer that proves this name.
pub fn proof(name: &str) -> TlsPeer {
    certificate(&[name], Ok(()))
}
