//! Who is woken at a deadline: streams, pairs and links.

pub(crate) use interchange_adapter::Alarm;
use interchange_adapter::ConnId;
use interchange_model::LinkId;

use crate::pair::PairKey;

/// Who is woken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sleeper {
    /// An incoming stream.
    Inbound(ConnId),
    /// An outgoing stream, until it is ready, and while it closes.
    Outbound(ConnId),
    /// A pair of domains with an outgoing stream.
    Pair(PairKey),
    /// A link that is down.
    Link(LinkId),
}

/// All deadlines.
pub(crate) type Timers = interchange_adapter::Timers<Sleeper>;
