//! Texts and states in the protocol's words, and back. Pure functions.

use std::time::{Duration, SystemTime};

use interchange_model::{DevicePresence, Failure, Plain, Presence, PresenceState, Rich, Text};
use interchange_rich_text::Reading;
use mail_parser::MessageParser;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use unicode_segmentation::UnicodeSegmentation;

use crate::codec::{ClientType, Said, UserStatus, WireString, data};
use crate::limits;
use crate::settings::BusyAs;

/// Bytes of a subject (`interchange_model::Text::subject`).
const MAX_SUBJECT: usize = 1_024;

/// What is older than that when it is shown says when it was written.
const LATE: Duration = Duration::from_secs(120);

const MOMENT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// The words that a client has said as text.
#[must_use]
pub fn from_text(words: &WireString) -> Text {
    Text { plain: Plain::new(&words.to_text()), ..Text::default() }
}

/// What a client has said as HTML.
#[must_use]
pub fn from_html(html: &[u8]) -> Text {
    read_html(&String::from_utf8_lossy(html))
}

fn read_html(html: &str) -> Text {
    let reading: Reading = interchange_rich_text::from_html(html);
    let plain = reading.plain.clone();
    let rich = reading.beyond_plain();
    Text { plain, rich, ..Text::default() }
}

/// What a client has said as a MIME document: its text/html part, else its text/plain part. Pictures are left out.
#[must_use]
pub fn from_mime(document: &[u8]) -> Option<Text> {
    let message = MessageParser::default().parse(document)?;
    let is = |part: &mail_parser::MessagePart<'_>, html| {
        matches!((&part.body, html), (mail_parser::PartType::Html(_), true) | (mail_parser::PartType::Text(_), false))
    };
    let html = message.parts.iter().find(|part| is(part, true)).and_then(|part| part.text_contents());
    if let Some(html) = html {
        return Some(read_html(html));
    }
    let plain = message.parts.iter().find(|part| is(part, false)).and_then(|part| part.text_contents())?;
    Some(Text { plain: Plain::new(plain), ..Text::default() })
}

/// A subject that a client has set.
#[must_use]
pub fn from_subject(subject: &[u8]) -> Option<Plain> {
    let text = String::from_utf8_lossy(subject);
    let plain = Plain::new(text.get(..text.floor_char_boundary(MAX_SUBJECT)).unwrap_or_default());
    (!plain.is_empty()).then_some(plain)
}

/// What is said to a client of this type, one after another. `accepted`: when the hub took it.
#[must_use]
pub fn to_said(text: &Text, to: ClientType, accepted: SystemTime, now: SystemTime) -> Vec<Said> {
    let late = late(text.written.unwrap_or(accepted), now);
    let mut said = Vec::new();
    let subject = text.subject.as_ref().map(Plain::as_str).filter(|subject| !subject.is_empty());
    if to == ClientType::RICH {
        if let Some(subject) = subject {
            said.push(Said::data(data::SUBJECT, 0, subject.as_bytes().to_vec()));
        }
        // What must stand beside the words is said as text.
        if late.is_none()
            && text.files.is_empty()
            && text.relation.is_none()
            && let Some(rich) = &text.rich
        {
            said.extend(html_parts(rich));
            return said;
        }
    }
    let words = words(text, late.as_deref(), subject.filter(|_| to != ClientType::RICH));
    said.extend(pieces(&words).into_iter().map(|piece| Said::Text(WireString::new(&piece))));
    said
}

fn late(written: SystemTime, now: SystemTime) -> Option<String> {
    now.duration_since(written).ok().filter(|age| *age > LATE)?;
    OffsetDateTime::from(written).format(MOMENT).ok()
}

/// The words of a text. What the protocol has nothing else for is said in words.
fn words(text: &Text, late: Option<&str>, subject: Option<&str>) -> String {
    let mut words = text.in_words().into_owned();
    if let Some(subject) = subject {
        words = if words.is_empty() { subject.to_owned() } else { format!("{subject}\n{words}") };
    }
    for file in text.unnamed_files() {
        let description = file.description.as_ref().map(|what| format!("{}: ", what.as_str())).unwrap_or_default();
        words = format!("{words}{}{description}{}", if words.is_empty() { "" } else { "\n" }, file.url.as_str());
    }
    match late {
        Some(moment) => format!("[{moment} UTC] {words}"),
        None => words,
    }
}

/// A text in strings that a client can take, each of whole characters as a person sees them.
fn pieces(words: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for grapheme in words.graphemes(true) {
        // One of thousands of marks is cut as well: no string may be longer than the protocol's.
        for character in
            if grapheme.len() > limits::PIECE { grapheme.split_inclusive(|_: char| true).collect() } else { vec![grapheme] }
        {
            if pieces.last().is_some_and(|piece| piece.len() + character.len() > limits::PIECE) {
                pieces.push(String::new());
            }
            if let Some(piece) = pieces.last_mut() {
                piece.push_str(character);
            }
        }
    }
    pieces
}

fn html_parts(rich: &Rich) -> Vec<Said> {
    let html = interchange_rich_text::to_html(rich);
    let part = |bytes: &str| Said::data(data::HTML, 0, bytes.as_bytes().to_vec());
    if html.len() <= data::PART {
        return vec![part(&html)];
    }
    let mut said = vec![Said::data(data::PARTS, 0, Vec::new())];
    let mut rest = html.as_str();
    while !rest.is_empty() {
        let (first, others) = rest.split_at(rest.floor_char_boundary(data::PART));
        said.push(part(first));
        rest = others;
    }
    said.push(Said::data(data::PARTS_END, 0, Vec::new()));
    said
}

/// What the sender of a message is told that was not delivered; never any of its text. `when`: when the hub took it.
#[must_use]
pub fn notice(failure: &Failure) -> Text {
    // The time of entry is in the id itself (RFC 9562 §5.7).
    let accepted = failure.of.and_then(|id| u64::try_from(id.0 >> 80).ok()).map(Duration::from_millis);
    let accepted = accepted.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    let of = match accepted.map(|time| OffsetDateTime::from(time).format(MOMENT)) {
        Some(Ok(moment)) => format!("Your message of {moment} UTC"),
        _ => "Your message".to_owned(),
    };
    let detail = failure.detail.map(|detail| format!(" {}", detail.sentence())).unwrap_or_default();
    Text { plain: Plain::new(&format!("{of} was not delivered. {}{detail}", failure.why.sentence())), ..Text::default() }
}

/// What a client says of its user; `None`: not here.
#[must_use]
pub fn from_status(status: &UserStatus, now: SystemTime) -> Option<DevicePresence> {
    // Flags, such as that of mobile clients, are above.
    let state = match status.status & 0xff {
        UserStatus::OFFLINE => return None,
        UserStatus::MEETING => PresenceState::InMeeting,
        UserStatus::IDLE => PresenceState::Idle,
        UserStatus::AWAY => PresenceState::Away,
        UserStatus::BUSY => PresenceState::DoNotDisturb,
        _ => PresenceState::Available,
    };
    let text = status.text.to_text();
    let note = Plain::new(text.get(..text.floor_char_boundary(DevicePresence::LONGEST_NOTE)).unwrap_or_default());
    Some(DevicePresence {
        note: (!note.is_empty()).then_some(note),
        idle_since: (state == PresenceState::Idle).then_some(now),
        ..DevicePresence::new(None, state)
    })
}

/// How a client is told of somebody; `None`: as not here.
#[must_use]
pub fn to_status(presence: &Presence, busy: BusyAs) -> Option<UserStatus> {
    let best = presence.best().filter(|_| !presence.is_unknown)?;
    let status = match best.state {
        PresenceState::Free | PresenceState::Available => UserStatus::ACTIVE,
        PresenceState::Idle => UserStatus::IDLE,
        PresenceState::BeRightBack | PresenceState::Away | PresenceState::LongAway => UserStatus::AWAY,
        PresenceState::DoNotDisturb | PresenceState::Presenting => UserStatus::BUSY,
        PresenceState::Busy | PresenceState::InCall | PresenceState::InMeeting => match busy {
            BusyAs::DoNotDisturb => UserStatus::BUSY,
            BusyAs::Meeting => UserStatus::MEETING,
        },
        PresenceState::Unknown | PresenceState::Offline => return None,
    };
    let text = best.note.as_ref().map(Plain::as_str).unwrap_or_default();
    Some(UserStatus { status, time: 0, text: text.into() })
}
