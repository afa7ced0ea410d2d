//! Messages that came in lately: one that a peer sends again is answered as the first was, and goes no further.
//!
//! A peer repeats what it does not know to have arrived: after a broken stream, after a stop of its own. It gives the repeat the same id. So a
//! submission counts as a repeat when link, sender, recipient, id and words are the same as those of one of the last ten minutes. The words
//! count, since there are clients that number their messages anew after each login. Without an id of the platform's own nothing is a repeat.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::time::Duration;

use interchange_model::{Body, Envelope};
use tokio::time::Instant;

/// How long a message is remembered.
const WINDOW: Duration = Duration::from_secs(600);

/// How many are remembered, some 15 MiB; more push out the oldest.
const MOST: usize = 250_000;

/// What makes a message the same: 128 bits under keys that nobody knows, so nobody can make two that collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64, u64);

/// What is known of a message that came before.
pub(crate) enum Known<'a, W> {
    /// It is stored.
    Stored,
    /// It is on its way to the store; who repeats it meanwhile waits here for the same answer.
    UnderWay(&'a mut Vec<W>),
}

/// The submissions of the last ten minutes, and who waits for them beside the first (`W`).
pub(crate) struct Duplicates<W> {
    keys: (RandomState, RandomState),
    known: HashMap<Fingerprint, (Instant, Fate<W>)>,
    order: VecDeque<(Instant, Fingerprint)>,
}

enum Fate<W> {
    Stored,
    UnderWay(Vec<W>),
}

impl<W> Duplicates<W> {
    pub(crate) fn new() -> Self {
        Self { keys: (RandomState::new(), RandomState::new()), known: HashMap::new(), order: VecDeque::new() }
    }

    /// The fingerprint of an envelope that can be repeated.
    pub(crate) fn fingerprint(&self, envelope: &Envelope) -> Option<Fingerprint> {
        let print = |same: &dyn Fn(&mut dyn Hasher)| {
            let [mut first, mut second] = [self.keys.0.build_hasher(), self.keys.1.build_hasher()];
            same(&mut first);
            same(&mut second);
            Fingerprint(first.finish(), second.finish())
        };
        match &envelope.body {
            Body::Text(text) => {
                let id = envelope.native_id.as_deref()?;
                let same = (
                    envelope.origin.as_str(),
                    (&envelope.from, envelope.from_device.as_ref().map(|device| device.as_str())),
                    (&envelope.to, envelope.to_device.as_ref().map(|device| device.as_str())),
                    id,
                    (text.plain.as_str(), text.subject.as_ref().map(|subject| subject.as_str())),
                    envelope.native.as_ref().map(|native| &*native.payload),
                );
                Some(print(&|mut hasher| same.hash(&mut hasher)))
            }
            // Whichever of the recipient's devices it comes from: the sender is told once.
            Body::Receipt(receipt) => {
                let same = (
                    envelope.origin.as_str(),
                    &envelope.from,
                    &envelope.to,
                    receipt.of,
                    receipt.native_id.as_deref(),
                    receipt.what,
                );
                Some(print(&|mut hasher| same.hash(&mut hasher)))
            }
            _ => None,
        }
    }

    /// What is known of it; `None`: it is new, and from now on under way.
    pub(crate) fn look(&mut self, now: Instant, fingerprint: Fingerprint) -> Option<Known<'_, W>> {
        while self.order.len() >= MOST || self.order.front().is_some_and(|(since, _)| now >= *since + WINDOW) {
            let Some((since, oldest)) = self.order.pop_front() else { break };
            // One that was refused and came again has a younger entry.
            if self.known.get(&oldest).is_some_and(|(known, _)| *known == since) {
                self.known.remove(&oldest);
            }
        }
        match self.known.entry(fingerprint) {
            Entry::Vacant(place) => {
                place.insert((now, Fate::UnderWay(Vec::new())));
                self.order.push_back((now, fingerprint));
                None
            }
            Entry::Occupied(known) => match &mut known.into_mut().1 {
                Fate::Stored => Some(Known::Stored),
                Fate::UnderWay(waiting) => Some(Known::UnderWay(waiting)),
            },
        }
    }

    /// The first of them was stored, or not: then it may come again. Who has waited for it.
    pub(crate) fn conclude(&mut self, fingerprint: Fingerprint, stored: bool) -> Vec<W> {
        let fate = if stored {
            self.known.get_mut(&fingerprint).map(|(_, fate)| std::mem::replace(fate, Fate::Stored))
        } else {
            self.known.remove(&fingerprint).map(|(_, fate)| fate)
        };
        match fate {
            Some(Fate::UnderWay(waiting)) => waiting,
            Some(Fate::Stored) | None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use interchange_model::{Address, Device, MessageId, Receipt, ReceiptKind, Text};

    use super::*;

    fn envelope(id: &str, text: &str) -> Envelope {
        Envelope {
            id: MessageId(1),
            origin: "acme".into(),
            from: Address::parse("alice@acme.example").unwrap(),
            from_device: None,
            to: Address::parse("bob@globex.example").unwrap(),
            to_device: None,
            native_id: Some(id.into()),
            accepted: SystemTime::UNIX_EPOCH,
            hops: 70,
            native: None,
            body: Body::Text(Text { plain: text.into(), ..Text::default() }),
        }
    }

    #[test]
    fn a_repeat_has_the_same_id_and_words_and_way() {
        let duplicates = Duplicates::<()>::new();
        let of = |envelope: &Envelope| duplicates.fingerprint(envelope);
        let first = envelope("1", "hi");
        assert!(of(&first).is_some());
        assert_eq!(of(&first), of(&Envelope { id: MessageId(2), ..first.clone() }));
        assert_ne!(of(&first), of(&envelope("2", "hi")));
        assert_ne!(of(&first), of(&envelope("1", "ho")));
        assert_ne!(of(&first), of(&Envelope { origin: "initech".into(), ..first.clone() }));
        assert_ne!(of(&first), of(&Envelope { to: Address::parse("carol@globex.example").unwrap(), ..first.clone() }));
        assert_eq!(of(&Envelope { native_id: None, ..first.clone() }), None);
    }

    #[test]
    fn case_38_a_receipt_of_another_device_is_a_repeat() {
        let duplicates = Duplicates::<()>::new();
        let receipt = |device: &str, id: &str, what: ReceiptKind| Envelope {
            native_id: None,
            from_device: Device::new(device),
            body: Body::Receipt(Receipt { of: None, native_id: Some(id.into()), what }),
            ..envelope("1", "")
        };
        let of = |envelope: &Envelope| duplicates.fingerprint(envelope).unwrap();
        let first = of(&receipt("phone", "m1", ReceiptKind::Delivered));
        assert_eq!(first, of(&receipt("laptop", "m1", ReceiptKind::Delivered)));
        assert_ne!(first, of(&receipt("phone", "m2", ReceiptKind::Delivered)));
        assert_ne!(first, of(&receipt("phone", "m1", ReceiptKind::Displayed)));
    }

    #[test]
    fn what_was_refused_or_is_old_is_new() {
        let mut duplicates = Duplicates::<u8>::new();
        let print = duplicates.fingerprint(&envelope("1", "hi")).unwrap();
        let start = Instant::now();
        assert!(duplicates.look(start, print).is_none());
        match duplicates.look(start, print) {
            Some(Known::UnderWay(waiting)) => waiting.push(7),
            _ => panic!("it is under way"),
        }
        assert_eq!(duplicates.conclude(print, false), [7]);
        assert!(duplicates.look(start, print).is_none());
        assert!(duplicates.conclude(print, true).is_empty());
        assert!(matches!(duplicates.look(start + WINDOW / 2, print), Some(Known::Stored)));
        assert!(duplicates.look(start + WINDOW, print).is_none());
    }

    #[test]
    fn no_more_are_remembered_than_is_said() {
        let mut duplicates = Duplicates::<u8>::new();
        let start = Instant::now();
        for number in 0..MOST as u64 + 10 {
            assert!(duplicates.look(start, Fingerprint(number, 0)).is_none());
        }
        assert!(duplicates.known.len() <= MOST && duplicates.order.len() <= MOST);
    }
}
