//! What adapters notice about links, for whoever looks after them.

use interchange_adapter::Now;
use interchange_model::{Domain, LinkId, Trouble};
use std::time::SystemTime;

use crate::shared::Shared;

/// Something that an adapter noticed about a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// When, by the hub's clock.
    pub at: SystemTime,
    /// Which link.
    pub link: LinkId,
    /// What.
    pub sight: Sight,
}

/// What was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// A peer that came to the hub has proved that it is the link's.
    Proved,
    /// A peer that came to the hub as the link's was turned away.
    TurnedAway(Trouble),
    /// The answer to [`Down::Check`](interchange_model::Down::Check).
    Checked {
        /// The domain that the hub spoke for.
        from: Domain,
        /// The link's domain.
        to: Domain,
        /// An answer came back; or what keeps it from coming.
        result: Result<(), Trouble>,
    },
}

impl Shared {
    /// Tells the observer, if it is there and has room.
    pub(crate) fn observe(&self, link: LinkId, sight: Sight) {
        if let Some(observer) = &self.observer {
            let _ = observer.try_send(Observation { at: Now::read().wall, link, sight });
        }
    }
}
