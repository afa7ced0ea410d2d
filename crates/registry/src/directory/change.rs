//! What may be changed, by whom, and what must hold afterwards.

use interchange_model::{DisplayName, Domain, LinkId, MemberId, Pace, PlatformName, Settings};
use serde::Deserialize;

use super::{
    Actor, BarrierEntry, Challenge, Directory, DomainEntry, INVITATION_LASTS, LinkEntry, Member, Pair, Partnership,
    PartnershipState, Proof, ProofKind, Role, User,
};
use crate::{Lookalikes, Parts, Sides};

/// The most that may be registered, of each kind.
const MOST: usize = 100_000;
/// The most domains of one link.
const MOST_DOMAINS: usize = 1000;
/// The most addresses and domains on one side of a barrier.
const MOST_PARTIES: usize = 1000;
/// The longest name of a member, in bytes.
const LONGEST_NAME: usize = 200;

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

fn forbidden<T>(message: impl Into<String>) -> Result<T, ChangeError> {
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

impl Directory {
    /// What is registered after a change. `declared` is what the configuration says: it stands beside these entries and is not changed here.
    /// What holds for links and partnerships as a whole is checked by [`Registry::new`](crate::Registry::new) afterwards.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn with(&self, by: &Actor, change: &Change, declared: &Parts, moment: Moment) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        let operator = by.role == Role::Operator;
        let only_operator = || {
            if operator {
                Ok(())
            } else {
                forbidden(format!("only an operator may {}; {} is {}", change.name(), by.name, by.role))
            }
        };
        let acts_for = |member: &MemberId| {
            if !by.role.acts_for(member) {
                return forbidden(format!("{} is {} and may change nothing for `{member}`", by.name, by.role));
            }
            if !self.knows(member, declared) {
                return not_found(format!("there is no member `{member}`: add it first"));
            }
            Ok(())
        };
        match change {
            Change::AddMember { member, name } => {
                only_operator()?;
                named(member.as_str())?;
                if self.knows(member, declared) {
                    return conflict(format!("there is a member `{member}` already"));
                }
                if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
                    return invalid(format!("a member's name has 1 to {LONGEST_NAME} bytes, and no control characters"));
                }
                next.members.insert(member.clone(), Member { name: name.clone() });
            }
            Change::RemoveMember { member } => {
                only_operator()?;
                let left = self.links.iter().find(|(_, link)| link.member == *member).map(|(id, _)| format!("link {id}"));
                let left = left
                    .or_else(|| self.domains.iter().find(|(_, of)| of.member == *member).map(|(id, _)| format!("domain {id}")));
                let left = left.or_else(|| self.pair_of(member).map(|pair| format!("partnership {}", pair.id())));
                let mut accounts = self.accounts.range((member.clone(), String::new())..);
                let account = accounts.next().filter(|((of, _), _)| of == member).map(|((_, key), _)| format!("account {key}"));
                let left = left.or(account);
                let is = Role::Member { member: member.clone() };
                let left =
                    left.or_else(|| self.users.iter().find(|(_, user)| user.role == is).map(|(id, _)| format!("user {id}")));
                if let Some(left) = left {
                    return conflict(format!("member `{member}` still has {left}: remove that first"));
                }
                if next.members.remove(member).is_none() {
                    return self.absent("member", member.as_str(), declared.members.contains(member));
                }
            }
            Change::AddDomain { domain, member, allow_lookalike } => {
                acts_for(member)?;
                self.claim(&mut next, domain, member, *allow_lookalike && operator, declared, moment)?;
            }
            Change::VouchDomain { domain } => {
                only_operator()?;
                self.prove(&mut next, domain, ProofKind::Vouched, by, moment)?;
            }
            Change::ProveDomain { domain, challenge, kind } => {
                only_operator()?;
                if self.domains.get(domain).is_some_and(|entry| entry.challenge != *challenge) {
                    return conflict(format!("the challenge of `{domain}` has changed meanwhile: check again"));
                }
                self.prove(&mut next, domain, *kind, by, moment)?;
            }
            Change::RemoveDomain { domain } => {
                let Some(entry) = next.domains.remove(domain).filter(|entry| by.role.sees(&entry.member)) else {
                    return self.absent(
                        "domain",
                        domain.as_str(),
                        declared.links.iter().any(|link| link.domains.contains(domain)),
                    );
                };
                acts_for(&entry.member)?;
                if let Some((link, _)) = self.links.iter().find(|(_, link)| link.domains.contains(domain)) {
                    return conflict(format!("link `{link}` serves `{domain}`: take the domain from it first"));
                }
            }
            Change::SetLink { link, member, platform, domains, pace, settings } => {
                acts_for(member)?;
                named(link.as_str())?;
                if declared.links.iter().any(|known| known.id == *link) {
                    return conflict(format!("link `{link}` is declared in hub.toml: change it there"));
                }
                if let Some(known) = self.links.get(link)
                    && (known.member != *member || known.platform != *platform)
                {
                    return conflict(format!("there is a link `{link}` of another member or platform: choose another name"));
                }
                if domains.len() > MOST_DOMAINS {
                    return invalid(format!("a link serves at most {MOST_DOMAINS} domains"));
                }
                for domain in domains {
                    match self.domains.get(domain) {
                        Some(entry) if entry.member == *member && entry.proof.is_some() => {}
                        Some(entry) if entry.member == *member => {
                            return conflict(format!("`{domain}` is not proven to be of `{member}` yet: prove it first"));
                        }
                        _ => return conflict(format!("`{domain}` is no domain of `{member}`: add it and prove it first")),
                    }
                }
                let entry = LinkEntry {
                    member: member.clone(),
                    platform: platform.clone(),
                    domains: domains.clone(),
                    pace: *pace,
                    settings: settings.clone(),
                };
                next.links.insert(link.clone(), entry);
            }
            Change::RemoveLink { link } => {
                let Some(entry) = next.links.remove(link).filter(|entry| by.role.sees(&entry.member)) else {
                    return self.absent("link", link.as_str(), declared.links.iter().any(|known| known.id == *link));
                };
                acts_for(&entry.member)?;
            }
            Change::Invite { from, to } => {
                acts_for(from)?;
                if from == to {
                    return invalid("a partnership is between two members: people of one member need none");
                }
                if !self.knows(to, declared) {
                    return not_found(format!("there is no member `{to}`"));
                }
                let pair = Pair::new(from.clone(), to.clone());
                if are_declared(&pair, declared) {
                    return conflict(format!("`{from}` and `{to}` are partners already, by hub.toml"));
                }
                match self.partnerships.get(&pair) {
                    Some(Partnership { state: PartnershipState::Agreed, .. }) => {
                        return conflict(format!("`{from}` and `{to}` are partners already"));
                    }
                    Some(known) if !known.is_void(moment.now) && known.invited_by == *to => {
                        return conflict(format!("`{to}` has invited `{from}` already: approve that"));
                    }
                    _ => {}
                }
                let partnership = Partnership { state: PartnershipState::Invited, invited_by: from.clone(), since: moment.now };
                next.partnerships.insert(pair, partnership);
            }
            Change::Approve { member, partner } => {
                acts_for(member)?;
                let pair = Pair::new(member.clone(), partner.clone());
                let Some(known) = next.partnerships.get_mut(&pair) else {
                    return not_found(format!("`{partner}` has not invited `{member}`"));
                };
                match known.state {
                    PartnershipState::Agreed => return conflict(format!("`{member}` and `{partner}` are partners already")),
                    PartnershipState::Invited if known.invited_by == *member => {
                        return conflict(format!("`{member}` has invited `{partner}`: it is theirs to approve"));
                    }
                    PartnershipState::Invited if known.is_void(moment.now) => {
                        return conflict(format!(
                            "the invitation is older than 14 days: `{partner}` must invite `{member}` again"
                        ));
                    }
                    PartnershipState::Invited => {}
                }
                known.state = PartnershipState::Agreed;
                known.since = moment.now;
            }
            Change::Revoke { member, partner } => {
                acts_for(member)?;
                let pair = Pair::new(member.clone(), partner.clone());
                if next.partnerships.remove(&pair).is_none() {
                    return self.absent("partnership", &pair.id(), are_declared(&pair, declared));
                }
            }
            Change::SetBarrier { barrier, member, between, reason } => {
                match member {
                    Some(member) => acts_for(member)?,
                    None => only_operator()?,
                }
                named(barrier)?;
                if self.barriers.get(barrier).is_some_and(|known| known.member != *member) {
                    return conflict(format!("there is a barrier `{barrier}` of somebody else: choose another name"));
                }
                if between.0.iter().any(|side| side.is_empty() || side.len() > MOST_PARTIES) {
                    return invalid(format!("each side of a barrier has 1 to {MOST_PARTIES} addresses and domains"));
                }
                if reason.is_empty() || reason.len() > LONGEST_NAME || reason.chars().any(char::is_control) {
                    return invalid(format!("say why, in 1 to {LONGEST_NAME} bytes without control characters"));
                }
                if let Some(member) = member
                    && !between.0.iter().any(|side| side.iter().all(|party| self.owner(party.domain(), declared) == Some(member)))
                {
                    return forbidden(format!(
                        "`{member}` may part its own people from others: one side must have none but them"
                    ));
                }
                let entry = BarrierEntry { member: member.clone(), between: between.clone(), reason: reason.clone() };
                next.barriers.insert(barrier.clone(), entry);
            }
            Change::RemoveBarrier { barrier } => {
                let sees = |entry: &BarrierEntry| operator || entry.member.as_ref().is_some_and(|member| by.role.sees(member));
                let Some(entry) = next.barriers.remove(barrier).filter(sees) else {
                    return self.absent("barrier", barrier, false);
                };
                match &entry.member {
                    Some(member) => acts_for(member)?,
                    None => only_operator()?,
                }
            }
            Change::SetUser { user, role, token_hash } => {
                only_operator()?;
                named(user)?;
                if let Role::Member { member } = role {
                    acts_for(member)?;
                }
                next.users.insert(user.clone(), User { role: role.clone(), token_hash: token_hash.clone() });
            }
            Change::SetAccount { member, user, display_name, password_hash, is_new } => {
                acts_for(member)?;
                self.account_fits(member, user, *is_new, declared)?;
                self.set_account(&mut next, member, user, display_name.as_ref(), password_hash.as_deref())?;
            }
            Change::RemoveAccount { member, user } => {
                acts_for(member)?;
                Self::remove_account(&mut next, member, user, declared)?;
            }
            Change::RemoveUser { user } => {
                only_operator()?;
                if next.users.remove(user).is_none() {
                    return self.absent("user", user, false);
                }
                if !next.users.values().any(|user| user.role == Role::Operator) {
                    return conflict(format!("`{user}` is the last operator: make another first"));
                }
            }
        }
        let sizes = [
            next.barriers.len(),
            next.members.len(),
            next.domains.len(),
            next.links.len(),
            next.partnerships.len(),
            next.users.len(),
            next.accounts.len(),
        ];
        if sizes.iter().any(|size| *size > MOST) {
            return conflict(format!("there are {MOST} of them already, which is the most"));
        }
        Ok(next)
    }

    /// Whose a domain is.
    fn owner<'a>(&'a self, domain: &Domain, declared: &'a Parts) -> Option<&'a MemberId> {
        let owner = self.domains.get(domain).map(|entry| &entry.member);
        owner.or_else(|| declared.links.iter().find(|link| link.domains.contains(domain)).map(|link| &link.member))
    }

    /// Whether there is such a member.
    fn knows(&self, member: &MemberId, declared: &Parts) -> bool {
        self.members.contains_key(member) || declared.members.contains(member)
    }

    fn pair_of(&self, member: &MemberId) -> Option<&Pair> {
        self.partnerships.keys().find(|pair| pair.members().contains(&member))
    }

    fn absent<T>(&self, kind: &str, id: &str, declared: bool) -> Result<T, ChangeError> {
        if declared {
            return conflict(format!("{kind} `{id}` is declared in hub.toml: change it there"));
        }
        not_found(format!("there is no {kind} `{}`", id.escape_debug()))
    }

    /// A member claims a domain.
    fn claim(
        &self,
        next: &mut Self,
        domain: &Domain,
        member: &MemberId,
        allow_lookalike: bool,
        declared: &Parts,
        moment: Moment,
    ) -> Result<(), ChangeError> {
        // Whose it is, is not said to just anybody.
        match self.owner(domain, declared) {
            Some(owner) if owner == member => return conflict(format!("`{domain}` is a domain of `{member}` already")),
            Some(_) => return conflict(format!("`{domain}` belongs to another member: if it is yours, ask the hub's operator")),
            None => {}
        }
        // A name that the public registers under (co.uk, github.io) is nobody's; one that is not in the list (example) is judged by its labels.
        if psl::suffix(domain.as_str().as_bytes()).is_some_and(|suffix| suffix.as_bytes() == domain.as_str().as_bytes()) {
            return invalid(format!("`{domain}` is a public suffix, under which others have their domains: add your own domain"));
        }
        let mut known = Lookalikes::default();
        for link in &declared.links {
            for domain in &link.domains {
                known.add(domain, &link.member);
            }
        }
        for (domain, entry) in &self.domains {
            known.add(domain, &entry.member);
        }
        if let Some((alike, _)) = known.add(domain, member).filter(|_| !allow_lookalike) {
            return conflict(format!(
                "`{domain}` looks like `{}` of another member: an operator who has made sure that both are who they seem adds it with allow_lookalike",
                alike.to_unicode().escape_default()
            ));
        }
        let entry = DomainEntry { member: member.clone(), challenge: Challenge::new(moment.random), proof: None };
        next.domains.insert(domain.clone(), entry);
        Ok(())
    }

    fn prove(&self, next: &mut Self, domain: &Domain, kind: ProofKind, by: &Actor, moment: Moment) -> Result<(), ChangeError> {
        let Some(entry) = next.domains.get_mut(domain) else { return self.absent("domain", domain.as_str(), false) };
        entry.proof = Some(Proof { kind, at: moment.now, by: by.name.clone() });
        Ok(())
    }
}

/// Whether the configuration makes two members partners.
fn are_declared(pair: &Pair, declared: &Parts) -> bool {
    declared.partnerships.iter().any(|(one, other)| Pair::new(one.clone(), other.clone()) == *pair)
}

impl Partnership {
    /// An invitation that nobody answered in time.
    #[must_use]
    pub fn is_void(&self, now: u64) -> bool {
        self.state == PartnershipState::Invited && now.saturating_sub(self.since) > INVITATION_LASTS
    }
}

fn named(text: &str) -> Result<(), ChangeError> {
    if crate::is_name(text) {
        return Ok(());
    }
    let help = "use 1 to 64 lower-case letters, digits, `-` and `.`: names appear in metrics, logs and queue names";
    invalid(format!("`{}` is not a name: {help}", text.escape_debug()))
}
