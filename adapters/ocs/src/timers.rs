//! Who is woken at a deadline.

pub(crate) use interchange_adapter::Alarm;
use interchange_adapter::ConnId;
use interchange_model::Token;

/// Who is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sleeper {
    /// A link, by its number.
    Link(u64),
    /// What waits for a link's turn.
    Pace(u64),
    /// A connection.
    Conn(ConnId),
    /// A message whose answer is held back.
    Answer(Token),
    /// A session, by its number.
    Session(u64),
    /// Somebody may have stopped to write.
    Writers,
    /// Something of presence.
    Presence,
}

/// All deadlines.
pub(crate) type Timers = interchange_adapter::Timers<Sleeper>;
