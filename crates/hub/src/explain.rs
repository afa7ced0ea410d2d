//! `interchange explain FROM TO`: whether a message from one person to another would pass, and why, or what is missing.
//!
//! The decision is the broker's own ([`Registry::route`]) on the same configuration, so it cannot say anything else than what happens. Where the hub
//! runs and serves its health, what the links say of themselves stands beside it.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use interchange_model::{Address, Body, Domain, Envelope, Link, MessageId, Refusal, Text};
use interchange_registry::Registry;
use serde::Serialize;

use crate::config::{Community, Config};
use crate::registered;

/// How long the running hub may take to say how its links are.
const HEALTH_WITHIN: Duration = Duration::from_secs(2);

/// What is found out about a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    from: String,
    to: String,
    sender: Side,
    recipient: Side,
    /// Whether a message would be taken now.
    passes: bool,
    /// The stable label of the refusal, if it would not.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'static str>,
    /// The reason in a sentence.
    because: String,
    /// What would change it; empty where nothing should.
    then: String,
}

/// One end of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Side {
    domain: String,
    /// `None`: no link serves the domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    /// How the running hub says that the link is.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

/// Explains a pair by a configuration. `health`: the lines of `/healthz` of the running hub.
///
/// # Errors
/// For what is no address, and for a configuration whose links contradict each other.
pub fn explain(config: &Config, from: &str, to: &str, health: Option<&str>) -> anyhow::Result<Explanation> {
    let read = |text: &str| Address::parse(text).with_context(|| format!("`{}` is not an address", text.escape_debug()));
    let (sender, recipient) = (read(from)?, read(to)?);
    let registry = Registry::new(registered::declared(config))?;
    let side = |domain: &Domain| {
        let link = link_of(config, domain);
        let state = |id: &str| health?.lines().find_map(|line| line.strip_prefix(id)?.strip_prefix(' ').map(str::to_owned));
        Side {
            domain: domain.to_string(),
            link: link.map(|link| link.id.to_string()),
            platform: link.map(|link| link.platform.to_string()),
            member: link.map(|link| link.member.to_string()),
            state: link.and_then(|link| state(link.id.as_str())),
        }
    };
    let (from_side, to_side) = (side(sender.domain()), side(recipient.domain()));
    let decision = decide(config, &registry, &sender, &recipient);
    let (because, then) = words(config, &registry, &sender, &recipient, decision);
    Ok(Explanation {
        from: sender.to_string(),
        to: recipient.to_string(),
        sender: from_side,
        recipient: to_side,
        passes: decision.is_ok(),
        refusal: decision.err().map(Refusal::label),
        because,
        then,
    })
}

/// What the hub of a configuration says of its links, if it runs and is asked where it answers.
#[must_use]
pub fn health(address: SocketAddr) -> Option<String> {
    get(address, "/healthz")
}

/// The body of an answer 200 to a GET, at most 16 MiB.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        // The hub is here: what is asked of it goes through no proxy of the environment.
        .proxy(None)
        .max_redirects(0)
        .timeout_connect(Some(HEALTH_WITHIN))
        .timeout_recv_response(Some(HEALTH_WITHIN))
        .timeout_recv_body(Some(HEALTH_WITHIN))
        .build()
        .into();
    let mut answer = agent.get(format!("http://{address}{path}")).call().ok()?;
    let body = answer.body_mut().with_config().limit(16 << 20).read_to_string().ok()?;
    (answer.status() == ureq::http::StatusCode::OK).then_some(body)
}

impl Explanation {
    /// Whether a message would be taken.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.passes
    }
}

fn link_of<'a>(config: &'a Config, domain: &Domain) -> Option<&'a Link> {
    config.links.iter().find(|link| link.domains.contains(domain))
}

fn decide(config: &Config, registry: &Registry, sender: &Address, recipient: &Address) -> Result<(), Refusal> {
    let via = link_of(config, sender.domain()).map(|link| link.id.clone()).ok_or(Refusal::NotYours)?;
    let envelope = Envelope {
        id: MessageId(0),
        origin: via.clone(),
        from: sender.clone(),
        from_device: None,
        to: recipient.clone(),
        to_device: None,
        native_id: None,
        accepted: SystemTime::UNIX_EPOCH,
        hops: Envelope::FULL_HOPS,
        native: None,
        body: Body::Text(Text::default()),
    };
    registry.route(&via, &envelope).map(|_| ())
}

/// The reason, and what would change it.
fn words(
    config: &Config,
    registry: &Registry,
    sender: &Address,
    recipient: &Address,
    decision: Result<(), Refusal>,
) -> (String, String) {
    let member = |address: &Address| link_of(config, address.domain()).map(|link| link.member.to_string()).unwrap_or_default();
    let (from, to) = (member(sender), member(recipient));
    let nothing = String::new();
    match decision {
        Ok(()) if sender.domain() == &config.domain || recipient.domain() == &config.domain => {
            ("The hub's own domain is open to every member.".to_owned(), nothing)
        }
        Ok(()) if from == to => ("Both domains are the same member's, on two links.".to_owned(), nothing),
        Ok(()) if config.community == Community::Open => {
            ("The community is open: every member may write to every other.".to_owned(), nothing)
        }
        Ok(()) => (format!("{from} and {to} have a partnership."), nothing),
        Err(Refusal::NotYours) => (
            format!("No link of this hub serves {}, so nobody can prove to be there.", sender.domain()),
            nearest(config, sender.domain()),
        ),
        Err(Refusal::UnknownDomain) => {
            (format!("No link of this hub serves {}.", recipient.domain()), nearest(config, recipient.domain()))
        }
        // Their firms may exchange messages: it is these two who may not.
        Err(Refusal::NotAllowed) if partners(registry, sender).contains(recipient.domain()) => (
            format!("An information barrier stands between them, though {from} and {to} may exchange messages."),
            "interchange barrier list shows whose it is, and why".to_owned(),
        ),
        Err(Refusal::NotAllowed) => (
            format!("The community is by invitation, and {from} and {to} have no partnership."),
            format!("interchange partner invite {from} {to}, and then interchange partner approve {to} {from}"),
        ),
        Err(Refusal::Loop) => (
            format!(
                "One link serves both domains: {from}'s own server delivers between them, and what comes here has gone astray."
            ),
            format!("see why the server of {from} sends it to the hub"),
        ),
        Err(why) => (why.sentence().to_owned(), nothing),
    }
}

/// The domains that people of this person's link may write to.
fn partners(registry: &Registry, person: &Address) -> Vec<Domain> {
    registry.link_of(person.domain()).map(|link| registry.partner_domains(&link.id)).unwrap_or_default()
}

fn nearest(config: &Config, domain: &Domain) -> String {
    let domains = config.links.iter().flat_map(|link| &link.domains);
    let near =
        domains.map(|known| (strsim::jaro_winkler(known.as_str(), domain.as_str()), known)).filter(|(alike, _)| *alike > 0.85);
    match near.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((_, known)) => format!("did you mean {known}? Domains are compared whole and exactly"),
        None => "add a [[link]] with this domain, or ask its owner to become a member".to_owned(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.passes { "──✓──▶" } else { "──✗──▶" };
        writeln!(f, "{}  {arrow}  {}\n", self.from, self.to)?;
        for (who, side) in [("sender", &self.sender), ("recipient", &self.recipient)] {
            write!(f, "  {who:<10} {}", side.domain)?;
            match (&side.link, &side.platform, &side.member) {
                (Some(link), Some(platform), Some(member)) => write!(f, ": link {link} ({platform}) of {member}")?,
                _ => write!(f, ": no link")?,
            }
            match &side.state {
                Some(state) => writeln!(f, ", {state}")?,
                None => writeln!(f)?,
            }
        }
        let verdict = if self.passes { "passes" } else { "refused" };
        let label = self.refusal.map(|label| format!(" ({label})")).unwrap_or_default();
        writeln!(f, "  {verdict:<10} {}{label}", self.because)?;
        if !self.then.is_empty() {
            writeln!(f, "  {:<10} {}", "then", self.then.replace('\n', "\n             "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::platforms::PLATFORMS;

    const HUB: &str = r#"
[hub]
domain = "hub.example"
data_directory = "data"
[[member]]
id = "acme"
[[member]]
id = "globex"
[[member]]
id = "initech"
[[link]]
id = "acme-xmpp"
member = "acme"
platform = "xmpp"
domains = ["acme.example", "acme.test"]
[[link]]
id = "globex-sip"
member = "globex"
platform = "sip"
domains = ["globex.example"]
[[link]]
id = "initech"
member = "initech"
platform = "xmpp"
domains = ["initech.example"]
[[partnership]]
members = ["acme", "globex"]
"#;

    fn asked(from: &str, to: &str, health: Option<&str>) -> Explanation {
        let config = Config::parse(HUB, "hub.toml", Path::new("/etc/interchange"), PLATFORMS).unwrap();
        explain(&config, from, to, health).unwrap()
    }

    #[test]
    fn every_decision_is_explained() {
        for (from, to, refusal, because, then) in [
            ("a@acme.example", "g@globex.example", None, "acme and globex have a partnership", ""),
            ("a@acme.example", "echo@hub.example", None, "hub's own domain", ""),
            (
                "a@acme.example",
                "i@initech.example",
                Some("not-allowed"),
                "acme and initech have no partnership",
                "interchange partner invite acme initech",
            ),
            ("a@acme.example", "b@acme.test", Some("loop"), "One link serves both domains", "see why"),
            (
                "a@acme.example",
                "g@globx.example",
                Some("unknown-domain"),
                "No link of this hub serves globx.example",
                "did you mean globex.example?",
            ),
            (
                "a@acme.example",
                "z@elsewhere.test",
                Some("unknown-domain"),
                "No link of this hub serves elsewhere.test",
                "add a [[link]]",
            ),
            (
                "x@sub.acme.example",
                "g@globex.example",
                Some("not-yours"),
                "serves sub.acme.example",
                "did you mean acme.example?",
            ),
        ] {
            let found = asked(from, to, None);
            assert_eq!((found.refusal, found.passes), (refusal, refusal.is_none()), "{from} {to}");
            assert!(found.because.contains(because) && found.then.contains(then), "{found}");
            assert_eq!(found.then.is_empty(), then.is_empty(), "{found}");
        }
        let config = Config::parse(HUB, "hub.toml", Path::new("/etc/interchange"), PLATFORMS).unwrap();
        assert!(
            explain(&config, "nobody", "g@globex.example", None).unwrap_err().to_string().contains("`nobody` is not an address")
        );
    }

    #[test]
    fn what_the_running_hub_says_stands_beside_it() {
        let health = "acme up\nacme-xmpp up\nglobex-sip retrying: no connection to any address\n";
        let text = asked("a@acme.example", "g@globex.example", Some(health)).to_string();
        assert_eq!(
            text,
            "a@acme.example  ──✓──▶  g@globex.example\n\n  sender     acme.example: link acme-xmpp (xmpp) of acme, up\n  \
             recipient  globex.example: link globex-sip (sip) of globex, retrying: no connection to any address\n  \
             passes     acme and globex have a partnership.\n"
        );
        let json = serde_json::to_value(asked("a@acme.example", "i@initech.example", None)).unwrap();
        assert_eq!((json["passes"].as_bool(), json["refusal"].as_str()), (Some(false), Some("not-allowed")));
        assert_eq!(json["recipient"]["link"], "initech");
    }
}
