//! What counts as proof that a peer is a link's Access Edge.

use interchange_adapter::{PeerCertificate, PeerName, TlsPeer, dns_name_matches};
use interchange_model::{Domain, Fault, Trouble};
use sip_adapter::identity;

use crate::settings::LinkSettings;

/// Whether what a peer showed in the TLS handshake proves that it is the edge of a link with these domains and settings; else one sentence
/// saying which rule it breaks, with both names, for the operator.
///
/// A link that pins keys trusts exactly those. Otherwise the chain must be sound, and one of the certificate's names must be the edge's (direct
/// federation); where the edge is found by SRV, a host in one of the link's domains, as Microsoft's servers want it of a discovered partner. A common
/// name counts where there is no other name, as in certificates of those servers' time.
pub(crate) fn proves(peer: &TlsPeer, domains: &[Domain], settings: &LinkSettings) -> Result<(), Trouble> {
    let edge = settings.edge();
    let wanted = match &edge {
        Some(edge) => edge.to_string(),
        None => domains.first().map_or_else(String::new, |domain| format!("a host of {domain}")),
    };
    let sound = identity::sound(peer, &settings.pin, &wanted).map_err(|trouble| match trouble.fault {
        Fault::NoCertificate => Trouble::new(trouble.fault, format!("{} (mutual TLS)", trouble.text)),
        _ => trouble,
    })?;
    let Some(certificate) = sound else { return Ok(()) };
    let fits = |name: &&str| match &edge {
        Some(edge) => dns_name_matches(name, edge, false),
        None => domains.iter().any(|domain| is_host_of(name, domain)),
    };
    if names(certificate).iter().any(fits) {
        return Ok(());
    }
    let rule = if edge.is_some() { "the edge that the link names" } else { "a host in the domain, for an edge found by SRV" };
    let why = format!("the peer's certificate names {} and must name {wanted} ({rule})", named(certificate));
    Err(Trouble::new(Fault::CertificateName, why))
}

/// A host of a domain, or the domain itself; never by a wildcard.
fn is_host_of(name: &str, domain: &Domain) -> bool {
    let Ok(name) = Domain::parse(name) else { return false };
    name == *domain || name.as_str().strip_suffix(domain.as_str()).is_some_and(|host| host.ends_with('.'))
}

fn names(certificate: &PeerCertificate) -> Vec<&str> {
    let dns = certificate.names.iter().filter_map(|name| match name {
        PeerName::Dns(name) | PeerName::Common(name) => Some(name.as_str()),
        _ => None,
    });
    dns.collect()
}

/// What a certificate names, for a sentence.
pub(crate) fn named(certificate: &PeerCertificate) -> String {
    let names: Vec<_> = names(certificate).into_iter().map(str::escape_debug).collect();
    identity::listed(&names, "no host")
}

#[cfg(test)]
mod tests {
    use super::*;
    use interchange_adapter::{ChainFault, Pin};

    fn peer(names: &[PeerName], chain: Result<(), ChainFault>) -> TlsPeer {
        let certificate = PeerCertificate {
            chain,
            names: names.to_vec(),
            key_sha256: [7; 32],
            fingerprint: [8; 32],
            subject: "CN=sip.contoso.example".into(),
        };
        TlsPeer { certificate: Some(certificate), ..TlsPeer::default() }
    }

    fn dns(name: &str) -> PeerName {
        PeerName::Dns(name.into())
    }

    fn domains() -> [Domain; 1] {
        [Domain::parse("contoso.example").unwrap()]
    }

    #[test]
    fn abuse_9_the_edge_that_was_named_and_no_other() {
        let direct = LinkSettings { edge: Some("sip.contoso.example".into()), ..LinkSettings::default() };
        for (names, want) in [
            (vec![dns("sip.contoso.example")], true),
            (vec![dns("access.contoso.example"), dns("SIP.contoso.example")], true),
            (vec![PeerName::Common("sip.contoso.example".into())], true),
            (vec![dns("contoso.example")], false),
            (vec![dns("sip.contoso.example.evil.example")], false),
            (vec![dns("*.contoso.example")], false),
            (vec![PeerName::Uri("sip:sip.contoso.example".into())], false),
            (vec![PeerName::Srv("_sipfederationtls.contoso.example".into())], false),
            (vec![], false),
        ] {
            assert_eq!(proves(&peer(&names, Ok(())), &domains(), &direct).is_ok(), want, "{names:?}");
        }
    }

    #[test]
    fn an_edge_found_by_srv_is_a_host_of_the_domain() {
        let found = LinkSettings::default();
        for (name, want) in [
            ("sip.contoso.example", true),
            ("contoso.example", true),
            ("edge.eu.contoso.example", true),
            ("*.contoso.example", false),
            ("evilcontoso.example", false),
            ("sip.contoso.example.evil.example", false),
            ("sip.fabrikam.example", false),
        ] {
            assert_eq!(proves(&peer(&[dns(name)], Ok(())), &domains(), &found).is_ok(), want, "{name}");
        }
    }

    #[test]
    fn abuse_9_a_fault_is_named_with_the_rule() {
        let direct = LinkSettings { edge: Some("sip.contoso.example".into()), ..LinkSettings::default() };
        for fault in [ChainFault::Expired, ChainFault::UnknownAuthority, ChainFault::WrongUse, ChainFault::Revoked] {
            let why = proves(&peer(&[dns("sip.contoso.example")], Err(fault.clone())), &domains(), &direct).unwrap_err();
            assert!(why.text.contains("sip.contoso.example") && why.text.contains(&fault.to_string()), "{}", why.text);
        }
        let none = proves(&TlsPeer::default(), &domains(), &direct).unwrap_err();
        assert!(none.fault == Fault::NoCertificate && none.text.contains("mutual TLS"), "{}", none.text);
        let other = proves(&peer(&[dns("sip.evil.example")], Ok(())), &domains(), &direct).unwrap_err();
        assert!(other.text.contains("sip.evil.example") && other.text.contains("sip.contoso.example"), "{}", other.text);
    }

    #[test]
    fn a_pin_replaces_the_chain_and_excludes_every_other_key() {
        let pinned = |byte| LinkSettings { pin: vec![Pin([byte; 32])], ..LinkSettings::default() };
        assert!(proves(&peer(&[], Err(ChainFault::UnknownAuthority)), &domains(), &pinned(7)).is_ok());
        assert!(proves(&peer(&[dns("sip.contoso.example")], Ok(())), &domains(), &pinned(8)).is_err());
    }
}
