//! What was noted of one link while the hub ran.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use interchange_broker::{Stage, TraceEvent};
use interchange_model::{Kind, Refusal, Trouble};

/// For how long refusals are counted.
const RECENTLY: Duration = Duration::from_secs(600);
/// How many are kept.
const MOST: usize = 200;

/// Times by the hub's clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// When a peer that came to the hub last proved that it is the link's.
    pub(super) proved: Option<SystemTime>,
    /// When one was last turned away, and why.
    pub(super) turned_away: Option<(SystemTime, Trouble)>,
    /// When a message, and when presence, last came from the link's people, and went to them.
    pub(super) messages: Ways,
    pub(super) presence: Ways,
    /// What the link's server has refused lately, the newest last.
    refused: VecDeque<(SystemTime, Refusal)>,
}

/// When something last went each way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ways {
    pub(super) came: Option<SystemTime>,
    pub(super) went: Option<SystemTime>,
}

impl Notes {
    fn ways(&mut self, event: &TraceEvent) -> Option<&mut Ways> {
        match event.kind? {
            Kind::Text => Some(&mut self.messages),
            Kind::Presence | Kind::Watch => Some(&mut self.presence),
            Kind::Receipt | Kind::Typing | Kind::Failure => None,
        }
    }

    /// Something that came over the link.
    pub(super) fn came(&mut self, event: &TraceEvent) {
        if matches!(event.stage, Stage::Accepted | Stage::Duplicate | Stage::Refused(_))
            && let Some(ways) = self.ways(event)
        {
            ways.came = Some(event.at);
        }
    }

    /// Something that left over it.
    pub(super) fn went(&mut self, event: &TraceEvent) {
        match event.stage {
            Stage::Delivered => {
                if let Some(ways) = self.ways(event) {
                    ways.went = Some(event.at);
                }
            }
            Stage::Failed(why) | Stage::Deferred(why) | Stage::Dropped(why) if event.kind == Some(Kind::Text) => {
                if self.refused.len() == MOST {
                    self.refused.pop_front();
                }
                self.refused.push_back((event.at, why));
            }
            _ => {}
        }
    }

    /// How many messages the link's server has refused in the last ten minutes because of the hub, not of their recipients; and the last reason.
    pub(super) fn refusals(&self, now: SystemTime) -> Option<(usize, Refusal)> {
        let lately = |at: &SystemTime| now.duration_since(*at).unwrap_or_default() < RECENTLY;
        let of_the_hub =
            |why: &Refusal| matches!(why, Refusal::PeerRefused | Refusal::PeerFault | Refusal::Overloaded | Refusal::TimedOut);
        let mut counted = self.refused.iter().rev().filter(|(at, why)| lately(at) && of_the_hub(why));
        let (_, last) = counted.next()?;
        Some((1 + counted.count(), *last))
    }
}
