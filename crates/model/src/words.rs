//! What adapters and the broker say to each other: two handshakes, mirror images of one another.
//!
//! `Submit → Submitted`: it is safe with the hub, acknowledge on the wire now. `Deliver → Settle`: the peer has
//! it, cannot have it, or the link is away.

use std::collections::HashSet;
use std::sync::Arc;

use crate::{Address, DeliveryId, Detail, Domain, Envelope, Health, Link, LinkId, MessageId, Plain, Refusal, Token};

/// Adapter to broker.
#[derive(Debug, Clone, PartialEq)]
pub enum Up {
    /// Take this. Answered by exactly one [`Down::Submitted`] with the same token.
    Submit {
        /// The adapter's own, for the answer.
        token: Token,
        /// The link whose peer sent it, and has proved itself. Equal to the envelope's `origin`.
        link: LinkId,
        /// What it sent.
        envelope: Arc<Envelope>,
    },
    /// What became of a [`Down::Deliver`]: exactly one for each.
    Settle {
        /// The link it was handed to.
        link: LinkId,
        /// Which.
        delivery: DeliveryId,
        /// What became of it.
        outcome: Outcome,
    },
    /// How a link is, whenever that changes. The broker hands over messages only while it is [`Health::Up`].
    Health {
        /// Which link.
        link: LinkId,
        /// How it is.
        health: Health,
    },
    /// Pass this on now, or let it be: presence and typing, and [`Watch::Fetch`](crate::Watch::Fetch). Not stored, not answered; what could not
    /// be passed on is superseded by the next.
    Tell {
        /// The link whose peer sent it, and has proved itself. Equal to the envelope's `origin`.
        link: LinkId,
        /// What it sent; its body [`is not durable`](crate::Body::is_durable).
        envelope: Arc<Envelope>,
    },
    /// What is kept for a link? Answered by [`Down::Remembered`]. Said by an adapter that is new, for each link that is new to it.
    Recall {
        /// Which link.
        link: LinkId,
    },
    /// Keep this for the link until it is taken back, also over a restart of the hub: what the adapter needs to go on with what it had
    /// begun, such as a dialog. Written soon, not at once: a crash may lose the last second of it.
    Remember {
        /// Whose.
        link: LinkId,
        /// The adapter's name for it, at most 255 bytes.
        key: Arc<str>,
        /// What, at most 64 KiB; `None` to forget it.
        value: Option<Vec<u8>>,
    },
    /// Somebody is here now whom messages may wait for that were [`Outcome::Absent`]: they are handed over at once.
    Here {
        /// The link.
        link: LinkId,
        /// Who.
        person: Address,
    },
    /// The adapter turned something away by itself, in its platform's own words; for the trace and the metrics only.
    Refused {
        /// The link it came over.
        link: LinkId,
        /// Who claimed to send it.
        from: Address,
        /// To whom.
        to: Address,
        /// Why.
        why: Refusal,
    },
    /// A peer's answer came over a link, to something that this hub did not send: perhaps another hub of the same bus did. Told to the
    /// adapters of the same platform at the others, best effort.
    Relay {
        /// The link it came over, whose peer has proved itself.
        link: LinkId,
        /// As the platform's adapters understand it; at most 64 KiB.
        payload: Vec<u8>,
    },
}

/// Broker to adapter.
#[derive(Debug, Clone, PartialEq)]
pub enum Down {
    /// The whole set each time, so a missed update cannot matter. A link that is not in it any more is closed.
    Links {
        /// The links of the adapter's platform.
        links: Arc<[Link]>,
        /// Every domain that the hub stands for, on all platforms, the adapter's own links' included.
        hosted: Arc<HashSet<Domain>>,
    },
    /// Answer to [`Up::Submit`]: `Ok` once it is durable, so the adapter may acknowledge on the wire now.
    Submitted {
        /// The token of the submission.
        token: Token,
        /// Safe, or why it is refused.
        result: Result<(), Refusal>,
    },
    /// Hand this to the link's peer. Answered by exactly one [`Up::Settle`].
    Deliver {
        /// Which link.
        link: LinkId,
        /// For the answer.
        delivery: DeliveryId,
        /// What.
        envelope: Arc<Envelope>,
    },
    /// Tell this to the link's peer now, if that can be done; it is not settled, and may be dropped.
    Told {
        /// Which link.
        link: LinkId,
        /// What; its body [`is not durable`](crate::Body::is_durable).
        envelope: Arc<Envelope>,
    },
    /// Answer to [`Up::Recall`]: all that adapters have said to [remember](Up::Remember) for the link.
    Remembered {
        /// Which link.
        link: LinkId,
        /// By their names; none for a new link.
        entries: Vec<(Arc<str>, Vec<u8>)>,
    },
    /// An envelope that this link submitted has reached its recipient's server. A hint, best effort: it may never come.
    Delivered {
        /// The link that submitted it.
        link: LinkId,
        /// Which envelope.
        id: MessageId,
    },
    /// Find out now whether the link's peer can be reached and its answers come back, without a person noticing, also where a pause after a failure is
    /// not over. Answered by the adapter's `Checked`; one that is asked again before it knows answers both at once.
    Check {
        /// Which link.
        link: LinkId,
        /// The domain that the hub shall speak for: its own, or a partner's.
        from: Domain,
        /// One of the link's own domains.
        to: Domain,
    },
    /// Words of the hub's operator, for everybody of the link who is signed in at this hub now. Where people are signed in at their own server, nothing is
    /// to be done.
    Notice {
        /// Whose people.
        link: LinkId,
        /// What, at most some KiB.
        text: Plain,
    },
    /// What the link's adapter at another hub of the same bus has said by [`Up::Relay`]. Never relayed further.
    Relayed {
        /// The link it came over there.
        link: LinkId,
        /// As given.
        payload: Vec<u8>,
    },
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The peer has it.
    Delivered,
    /// The link went away before the peer had said so: it goes back to its old place and is handed over again
    /// when the link is up. The adapter also says so by [`Up::Health`].
    LinkDown,
    /// The recipient is not here, and it is to wait for them until it is too old: it is handed over again when [`Up::Here`] says so, and now and then.
    /// 32 of a conversation and 256 of a link wait so; of more, the senders are told ([`Refusal::Unavailable`]).
    Absent,
    /// The peer cannot have it: its sender is told why.
    Refused(Refusal),
    /// The same, and the sender is told this as well.
    RefusedWith(Refusal, Detail),
}
