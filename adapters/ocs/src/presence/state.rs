//! Documents and canonical presence, both directions side by side: pure functions.

use interchange_model::{DevicePresence, Plain, Presence, PresenceState};
use ocs_codec::presence::{Availability, Document, Note, State};

/// What is known of a person, put together from their documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    state: Option<State>,
    note: Option<String>,
}

impl Seen {
    /// A document came. `is_whole`: it is the first since the person was asked about; a later one may hold only what has changed.
    pub(super) fn update(&mut self, document: Document, is_whole: bool) {
        if is_whole {
            *self = Self::default();
        }
        if document.state.is_some() {
            self.state = document.state;
        }
        match document.note {
            Note::Unchanged => {}
            Note::None => self.note = None,
            Note::Is(note) => self.note = Some(note),
        }
    }

    /// The same as every platform understands it.
    pub(super) fn to_presence(&self) -> Presence {
        let Some(state) = &self.state else { return Presence::unknown() };
        let state = match canonical(state) {
            PresenceState::Offline => return Presence::default(),
            state => state,
        };
        let note = self.note.as_deref().map(shorten);
        Presence::of(DevicePresence { note, ..DevicePresence::new(None, state) })
    }
}

fn shorten(text: &str) -> Plain {
    Plain::new(text.get(..text.floor_char_boundary(DevicePresence::LONGEST_NOTE)).unwrap_or_default())
}

fn canonical(state: &State) -> PresenceState {
    let token = state.activity.as_deref().unwrap_or_default();
    match state.availability {
        Availability::Available => PresenceState::Available,
        Availability::Inactive => PresenceState::Idle,
        Availability::Busy | Availability::BusyInactive => match token {
            "on-the-phone" => PresenceState::InCall,
            "in-a-meeting" | "in-a-conference" => PresenceState::InMeeting,
            _ => PresenceState::Busy,
        },
        Availability::DoNotDisturb if token == "in-presentation" => PresenceState::Presenting,
        Availability::DoNotDisturb => PresenceState::DoNotDisturb,
        Availability::BeRightBack => PresenceState::BeRightBack,
        Availability::Away if matches!(token, "out-of-office" | "off-work") => PresenceState::LongAway,
        Availability::Away => PresenceState::Away,
        Availability::Offline => PresenceState::Offline,
    }
}

/// The document of a person as a watcher may see them; `None`: nothing is known, or nothing may be seen.
pub(super) fn to_document(uri: String, presence: Option<&Presence>) -> Document {
    let Some(presence) = presence else { return Document { uri, state: None, note: Note::None } };
    let state = match presence.state() {
        PresenceState::Free | PresenceState::Available => State::of(Availability::Available),
        PresenceState::Idle => State::of(Availability::Inactive),
        PresenceState::Busy => State::of(Availability::Busy),
        PresenceState::InCall => State::doing(Availability::Busy, "on-the-phone"),
        PresenceState::InMeeting => State::doing(Availability::Busy, "in-a-meeting"),
        PresenceState::DoNotDisturb => State::of(Availability::DoNotDisturb),
        PresenceState::Presenting => State::doing(Availability::DoNotDisturb, "in-presentation"),
        PresenceState::BeRightBack => State::of(Availability::BeRightBack),
        PresenceState::Away => State::of(Availability::Away),
        PresenceState::LongAway => State::doing(Availability::Away, "off-work"),
        PresenceState::Offline | PresenceState::Unknown => State::of(Availability::Offline),
    };
    let note = presence.best().and_then(|device| device.note.as_ref()).filter(|note| !note.is_empty());
    let note = note.map_or(Note::None, |note| Note::Is(note.as_str().to_owned()));
    Document { uri, state: Some(state), note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocs_codec::presence::Form;

    fn through(form: Form, presence: &Presence) -> Presence {
        let text = form.write(&to_document("sip:bob@fabrikam.example".into(), Some(presence)), "2026-11-23T04:12:49Z");
        let mut seen = Seen::default();
        seen.update(form.read(text.as_bytes()).unwrap(), true);
        seen.to_presence()
    }

    #[test]
    fn every_state_survives_or_comes_back_as_its_nearest() {
        use PresenceState::*;
        for state in PresenceState::ALL {
            let presence = match state {
                Offline => Presence::default(),
                Unknown => Presence::unknown(),
                state => Presence::of(DevicePresence::new(None, state)),
            };
            let want = match state {
                Free => Available,
                // A client goes on showing the state that a document does not name.
                Unknown => Offline,
                same => same,
            };
            assert_eq!(through(Form::Categories, &presence).state(), want, "{state:?}");
            let want = match state {
                Free => Available,
                DoNotDisturb | Presenting | InMeeting => Busy,
                LongAway => Away,
                Unknown => Offline,
                same => same,
            };
            assert_eq!(through(Form::Legacy, &presence).state(), want, "{state:?}");
            let want = match state {
                Free => Available,
                Busy | InCall | InMeeting | DoNotDisturb | Presenting => Busy,
                Idle | BeRightBack | Away | LongAway => Away,
                Unknown => Offline,
                same => same,
            };
            assert_eq!(through(Form::Pidf, &presence).state(), want, "{state:?}");
        }
    }

    #[test]
    fn a_note_survives_in_every_form_and_is_taken_back() {
        let with = |note: Option<&str>| {
            let note = note.map(Plain::new);
            Presence::of(DevicePresence { note, ..DevicePresence::new(None, PresenceState::Away) })
        };
        for form in Form::ALL {
            assert_eq!(through(form, &with(Some("Back <soon> & well"))), with(Some("Back <soon> & well")), "{form:?}");
            let mut seen = Seen::default();
            for (note, is_whole) in [(Some("here"), true), (None, false)] {
                let document = to_document("sip:bob@fabrikam.example".into(), Some(&with(note)));
                seen.update(form.read(form.write(&document, "x").as_bytes()).unwrap(), is_whole);
            }
            assert_eq!(seen.to_presence(), with(None), "{form:?}");
        }
    }

    #[test]
    fn an_update_holds_only_what_has_changed_and_a_whole_document_all_there_is() {
        let document = |state, note| Document { uri: "sip:a@b.example".into(), state, note };
        let mut seen = Seen::default();
        seen.update(document(Some(State::of(Availability::Busy)), Note::Is("x".into())), true);
        seen.update(document(None, Note::Is("y".into())), false);
        assert_eq!((seen.to_presence().state(), seen.note.as_deref()), (PresenceState::Busy, Some("y")));
        seen.update(document(Some(State::of(Availability::Away)), Note::Unchanged), false);
        assert_eq!((seen.to_presence().state(), seen.note.as_deref()), (PresenceState::Away, Some("y")));
        // Blocked: nothing is known.
        seen.update(document(None, Note::Unchanged), true);
        assert_eq!(seen.to_presence(), Presence::unknown());
    }
}
