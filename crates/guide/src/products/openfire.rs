//! Openfire 4 and 5: from its documentation and source (`DNSUtil`, `ConnectionSettings.Server`).

use std::fmt::Write as _;

use crate::facts::{Facts, Trust};
use crate::guide::{Guide, Language, Step};
use crate::product::Product;
use crate::steps::{self, Protocol, Request};

pub(crate) fn guide(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Xmpp));
    all.push(steps::firewall(facts, Protocol::Xmpp, "Openfire"));
    all.push(properties(facts));
    all.extend(steps::fetch_authority(facts, Protocol::Xmpp));
    all.extend(trust(facts));
    all.push(steps::certificate(facts, Protocol::Xmpp, Request::Console));
    all.push(Step::new(
        "Install the certificate",
        "In the admin console, at Server, TLS/SSL Certificates, identity store: make the request there if you need one, and import the \
         signed certificate with its issuers.",
    ));
    all.push(allow_list(facts));
    all.push(Step::new("Restart Openfire", "The route is read only when Openfire starts."));
    all.push(steps::echo(facts));
    let note = "No test ran these steps. The names of properties are those of Openfire's source, the places in its console may be \
                called a little differently in your release.";
    steps::guide(Product::Openfire, facts, false, note, all)
}

/// The property takes `{domain,host:port}`, separated by commas; there is no escape, and no name holds such characters.
fn properties(facts: &Facts) -> Step {
    let (host, port) = (&facts.listeners.host, facts.xmpp_port());
    let routes = facts.remote_domains().iter().map(|domain| format!("{{{domain},{host}:{port}}}")).collect::<Vec<_>>().join(",");
    let dialback = matches!(facts.trust, Trust::Public);
    let mut content = String::new();
    let _ = writeln!(content, "dnsutil.dnsOverride = {routes}");
    let _ = writeln!(content, "xmpp.server.tls.policy = required");
    let _ = writeln!(content, "xmpp.server.dialback.enabled = {dialback}");
    let why = if dialback {
        "Dialback is on, since the hub's certificate names the hub and not the partners; the answer comes over the same route."
    } else {
        "Dialback is off, so that certificates alone count; leave it on if you federate with others that need it."
    };
    let text = format!(
        "In the admin console, at Server, Server Manager, System Properties, set these. The first leads each partner's domain to \
         the hub in place of DNS; a new partner is one more pair of braces. {why}"
    );
    Step::new("Lead the partners' domains to the hub", text).snippet("System Properties", Language::Text, content)
}

fn trust(facts: &Facts) -> Option<Step> {
    let file = facts.authority_file()?;
    let text = format!(
        "At Server, TLS/SSL Certificates, trust store for connections of other servers, Manage Store Contents: import `{file}` under \
         the alias `interchange`. Do not accept self-signed certificates instead: that would let in everybody's."
    );
    Some(Step::new("Trust the hub's authority", text).check("the list of the trust store shows the alias `interchange`."))
}

fn allow_list(facts: &Facts) -> Step {
    let text = format!(
        "At Server, Server Settings, Server to Server: the service is enabled on port 5269. If only listed servers may connect, add \
         {}, each with port {}.",
        steps::listed(&facts.remote_domains()),
        facts.xmpp_port()
    );
    Step::new("Let the servers connect", text)
        .check("after the first message, Sessions, Server Sessions lists the partner's domain.")
}
