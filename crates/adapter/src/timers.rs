//! Deadlines in one ordered set, so that what sleeps costs nothing.

use std::collections::BTreeSet;
use std::time::Instant;

/// All deadlines of an adapter. `S` says who is woken.
#[derive(Debug)]
pub struct Timers<S> {
    set: BTreeSet<(Instant, S)>,
}

/// What a sleeper keeps: when it is woken next.
#[derive(Debug, Default)]
pub struct Alarm {
    at: Option<Instant>,
}

impl<S> Default for Timers<S> {
    fn default() -> Self {
        Self { set: BTreeSet::new() }
    }
}

impl<S: Ord + Clone> Timers<S> {
    /// Wakes a sleeper at `at` and not before; never with `None`.
    pub fn set(&mut self, alarm: &mut Alarm, sleeper: S, at: Option<Instant>) {
        if alarm.at == at {
            return;
        }
        if let Some(armed) = std::mem::replace(&mut alarm.at, at) {
            self.set.remove(&(armed, sleeper.clone()));
        }
        if let Some(at) = at {
            self.set.insert((at, sleeper));
        }
    }

    /// Sees to it that a sleeper is woken at `at` or before.
    ///
    /// For a deadline that only moves away, as a keep-alive's does with every message: whoever is woken too early looks again and
    /// sleeps on, so a message costs no work in the set.
    pub fn set_by(&mut self, alarm: &mut Alarm, sleeper: impl FnOnce() -> S, at: Instant) {
        if alarm.at.is_none_or(|armed| armed > at) {
            self.set(alarm, sleeper(), Some(at));
        }
    }

    /// Forgets a sleeper.
    pub fn clear(&mut self, alarm: &mut Alarm, sleeper: impl FnOnce() -> S) {
        if let Some(armed) = alarm.at.take() {
            self.set.remove(&(armed, sleeper()));
        }
    }

    /// The first sleeper whose time has come, no longer in the set; whoever is woken must call [`Alarm::rang`].
    pub fn due(&mut self, now: Instant) -> Option<S> {
        if self.set.first()?.0 > now {
            return None;
        }
        self.set.pop_first().map(|(_, sleeper)| sleeper)
    }

    /// When the next sleeper is to be woken.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }
}

impl Alarm {
    /// The alarm rang: it must be set again.
    pub fn rang(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sleepers_are_woken_in_the_order_of_their_times() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        let (mut first, mut second) = (Alarm::default(), Alarm::default());
        timers.set(&mut first, 'a', Some(at(5)));
        timers.set_by(&mut second, || 'b', at(3));
        timers.set_by(&mut second, || 'b', at(9));
        assert_eq!((timers.next(), timers.due(at(2))), (Some(at(3)), None));
        assert_eq!(timers.due(at(6)), Some('b'));
        second.rang();
        timers.set(&mut first, 'a', Some(at(7)));
        assert_eq!(timers.due(at(6)), None);
        timers.set_by(&mut second, || 'b', at(8));
        timers.clear(&mut first, || 'a');
        assert_eq!((timers.due(at(8)), timers.next()), (Some('b'), None));
    }
}
