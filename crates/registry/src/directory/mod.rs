//! What is registered while the hub runs: members, their domains, links, partnerships, and the users who may change them.
//!
//! A [`Directory`] is a plain value. [`Directory::with`] makes the next one from a [`Change`], or says why not; it asks no clock and no
//! database, so every rule is tested without either. [`Members`](crate::Members) keeps it in the database.

mod account;
mod apply;
mod change;
mod words;

use std::collections::BTreeMap;

use interchange_model::{Domain, Link, LinkId, MemberId, Pace, PlatformName, Settings};
use serde::{Deserialize, Serialize};

pub use account::AccountEntry;
pub use change::{Change, ChangeError, ChangeFault, Moment};
pub use words::{Actor, Challenge, Proof, ProofKind, Role};

use crate::{Parts, RegistryError, Sides};

/// An invitation that nobody answered is void after this many seconds: 14 days.
pub const INVITATION_LASTS: u64 = 14 * 24 * 60 * 60;

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// What people call it.
    pub name: String,
}

/// A domain of a member. Links may serve it once it is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainEntry {
    /// Whose it is.
    pub member: MemberId,
    /// What the member shows to prove that it is theirs.
    pub challenge: Challenge,
    /// How it was proven, once it was.
    pub proof: Option<Proof>,
}

/// A link as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    /// Whose it is.
    pub member: MemberId,
    /// Over which platform.
    pub platform: PlatformName,
    /// The domains that it serves.
    pub domains: Vec<Domain>,
    /// How fast the hub hands it messages.
    #[serde(default)]
    pub pace: Pace,
    /// What only its platform understands.
    #[serde(default)]
    pub settings: Settings,
}

/// What two members have to do with one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partnership {
    /// How it stands.
    pub state: PartnershipState,
    /// The member who invited the other.
    pub invited_by: MemberId,
    /// Since when it stands so, in seconds since 1970.
    pub since: u64,
}

/// How a partnership stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartnershipState {
    /// One has invited the other.
    Invited,
    /// Both agree: messages pass.
    Agreed,
}

/// An information barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BarrierEntry {
    /// The member who wants it, for its own people; absent: the operator.
    pub member: Option<MemberId>,
    /// Who may not meet whom.
    pub between: Sides,
    /// Why, for those who look at it later.
    pub reason: String,
}

/// A person or program that may use the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What they may do.
    #[serde(flatten)]
    pub role: Role,
    /// The hash (argon2id, PHC string) of their token. Never shown.
    pub token_hash: String,
}

/// Two members, the smaller id first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair(MemberId, MemberId);

impl Pair {
    /// In either order.
    #[must_use]
    pub fn new(one: MemberId, other: MemberId) -> Self {
        if one <= other { Self(one, other) } else { Self(other, one) }
    }

    /// The two.
    #[must_use]
    pub fn members(&self) -> [&MemberId; 2] {
        [&self.0, &self.1]
    }

    fn id(&self) -> String {
        format!("{} {}", self.0, self.1)
    }

    fn parse(id: &str) -> Option<Self> {
        id.split_once(' ').map(|(one, other)| Self::new(one.into(), other.into()))
    }
}

/// All that is registered at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Directory {
    /// Members by id.
    pub members: BTreeMap<MemberId, Member>,
    /// Domains.
    pub domains: BTreeMap<Domain, DomainEntry>,
    /// Links by id.
    pub links: BTreeMap<LinkId, LinkEntry>,
    /// Invitations and partnerships.
    pub partnerships: BTreeMap<Pair, Partnership>,
    /// Information barriers by name.
    pub barriers: BTreeMap<String, BarrierEntry>,
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Accounts, by member and by the name in its comparison form ([`AccountEntry::key`]).
    pub accounts: BTreeMap<(MemberId, String), AccountEntry>,
}

impl Directory {
    /// Everything, as rows.
    pub(crate) fn rows(&self) -> BTreeMap<(&'static str, String), String> {
        fn json(value: &impl Serialize) -> String {
            serde_json::to_string(value).expect("these types have no maps with keys that are not text")
        }
        let mut rows: BTreeMap<(&'static str, String), String> = BTreeMap::new();
        rows.extend(self.members.iter().map(|(id, entry)| (("member", id.to_string()), json(entry))));
        rows.extend(self.domains.iter().map(|(id, entry)| (("domain", id.to_string()), json(entry))));
        rows.extend(self.links.iter().map(|(id, entry)| (("link", id.to_string()), json(entry))));
        rows.extend(self.partnerships.iter().map(|(pair, entry)| (("partnership", pair.id()), json(entry))));
        rows.extend(self.users.iter().map(|(id, entry)| (("user", id.clone()), json(entry))));
        rows.extend(self.barriers.iter().map(|(id, entry)| (("barrier", id.clone()), json(entry))));
        // A member's id has no blank, a user's name may.
        rows.extend(self.accounts.iter().map(|((member, key), entry)| (("account", format!("{member} {key}")), json(entry))));
        rows
    }

    /// Reads rows.
    ///
    /// # Errors
    /// Which row cannot be understood, and why: a newer version of the hub may have written it, so nothing is left out silently.
    pub(crate) fn from_rows(rows: impl IntoIterator<Item = (String, String, String)>) -> Result<Self, String> {
        let mut directory = Self::default();
        for (kind, id, value) in rows {
            let wrong = |why: &dyn std::fmt::Display| format!("{kind} `{id}` in the database cannot be understood: {why}");
            macro_rules! value {
                () => {
                    serde_json::from_str(&value).map_err(|error| wrong(&error))?
                };
            }
            match kind.as_str() {
                "member" => drop(directory.members.insert(id.as_str().into(), value!())),
                "domain" => {
                    let domain = Domain::parse(&id).map_err(|error| wrong(&error))?;
                    directory.domains.insert(domain, value!());
                }
                "link" => drop(directory.links.insert(id.as_str().into(), value!())),
                "partnership" => {
                    let pair = Pair::parse(&id).ok_or_else(|| wrong(&"it is no pair"))?;
                    directory.partnerships.insert(pair, value!());
                }
                "user" => drop(directory.users.insert(id.clone(), value!())),
                "account" => {
                    let (member, key) = id.split_once(' ').ok_or_else(|| wrong(&"it is of no member"))?;
                    directory.accounts.insert((member.into(), key.to_owned()), value!());
                }
                "barrier" => drop(directory.barriers.insert(id.clone(), value!())),
                _ => return Err(wrong(&"there is no such kind")),
            }
        }
        Ok(directory)
    }

    /// Whether a [`Registry`](crate::Registry) made of this is the same as one made of another: accounts, for one, are none of its business.
    pub(crate) fn is_linked_like(&self, other: &Self) -> bool {
        self.links == other.links
            && self.partnerships == other.partnerships
            && self.barriers == other.barriers
            && self.members.keys().eq(other.members.keys())
    }

    /// These entries after those that the configuration declares.
    #[must_use]
    pub fn parts(&self, declared: &Parts) -> Parts {
        let mut parts = declared.clone();
        parts.members.extend(self.members.keys().cloned());
        parts.links.extend(self.links.iter().map(|(id, entry)| Link {
            id: id.clone(),
            member: entry.member.clone(),
            platform: entry.platform.clone(),
            domains: entry.domains.clone(),
            pace: entry.pace,
            settings: entry.settings.clone(),
        }));
        let agreed = self.partnerships.iter().filter(|(_, partnership)| partnership.state == PartnershipState::Agreed);
        parts.partnerships.extend(agreed.map(|(Pair(one, other), _)| (one.clone(), other.clone())));
        parts.barriers.extend(self.barriers.values().map(|barrier| barrier.between.clone()));
        parts
    }
}

impl From<RegistryError> for ChangeError {
    fn from(error: RegistryError) -> Self {
        ChangeError::new(ChangeFault::Conflict, error.to_string())
    }
}

#[cfg(test)]
mod tests;
