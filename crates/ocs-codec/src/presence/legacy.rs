//! `text/xml+msrtc.pidf` (MS-SIP): one number for whether somebody is there and one for what they do.

use simple_codec::XmlFault;
use simple_codec::xml::{self, Element, escape};

use super::{Availability, Document, Note, State};

const PRESENCE: &str = "http://schemas.microsoft.com/2002/09/sip/presence";

pub(super) fn read(bytes: &[u8]) -> Result<Document, XmlFault> {
    let root = xml::read(bytes)?;
    if root.name != "presentity" {
        return Err(XmlFault::Other("presentity"));
    }
    let uri = root.attribute("uri").map(str::trim).filter(|uri| !uri.is_empty()).ok_or(XmlFault::Other("a uri"))?;
    let uri = if uri.contains(':') { uri.to_owned() } else { format!("sip:{uri}") };
    let user = child(&root, "userInfo");
    let note = user.and_then(|user| child(user, "note")).map(Element::text);
    let spoken = child(&root, "activity").and_then(|activity| activity.attribute("note")).map(str::trim);
    let note = match (note, spoken) {
        (Some(note), _) if !note.is_empty() => Note::read(note),
        (_, Some(spoken)) if !spoken.is_empty() => Note::read(spoken),
        (None, None) => Note::Unchanged,
        _ => Note::None,
    };
    // Servers of 2007 say it in their own numbers as well.
    let newer = user.and_then(|user| child(user, "states")).into_iter().flat_map(Element::children);
    let newer =
        newer.filter(|state| state.name == "state").filter_map(|state| state.attribute("avail")?.trim().parse::<u32>().ok());
    let state = read_state(&root).map(|(state, number)| match newer.max() {
        Some(newer) if newer > number => State::of(Availability::of_number(newer)),
        _ => state,
    });
    Ok(Document { uri, state, note })
}

fn child<'a>(element: &'a Element, name: &str) -> Option<&'a Element> {
    element.children().find(|child| child.name == name)
}

fn read_state(root: &Element) -> Option<(State, u32)> {
    let aggregate = |name: &str| child(root, name)?.attribute("aggregate")?.trim().parse::<u32>().ok();
    let there = aggregate("availability")?;
    let state = match (there, aggregate("activity").unwrap_or(0)) {
        (..=99, _) => State::of(Availability::Offline),
        // Perhaps there.
        (..=299, _) => State::of(Availability::Away),
        (_, 150..=199) => State::doing(Availability::Away, "out-to-lunch"),
        (_, 200..=299) => State::of(Availability::Inactive),
        (_, 300..=399) => State::of(Availability::BeRightBack),
        (_, 400..=499 | 800..) => State::of(Availability::Available),
        (_, 500..=599) => State::doing(Availability::Busy, "on-the-phone"),
        (_, 600..=699) => State::of(Availability::Busy),
        _ => State::of(Availability::Away),
    };
    let number = state.availability.number();
    Some((state, number))
}

fn numbers(state: Option<&State>) -> (u32, u32) {
    let Some(state) = state else { return (0, 0) };
    let activity = match (state.availability, state.activity.as_deref()) {
        (Availability::Offline, _) => return (0, 0),
        (Availability::Available, _) => 400,
        (Availability::Inactive, _) => 200,
        (Availability::Busy | Availability::BusyInactive, Some("on-the-phone")) => 500,
        // It has no word for who must not be disturbed.
        (Availability::Busy | Availability::BusyInactive | Availability::DoNotDisturb, _) => 600,
        (Availability::BeRightBack, _) => 300,
        (Availability::Away, Some("out-to-lunch")) => 150,
        (Availability::Away, _) => 100,
    };
    (300, activity)
}

pub(super) fn write(document: &Document) -> String {
    let (there, activity) = numbers(document.state.as_ref());
    // In this form the address stands without its scheme.
    let address = document.uri.strip_prefix("sip:").filter(|rest| !rest.contains(':')).unwrap_or(&document.uri);
    format!(
        "<presentity uri=\"{}\" xmlns=\"{PRESENCE}\"><availability aggregate=\"{there}\" description=\"\" epid=\"\"/>\
         <activity aggregate=\"{activity}\" description=\"\" note=\"\"/><userInfo xmlns=\"\"><note>{}</note></userInfo></presentity>",
        escape(address),
        escape(document.note.text())
    )
}
