//! Presence documents: `application/pidf+xml` (RFC 3863), with activities of people (RPID, RFC 4480; data model, RFC 4479).

mod word;

use crate::xml::{self, Element, XmlFault, escape};

pub use word::Word;

/// The media type.
pub const MEDIA_TYPE: (&str, &str) = ("application", "pidf+xml");

const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// What activities were in while RPID was being written: older clients (Bria, Jitsi) still write these.
const OLD_RPID: [&str; 4] = [
    "urn:ietf:params:xml:ns:pidf:status:rpid",
    // Microsoft's servers.
    "urn:ietf:params:xml:ns:pidf:status:rpid-status",
    "urn:ietf:params:xml:ns:pidf:rpid-tuple",
    "urn:ietf:params:xml:ns:pidf:rpid-person",
];
/// The namespace of XMPP's `show`, which gateways put into a status (RFC 8048 §3.3).
const JABBER: &str = "jabber:client";

/// Tuples that are read; more are left out.
const MAX_TUPLES: usize = 64;

/// A presence document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pidf {
    /// Whose presence it is, as a URI: `sip:`, `pres:`.
    pub entity: String,
    /// What is said of each way to reach the person.
    pub tuples: Vec<Tuple>,
    /// What is said of the person.
    pub person: Option<Person>,
    /// A note on the whole.
    pub note: Option<Note>,
}

/// One way to reach the person: a device, a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tuple {
    /// Unique in the document; an xs:ID: see [`id_of`].
    pub id: String,
    /// Whether it can be reached; `None`: it says nothing of it.
    pub is_open: Option<bool>,
    /// XMPP's word.
    pub show: Option<String>,
    /// Names of activities.
    pub activities: Vec<String>,
    /// Where.
    pub contact: Option<String>,
    /// Of the contact, in thousandths: 0 to 1,000 (RFC 3863 §4.1.5).
    pub priority: Option<u16>,
    /// In the person's words.
    pub note: Option<Note>,
}

/// What is said of the person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    /// Names of activities.
    pub activities: Vec<String>,
    /// In the person's words.
    pub note: Option<Note>,
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// The text.
    pub text: String,
    /// BCP 47 tag of its language.
    pub language: Option<String>,
}

impl Pidf {
    /// Reads a document. What is not known in it is skipped.
    ///
    /// # Errors
    /// [`XmlFault`]; [`XmlFault::Other`] for another document, or one that does not say whose presence it is.
    pub fn read(bytes: &[u8]) -> Result<Self, XmlFault> {
        let root = xml::read(bytes)?;
        if !root.is(PIDF, "presence") {
            return Err(XmlFault::Other("presence"));
        }
        let entity = root.attribute("entity").map(str::trim).filter(|entity| !entity.is_empty());
        let person =
            root.children().find(|child| child.name == "person" && [DATA_MODEL, RPID].contains(&child.namespace.as_str()));
        let tuples = root.children().filter(|child| child.is(PIDF, "tuple")).take(MAX_TUPLES);
        Ok(Self {
            entity: entity.ok_or(XmlFault::Other("an entity"))?.to_owned(),
            tuples: tuples.map(tuple).collect(),
            person: person.map(|person| Person { activities: activities(person), note: note(person) }),
            note: note(&root),
        })
    }

    /// The document. Tuples get the ids they have; see [`id_of`].
    #[must_use]
    pub fn write(&self) -> String {
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"{PIDF}\" xmlns:dm=\"{DATA_MODEL}\" xmlns:rpid=\"{RPID}\" entity=\"{}\">",
            escape(&self.entity)
        );
        for tuple in &self.tuples {
            write_tuple(&mut out, tuple);
        }
        if let Some(note) = &self.note {
            write_note(&mut out, "note", note);
        }
        // RFC 4479 §5: extensions of the document come last.
        if let Some(person) = &self.person {
            out.push_str("<dm:person id=\"person\">");
            write_activities(&mut out, &person.activities);
            if let Some(note) = &person.note {
                write_note(&mut out, "dm:note", note);
            }
            out.push_str("</dm:person>");
        }
        out.push_str("</presence>");
        out
    }
}

fn tuple(element: &Element) -> Tuple {
    let status = element.child(PIDF, "status");
    let inside =
        |namespace, name| status.and_then(|status| status.child(namespace, name)).or_else(|| element.child(namespace, name));
    let basic = status.and_then(|status| status.child(PIDF, "basic")).map(Element::text);
    let contact = element.child(PIDF, "contact");
    Tuple {
        id: element.attribute("id").unwrap_or_default().to_owned(),
        is_open: match basic {
            Some("open") => Some(true),
            Some("closed") => Some(false),
            _ => None,
        },
        show: inside(JABBER, "show").map(|show| show.text().to_owned()),
        activities: [status, Some(element)]
            .into_iter()
            .flatten()
            .map(activities)
            .find(|found| !found.is_empty())
            .unwrap_or_default(),
        contact: contact.map(|contact| contact.text().to_owned()).filter(|contact| !contact.is_empty()),
        priority: contact.and_then(|contact| thousandths(contact.attribute("priority")?)),
        note: note(element).or_else(|| status.and_then(note)),
    }
}

/// The names of the activities in an element, in whatever namespace they were put: `<activities><busy/></activities>`, or, in the oldest
/// form, `<activities><activity>busy</activity></activities>`.
fn activities(element: &Element) -> Vec<String> {
    let is_rpid = |namespace: &str| namespace == RPID || OLD_RPID.contains(&namespace);
    let lists =
        element.children().filter(|child| is_rpid(&child.namespace) && matches!(child.name.as_str(), "activities" | "activity"));
    let mut names = Vec::new();
    for list in lists {
        let inside: Vec<&Element> = list.children().filter(|child| is_rpid(&child.namespace) && child.name != "note").collect();
        if inside.is_empty() && !list.text().is_empty() {
            names.push(list.text().to_owned());
        }
        for one in inside {
            let written = if one.name == "activity" { one.text() } else { &one.name };
            names.push(written.to_owned());
        }
    }
    names.truncate(16);
    names
}

fn note(element: &Element) -> Option<Note> {
    let is_note = |child: &&Element| child.name == "note" && [PIDF, DATA_MODEL, RPID].contains(&child.namespace.as_str());
    let mut notes = element.children().filter(is_note).filter(|note| !note.text().is_empty());
    notes.next().map(|note| Note { text: note.text().to_owned(), language: note.language().map(str::to_owned) })
}

fn write_tuple(out: &mut String, tuple: &Tuple) {
    out.push_str(&format!("<tuple id=\"{}\"><status>", escape(&tuple.id)));
    if let Some(is_open) = tuple.is_open {
        out.push_str(if is_open { "<basic>open</basic>" } else { "<basic>closed</basic>" });
    }
    if let Some(show) = &tuple.show {
        out.push_str(&format!("<show xmlns=\"{JABBER}\">{}</show>", escape(show)));
    }
    out.push_str("</status>");
    write_activities(out, &tuple.activities);
    // RFC 3863 §4.1.2: status, extensions, contact, notes.
    if let Some(contact) = &tuple.contact {
        out.push_str("<contact");
        if let Some(priority) = tuple.priority {
            out.push_str(&format!(" priority=\"{}\"", q_value(priority)));
        }
        out.push_str(&format!(">{}</contact>", escape(contact)));
    }
    if let Some(note) = &tuple.note {
        write_note(out, "note", note);
    }
    out.push_str("</tuple>");
}

fn write_activities(out: &mut String, activities: &[String]) {
    let known = |name: &&String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if activities.iter().any(|name| known(&name)) {
        out.push_str("<rpid:activities>");
        for name in activities.iter().filter(known) {
            out.push_str(&format!("<rpid:{name}/>"));
        }
        out.push_str("</rpid:activities>");
    }
}

fn write_note(out: &mut String, name: &str, note: &Note) {
    match &note.language {
        Some(language) => out.push_str(&format!("<{name} xml:lang=\"{}\">", escape(language))),
        None => out.push_str(&format!("<{name}>")),
    }
    out.push_str(&format!("{}</{name}>", escape(&note.text)));
}

/// A stable xs:ID for a device, whatever its name (case 59): it begins with a letter and has no colon.
#[must_use]
pub fn id_of(device: &str) -> String {
    // FNV-1a: it need only tell the few devices of one person apart.
    let hash =
        device.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("ID-{hash:016x}")
}

/// The q value of an XMPP priority, in thousandths; `None` for a negative one, which SIP cannot say (RFC 8048 §3.3).
#[must_use]
pub fn q_of_priority(priority: i8) -> Option<u16> {
    let priority = u32::try_from(priority).ok()?;
    // Rounded: exact for the way back.
    u16::try_from((priority * 1000 + 63) / 127).ok()
}

/// The XMPP priority of a q value in thousandths.
#[must_use]
pub fn priority_of_q(q: u16) -> i8 {
    let priority = (u32::from(q.min(1000)) * 127 + 500) / 1000;
    i8::try_from(priority).unwrap_or(i8::MAX)
}

/// RFC 3863 §4.1.5: `0`, `1`, and decimals between with at most three digits.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let fits = matches!(whole, "0" | "1" | "") && fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !fits || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let padded = format!("{fraction:0<3}");
    let value = padded.parse::<u16>().ok()? + if whole == "1" { 1000 } else { 0 };
    (value <= 1000).then_some(value)
}

fn q_value(thousandths: u16) -> String {
    let text = format!("{}.{:03}", thousandths.min(1000) / 1000, thousandths.min(1000) % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
