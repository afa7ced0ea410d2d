//! What goes between two XMPP servers as it is: elements that the model has no words for.
//!
//! A stanza's children are passed on but for those that the envelope itself says (body, subject, thread, show, status, priority, error), those that
//! only a server may say to its own users, and those in which somebody could speak for somebody else: carbons (XEP-0280), forwarded stanzas
//! (XEP-0297), archives (XEP-0313), stamps and stanza ids of other domains (XEP-0203, XEP-0359), and whatever belongs to streams. What an
//! unknown element means is the business of the two clients: it is the sender's own word, as the words of the body are.
//!
//! The form on the bus is parsed again before it is written: a record is trusted no more than a peer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use interchange_model::{DisplayName, Domain, Envelope, Native};

use crate::PLATFORM;
use crate::address::Jid;
use crate::codec::{Codec, Document, Element, Frame, Namespace, push_text};

/// The namespace of stanzas.
const CONTENT: &str = "jabber:server";

/// What of a message is passed on.
pub(crate) fn of_message(message: Element<'_>, sender: &Domain) -> Option<Native> {
    of(message, sender)
}

/// What of a presence is passed on.
pub(crate) fn of_presence(presence: Element<'_>, sender: &Domain) -> Option<Native> {
    of(presence, sender)
}

fn of(stanza: Element<'_>, sender: &Domain) -> Option<Native> {
    let mut out = BytesMut::new();
    for child in stanza.children().filter(|child| passes(*child, sender)) {
        write(&mut out, child);
        if out.len() > Native::LONGEST {
            return None;
        }
    }
    let payload: Arc<str> = std::str::from_utf8(&out).ok()?.into();
    (!payload.is_empty()).then(|| Native { platform: PLATFORM.name(), payload })
}

fn passes(child: Element<'_>, sender: &Domain) -> bool {
    match child.namespace() {
        Namespace::StanzaId if child.name() == "stanza-id" => {
            // XEP-0359 §6: of whom it is must be known.
            child.attribute("by").and_then(|by| Jid::parse(by, &[sender]).ok()).is_some_and(|by| by.domain == *sender)
        }
        Namespace::Server
        | Namespace::Stream
        | Namespace::StreamErrors
        | Namespace::StanzaErrors
        | Namespace::Tls
        | Namespace::Sasl
        | Namespace::Dialback
        | Namespace::DialbackFeature
        | Namespace::StreamManagement
        | Namespace::Limits
        | Namespace::Delay
        | Namespace::Carbons
        | Namespace::Forward
        | Namespace::Archive
        | Namespace::None => false,
        _ => true,
    }
}

/// The native form of an envelope, if it is XMPP's.
pub(super) fn fit(envelope: &Envelope) -> Option<&Native> {
    envelope.native.as_ref().filter(|native| native.platform == PLATFORM.name())
}

/// Appends a native form. One that is not what this adapter would have made is left out.
pub(super) fn push(out: &mut BytesMut, native: &Native) {
    let whole = format!("<s xmlns='{CONTENT}'><message>{}</message>", native.payload);
    let mut codec = Codec::new(Native::LONGEST + 64);
    let mut document = Document::default();
    codec.push(&Bytes::from(whole));
    let mut read =
        || (codec.next(&mut document) == Ok(Some(Frame::Open))) && (codec.next(&mut document) == Ok(Some(Frame::Element)));
    if !read() || codec.held() > 0 {
        return;
    }
    // Whose stanza ids these are was looked at when they came in; nobody is left to ask here.
    let children = document.root().into_iter().flat_map(|message| message.children().collect::<Vec<_>>());
    for child in children.filter(|child| child.namespace() == Namespace::StanzaId || passes(*child, &nobody())) {
        write(out, child);
    }
}

/// Appends a child as it is, but for names of people: those are cleaned like any other (abuse case 32).
fn write(out: &mut BytesMut, child: Element<'_>) {
    if child.namespace() != Namespace::Nick {
        return child.write(out, CONTENT);
    }
    if child.name() == "nick"
        && let Some(name) = DisplayName::new(&child.text())
    {
        push_nick(out, &name);
    }
}

/// XEP-0172 §2.
pub(super) fn push_nick(out: &mut BytesMut, name: &DisplayName) {
    out.extend_from_slice(b"<nick xmlns='http://jabber.org/protocol/nick'>");
    push_text(out, name.as_str());
    out.extend_from_slice(b"</nick>");
}

fn nobody() -> Domain {
    Domain::parse("invalid.invalid").expect("two labels of letters")
}
