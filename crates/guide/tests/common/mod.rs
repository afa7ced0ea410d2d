//! Facts for the tests.
#![allow(missing_docs, unreachable_pub, dead_code)]

use interchange_guide::{Facts, FileName, Listeners, MemberCertificate, Trust};
use interchange_model::Domain;

pub fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// A member with two partners at a hub with an authority of its own.
pub fn own() -> Facts {
    Facts {
        hub_domain: domain("hub.example"),
        link: "acme-office".into(),
        member_domains: vec![domain("acme.example"), domain("acme.example.org")],
        member_host: Some(domain("im.acme.example")),
        listeners: Listeners::usual(domain("im.hub.example")),
        trust: Trust::Own { file: FileName::parse("interchange-authority.pem").unwrap() },
        member_certificate: MemberCertificate::FromHub,
        partners: vec![domain("globex.example"), domain("münchen.example")],
    }
}

/// A member without partners at a hub with certificates of a public authority and other ports.
pub fn public() -> Facts {
    Facts {
        listeners: Listeners { host: domain("im.hub.example"), xmpp: Some(15269), sip_tls: Some(15061), ocs_tls: Some(25061) },
        trust: Trust::Public,
        member_certificate: MemberCertificate::Own,
        member_host: None,
        ..own()
    }
}

/// The least that can be known.
pub fn least() -> Facts {
    Facts {
        member_domains: Vec::new(),
        partners: Vec::new(),
        listeners: Listeners { host: domain("im.hub.example"), xmpp: None, sip_tls: None, ocs_tls: None },
        ..public()
    }
}
