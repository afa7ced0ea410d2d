//! One element of a stream with all that is in it, flat: three growing lists, used again for the next element.

use std::borrow::Cow;

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
            "urn:xmpp:stream-limits:0" => Namespace::Limits,
            "urn:xmpp:ping" => Namespace::Ping,
            "http://jabber.org/protocol/disco#info" => Namespace::DiscoInfo,
            "urn:xmpp:delay" => Namespace::Delay,
            "urn:xmpp:carbons:2" => Namespace::Carbons,
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
        first: usize,
        last: usize,
    },
    Text(Span),
}

#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) namespace: Namespace,
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
            Some(Kind::Element { name, namespace, first, last }) => {
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

    fn inside(self) -> impl Iterator<Item = usize> {
        let nodes = &self.document.nodes;
        let end = nodes.get(self.index).map_or(0, |node| node.end);
        let first = (self.index + 1 < end).then_some(self.index + 1);
        std::iter::successors(first, move |index| Some(nodes[*index].end).filter(|next| *next < end))
    }
}
