//! Partnerships, and the information barriers that part people.

use interchange_model::MemberId;

use super::{LONGEST_NAME, Step, absent, named};
use crate::directory::change::{conflict, forbidden, invalid, not_found};
use crate::directory::{BarrierEntry, ChangeError, INVITATION_LASTS, Pair, Partnership, PartnershipState};

/// The most addresses and domains on one side of a barrier.
const MOST_PARTIES: usize = 1000;

impl Step<'_> {
    /// A member asks another for a partnership.
    pub(super) fn invite(&mut self, from: &MemberId, to: &MemberId) -> Result<(), ChangeError> {
        self.acts_for(from)?;
        if from == to {
            return invalid("a partnership is between two members: people of one member need none");
        }
        if !self.knows(to) {
            return not_found(format!("there is no member `{to}`"));
        }
        let pair = Pair::new(from.clone(), to.clone());
        if self.are_declared(&pair) {
            return conflict(format!("`{from}` and `{to}` are partners already, by hub.toml"));
        }
        match self.before.partnerships.get(&pair) {
            Some(Partnership { state: PartnershipState::Agreed, .. }) => {
                return conflict(format!("`{from}` and `{to}` are partners already"));
            }
            Some(known) if !known.is_void(self.moment.now) && known.invited_by == *to => {
                return conflict(format!("`{to}` has invited `{from}` already: approve that"));
            }
            _ => {}
        }
        let partnership = Partnership { state: PartnershipState::Invited, invited_by: from.clone(), since: self.moment.now };
        self.next.partnerships.insert(pair, partnership);
        Ok(())
    }

    /// The invited member agrees.
    pub(super) fn approve(&mut self, member: &MemberId, partner: &MemberId) -> Result<(), ChangeError> {
        self.acts_for(member)?;
        let pair = Pair::new(member.clone(), partner.clone());
        let Some(known) = self.next.partnerships.get_mut(&pair) else {
            return not_found(format!("`{partner}` has not invited `{member}`"));
        };
        match known.state {
            PartnershipState::Agreed => return conflict(format!("`{member}` and `{partner}` are partners already")),
            PartnershipState::Invited if known.invited_by == *member => {
                return conflict(format!("`{member}` has invited `{partner}`: it is theirs to approve"));
            }
            PartnershipState::Invited if known.is_void(self.moment.now) => {
                return conflict(format!("the invitation is older than 14 days: `{partner}` must invite `{member}` again"));
            }
            PartnershipState::Invited => {}
        }
        known.state = PartnershipState::Agreed;
        known.since = self.moment.now;
        Ok(())
    }

    /// Either member ends it, refuses it, or takes it back.
    pub(super) fn revoke(&mut self, member: &MemberId, partner: &MemberId) -> Result<(), ChangeError> {
        self.acts_for(member)?;
        let pair = Pair::new(member.clone(), partner.clone());
        if self.next.partnerships.remove(&pair).is_none() {
            return absent("partnership", &pair.id(), self.are_declared(&pair));
        }
        Ok(())
    }

    /// An information barrier is made, or changed.
    pub(super) fn set_barrier(&mut self, barrier: &str, entry: BarrierEntry) -> Result<(), ChangeError> {
        let BarrierEntry { member, between, reason } = &entry;
        match member {
            Some(member) => self.acts_for(member)?,
            None => self.only_operator()?,
        }
        named(barrier)?;
        if self.before.barriers.get(barrier).is_some_and(|known| known.member != *member) {
            return conflict(format!("there is a barrier `{barrier}` of somebody else: choose another name"));
        }
        if between.0.iter().any(|side| side.is_empty() || side.len() > MOST_PARTIES) {
            return invalid(format!("each side of a barrier has 1 to {MOST_PARTIES} addresses and domains"));
        }
        if reason.is_empty() || reason.len() > LONGEST_NAME || reason.chars().any(char::is_control) {
            return invalid(format!("say why, in 1 to {LONGEST_NAME} bytes without control characters"));
        }
        if let Some(member) = member
            && !between.0.iter().any(|side| side.iter().all(|party| self.owner(party.domain()) == Some(member)))
        {
            return forbidden(format!("`{member}` may part its own people from others: one side must have none but them"));
        }
        self.next.barriers.insert(barrier.to_owned(), entry);
        Ok(())
    }

    /// A barrier is taken away.
    pub(super) fn remove_barrier(&mut self, barrier: &str) -> Result<(), ChangeError> {
        let entry = self.next.barriers.remove(barrier);
        let sees =
            |entry: &BarrierEntry| self.is_operator() || entry.member.as_ref().is_some_and(|member| self.by.role.sees(member));
        let Some(entry) = entry.filter(sees) else {
            return absent("barrier", barrier, false);
        };
        match &entry.member {
            Some(member) => self.acts_for(member)?,
            None => self.only_operator()?,
        }
        Ok(())
    }
}

impl Partnership {
    /// An invitation that nobody answered in time.
    #[must_use]
    pub fn is_void(&self, now: u64) -> bool {
        self.state == PartnershipState::Invited && now.saturating_sub(self.since) > INVITATION_LASTS
    }
}
