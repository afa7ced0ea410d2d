//! PIDF and canonical presence, both directions side by side: pure functions.

use interchange_model::{Address, DevicePresence, Plain, Presence, PresenceState};
use simple_codec::pidf::{Note, Person, Pidf, Tuple, Word, id_of, priority_of_q, q_of_priority};

/// What a document says of a person. Documents of SIP say it of the whole person: which devices there are is the business of their server.
pub(super) fn to_presence(document: &Pidf) -> Presence {
    let state = state_of(document.word());
    if state == PresenceState::Unknown {
        return Presence::unknown();
    }
    if state == PresenceState::Offline {
        return Presence::default();
    }
    let open = || document.tuples.iter().filter(|tuple| tuple.is_open != Some(false));
    let notes = document.person.iter().map(|person| &person.note).chain(open().map(|tuple| &tuple.note)).chain([&document.note]);
    let note = notes.flatten().map(|note| shorten(&note.text)).next();
    let priority = open().find_map(|tuple| tuple.priority).map(priority_of_q);
    Presence::of(DevicePresence { note, priority, ..DevicePresence::new(None, state) })
}

/// The document of a person. One tuple, for the best device: most telephones show the first.
pub(super) fn of_presence(person: &Address, uri: &str, presence: &Presence) -> Pidf {
    let best = presence.best();
    let word = word_of(presence.state());
    let note = best.and_then(|device| device.note.as_ref()).map(|note| Note { text: note.as_str().to_owned(), language: None });
    let activities: Vec<String> = word.activity().into_iter().map(str::to_owned).collect();
    let tuple = Tuple {
        id: id_of(person.user_key()),
        is_open: Some(best.is_some()),
        show: word.show().map(str::to_owned),
        activities: Vec::new(),
        contact: best.map(|_| uri.to_owned()),
        priority: best.and_then(|device| device.priority).and_then(q_of_priority),
        note: note.clone(),
    };
    let person = (!activities.is_empty() || note.is_some()).then_some(Person { activities, note });
    Pidf { entity: uri.to_owned(), tuples: vec![tuple], person, note: None }
}

fn shorten(text: &str) -> Plain {
    Plain::new(text.get(..text.floor_char_boundary(DevicePresence::LONGEST_NOTE)).unwrap_or_default())
}

/// Each word and its state: the same list from either side.
const TABLE: [(Word, PresenceState); 13] = [
    (Word::Free, PresenceState::Free),
    (Word::Available, PresenceState::Available),
    (Word::Busy, PresenceState::Busy),
    (Word::InCall, PresenceState::InCall),
    (Word::InMeeting, PresenceState::InMeeting),
    (Word::DoNotDisturb, PresenceState::DoNotDisturb),
    (Word::Presenting, PresenceState::Presenting),
    (Word::Away, PresenceState::Away),
    (Word::BeRightBack, PresenceState::BeRightBack),
    (Word::Idle, PresenceState::Idle),
    (Word::LongAway, PresenceState::LongAway),
    (Word::Offline, PresenceState::Offline),
    (Word::Unknown, PresenceState::Unknown),
];

fn state_of(word: Word) -> PresenceState {
    TABLE.iter().find(|(known, _)| *known == word).map_or(PresenceState::Unknown, |(_, state)| *state)
}

fn word_of(state: PresenceState) -> Word {
    TABLE.iter().find(|(_, known)| *known == state).map_or(Word::Unknown, |(word, _)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_or_comes_back_as_its_nearest() {
        let bob = Address::parse("bob@b.example").unwrap();
        for state in PresenceState::ALL {
            let presence = match state {
                PresenceState::Offline => Presence::default(),
                PresenceState::Unknown => continue,
                state => Presence::of(DevicePresence::new(None, state)),
            };
            let document = of_presence(&bob, "sip:bob@b.example", &presence);
            let read = Pidf::read(document.write().as_bytes()).unwrap();
            let want = match state {
                // RPID and `show` have one word for these.
                PresenceState::BeRightBack | PresenceState::Idle => PresenceState::Away,
                PresenceState::Busy => PresenceState::DoNotDisturb,
                same => same,
            };
            assert_eq!(to_presence(&read).state(), want, "{state:?}");
        }
    }

    #[test]
    fn note_and_priority_survive() {
        let device = DevicePresence {
            note: Some("Back <soon> & well".into()),
            priority: Some(77),
            ..DevicePresence::new(None, PresenceState::Away)
        };
        let bob = Address::parse("bob@b.example").unwrap();
        let document = of_presence(&bob, "sip:bob@b.example", &Presence::of(device.clone()));
        let read = Pidf::read(document.write().as_bytes()).unwrap();
        assert_eq!(to_presence(&read).devices, [device]);
    }
}
