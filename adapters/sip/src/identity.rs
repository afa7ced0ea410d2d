//! What counts as proof that a peer speaks for a link (RFC 5922 §7).

use interchange_adapter::{PeerCertificate, PeerName, TlsPeer, dns_name_matches};
use interchange_model::{Domain, Fault, Trouble};
use sip_adapter::identity::{listed, sound};

use crate::settings::{IdentityRule, LinkSettings};

/// Whether what a peer showed in the TLS handshake proves that it speaks for a link with these domains and settings;
/// else one sentence saying which rule it breaks, with both names, for the operator.
///
/// A link that pins keys trusts exactly those, whatever their certificate says. Otherwise the chain must be sound, and
/// one of the certificate's SIP identities must be one of the link's domains, or `host` where the link says so. That one
/// name suffices for all of a link's domains: which domains the member has is the registry's word, not the certificate's.
pub(crate) fn proves(peer: &TlsPeer, domains: &[Domain], settings: &LinkSettings) -> Result<(), Trouble> {
    let wanted = wanted(domains, settings);
    let Some(certificate) = sound(peer, &settings.pin, &listed(&wanted, ""))? else { return Ok(()) };
    let names = identities(certificate);
    let is_named = |wanted: &Domain| names.iter().any(|name| dns_name_matches(name, wanted, settings.wildcard));
    if wanted.iter().any(is_named) {
        return Ok(());
    }
    let names = named(certificate);
    let why = format!("the peer's certificate names {names} and must name {} (RFC 5922 §7.1)", listed(&wanted, ""));
    Err(Trouble::new(Fault::CertificateName, why))
}

/// What a certificate names, for a sentence.
pub(crate) fn named(certificate: &PeerCertificate) -> String {
    let names: Vec<_> = identities(certificate).into_iter().map(str::escape_debug).collect();
    listed(&names, "no SIP domain")
}

/// The names of which one must be in the certificate.
fn wanted(domains: &[Domain], settings: &LinkSettings) -> Vec<Domain> {
    match settings.identity {
        IdentityRule::Domain => domains.to_vec(),
        IdentityRule::Host => settings.host.iter().filter_map(|host| Domain::parse(host).ok()).collect(),
    }
}

/// The SIP domain identities of a certificate: its `sip:` URIs without a user part; only where there is none, its DNS
/// names (RFC 5922 §7.1). A common name never counts, since a certificate without alternative names is no proof today
/// (RFC 6125 §6.4.4).
fn identities(certificate: &PeerCertificate) -> Vec<&str> {
    let uris: Vec<&str> = certificate
        .names
        .iter()
        .filter_map(|name| match name {
            PeerName::Uri(uri) => sip_domain(uri),
            _ => None,
        })
        .collect();
    if !uris.is_empty() {
        return uris;
    }
    let dns = certificate.names.iter().filter_map(|name| match name {
        PeerName::Dns(name) => Some(name.as_str()),
        _ => None,
    });
    dns.collect()
}

/// The host of `sip:host`. Anything with a user part, a port or parameters identifies no domain (RFC 5922 §7.1), and
/// `sips:` is not a domain identity either.
fn sip_domain(uri: &str) -> Option<&str> {
    let (scheme, host) = uri.split_once(':')?;
    let plain = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    (scheme.eq_ignore_ascii_case("sip") && plain).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use interchange_adapter::ChainFault;
    use interchange_adapter::Pin;

    fn peer(names: &[PeerName], chain: Result<(), ChainFault>) -> TlsPeer {
        let certificate = PeerCertificate {
            chain,
            names: names.to_vec(),
            key_sha256: [7; 32],
            fingerprint: [8; 32],
            subject: "CN=b.example".into(),
        };
        TlsPeer { certificate: Some(certificate), ..TlsPeer::default() }
    }

    fn dns(name: &str) -> PeerName {
        PeerName::Dns(name.into())
    }

    fn uri(name: &str) -> PeerName {
        PeerName::Uri(name.into())
    }

    fn accepted(names: &[PeerName], settings: &LinkSettings) -> bool {
        proves(&peer(names, Ok(())), &[Domain::parse("b.example").unwrap()], settings).is_ok()
    }

    #[test]
    fn abuse_9_names_by_rfc_5922() {
        let domain = LinkSettings::default();
        for (names, want) in [
            (vec![dns("b.example")], true),
            (vec![uri("sip:b.example")], true),
            (vec![uri("SIP:B.Example")], true),
            // Where a SIP URI is, DNS names do not count.
            (vec![uri("sip:c.example"), dns("b.example")], false),
            (vec![uri("sip:alice@b.example")], false),
            (vec![uri("sips:b.example")], false),
            (vec![uri("sip:b.example:5061")], false),
            (vec![uri("http://b.example"), dns("b.example")], true),
            (vec![dns("sip.b.example")], false),
            (vec![dns("b.example.evil.example")], false),
            (vec![dns("evil-b.example")], false),
            (vec![PeerName::XmppAddr("b.example".into())], false),
            (vec![PeerName::Srv("_sips.b.example".into())], false),
            (vec![], false),
        ] {
            assert_eq!(accepted(&names, &domain), want, "{names:?}");
        }
    }

    #[test]
    fn sip_10_8_a_host_certificate_needs_identity_host() {
        let host = LinkSettings { host: Some("sip.b.example".into()), identity: IdentityRule::Host, ..LinkSettings::default() };
        assert!(!accepted(&[dns("sip.b.example")], &LinkSettings::default()));
        assert!(accepted(&[dns("sip.b.example")], &host));
        assert!(!accepted(&[dns("b.example")], &host));
    }

    #[test]
    fn sip_10_9_a_wildcard_needs_the_setting() {
        let host = LinkSettings { host: Some("sip.b.example".into()), identity: IdentityRule::Host, ..LinkSettings::default() };
        assert!(!accepted(&[dns("*.b.example")], &host));
        assert!(accepted(&[dns("*.b.example")], &LinkSettings { wildcard: true, ..host }));
    }

    #[test]
    fn abuse_9_a_fault_of_the_chain_is_named_with_the_domain() {
        let domains = [Domain::parse("b.example").unwrap()];
        for fault in [ChainFault::Expired, ChainFault::NotYetValid, ChainFault::UnknownAuthority, ChainFault::WrongUse] {
            let peer = peer(&[dns("b.example")], Err(fault.clone()));
            let why = proves(&peer, &domains, &LinkSettings::default()).unwrap_err().text;
            assert!(why.contains("b.example") && why.contains(&fault.to_string()), "{why}");
        }
        let none = proves(&TlsPeer::default(), &domains, &LinkSettings::default()).unwrap_err().text;
        assert!(none.contains("no certificate"), "{none}");
        let other = proves(&peer(&[dns("x.example")], Ok(())), &domains, &LinkSettings::default()).unwrap_err().text;
        assert!(other.contains("x.example") && other.contains("b.example") && other.contains("RFC 5922"), "{other}");
    }

    #[test]
    fn a_pin_replaces_the_chain_and_excludes_every_other_key() {
        let pinned = |byte| LinkSettings { pin: vec![Pin([byte; 32])], ..LinkSettings::default() };
        let domains = [Domain::parse("b.example").unwrap()];
        assert!(proves(&peer(&[], Err(ChainFault::UnknownAuthority)), &domains, &pinned(7)).is_ok());
        assert!(proves(&peer(&[dns("b.example")], Ok(())), &domains, &pinned(8)).is_err());
    }
}
