//! One element of a stream with all that is in it, flat: three growing lists, used again for the next element.

use std::borrow::Cow;

use bytes::BytesMut;

use super::write::{push_raw, push_text, push_value};

/// The namespaces that this adapter knows. An element of any other is there, and is never what is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// `jabber:server`: stanzas.
    Server,
    /// `http://etherx.jabber.org/streams`: the stream, its features and errors.
    Stream,
    /// `urn:ietf:params:xml:ns:xmpp-streams`: conditions of stream errors.
    StreamErrors,
    /// `urn:ietf:params:xml:ns:xmpp-stanzas`: conditions of stanza errors.
    StanzaErrors,
    /// `urn:ietf:params:xml:ns:xmpp-tls`
    Tls,
    /// `urn:ietf:params:xml:ns:xmpp-sasl`
    Sasl,
    /// `jabber:server:dialback` (XEP-0220)
    Dialback,
    /// `urn:xmpp:features:dialback` (XEP-0220 §2.4)
    DialbackFeature,
    /// `urn:xmpp:sm:3` (XEP-0198)
    StreamManagement,
    /// `urn:xmpp:bidi` (XEP-0288)
    Bidi,
    /// `urn:xmpp:stream-limits:0` (XEP-0478)
    Limits,
    /// `urn:xmpp:ping` (XEP-0199)
    Ping,
    /// `http://jabber.org/protocol/disco#info` (XEP-0030)
    DiscoInfo,
    /// `urn:xmpp:delay` (XEP-0203)
    Delay,
    /// `urn:xmpp:carbons:2` (XEP-0280)
    Carbons,
    /// `urn:xmpp:forward:0` (XEP-0297)
    Forward,
    /// `urn:xmpp:sid:0` (XEP-0359)
    StanzaId,
    /// `urn:xmpp:mam:2` (XEP-0313)
    Archive,
    /// `http://jabber.org/protocol/chatstates` (XEP-0085)
    ChatStates,
    /// `urn:xmpp:receipts` (XEP-0184)
    Receipts,
    /// `urn:xmpp:chat-markers:0` (XEP-0333)
    ChatMarkers,
    /// `urn:xmpp:hints` (XEP-0334)
    Hints,
    /// `urn:xmpp:idle:1` (XEP-0319)
    Idle,
    /// `http://jabber.org/protocol/nick` (XEP-0172)
    Nick,
    /// `jabber:x:oob` (XEP-0066)
    OutOfBand,
    /// `http://jabber.org/protocol/xhtml-im` (XEP-0071)
    XhtmlIm,
    /// `http://www.w3.org/1999/xhtml`
    Xhtml,
    /// `urn:xmpp:message-correct:0` (XEP-0308)
    Correct,
    /// `urn:xmpp:reply:0` (XEP-0461)
    Reply,
    /// `urn:xmpp:reactions:0` (XEP-0444)
    Reactions,
    /// `urn:xmpp:message-retract:1`, and `:0` before it (XEP-0424)
    Retract,
    /// What says that the words are encrypted: `urn:xmpp:eme:0` (XEP-0380), OMEMO (XEP-0384), OpenPGP (XEP-0373, XEP-0027).
    Encrypted,
    /// `http://www.w3.org/XML/1998/namespace`
    Xml,
    /// None at all.
    None,
    /// Any other.
    Other,
}

impl Namespace {
    /// The namespace of a name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            "jabber:server" => Namespace::Server,
            "http://etherx.jabber.org/streams" => Namespace::Stream,
            "urn:ietf:params:xml:ns:xmpp-streams" => Namespace::StreamErrors,
            "urn:ietf:params:xml:ns:xmpp-stanzas" => Namespace::StanzaErrors,
            "urn:ietf:params:xml:ns:xmpp-tls" => Namespace::Tls,
            "urn:ietf:params:xml:ns:xmpp-sasl" => Namespace::Sasl,
            "jabber:server:dialback" => Namespace::Dialback,
            "urn:xmpp:features:dialback" => Namespace::DialbackFeature,
            "urn:xmpp:sm:3" => Namespace::StreamManagement,
            "urn:xmpp:bidi" => Namespace::Bidi,
            "urn:xmpp:stream-limits:0" => Namespace::Limits,
            "urn:xmpp:ping" => Namespace::Ping,
            "http://jabber.org/protocol/disco#info" => Namespace::DiscoInfo,
            "urn:xmpp:delay" => Namespace::Delay,
            "urn:xmpp:carbons:2" => Namespace::Carbons,
            "urn:xmpp:forward:0" => Namespace::Forward,
            "urn:xmpp:sid:0" => Namespace::StanzaId,
            "urn:xmpp:mam:2" => Namespace::Archive,
            "http://jabber.org/protocol/chatstates" => Namespace::ChatStates,
            "urn:xmpp:receipts" => Namespace::Receipts,
            "urn:xmpp:chat-markers:0" => Namespace::ChatMarkers,
            "urn:xmpp:hints" => Namespace::Hints,
            "urn:xmpp:idle:1" => Namespace::Idle,
            "http://jabber.org/protocol/nick" => Namespace::Nick,
            "jabber:x:oob" => Namespace::OutOfBand,
            "http://jabber.org/protocol/xhtml-im" => Namespace::XhtmlIm,
            "http://www.w3.org/1999/xhtml" => Namespace::Xhtml,
            "urn:xmpp:message-correct:0" => Namespace::Correct,
            "urn:xmpp:reply:0" => Namespace::Reply,
            "urn:xmpp:reactions:0" => Namespace::Reactions,
            "urn:xmpp:message-retract:1" | "urn:xmpp:message-retract:0" => Namespace::Retract,
            "urn:xmpp:eme:0"
            | "urn:xmpp:omemo:2"
            | "urn:xmpp:omemo:1"
            | "eu.siacs.conversations.axolotl"
            | "urn:xmpp:openpgp:0"
            | "jabber:x:encrypted" => Namespace::Encrypted,
            "http://www.w3.org/XML/1998/namespace" => Namespace::Xml,
            "" => Namespace::None,
            _ => Namespace::Other,
        }
    }
}

/// One element with all that is in it, in document order. Flat, so that neither reading nor dropping it recurses.
#[derive(Debug, Default)]
pub struct Document {
    /// Names, values and text, each once, end to end.
    pub(super) text: String,
    pub(super) nodes: Vec<Node>,
    pub(super) attributes: Vec<Attribute>,
}

/// A piece of [`Document::text`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Where the nodes inside this one end.
    pub(super) end: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Its own attributes are `attributes[first..last]`.
    Element {
        name: Span,
        namespace: Namespace,
        /// The namespace's name.
        uri: Span,
        first: usize,
        last: usize,
    },
    Text(Span),
}

#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) namespace: Namespace,
    /// The namespace's name.
    pub(super) uri: Span,
    pub(super) name: Span,
    pub(super) value: Span,
}

impl Document {
    /// The element itself; `None` before one was read.
    #[must_use]
    pub fn root(&self) -> Option<Element<'_>> {
        (!self.nodes.is_empty()).then_some(Element { document: self, index: 0 })
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.nodes.clear();
        self.attributes.clear();
    }

    pub(super) fn get(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }
}

/// One element of a [`Document`].
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    document: &'a Document,
    index: usize,
}

impl<'a> Element<'a> {
    fn parts(self) -> (&'a str, Namespace, &'a [Attribute]) {
        match self.document.nodes.get(self.index).map(|node| &node.kind) {
            Some(Kind::Element { name, namespace, first, last, .. }) => {
                (self.document.get(*name), *namespace, self.document.attributes.get(*first..*last).unwrap_or_default())
            }
            _ => ("", Namespace::None, &[]),
        }
    }

    /// Its name, without a prefix.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.parts().0
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(self) -> Namespace {
        self.parts().1
    }

    /// Whether it is that one.
    #[must_use]
    pub fn is(self, namespace: Namespace, name: &str) -> bool {
        let parts = self.parts();
        parts.1 == namespace && parts.0 == name
    }

    /// The value of an attribute that has no prefix.
    #[must_use]
    pub fn attribute(self, name: &str) -> Option<&'a str> {
        self.find(Namespace::None, name)
    }

    /// `xml:lang`.
    #[must_use]
    pub fn language(self) -> Option<&'a str> {
        self.find(Namespace::Xml, "lang")
    }

    fn find(self, namespace: Namespace, name: &str) -> Option<&'a str> {
        let attributes = self.parts().2;
        attributes
            .iter()
            .find(|attribute| attribute.namespace == namespace && self.document.get(attribute.name) == name)
            .map(|attribute| self.document.get(attribute.value))
    }

    /// The elements directly inside it.
    pub fn children(self) -> impl Iterator<Item = Element<'a>> {
        let document = self.document;
        self.inside()
            .filter(move |index| matches!(document.nodes[*index].kind, Kind::Element { .. }))
            .map(move |index| Element { document, index })
    }

    /// The first element directly inside it that is that one.
    #[must_use]
    pub fn child(self, namespace: Namespace, name: &str) -> Option<Element<'a>> {
        self.children().find(|child| child.is(namespace, name))
    }

    /// The text directly inside it.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        let document = self.document;
        let mut pieces = self.inside().filter_map(|index| match document.nodes[index].kind {
            Kind::Text(span) => Some(document.get(span)),
            Kind::Element { .. } => None,
        });
        let first = pieces.next().unwrap_or_default();
        match pieces.next() {
            None => Cow::Borrowed(first),
            Some(second) => {
                let mut whole = [first, second].concat();
                pieces.for_each(|piece| whole.push_str(piece));
                Cow::Owned(whole)
            }
        }
    }

    /// Appends the element as it is, in our own spelling: whatever prefixes the peer used, each element that is not in the namespace of
    /// the one around it declares its own as the default. `around`: the namespace of what it is written into.
    pub(crate) fn write(self, out: &mut BytesMut, around: &str) {
        let document = self.document;
        // Open elements: where each ends, and its name and namespace.
        let mut open: Vec<(usize, Span, Span)> = Vec::new();
        let last = document.nodes.get(self.index).map_or(0, |node| node.end);
        let mut index = self.index;
        while index < last {
            while open.last().is_some_and(|(end, ..)| *end <= index) {
                let Some((_, name, _)) = open.pop() else { break };
                push_end_tag(out, document.get(name));
            }
            let node = &document.nodes[index];
            index += 1;
            let Kind::Element { name, uri, first, last, .. } = &node.kind else {
                if let Kind::Text(text) = &node.kind {
                    push_text(out, document.get(*text));
                }
                continue;
            };
            push_raw(out, "<");
            push_raw(out, document.get(*name));
            if document.get(*uri) != open.last().map_or(around, |(_, _, uri)| document.get(*uri)) {
                push_raw(out, " xmlns");
                push_value(out, document.get(*uri));
            }
            let attributes = document.attributes.get(*first..*last).unwrap_or_default();
            for (number, attribute) in attributes.iter().enumerate() {
                match attribute.namespace {
                    Namespace::None => push_raw(out, " "),
                    Namespace::Xml => push_raw(out, " xml:"),
                    _ => {
                        // Prefixes of our own, one for each: rare, and never wrong.
                        push_raw(out, &format!(" xmlns:a{number}"));
                        push_value(out, document.get(attribute.uri));
                        push_raw(out, &format!(" a{number}:"));
                    }
                }
                push_raw(out, document.get(attribute.name));
                push_value(out, document.get(attribute.value));
            }
            if node.end == index {
                push_raw(out, "/>");
            } else {
                push_raw(out, ">");
                open.push((node.end, *name, *uri));
            }
        }
        while let Some((_, name, _)) = open.pop() {
            push_end_tag(out, document.get(name));
        }
    }

    fn inside(self) -> impl Iterator<Item = usize> {
        let nodes = &self.document.nodes;
        let end = nodes.get(self.index).map_or(0, |node| node.end);
        let first = (self.index + 1 < end).then_some(self.index + 1);
        std::iter::successors(first, move |index| Some(nodes[*index].end).filter(|next| *next < end))
    }
}

fn push_end_tag(out: &mut BytesMut, name: &str) {
    push_raw(out, "</");
    push_raw(out, name);
    push_raw(out, ">");
}
