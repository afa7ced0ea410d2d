//! The strict layer over quick-xml, which tokenises and matches closing tags and leaves the rest to its user:
//! what XMPP forbids, names, namespaces, attributes, characters, limits. Iterative in everything.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::document::{Attribute, Document, Kind, Namespace, Node, Span};
use super::{MAX_ATTRIBUTES, MAX_DECLARATIONS, MAX_DEPTH, MAX_NAME, Malformed};

const XML: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// The namespaces that the stream's opening tag declares for all its children.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The opening tag's name as written; empty before it came.
    name: String,
    /// Prefix (empty: the default) and name.
    declared: Vec<(String, String)>,
}

impl Scope {
    pub(super) fn is_open(&self) -> bool {
        !self.name.is_empty()
    }

    pub(super) fn declared(&self, prefix: &str) -> Option<&str> {
        self.declared.iter().find(|(declared, _)| declared == prefix).map(|(_, name)| name.as_str())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(|(_, name)| name.as_str())
    }
}

/// A declaration inside the element that is being read: the depth at which it ends, prefix and name.
struct Declared {
    depth: usize,
    prefix: Span,
    name: Span,
}

struct Parser<'a> {
    scope: &'a Scope,
    document: &'a mut Document,
    declared: Vec<Declared>,
    /// Indexes of the open elements' nodes.
    open: Vec<usize>,
    /// Prefixes of the attributes of the tag that is being read.
    prefixes: Vec<Span>,
    /// No tag came since the last piece of text, so the next piece belongs to it.
    in_text: bool,
}

/// Checks what stands between `<?xml` and `?>`.
pub(super) fn declaration(content: &str) -> Result<(), Malformed> {
    let mut document = Document::default();
    let mut encoding = Ok(());
    each_attribute(content, &mut document, |document, name, value| {
        match name {
            "version" if document.get(value).starts_with("1.") => {}
            // RFC 6120 §11.6
            "encoding" if !document.get(value).eq_ignore_ascii_case("utf-8") => encoding = Err(Malformed::Encoding),
            "encoding" | "standalone" => {}
            _ => return Err(Malformed::NotWellFormed("XML declaration")),
        }
        Ok(())
    })?;
    encoding
}

/// Reads the stream's opening tag.
pub(super) fn open(text: &str, document: &mut Document) -> Result<Scope, Malformed> {
    let mut reader = Reader::from_str(text);
    let Event::Start(tag) = reader.read_event().map_err(|_| Malformed::NotWellFormed("opening tag"))? else {
        return Err(Malformed::NotWellFormed("opening tag"));
    };
    document.clear();
    let outside = Scope::default();
    let mut parser =
        Parser { scope: &outside, document, declared: Vec::new(), open: Vec::new(), prefixes: Vec::new(), in_text: false };
    parser.start(&tag)?;
    let declared = std::mem::take(&mut parser.declared);
    parser.end();
    let declared = declared
        .into_iter()
        .map(|declared| (document.get(declared.prefix).to_owned(), document.get(declared.name).to_owned()))
        .collect();
    Ok(Scope { name: tag.name().as_ref().to_owned(), declared })
}

/// Reads one whole child of the stream.
pub(super) fn element(text: &str, scope: &Scope, document: &mut Document) -> Result<(), Malformed> {
    let mut reader = Reader::from_str(text);
    document.clear();
    let mut parser = Parser { scope, document, declared: Vec::new(), open: Vec::new(), prefixes: Vec::new(), in_text: false };
    loop {
        // quick-xml itself compares the names of opening and closing tags.
        let event = reader.read_event().map_err(|_| Malformed::NotWellFormed("tags"))?;
        if parser.open.is_empty() && !parser.document.nodes.is_empty() && !matches!(event, Event::Eof) {
            return Err(Malformed::NotWellFormed("more than one element"));
        }
        match event {
            Event::Start(tag) => parser.start(&tag)?,
            Event::Empty(tag) => {
                parser.start(&tag)?;
                parser.end();
            }
            Event::End(_) => parser.end(),
            Event::Text(text) => {
                // XML 1.0 §2.4
                if text.contains("]]>") {
                    return Err(Malformed::NotWellFormed("]]> in text"));
                }
                parser.text(&text)?;
            }
            Event::CData(text) => parser.text(&text)?,
            Event::GeneralRef(name) => {
                let character = reference(&name)?;
                parser.text_with(|text| text.push(character))?;
            }
            Event::Eof if parser.open.is_empty() && !parser.document.nodes.is_empty() => return Ok(()),
            Event::Eof => return Err(Malformed::NotWellFormed("the element is not closed")),
            // RFC 6120 §11.1
            Event::Comment(_) => return Err(Malformed::Restricted("comments")),
            Event::Decl(_) | Event::PI(_) => return Err(Malformed::Restricted("processing instructions")),
            Event::DocType(_) => return Err(Malformed::Restricted("declarations")),
        }
    }
}

/// Checks the stream's closing tag.
pub(super) fn close(text: &str, scope: &Scope) -> Result<(), Malformed> {
    let name = text.strip_prefix("</").and_then(|text| text.strip_suffix('>')).unwrap_or_default();
    if name.trim_end_matches([' ', '\t', '\r', '\n']) == scope.name {
        Ok(())
    } else {
        Err(Malformed::NotWellFormed("closing tag"))
    }
}

impl Parser<'_> {
    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Malformed> {
        self.in_text = false;
        let depth = self.open.len() + 1;
        if depth > MAX_DEPTH {
            return Err(Malformed::TooMany("levels of elements", MAX_DEPTH));
        }
        let first = self.document.attributes.len();
        let (declared, prefixes) = (&mut self.declared, &mut self.prefixes);
        prefixes.clear();
        let mut declarations = 0;
        each_attribute(tag.attributes_raw(), self.document, |document, name, value| {
            if document.attributes.len() - first + declarations >= MAX_ATTRIBUTES {
                return Err(Malformed::TooMany("attributes", MAX_ATTRIBUTES));
            }
            let (prefix, local) = split(name)?;
            if name == "xmlns" || prefix == "xmlns" {
                let prefix = if prefix.is_empty() { "" } else { local };
                declarable(prefix, document.get(value))?;
                declarations += 1;
                if declarations > MAX_DECLARATIONS {
                    return Err(Malformed::TooMany("namespace declarations", MAX_DECLARATIONS));
                }
                if declared
                    .iter()
                    .rev()
                    .take_while(|other| other.depth == depth)
                    .any(|other| document.get(other.prefix) == prefix)
                {
                    return Err(Malformed::NotWellFormed("an attribute given twice"));
                }
                let prefix = keep(document, prefix);
                declared.push(Declared { depth, prefix, name: value });
            } else {
                let prefix = keep(document, prefix);
                let name = keep(document, local);
                prefixes.push(prefix);
                // The namespace is found below, when all declarations of this tag are known.
                document.attributes.push(Attribute { namespace: Namespace::None, uri: Span::default(), name, value });
            }
            Ok(())
        })?;
        let name = tag.name();
        let name = name.as_ref();
        if name.len() > MAX_NAME {
            return Err(Malformed::TooMany("bytes in a name", MAX_NAME));
        }
        let (prefix, local) = split(name)?;
        // The prefix xmlns is bound and still may not name an element (Namespaces in XML 1.0 §3).
        if prefix == "xmlns" {
            return Err(Malformed::NotWellFormed("prefix xmlns"));
        }
        let uri = self.resolve(prefix)?;
        let namespace = Namespace::of(uri);
        // A child is mostly in the namespace of its parent, whose name is kept already.
        let parent = self.open.last().map(|index| &self.document.nodes[*index].kind);
        let uri = match parent {
            Some(Kind::Element { uri: known, .. }) if self.document.get(*known) == uri => *known,
            _ => {
                let uri = uri.to_owned();
                keep(self.document, &uri)
            }
        };
        let prefixes = std::mem::take(&mut self.prefixes);
        self.check_attributes(first, &prefixes)?;
        self.prefixes = prefixes;
        let name = keep(self.document, local);
        let last = self.document.attributes.len();
        self.open.push(self.document.nodes.len());
        self.document.nodes.push(Node { end: 0, kind: Kind::Element { name, namespace, uri, first, last } });
        Ok(())
    }

    /// Finds the namespaces of a tag's attributes; no two may have the same name in the same namespace.
    fn check_attributes(&mut self, first: usize, prefixes: &[Span]) -> Result<(), Malformed> {
        for (at, prefix) in prefixes.iter().enumerate() {
            // An attribute without a prefix is in no namespace (Namespaces in XML 1.0 §6.2).
            let prefix = self.document.get(*prefix);
            let uri = if prefix.is_empty() { "" } else { self.resolve(prefix)? };
            for (other_at, other) in prefixes.iter().enumerate().take(at) {
                let (this, that) = (&self.document.attributes[first + at], &self.document.attributes[first + other_at]);
                if self.document.get(this.name) == self.document.get(that.name) {
                    let other = self.document.get(*other);
                    if uri == if other.is_empty() { "" } else { self.resolve(other)? } {
                        return Err(Malformed::NotWellFormed("an attribute given twice"));
                    }
                }
            }
            let namespace = Namespace::of(uri);
            if namespace == Namespace::None {
                continue;
            }
            let uri = uri.to_owned();
            let uri = keep(self.document, &uri);
            let attribute = &mut self.document.attributes[first + at];
            (attribute.namespace, attribute.uri) = (namespace, uri);
        }
        Ok(())
    }

    fn end(&mut self) {
        self.in_text = false;
        let depth = self.open.len();
        if let Some(index) = self.open.pop() {
            let end = self.document.nodes.len();
            self.document.nodes[index].end = end;
        }
        while self.declared.last().is_some_and(|declared| declared.depth >= depth) {
            self.declared.pop();
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Malformed> {
        check_characters(text)?;
        self.text_with(|whole| push_lines(whole, text))
    }

    /// Appends to the text node at this place, or begins one.
    fn text_with(&mut self, push: impl FnOnce(&mut String)) -> Result<(), Malformed> {
        if self.open.is_empty() {
            return Err(Malformed::Text);
        }
        let next = self.document.nodes.len();
        let start = self.document.text.len();
        push(&mut self.document.text);
        let end = self.document.text.len();
        let was_in_text = std::mem::replace(&mut self.in_text, true);
        match self.document.nodes.last_mut() {
            Some(Node { kind: Kind::Text(span), .. }) if was_in_text => span.end = end,
            _ => self.document.nodes.push(Node { end: next + 1, kind: Kind::Text(Span { start, end }) }),
        }
        Ok(())
    }

    fn resolve(&self, prefix: &str) -> Result<&str, Malformed> {
        let document = &*self.document;
        if prefix == "xml" {
            return Ok(XML);
        }
        let inside = self.declared.iter().rev().find(|declared| document.get(declared.prefix) == prefix);
        match inside.map(|declared| document.get(declared.name)).or_else(|| self.scope.declared(prefix)) {
            Some(name) => Ok(name),
            None if prefix.is_empty() => Ok(""),
            // RFC 6120 §4.9.3.2
            None => Err(Malformed::Prefix),
        }
    }
}

fn keep(document: &mut Document, text: &str) -> Span {
    let start = document.text.len();
    document.text.push_str(text);
    Span { start, end: document.text.len() }
}

/// Whether a prefix may be declared for a namespace (Namespaces in XML 1.0 §3, §2.2).
fn declarable(prefix: &str, name: &str) -> Result<(), Malformed> {
    let fits = match prefix {
        "xml" => name == XML,
        "xmlns" => false,
        "" => name != XML && name != XMLNS,
        _ => !name.is_empty() && name != XML && name != XMLNS,
    };
    if fits { Ok(()) } else { Err(Malformed::NotWellFormed("namespace declaration")) }
}

/// Splits a qualified name, empty prefix if there is none.
fn split(name: &str) -> Result<(&str, &str), Malformed> {
    let (prefix, local) = name.split_once(':').unwrap_or(("", name));
    let fits = is_name(local) && (prefix.is_empty() || is_name(prefix)) && !name.starts_with(':');
    if fits { Ok((prefix, local)) } else { Err(Malformed::NotWellFormed("name")) }
}

/// XML 1.0 §2.3 production Name, without a colon.
fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(begins_name) && characters.all(|c| begins_name(c) || continues_name(c))
}

fn begins_name(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '_'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}'
        | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

fn continues_name(c: char) -> bool {
    matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// XML 1.0 §2.2 production Char.
fn is_character(c: char) -> bool {
    !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

fn check_characters(text: &str) -> Result<(), Malformed> {
    if text.chars().all(is_character) { Ok(()) } else { Err(Malformed::NotWellFormed("character")) }
}

/// Line ends become LF (XML 1.0 §2.11).
fn push_lines(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find('\r') {
        out.push_str(&rest[..at]);
        out.push('\n');
        rest = &rest[at + 1..];
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    out.push_str(rest);
}

/// The character that stands for `&name;`: one of the five, or a number of a character that XML can carry.
fn reference(name: &str) -> Result<char, Malformed> {
    match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => {}
    }
    // Other entities would have to be declared, and declarations are not allowed (RFC 6120 §11.1).
    let number = name.strip_prefix('#').ok_or(Malformed::Restricted("entities of its own"))?;
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    let fits = !digits.is_empty() && digits.bytes().all(|byte| char::from(byte).is_digit(radix));
    let code = if fits { u32::from_str_radix(digits, radix).ok() } else { None };
    code.and_then(char::from_u32).filter(|c| is_character(*c)).ok_or(Malformed::NotWellFormed("character reference"))
}

/// Calls `each` with every attribute of a tag: name as written, and the value, expanded and normalised, kept in the document.
fn each_attribute(
    tag: &str,
    document: &mut Document,
    mut each: impl FnMut(&mut Document, &str, Span) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];
    let mut rest = tag;
    loop {
        let trimmed = rest.trim_start_matches(BLANK);
        if trimmed.is_empty() {
            return Ok(());
        }
        // XML 1.0 §3.1: white space before every attribute.
        if trimmed.len() == rest.len() {
            return Err(Malformed::NotWellFormed("no space between attributes"));
        }
        let (name, after) = trimmed.split_once('=').ok_or(Malformed::NotWellFormed("attribute without value"))?;
        let name = name.trim_end_matches(BLANK);
        if name.len() > MAX_NAME {
            return Err(Malformed::TooMany("bytes in a name", MAX_NAME));
        }
        let after = after.trim_start_matches(BLANK);
        let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or(Malformed::NotWellFormed("attribute without quotes"))?;
        let (value, after) = after[1..].split_once(quote).ok_or(Malformed::NotWellFormed("attribute without end"))?;
        let value = push_value(document, value)?;
        each(document, name, value)?;
        rest = after;
    }
}

fn push_value(document: &mut Document, value: &str) -> Result<Span, Malformed> {
    check_characters(value)?;
    let start = document.text.len();
    let mut rest = value;
    while let Some(at) = rest.find(['&', '<', '\t', '\r', '\n']) {
        document.text.push_str(&rest[..at]);
        let special = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        match special {
            // XML 1.0 §3.1
            b'<' => return Err(Malformed::NotWellFormed("< in an attribute")),
            b'&' => {
                let (name, after) = rest.split_once(';').ok_or(Malformed::NotWellFormed("reference"))?;
                document.text.push(reference(name)?);
                rest = after;
            }
            // XML 1.0 §3.3.3, after the line ends of §2.11
            b'\r' => {
                document.text.push(' ');
                rest = rest.strip_prefix('\n').unwrap_or(rest);
            }
            _ => document.text.push(' '),
        }
    }
    document.text.push_str(rest);
    Ok(Span { start, end: document.text.len() })
}
