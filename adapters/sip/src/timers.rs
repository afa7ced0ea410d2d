//! Deadlines in one ordered set, so that what sleeps costs nothing.

use std::collections::BTreeSet;
use std::time::Instant;

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
}

/// All deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<(Instant, Sleeper)>,
}

/// What a sleeper keeps: when it is woken next.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    at: Option<Instant>,
}

impl Timers {
    /// Wakes a sleeper at `at` and not before; never with `None`.
    pub(crate) fn set(&mut self, alarm: &mut Alarm, sleeper: Sleeper, at: Option<Instant>) {
        if alarm.at == at {
            return;
        }
        if let Some(armed) = std::mem::replace(&mut alarm.at, at) {
            self.set.remove(&(armed, sleeper));
        }
        if let Some(at) = at {
            self.set.insert((at, sleeper));
        }
    }

    /// The first sleeper whose time has come, no longer in the set; whoever is woken must call [`Alarm::rang`].
    pub(crate) fn due(&mut self, now: Instant) -> Option<Sleeper> {
        if self.set.first()?.0 > now {
            return None;
        }
        self.set.pop_first().map(|(_, sleeper)| sleeper)
    }

    /// When the next sleeper is to be woken.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }
}

impl Alarm {
    /// The alarm rang: it must be set again.
    pub(crate) fn rang(&mut self) {
        self.at = None;
    }
}
