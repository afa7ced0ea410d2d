//! Documents and canonical presence, both directions side by side: pure functions.

use std::time::{SystemTime, UNIX_EPOCH};

use interchange_model::{DevicePresence, Plain, Presence, PresenceState};
use ocs_codec::presence::{Availability, Document, Note, State};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is known of a person, put together from their documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    state: Option<State>,
    note: Option<String>,
}

impl sip_adapter::presence::Seen for Seen {
    type Document = Document;

    /// Only the first document since the person was asked about is whole; a later one may hold only what has changed.
    fn update(&mut self, document: Option<Document>, is_whole: bool) {
        let Some(document) = document else { return };
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

    fn presence(&self) -> Presence {
        let Some(known) = &self.state else { return Presence::unknown() };
        let state = match canonical(known) {
            PresenceState::Offline => return Presence::default(),
            state => state,
        };
        let note = self.note.as_deref().map(shorten);
        let idle_since = known.last_active.as_deref().filter(|_| is_untouched(known.availability)).and_then(read_time);
        Presence::of(DevicePresence { note, idle_since, ..DevicePresence::new(None, state) })
    }
}

/// Whether nobody touches the device of whoever is so: then it matters since when.
const fn is_untouched(availability: Availability) -> bool {
    use Availability::{Away, BeRightBack, BusyInactive, Inactive};
    matches!(availability, Inactive | BusyInactive | BeRightBack | Away)
}

/// A time as servers write it: some leave out the zone, which is UTC.
fn read_time(text: &str) -> Option<SystemTime> {
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let time = parse(text).or_else(|| parse(&format!("{text}Z")))?;
    Some(SystemTime::from(time)).filter(|time| *time >= UNIX_EPOCH)
}

fn write_time(time: SystemTime) -> Option<String> {
    // Later than any calendar goes: an error, and no panic.
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    OffsetDateTime::from_unix_timestamp(seconds.try_into().ok()?).ok()?.format(&Rfc3339).ok()
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
    let idle_since = presence.best().and_then(|device| device.idle_since);
    let state = match presence.state() {
        // Clients of other platforms say apart from their state that nobody touches the device (XEP-0319).
        PresenceState::Free | PresenceState::Available if idle_since.is_some() => State::of(Availability::Inactive),
        PresenceState::Free | PresenceState::Available => State::of(Availability::Available),
        PresenceState::Idle => State::of(Availability::Inactive),
        PresenceState::Busy if idle_since.is_some() => State::of(Availability::BusyInactive),
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
    let since = idle_since.filter(|_| is_untouched(state.availability)).and_then(write_time);
    let state = state.since(since.as_deref());
    let note = presence.best().and_then(|device| device.note.as_ref()).filter(|note| !note.is_empty());
    let note = note.map_or(Note::None, |note| Note::Is(note.as_str().to_owned()));
    Document { uri, state: Some(state), note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocs_codec::presence::Form;
    use sip_adapter::presence::Seen as _;

    fn through(form: Form, presence: &Presence) -> Presence {
        let text = form.write(&to_document("sip:bob@fabrikam.example".into(), Some(presence)), "2026-11-23T04:12:49Z");
        let mut seen = Seen::default();
        seen.update(form.read(text.as_bytes()).ok(), true);
        seen.presence()
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

    /// The table of the specification (shared/protocols/ocs.md §6.2): the numbers that each state is written with, for a client of 2007 and one of 2005.
    #[test]
    fn every_state_has_its_numbers_in_both_dialects() {
        use PresenceState::*;
        let idle = UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        let table = [
            (Free, None, 3_500, 300, 400),
            (Available, None, 3_500, 300, 400),
            (Available, Some(idle), 5_000, 300, 200),
            (Free, Some(idle), 5_000, 300, 200),
            (Idle, None, 5_000, 300, 200),
            (Idle, Some(idle), 5_000, 300, 200),
            (Busy, None, 6_500, 300, 600),
            (Busy, Some(idle), 7_500, 300, 600),
            (InCall, None, 6_500, 300, 500),
            (InMeeting, None, 6_500, 300, 600),
            (DoNotDisturb, None, 9_500, 300, 600),
            (DoNotDisturb, Some(idle), 9_500, 300, 600),
            (Presenting, None, 9_500, 300, 600),
            (BeRightBack, None, 12_500, 300, 300),
            (Away, None, 15_500, 300, 100),
            (Away, Some(idle), 15_500, 300, 100),
            (LongAway, None, 15_500, 300, 100),
            (Offline, None, 18_500, 0, 0),
        ];
        for state in PresenceState::ALL.into_iter().filter(|state| *state != Unknown) {
            assert!(table.iter().any(|row| row.0 == state), "{state:?}");
        }
        for (state, idle_since, number, there, activity) in table {
            let presence = match state {
                Offline => Presence::default(),
                state => Presence::of(DevicePresence { idle_since, ..DevicePresence::new(None, state) }),
            };
            let document = to_document("sip:bob@fabrikam.example".into(), Some(&presence));
            let text = Form::Categories.write(&document, "x");
            assert!(text.contains(&format!("<availability>{number}</availability>")), "{state:?} {text}");
            let text = Form::Legacy.write(&document, "x");
            assert!(text.contains(&format!("<availability aggregate=\"{there}\"")), "{state:?} {text}");
            assert!(text.contains(&format!("<activity aggregate=\"{activity}\"")), "{state:?} {text}");
        }
    }

    #[test]
    fn since_when_nobody_has_touched_the_device_survives_in_the_form_of_2007() {
        let since = UNIX_EPOCH + std::time::Duration::from_secs(1_342_101_534);
        let with = |state, idle_since| Presence::of(DevicePresence { idle_since, ..DevicePresence::new(None, state) });
        for state in [PresenceState::Idle, PresenceState::BeRightBack, PresenceState::Away, PresenceState::LongAway] {
            assert_eq!(through(Form::Categories, &with(state, Some(since))), with(state, Some(since)), "{state:?}");
            assert_eq!(through(Form::Legacy, &with(state, Some(since))).best().unwrap().idle_since, None, "{state:?}");
        }
        assert_eq!(
            through(Form::Categories, &with(PresenceState::Available, Some(since))),
            with(PresenceState::Idle, Some(since))
        );
        assert_eq!(through(Form::Categories, &with(PresenceState::Busy, Some(since))), with(PresenceState::Busy, Some(since)));
        // Whoever is here is not idle, whatever the document says beside it; and whoever calls has both hands full.
        for state in [PresenceState::InCall, PresenceState::DoNotDisturb, PresenceState::Presenting] {
            assert_eq!(through(Form::Categories, &with(state, Some(since))), with(state, None), "{state:?}");
        }
        // Servers write it without a zone.
        assert_eq!(read_time("2012-07-12T13:58:54"), Some(since));
        assert_eq!(read_time("2012-07-12T15:58:54+02:00"), Some(since));
        for text in ["", "x", "1969-12-31T00:00:00Z", "2012-07-12", "99999-01-01T00:00:00Z", "2012-13-40T00:00:00Z"] {
            assert_eq!(read_time(text), None, "{text}");
        }
        assert_eq!(write_time(UNIX_EPOCH + std::time::Duration::from_secs(u64::MAX / 4)), None);
        assert_eq!(write_time(UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000_000)), None);
        let nonsense = State { last_active: Some("soon".into()), ..State::of(Availability::Away) };
        let mut seen = Seen::default();
        seen.update(Some(Document { uri: "sip:a@b.example".into(), state: Some(nonsense), note: Note::None }), true);
        assert_eq!(seen.presence(), with(PresenceState::Away, None));
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
                seen.update(form.read(form.write(&document, "x").as_bytes()).ok(), is_whole);
            }
            assert_eq!(seen.presence(), with(None), "{form:?}");
        }
    }

    #[test]
    fn an_update_holds_only_what_has_changed_and_a_whole_document_all_there_is() {
        let document = |state, note| Some(Document { uri: "sip:a@b.example".into(), state, note });
        let mut seen = Seen::default();
        seen.update(document(Some(State::of(Availability::Busy)), Note::Is("x".into())), true);
        seen.update(document(None, Note::Is("y".into())), false);
        assert_eq!((seen.presence().state(), seen.note.as_deref()), (PresenceState::Busy, Some("y")));
        seen.update(document(Some(State::of(Availability::Away)), Note::Unchanged), false);
        assert_eq!((seen.presence().state(), seen.note.as_deref()), (PresenceState::Away, Some("y")));
        // Blocked: nothing is known.
        seen.update(document(None, Note::Unchanged), true);
        assert_eq!(seen.presence(), Presence::unknown());
    }
}
