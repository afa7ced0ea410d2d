//! The routing decision.

use std::sync::Arc;

use interchange_model::{Body, Envelope, Link, LinkId, Refusal};

use crate::{Community, Registry};

impl Registry {
    /// Where an envelope that came in over `via` goes, or why it goes nowhere. Pure, and the same cost for ten domains as for ten thousand.
    ///
    /// # Errors
    /// The first rule that forbids it, in this order: the sender's domain is not the link's, no hops are left, the recipient's domain is
    /// nobody's, the recipient is on the same link, the two members are not partners.
    pub fn route(&self, via: &LinkId, envelope: &Envelope) -> Result<&Arc<Link>, Refusal> {
        let from = self.domains.get(envelope.from.domain()).filter(|link| link.id == *via).ok_or(Refusal::NotYours)?;
        if envelope.hops == 0 {
            return Err(Refusal::Loop);
        }
        let to = self.domains.get(envelope.to.domain()).ok_or(Refusal::UnknownDomain)?;
        // A member's server delivers to its own domains by itself: what comes here for them has lost its way.
        if to.id == *via {
            return Err(Refusal::Loop);
        }
        let is_hub = |member| self.hub.as_ref() == Some(member);
        let partners = from.member == to.member
            || is_hub(&from.member)
            || is_hub(&to.member)
            || self.community == Community::Open
            || self.partnerships.contains(&(from.member.clone(), to.member.clone()));
        // A failure answers a message that was allowed when it was sent: it goes back even if the partnership has ended since.
        if partners || matches!(envelope.body, Body::Failure(_)) { Ok(to) } else { Err(Refusal::NotAllowed) }
    }
}
