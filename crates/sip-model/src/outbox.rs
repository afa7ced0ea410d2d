//! What one link was handed and has not settled: in order for each pair of people, side by side for different ones.

use std::collections::{BTreeMap, HashMap, VecDeque};

use interchange_model::Address;

/// Sender and recipient.
pub type Pair = (Address, Address);

/// Requests of one link that may wait for their answers at one time (shared/protocols/sip.md §5).
pub const MOST_OPEN: usize = 50;

/// A place in the order in which entries were put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// Entries of one link. Of each pair only the first may be open.
#[derive(Debug)]
pub struct Outbox<T> {
    entries: BTreeMap<Place, Entry<T>>,
    /// For each pair, its entries in order; the first is open, or ready.
    pairs: HashMap<Pair, VecDeque<Place>>,
    /// First entries that are not open yet.
    ready: VecDeque<Place>,
    open: usize,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    pair: Pair,
    content: T,
    is_open: bool,
    /// It waits for something else than its turn, and its pair with it.
    is_parked: bool,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), pairs: HashMap::new(), ready: VecDeque::new(), open: 0, next: 0 }
    }
}

impl<T> Outbox<T> {
    /// Puts an entry behind all others of its pair.
    pub fn push(&mut self, pair: Pair, content: T) {
        let place = Place(self.next);
        self.next += 1;
        let line = self.pairs.entry(pair.clone()).or_default();
        line.push_back(place);
        if line.len() == 1 {
            self.ready.push_back(place);
        }
        self.entries.insert(place, Entry { pair, content, is_open: false, is_parked: false });
    }

    /// The next entry whose time has come, which is open from here on.
    pub fn open_next(&mut self) -> Option<(Place, &mut T)> {
        if self.open >= MOST_OPEN {
            return None;
        }
        let place = self.ready.pop_front()?;
        self.open += 1;
        let entry = self.entries.get_mut(&place)?;
        (entry.is_open, entry.is_parked) = (true, false);
        Some((place, &mut entry.content))
    }

    /// An open entry has more to send: it is the next to be opened again, before all others.
    pub fn again(&mut self, place: Place) {
        let Some(entry) = self.entries.get_mut(&place).filter(|entry| entry.is_open || entry.is_parked) else { return };
        if std::mem::replace(&mut entry.is_open, false) {
            self.open = self.open.saturating_sub(1);
        }
        entry.is_parked = false;
        self.ready.push_front(place);
    }

    /// An open entry waits for something that may take a person's time: it does not count among those that are open until [`Outbox::again`].
    pub fn park(&mut self, place: Place) {
        if let Some(entry) = self.entries.get_mut(&place).filter(|entry| entry.is_open) {
            (entry.is_open, entry.is_parked) = (false, true);
            self.open = self.open.saturating_sub(1);
        }
    }

    /// The content of an open entry.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        self.entries.get_mut(&place).map(|entry| &mut entry.content)
    }

    /// An open entry.
    pub fn get(&self, place: Place) -> Option<&T> {
        self.entries.get(&place).map(|entry| &entry.content)
    }

    /// Takes an open or parked entry out; the next of its pair may follow.
    pub fn close(&mut self, place: Place) -> Option<T> {
        let Entry { pair, content, is_open, .. } = self.entries.remove(&place)?;
        if is_open {
            self.open = self.open.saturating_sub(1);
        }
        if let Some(line) = self.pairs.get_mut(&pair) {
            line.pop_front();
            match line.front() {
                Some(next) => self.ready.push_back(*next),
                None => {
                    self.pairs.remove(&pair);
                }
            }
        }
        Some(content)
    }

    /// Takes everything out, in the order in which it was put in, each with whether it was open.
    pub fn drain(&mut self) -> impl Iterator<Item = (T, bool)> + use<T> {
        let all = std::mem::take(self);
        self.next = all.next;
        all.entries.into_values().map(|entry| (entry.content, entry.is_open))
    }

    /// Takes out what is not open, in order.
    pub fn drain_waiting(&mut self) -> impl Iterator<Item = T> + use<T> {
        let waiting: Vec<(Place, Entry<T>)> = self.entries.extract_if(.., |_, entry| !entry.is_open).collect();
        for (place, entry) in &waiting {
            if let Some(line) = self.pairs.get_mut(&entry.pair) {
                line.retain(|other| other != place);
                if line.is_empty() {
                    self.pairs.remove(&entry.pair);
                }
            }
        }
        self.ready.clear();
        waiting.into_iter().map(|(_, entry)| entry.content)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(from: &str, to: &str) -> Pair {
        (Address::parse(&format!("{from}@a.example")).unwrap(), Address::parse(&format!("{to}@b.example")).unwrap())
    }

    fn opened(outbox: &mut Outbox<u32>) -> Vec<(Place, u32)> {
        std::iter::from_fn(|| outbox.open_next().map(|(place, entry)| (place, *entry))).collect()
    }

    #[test]
    fn case_42_one_at_a_time_for_a_pair_and_others_beside_it() {
        let mut outbox = Outbox::default();
        for (number, to) in [(1, "bob"), (2, "bob"), (3, "carol"), (4, "Bob")] {
            outbox.push(pair("alice", to), number);
        }
        let open = opened(&mut outbox);
        assert_eq!(open.iter().map(|(_, entry)| *entry).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(outbox.close(open[0].0), Some(1));
        let open = opened(&mut outbox);
        assert_eq!(open.iter().map(|(_, entry)| *entry).collect::<Vec<_>>(), [2]);
        assert_eq!(outbox.drain_waiting().collect::<Vec<_>>(), [4]);
        outbox.push(pair("alice", "bob"), 5);
        assert!(outbox.open_next().is_none());
        assert_eq!(outbox.drain().collect::<Vec<_>>(), [(2, true), (3, true), (5, false)]);
        assert!(outbox.is_empty() && outbox.open_next().is_none());
    }

    #[test]
    fn what_is_reopened_is_next() {
        let mut outbox = Outbox::default();
        for (number, to) in [(1, "bob"), (2, "carol"), (3, "bob")] {
            outbox.push(pair("alice", to), number);
        }
        let open = opened(&mut outbox);
        *outbox.get_mut(open[0].0).unwrap() = 10;
        outbox.again(open[0].0);
        // Once more changes nothing.
        outbox.again(open[0].0);
        assert_eq!(opened(&mut outbox), [(open[0].0, 10)]);
        assert_eq!(outbox.close(open[0].0), Some(10));
        assert_eq!(opened(&mut outbox).len(), 1);
        outbox.again(open[0].0);
        assert!(outbox.open_next().is_none());
    }

    #[test]
    fn what_waits_for_a_person_keeps_nobody_else_from_going() {
        let mut outbox = Outbox::default();
        for number in 0..120 {
            outbox.push(pair(&format!("u{number}"), "bob"), number);
        }
        let mut parked = Vec::new();
        while let Some((place, _)) = outbox.open_next() {
            outbox.park(place);
            parked.push(place);
        }
        assert_eq!(parked.len(), 120);
        outbox.push(pair("u0", "bob"), 500);
        assert!(outbox.open_next().is_none(), "the pair waits with its first");
        outbox.again(parked[0]);
        outbox.again(parked[0]);
        assert_eq!(opened(&mut outbox), [(parked[0], 0)]);
        assert_eq!(outbox.close(parked[0]), Some(0));
        assert_eq!(outbox.close(parked[1]), Some(1));
        assert_eq!(opened(&mut outbox).iter().map(|(_, entry)| *entry).collect::<Vec<_>>(), [500]);
        assert_eq!(outbox.drain().filter(|(_, was_open)| *was_open).count(), 1);
    }

    #[test]
    fn fifty_are_open_at_most() {
        let mut outbox = Outbox::default();
        for number in 0..120 {
            outbox.push(pair(&format!("u{number}"), "bob"), number);
        }
        let first = opened(&mut outbox);
        assert_eq!(first.len(), MOST_OPEN);
        assert_eq!(outbox.close(first[7].0), Some(7));
        assert_eq!(outbox.close(first[7].0), None);
        assert_eq!(opened(&mut outbox).len(), 1);
    }
}
