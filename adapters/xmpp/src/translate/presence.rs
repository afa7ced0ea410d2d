//! Presence stanza and canonical presence (RFC 6121 §3, §4), both directions side by side.

use std::time::SystemTime;

use bytes::BytesMut;
use interchange_model::{Address, Device, DevicePresence, Envelope, Native, Plain, Presence, PresenceState, Watch};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{best, native, push_child, stamp_text};
use crate::PLATFORM;
use crate::address::push_address;
use crate::codec::{Element, Namespace, push_attribute};

/// The resource under which somebody is shown whose platform does not tell devices apart: a presence without one is overlooked by clients
/// (RFC 6121 §4.2.2).
const RESOURCE: &str = "interchange";

/// What is asked or said of a watch by a presence of this type (RFC 6121 §3).
pub(crate) fn watch_of(kind: &str) -> Option<Watch> {
    Some(match kind {
        "subscribe" => Watch::Ask,
        "subscribed" => Watch::Allow,
        "unsubscribed" => Watch::Refuse,
        "unsubscribe" => Watch::Stop,
        "probe" => Watch::Fetch,
        _ => return None,
    })
}

fn type_of(watch: Watch) -> &'static str {
    match watch {
        Watch::Ask => "subscribe",
        Watch::Allow => "subscribed",
        Watch::Refuse => "unsubscribed",
        Watch::Stop => "unsubscribe",
        Watch::Fetch => "probe",
    }
}

/// Reads a presence stanza without a type, or of type `unavailable`: what one device says. `preferred`: the language of the watcher.
pub(crate) fn to_presence(stanza: Element<'_>, native: Option<Native>, preferred: Option<&str>) -> Presence {
    if stanza.attribute("type").is_some() {
        return Presence::default();
    }
    let idle_since = stanza.child(Namespace::Idle, "idle").and_then(|idle| time(idle.attribute("since")?));
    let show = stanza.child(Namespace::Server, "show").map(|show| show.text());
    let state = match show.as_deref().map(str::trim) {
        Some("chat") => PresenceState::Free,
        Some("away") if idle_since.is_some() => PresenceState::Idle,
        Some("away") => PresenceState::Away,
        Some("xa") => PresenceState::LongAway,
        Some("dnd") => PresenceState::DoNotDisturb,
        // RFC 6121 §4.7.2.1: here. Another word is one that nobody may use, and means no more.
        _ => PresenceState::Available,
    };
    let note = best(stanza, "status", preferred).map(|status| status.text()).filter(|text| !text.trim().is_empty());
    let note =
        note.map(|text| Plain::new(text.get(..text.floor_char_boundary(DevicePresence::LONGEST_NOTE)).unwrap_or_default()));
    // RFC 6121 §4.7.2.3
    let priority = stanza.child(Namespace::Server, "priority").and_then(|priority| priority.text().trim().parse().ok());
    Presence::of(DevicePresence { device: None, state, note, priority, idle_since, native })
}

fn time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// Appends what is asked or said of a watch: always between people, never their devices (RFC 6121 §3.1.2).
pub(crate) fn push_watch(out: &mut BytesMut, envelope: &Envelope, watch: Watch, id: Option<&str>) {
    open(out, &envelope.from, None, &envelope.to);
    if let Some(id) = id {
        push_attribute(out, "id", id);
    }
    push_attribute(out, "type", type_of(watch));
    out.extend_from_slice(b"/>");
}

/// Appends a presence: a stanza for each device, and one for each that is gone. How many these are.
pub(crate) fn push_presence(out: &mut BytesMut, envelope: &Envelope, presence: &Presence) -> usize {
    let before = presence.devices.is_empty() && presence.gone.is_empty();
    for gone in &presence.gone {
        push_unavailable(out, envelope, Some(gone));
    }
    let resource = Device::new(RESOURCE);
    if before {
        // Whoever was shown before without a device of a name; and, after a restart, whoever was shown at all.
        push_unavailable(out, envelope, resource.as_ref());
        push_unavailable(out, envelope, None);
    }
    for device in &presence.devices {
        push_device(out, envelope, device, device.device.as_ref().or(resource.as_ref()));
    }
    presence.gone.len() + presence.devices.len() + if before { 2 } else { 0 }
}

fn push_unavailable(out: &mut BytesMut, envelope: &Envelope, device: Option<&Device>) {
    open(out, &envelope.from, device, &envelope.to);
    out.extend_from_slice(b" type='unavailable'/>");
}

fn push_device(out: &mut BytesMut, envelope: &Envelope, device: &DevicePresence, resource: Option<&Device>) {
    open(out, &envelope.from, resource, &envelope.to);
    out.extend_from_slice(b">");
    let (show, note) = show_of(device.state);
    if let Some(show) = show {
        push_child(out, "show", show);
    }
    if let Some(note) = device.note.as_ref().map(Plain::as_str).or(note) {
        push_child(out, "status", note);
    }
    if let Some(priority) = device.priority {
        push_child(out, "priority", &priority.to_string());
    }
    match device.native.as_ref().filter(|native| native.platform == PLATFORM.name()) {
        Some(native) => native::push(out, native),
        None => {
            if let Some(since) = device.idle_since.and_then(stamp_text) {
                out.extend_from_slice(b"<idle xmlns='urn:xmpp:idle:1'");
                push_attribute(out, "since", &since);
                out.extend_from_slice(b"/>");
            }
        }
    }
    out.extend_from_slice(b"</presence>");
}

/// The word of `show` (RFC 6121 §4.7.2.1), and what says the rest where the person has said nothing.
fn show_of(state: PresenceState) -> (Option<&'static str>, Option<&'static str>) {
    match state {
        PresenceState::Free => (Some("chat"), None),
        PresenceState::Available | PresenceState::Unknown | PresenceState::Offline => (None, None),
        PresenceState::Idle | PresenceState::Away => (Some("away"), None),
        PresenceState::BeRightBack => (Some("away"), Some("Be right back")),
        PresenceState::LongAway => (Some("xa"), None),
        PresenceState::DoNotDisturb | PresenceState::Busy => (Some("dnd"), None),
        PresenceState::InCall => (Some("dnd"), Some("On the phone")),
        PresenceState::InMeeting => (Some("dnd"), Some("In a meeting")),
        PresenceState::Presenting => (Some("dnd"), Some("Presenting")),
    }
}

fn open(out: &mut BytesMut, from: &Address, device: Option<&Device>, to: &Address) {
    out.extend_from_slice(b"<presence");
    push_address(out, "from", from, device);
    push_address(out, "to", to, None);
}
