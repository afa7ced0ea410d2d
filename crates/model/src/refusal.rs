//! Why a message is not carried.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a message is not carried, in words that every platform can express. Each adapter has one table from
/// these to its own codes and one back. The label is stable: metrics, logs and traces use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No link serves the recipient's domain.
    UnknownDomain,
    /// The two members have no partnership, or a barrier forbids the pair.
    NotAllowed,
    /// The sender's domain is not one of the link the message came over.
    NotYours,
    /// The recipient's side knows no such user.
    NoSuchUser,
    /// The recipient exists and cannot be reached now.
    Unavailable,
    /// A kind of message, media type or feature that the other side does not have.
    Unsupported,
    /// Larger than the other side takes.
    TooLarge,
    /// The recipient, or the recipient's server, does not want it.
    PeerRefused,
    /// The recipient's server failed on it, and might not another time.
    PeerFault,
    /// The recipient's server did not answer in time.
    TimedOut,
    /// The message was older than its time to live before it could be delivered.
    Expired,
    /// The message has been here before.
    Loop,
    /// The hub cannot store it now: the sender may try again.
    Overloaded,
    /// The sender, or the sender's server, has sent too much in too short a time: it may try again.
    RateLimited,
    /// The sender's own software made something that cannot be understood.
    Malformed,
}

impl Refusal {
    /// Every refusal, for tables and tests that must be complete.
    pub const ALL: [Refusal; 15] = [
        Refusal::UnknownDomain,
        Refusal::NotAllowed,
        Refusal::NotYours,
        Refusal::NoSuchUser,
        Refusal::Unavailable,
        Refusal::Unsupported,
        Refusal::TooLarge,
        Refusal::PeerRefused,
        Refusal::PeerFault,
        Refusal::TimedOut,
        Refusal::Expired,
        Refusal::Loop,
        Refusal::Overloaded,
        Refusal::RateLimited,
        Refusal::Malformed,
    ];

    /// Whether the same message might be taken a little later, by the same recipient, without anybody's doing: it is tried again then. The
    /// recipient's server failed, did not answer in time, or has too much to do.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Refusal::PeerFault | Refusal::TimedOut | Refusal::Overloaded)
    }

    /// The stable label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Refusal::UnknownDomain => "unknown-domain",
            Refusal::NotAllowed => "not-allowed",
            Refusal::NotYours => "not-yours",
            Refusal::NoSuchUser => "no-such-user",
            Refusal::Unavailable => "unavailable",
            Refusal::Unsupported => "unsupported",
            Refusal::TooLarge => "too-large",
            Refusal::PeerRefused => "peer-refused",
            Refusal::PeerFault => "peer-fault",
            Refusal::TimedOut => "timed-out",
            Refusal::Expired => "expired",
            Refusal::Loop => "loop",
            Refusal::Overloaded => "overloaded",
            Refusal::RateLimited => "rate-limited",
            Refusal::Malformed => "malformed",
        }
    }

    /// One sentence for the person who sent the message, to be shown by their own client.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Refusal::UnknownDomain => "The recipient's organisation is not reachable from here.",
            Refusal::NotAllowed => "Your organisation and the recipient's have not agreed to exchange messages.",
            Refusal::NotYours => "The sender's address does not belong to the server that sent the message.",
            Refusal::NoSuchUser => "The recipient's server knows no such user.",
            Refusal::Unavailable => "The recipient cannot be reached now.",
            Refusal::Unsupported => "The recipient's system cannot take this kind of message.",
            Refusal::TooLarge => "The message is larger than the recipient's system takes.",
            Refusal::PeerRefused => "The recipient's server refused the message.",
            Refusal::PeerFault => "The recipient's server failed to take the message.",
            Refusal::TimedOut => "The recipient's server did not answer in time.",
            Refusal::Expired => "The message could not be delivered in the time allowed.",
            Refusal::Loop => "The message was going round in a circle.",
            Refusal::Overloaded => "The message cannot be taken now; please send it again later.",
            Refusal::RateLimited => "Too many messages came in too short a time; please send it again later.",
            Refusal::Malformed => "The message could not be understood.",
        }
    }
}

/// What there is to say of a refusal beside its kind: for the person who sent the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// The text went out in `of` parts, one after another, and the first `arrived` of them are with the recipient.
    Parts {
        /// How many have arrived; less than `of`.
        arrived: u8,
        /// How many there are.
        of: u8,
    },
    /// So many bytes of UTF-8 would have been taken.
    Most {
        /// How many.
        bytes: u32,
    },
}

impl Detail {
    /// One sentence, to stand behind [`Refusal::sentence`].
    #[must_use]
    pub fn sentence(self) -> String {
        match self {
            Detail::Parts { arrived, of } => format!("It was sent in {of} parts, of which {arrived} arrived."),
            Detail::Most { bytes } => format!("At most {bytes} bytes of text are taken."),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_are_what_is_stored() {
        let mut labels: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
        for refusal in Refusal::ALL {
            assert_eq!(serde_json::to_string(&refusal).unwrap(), format!("\"{}\"", refusal.label()));
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Refusal::ALL.len());
    }
}
