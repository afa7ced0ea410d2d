//! A map that forgets what was not asked for lately, in bounded memory and without looking through itself.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Values by key. One that is not asked for is forgotten after `span` at the earliest and twice that at the latest, or earlier where there are too many.
pub(super) struct Recent<K, V> {
    span: Duration,
    /// Values of one generation.
    most: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// When the young generation began.
    since: Option<Instant>,
}

impl<K: Eq + Hash, V: Default> Recent<K, V> {
    /// Holds at most `most` values.
    pub(super) fn new(span: Duration, most: usize) -> Self {
        Self { span, most: (most / 2).max(1), young: HashMap::new(), old: HashMap::new(), since: None }
    }

    /// The value of a key; a new one where it is not known any more.
    pub(super) fn entry(&mut self, now: Instant, key: K) -> &mut V {
        let since = *self.since.get_or_insert(now);
        if now >= since + self.span || self.young.len() >= self.most {
            let young = std::mem::take(&mut self.young);
            // After two spans nobody has asked for any of the young ones either.
            self.old = if now >= since + self.span * 2 { HashMap::new() } else { young };
            self.since = Some(now);
        }
        let old = &mut self.old;
        match self.young.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let value = old.remove(place.key()).unwrap_or_default();
                place.insert(value)
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
