//! Who can be woken.

use interchange_adapter::ConnId;

/// A sleeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sleeper {
    /// A connection: it took too long, or is silent.
    Conn(ConnId),
    /// States are to be told or asked for.
    Presence,
}

pub(crate) type Timers = interchange_adapter::Timers<Sleeper>;
