//! One word for what a document says, and what a word looks like in a document (shared/protocols/interworking.md §4.2).

use super::{Note, Pidf, Tuple};

/// How somebody can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// Here, and would like to talk.
    Free,
    /// Here.
    Available,
    /// Here, with other things to do.
    Busy,
    /// On the telephone.
    InCall,
    /// In a meeting.
    InMeeting,
    /// Not to be disturbed.
    DoNotDisturb,
    /// Shows something to others.
    Presenting,
    /// Not here.
    Away,
    /// Back soon.
    BeRightBack,
    /// Here a moment ago.
    Idle,
    /// Not here for long.
    LongAway,
    /// Not signed in.
    Offline,
    /// Nothing is known.
    Unknown,
}

impl Word {
    /// Every word, with its activity (RFC 4480 §3.2) and XMPP's `show`.
    const TABLE: [(Word, Option<&'static str>, Option<&'static str>); 13] = [
        (Word::Free, None, Some("chat")),
        (Word::Available, None, None),
        (Word::Busy, Some("busy"), Some("dnd")),
        (Word::InCall, Some("on-the-phone"), Some("dnd")),
        (Word::InMeeting, Some("meeting"), Some("dnd")),
        (Word::DoNotDisturb, Some("busy"), Some("dnd")),
        (Word::Presenting, Some("presentation"), Some("dnd")),
        (Word::Away, Some("away"), Some("away")),
        (Word::BeRightBack, Some("away"), Some("away")),
        (Word::Idle, Some("away"), Some("away")),
        (Word::LongAway, Some("away"), Some("xa")),
        (Word::Offline, None, None),
        (Word::Unknown, Some("unknown"), None),
    ];

    /// Its activity.
    #[must_use]
    pub fn activity(self) -> Option<&'static str> {
        Self::TABLE.iter().find(|(word, ..)| *word == self).and_then(|(_, activity, _)| *activity)
    }

    /// XMPP's word for it.
    #[must_use]
    pub fn show(self) -> Option<&'static str> {
        Self::TABLE.iter().find(|(word, ..)| *word == self).and_then(|(.., show)| *show)
    }
}

impl Pidf {
    /// What the whole document says of the person: closed beats all, then what the person does, then what the first open tuple says.
    #[must_use]
    pub fn word(&self) -> Word {
        if self.tuples.is_empty() && self.person.is_none() {
            return Word::Unknown;
        }
        if !self.tuples.is_empty() && self.tuples.iter().all(|tuple| tuple.is_open == Some(false)) {
            return Word::Offline;
        }
        let person = self.person.iter().map(|person| person.activities.as_slice());
        let open = || self.tuples.iter().filter(|tuple| tuple.is_open != Some(false));
        let shows = open().find_map(|tuple| tuple.show.as_deref().and_then(by_show));
        // A gateway's own word says which of several states an activity of RPID stands for.
        if let (Some(show), Some(Word::Away | Word::Busy)) = (shows, person.clone().find_map(by_activities)) {
            return show;
        }
        let notes = open().map(|tuple| &tuple.note).chain(self.person.iter().map(|person| &person.note)).chain([&self.note]);
        person
            .chain(open().map(|tuple| tuple.activities.as_slice()))
            .find_map(by_activities)
            .or(shows)
            .or_else(|| notes.flatten().find_map(by_note))
            .unwrap_or(Word::Available)
    }
}

impl Tuple {
    /// What it says by itself.
    #[must_use]
    pub fn word(&self) -> Word {
        if self.is_open == Some(false) {
            return Word::Offline;
        }
        let show = self.show.as_deref().and_then(by_show);
        by_activities(&self.activities).or(show).or_else(|| self.note.as_ref().and_then(by_note)).unwrap_or(Word::Available)
    }
}

/// The first activity, in the order of this table, that says something.
fn by_activities(activities: &[String]) -> Option<Word> {
    const TABLE: [(Word, &[&str]); 6] = [
        (Word::InCall, &["on-the-phone"]),
        (Word::Presenting, &["presentation"]),
        (Word::InMeeting, &["meeting", "appointment", "performance"]),
        (Word::Busy, &["busy", "steering"]),
        (Word::Away, &["away", "meal", "breakfast", "lunch", "dinner", "in-transit", "travel", "shopping"]),
        (Word::LongAway, &["vacation", "holiday", "sleeping", "permanent-absence"]),
    ];
    let known = |names: &[&str]| activities.iter().any(|activity| names.iter().any(|name| activity.eq_ignore_ascii_case(name)));
    TABLE.iter().find(|(_, names)| known(names)).map(|(word, _)| *word)
}

fn by_show(show: &str) -> Option<Word> {
    match show {
        "chat" => Some(Word::Free),
        "away" => Some(Word::Away),
        "xa" => Some(Word::LongAway),
        "dnd" => Some(Word::DoNotDisturb),
        _ => None,
    }
}

/// Clients that say nothing but a note (case 61): English only, as they do.
fn by_note(note: &Note) -> Option<Word> {
    const TABLE: [(&str, Word); 8] = [
        ("on the phone", Word::InCall),
        ("do not disturb", Word::DoNotDisturb),
        ("be right back", Word::BeRightBack),
        ("away", Word::Away),
        ("busy", Word::Busy),
        ("idle", Word::Idle),
        ("offline", Word::Offline),
        ("online", Word::Available),
    ];
    TABLE.iter().find(|(text, _)| note.text.trim().eq_ignore_ascii_case(text)).map(|(_, word)| *word)
}
