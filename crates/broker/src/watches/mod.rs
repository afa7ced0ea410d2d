//! Who may see whose presence, and what each was told last: the table of docs/presence.md. Without IO: time and words in, [`Action`]s out.
//!
//! Watches are durable and few of them change; states are in memory, and of each only the newest matters. So a storm of changes costs one word
//! each second and watch, a link that is lost turns all its people unknown, and one that returns is asked for everybody anew.

mod row;
mod typing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use interchange_model::{Address, Body, Domain, Envelope, LinkId, MessageId, Presence, Refusal, Watch};
use interchange_registry::{Note, Registry, WatchRow, WatchState};
use rand::RngExt;
use tokio::time::Instant;

use self::row::Row;
use self::typing::Conversations;

/// How long a link may be down before the state of its people is unknown: a link that flaps turns nobody.
const GRACE: Duration = Duration::from_secs(3);
/// Between two words of one watch.
const PACE: Duration = Duration::from_secs(1);
/// Between two questions for the state of one watch.
const FETCH_PACE: Duration = Duration::from_secs(30);
/// In so long all watches of a link that has returned are fetched; few ones sooner, one each [`FETCH_STEP`].
const FETCH_SPREAD: Duration = Duration::from_secs(20);
const FETCH_STEP: Duration = Duration::from_millis(20);
/// So long after a link has returned and a state was asked for, devices of before that nothing was heard of are gone: a server speaks of those
/// that are here.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// Between two watchers who are told that a link is lost, or what they have missed.
const TELL_STEP: Duration = Duration::from_millis(2);
/// A question that was not answered is asked again after this, and one that was refused.
const ASK_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Watches in all, and of one watcher: some 400 bytes each.
const MOST: usize = 1_000_000;
const MOST_OF_ONE: usize = 10_000;

/// What the broker is to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Tell it to a link's peer now.
    Tell(LinkId, Envelope),
    /// Store it for a link, as if it had been submitted.
    Publish(LinkId, Envelope),
}

/// What becomes of a watch that was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It goes on its way.
    Forward,
    /// It is done.
    Done,
    /// Its sender is told why not.
    Refuse(Refusal),
}

/// Now, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

/// Watcher and presentity.
type Pair = (Address, Address);

/// What is planned.
#[derive(Debug, Clone)]
enum Task {
    /// Tell a watcher what has changed.
    Tell(u64),
    /// Ask for a state.
    Fetch(u64),
    /// The state was asked for, and all that is true of it was said.
    Settle(u64),
    /// A link has been down long enough.
    Lost(LinkId),
    /// What somebody did in a conversation.
    Typing(Pair),
}

/// All watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    rows: HashMap<u64, Row>,
    numbers: HashMap<Pair, u64>,
    by_presentity: HashMap<Domain, BTreeSet<u64>>,
    by_watcher: HashMap<Domain, BTreeSet<u64>>,
    /// How many each watcher has.
    counts: HashMap<Address, usize>,
    last_number: u64,
    tasks: BTreeMap<(Instant, u64), Task>,
    last_task: u64,
    /// Links that are not up, since when, and whether it was told.
    down: HashMap<LinkId, (Instant, bool)>,
    up: HashSet<LinkId>,
    conversations: Conversations,
    /// To be stored.
    pub(crate) changes: Vec<Note>,
    pub(crate) actions: Vec<Action>,
}

impl Watches {
    /// The watches that were stored.
    pub(crate) fn new(stored: Vec<WatchRow>) -> Self {
        let mut watches = Self::default();
        for row in stored {
            watches.insert((row.watcher, row.presentity), row.state, row.since);
        }
        watches
    }

    // What is heard.

    /// A watch was submitted over `envelope.origin`, and may be.
    pub(crate) fn submit(&mut self, now: Moment, registry: &Registry, envelope: &Envelope, watch: Watch) -> Decision {
        let pair = if watch.is_from_watcher() {
            (envelope.from.clone(), envelope.to.clone())
        } else {
            (envelope.to.clone(), envelope.from.clone())
        };
        let number = self.numbers.get(&pair).copied();
        let row = number.and_then(|number| self.rows.get(&number));
        // A time to come is one that a clock wrote which was set back since.
        let stands = row.map(|row| (row.state, now.wall.duration_since(row.since).unwrap_or_default()));
        match (watch, stands) {
            (Watch::Ask, Some((WatchState::Granted, _))) => {
                let allow = self.answer(now, envelope, Watch::Allow);
                self.publish(registry, allow);
                self.show(now, registry, number.unwrap_or_default());
                Decision::Done
            }
            (Watch::Ask, Some((WatchState::Refused, age))) if age < ASK_AGAIN => Decision::Refuse(Refusal::PeerRefused),
            (Watch::Ask, Some((WatchState::Asked, age))) if age < ASK_AGAIN => Decision::Done,
            (Watch::Ask, None) if self.is_full(&pair.0) => Decision::Refuse(Refusal::Overloaded),
            (Watch::Ask, _) => {
                self.set(now, pair, WatchState::Asked);
                Decision::Forward
            }
            (Watch::Allow, None) if self.is_full(&pair.0) => Decision::Refuse(Refusal::Overloaded),
            (Watch::Allow, before) => {
                let number = self.set(now, pair, WatchState::Granted);
                if before.is_none_or(|(state, _)| state != WatchState::Granted) {
                    self.plan(now.instant + FETCH_STEP, Task::Fetch(number));
                }
                Decision::Forward
            }
            (Watch::Refuse, Some((WatchState::Refused, _))) => Decision::Done,
            (Watch::Refuse, None) => Decision::Forward,
            (Watch::Refuse, Some(_)) => {
                self.hide(now, registry, number.unwrap_or_default());
                self.set(now, pair, WatchState::Refused);
                Decision::Forward
            }
            (Watch::Stop, Some(_)) => {
                self.hide(now, registry, number.unwrap_or_default());
                self.remove(&pair);
                Decision::Forward
            }
            (Watch::Stop, None) => Decision::Forward,
            // It is told, and never submitted.
            (Watch::Fetch, _) => Decision::Refuse(Refusal::Malformed),
        }
    }

    /// Something that is not stored was told over `envelope.origin`, and may be. `out`: the link that it would leave over.
    pub(crate) fn tell(&mut self, now: Moment, registry: &Registry, out: &LinkId, envelope: &Envelope) {
        match &envelope.body {
            Body::Presence(presence) => self.presence(now, registry, envelope, presence),
            Body::Watch(Watch::Fetch) => self.fetch(now, registry, envelope),
            Body::Typing(_) => {
                let pair = (envelope.from.clone(), envelope.to.clone());
                match self.conversations.hear(now.instant, &pair, out, envelope) {
                    typing::Heard::Now => self.actions.push(Action::Tell(out.clone(), envelope.clone())),
                    typing::Heard::Later(at) => self.plan(at, Task::Typing(pair)),
                    typing::Heard::Superseded => {}
                }
            }
            // Nothing else is told.
            _ => {}
        }
    }

    /// Words were said: whoever was composing them is not any more.
    pub(crate) fn said(&mut self, from: &Address, to: &Address) {
        self.conversations.said(&(from.clone(), to.clone()));
    }

    /// A link is up, or is not.
    pub(crate) fn health(&mut self, now: Moment, registry: &Registry, link: &LinkId, up: bool) {
        if !up {
            self.up.remove(link);
            return self.fell(now, link);
        }
        if !self.up.insert(link.clone()) {
            return;
        }
        self.down.remove(link);
        // Whoever is seen over it is asked for, since a server that was away has other news.
        let seen = self.of_link(registry, link, |watches, domain| watches.by_presentity.get(domain));
        let seen: Vec<u64> = seen.into_iter().filter(|number| self.is_granted(*number)).collect();
        let step = FETCH_STEP.min(FETCH_SPREAD / u32::try_from(seen.len().max(1)).unwrap_or(u32::MAX));
        for (place, number) in (0..).zip(seen) {
            let at = now.instant + step * place;
            if let Some(row) = self.rows.get_mut(&number) {
                row.fetched = None;
                row.doubt(at + ANSWERED_WITHIN);
            }
            self.plan(at, Task::Fetch(number));
            self.plan(at + ANSWERED_WITHIN, Task::Settle(number));
        }
        // Whoever sees over it is told all that is known, since of what was told as it went down nobody knows whether it arrived.
        let seeing = self.of_link(registry, link, |watches, domain| watches.by_watcher.get(domain));
        let has_news = |number: &u64| self.rows.get(number).is_some_and(|row| row.is_known() || row.changed);
        let seeing: Vec<u64> = seeing.into_iter().filter(has_news).collect();
        for (place, number) in (0..).zip(seeing) {
            if let Some(row) = self.rows.get_mut(&number) {
                row.changed = true;
            }
            self.plan(now.instant + TELL_STEP * place, Task::Tell(number));
        }
    }

    /// Links that the hub has now: each is down until it says that it is up.
    pub(crate) fn links(&mut self, now: Moment, registry: &Registry) {
        self.down.retain(|link, _| registry.link(link).is_some());
        self.up.retain(|link| registry.link(link).is_some());
        for link in registry.all_links() {
            if !self.up.contains(&link.id) {
                self.fell(now, &link.id);
            }
        }
        self.meet(now, registry);
    }

    /// Who had leave to meet and has it no more sees no more; who has it again is shown again.
    fn meet(&mut self, now: Moment, registry: &Registry) {
        let (mut hidden, mut shown) = (Vec::new(), Vec::new());
        for (number, row) in &mut self.rows {
            let barred = !registry.allows(&row.watcher, &row.presentity);
            if row.state != WatchState::Granted || row.barred == barred {
                continue;
            }
            row.barred = barred;
            if !barred {
                row.fetched = None;
                shown.push(*number);
            } else if row.forget() {
                hidden.push(*number);
            }
        }
        for (place, number) in (0..).zip(hidden) {
            self.plan(now.instant + TELL_STEP * place, Task::Tell(number));
        }
        for (place, number) in (0..).zip(shown) {
            self.plan(now.instant + FETCH_STEP * place, Task::Fetch(number));
        }
    }

    fn fell(&mut self, now: Moment, link: &LinkId) {
        if !self.down.contains_key(link) {
            self.down.insert(link.clone(), (now.instant, false));
            self.plan(now.instant + GRACE, Task::Lost(link.clone()));
        }
    }

    // Time.

    /// When [`wake`](Self::wake) has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.tasks.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does what is due.
    pub(crate) fn wake(&mut self, now: Moment, registry: &Registry) {
        while let Some(entry) = self.tasks.first_entry()
            && entry.key().0 <= now.instant
        {
            match entry.remove() {
                Task::Tell(number) => {
                    if let Some(row) = self.rows.get_mut(&number) {
                        row.planned = false;
                    }
                    self.tell_watcher(now, registry, number);
                }
                Task::Fetch(number) => self.ask_state(now, registry, number),
                Task::Settle(number) => {
                    if self.rows.get_mut(&number).is_some_and(|row| row.settle(now.instant)) {
                        self.tell_watcher(now, registry, number);
                    }
                }
                Task::Lost(link) => self.lost(now, registry, &link),
                Task::Typing(pair) => {
                    if let Some((link, envelope)) = self.conversations.due(now.instant, &pair) {
                        self.actions.push(Action::Tell(link, envelope));
                    }
                }
            }
        }
    }

    /// A link is down for [`GRACE`]: nothing is known of its people any more.
    fn lost(&mut self, now: Moment, registry: &Registry, link: &LinkId) {
        match self.down.get_mut(link) {
            Some((since, told)) if !*told && *since + GRACE <= now.instant => *told = true,
            // It has been up since, or it was told.
            _ => return,
        }
        let seen = self.of_link(registry, link, |watches, domain| watches.by_presentity.get(domain));
        let mut place = 0;
        for number in seen {
            let turns = self.rows.get_mut(&number).is_some_and(|row| row.state == WatchState::Granted && row.forget());
            if turns {
                place += 1;
                self.plan(now.instant + TELL_STEP * place, Task::Tell(number));
            }
        }
    }

    // Presence.

    fn presence(&mut self, now: Moment, registry: &Registry, envelope: &Envelope, presence: &Presence) {
        let pair = (envelope.to.clone(), envelope.from.clone());
        let Some(number) = self.numbers.get(&pair).copied() else { return };
        let Some(row) = self.rows.get_mut(&number).filter(|row| row.state == WatchState::Granted) else { return };
        if !row.note(envelope, presence) {
            return;
        }
        let at = row.told_at.map_or(now.instant, |at| at + PACE);
        if at <= now.instant {
            self.tell_watcher(now, registry, number);
        } else if !std::mem::replace(&mut row.planned, true) {
            self.plan(at, Task::Tell(number));
        }
    }

    /// A watcher asks for the state.
    fn fetch(&mut self, now: Moment, registry: &Registry, envelope: &Envelope) {
        let pair = (envelope.from.clone(), envelope.to.clone());
        let number = self.numbers.get(&pair).copied();
        let state = number.and_then(|number| self.rows.get(&number)).map(|row| row.state);
        match (state, number) {
            (Some(WatchState::Granted), Some(number)) => self.show(now, registry, number),
            (Some(WatchState::Asked), _) => {}
            _ => {
                let refuse = self.answer(now, envelope, Watch::Refuse);
                self.publish(registry, refuse);
            }
        }
    }

    /// Shows a watcher the whole state; fetches it if nothing is known.
    fn show(&mut self, now: Moment, registry: &Registry, number: u64) {
        let Some(row) = self.rows.get_mut(&number) else { return };
        row.changed = true;
        if row.is_known() {
            self.tell_watcher(now, registry, number);
        } else {
            self.ask_state(now, registry, number);
        }
    }

    /// Tells a watcher what has changed since it was told last.
    fn tell_watcher(&mut self, now: Moment, registry: &Registry, number: u64) {
        let Some(row) = self.rows.get_mut(&number) else { return };
        if !row.changed || row.state != WatchState::Granted {
            return;
        }
        let (Some(link), Some(origin)) = (registry.link_of(row.watcher.domain()), registry.link_of(row.presentity.domain()))
        else {
            return;
        };
        if self.down.contains_key(&link.id) {
            return;
        }
        let (from, to) = (row.presentity.clone(), row.watcher.clone());
        let presence = row.tell(now.instant);
        let envelope = made(now, &origin.id, from, to, Body::Presence(presence));
        self.actions.push(Action::Tell(link.id.clone(), envelope));
    }

    /// A watcher who may see no more is shown no more (RFC 6121 §3.2.2).
    fn hide(&mut self, now: Moment, registry: &Registry, number: u64) {
        if let Some(row) = self.rows.get_mut(&number)
            && row.forget()
        {
            self.tell_watcher(now, registry, number);
        }
    }

    /// Asks for the state of a presentity, in the name of the watcher.
    fn ask_state(&mut self, now: Moment, registry: &Registry, number: u64) {
        let Some(row) = self.rows.get_mut(&number) else { return };
        let too_soon = row.fetched.is_some_and(|at| now.instant < at + FETCH_PACE);
        if row.state != WatchState::Granted || row.barred || too_soon {
            return;
        }
        let (Some(link), Some(origin)) = (registry.link_of(row.presentity.domain()), registry.link_of(row.watcher.domain()))
        else {
            return;
        };
        if self.down.contains_key(&link.id) {
            return;
        }
        row.fetched = Some(now.instant);
        let envelope = made(now, &origin.id, row.watcher.clone(), row.presentity.clone(), Body::Watch(Watch::Fetch));
        self.actions.push(Action::Tell(link.id.clone(), envelope));
    }

    // The table.

    fn set(&mut self, now: Moment, pair: Pair, state: WatchState) -> u64 {
        let number = match self.numbers.get(&pair).copied() {
            Some(number) => number,
            None => self.insert(pair, state, now.wall),
        };
        if let Some(row) = self.rows.get_mut(&number) {
            row.stands(state, now.wall);
            let (watcher, presentity) = (row.watcher.clone(), row.presentity.clone());
            self.changes.push(Note::Watch(WatchRow { watcher, presentity, state, since: now.wall }));
        }
        number
    }

    fn insert(&mut self, pair: Pair, state: WatchState, since: SystemTime) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.by_watcher.entry(pair.0.domain().clone()).or_default().insert(number);
        self.by_presentity.entry(pair.1.domain().clone()).or_default().insert(number);
        *self.counts.entry(pair.0.clone()).or_default() += 1;
        self.rows.insert(number, Row::new(pair.clone(), state, since));
        self.numbers.insert(pair, number);
        number
    }

    fn remove(&mut self, pair: &Pair) {
        let Some(number) = self.numbers.remove(pair) else { return };
        self.rows.remove(&number);
        for (index, domain) in [(&mut self.by_watcher, pair.0.domain()), (&mut self.by_presentity, pair.1.domain())] {
            if let Some(numbers) = index.get_mut(domain) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    index.remove(domain);
                }
            }
        }
        if let Some(count) = self.counts.get_mut(&pair.0) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&pair.0);
            }
        }
        self.changes.push(Note::NoWatch { watcher: pair.0.clone(), presentity: pair.1.clone() });
    }

    fn is_full(&self, watcher: &Address) -> bool {
        self.rows.len() >= MOST || self.counts.get(watcher).is_some_and(|count| *count >= MOST_OF_ONE)
    }

    fn is_granted(&self, number: u64) -> bool {
        self.rows.get(&number).is_some_and(|row| row.state == WatchState::Granted)
    }

    /// The rows of all domains of a link.
    fn of_link<'a>(
        &'a self,
        registry: &Registry,
        link: &LinkId,
        index: impl Fn(&'a Self, &Domain) -> Option<&'a BTreeSet<u64>>,
    ) -> Vec<u64> {
        let domains = registry.link(link).map(|link| link.domains.as_slice()).unwrap_or_default();
        domains.iter().filter_map(|domain| index(self, domain)).flatten().copied().collect()
    }

    fn plan(&mut self, at: Instant, task: Task) {
        self.last_task += 1;
        self.tasks.insert((at, self.last_task), task);
    }

    /// An answer to the sender of a word about a watch, from the person it was for.
    fn answer(&self, now: Moment, envelope: &Envelope, watch: Watch) -> Envelope {
        let answer = envelope.answer(new_id(now), Body::Watch(watch), now.wall);
        Envelope { to_device: None, from_device: None, ..answer }
    }

    fn publish(&mut self, registry: &Registry, envelope: Envelope) {
        let link = registry.link_of(envelope.to.domain()).map(|link| link.id.clone());
        let origin = registry.link_of(envelope.from.domain()).map(|link| link.id.clone());
        if let (Some(link), Some(origin)) = (link, origin) {
            self.actions.push(Action::Publish(link, Envelope { origin, ..envelope }));
        }
    }
}

/// An envelope of the hub's own making.
fn made(now: Moment, origin: &LinkId, from: Address, to: Address, body: Body) -> Envelope {
    Envelope {
        id: new_id(now),
        origin: origin.clone(),
        from,
        from_device: None,
        to,
        to_device: None,
        native_id: None,
        accepted: now.wall,
        hops: Envelope::FULL_HOPS,
        native: None,
        body,
    }
}

fn new_id(now: Moment) -> MessageId {
    MessageId::new(now.wall, rand::rng().random())
}

#[cfg(test)]
mod tests;
