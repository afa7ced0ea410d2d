//! Mark-up cut into text and tags. Nothing is an error: what is no tag is text, what never ends ends with the input.

use crate::entity;

/// How tags are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `<b/>` opens.
    Html,
    /// `<b/>` opens and closes.
    Xml,
}

/// A piece of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Words, with entities in them.
    Text(&'a str),
    /// A tag that opens, its name in any case, and the text of its attributes; whether it closes at once.
    Open { name: &'a str, attributes: &'a str, is_empty: bool },
    /// A tag that closes.
    Close { name: &'a str },
}

/// Cuts the input.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    rest: &'a str,
    syntax: Syntax,
}

/// Elements that hold no words for people: all up to their end is skipped.
const SKIPPED: [&str; 7] = ["script", "style", "title", "template", "noscript", "iframe", "textarea"];

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str, syntax: Syntax) -> Self {
        Self { rest: text, syntax }
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    /// What follows a `<`. `None`: nothing for people.
    fn markup(&mut self, from: &'a str) -> Option<Token<'a>> {
        let after = from.get(1..).unwrap_or_default();
        if let Some(comment) = after.strip_prefix("!--") {
            // `<!-->` and `<!--->` end where they begin.
            let at_once = comment.strip_prefix('>').or_else(|| comment.strip_prefix("->"));
            self.rest = at_once.or_else(|| comment.split_once("-->").map(|(_, rest)| rest)).unwrap_or_default();
            return None;
        }
        let closing = after.starts_with('/');
        let named = after.get(usize::from(closing)..).unwrap_or_default();
        if !named.starts_with(|c: char| c.is_ascii_alphabetic()) {
            if after.starts_with(['!', '?', '/']) {
                self.rest = after.split_once('>').map_or("", |(_, rest)| rest);
                return None;
            }
            // "1 < 2" is text.
            let (text, rest) = from.split_at_checked(1)?;
            self.rest = rest;
            return Some(Token::Text(text));
        }
        let (name, attributes) = named.split_at(named.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(named.len()));
        let end = tag_end(attributes);
        let (attributes, rest) = (attributes.get(..end).unwrap_or_default(), attributes.get(end + 1..).unwrap_or_default());
        self.rest = rest;
        if closing {
            return Some(Token::Close { name });
        }
        let is_empty = self.syntax == Syntax::Xml && attributes.trim_end().ends_with('/');
        if SKIPPED.iter().any(|skipped| skipped.eq_ignore_ascii_case(name)) {
            if !is_empty {
                self.rest = after_end_of(name, rest);
            }
            return None;
        }
        Some(Token::Open { name, attributes, is_empty })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        while !self.rest.is_empty() {
            let (text, markup) = self.rest.split_at(self.rest.find('<').unwrap_or(self.rest.len()));
            if !text.is_empty() {
                self.rest = markup;
                return Some(Token::Text(text));
            }
            if let Some(token) = self.markup(markup) {
                return Some(token);
            }
        }
        None
    }
}

/// Where the `>` of a tag is, outside quotes; the end of the text without one.
fn tag_end(attributes: &str) -> usize {
    let mut quote = None;
    for (position, byte) in attributes.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return position,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    attributes.len()
}

/// What stands behind `</name>`; nothing, if it never comes.
fn after_end_of<'a>(name: &str, text: &'a str) -> &'a str {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("</") {
        let tag = after.get(..name.len()).filter(|found| found.eq_ignore_ascii_case(name));
        if tag.is_some() && !after.get(name.len()..).unwrap_or_default().starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return after.split_once('>').map_or("", |(_, rest)| rest);
        }
        rest = after;
    }
    ""
}

/// The value of an attribute, in quotes or not, with its entities resolved.
pub(crate) fn attribute(attributes: &str, wanted: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=').map(str::trim_start) else {
            // No progress is possible on an empty name without a value, and there is none: `rest` began with neither.
            rest = after;
            continue;
        };
        let (value, after) =
            match value.strip_prefix('"').map(|text| (text, '"')).or(value.strip_prefix('\'').map(|text| (text, '\''))) {
                Some((text, quote)) => text.split_once(quote).unwrap_or((text, "")),
                None => value.split_at(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len())),
            };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(entity::resolve(value.trim()));
        }
        rest = after;
    }
}
