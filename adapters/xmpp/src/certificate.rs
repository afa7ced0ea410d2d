//! What counts as proof that a peer speaks for a domain.

use interchange_adapter::{PeerCertificate, PeerName, TlsPeer, dns_name_matches};
use interchange_model::{Domain, Fault, Trouble};

use crate::settings::LinkSettings;

/// Whether what a peer showed in the TLS handshake proves that it speaks for `domain`; else one sentence saying why not,
/// with both names, for the operator.
///
/// A link that pins keys trusts exactly those, whatever their certificate says. Otherwise the chain must be sound, and
/// one of the names must be the domain's: SRV-ID, XmppAddr or DNS-ID (RFC 6120 §13.7.1.2), a wildcard standing for one
/// whole left-most label of a DNS-ID only. A common name never counts.
pub(crate) fn proves(peer: &TlsPeer, domain: &Domain, settings: &LinkSettings) -> Result<(), Trouble> {
    let Some(certificate) = &peer.certificate else {
        let why = format!("the server shows no certificate, and one for {domain} is needed");
        return Err(Trouble::new(Fault::NoCertificate, why));
    };
    if !settings.pin.is_empty() {
        return if settings.pin.iter().any(|pin| pin.0 == certificate.key_sha256) {
            Ok(())
        } else {
            let why =
                format!("the key of the server's certificate ({}) is none of those pinned for {domain}", certificate.subject);
            Err(Trouble::new(Fault::KeyNotPinned, why))
        };
    }
    if let Err(fault) = &certificate.chain {
        let why = format!("the certificate ({}) does not prove {domain}: {fault}", certificate.subject);
        return Err(Trouble::new(fault.into(), why));
    }
    if certificate.names.iter().any(|name| names(name, domain)) {
        return Ok(());
    }
    let why = format!("the certificate does not name {domain}: it names {}", listed(certificate));
    Err(Trouble::new(Fault::CertificateName, why))
}

fn names(name: &PeerName, domain: &Domain) -> bool {
    match name {
        PeerName::Dns(name) => dns_name_matches(name, domain, true),
        // RFC 6120 §13.7.1.2.1; no wildcard in an SRVName (RFC 6125 §6.4.3).
        PeerName::Srv(name) => name.strip_prefix("_xmpp-server.").is_some_and(|name| dns_name_matches(name, domain, false)),
        // May be written with U-labels, so it is compared as a domain (RFC 6120 §13.7.1.4).
        PeerName::XmppAddr(name) => !name.starts_with("*.") && Domain::parse(name).as_ref() == Ok(domain),
        PeerName::Uri(_) | PeerName::Common(_) => false,
    }
}

/// The names of a certificate, five of them, for a sentence.
fn listed(certificate: &PeerCertificate) -> String {
    let names = certificate.names.iter().filter_map(|name| match name {
        PeerName::Dns(name) | PeerName::Srv(name) | PeerName::XmppAddr(name) => Some(name.escape_debug().to_string()),
        PeerName::Uri(_) | PeerName::Common(_) => None,
    });
    let mut listed: Vec<String> = names.take(6).collect();
    if listed.len() > 5 {
        listed[5] = "others".to_owned();
    }
    if listed.is_empty() { "no domain".to_owned() } else { listed.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interchange_adapter::ChainFault;
    use interchange_adapter::Pin;

    fn peer(names: Vec<PeerName>, chain: Result<(), ChainFault>) -> TlsPeer {
        let certificate =
            PeerCertificate { chain, names, key_sha256: [7; 32], fingerprint: [8; 32], subject: "CN=a.example".to_owned() };
        TlsPeer { certificate: Some(certificate), ..TlsPeer::default() }
    }

    #[test]
    fn abuse_9_only_names_of_the_alternative_name_extension_count() {
        let domain = Domain::parse("xn--mller-kva.example").unwrap();
        let settings = LinkSettings::default();
        for (name, want) in [
            (PeerName::Dns("xn--mller-kva.example".into()), true),
            (PeerName::Dns("*.example".into()), false),
            (PeerName::Dns("xn--*.example".into()), false),
            (PeerName::Dns("evil.xn--mller-kva.example".into()), false),
            (PeerName::Srv("_xmpp-server.xn--mller-kva.example".into()), true),
            (PeerName::Srv("_xmpp-client.xn--mller-kva.example".into()), false),
            (PeerName::XmppAddr("müller.example".into()), true),
            (PeerName::XmppAddr("alice@müller.example".into()), false),
            (PeerName::Uri("sip:xn--mller-kva.example".into()), false),
        ] {
            assert_eq!(proves(&peer(vec![name.clone()], Ok(())), &domain, &settings).is_ok(), want, "{name:?}");
        }
        let sub = Domain::parse("chat.a.example").unwrap();
        let wild = |name: &str| proves(&peer(vec![PeerName::Dns(name.into())], Ok(())), &sub, &settings).is_ok();
        assert!(wild("*.a.example") && !wild("c*.a.example") && !wild("*.example") && !wild("a.example"));
        let srv = peer(vec![PeerName::Srv("_xmpp-server.*.a.example".into())], Ok(()));
        assert!(proves(&srv, &sub, &settings).is_err());
    }

    #[test]
    fn abuse_9_a_fault_of_the_chain_is_named_with_the_domain() {
        let domain = Domain::parse("a.example").unwrap();
        for fault in [ChainFault::Expired, ChainFault::NotYetValid, ChainFault::UnknownAuthority, ChainFault::WrongUse] {
            let why =
                proves(&peer(vec![PeerName::Dns("a.example".into())], Err(fault.clone())), &domain, &LinkSettings::default());
            let why = why.unwrap_err().text;
            assert!(why.contains("a.example") && why.contains(&fault.to_string()), "{why}");
        }
        let none = proves(&TlsPeer::default(), &domain, &LinkSettings::default()).unwrap_err().text;
        assert!(none.contains("no certificate"), "{none}");
        let other = proves(&peer(vec![PeerName::Dns("b.example".into())], Ok(())), &domain, &LinkSettings::default());
        assert_eq!(other.unwrap_err().text, "the certificate does not name a.example: it names b.example");
    }

    #[test]
    fn a_pin_replaces_the_chain_and_excludes_every_other_key() {
        let domain = Domain::parse("a.example").unwrap();
        let self_signed = peer(vec![], Err(ChainFault::UnknownAuthority));
        let pinned = |byte| LinkSettings { pin: vec![Pin([byte; 32])], ..LinkSettings::default() };
        assert!(proves(&self_signed, &domain, &pinned(7)).is_ok());
        let good = peer(vec![PeerName::Dns("a.example".into())], Ok(()));
        assert!(proves(&good, &domain, &pinned(8)).is_err());
    }
}
