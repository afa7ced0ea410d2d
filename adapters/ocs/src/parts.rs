//! Texts that are too large for one message of their link ([`sip_model::parts`]): how much of each has arrived.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, UNIX_EPOCH};

use interchange_adapter::{Now, Output};
use interchange_model::{LinkId, MessageId, Outcome, Refusal, Up};
use serde::{Deserialize, Serialize};
use sip_model::outbox::Place;
use sip_model::parts::outcome_of_part;

use crate::Ocs;
use crate::body::Outgoing;

/// What an entry of the store is called that holds a [`Kept`]: this, and the message's id.
pub(crate) const ENTRY: &str = "parts ";
/// Texts of which some has arrived, and not all.
const MOST: usize = 1_024;
/// Longer than a message may wait for its link (`interchange_model::Pace::time_to_live`): what is older is never handed over again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// A text on its way: one part goes at a time.
pub(crate) struct Parts {
    /// The one that goes.
    current: Outgoing,
    /// What follows it.
    rest: VecDeque<Outgoing>,
    /// How many have arrived.
    arrived: usize,
}

impl Parts {
    /// The parts of a text of which so many have arrived. At least the last is sent.
    pub(crate) fn new(parts: Vec<Outgoing>, arrived: usize) -> Self {
        let arrived = arrived.min(parts.len().saturating_sub(1));
        let mut rest: VecDeque<Outgoing> = parts.into_iter().skip(arrived).collect();
        // There is always one; of none nothing would be said.
        let current = rest.pop_front().unwrap_or_else(|| Outgoing::plain(""));
        Self { current, rest, arrived }
    }

    pub(crate) const fn current(&self) -> &Outgoing {
        &self.current
    }

    pub(crate) const fn current_mut(&mut self) -> &mut Outgoing {
        &mut self.current
    }

    /// The outcome of a text whose present part is refused.
    pub(crate) fn outcome(&self, why: Refusal) -> Outcome {
        outcome_of_part(why, self.arrived, self.arrived + 1 + self.rest.len())
    }
}

/// How many parts of each text have arrived, for when the broker hands it over again.
#[derive(Default)]
pub(crate) struct Arrived {
    known: HashMap<MessageId, usize>,
    order: VecDeque<MessageId>,
}

impl Arrived {
    pub(crate) fn of(&self, message: MessageId) -> usize {
        self.known.get(&message).copied().unwrap_or_default()
    }

    fn set(&mut self, message: MessageId, arrived: usize) {
        if self.known.insert(message, arrived).is_some() {
            return;
        }
        if self.order.len() >= MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(message);
    }

    fn forget(&mut self, message: MessageId) -> bool {
        let was_known = self.known.remove(&message).is_some();
        if was_known {
            self.order.retain(|known| *known != message);
        }
        was_known
    }
}

/// What a restart of the hub must not lose of a text that is half sent. The form is a contract with what an older version has written.
#[derive(Serialize, Deserialize)]
struct Kept {
    arrived: usize,
}

impl Ocs {
    /// A part has arrived; `true`: another follows, which may go.
    pub(crate) fn next_part(&mut self, number: u64, place: Place) -> bool {
        let Some(link) = self.links.get_mut(&number) else { return false };
        let Some(delivery) = link.outbox.get_mut(place) else { return false };
        let Some(next) = delivery.parts.rest.pop_front() else { return false };
        delivery.parts.current = next;
        delivery.parts.arrived += 1;
        delivery.is_second = false;
        let (message, arrived) = (delivery.message, delivery.parts.arrived);
        link.outbox.again(place);
        let value = serde_json::to_vec(&Kept { arrived }).ok();
        self.out.push(Output::Broker(Up::Remember { link: link.id.clone(), key: format!("{ENTRY}{message}").into(), value }));
        self.arrived.set(message, arrived);
        true
    }

    /// A text is settled.
    pub(crate) fn forget_parts(&mut self, link: &LinkId, message: MessageId) {
        if self.arrived.forget(message) {
            let key = format!("{ENTRY}{message}").into();
            self.out.push(Output::Broker(Up::Remember { link: link.clone(), key, value: None }));
        }
    }

    /// Takes what was kept of a text; `None`: it cannot be understood, or is of no use any more.
    pub(crate) fn restore_parts(&mut self, now: Now, entry: &str, value: &[u8]) -> Option<()> {
        let message: MessageId = entry.strip_prefix(ENTRY)?.parse().ok()?;
        let kept: Kept = serde_json::from_slice(value).ok()?;
        // The time of entry is in the id itself (RFC 9562 §5.7).
        let entered = UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(message.0 >> 80).ok()?))?;
        let age = now.wall.duration_since(entered).unwrap_or_default();
        if age >= FORGOTTEN_AFTER {
            return None;
        }
        self.arrived.set(message, kept.arrived);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_is_not_sent_again_and_a_refusal_says_how_much_has() {
        let all = || vec![Outgoing::plain("a"), Outgoing::plain("b"), Outgoing::plain("c")];
        let parts = Parts::new(all(), 1);
        assert_eq!((parts.current(), parts.rest.len()), (&Outgoing::plain("b"), 1));
        let detail = interchange_model::Detail::Parts { arrived: 1, of: 3 };
        assert_eq!(parts.outcome(Refusal::Unavailable), Outcome::RefusedWith(Refusal::Unavailable, detail));
        assert_eq!(Parts::new(all(), 9).current(), &Outgoing::plain("c"));
        let one = Parts::new(vec![Outgoing::plain("a")], 0);
        assert_eq!(one.outcome(Refusal::Unavailable), Outcome::Refused(Refusal::Unavailable));
    }

    #[test]
    fn the_newest_are_remembered() {
        let mut arrived = Arrived::default();
        for number in 0..2 * MOST as u128 {
            arrived.set(MessageId(number), 1);
        }
        assert_eq!((arrived.known.len(), arrived.order.len()), (MOST, MOST));
        assert_eq!((arrived.of(MessageId(0)), arrived.of(MessageId(2 * MOST as u128 - 1))), (0, 1));
        assert!(arrived.forget(MessageId(2 * MOST as u128 - 1)) && !arrived.forget(MessageId(0)));
        assert_eq!(arrived.order.len(), MOST - 1);
    }
}
