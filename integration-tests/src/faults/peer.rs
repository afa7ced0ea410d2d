//! What a scripted peer tells: one side of a ledger.

use std::sync::Arc;

/// Something that happened at a scripted peer, told at once, on a thread of the peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// The hub said yes to a message that this peer sent: a 2xx answer, or a stream-management acknowledgement that covers it.
    /// From here on the message is the hub's to deliver or to return.
    Accepted {
        /// The id under which it was sent.
        id: String,
    },
    /// The hub said no to a message before it had said yes: an answer of 300 and above, or an error stanza for a stanza that was never acknowledged.
    Refused {
        /// The id under which it was sent.
        id: String,
        /// The status code or the error condition.
        why: String,
        /// It may be tried again: 503, or an error of type `wait`.
        temporary: bool,
    },
    /// The hub gave a message back after it had said yes: an error stanza, or the text message that tells of a failure.
    Bounced {
        /// The id under which it was sent, where the platform names it; else the text of the notice.
        id: String,
        /// The error condition, or empty.
        why: String,
    },
    /// The text message that tells of a failure came, where the platform has no other way; told beside [`PeerEvent::Bounced`].
    Notice {
        /// The recipient of the message that failed, in whose name the notice comes.
        from: String,
        /// The sender of the message that failed.
        to: String,
        /// Of how many failures it tells.
        failures: usize,
    },
    /// A message arrived, and was answered as a server of the platform does.
    Received {
        /// The sender's bare address.
        from: String,
        /// The recipient's bare address.
        to: String,
        /// The text.
        body: String,
    },
}

/// Who is told. Called with no lock of the peer's held.
pub type Listener = Arc<dyn Fn(PeerEvent) + Send + Sync>;

/// A scripted server of one company, that sends and receives for all users of its domain.
///
/// A peer outlives its connections: it dials again (every 200 ms, with no growing pause, so that a recovery time measured at it is the hub's)
/// and sends again, under the same id and in the old order, what the hub has not answered.
pub trait Peer: Send + Sync {
    /// Sends a text from one bare address to another, under an id which is the message's for ever. Returns at once; the fate is told to the
    /// listener. Messages of one pair of addresses go out in the order of the calls.
    fn send(&self, id: &str, from: &str, to: &str, body: &str);

    /// Messages sent and not yet accepted or refused.
    fn unanswered(&self) -> usize;

    /// Drops every message not yet accepted or refused, and tells nobody.
    fn forget_unanswered(&self);
}
