//! Members, domains, links and partnerships: an immutable snapshot, and the routing decision.

mod route;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use interchange_model::{Domain, Link, LinkId, MemberId, PlatformName};

/// Who may write to whom without a partnership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Community {
    /// Two members exchange messages once they have a partnership.
    #[default]
    Invitation,
    /// Every member may write to every other.
    Open,
}

/// Everything that routing knows: immutable, shared, replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    links: HashMap<LinkId, Arc<Link>>,
    domains: HashMap<Domain, Arc<Link>>,
    partnerships: HashSet<(MemberId, MemberId)>,
    community: Community,
    /// The hub's own member: everybody's partner.
    hub: Option<MemberId>,
    hosted: Arc<HashSet<Domain>>,
}

/// Why members and links do not make a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Two links of one name.
    #[error("there are two links `{0}`")]
    DuplicateLink(LinkId),
    /// A domain of two links.
    #[error("`{domain}` belongs to link `{first}` and to link `{second}`")]
    DuplicateDomain {
        /// The domain.
        domain: Domain,
        /// One.
        first: LinkId,
        /// The other.
        second: LinkId,
    },
}

impl Registry {
    /// Puts a snapshot together. `hub` is the member that owns the Echo user: it is everybody's partner.
    ///
    /// # Errors
    /// [`RegistryError`], when a link's name or a domain is there twice.
    pub fn new(
        hub: Option<MemberId>,
        links: Vec<Link>,
        partnerships: Vec<(MemberId, MemberId)>,
        community: Community,
    ) -> Result<Self, RegistryError> {
        let mut registry = Self { community, hub, ..Self::default() };
        for link in links {
            let link = Arc::new(link);
            if registry.links.insert(link.id.clone(), Arc::clone(&link)).is_some() {
                return Err(RegistryError::DuplicateLink(link.id.clone()));
            }
            for domain in &link.domains {
                if let Some(first) = registry.domains.insert(domain.clone(), Arc::clone(&link)) {
                    return Err(RegistryError::DuplicateDomain {
                        domain: domain.clone(),
                        first: first.id.clone(),
                        second: link.id.clone(),
                    });
                }
            }
        }
        registry.hosted = Arc::new(registry.domains.keys().cloned().collect());
        registry.partnerships = partnerships.into_iter().flat_map(|(a, b)| [(a.clone(), b.clone()), (b, a)]).collect();
        Ok(registry)
    }

    /// The links of one platform, ordered by name.
    #[must_use]
    pub fn links(&self, platform: &PlatformName) -> Arc<[Link]> {
        let mut links: Vec<Link> = self.links.values().filter(|link| link.platform == *platform).map(|link| (**link).clone()).collect();
        links.sort_by(|a, b| a.id.cmp(&b.id));
        links.into()
    }

    /// Every link.
    pub fn all_links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.values()
    }

    /// One link.
    #[must_use]
    pub fn link(&self, id: &LinkId) -> Option<&Arc<Link>> {
        self.links.get(id)
    }

    /// Every domain that the hub stands for.
    #[must_use]
    pub fn hosted(&self) -> Arc<HashSet<Domain>> {
        Arc::clone(&self.hosted)
    }
}
