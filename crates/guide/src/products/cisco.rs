//! Cisco IM and Presence, alone and behind Expressway-E: from Cisco's *Interdomain Federation* guide (release 14) and
//! *Chat and Presence Federation Using Expressway* (X14).

use std::fmt::Write as _;

use crate::facts::{Facts, Trust};
use crate::guide::{Guide, Language, Step};
use crate::product::Product;
use crate::steps::{self, Protocol, Request};

const NOTE: &str = "No test ran these steps; they follow Cisco's federation guides for release 14.";

/// IM and Presence federates by itself; it finds partners by DNS alone.
pub(crate) fn imp(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Xmpp));
    all.push(steps::firewall(facts, Protocol::Xmpp, "the node that federates"));
    all.push(no_sip_federation(facts));
    all.push(steps::company_dns(facts, "IM and Presence"));
    all.extend(steps::fetch_authority(facts, Protocol::Xmpp));
    all.extend(imp_trust(facts));
    all.push(steps::certificate(facts, Protocol::Xmpp, Request::Console));
    all.push(Step::new(
        "Install the certificate",
        "In Cisco Unified IM and Presence OS Administration, at Security, Certificate Management: the certificate `cup-xmpp-s2s`. Make \
         the request there if you need one (Generate CSR), and upload first its issuer to `cup-xmpp-trust`, then the certificate.",
    ));
    all.push(imp_security(facts));
    all.push(Step::new(
        "Allow the domains",
        format!(
            "At Presence, Inter-Domain Federation, XMPP Federation, Policy: if the mode is Deny, add {} as exceptions.",
            steps::listed(&facts.remote_domains())
        ),
    ));
    all.push(Step::new(
        "Restart the services",
        "In IM and Presence Serviceability: Cisco XCP Router (Tools, Control Center - Network Services), on all nodes if federation was \
         off before, then Cisco XCP XMPP Federation Connection Manager (Tools, Control Center - Feature Services). The router takes \
         all XCP services with it, so people's clients connect again.",
    ));
    all.push(steps::echo(facts));
    steps::guide(Product::CiscoImp, facts, false, NOTE, all)
}

fn no_sip_federation(facts: &Facts) -> Step {
    let text = format!(
        "A domain that is configured for SIP federation cannot be reached by XMPP. At Presence, Inter-Domain Federation, SIP \
         Federation, remove {} if they are there.",
        steps::listed(&facts.remote_domains())
    );
    Step::new("Remove the domains from SIP federation", text)
}

fn imp_trust(facts: &Facts) -> Option<Step> {
    let file = facts.authority_file()?;
    let text = format!(
        "In Cisco Unified IM and Presence OS Administration, at Security, Certificate Management, Upload Certificate/Certificate chain: \
         choose `cup-xmpp-trust`, leave the root name empty, and upload `{file}`."
    );
    Some(Step::new("Trust the hub's authority", text).check("the list of certificates shows it under `cup-xmpp-trust`."))
}

fn imp_security(facts: &Facts) -> Step {
    let external = matches!(facts.trust, Trust::Own { .. });
    let on = |on: bool| if on { "on" } else { "off" };
    let content = format!(
        "XMPP Federation Node Status: On\n\
         Security Mode: TLS Required\n\
         Require client-side security certificates: {}\n\
         Enable SASL EXTERNAL on all incoming connections: {}\n\
         Enabling SASL on outbound connections: {}\n\
         Dialback secret: a long random one, the same on all nodes\n",
        on(external),
        on(external),
        on(external)
    );
    let more = if external {
        "Certificates prove both sides."
    } else {
        "Certificates encrypt and dialback proves the domains, since the hub's certificate names the hub alone; ask the hub's operator \
         to allow `dialback` on the link."
    };
    let text = format!(
        "In Cisco Unified CM IM and Presence Administration, at Presence, Inter Domain Federation, XMPP Federation, Settings. {more} \
         Nodes and clusters must all have the same."
    );
    Step::new("Turn on federation", text)
        .snippet("XMPP Federation Settings", Language::Text, content)
        .check("the System Troubleshooter finds no fault with XMPP federation.")
}

/// Expressway-E federates in place of IM and Presence: static routes, and dialback only.
pub(crate) fn expressway(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Xmpp));
    all.push(steps::firewall(facts, Protocol::Xmpp, "the Expressway-E"));
    all.push(Step::new(
        "Turn off federation on IM and Presence",
        "In Cisco Unified CM IM and Presence Administration, at Presence, Inter Domain Federation, XMPP Federation, Settings: XMPP \
         Federation Node Status Off. Only one of the two may federate.",
    ));
    all.push(Step::new(
        "Allow dialback at the hub",
        "Expressway has no SASL EXTERNAL: domains are always proved by dialback. Ask the hub's operator to set `authentication = \
         [\"dialback\"]` on the link.",
    ));
    all.extend(steps::fetch_authority(facts, Protocol::Xmpp));
    all.extend(expressway_trust(facts));
    all.push(steps::certificate(facts, Protocol::Xmpp, Request::Console));
    all.push(Step::new(
        "Install the certificate",
        "On the Expressway-E, at Maintenance, Security, Server certificate: make the request there if you need one (Generate CSR, with your \
         domains among the alternative names), and upload the answer with its issuers. Expressway takes no certificate without the client \
         purpose, which public authorities no longer give; the hub's authority gives both.",
    ));
    all.push(expressway_security(facts));
    all.push(static_routes(facts));
    all.push(
        Step::new("Publish your own record", "The hub finds you, also when it asks back, by DNS.")
            .snippet("public DNS of your domain", Language::Zone, own_records(facts))
            .check("`nslookup -type=SRV` of the name, asked from outside, answers the Expressway-E, port 5269."),
    );
    all.push(steps::echo(facts).check(
        "the answer is there within seconds; on the Expressway-E, Status, Unified Communications, View federated connections lists the hub.",
    ));
    steps::guide(Product::CiscoExpressway, facts, false, NOTE, all)
}

fn expressway_trust(facts: &Facts) -> Option<Step> {
    let file = facts.authority_file()?;
    let text = format!(
        "On the Expressway-E, at Maintenance, Security, Trusted CA certificate: append `{file}`. That list serves the whole Expressway, \
         not this link alone; if that is too much, leave it out and the box below unticked: dialback still proves the domains."
    );
    Some(Step::new("Trust the hub's authority", text))
}

fn expressway_security(facts: &Facts) -> Step {
    let checked = if matches!(facts.trust, Trust::Own { .. }) { "On" } else { "Off" };
    let content = format!(
        "XMPP federation support: On\n\
         Use static routes: On\n\
         Dialback secret: a long random one, the same on all Expressway-E\n\
         Security mode: TLS required\n\
         Require client-side security certificates: {checked}\n\
         Privacy mode: Allow list\n"
    );
    let text = "On the Expressway-E, at Configuration, Unified Communications. Domains with a static route count as allowed, so the \
                allow list itself may stay empty. On the Expressway-C, each of your domains needs XMPP federation switched on \
                (Configuration, Domains). Saving restarts the XCP router: people's clients are away for some minutes.";
    Step::new("Turn on federation on the Expressway-E", text).snippet("Unified Communications", Language::Text, content)
}

fn static_routes(facts: &Facts) -> Step {
    let mut content = String::new();
    for domain in facts.remote_domains() {
        let _ = writeln!(content, "Domain: {domain}    Address: {}", facts.listeners.host);
    }
    let port = match facts.xmpp_port() {
        5269 => "",
        _ => {
            " A static route has no port and takes 5269, so this hub, which listens elsewhere, cannot be reached: ask its operator."
        }
    };
    let text = format!(
        "At Configuration, Unified Communications, Configure static routes for federated XMPP domains: one for each domain. Where there \
         is a route the Expressway does not ask DNS, not even when the hub is away.{port}"
    );
    Step::new("Lead the partners' domains to the hub", text).snippet("Federated static routes", Language::Text, content)
}

fn own_records(facts: &Facts) -> String {
    let mut content = String::new();
    for domain in facts.own_domains() {
        let _ = writeln!(content, "_xmpp-server._tcp.{domain}. 3600 IN SRV 0 0 5269 {}.", facts.main_host());
    }
    content
}
