//! Stanza to envelope and back, side by side: pure functions. Here messages; beside it presence, and what is passed on as it is.

mod formatted;
mod native;
mod presence;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use interchange_model::{
    Body, DisplayName, Envelope, Plain, Receipt, ReceiptKind, Refusal, Relation, SharedFile, Text, TextKind, Typing, TypingState,
    Wants,
};
use interchange_rich_text::Reading;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::address::{Jid, push_address, push_domain};
use crate::codec::{Element, Namespace, push_attribute, push_text};
use crate::errors::StanzaError;

pub(crate) use native::{of_message as native_of_message, of_presence as native_of_presence};
pub(crate) use presence::{push_presence, to_presence, watch_of};

/// Bytes of text that the hub takes in one message.
pub(crate) const MAX_TEXT: usize = 65_536;
/// Bytes of a subject.
const MAX_SUBJECT: usize = 1_024;
/// Bytes of a stanza's id and of a thread's name.
const MAX_ID: usize = 255;
/// Bytes of a file's address.
const MAX_URL: usize = 2_048;
/// Reactions to one message.
const MAX_REACTIONS: usize = 32;
/// Bytes of one reaction: an emoji of many parts.
const MAX_REACTION: usize = 64;
/// A message that lay longer than this with the hub is marked as delayed.
const DELAYED: Duration = Duration::from_secs(60);

/// What a message stanza says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Words, or what stands for them on this platform.
    Text(Text),
    /// What became of the message with this id.
    Receipt(String, ReceiptKind),
    /// A chat state, and nothing else.
    Typing(Typing),
    /// Nothing for a person. Dropped, and no one is told.
    Nothing,
    /// Dropped because it claims to tell what someone else said (XEP-0280 §11).
    Forged,
    /// For a room: there are none here.
    Room,
    /// Refused, and the sender is told so.
    Refused(Refusal),
}

/// Reads a message stanza that is not an error. `language` is the stream's; `preferred` the one that the recipient is known to write in.
#[must_use]
pub(crate) fn to_content(message: Element<'_>, language: Option<&str>, preferred: Option<&str>) -> Content {
    // Carbons come from one's own server, never from another (XEP-0280 §11); what an archive has kept likewise (XEP-0313 §4).
    let forged = |child: Element<'_>| match child.namespace() {
        Namespace::Carbons => matches!(child.name(), "sent" | "received"),
        Namespace::Archive => true,
        _ => false,
    };
    if message.children().any(forged) {
        return Content::Forged;
    }
    // RFC 6121 §5.2.2: an unknown type is `normal`.
    let kind = match message.attribute("type") {
        Some("chat") => TextKind::Chat,
        Some("headline") => TextKind::Headline,
        Some("groupchat") => return Content::Room,
        _ => TextKind::Single,
    };
    let subject = best(message, "subject", preferred).map(|subject| subject.text()).filter(|subject| !subject.is_empty());
    if subject.as_ref().is_some_and(|subject| subject.len() > MAX_SUBJECT) {
        return Content::Refused(Refusal::TooLarge);
    }
    let body = best(message, "body", preferred);
    let encrypted = message.children().any(|child| child.namespace() == Namespace::Encrypted);
    // Beside encrypted words nothing else is meant to be read.
    let formatted = if encrypted { None } else { formatted::reading_of(message, body) };
    let words = body.map(|body| body.text()).filter(|words| !words.is_empty());
    // XEP-0071 wants a body as well; not all clients know.
    let words = words.or_else(|| formatted.as_ref().map(|reading| reading.plain.as_str().to_owned().into()));
    let words = words.filter(|words| !words.is_empty());
    let thread = message.child(Namespace::Server, "thread").map(|thread| thread.text());
    let conversation: Option<Arc<str>> = thread.filter(|name| (1..=MAX_ID).contains(&name.len())).map(|name| Arc::from(&*name));
    let relation = relation(message);
    let (plain, subject) = match (words, subject) {
        (Some(words), subject) => (words, subject),
        // A `normal` message may say all in its subject.
        (None, Some(subject)) if kind == TextKind::Single => (subject, None),
        (None, _) => match without_words(message, relation.is_some() || encrypted, &conversation) {
            Some(content) => return content,
            None => Default::default(),
        },
    };
    if plain.len() > MAX_TEXT {
        return Content::Refused(Refusal::TooLarge);
    }
    // RFC 6120 §8.1.5: inherited from the stanza, and from the stream.
    let language = body.and_then(Element::language).or(message.language()).or(language).filter(|tag| is_language(tag));
    let wants = Wants {
        delivered: kind != TextKind::Headline && message.child(Namespace::Receipts, "request").is_some(),
        displayed: kind != TextKind::Headline && message.child(Namespace::ChatMarkers, "markable").is_some(),
    };
    Content::Text(Text {
        plain: Plain::new(&plain),
        rich: formatted.and_then(Reading::beyond_plain),
        subject: subject.map(|subject| Plain::new(&subject)),
        language: language.map(Arc::from),
        display_name: message.child(Namespace::Nick, "nick").and_then(|nick| DisplayName::new(&nick.text())),
        conversation,
        kind,
        written: written(message),
        wants,
        relation,
        files: files(message),
        encrypted,
    })
}

/// What a message without words says. `None`: it is to be carried like one with words. `is_content`: something in it stands for words.
fn without_words(message: Element<'_>, is_content: bool, conversation: &Option<Arc<str>>) -> Option<Content> {
    let mut typing = None;
    let mut other = is_content;
    for child in message.children() {
        match (child.namespace(), child.name()) {
            // XEP-0333 had these two as well before it was revised.
            (Namespace::Receipts, "received") | (Namespace::ChatMarkers, "received") => {
                return Some(receipt(child, ReceiptKind::Delivered));
            }
            (Namespace::ChatMarkers, "displayed") => return Some(receipt(child, ReceiptKind::Displayed)),
            (Namespace::ChatMarkers, "acknowledged") => return Some(Content::Nothing),
            (Namespace::ChatStates, name) => typing = typing.or(typing_state(name)),
            // What is said of other things in the message, or was read above.
            (Namespace::Server | Namespace::Delay | Namespace::Hints | Namespace::StanzaId | Namespace::Nick, _) => {}
            (Namespace::Receipts, _) | (Namespace::ChatMarkers, _) => {}
            _ => other = true,
        }
    }
    match typing {
        _ if other => None,
        Some(state) => Some(Content::Typing(Typing { state, conversation: conversation.clone() })),
        None => Some(Content::Nothing),
    }
}

fn receipt(element: Element<'_>, what: ReceiptKind) -> Content {
    match element.attribute("id").filter(|id| (1..=1_023).contains(&id.len())) {
        Some(id) => Content::Receipt(id.to_owned(), what),
        None => Content::Nothing,
    }
}

fn typing_state(name: &str) -> Option<TypingState> {
    Some(match name {
        "composing" => TypingState::Composing,
        "paused" => TypingState::Paused,
        "active" => TypingState::Active,
        "inactive" => TypingState::Inactive,
        "gone" => TypingState::Gone,
        _ => return None,
    })
}

/// What the message is to an earlier one.
fn relation(message: Element<'_>) -> Option<Relation> {
    let has = |namespace, name| message.child(namespace, name).is_some();
    if let Some(reactions) = message.child(Namespace::Reactions, "reactions") {
        let each = reactions.children().filter(|child| child.is(Namespace::Reactions, "reaction"));
        let each = each.map(|child| child.text()).filter(|text| (1..=MAX_REACTION).contains(&text.len()));
        return Some(Relation::Reaction(each.take(MAX_REACTIONS).map(|text| Plain::new(&text)).collect()));
    }
    if has(Namespace::Retract, "retract") {
        Some(Relation::Retraction)
    } else if has(Namespace::Correct, "replace") {
        Some(Relation::Correction)
    } else if has(Namespace::Reply, "reply") {
        Some(Relation::Reply)
    } else {
        None
    }
}

/// XEP-0066 §3. Only what a browser would fetch.
fn files(message: Element<'_>) -> Vec<SharedFile> {
    let file = |x: Element<'_>| {
        let url = x.child(Namespace::OutOfBand, "url")?.text().trim().to_owned();
        let known = url.starts_with("https://") || url.starts_with("http://");
        let description = x.child(Namespace::OutOfBand, "desc").map(|text| text.text());
        let description = description.filter(|text| (1..=MAX_SUBJECT).contains(&text.len())).map(|text| Plain::new(&text));
        (known && url.len() <= MAX_URL).then(|| SharedFile { url: Plain::new(&url), description })
    };
    let all = message.children().filter(|child| child.is(Namespace::OutOfBand, "x"));
    all.filter_map(file).take(Text::MOST_FILES).collect()
}

/// The stanza's id, where it fits into an envelope.
#[must_use]
pub(crate) fn native_id(stanza: Element<'_>) -> Option<Arc<str>> {
    stanza.attribute("id").filter(|id| (1..=MAX_ID).contains(&id.len())).map(Arc::from)
}

/// Of several in different languages the preferred one, else the one without a language of its own, else the first.
fn best<'a>(stanza: Element<'a>, name: &str, preferred: Option<&str>) -> Option<Element<'a>> {
    let all = || stanza.children().filter(|child| child.is(Namespace::Server, name));
    let preferred = all().find(|child| child.language().is_some_and(|language| preferred == Some(language)));
    preferred.or_else(|| all().find(|child| child.language().is_none())).or_else(|| all().next())
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
    /// Formatted text of another platform goes out as XHTML-IM beside the plain.
    pub(crate) xhtml_im: bool,
}

/// Appends a durable envelope as a stanza: a message, or what is asked and said of a watch.
pub(crate) fn push_message(out: &mut BytesMut, envelope: &Envelope, how: Outgoing<'_>) {
    if let Body::Watch(watch) = &envelope.body {
        return presence::push_watch(out, envelope, *watch, how.id);
    }
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
            StanzaError::of(failure.why).push_with(out, failure.detail);
        }
        Body::Receipt(receipt) => push_receipt(out, receipt, envelope),
        Body::Typing(typing) => push_typing(out, typing, envelope),
        Body::Watch(_) | Body::Presence(_) => out.extend_from_slice(b">"),
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
    let native = native::fit(envelope);
    // Between two XMPP servers what stands for the words is native.
    let words = words_of(text, native.is_some());
    if !text.plain.is_empty() || native.is_none() {
        push_child(out, "body", &words);
    }
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
    match native {
        Some(native) => native::push(out, native),
        // What an XMPP sender did not say is not said for it.
        None if how.with_device => {}
        None => {
            formatted::push(out, text, &words, how);
            push_extras(out, text);
        }
    }
}

/// The words of a body. Where nothing native says it, what a text is to an earlier one and the files that belong to it are said in words.
fn words_of(text: &Text, has_native: bool) -> std::borrow::Cow<'_, str> {
    if has_native {
        return text.plain.as_str().into();
    }
    let mut words = text.in_words();
    for file in text.unnamed_files() {
        let words = words.to_mut();
        if !words.is_empty() {
            words.push('\n');
        }
        words.push_str(file.url.as_str());
    }
    words
}

/// What the sender's platform said, in XMPP's own words.
fn push_extras(out: &mut BytesMut, text: &Text) {
    if let Some(name) = &text.display_name {
        native::push_nick(out, name);
    }
    if text.wants.delivered {
        out.extend_from_slice(b"<request xmlns='urn:xmpp:receipts'/>");
    }
    if text.wants.displayed {
        out.extend_from_slice(b"<markable xmlns='urn:xmpp:chat-markers:0'/>");
    }
    for file in &text.files {
        out.extend_from_slice(b"<x xmlns='jabber:x:oob'>");
        push_child(out, "url", file.url.as_str());
        if let Some(description) = &file.description {
            push_child(out, "desc", description.as_str());
        }
        out.extend_from_slice(b"</x>");
    }
    if text.kind == TextKind::Chat {
        // XEP-0085 §5.1: so the recipient's client knows that chat states are welcome.
        out.extend_from_slice(b"<active xmlns='http://jabber.org/protocol/chatstates'/>");
    }
}

fn push_receipt(out: &mut BytesMut, receipt: &Receipt, envelope: &Envelope) {
    out.extend_from_slice(b" type='chat'>");
    if let Some(native) = native::fit(envelope) {
        return native::push(out, native);
    }
    out.extend_from_slice(match receipt.what {
        ReceiptKind::Delivered => &b"<received xmlns='urn:xmpp:receipts'"[..],
        ReceiptKind::Displayed => b"<displayed xmlns='urn:xmpp:chat-markers:0'",
    });
    if let Some(id) = &receipt.native_id {
        push_attribute(out, "id", id);
    }
    // XEP-0334 §4.2: whoever is away hears of it later.
    out.extend_from_slice(b"/><store xmlns='urn:xmpp:hints'/>");
}

fn push_typing(out: &mut BytesMut, typing: &Typing, envelope: &Envelope) {
    out.extend_from_slice(b" type='chat'>");
    if let Some(conversation) = &typing.conversation {
        push_child(out, "thread", conversation);
    }
    if let Some(native) = native::fit(envelope) {
        return native::push(out, native);
    }
    let state: &[u8] = match typing.state {
        TypingState::Composing => b"<composing",
        TypingState::Paused => b"<paused",
        TypingState::Active => b"<active",
        TypingState::Inactive => b"<inactive",
        TypingState::Gone => b"<gone",
    };
    out.extend_from_slice(state);
    out.extend_from_slice(b" xmlns='http://jabber.org/protocol/chatstates'/>");
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
    let name = if matches!(envelope.body, Body::Watch(_)) { "presence" } else { "message" };
    out.extend_from_slice(b"<");
    out.extend_from_slice(name.as_bytes());
    push_address(out, "from", &envelope.to, envelope.to_device.as_ref());
    push_address(out, "to", &envelope.from, envelope.from_device.as_ref());
    if let Some(id) = &envelope.native_id {
        push_attribute(out, "id", id);
    }
    if matches!(envelope.body, Body::Watch(_)) && why == Refusal::PeerRefused {
        // The presentity has said no before, and has nothing to add.
        return out.extend_from_slice(b" type='unsubscribed'/>");
    }
    out.extend_from_slice(b" type='error'>");
    StanzaError::of(why).push(out);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">");
}

#[cfg(test)]
mod tests;
