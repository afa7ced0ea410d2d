//! Servers that there is no guide of their own for: what RFC 6120, RFC 3261 and RFC 5922 ask of them, in general words.

use std::fmt::Write as _;

use crate::facts::{Facts, Trust};
use crate::guide::{Guide, Language, Step};
use crate::product::Product;
use crate::steps::{self, Protocol, Request};

pub(crate) fn xmpp(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Xmpp));
    all.push(steps::firewall(facts, Protocol::Xmpp, "your XMPP server"));
    all.push(steps::company_dns(facts, "An XMPP server"));
    all.extend(steps::fetch_authority(facts, Protocol::Xmpp));
    all.push(xmpp_trust(facts));
    all.push(steps::certificate(facts, Protocol::Xmpp, Request::Shell));
    all.push(Step::new(
        "Require TLS between servers",
        "STARTTLS required, both ways, TLS 1.2 or later. If the server has stream management for other servers (XEP-0198), turn it on: a \
         message to the hub is then acknowledged only when it is on the hub's disk.",
    ));
    all.push(steps::echo(facts));
    let note = "These are the demands of RFC 6120 in general words. The hub was tried with Prosody and ejabberd.";
    steps::guide(Product::OtherXmpp, facts, false, note, all)
}

fn xmpp_trust(facts: &Facts) -> Step {
    match &facts.trust {
        Trust::Own { file } => Step::new(
            "Trust the hub's authority",
            format!(
                "Add `{file}` to the authorities that count for connections of other servers, and for nothing else if the server can tell \
                 them apart. The hub shows, for each partner, a certificate for that partner's domain; SASL EXTERNAL then proves it. If \
                 the server knows dialback alone, ask the hub's operator to allow it on the link."
            ),
        ),
        Trust::Public => Step::new(
            "Turn on dialback",
            "The hub's certificate names the hub and not the partners, so their domains are proved by dialback (XEP-0220) over the route \
             above. TLS is still required.",
        ),
    }
}

pub(crate) fn sip(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Sip));
    all.push(steps::firewall(facts, Protocol::Sip, "your SIP proxy"));
    all.extend(steps::fetch_authority(facts, Protocol::Sip));
    all.push(steps::certificate(facts, Protocol::Sip, Request::Shell));
    all.push(sip_tls(facts));
    all.push(sip_routes(facts));
    all.push(sip_inbound(facts));
    all.push(
        Step::new(
            "Publish your own record",
            "The hub dials your proxy by this record, unless its operator is told host and port.",
        )
        .snippet("public DNS of your domain", Language::Zone, own_records(facts)),
    );
    all.push(steps::echo(facts));
    let note = "These are the demands of RFC 3261, RFC 3428 and RFC 5922 in general words. The hub was tried with Kamailio.";
    steps::guide(Product::OtherSip, facts, false, note, all)
}

fn sip_tls(facts: &Facts) -> Step {
    let trust = match facts.authority_file() {
        Some(file) => format!("trust `{file}` for connections to and from the hub"),
        None => "trust the public authorities".to_owned(),
    };
    let text = format!(
        "TLS 1.2 or later. As client and as server, show the certificate for your domain and {trust}; as client, send `{}` as server \
         name and refuse a certificate that does not hold it.",
        facts.listeners.host
    );
    Step::new("Set up TLS", text)
}

fn sip_routes(facts: &Facts) -> Step {
    let mut content = String::new();
    for domain in facts.remote_domains() {
        let _ = writeln!(content, "{domain} -> sip:{}:{};transport=tls", facts.listeners.host, facts.sip_port());
    }
    let text = "Requests whose Request-URI has one of these domains go to the hub, with the Request-URI unchanged: MESSAGE, SUBSCRIBE, \
                NOTIFY, and INVITE if your clients write in sessions. If the proxy serves nobody else, the hub may be its default \
                outbound proxy instead. Stay in the path of dialogs (Record-Route), so that what the hub sends in one comes through \
                the proxy.";
    Step::new("Lead the partners' domains to the hub", text).snippet("the proxy's routes", Language::Text, content)
}

fn sip_inbound(facts: &Facts) -> Step {
    let text = format!(
        "Accept From with the domains {} only on a connection whose certificate leads to the trusted authority and names `{}` or `{}`, and only \
         for your own people; answer everything else with 403. Answer OPTIONS for your own domain: the hub asks each minute whether \
         the proxy is well.",
        steps::listed(&facts.remote_domains()),
        facts.hub_domain,
        facts.listeners.host
    );
    Step::new("Let nobody else speak for partners", text)
}

fn own_records(facts: &Facts) -> String {
    let mut content = String::new();
    for domain in facts.own_domains() {
        let _ = writeln!(content, "_sips._tcp.{domain}. 3600 IN SRV 0 0 5061 {}.", facts.main_host());
    }
    content
}
