//! A small strict reader of XML documents in bodies, and the writer that any text survives.
//!
//! Read are UTF-8, and UTF-16 with a byte order mark. Refused are document types, entities but for the five, processing instructions, comments,
//! unbound prefixes, attributes given twice, and whatever exceeds the limits.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Bytes of a document.
pub const MAX_BYTES: usize = 64 * 1024;
/// Elements inside one another, the root included.
pub const MAX_DEPTH: usize = 16;
/// Elements in all.
pub const MAX_ELEMENTS: usize = 512;
/// Attributes of one element, namespace declarations included.
pub const MAX_ATTRIBUTES: usize = 64;

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Why bytes are not a document that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlFault {
    /// A rule of XML 1.0 or of Namespaces in XML is broken.
    #[error("expected well-formed XML: {0}")]
    NotWellFormed(&'static str),
    /// A document type, an entity of its own, a processing instruction, a comment.
    #[error("expected XML without {0}")]
    Restricted(&'static str),
    /// Neither UTF-8 nor UTF-16.
    #[error("expected UTF-8 or UTF-16")]
    Encoding,
    /// More of something than is allowed.
    #[error("expected at most {1} {0}")]
    TooMany(&'static str, usize),
    /// Another document than what was expected.
    #[error("expected {0}")]
    Other(&'static str),
}

/// One element with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Its name, without a prefix.
    pub name: String,
    /// The name of its namespace; empty: none.
    pub namespace: String,
    /// Namespace, name and value.
    attributes: Vec<(String, String, String)>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    /// Whether it is that one.
    #[must_use]
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// The value of an attribute without a prefix.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.find("", name)
    }

    /// The value of an attribute in a namespace.
    #[must_use]
    pub fn attribute_in(&self, namespace: &str, name: &str) -> Option<&str> {
        self.find(namespace, name)
    }

    /// `xml:lang`.
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        self.find(XML, "lang")
    }

    fn find(&self, namespace: &str, name: &str) -> Option<&str> {
        let is = |(of, known, _): &&(String, String, String)| of == namespace && known == name;
        self.attributes.iter().find(is).map(|(_, _, value)| value.as_str())
    }

    /// The elements directly inside it.
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.children.iter()
    }

    /// The first element directly inside it that is that one.
    #[must_use]
    pub fn child(&self, namespace: &str, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(namespace, name))
    }

    /// The text directly inside it, without blanks at its ends.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.trim()
    }
}

/// Reads a document: its root element.
///
/// # Errors
/// [`XmlFault`].
pub fn read(bytes: &[u8]) -> Result<Element, XmlFault> {
    if bytes.len() > MAX_BYTES {
        return Err(XmlFault::TooMany("bytes", MAX_BYTES));
    }
    let text = decode(bytes)?;
    let mut reader = Reader::from_str(&text);
    let mut parser = Parser::default();
    let mut first = true;
    loop {
        let event = reader.read_event().map_err(|_| XmlFault::NotWellFormed("tags"))?;
        let is_over = parser.open.is_empty() && parser.root.is_some();
        match event {
            Event::Start(_) | Event::Empty(_) if is_over => return Err(XmlFault::NotWellFormed("more than one root")),
            Event::Start(tag) => parser.start(&tag)?,
            Event::Empty(tag) => {
                parser.start(&tag)?;
                parser.end();
            }
            Event::End(_) => parser.end(),
            Event::Text(text) if parser.open.is_empty() => {
                if !text.trim().is_empty() {
                    return Err(XmlFault::NotWellFormed("text outside the root"));
                }
            }
            Event::Text(text) => parser.text(&text)?,
            Event::CData(text) => parser.text(&text)?,
            Event::GeneralRef(name) => parser.text(reference(&name)?.encode_utf8(&mut [0; 4]))?,
            Event::Eof => break,
            Event::Decl(_) if first => {}
            Event::Decl(_) | Event::PI(_) => return Err(XmlFault::Restricted("processing instructions")),
            Event::Comment(_) => return Err(XmlFault::Restricted("comments")),
            Event::DocType(_) => return Err(XmlFault::Restricted("document types")),
        }
        first = false;
    }
    if !parser.open.is_empty() {
        return Err(XmlFault::NotWellFormed("an element is not closed"));
    }
    parser.root.ok_or(XmlFault::NotWellFormed("no root"))
}

/// UTF-16 where a byte order mark says so (RFC 3023 §3.2), else UTF-8.
fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, XmlFault> {
    let (encoding, rest) = match bytes {
        [0xff, 0xfe, rest @ ..] => (encoding_rs::UTF_16LE, rest),
        [0xfe, 0xff, rest @ ..] => (encoding_rs::UTF_16BE, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => (encoding_rs::UTF_8, rest),
        _ => (encoding_rs::UTF_8, bytes),
    };
    let text = encoding.decode_without_bom_handling_and_without_replacement(rest).ok_or(XmlFault::Encoding)?;
    if !text.chars().all(is_legal) {
        return Err(XmlFault::NotWellFormed("character"));
    }
    Ok(text)
}

/// XML 1.0 §2.2 production Char.
fn is_legal(c: char) -> bool {
    !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[derive(Default)]
struct Parser {
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
    /// Depth at which it ends, prefix, name.
    declared: Vec<(usize, String, String)>,
}

impl Parser {
    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), XmlFault> {
        let depth = self.open.len() + 1;
        if depth > MAX_DEPTH {
            return Err(XmlFault::TooMany("levels of elements", MAX_DEPTH));
        }
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(XmlFault::TooMany("elements", MAX_ELEMENTS));
        }
        let mut attributes = Vec::new();
        for (number, attribute) in tag.attributes().enumerate() {
            if number >= MAX_ATTRIBUTES {
                return Err(XmlFault::TooMany("attributes", MAX_ATTRIBUTES));
            }
            let attribute = attribute.map_err(|_| XmlFault::NotWellFormed("attribute"))?;
            let value = expand(&attribute.value)?;
            match split(attribute.key.as_ref())? {
                ("", "xmlns") => self.declared.push((depth, String::new(), value)),
                ("xmlns", prefix) => self.declared.push((depth, prefix.to_owned(), value)),
                (prefix, name) => attributes.push((prefix.to_owned(), name.to_owned(), value)),
            }
        }
        let name = tag.name();
        let (prefix, local) = split(name.as_ref())?;
        let namespace = self.resolve(prefix)?.to_owned();
        for (prefix, _, _) in &mut attributes {
            // An attribute without a prefix is in no namespace (Namespaces in XML 1.0 §6.2).
            if !prefix.is_empty() {
                *prefix = self.resolve(prefix)?.to_owned();
            }
        }
        for (number, (namespace, name, _)) in attributes.iter().enumerate() {
            if attributes.iter().take(number).any(|(other, known, _)| other == namespace && known == name) {
                return Err(XmlFault::NotWellFormed("an attribute given twice"));
            }
        }
        let name = local.to_owned();
        self.open.push(Element { name, namespace, attributes, ..Element::default() });
        Ok(())
    }

    fn end(&mut self) {
        let depth = self.open.len();
        self.declared.retain(|(of, _, _)| *of < depth);
        let Some(element) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), XmlFault> {
        let element = self.open.last_mut().ok_or(XmlFault::NotWellFormed("text outside the root"))?;
        element.text.push_str(text);
        Ok(())
    }

    fn resolve(&self, prefix: &str) -> Result<&str, XmlFault> {
        if prefix == "xml" {
            return Ok(XML);
        }
        let declared = self.declared.iter().rev().find(|(_, known, _)| known == prefix);
        match declared {
            Some((_, _, name)) if prefix.is_empty() || !name.is_empty() => Ok(name),
            None if prefix.is_empty() => Ok(""),
            _ => Err(XmlFault::NotWellFormed("a prefix that is not declared")),
        }
    }
}

/// Splits a qualified name; an empty prefix if there is none.
fn split(name: &str) -> Result<(&str, &str), XmlFault> {
    let (prefix, local) = name.split_once(':').unwrap_or(("", name));
    let fits = |part: &str| {
        let begins = |c: char| c.is_alphabetic() || c == '_';
        part.chars().next().is_some_and(begins) && part.chars().all(|c| begins(c) || c.is_alphanumeric() || "-.·".contains(c))
    };
    let is_name = fits(local) && (fits(prefix) || (prefix.is_empty() && !name.starts_with(':')));
    if is_name { Ok((prefix, local)) } else { Err(XmlFault::NotWellFormed("name")) }
}

/// The value of an attribute, its references expanded.
fn expand(value: &str) -> Result<String, XmlFault> {
    let mut whole = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('&') {
        whole.push_str(before);
        let (name, after) = after.split_once(';').ok_or(XmlFault::NotWellFormed("reference"))?;
        whole.push(reference(name)?);
        rest = after;
    }
    whole.push_str(rest);
    if value.contains('<') { Err(XmlFault::NotWellFormed("< in an attribute")) } else { Ok(whole) }
}

/// The character that stands for `&name;`.
fn reference(name: &str) -> Result<char, XmlFault> {
    match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => {}
    }
    let number = name.strip_prefix('#').ok_or(XmlFault::Restricted("entities of its own"))?;
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    let fits = !digits.is_empty() && digits.bytes().all(|byte| char::from(byte).is_digit(radix));
    let code = if fits { u32::from_str_radix(digits, radix).ok() } else { None };
    code.and_then(char::from_u32).filter(|c| is_legal(*c)).ok_or(XmlFault::NotWellFormed("character reference"))
}

/// A text as XML writes it, in elements and in attributes; what XML cannot carry becomes U+FFFD.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'' | '\r' | '\n' | '\t') || !is_legal(c);
    if !text.contains(special) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // As references they survive what a reader does with white space (XML 1.0 §2.11, §3.3.3).
            '\r' => out.push_str("&#13;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if is_legal(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn namespaces_are_resolved_whatever_prefixes_are_used() {
        let root = read(b"<?xml version='1.0'?>\n<p:a xmlns:p='urn:p' xmlns='urn:d' q='1' p:q='2' xml:lang='de'><b>x&amp;&#x41;<![CDATA[<y>]]></b><b xmlns=''/></p:a>\n").unwrap();
        assert!(root.is("urn:p", "a"));
        assert_eq!((root.attribute("q"), root.language()), (Some("1"), Some("de")));
        assert_eq!(root.child("urn:d", "b").unwrap().text(), "x&A<y>");
        assert!(root.child("", "b").is_some());
        assert_eq!(root.children().count(), 2);
    }

    #[test]
    fn case_62_utf_16_is_read() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a>é</a>";
        let little: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        assert_eq!(read(&little).unwrap().text(), "é");
        assert_eq!(read(&big), read(&little));
        assert_eq!(read(b"\xef\xbb\xbf<a/>").unwrap().name, "a");
    }

    #[test]
    fn abuse_13_what_bodies_must_not_have_is_refused() {
        for (text, fault) in [
            ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", XmlFault::Restricted("document types")),
            ("<a>&x;</a>", XmlFault::Restricted("entities of its own")),
            ("<a b='&x;'/>", XmlFault::Restricted("entities of its own")),
            ("<a><?php x?></a>", XmlFault::Restricted("processing instructions")),
            ("<a><!-- x --></a>", XmlFault::Restricted("comments")),
        ] {
            assert_eq!(read(text.as_bytes()), Err(fault), "{text}");
        }
        assert_eq!(read(b"<a>\xff</a>"), Err(XmlFault::Encoding));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in [
            "",
            " ",
            "x",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "<p:a/>",
            "<a p:b='1'/>",
            "<a b='1' b='2'/>",
            "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
            "<a>&#0;</a>",
            "<a>&#xfffe;</a>",
            "<a>&</a>",
            "<1/>",
            "<a b=c/>",
            "<a b='<'/>",
            "<:a/>",
            "<a:/>",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn abuse_14_limits() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(read(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        let wide = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count));
        assert!(read(wide(MAX_ELEMENTS - 1).as_bytes()).is_ok());
        assert!(read(wide(MAX_ELEMENTS).as_bytes()).is_err());
        let attributes = |count: usize| format!("<a {}/>", (0..count).map(|n| format!("b{n}='' ")).collect::<String>());
        assert!(read(attributes(MAX_ATTRIBUTES).as_bytes()).is_ok());
        assert!(read(attributes(MAX_ATTRIBUTES + 1).as_bytes()).is_err());
        assert!(read(format!("<a>{}</a>", "x".repeat(MAX_BYTES)).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn abuse_30_any_text_survives(text in any::<String>()) {
            let root = read(format!("<a b='{0}'>.{0}.</a>", escape(&text)).as_bytes()).unwrap();
            let want: String = text.chars().map(|c| if is_legal(c) { c } else { '\u{fffd}' }).collect();
            prop_assert_eq!(root.attribute("b"), Some(want.as_str()));
            prop_assert_eq!(root.text(), format!(".{want}."));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
