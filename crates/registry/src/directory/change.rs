//! What may be changed, and why something was not.

use interchange_model::{DisplayName, Domain, LinkId, MemberId, Pace, PlatformName, Settings};
use serde::Deserialize;

use super::{Challenge, ProofKind, Role};
use crate::Sides;

/// One change. As JSON an object with its name in `change`: `{"change": "add-member", "member": "acme", "name": "Acme Ltd"}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// The operator registers a member.
    AddMember {
        /// 1 to 64 lower-case letters, digits, `-` and `.`.
        member: MemberId,
        /// What people call it.
        name: String,
    },
    /// The operator removes a member that has no domain, link, partnership or user any more.
    RemoveMember {
        /// Which.
        member: MemberId,
    },
    /// A member claims a domain, and is given a challenge.
    AddDomain {
        /// Which.
        domain: Domain,
        /// Whose.
        member: MemberId,
        /// The operator has made sure that a domain that looks like another's is what it seems.
        #[serde(default)]
        allow_lookalike: bool,
    },
    /// The operator says that a domain is its member's.
    VouchDomain {
        /// Which.
        domain: Domain,
    },
    /// The hub has seen the proof. Never from outside.
    #[serde(skip_deserializing)]
    ProveDomain {
        /// Which.
        domain: Domain,
        /// The challenge that was seen.
        challenge: Challenge,
        /// Where.
        kind: ProofKind,
    },
    /// A member gives a domain up that no link serves.
    RemoveDomain {
        /// Which.
        domain: Domain,
    },
    /// A link is made, or gets other domains, pace or settings. Its member and platform stay.
    SetLink {
        /// Its name.
        link: LinkId,
        /// Whose.
        member: MemberId,
        /// Over which platform.
        platform: PlatformName,
        /// Which proven domains of the member it serves.
        domains: Vec<Domain>,
        /// How fast the hub hands it messages.
        #[serde(default)]
        pace: Pace,
        /// What its platform's page says.
        #[serde(default)]
        settings: Settings,
    },
    /// A link is taken away. What waits for it is delivered if it comes back within 24 h, and otherwise comes back to its senders.
    RemoveLink {
        /// Which.
        link: LinkId,
    },
    /// A member asks another for a partnership.
    Invite {
        /// Who asks.
        from: MemberId,
        /// Who is asked.
        to: MemberId,
    },
    /// The invited member agrees, within 14 days.
    Approve {
        /// Who agrees.
        member: MemberId,
        /// Who had asked.
        partner: MemberId,
    },
    /// Either member ends a partnership, refuses an invitation, or takes it back.
    Revoke {
        /// Who.
        member: MemberId,
        /// With whom.
        partner: MemberId,
    },
    /// An information barrier is made, or changed: by the operator, or by a member for its own people.
    SetBarrier {
        /// Its name.
        barrier: String,
        /// The member who wants it: one side has none but its own people. Absent: the operator.
        member: Option<MemberId>,
        /// Who may not meet whom: two lists of addresses and domains.
        between: Sides,
        /// Why, for those who look at it later.
        reason: String,
    },
    /// It is taken away by whoever made it, or by the operator.
    RemoveBarrier {
        /// Which.
        barrier: String,
    },
    /// The operator lets somebody use the API, or gives them a new token. Never from outside as it is: the token is made by the hub.
    #[serde(skip_deserializing)]
    SetUser {
        /// 1 to 64 lower-case letters, digits, `-` and `.`.
        user: String,
        /// What they may do.
        role: Role,
        /// The hash of their token.
        token_hash: String,
    },
    /// Somebody of a member may sign in over its links, or is given another password or name. Never from outside as it is: the hash is made by the hub.
    #[serde(skip_deserializing)]
    SetAccount {
        /// Whose.
        member: MemberId,
        /// The part of their address before the `@`.
        user: String,
        /// How they are called; absent: as before.
        display_name: Option<DisplayName>,
        /// The hash of their password; absent: as before.
        password_hash: Option<String>,
        /// Whether there must be no such account yet, or one; absent: either.
        is_new: Option<bool>,
    },
    /// Somebody may sign in no more.
    RemoveAccount {
        /// Whose.
        member: MemberId,
        /// The part of their address before the `@`.
        user: String,
    },
    /// The operator shuts somebody out.
    RemoveUser {
        /// Who.
        user: String,
    },
}

/// When a change is made, and something random for it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// In seconds since 1970.
    pub now: u64,
    /// Used for one challenge.
    pub random: u128,
}

/// Why something was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ChangeError {
    /// Of which sort.
    pub fault: ChangeFault,
    /// What is wrong and what to do, for a person.
    pub message: String,
}

/// The sorts of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeFault {
    /// This actor may not.
    Forbidden,
    /// What it is about is not there, or not the actor's to see.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// It makes no sense by itself.
    Invalid,
    /// The database fails.
    Unavailable,
}

impl ChangeError {
    pub(crate) fn new(fault: ChangeFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }
}

pub(super) fn forbidden<T>(message: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::new(ChangeFault::Forbidden, message))
}

pub(super) fn not_found<T>(message: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::new(ChangeFault::NotFound, message))
}

pub(super) fn conflict<T>(message: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::new(ChangeFault::Conflict, message))
}

pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::new(ChangeFault::Invalid, message))
}

impl Change {
    /// Its name, as `change` has it and the audit log shows it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Change::AddMember { .. } => "add-member",
            Change::RemoveMember { .. } => "remove-member",
            Change::AddDomain { .. } => "add-domain",
            Change::VouchDomain { .. } => "vouch-domain",
            Change::ProveDomain { .. } => "prove-domain",
            Change::RemoveDomain { .. } => "remove-domain",
            Change::SetLink { .. } => "set-link",
            Change::RemoveLink { .. } => "remove-link",
            Change::Invite { .. } => "invite",
            Change::Approve { .. } => "approve",
            Change::Revoke { .. } => "revoke",
            Change::SetBarrier { .. } => "set-barrier",
            Change::RemoveBarrier { .. } => "remove-barrier",
            Change::SetUser { .. } => "set-user",
            Change::SetAccount { .. } => "set-account",
            Change::RemoveAccount { .. } => "remove-account",
            Change::RemoveUser { .. } => "remove-user",
        }
    }
}
