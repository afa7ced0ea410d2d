//! What a guide is made of.

use std::fmt;
use std::sync::Arc;

use interchange_model::{Domain, LinkId};
use serde::{Deserialize, Deserializer, Serialize};

/// The facts about a link and its hub that the steps are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The hub's own domain, at which `echo@` answers.
    pub hub_domain: Domain,
    /// The link, as the hub's configuration names it. It may hold any text; it is shown cleaned.
    pub link: LinkId,
    /// The member's domains that the link serves, the main one first. Without any, the steps say `your-domain.invalid`.
    pub member_domains: Vec<Domain>,
    /// The host of the member's server, where the hub dials; without one, records for it say `your-server.invalid`.
    #[serde(default)]
    pub member_host: Option<Domain>,
    /// Where the hub takes connections.
    pub listeners: Listeners,
    /// Which authority signed the certificates that the hub shows.
    pub trust: Trust,
    /// Where the member's own certificate comes from.
    pub member_certificate: MemberCertificate,
    /// The domains of the partners. With none, the steps make the link to the hub alone, which suffices for Echo.
    pub partners: Vec<Domain>,
}

/// Where the hub takes connections from members' servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listeners {
    /// The host name, which DNS leads to the hub's addresses.
    pub host: Domain,
    /// The port of XMPP between servers, 5269 as a rule; none where the hub has no such listener.
    pub xmpp: Option<u16>,
    /// The port of SIP over TLS, 5061 as a rule; none where the hub has no such listener.
    pub sip_tls: Option<u16>,
    /// The port for Microsoft's Access Edges, 5061 as a rule; none where the hub has no such listener.
    #[serde(default)]
    pub ocs_tls: Option<u16>,
}

impl Listeners {
    /// A host with the usual ports: 5269 (RFC 6120) and 5061 (RFC 3261, also what Microsoft's edges dial).
    #[must_use]
    pub fn usual(host: Domain) -> Self {
        Self { host, xmpp: Some(5269), sip_tls: Some(5061), ocs_tls: Some(5061) }
    }
}

/// Which authority signed the certificates that the hub shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// A public one, which operating systems trust. Such a certificate names the hub itself, never its partners'
    /// domains, so on XMPP those are proved by dialback.
    Public,
    /// The hub's own (`interchange authority`), which members trust for their links to it and for nothing else.
    Own {
        /// The name of the PEM file that the hub's operator hands out.
        file: FileName,
    },
}

/// Where the member's own certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberCertificate {
    /// The hub's own authority issues it for a request that the member makes; its key never leaves the member.
    FromHub,
    /// The member has one already, from a public authority or from one that the hub's operator is told to trust.
    Own,
}

/// The name of a file, without a folder: 1 to 100 of `a-z A-Z 0-9 . _ -`, not beginning with `.` or `-`.
///
/// So narrow because it is written into configuration files of which some have no way to escape anything.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct FileName(Arc<str>);

/// Why a text is not a [`FileName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a file name here is 1 to 100 of a-z A-Z 0-9 . _ - and begins with a letter, a digit or _")]
pub struct FileNameError;

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`FileNameError`], when the text holds anything else than the type allows.
    pub fn parse(text: &str) -> Result<Self, FileNameError> {
        let good = (1..=100).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if good { Ok(Self(text.into())) } else { Err(FileNameError) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &*self.0)
    }
}

impl std::str::FromStr for FileName {
    type Err = FileNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Facts {
    /// The member's main domain, or a name that can belong to nobody (RFC 2606) when none is known yet.
    pub(crate) fn main_domain(&self) -> &str {
        self.member_domains.first().map_or("your-domain.invalid", Domain::as_str)
    }

    /// The host of the member's server, or a name that can belong to nobody.
    pub(crate) fn main_host(&self) -> &str {
        self.member_host.as_ref().map_or("your-server.invalid", Domain::as_str)
    }

    /// All domains of the member, at least one name.
    pub(crate) fn own_domains(&self) -> Vec<&str> {
        match self.member_domains.as_slice() {
            [] => vec![self.main_domain()],
            domains => domains.iter().map(Domain::as_str).collect(),
        }
    }

    /// The domains that lead to the hub, each once: the hub's own for Echo, then the partners'. Never the member's own:
    /// a server that sent those to the hub would lose its own people.
    pub(crate) fn remote_domains(&self) -> Vec<&Domain> {
        let mut remote: Vec<&Domain> = Vec::with_capacity(self.partners.len() + 1);
        let mut seen: std::collections::HashSet<&Domain> = self.member_domains.iter().collect();
        for domain in std::iter::once(&self.hub_domain).chain(&self.partners) {
            if seen.insert(domain) {
                remote.push(domain);
            }
        }
        remote
    }

    /// The file of the hub's own authority, where it has one.
    pub(crate) fn authority_file(&self) -> Option<&FileName> {
        match &self.trust {
            Trust::Own { file } => Some(file),
            Trust::Public => None,
        }
    }

    pub(crate) fn xmpp_port(&self) -> u16 {
        self.listeners.xmpp.unwrap_or(5269)
    }

    pub(crate) fn sip_port(&self) -> u16 {
        self.listeners.sip_tls.unwrap_or(5061)
    }

    pub(crate) fn ocs_port(&self) -> u16 {
        self.listeners.ocs_tls.unwrap_or(5061)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn file_names_are_narrow() {
        for good in ["hub.pem", "interchange-authority.pem", "A_1", "_x"] {
            assert_eq!(FileName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\nb", "a\"b", "-rf", "ü", "a'b", "a$b", "a\\b", &"a".repeat(101)] {
            assert_eq!(FileName::parse(bad), Err(FileNameError), "{bad:?}");
        }
    }

    #[test]
    fn the_members_own_domain_never_leads_to_the_hub() {
        let facts = Facts {
            hub_domain: domain("hub.example"),
            link: "acme".into(),
            member_domains: vec![domain("acme.example")],
            member_host: None,
            listeners: Listeners::usual(domain("im.hub.example")),
            trust: Trust::Public,
            member_certificate: MemberCertificate::Own,
            partners: ["b.example", "acme.example", "b.example", "hub.example"].map(domain).into(),
        };
        assert_eq!(facts.remote_domains(), [&domain("hub.example"), &domain("b.example")]);
    }
}
