//! Who is woken at a deadline: links, connections and answers.

pub(crate) use interchange_adapter::Alarm;
use interchange_adapter::ConnId;
use interchange_model::Token;

/// Who is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sleeper {
    /// A link, by its number.
    Link(u64),
    /// A connection.
    Conn(ConnId),
    /// A message whose answer is held back.
    Answer(Token),
    /// Something of presence.
    Presence,
    /// Somebody may have stopped to write.
    Typing,
    /// A session, by its number.
    Session(u64),
}

/// All deadlines.
pub(crate) type Timers = interchange_adapter::Timers<Sleeper>;
