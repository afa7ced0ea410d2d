//! Deadlines of streams, pairs and links in one ordered set, so that what sleeps costs nothing.
//!
//! A deadline that only moves away, as a keepalive's does with every stanza, is not moved here: whoever is woken too early
//! looks again and sleeps on. So a stanza costs no work in the set.

use std::collections::BTreeSet;
use std::time::Instant;

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
    /// Sees to it that a sleeper is woken at `at` or before.
    pub(crate) fn set(&mut self, alarm: &mut Alarm, sleeper: impl FnOnce() -> Sleeper, at: Instant) {
        if alarm.at.is_some_and(|armed| armed <= at) {
            return;
        }
        let sleeper = sleeper();
        if let Some(armed) = alarm.at.replace(at) {
            self.set.remove(&(armed, sleeper.clone()));
        }
        self.set.insert((at, sleeper));
    }

    /// Forgets a sleeper.
    pub(crate) fn clear(&mut self, alarm: &mut Alarm, sleeper: impl FnOnce() -> Sleeper) {
        if let Some(armed) = alarm.at.take() {
            self.set.remove(&(armed, sleeper()));
        }
    }

    /// The first sleeper whose time has come, no longer in the set; whoever takes it must call [`Alarm::rang`].
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
