//! What a peer did with messages that it is sent again.

use std::collections::{HashMap, VecDeque};

use interchange_model::MessageId;

/// Messages of one link that are remembered.
const MOST: usize = 1024;

/// The earlier attempts at messages that are not settled.
#[derive(Default)]
pub(crate) struct Attempts {
    known: HashMap<MessageId, Attempt>,
    order: VecDeque<MessageId>,
}

#[derive(Default)]
struct Attempt {
    /// How often the peer has answered that it does not take it now.
    refused: u32,
    /// It went out and was not answered: the peer may have it.
    doubtful: bool,
    /// Of a text in parts, how many have arrived.
    arrived: u32,
    /// One of them was only kept, by somebody who will try to deliver it (202).
    kept: bool,
}

impl Attempts {
    /// It went out, and there is no answer.
    pub(crate) fn unanswered(&mut self, message: MessageId) {
        self.entry(message).doubtful = true;
    }

    /// The peer has answered that it does not take it now.
    pub(crate) fn refused(&mut self, message: MessageId) {
        let attempt = self.entry(message);
        attempt.refused = attempt.refused.saturating_add(1);
        attempt.doubtful = false;
    }

    /// So many parts have arrived; `kept`: the last of them with somebody on the way.
    pub(crate) fn part_arrived(&mut self, message: MessageId, arrived: usize, kept: bool) {
        let attempt = self.entry(message);
        attempt.arrived = attempt.arrived.max(u32::try_from(arrived).unwrap_or(u32::MAX));
        attempt.kept |= kept;
        // Each part is a message of its own.
        (attempt.refused, attempt.doubtful) = (0, false);
    }

    /// What an earlier run of the hub has remembered of a text in parts.
    pub(crate) fn restore(&mut self, message: MessageId, arrived: u32, kept: bool) {
        let attempt = self.entry(message);
        (attempt.arrived, attempt.kept) = (arrived, kept);
    }

    /// How many parts have arrived, and whether all of them with the recipient.
    pub(crate) fn arrived(&self, message: MessageId) -> (usize, bool) {
        let attempt = self.known.get(&message);
        attempt.map_or((0, true), |attempt| (attempt.arrived.try_into().unwrap_or(usize::MAX), !attempt.kept))
    }

    /// It is settled.
    pub(crate) fn forget(&mut self, message: MessageId) {
        if self.known.remove(&message).is_some() {
            self.order.retain(|known| *known != message);
        }
    }

    /// Whether the peer may have it.
    pub(crate) fn is_doubtful(&self, message: MessageId) -> bool {
        self.known.get(&message).is_some_and(|attempt| attempt.doubtful)
    }

    /// The CSeq number of the next attempt. RFC 3261 §8.1.3.5: what was refused is tried again under the next one. What was not answered
    /// keeps its number, so that a peer that has it knows it again.
    pub(crate) fn sequence(&self, message: MessageId) -> u32 {
        // Below 2³¹ (RFC 3261 §8.1.1.5).
        self.known.get(&message).map_or(1, |attempt| 1 + attempt.refused.min(i32::MAX as u32 - 1))
    }

    fn entry(&mut self, message: MessageId) -> &mut Attempt {
        if !self.known.contains_key(&message) {
            if self.order.len() >= MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(message);
        }
        self.known.entry(message).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_has_a_new_number_and_an_unanswered_one_its_old() {
        let mut attempts = Attempts::default();
        let message = MessageId(7);
        assert_eq!((attempts.sequence(message), attempts.is_doubtful(message)), (1, false));
        attempts.unanswered(message);
        assert_eq!((attempts.sequence(message), attempts.is_doubtful(message)), (1, true));
        attempts.refused(message);
        assert_eq!((attempts.sequence(message), attempts.is_doubtful(message)), (2, false));
        attempts.unanswered(message);
        assert_eq!((attempts.sequence(message), attempts.is_doubtful(message)), (2, true));
        attempts.forget(message);
        assert_eq!((attempts.sequence(message), attempts.is_doubtful(message)), (1, false));
    }

    #[test]
    fn the_newest_are_remembered() {
        let mut attempts = Attempts::default();
        for number in 0..3 * MOST as u128 {
            attempts.refused(MessageId(number));
        }
        assert_eq!((attempts.known.len(), attempts.order.len()), (MOST, MOST));
        assert_eq!((attempts.sequence(MessageId(0)), attempts.sequence(MessageId(3 * MOST as u128 - 1))), (1, 2));
    }
}
