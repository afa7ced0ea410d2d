//! The links and domains as the broker last told them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use interchange_model::{Domain, Link, LinkId, SettingsError};

use crate::settings::LinkSettings;

/// One link, its settings read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    /// Its name.
    pub(crate) id: LinkId,
    /// The member's domains.
    pub(crate) domains: Vec<Domain>,
    /// How to talk to the member's server.
    pub(crate) settings: LinkSettings,
}

/// All links that can be used, and all domains that the hub stands for.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    links: HashMap<LinkId, Arc<LinkInfo>>,
    owners: HashMap<Domain, Arc<LinkInfo>>,
    hosted: Arc<HashSet<Domain>>,
}

impl Directory {
    /// A directory of these links. Beside it the links whose settings cannot be used, with the reason. A link that
    /// is the same as in `before` keeps its identity.
    pub(crate) fn new(before: &Directory, links: &[Link], hosted: Arc<HashSet<Domain>>) -> (Self, Vec<(LinkId, SettingsError)>) {
        let mut directory = Directory { hosted, ..Directory::default() };
        let mut unusable = Vec::new();
        for link in links {
            let settings = match LinkSettings::read(&link.settings) {
                Ok(settings) => settings,
                Err(error) => {
                    unusable.push((link.id.clone(), error));
                    continue;
                }
            };
            let info = LinkInfo { id: link.id.clone(), domains: link.domains.clone(), settings };
            let info = before.links.get(&info.id).filter(|old| ***old == info).cloned().unwrap_or_else(|| Arc::new(info));
            for domain in &info.domains {
                directory.owners.insert(domain.clone(), info.clone());
            }
            directory.links.insert(info.id.clone(), info);
        }
        (directory, unusable)
    }

    /// The link of a name.
    pub(crate) fn link(&self, id: &LinkId) -> Option<&Arc<LinkInfo>> {
        self.links.get(id)
    }

    /// All of them.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<LinkInfo>> {
        self.links.values()
    }

    /// The link that a domain belongs to, by the whole name (abuse cases 1 and 2).
    pub(crate) fn owner(&self, domain: &Domain) -> Option<&Arc<LinkInfo>> {
        self.owners.get(domain)
    }

    /// Whether the hub stands for a domain.
    pub(crate) fn hosts(&self, domain: &Domain) -> bool {
        self.hosted.contains(domain)
    }

    /// Whether the hub stands for a domain towards a link: for any but the link's own.
    pub(crate) fn hosts_for(&self, domain: &Domain, link: &LinkInfo) -> bool {
        self.hosted.contains(domain) && !link.domains.contains(domain)
    }
}
