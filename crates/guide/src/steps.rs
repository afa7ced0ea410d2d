//! Steps that several products share.

use std::fmt::Write as _;

use interchange_model::Domain;

use crate::escape::{comment, plain, shell};
use crate::facts::{Facts, MemberCertificate};
use crate::guide::{Guide, Language, Step};
use crate::product::Product;

/// Which protocol a link speaks, as far as steps differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Xmpp,
    Sip,
    Ocs,
}

impl Protocol {
    fn port(self, facts: &Facts) -> u16 {
        match self {
            Self::Xmpp => facts.xmpp_port(),
            Self::Sip => facts.sip_port(),
            Self::Ocs => facts.ocs_port(),
        }
    }
}

/// A guide with its title.
pub(crate) fn guide(product: Product, facts: &Facts, tried: bool, note: &str, steps: Vec<Step>) -> Guide {
    let title = format!("Link {} ({}) on {}", plain(facts.link.as_str()), facts.main_domain(), product.name());
    Guide { title, tried, note: note.to_owned(), steps }
}

/// The line at the top of a snippet that says what it is for.
pub(crate) fn heading(language: Language, facts: &Facts) -> String {
    comment(language, &format!("Interchange, link {}: partners' domains lead to {}", facts.link, facts.listeners.host))
}

/// The domains in a sentence: all of a few, else a few and how many more.
pub(crate) fn listed(domains: &[&Domain]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = domains.iter().take(SHOWN).map(|domain| format!("`{domain}`")).collect();
    match domains.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more (all stand in the route)", shown.join(", ")),
    }
}

/// What comes first where the hub cannot take this link at all.
pub(crate) fn missing_listener(facts: &Facts, protocol: Protocol) -> Option<Step> {
    let (name, missing) = match protocol {
        Protocol::Xmpp => ("XMPP between servers", facts.listeners.xmpp.is_none()),
        Protocol::Sip => ("SIP over TLS", facts.listeners.sip_tls.is_none()),
        Protocol::Ocs => ("Microsoft's servers", facts.listeners.ocs_tls.is_none()),
    };
    missing.then(|| {
        let port = protocol.port(facts);
        let text = format!(
            "The hub has no listener for {name} now. Ask its operator for one before anything else; the steps below take the \
             usual port {port}."
        );
        Step::new("Ask for a listener", text)
    })
}

/// Both directions through the firewall.
pub(crate) fn firewall(facts: &Facts, protocol: Protocol, server: &str) -> Step {
    let port = protocol.port(facts);
    let (inward, starttls) = match protocol {
        Protocol::Xmpp => (5269, format!(" -starttls xmpp-server -xmpphost {}", facts.hub_domain)),
        Protocol::Sip | Protocol::Ocs => (5061, String::new()),
    };
    let host = &facts.listeners.host;
    let named = facts.member_host.as_ref().map_or(String::new(), |own| format!(" (`{own}`)"));
    let text = format!(
        "Allow TCP from {server}{named} to `{host}` port {port}, and from the addresses of `{host}` to {server} port {inward}. Both are \
         needed: each side sends its own messages over a connection that it opened itself."
    );
    Step::new("Open the firewall both ways", text).check(format!(
        "on the server, `openssl s_client -connect {host}:{port} -servername {host}{starttls} </dev/null` shows a certificate."
    ))
}

/// The authorities of the system and the hub's own in one file, at `path`, for a server that takes one file.
pub(crate) fn bundle(facts: &Facts, server: &str, path: &str) -> Option<Step> {
    let file = facts.authority_file()?;
    let text = format!(
        "Put the system's authorities and `{file}` into one file, which {server} uses for other servers only. Do the same again \
         when the system's authorities have been updated."
    );
    let content = format!("cat /etc/ssl/certs/ca-certificates.crt {} > {path}\n", shell(file.as_str()));
    Some(Step::new("Make a bundle of authorities", text).snippet("a shell, where the file is", Language::Shell, content))
}

/// Where a member makes the request for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// With `openssl` in a shell on the server.
    Shell,
    /// In the product's own console, as the next step says.
    Console,
}

/// The member's certificate: a request for the hub's authority, or what the present one must hold.
pub(crate) fn certificate(facts: &Facts, protocol: Protocol, place: Request) -> Step {
    let own = facts.own_domains();
    let names = own.iter().map(|name| format!("`DNS:{name}`")).collect::<Vec<_>>().join(", ");
    let also = match protocol {
        Protocol::Xmpp | Protocol::Ocs => "",
        Protocol::Sip => " (`URI:sip:` and the domain will do as well)",
    };
    match facts.member_certificate {
        MemberCertificate::FromHub => {
            let made = match place {
                Request::Shell => "Make a key and a request on the server. The key stays there",
                Request::Console => {
                    "Make a key and a request in the server's console, as the next step says. The key stays there"
                }
            };
            let text = format!(
                "{made}; send the request to the hub's operator, who answers with a certificate for {names} that is good for servers \
                 and clients and lasts 90 days."
            );
            let mut step = Step::new("Get a certificate from the hub's authority", text);
            if place == Request::Shell {
                step = step.snippet("a shell on the server", Language::Shell, request(&own));
            }
            step.check("`openssl x509 -in` the answer `-noout -subject -ext subjectAltName,extendedKeyUsage` shows the names and both purposes.")
        }
        MemberCertificate::Own => {
            let text = format!(
                "The certificate that the server shows must hold {names} as subject alternative name{also}; the common name never \
                 counts. The purpose `serverAuth` alone is enough, since public authorities no longer give `clientAuth`. If its \
                 authority is not a public one, send the authority's certificate to the hub's operator."
            );
            Step::new("Look at your own certificate", text)
                .check("`openssl x509 -in` its file `-noout -dates -ext subjectAltName` shows the names, and a date to come.")
        }
    }
}

/// Commands that make a key and a certificate request for all domains of the member.
fn request(own: &[&str]) -> String {
    let main = own.first().copied().unwrap_or_default();
    // A common name takes 64 characters (X.520); a longer domain stands among the alternative names alone.
    let subject = if main.len() <= 64 { format!("/CN={main}") } else { "/".to_owned() };
    let names = own.iter().map(|name| format!("DNS:{name}")).collect::<Vec<_>>().join(",");
    format!(
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\\n    -keyout {} -out {} \\\n    -subj {} -addext {}\n",
        shell(&format!("{main}.key")),
        shell(&format!("{main}.csr")),
        shell(&subject),
        shell(&format!("subjectAltName={names}")),
    )
}

/// How to get the hub's authority, where it has one of its own, and be sure that it is the right one.
pub(crate) fn fetch_authority(facts: &Facts, protocol: Protocol) -> Option<Step> {
    let file = facts.authority_file()?;
    let (host, port) = (&facts.listeners.host, protocol.port(facts));
    // A server that federates by XMPP asks for the domain that it wants to reach, one of SIP for the host that it dials.
    let (name, starttls) = match protocol {
        Protocol::Xmpp => (&facts.hub_domain, format!("-starttls xmpp-server -xmpphost {} ", facts.hub_domain)),
        Protocol::Sip | Protocol::Ocs => (host, String::new()),
    };
    let text = format!(
        "The hub shows certificates of its own authority. Get `{file}` from the hub's operator, and compare its fingerprint with \
         what they read to you over the telephone: whoever holds that authority's key can speak for each partner. Trust it for \
         this link only."
    );
    Some(
        Step::new("Get the hub's authority", text)
            .check(format!(
                "`openssl x509 -in {file} -noout -fingerprint -sha256` shows the same fingerprint; then `openssl s_client -connect \
                 {host}:{port} -servername {name} {starttls}-CAfile {file} -verify_hostname {name} </dev/null` says `Verify return \
                 code: 0 (ok)`."
            )),
    )
}

/// The last step of all links.
pub(crate) fn echo(facts: &Facts) -> Step {
    let hub = &facts.hub_domain;
    let partners = if facts.partners.is_empty() {
        "No partner has been approved yet; each one that is adds its domain to the route, and nothing else changes."
    } else {
        "Then somebody of a partner's."
    };
    Step::new("Write to Echo", format!("From any client, write to `echo@{hub}`. It answers with the same words. {partners}"))
        .check("the answer is there within seconds, and the hub shows the link as up.")
}

/// SRV records of XMPP for all domains that lead to the hub, for `dnsmasq`; direct TLS is answered with "no such name",
/// because a partner's public record for it would lead past the hub.
pub(crate) fn dnsmasq(facts: &Facts) -> String {
    let mut content = heading(Language::Dnsmasq, facts);
    content.push_str("\nport=5353\nlisten-address=127.0.0.1\nbind-interfaces\n");
    let (host, port) = (&facts.listeners.host, facts.xmpp_port());
    for domain in facts.remote_domains() {
        // A string takes all that is written into it, here and below.
        let _ = writeln!(content, "local=/_xmpps-server._tcp.{domain}/");
        let _ = writeln!(content, "srv-host=_xmpp-server._tcp.{domain},{host},{port}");
    }
    content
}

/// The same as records of a zone, for any name server with a view for the inside.
pub(crate) fn zone(facts: &Facts) -> String {
    let mut content = heading(Language::Zone, facts);
    content.push('\n');
    let (host, port) = (&facts.listeners.host, facts.xmpp_port());
    for domain in facts.remote_domains() {
        let _ = writeln!(content, "_xmpp-server._tcp.{domain}. 300 IN SRV 0 0 {port} {host}.");
    }
    content
}

/// The step that gives a server its private view of DNS on port 5353.
pub(crate) fn private_resolver(facts: &Facts) -> Step {
    let remote = facts.remote_domains();
    let (host, port) = (&facts.listeners.host, facts.xmpp_port());
    let text = format!(
        "The server finds other domains by SRV records, and {} must lead to the hub for it, for nobody else. So it asks a name \
         server of its own on this machine, which answers these names itself and passes on the rest. Each new partner is two more \
         lines. Where dnsmasq already serves others on this machine, start a second one with this file alone.",
        listed(&remote)
    );
    Step::new("Lead the partners' domains to the hub", text)
        .snippet("/etc/dnsmasq.d/interchange.conf", Language::Dnsmasq, dnsmasq(facts))
        .check(format!(
            "`dnsmasq --test` is content; after `systemctl restart dnsmasq`, `dig +short -p 5353 @127.0.0.1 SRV \
             _xmpp-server._tcp.{}` answers `0 0 {port} {host}.`",
            facts.hub_domain
        ))
}

/// The step for servers that ask the company's own name servers.
pub(crate) fn company_dns(facts: &Facts, server: &str) -> Step {
    let text = format!(
        "{server} finds other domains by SRV records. Put these into the name server that it asks, in a view that only it sees \
         (split DNS), and nothing into public DNS. A public record `_xmpps-server._tcp` of the same domain must not be visible \
         there, since it would lead past the hub."
    );
    Step::new("Lead the partners' domains to the hub", text)
        .snippet("the inside view of your name server", Language::Zone, zone(facts))
        .check(format!(
            "on the server, `nslookup -type=SRV _xmpp-server._tcp.{}` answers `{}`, port {}.",
            facts.hub_domain,
            facts.listeners.host,
            facts.xmpp_port()
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_holds_a_few_domains() {
        let domains: Vec<Domain> =
            ["a", "b", "c", "d", "e", "f", "g"].iter().map(|label| Domain::parse(&format!("{label}.example")).unwrap()).collect();
        let all: Vec<&Domain> = domains.iter().collect();
        assert_eq!(listed(&all[..2]), "`a.example`, `b.example`");
        assert_eq!(listed(&all[..5]).matches('`').count(), 10);
        assert!(listed(&all).ends_with("`e.example` and 2 more (all stand in the route)"));
    }
}
