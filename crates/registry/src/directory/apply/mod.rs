//! What must hold for a change, who may make it, and what is registered afterwards.

mod domains;
mod links;
mod partnerships;
mod people;

use interchange_model::{Domain, MemberId};

use super::change::{conflict, forbidden, invalid, not_found};
use super::{Actor, BarrierEntry, Change, ChangeError, Directory, LinkEntry, Moment, Pair, Role};
use crate::Parts;

/// The most that may be registered, of each kind.
const MOST: usize = 100_000;
/// The longest name of a member, and the longest reason, in bytes.
const LONGEST_NAME: usize = 200;

/// A change on its way.
struct Step<'a> {
    /// What was registered before.
    before: &'a Directory,
    /// What is registered afterwards.
    next: Directory,
    by: &'a Actor,
    /// What the configuration says.
    declared: &'a Parts,
    moment: Moment,
    /// The name of the change.
    name: &'static str,
}

impl Directory {
    /// What is registered after a change. `declared` is what the configuration says: it stands beside these entries and is not changed here.
    /// What holds for links and partnerships as a whole is checked by [`Registry::new`](crate::Registry::new) afterwards.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn with(&self, by: &Actor, change: &Change, declared: &Parts, moment: Moment) -> Result<Self, ChangeError> {
        let mut step = Step { before: self, next: self.clone(), by, declared, moment, name: change.name() };
        step.make(change)?;
        if step.next.sizes().iter().any(|size| *size > MOST) {
            return conflict(format!("there are {MOST} of them already, which is the most"));
        }
        Ok(step.next)
    }

    fn sizes(&self) -> [usize; 7] {
        [
            self.barriers.len(),
            self.members.len(),
            self.domains.len(),
            self.links.len(),
            self.partnerships.len(),
            self.users.len(),
            self.accounts.len(),
        ]
    }
}

impl Step<'_> {
    fn make(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::AddMember { member, name } => self.add_member(member, name),
            Change::RemoveMember { member } => self.remove_member(member),
            Change::AddDomain { domain, member, allow_lookalike } => self.add_domain(domain, member, *allow_lookalike),
            Change::VouchDomain { domain } => self.vouch_domain(domain),
            Change::ProveDomain { domain, challenge, kind } => self.prove_domain(domain, challenge, *kind),
            Change::RemoveDomain { domain } => self.remove_domain(domain),
            Change::SetLink { link, member, platform, domains, pace, settings } => {
                let (member, platform) = (member.clone(), platform.clone());
                let entry = LinkEntry { member, platform, domains: domains.clone(), pace: *pace, settings: settings.clone() };
                self.set_link(link, entry)
            }
            Change::RemoveLink { link } => self.remove_link(link),
            Change::Invite { from, to } => self.invite(from, to),
            Change::Approve { member, partner } => self.approve(member, partner),
            Change::Revoke { member, partner } => self.revoke(member, partner),
            Change::SetBarrier { barrier, member, between, reason } => {
                let entry = BarrierEntry { member: member.clone(), between: between.clone(), reason: reason.clone() };
                self.set_barrier(barrier, entry)
            }
            Change::RemoveBarrier { barrier } => self.remove_barrier(barrier),
            Change::SetUser { user, role, token_hash } => self.set_user(user, role, token_hash),
            Change::RemoveUser { user } => self.remove_user(user),
            Change::SetAccount { member, user, display_name, password_hash, is_new } => {
                self.acts_for(member)?;
                self.before.account_fits(member, user, *is_new, self.declared)?;
                self.before.set_account(&mut self.next, member, user, display_name.as_ref(), password_hash.as_deref())
            }
            Change::RemoveAccount { member, user } => {
                self.acts_for(member)?;
                Directory::remove_account(&mut self.next, member, user, self.declared)
            }
        }
    }

    fn is_operator(&self) -> bool {
        self.by.role == Role::Operator
    }

    fn only_operator(&self) -> Result<(), ChangeError> {
        if self.is_operator() {
            return Ok(());
        }
        forbidden(format!("only an operator may {}; {} is {}", self.name, self.by.name, self.by.role))
    }

    fn acts_for(&self, member: &MemberId) -> Result<(), ChangeError> {
        if !self.by.role.acts_for(member) {
            return forbidden(format!("{} is {} and may change nothing for `{member}`", self.by.name, self.by.role));
        }
        if !self.knows(member) {
            return not_found(format!("there is no member `{member}`: add it first"));
        }
        Ok(())
    }

    /// Whether there is such a member.
    fn knows(&self, member: &MemberId) -> bool {
        self.before.members.contains_key(member) || self.declared.members.contains(member)
    }

    /// Whose a domain is.
    fn owner(&self, domain: &Domain) -> Option<&MemberId> {
        let owner = self.before.domains.get(domain).map(|entry| &entry.member);
        owner.or_else(|| self.declared.links.iter().find(|link| link.domains.contains(domain)).map(|link| &link.member))
    }

    /// Whether the configuration makes two members partners.
    fn are_declared(&self, pair: &Pair) -> bool {
        self.declared.partnerships.iter().any(|(one, other)| Pair::new(one.clone(), other.clone()) == *pair)
    }
}

fn absent<T>(kind: &str, id: &str, declared: bool) -> Result<T, ChangeError> {
    if declared {
        return conflict(format!("{kind} `{id}` is declared in hub.toml: change it there"));
    }
    not_found(format!("there is no {kind} `{}`", id.escape_debug()))
}

fn named(text: &str) -> Result<(), ChangeError> {
    if crate::is_name(text) {
        return Ok(());
    }
    let help = "use 1 to 64 lower-case letters, digits, `-` and `.`: names appear in metrics, logs and queue names";
    invalid(format!("`{}` is not a name: {help}", text.escape_debug()))
}
