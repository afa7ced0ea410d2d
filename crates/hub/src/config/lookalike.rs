//! Domains of different members that a person takes for one another: refused, unless the member that comes later is said to be who it seems.

use interchange_model::{Domain, MemberId};
use interchange_registry::Lookalikes;

use super::schema::File;
use super::{Check, HUB_MEMBER};

impl Check<'_> {
    /// Looks at every domain in the order of the file, the hub's own first. Answers a warning for each that looks like another member's and is allowed to.
    pub(super) fn lookalikes(&mut self, file: &File) -> Vec<String> {
        let mut all = Lookalikes::default();
        let mut places = Vec::new();
        let mut warnings = Vec::new();
        let hub = MemberId::from(HUB_MEMBER);
        let own = std::iter::once((&file.hub.domain, &hub));
        let of_links: Vec<_> = file.link.iter().map(|link| (link, MemberId::from(link.member.get_ref().as_str()))).collect();
        let of_links = of_links.iter().flat_map(|(link, member)| link.domains.get_ref().iter().map(move |text| (text, member)));
        for (text, member) in own.chain(of_links) {
            // What is no domain, or belongs to two links, is a fault of its own.
            let Ok(domain) = Domain::parse(text.get_ref()) else { continue };
            if let Some((known, owner)) = all.add(&domain, member) {
                let place = |domain: &Domain| places.iter().find(|(known, _)| known == domain).map_or(0, |(_, at)| *at);
                let first = self.line(place(&known));
                let message = format!(
                    "`{domain}` of member `{member}` looks like `{known}` of member `{owner}` in line {first}: {} and {}",
                    shown(&domain),
                    shown(&known),
                );
                let allowed = file.member.iter().any(|entry| entry.id.get_ref() == member.as_str() && entry.allow_lookalike);
                if allowed {
                    warnings.push(format!("line {}: {message}", self.line(text.span().start)));
                } else {
                    let help = format!(
                        "make sure that both are who they seem; if they are, write allow_lookalike = true at the [[member]] `{member}`"
                    );
                    self.fault(text.span(), message, help);
                }
            }
            places.push((domain, text.span().start));
        }
        warnings
    }

    /// The line of a place in the file, from 1.
    fn line(&self, place: usize) -> usize {
        self.text.get(..place).map_or(1, |before| before.matches('\n').count() + 1)
    }
}

/// A domain with every character that is not ASCII by its number, so that the difference can be seen.
fn shown(domain: &Domain) -> String {
    let show = |c: char| if c.is_ascii() { c.to_string() } else { format!("<U+{:04X}>", u32::from(c)) };
    domain.to_unicode().chars().map(show).collect()
}
