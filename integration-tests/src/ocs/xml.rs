//! Documents that clients send, as small trees.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Clients nest no deeper.
const MAXIMUM_DEPTH: usize = 32;

/// One element, without prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Element>,
    pub(super) text: String,
    /// What is between its tags, as it was written.
    pub(super) inner: String,
}

impl Element {
    /// Reads a document.
    pub(super) fn parse(document: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(document);
        // Open elements with the place where their content begins.
        let mut open: Vec<(Element, usize)> = vec![(Element::default(), 0)];
        loop {
            let before = usize::try_from(reader.buffer_position()).map_err(|fault| fault.to_string())?;
            let event = reader.read_event().map_err(|fault| fault.to_string())?;
            let after = usize::try_from(reader.buffer_position()).map_err(|fault| fault.to_string())?;
            match event {
                Event::Start(tag) if open.len() <= MAXIMUM_DEPTH => open.push((element(&tag)?, after)),
                Event::Start(_) => return Err("too deep".to_owned()),
                Event::Empty(tag) => {
                    let element = element(&tag)?;
                    if let Some((parent, _)) = open.last_mut() {
                        parent.children.push(element);
                    }
                }
                Event::End(_) => {
                    let Some((mut element, begin)) = open.pop() else { return Err("an end without a begin".to_owned()) };
                    element.inner = document.get(begin..before).unwrap_or_default().to_owned();
                    let Some((parent, _)) = open.last_mut() else { return Err("an end without a begin".to_owned()) };
                    parent.children.push(element);
                }
                Event::Text(text) => add(&mut open, &text),
                Event::CData(text) => add(&mut open, &text),
                Event::GeneralRef(reference) => {
                    let written = format!("&{};", &*reference);
                    add(&mut open, &quick_xml::escape::unescape(&written).map_err(|fault| fault.to_string())?);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match open.pop() {
            Some((mut root, _)) if open.is_empty() && root.children.len() == 1 => Ok(root.children.remove(0)),
            _ => Err("not one whole element".to_owned()),
        }
    }

    pub(super) fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(attribute, _)| attribute == name).map_or("", |(_, value)| value)
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element of this name, itself or below.
    pub(super) fn find(&self, name: &str) -> Option<&Element> {
        if self.name == name { Some(self) } else { self.children.iter().find_map(|child| child.find(name)) }
    }

    /// All elements of this name below.
    pub(super) fn all<'a>(&'a self, name: &str, found: &mut Vec<&'a Element>) {
        for child in &self.children {
            if child.name == name {
                found.push(child);
            }
            child.all(name, found);
        }
    }
}

fn add(open: &mut [(Element, usize)], text: &str) {
    if let Some((element, _)) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn element(tag: &BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|fault| fault.to_string())?;
        let value = quick_xml::escape::unescape(&attribute.value).map_err(|fault| fault.to_string())?.into_owned();
        attributes.push((attribute.key.local_name().as_ref().to_owned(), value));
    }
    Ok(Element { name: tag.local_name().as_ref().to_owned(), attributes, ..Element::default() })
}

/// Text for an element or an attribute.
pub(super) fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Element;

    #[test]
    fn a_document_is_a_tree_with_what_was_written() {
        let root = Element::parse("<?xml version='1.0'?><m:a x='1 &amp; 2'><b><c/>t &lt; u</b><b y='2'/></m:a>")
            .expect("it is well formed");
        assert_eq!((root.name.as_str(), root.attribute("x")), ("a", "1 & 2"));
        assert_eq!(root.child("b").map(|b| (b.text.as_str(), b.inner.as_str())), Some(("t < u", "<c/>t &lt; u")));
        let mut all = Vec::new();
        root.all("b", &mut all);
        assert_eq!(all.len(), 2);
        assert!(Element::parse("<a><b></a>").is_err());
        assert!(Element::parse("").is_err());
    }
}
