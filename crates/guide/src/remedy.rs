//! What to do about a fault of a link: one sentence, for the product that the member has.

use interchange_model::Fault;

use crate::product::Product;
use crate::{Facts, Listeners, MemberCertificate};

/// Where a product keeps the things that remedies speak of.
struct Places {
    /// Its certificate and chain.
    certificate: &'static str,
    /// How it takes a new one into use.
    reload: &'static str,
    /// Which authorities it trusts in other servers.
    authorities: &'static str,
    /// Whom it federates with, and by which way.
    federation: &'static str,
    /// Where it writes why it refused somebody.
    log: &'static str,
}

const fn places(product: Product) -> Places {
    match product {
        Product::Prosody => Places {
            certificate: "the files of the host in /etc/prosody/certs (own certificate first, then the intermediates)",
            reload: "prosodyctl reload",
            authorities: "`cafile` in its `ssl` or `s2s_ssl` settings in /etc/prosody/prosody.cfg.lua",
            federation: "the routes of mod_s2sout_override, and `modules_enabled` (dialback), in /etc/prosody/prosody.cfg.lua",
            log: "/var/log/prosody/prosody.log",
        },
        Product::Ejabberd => Places {
            certificate: "`certfiles` in ejabberd.yml (own certificate first, then the intermediates)",
            reload: "ejabberdctl reload-config",
            authorities: "`ca_file` in ejabberd.yml",
            federation: "`s2s_access`, and the names that lead to the hub, as in the link's guide",
            log: "/var/log/ejabberd/ejabberd.log",
        },
        Product::Openfire => Places {
            certificate: "TLS/SSL Certificates, Identity Store, in the administration console",
            reload: "a restart of Openfire",
            authorities: "TLS/SSL Certificates, Trust Store, in the administration console",
            federation: "Server Settings, Server to Server, in the administration console",
            log: "logs/openfire.log",
        },
        Product::CiscoImp => Places {
            certificate: "the cup-xmpp-s2s certificate in Cisco Unified OS Administration",
            reload: "a restart of the Cisco XCP XMPP Federation Connection Manager",
            authorities: "the cup-xmpp-trust certificates in Cisco Unified OS Administration",
            federation: "Presence, Inter-Domain Federation, XMPP Federation in IM and Presence Administration",
            log: "the trace of the Cisco XCP XMPP Federation Connection Manager (RTMT)",
        },
        Product::CiscoExpressway => Places {
            certificate: "Maintenance, Security, Server certificate on the Expressway-E",
            reload: "a restart of the Expressway-E",
            authorities: "Maintenance, Security, Trusted CA certificate on the Expressway-E",
            federation: "Configuration, Unified Communications, XMPP federation on the Expressway-E",
            log: "Status, Logs, Event Log on the Expressway-E",
        },
        Product::SametimeGateway => Places {
            certificate: "SSL certificate and key management, in the WebSphere console of the gateway's cluster",
            reload: "a restart of the gateway's server",
            authorities: "CellDefaultTrustStore, in the WebSphere console",
            federation: "Sametime Gateway, Communities, in the WebSphere console",
            log: "SystemOut.log of the gateway's server",
        },
        Product::Kamailio => Places {
            certificate: "`certificate` of the [server:default] part of tls.cfg (own certificate first, then the intermediates)",
            reload: "kamcmd tls.reload",
            authorities: "`ca_list` in tls.cfg",
            federation: "the request routes of kamailio.cfg and the parts [server:…] and [client:…] of tls.cfg",
            log: "what it writes to syslog",
        },
        Product::Ocs => Places {
            certificate: "Edge Interfaces, Configure Certificate, on the Access Edge",
            reload: "a restart of the Access Edge service",
            authorities: "the Trusted Root Certification Authorities of the Edge computer",
            federation: "the Allow tab of the Edge's properties",
            log: "the Edge's SIPStack trace (OCSLogger)",
        },
        Product::Lync => Places {
            certificate: "Set-CsCertificate -Type AccessEdgeExternal on the Edge server",
            reload: "a restart of RTCSRV",
            authorities: "the Trusted Root Certification Authorities of the Edge computer",
            federation: "Get-CsAllowedDomain, and Get-CsAccessEdgeConfiguration",
            log: "CLS, scenario SIPStack (Search-CsClsLogging)",
        },
        Product::OtherXmpp | Product::OtherSip | Product::Microsoft365 => Places {
            certificate: "the certificate that it shows to other servers (own certificate first, then the intermediates)",
            reload: "a reload or restart of the server",
            authorities: "the authorities that it trusts in other servers",
            federation: "its settings for other domains (federation, peers)",
            log: "its log of connections with other servers",
        },
    }
}

/// What a member's administrator, or the hub's operator where it is theirs to do, does about `fault` of the link of `facts`, whose server is `product`. One
/// or two sentences.
#[must_use]
pub fn remedy(fault: Fault, product: Product, facts: &Facts) -> String {
    let places = places(product);
    let name = product.name();
    let hub = &facts.hub_domain;
    let Listeners { host, .. } = &facts.listeners;
    let sip = matches!(product, Product::Kamailio | Product::OtherSip | Product::Ocs | Product::Lync);
    let (port, own_port, service) = if sip {
        (
            if matches!(product, Product::Ocs | Product::Lync) { facts.ocs_port() } else { facts.sip_port() },
            5061,
            if product == Product::Kamailio || product == Product::OtherSip { "_sips._tcp" } else { "_sipfederationtls._tcp" },
        )
    } else {
        (facts.xmpp_port(), 5269, "_xmpp-server._tcp")
    };
    let domain = facts.main_domain();
    let all = facts.own_domains().into_iter().map(|domain| format!("`{domain}`")).collect::<Vec<_>>().join(", ");
    let renew = match facts.member_certificate {
        MemberCertificate::FromHub => "have the hub's operator issue one (`interchange authority`)",
        MemberCertificate::Own => "have its authority issue one",
    };
    match fault {
        Fault::DnsFailed => format!("Ask the name servers of {domain} from outside (`dig {service}.{domain} SRV`) and mend them; at the hub, see that `[dns]` names servers that answer."),
        Fault::NoService => format!("Publish `{service}.{domain} SRV 10 0 {own_port} HOST.` with the host of {name}, or give the link the settings `host` and `port`."),
        Fault::ServiceNotOffered => format!("Replace the record `{service}.{domain} SRV … .`, which says that there is no such service, by one that names the host of {name}; or give the link the setting `host`."),
        Fault::NoAddress => "Publish an A or AAAA record for that host, or correct its name in the SRV record, or in the link's setting `host`.".to_owned(),
        Fault::AddressNotAllowed => "Use the server's public address; where it is meant to be reached inside, the hub's operator lists its network under `[network] allow_targets` in hub.toml, and of a link without TLS under its `addresses`.".to_owned(),
        Fault::PortClosed => format!("Start {name}, have it listen for other servers on that port, or correct the port in the SRV record, or in the link's setting `port`."),
        Fault::NoConnection => format!("Allow TCP from the addresses of {host} to that address and port in the firewall before {name}."),
        Fault::Silent => format!("Look into {log} for the time of this check: {name} accepts the connection and does not answer.", log = places.log),
        Fault::Disconnected => format!("Look into {log} for the time of this check: it says why {name} ended the connection.", log = places.log),
        Fault::WrongProtocol => format!("Give the link the port on which {name} talks to other servers ({own_port} as a rule): what answers there is another service."),
        Fault::NoTls => format!("Give {name} a certificate and enable TLS for other servers: {certificate}; then {reload}.", certificate = places.certificate, reload = places.reload),
        Fault::TlsFailed => format!("Enable TLS 1.2 or 1.3 for other servers in {name}, on that very port; {log} has its side of it.", log = places.log),
        Fault::NoCertificate => format!("Have {name} show its certificate also where it is the one that connects: {certificate}; then {reload}.", certificate = places.certificate, reload = places.reload),
        Fault::CertificateExpired => format!("Renew the certificate of {name} ({renew}) and put it in place: {certificate}; then {reload}.", certificate = places.certificate, reload = places.reload),
        Fault::CertificateNotYetValid => format!("Set the clocks of both sides by NTP (`timedatectl` shows whether that works) and check again; if both are right, wait for the certificate's time, or {renew}."),
        Fault::CertificateUntrusted => format!("Put the intermediate certificates behind the server's own in {name}: {certificate}; then {reload}. If its authority is not a public one, the hub's operator lists it under `[tls] authorities` in hub.toml.", certificate = places.certificate, reload = places.reload),
        Fault::CertificateSelfSigned => format!("Replace the self-signed certificate of {name} ({renew}), or give the link the setting `pin` with the SHA-256 of its key."),
        Fault::CertificateWrongUse => format!("{} with the usages serverAuth and clientAuth, and put it in place: {certificate}; then {reload}.", capital(renew), certificate = places.certificate, reload = places.reload),
        Fault::CertificateRevoked => format!("{}, since this one was revoked, and put it in place: {certificate}; then {reload}.", capital(renew), certificate = places.certificate, reload = places.reload),
        Fault::CertificateInvalid => format!("{} and put it in place: {certificate}; then {reload}.", capital(renew), certificate = places.certificate, reload = places.reload),
        Fault::CertificateName => format!("{} that names {all} as DNS names, and put it in place: {certificate}; then {reload}.{identity}", capital(renew), certificate = places.certificate, reload = places.reload, identity = if sip { " Where it names the server's host, give the link `host` and `identity=host`." } else { "" }),
        Fault::KeyNotPinned => "If the server's key was changed on purpose, put the SHA-256 of the new one into the link's setting `pin`; else somebody is in between.".to_owned(),
        Fault::NoAuthentication => format!("Have {name} trust the authority of the hub's certificate, so that it offers SASL EXTERNAL to {hub} ({authorities}); or enable dialback on both sides (link setting `authentication`).", authorities = places.authorities),
        Fault::AuthenticationRefused => format!("Have {name} trust the authority of the hub's certificate ({authorities}) and allow {hub} and the partners' domains ({federation}).", authorities = places.authorities, federation = places.federation),
        Fault::DialbackRefused => format!("See that {name} asks {host} port {port} about {hub} and the partners' domains, and nobody else: {federation}.", federation = places.federation),
        Fault::HostUnknown => format!("Have {name} serve {all} at that address, or point the SRV record, or the link's setting `host`, to the server that does."),
        Fault::NoWayBack => format!("Allow TCP from {name} to {host} port {port}, and have it send what is for {hub} and the partners' domains there: {federation}.", federation = places.federation),
        Fault::Throttled => format!("Wait until the pause is over; if it comes again, raise the limits of {name} for {host}, or lower the link's `pace.in_flight`."),
        Fault::NotConnected => format!("Have {name} connect to {host} port {port}, or let the hub connect: link setting `dial=always`."),
        Fault::Settings => "Correct the link's settings (`interchange link set`): docs/platforms names each.".to_owned(),
        Fault::OwnCertificateTime => "The hub's operator renews the hub's certificate, sees that the hub's clock is right, and reloads the hub (SIGHUP).".to_owned(),
        Fault::OwnCertificateName => format!("The hub's operator gives the hub a certificate that names {hub}, as the first `[[tls.identity]]` in hub.toml, and reloads the hub (SIGHUP)."),
        Fault::NoListener => "The hub's operator adds a `[[listener]]` of the link's platform to hub.toml and restarts the hub.".to_owned(),
        Fault::NoPartner => "Invite a partner (`interchange partner invite`); until then only the hub's own user answers.".to_owned(),
        Fault::Backlog => "Mend what the other lines say; what waits is delivered then, in order.".to_owned(),
        Fault::MessagesRefused => format!("`interchange trace FROM TO` says which; {log} says why {name} refuses them.", log = places.log),
        Fault::NothingCame => format!("Have somebody there write to echo@{hub}: the answer shows both directions. If none comes, have {name} send what is for {hub} to {host} port {port}: {federation}.", federation = places.federation),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileName, Trust};

    #[test]
    fn every_fault_has_a_remedy_for_every_product() {
        let facts = Facts {
            hub_domain: "hub.example".parse().unwrap(),
            link: "acme".into(),
            member_domains: vec!["acme.example".parse().unwrap()],
            member_host: None,
            listeners: Listeners::usual("hub.example".parse().unwrap()),
            trust: Trust::Own { file: FileName::parse("authority.pem").unwrap() },
            member_certificate: MemberCertificate::FromHub,
            partners: Vec::new(),
        };
        for product in Product::ALL {
            for fault in Fault::ALL {
                let text = remedy(fault, product, &facts);
                assert!(text.ends_with('.') && !text.contains("  ") && !text.contains('\n'), "{fault} {product}: {text}");
                assert!((30..600).contains(&text.len()), "{fault} {product}: {text}");
            }
        }
        let expired = remedy(Fault::CertificateExpired, Product::Prosody, &facts);
        assert!(expired.contains("/etc/prosody/certs") && expired.contains("prosodyctl reload"), "{expired}");
        let back = remedy(Fault::NoWayBack, Product::Kamailio, &facts);
        assert!(back.contains("hub.example port 5061") && back.contains("kamailio.cfg"), "{back}");
    }
}
