//! Trouble of one pair of domains alone. The peer's server takes what the hub says for one of its domains, and not for another: its DNS has no way to
//! that domain, or it does not believe the certificate that the hub shows for it. What other partners say to the same server goes on.
//!
//! The messages of such a pair are refused for now, so that each of its conversations waits and tries again by itself; and since some may have arrived, with
//! nobody to say so, nothing is sent again before a ping was answered.

use std::time::{Duration, Instant};

use interchange_adapter::{ConnId, Now};
use interchange_model::{Fault, LinkId, Outcome, Refusal, Trouble};

use super::{Core, settle};
use crate::pair::{PairKey, Stream};
use crate::sink::Sink;
use crate::stream::outbound::Failure;

/// An answer to another pair shows so long that the server is there.
const RECENT: Duration = Duration::from_secs(60);

/// Other pairs of a link that are asked whether the trouble is theirs too.
const ASKED: usize = 8;

impl Core {
    /// Whether a failure is of this pair alone; then what follows from it is done.
    pub(super) fn is_of_the_pair(
        &mut self,
        now: Now,
        sink: &mut Sink<'_>,
        (link, key, conn): (&LinkId, &PairKey, ConnId),
        was_ready: bool,
        failure: &Failure,
    ) -> bool {
        let Some(trouble) = may_be_of_a_pair(failure) else { return false };
        let (Some(state), Some(pair)) = (self.links.get(link), self.pairs.get(key)) else { return false };
        // Put before it, an answer to another pair proves nothing.
        let since = if was_ready { pair.pinged_at() } else { now.instant.checked_sub(RECENT) };
        let is_tried = !state.health.is_up() && state.probe.as_ref() == Some(key);
        let is_asked = self.checks.contains_key(key) || is_tried;
        if is_asked && !pair.doubtful && !pair.carries() && !pair.has_attention() {
            // Nobody's words are concerned: whoever has asked is told, and a link that was found away by this pair is there.
            if is_tried {
                self.link_up(sink, link);
            }
        } else if (pair.doubtful && !is_tried) || self.has_answered(link, key, since) {
            sink.note(conn, &format!("messages from {} to {} wait: {}", key.own, key.partner, trouble.text));
        } else {
            return false;
        }
        if let Some(pair) = self.pairs.get_mut(key) {
            pair.probing = false;
            pair.doubtful |= pair.carries();
            for delivery in pair.take_all(false) {
                settle(sink, link, delivery.id, Outcome::Refused(Refusal::TimedOut));
            }
        }
        self.set_pair_alarm(key);
        self.checked(sink, key, Err(trouble.clone()));
        true
    }

    /// Whether another pair of the link has had an answer since then.
    fn has_answered(&self, link: &LinkId, key: &PairKey, since: Option<Instant>) -> bool {
        let answered = |other: &PairKey| self.pairs.get(other).and_then(|pair| pair.answered_at);
        let others = self.links.get(link).into_iter().flat_map(|state| &state.pairs).filter(|other| *other != key);
        others.filter_map(answered).any(|at| since.is_none_or(|since| at > since))
    }

    /// A link went down for what may be the trouble of this pair alone: others that have a stream are asked, and the first answer brings the link up again.
    pub(super) fn ask_others(&mut self, now: Now, sink: &mut Sink<'_>, link: &LinkId, key: &PairKey) {
        let Some(state) = self.links.get(link) else { return };
        let stands = |other: &&PairKey| {
            *other != key && self.pairs.get(other).is_some_and(|pair| matches!(pair.stream, Stream::Ready { .. }))
        };
        let others: Vec<PairKey> = state.pairs.iter().filter(stands).take(ASKED).cloned().collect();
        for other in others {
            if let Some(pair) = self.pairs.get_mut(&other) {
                pair.probing = true;
            }
            self.pump(now, sink, &other);
        }
    }
}

/// What a failure says, if another pair may do better: what depends on the domains, not on the server.
pub(super) fn may_be_of_a_pair(failure: &Failure) -> Option<&Trouble> {
    match failure {
        Failure::Misconfigured(trouble) => Some(trouble),
        Failure::Away(trouble) => {
            let of_a_pair = matches!(trouble.fault, Fault::NoWayBack | Fault::AuthenticationRefused | Fault::DialbackRefused);
            of_a_pair.then_some(trouble)
        }
        Failure::Refused(..) | Failure::Closed => None,
    }
}
