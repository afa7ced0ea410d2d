//! Who is linked, and who may write to whom: an immutable snapshot, and the routing decision.
//!
//! A [`Registry`] is built whole from plain data, checked, and never changed: whoever holds one decides by the same
//! rules from beginning to end of what it is doing, without a lock. A change is a new one. Where the data comes from, and
//! how readers learn of a new snapshot, is not known here.
//!
//! Domains that a person takes for one another are found by [`Lookalikes`], for whoever registers them.
//!
//! [`Members`] is the one that changes it while the hub runs: it holds a [`Directory`] in the database, beside what the configuration declares.
//!
//! Beside it the [`Store`]: what must outlive a restart of the hub and is no message (watches, and what adapters remember).

mod barrier;
mod directory;
mod lookalike;
mod route;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use barrier::Barriers;
use interchange_model::{Domain, Link, LinkId, MemberId, PlatformName};

pub use barrier::{Party, Sides};
pub use directory::{
    AccountEntry, Actor, BarrierEntry, Challenge, Change, ChangeError, ChangeFault, Directory, DomainEntry, INVITATION_LASTS,
    LinkEntry, Member, Moment, Pair, Partnership, PartnershipState, Proof, ProofKind, Role, User,
};
pub use lookalike::{Lookalikes, skeleton};
pub use store::members::{AuditRow, CheckLink, Members};
pub use store::{Database, Note, PostgreSql, Store, StoreError, WatchRow, WatchState};

/// Who may write to whom when nothing else is agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Community {
    /// Two members exchange messages once they have a partnership.
    #[default]
    Invitation,
    /// Every member may write to every other.
    Open,
}

/// The plain data of a registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// The hub's own domain: the Echo user lives there, and every member may write to it and hears from it.
    pub hub: Domain,
    /// Every member, the hub's own included.
    pub members: Vec<MemberId>,
    /// Every link; the one that serves the hub's own domain included, if there is one.
    pub links: Vec<Link>,
    /// Pairs of members that have agreed to exchange messages, in either order.
    pub partnerships: Vec<(MemberId, MemberId)>,
    /// What holds for pairs that have no partnership.
    pub community: Community,
    /// Who may not meet all the same.
    pub barriers: Vec<Sides>,
    /// Accounts that the configuration declares, as [`Directory::accounts`] has those that it does not.
    pub accounts: BTreeMap<(MemberId, String), AccountEntry>,
    /// Members whose people are in a directory of their own: they have no accounts here.
    pub directories: BTreeSet<MemberId>,
}

/// What is wrong with the data; each names what it found, so that a loader can point at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Two members with one id.
    #[error("there are two members `{0}`")]
    MemberTwice(MemberId),
    /// Two links with one id.
    #[error("there are two links `{0}`")]
    LinkTwice(LinkId),
    /// A link of nobody.
    #[error("link `{link}` belongs to `{member}`, and there is no such member")]
    LinkOfUnknownMember {
        /// The link.
        link: LinkId,
        /// Its member, who is not there.
        member: MemberId,
    },
    /// A domain belongs to exactly one link.
    #[error("domain `{domain}` belongs to link `{first}` and also to link `{second}`")]
    DomainTwice {
        /// The domain.
        domain: Domain,
        /// The link that came first.
        first: LinkId,
        /// The other; the same where one link lists it twice.
        second: LinkId,
    },
    /// A link without domains can neither send nor receive.
    #[error("link `{0}` serves no domain")]
    NoDomain(LinkId),
    /// A partnership with somebody who is not there.
    #[error("the partnership of `{first}` and `{second}` names `{unknown}`, and there is no such member")]
    PartnershipOfUnknownMember {
        /// As given.
        first: MemberId,
        /// As given.
        second: MemberId,
        /// The one of them who is not there.
        unknown: MemberId,
    },
    /// A partnership of a member with itself.
    #[error("member `{0}` has a partnership with itself")]
    PartnershipWithItself(MemberId),
    /// A pace that lets nothing through, doubles too much after a fault, or keeps messages for no time or for too long.
    #[error("link `{0}` may have 1 to 1,000 messages in flight, and a time to live of 1 to 2,592,000 seconds")]
    Pace(LinkId),
}

/// Members, domains, links and partnerships at one moment. Look-ups cost the same for ten domains and for ten thousand.
#[derive(Debug)]
pub struct Registry {
    hub: Domain,
    links: Vec<Link>,
    by_id: HashMap<LinkId, usize>,
    by_domain: HashMap<Domain, usize>,
    by_platform: BTreeMap<PlatformName, Arc<[Link]>>,
    hosted: Arc<HashSet<Domain>>,
    /// For each of `links`, its member as a number.
    member_of: Vec<u32>,
    /// The smaller number first.
    partners: HashSet<(u32, u32)>,
    community: Community,
    barriers: Barriers,
}

impl Registry {
    /// Builds a snapshot.
    ///
    /// # Errors
    /// The first [`RegistryError`] found.
    pub fn new(parts: Parts) -> Result<Self, RegistryError> {
        let mut numbers = HashMap::new();
        for (number, member) in (0..).zip(&parts.members) {
            if numbers.insert(member, number).is_some() {
                return Err(RegistryError::MemberTwice(member.clone()));
            }
        }

        let mut by_id = HashMap::new();
        let mut by_domain: HashMap<Domain, usize> = HashMap::new();
        let mut member_of = Vec::new();
        for (index, link) in parts.links.iter().enumerate() {
            if by_id.insert(link.id.clone(), index).is_some() {
                return Err(RegistryError::LinkTwice(link.id.clone()));
            }
            let Some(number) = numbers.get(&link.member) else {
                return Err(RegistryError::LinkOfUnknownMember { link: link.id.clone(), member: link.member.clone() });
            };
            member_of.push(*number);
            if link.domains.is_empty() {
                return Err(RegistryError::NoDomain(link.id.clone()));
            }
            if !(1..=1000).contains(&link.pace.in_flight) || !(1..=30 * 24 * 60 * 60).contains(&link.pace.time_to_live) {
                return Err(RegistryError::Pace(link.id.clone()));
            }
            for domain in &link.domains {
                if let Some(first) = by_domain.insert(domain.clone(), index) {
                    let first = parts.links[first].id.clone();
                    return Err(RegistryError::DomainTwice { domain: domain.clone(), first, second: link.id.clone() });
                }
            }
        }

        let mut partners = HashSet::new();
        for (first, second) in &parts.partnerships {
            let number = |member: &MemberId| {
                numbers.get(member).copied().ok_or_else(|| RegistryError::PartnershipOfUnknownMember {
                    first: first.clone(),
                    second: second.clone(),
                    unknown: member.clone(),
                })
            };
            let pair = (number(first)?, number(second)?);
            if pair.0 == pair.1 {
                return Err(RegistryError::PartnershipWithItself(first.clone()));
            }
            partners.insert(ordered(pair));
        }

        let mut by_platform: BTreeMap<PlatformName, Vec<Link>> = BTreeMap::new();
        for link in &parts.links {
            by_platform.entry(link.platform.clone()).or_default().push(link.clone());
        }
        Ok(Self {
            hub: parts.hub,
            by_platform: by_platform.into_iter().map(|(platform, links)| (platform, links.into())).collect(),
            hosted: Arc::new(by_domain.keys().cloned().collect()),
            links: parts.links,
            by_id,
            by_domain,
            member_of,
            partners,
            community: parts.community,
            barriers: Barriers::new(&parts.barriers),
        })
    }

    /// The hub's own domain.
    #[must_use]
    pub fn hub(&self) -> &Domain {
        &self.hub
    }

    /// The link with this id.
    #[must_use]
    pub fn link(&self, id: &LinkId) -> Option<&Link> {
        self.by_id.get(id).map(|index| &self.links[*index])
    }

    /// Every link, in the order in which they were given.
    #[must_use]
    pub fn all_links(&self) -> &[Link] {
        &self.links
    }

    /// The links of one platform; shared, so cheap to hand on.
    #[must_use]
    pub fn links(&self, platform: &PlatformName) -> Arc<[Link]> {
        self.by_platform.get(platform).cloned().unwrap_or_default()
    }

    /// The link that serves a domain.
    #[must_use]
    pub fn link_of(&self, domain: &Domain) -> Option<&Link> {
        self.by_domain.get(domain).map(|index| &self.links[*index])
    }

    /// Every domain that the hub stands for, on all platforms.
    #[must_use]
    pub fn hosted(&self) -> Arc<HashSet<Domain>> {
        self.hosted.clone()
    }
}

/// Whether a text may be the name of a member, link or user: 1 to 64 lower-case letters, digits, `-` and `.`, since it appears in metrics, logs and
/// names of queues.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}

fn ordered((first, second): (u32, u32)) -> (u32, u32) {
    (first.min(second), first.max(second))
}
