//! Links: which proven domains they serve.

use interchange_model::LinkId;

use super::{Step, absent, named};
use crate::directory::change::{conflict, invalid};
use crate::directory::{ChangeError, LinkEntry};

/// The most domains of one link.
const MOST_DOMAINS: usize = 1000;

impl Step<'_> {
    /// A link is made, or gets other domains, pace or settings.
    pub(super) fn set_link(&mut self, link: &LinkId, entry: LinkEntry) -> Result<(), ChangeError> {
        let LinkEntry { member, platform, domains, .. } = &entry;
        self.acts_for(member)?;
        named(link.as_str())?;
        if self.declared.links.iter().any(|known| known.id == *link) {
            return conflict(format!("link `{link}` is declared in hub.toml: change it there"));
        }
        if let Some(known) = self.before.links.get(link)
            && (known.member != *member || known.platform != *platform)
        {
            return conflict(format!("there is a link `{link}` of another member or platform: choose another name"));
        }
        if domains.len() > MOST_DOMAINS {
            return invalid(format!("a link serves at most {MOST_DOMAINS} domains"));
        }
        for domain in domains {
            match self.before.domains.get(domain) {
                Some(entry) if entry.member == *member && entry.proof.is_some() => {}
                Some(entry) if entry.member == *member => {
                    return conflict(format!("`{domain}` is not proven to be of `{member}` yet: prove it first"));
                }
                _ => return conflict(format!("`{domain}` is no domain of `{member}`: add it and prove it first")),
            }
        }
        self.next.links.insert(link.clone(), entry);
        Ok(())
    }

    /// A link is taken away.
    pub(super) fn remove_link(&mut self, link: &LinkId) -> Result<(), ChangeError> {
        let Some(entry) = self.next.links.remove(link).filter(|entry| self.by.role.sees(&entry.member)) else {
            return absent("link", link.as_str(), self.declared.links.iter().any(|known| known.id == *link));
        };
        self.acts_for(&entry.member)?;
        Ok(())
    }
}
