//! Domains: claimed, proven, given up.

use interchange_model::{Domain, MemberId};

use super::{Step, absent};
use crate::Lookalikes;
use crate::directory::change::{conflict, invalid};
use crate::directory::{Challenge, ChangeError, DomainEntry, Proof, ProofKind};

impl Step<'_> {
    /// A member claims a domain.
    pub(super) fn add_domain(&mut self, domain: &Domain, member: &MemberId, allow_lookalike: bool) -> Result<(), ChangeError> {
        self.acts_for(member)?;
        // Whose it is, is not said to just anybody.
        match self.owner(domain) {
            Some(owner) if owner == member => return conflict(format!("`{domain}` is a domain of `{member}` already")),
            Some(_) => return conflict(format!("`{domain}` belongs to another member: if it is yours, ask the hub's operator")),
            None => {}
        }
        // A name that the public registers under (co.uk, github.io) is nobody's; one that is not in the list (example) is judged by its labels.
        if psl::suffix(domain.as_str().as_bytes()).is_some_and(|suffix| suffix.as_bytes() == domain.as_str().as_bytes()) {
            return invalid(format!("`{domain}` is a public suffix, under which others have their domains: add your own domain"));
        }
        let mut known = Lookalikes::default();
        for link in &self.declared.links {
            for domain in &link.domains {
                known.add(domain, &link.member);
            }
        }
        for (domain, entry) in &self.before.domains {
            known.add(domain, &entry.member);
        }
        if let Some((alike, _)) = known.add(domain, member).filter(|_| !(allow_lookalike && self.is_operator())) {
            return conflict(format!(
                "`{domain}` looks like `{}` of another member: an operator who has made sure that both are who they seem adds it with allow_lookalike",
                alike.to_unicode().escape_default()
            ));
        }
        let entry = DomainEntry { member: member.clone(), challenge: Challenge::new(self.moment.random), proof: None };
        self.next.domains.insert(domain.clone(), entry);
        Ok(())
    }

    /// The operator says that a domain is its member's.
    pub(super) fn vouch_domain(&mut self, domain: &Domain) -> Result<(), ChangeError> {
        self.only_operator()?;
        self.prove(domain, ProofKind::Vouched)
    }

    /// The hub has seen the proof.
    pub(super) fn prove_domain(&mut self, domain: &Domain, challenge: &Challenge, kind: ProofKind) -> Result<(), ChangeError> {
        self.only_operator()?;
        if self.before.domains.get(domain).is_some_and(|entry| entry.challenge != *challenge) {
            return conflict(format!("the challenge of `{domain}` has changed meanwhile: check again"));
        }
        self.prove(domain, kind)
    }

    fn prove(&mut self, domain: &Domain, kind: ProofKind) -> Result<(), ChangeError> {
        let Some(entry) = self.next.domains.get_mut(domain) else { return absent("domain", domain.as_str(), false) };
        entry.proof = Some(Proof { kind, at: self.moment.now, by: self.by.name.clone() });
        Ok(())
    }

    /// A member gives up a domain that no link serves.
    pub(super) fn remove_domain(&mut self, domain: &Domain) -> Result<(), ChangeError> {
        let Some(entry) = self.next.domains.remove(domain).filter(|entry| self.by.role.sees(&entry.member)) else {
            return absent("domain", domain.as_str(), self.declared.links.iter().any(|link| link.domains.contains(domain)));
        };
        self.acts_for(&entry.member)?;
        if let Some((link, _)) = self.before.links.iter().find(|(_, link)| link.domains.contains(domain)) {
            return conflict(format!("link `{link}` serves `{domain}`: take the domain from it first"));
        }
        Ok(())
    }
}
