//! Stanza to envelope and back, side by side: pure functions.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use interchange_model::{Body, Envelope, Plain, Refusal, Text, TextKind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::address::{Jid, push_address, push_domain};
use crate::codec::{Element, Namespace, push_attribute, push_text};
use crate::errors::StanzaError;

/// Bytes of text that the hub takes in one message.
pub(crate) const MAX_TEXT: usize = 65_536;
/// Bytes of a subject.
const MAX_SUBJECT: usize = 1_024;
/// Bytes of a stanza's id and of a thread's name.
const MAX_ID: usize = 255;
/// A message that lay longer than this with the hub is marked as delayed.
const DELAYED: Duration = Duration::from_secs(60);

/// What a message stanza says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Words.
    Text(Text),
    /// Nothing for a person: only chat states, receipts, or what the hub does not carry. Dropped, and no one is told.
    Nothing,
    /// Dropped because it claims to tell what someone else said (XEP-0280 §11).
    Forged,
    /// For a room: there are none here.
    Room,
    /// Refused, and the sender is told so.
    Refused(Refusal),
}

/// Reads a message stanza that is not an error. `language` is the stream's.
#[must_use]
pub(crate) fn to_content(message: Element<'_>, language: Option<&str>) -> Content {
    // Carbons come from one's own server, never from another (XEP-0280 §11).
    if message.children().any(|child| child.namespace() == Namespace::Carbons && matches!(child.name(), "sent" | "received")) {
        return Content::Forged;
    }
    // RFC 6121 §5.2.2: an unknown type is `normal`.
    let kind = match message.attribute("type") {
        Some("chat") => TextKind::Chat,
        Some("headline") => TextKind::Headline,
        Some("groupchat") => return Content::Room,
        _ => TextKind::Single,
    };
    let subject = best(message, "subject").map(|subject| subject.text()).filter(|subject| !subject.is_empty());
    if subject.as_ref().is_some_and(|subject| subject.len() > MAX_SUBJECT) {
        return Content::Refused(Refusal::TooLarge);
    }
    let body = best(message, "body");
    let words = body.map(|body| body.text()).filter(|words| !words.is_empty());
    let (plain, subject) = match (words, subject) {
        (Some(words), subject) => (words, subject),
        // A `normal` message may say all in its subject.
        (None, Some(subject)) if kind == TextKind::Single => (subject, None),
        (None, _) => return Content::Nothing,
    };
    if plain.len() > MAX_TEXT {
        return Content::Refused(Refusal::TooLarge);
    }
    // RFC 6120 §8.1.5: inherited from the stanza, and from the stream.
    let language = body.and_then(Element::language).or(message.language()).or(language).filter(|tag| is_language(tag));
    let thread = message.child(Namespace::Server, "thread").map(|thread| thread.text());
    Content::Text(Text {
        plain: Plain::new(&plain),
        subject: subject.map(|subject| Plain::new(&subject)),
        language: language.map(Arc::from),
        conversation: thread.filter(|name| (1..=MAX_ID).contains(&name.len())).map(|name| Arc::from(&*name)),
        kind,
        written: written(message),
    })
}

/// The stanza's id, where it fits into an envelope.
#[must_use]
pub(crate) fn native_id(stanza: Element<'_>) -> Option<Arc<str>> {
    stanza.attribute("id").filter(|id| (1..=MAX_ID).contains(&id.len())).map(Arc::from)
}

/// Of several in different languages the one without a language of its own, else the first.
fn best<'a>(message: Element<'a>, name: &str) -> Option<Element<'a>> {
    let mut first = None;
    for child in message.children().filter(|child| child.is(Namespace::Server, name)) {
        if child.language().is_none() {
            return Some(child);
        }
        first = first.or(Some(child));
    }
    first
}

fn is_language(tag: &str) -> bool {
    (1..=35).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// When it was written, if it was delayed by the sender or by the sender's own server: others' stamps say nothing.
fn written(message: Element<'_>) -> Option<SystemTime> {
    let delay = message.child(Namespace::Delay, "delay")?;
    if let Some(by) = delay.attribute("from") {
        let sender = Jid::parse(message.attribute("from")?, &[]).ok()?;
        if Jid::parse(by, &[&sender.domain]).ok()?.domain != sender.domain {
            return None;
        }
    }
    OffsetDateTime::parse(delay.attribute("stamp")?, &Rfc3339).ok().map(SystemTime::from)
}

/// What [`push_message`] needs to know beside the envelope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The stanza's id; `None` for a failure of a message that had none.
    pub(crate) id: Option<&'a str>,
    /// Whether the sender's device is one that XMPP knows, and may be named as the stanza's `from`.
    pub(crate) with_device: bool,
    /// The time, to tell whether the message was delayed.
    pub(crate) wall: SystemTime,
}

/// Appends an envelope as a message stanza.
pub(crate) fn push_message(out: &mut BytesMut, envelope: &Envelope, how: Outgoing<'_>) {
    out.extend_from_slice(b"<message");
    push_address(out, "from", &envelope.from, envelope.from_device.as_ref().filter(|_| how.with_device));
    push_address(out, "to", &envelope.to, envelope.to_device.as_ref());
    if let Some(id) = how.id {
        push_attribute(out, "id", id);
    }
    match &envelope.body {
        Body::Text(text) => push_words(out, text, envelope, how),
        Body::Failure(failure) => {
            out.extend_from_slice(b" type='error'>");
            StanzaError::of(failure.why).push(out);
        }
        _ => out.extend_from_slice(b">"),
    }
    out.extend_from_slice(b"</message>");
}

fn push_words(out: &mut BytesMut, text: &Text, envelope: &Envelope, how: Outgoing<'_>) {
    match text.kind {
        TextKind::Chat => out.extend_from_slice(b" type='chat'"),
        TextKind::Headline => out.extend_from_slice(b" type='headline'"),
        // The default (RFC 6121 §5.2.2).
        TextKind::Single => {}
    }
    if let Some(language) = text.language.as_deref().filter(|tag| is_language(tag)) {
        push_attribute(out, "xml:lang", language);
    }
    out.extend_from_slice(b">");
    if let Some(subject) = &text.subject {
        push_child(out, "subject", subject.as_str());
    }
    push_child(out, "body", text.plain.as_str());
    if let Some(conversation) = &text.conversation {
        push_child(out, "thread", conversation);
    }
    let stored = how.wall.duration_since(envelope.accepted).is_ok_and(|age| age > DELAYED);
    let stamp = text.written.or_else(|| stored.then_some(envelope.accepted));
    if let Some(stamp) = stamp.and_then(stamp_text) {
        // XEP-0203 §4
        out.extend_from_slice(b"<delay xmlns='urn:xmpp:delay'");
        push_domain(out, "from", envelope.from.domain());
        push_attribute(out, "stamp", &stamp);
        out.extend_from_slice(b"/>");
    }
}

/// A time as XEP-0082 §3.2 writes it; `None` where it has no such form.
fn stamp_text(time: SystemTime) -> Option<String> {
    let millis = i128::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).ok()?.format(&Rfc3339).ok()
}

fn push_child(out: &mut BytesMut, name: &'static str, text: &str) {
    for piece in ["<", name, ">"] {
        out.extend_from_slice(piece.as_bytes());
    }
    push_text(out, text);
    for piece in ["</", name, ">"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// Appends the error that answers an incoming stanza: its addresses turned round and its id, never its content.
pub(crate) fn push_error(out: &mut BytesMut, stanza: Element<'_>, error: StanzaError) {
    push_answer(out, stanza, "error");
    out.extend_from_slice(b">");
    error.push(out);
    push_end(out, stanza);
}

/// Appends the beginning of an answer to an incoming stanza, without the `>`.
pub(crate) fn push_answer(out: &mut BytesMut, stanza: Element<'_>, kind: &'static str) {
    out.extend_from_slice(b"<");
    out.extend_from_slice(stanza_name(stanza).as_bytes());
    for (name, source) in [("from", "to"), ("to", "from"), ("id", "id")] {
        if let Some(value) = stanza.attribute(source) {
            push_attribute(out, name, value);
        }
    }
    push_attribute(out, "type", kind);
}

/// Appends the closing tag of an answer.
pub(crate) fn push_end(out: &mut BytesMut, stanza: Element<'_>) {
    out.extend_from_slice(b"</");
    out.extend_from_slice(stanza_name(stanza).as_bytes());
    out.extend_from_slice(b">");
}

fn stanza_name(stanza: Element<'_>) -> &'static str {
    match stanza.name() {
        "iq" => "iq",
        "presence" => "presence",
        _ => "message",
    }
}

/// Appends the error that tells the sender of an envelope, taken in over XMPP, that it was refused.
pub(crate) fn push_refusal(out: &mut BytesMut, envelope: &Envelope, why: Refusal) {
    out.extend_from_slice(b"<message");
    push_address(out, "from", &envelope.to, envelope.to_device.as_ref());
    push_address(out, "to", &envelope.from, envelope.from_device.as_ref());
    if let Some(id) = &envelope.native_id {
        push_attribute(out, "id", id);
    }
    out.extend_from_slice(b" type='error'>");
    StanzaError::of(why).push(out);
    out.extend_from_slice(b"</message>");
}

#[cfg(test)]
mod tests;
