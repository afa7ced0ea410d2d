//! `application/msrtc-event-categories+xml` (MS-PRES): what a person has published, by categories. An update may hold only what has changed.

use simple_codec::XmlFault;
use simple_codec::xml::{self, Element, escape};

use super::{Availability, Document, Note, State};

const CATEGORIES: &str = "http://schemas.microsoft.com/2006/09/sip/categories";
const STATE: &str = "http://schemas.microsoft.com/2006/09/sip/state";
const NOTE: &str = "http://schemas.microsoft.com/2006/09/sip/note";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

pub(super) fn read(bytes: &[u8]) -> Result<Document, XmlFault> {
    let root = xml::read(bytes)?;
    if root.name != "categories" {
        return Err(XmlFault::Other("categories"));
    }
    let uri = root.attribute("uri").map(str::trim).filter(|uri| !uri.is_empty()).ok_or(XmlFault::Other("a uri"))?.to_owned();
    let of = |name: &'static str| {
        let categories = root.children().filter(move |category| category.attribute("name") == Some(name));
        categories.flat_map(move |category| category.children().filter(move |child| child.name == name))
    };
    // Of several states the one that the server made of all.
    let is_aggregate =
        |state: &&Element| state.attribute_in(INSTANCE, "type").is_some_and(|kind| kind.ends_with("aggregateState"));
    let state = of("state").find(is_aggregate).and_then(read_state).or_else(|| of("state").find_map(read_state));
    let has_note = root.children().any(|category| category.attribute("name") == Some("note"));
    let bodies = || of("note").flat_map(|note| note.children().filter(|body| body.name == "body"));
    let written = |body: &&Element| !body.text().is_empty();
    let personal = bodies().filter(written).find(|body| body.attribute("type") == Some("personal"));
    let note = match personal.or_else(|| bodies().find(written)) {
        Some(body) => Note::read(body.text()),
        None if has_note => Note::None,
        None => Note::Unchanged,
    };
    Ok(Document { uri, state, note })
}

fn read_state(element: &Element) -> Option<State> {
    let child = |name: &str| element.children().find(|child| child.name == name);
    let number = child("availability")?.text().parse().ok()?;
    let activity = child("activity").and_then(|activity| activity.attribute("token")).map(str::trim);
    let availability = Availability::of_number(number);
    let state = match activity.filter(|token| !token.is_empty()) {
        Some(token) => State::doing(availability, token),
        None => State::of(availability),
    };
    Some(state.since(element.attribute("lastActive").map(str::trim)))
}

pub(super) fn write(document: &Document, published: &str) -> String {
    let published = escape(published);
    let mut out = format!("<categories xmlns=\"{CATEGORIES}\" uri=\"{}\">", escape(&document.uri));
    // An empty one takes an earlier note back; leaving it out does not.
    out.push_str(&format!("<category name=\"note\" instance=\"0\" publishTime=\"{published}\"><note xmlns=\"{NOTE}\">"));
    if let Note::Is(text) = &document.note {
        out.push_str(&format!("<body type=\"personal\" uri=\"\">{}</body>", escape(text)));
    }
    out.push_str("</note></category>");
    if let Some(State { availability, activity, last_active }) = &document.state {
        let since = last_active.as_deref().map(|time| format!(" lastActive=\"{}\"", escape(time))).unwrap_or_default();
        out.push_str(&format!(
            "<category name=\"state\" instance=\"1\" publishTime=\"{published}\"><state xmlns=\"{STATE}\" manual=\"false\" \
             xmlns:xsi=\"{INSTANCE}\" xsi:type=\"aggregateState\"{since}><availability>{}</availability>",
            availability.number()
        ));
        if let Some(token) = activity {
            out.push_str(&format!("<activity token=\"{}\"/>", escape(token)));
        }
        out.push_str("</state></category>");
    }
    out.push_str("</categories>");
    out
}
