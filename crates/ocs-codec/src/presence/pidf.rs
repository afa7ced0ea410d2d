//! `application/pidf+xml` (RFC 3863) with the activities of an early RPID inside the status: the words `busy` and `away` alone.

use simple_codec::XmlFault;
use simple_codec::pidf::{Pidf, Word};
use simple_codec::xml::escape;

use super::{Availability, Document, Note, State};

pub(super) fn read(bytes: &[u8]) -> Result<Document, XmlFault> {
    let pidf = Pidf::read(bytes)?;
    let state = match pidf.word() {
        Word::Free | Word::Available => Some(State::of(Availability::Available)),
        Word::Busy => Some(State::of(Availability::Busy)),
        Word::InCall => Some(State::doing(Availability::Busy, "on-the-phone")),
        Word::InMeeting => Some(State::doing(Availability::Busy, "in-a-meeting")),
        Word::DoNotDisturb => Some(State::of(Availability::DoNotDisturb)),
        Word::Presenting => Some(State::doing(Availability::DoNotDisturb, "in-presentation")),
        Word::Away => Some(State::of(Availability::Away)),
        Word::LongAway => Some(State::doing(Availability::Away, "off-work")),
        Word::BeRightBack => Some(State::of(Availability::BeRightBack)),
        Word::Idle => Some(State::of(Availability::Inactive)),
        Word::Offline => Some(State::of(Availability::Offline)),
        Word::Unknown => None,
    };
    let notes =
        pidf.person.iter().map(|person| &person.note).chain(pidf.tuples.iter().map(|tuple| &tuple.note)).chain([&pidf.note]);
    // The document is the whole of what there is to say.
    let note = notes.flatten().map(|note| Note::read(&note.text)).next().unwrap_or(Note::None);
    Ok(Document { uri: pidf.entity, state, note })
}

pub(super) fn write(document: &Document) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:es=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\" entity=\"{}\">",
        escape(&document.uri)
    );
    if let Some(state) = &document.state {
        let is_open = state.availability != Availability::Offline;
        let activity = match state.availability {
            Availability::Available | Availability::Offline => None,
            Availability::Busy | Availability::BusyInactive | Availability::DoNotDisturb => Some("busy"),
            Availability::Inactive | Availability::BeRightBack | Availability::Away => Some("away"),
        };
        out.push_str(&format!("<tuple id=\"0\"><status><basic>{}</basic>", if is_open { "open" } else { "closed" }));
        if let Some(word) = activity {
            out.push_str(&format!("<es:activities><es:activity>{word}</es:activity></es:activities>"));
        }
        out.push_str("</status>");
        if let Note::Is(text) = &document.note {
            out.push_str(&format!("<note>{}</note>", escape(text)));
        }
        out.push_str("</tuple>");
    }
    out.push_str("</presence>");
    out
}
