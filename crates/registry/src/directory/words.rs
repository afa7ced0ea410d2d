//! Who changes something, and how a domain is proven.

use std::fmt;

use interchange_model::{Domain, MemberId};
use serde::{Deserialize, Serialize};

/// Who wants a change: the name goes into the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A user's name, or the part of the hub that acts by itself.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// What a user may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Operator,
    /// Reads everything, changes nothing.
    Auditor,
    /// Changes what is of one member, and reads it.
    Member {
        /// Whose administrator.
        member: MemberId,
    },
}

impl Role {
    /// Whether this role may act for a member.
    #[must_use]
    pub fn acts_for(&self, wanted: &MemberId) -> bool {
        match self {
            Role::Operator => true,
            Role::Auditor => false,
            Role::Member { member } => member == wanted,
        }
    }

    /// Whether this role may see everything: what is the hub's own, and what is of any member.
    #[must_use]
    pub const fn sees_all(&self) -> bool {
        matches!(self, Role::Operator | Role::Auditor)
    }

    /// Whether this role may see what is of a member.
    #[must_use]
    pub fn sees(&self, wanted: &MemberId) -> bool {
        self.sees_all() || self.acts_for(wanted)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Operator => f.write_str("operator"),
            Role::Auditor => f.write_str("auditor"),
            Role::Member { member } => write!(f, "administrator of {member}"),
        }
    }
}

/// What a member shows at a domain to prove that it is theirs: 32 hexadecimal digits, different for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Challenge(pub String);

impl Challenge {
    /// From 128 random bits.
    #[must_use]
    pub fn new(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    /// The name of the TXT record: a fresh one for each challenge, so that no answer from before is in any cache.
    #[must_use]
    pub fn record_name(&self, domain: &Domain) -> String {
        format!("_interchange-{}.{domain}.", &self.0.get(..8).unwrap_or_default())
    }

    /// Where the domain's own web server may show the same instead (RFC 8615).
    pub const FILE_PATH: &str = "/.well-known/interchange-domain-verification";

    /// What the TXT record, or the file, holds.
    #[must_use]
    pub fn record_value(&self) -> String {
        format!("interchange-domain-verification={}", self.0)
    }
}

/// How and when a domain was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// How.
    pub kind: ProofKind,
    /// In seconds since 1970.
    pub at: u64,
    /// Who had it checked, or vouched.
    pub by: String,
}

/// How a domain is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofKind {
    /// Its authoritative servers show the TXT record.
    Dns,
    /// Its web server shows the file.
    Https,
    /// The operator says so.
    Vouched,
}
