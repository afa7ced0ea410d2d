//! The `;name=value` list behind a URI, an address, a Via or a media type.

use std::fmt::Write as _;

use crate::error::{Malformed, Unencodable};
use crate::lex::{self, Cursor};

/// Parameters in their order. Names compare without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<Param>);

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    name: Box<str>,
    value: Option<Box<str>>,
    quoted: bool,
}

impl Param {
    /// As written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Without quotes and backslashes; `None` for a bare name and for `name=`.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

impl Params {
    /// The first value under this name. Bytes that are not UTF-8 show as U+FFFD.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).and_then(Param::value)
    }

    /// Whether the name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }

    /// Sets a header parameter: the value is written as a token or IP literal if it can be, else as a quoted string.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), Unencodable> {
        lex::require_token(name, "a parameter name")?;
        let quoted = match value {
            Some(value) => {
                lex::refuse_controls(value.as_bytes(), "a parameter value")?;
                !value.bytes().all(|byte| lex::is_token_byte(byte) || matches!(byte, b':' | b'[' | b']'))
            }
            None => false,
        };
        self.put(Param { name: name.into(), value: value.map(Into::into), quoted });
        Ok(())
    }

    /// Sets a URI parameter; the value is percent-encoded where it must be.
    pub(crate) fn set_in_uri(&mut self, name: &str, value: Option<&str>) -> Result<(), Unencodable> {
        lex::require_token(name, "a URI parameter name")?;
        // RFC 3261 §25.1 param-unreserved
        let keep = |byte: u8| lex::is_unreserved(byte) || matches!(byte, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$');
        let value = value.map(|value| crate::uri::percent_encode(value.as_bytes(), keep).into());
        self.put(Param { name: name.into(), value, quoted: false });
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|param| !param.name.eq_ignore_ascii_case(name));
    }

    fn put(&mut self, param: Param) {
        match self.0.iter_mut().find(|known| known.name.eq_ignore_ascii_case(&param.name)) {
            Some(known) => *known = param,
            None => self.0.push(param),
        }
    }

    /// `*(SEMI name [EQUAL (token / host / quoted-string)])` to the end of the value.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let mut params = Self::default();
        loop {
            cursor.skip_space();
            if cursor.at_end() {
                return Ok(params);
            }
            cursor.expect(b';', "a semicolon")?;
            cursor.skip_space();
            let name = lex::text(cursor.token("a parameter name")?).into();
            cursor.skip_space();
            let mut value = None;
            let mut quoted = false;
            if cursor.accept(b'=') {
                cursor.skip_space();
                quoted = cursor.peek() == Some(b'"');
                value = if quoted {
                    Some(lex::text(&cursor.quoted()?).into())
                } else {
                    // Wider than the grammar: real values hold "/", "=", "@" and bytes above 0x7f
                    let plain = cursor.take_while(|byte| byte > 0x20 && !matches!(byte, b';' | b',' | b'"' | b'<' | b'>' | 0x7f));
                    if plain.is_empty() { None } else { Some(lex::text(plain).into()) }
                };
            }
            params.0.push(Param { name, value, quoted });
        }
    }

    /// `;name=value` as in a URI: no white space, no quotes. `text` starts at the first semicolon or is empty.
    pub(crate) fn parse_in_uri(text: &str) -> Result<Self, Malformed> {
        let mut params = Self::default();
        let mut parts = text.split(';');
        parts.next();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value).filter(|value| !value.is_empty())),
                None => (part, None),
            };
            // Wider than the grammar in both: Microsoft route signatures end in "=", others carry "@" and "|"
            let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
            if name.is_empty() || !visible(name) || !value.is_none_or(visible) {
                return Err(Malformed::at("a URI parameter", name.as_bytes(), 0));
            }
            params.0.push(Param { name: name.into(), value: value.map(Into::into), quoted: false });
        }
        Ok(params)
    }

    pub(crate) fn write(&self, out: &mut String) {
        for Param { name, value, quoted } in &self.0 {
            out.push(';');
            out.push_str(name);
            match value {
                Some(value) if *quoted => {
                    out.push('=');
                    write_quoted(value, out);
                }
                Some(value) => {
                    // Writing into a String cannot fail
                    let _ = write!(out, "={value}");
                }
                None => {}
            }
        }
    }
}

/// Quotes and escapes. Control characters can only come from a received quoted-pair and go out as one.
pub(crate) fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') || (character.is_ascii_control() && character != '\t') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}
