//! The lexical layer of RFC 3261 §25: byte classes, white space, and splitting that respects quotes.
//!
//! All of it works on bytes, since header values may hold anything; all of it is iterative.

use crate::error::{Malformed, Unencodable};

/// RFC 3261 §25.1 `token`.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// A whole, non-empty token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// RFC 3261 §25.1 `unreserved`.
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
}

/// White space once folding is gone.
pub(crate) fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Without the white space at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The text of bytes already known to be ASCII, or of text where a wrong byte is shown as U+FFFD.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Digits only, any number of leading zeros; `None` if something else is there, `Some(u64::MAX)` if it is larger than that.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// A place in a value. Every step is bounded by the value's length.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.position = self.position.saturating_add(count).min(self.bytes.len());
    }

    pub(crate) fn skip_space(&mut self) {
        self.take_while(is_space);
    }

    pub(crate) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.advance(length);
        rest.get(..length).unwrap_or_default()
    }

    /// Takes `byte` if it is next.
    pub(crate) fn accept(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.advance(1);
        }
        is_next
    }

    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Malformed> {
        if self.accept(byte) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    pub(crate) fn token(&mut self, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let token = self.take_while(is_token_byte);
        if token.is_empty() { Err(self.wrong(expected)) } else { Ok(token) }
    }

    /// A quoted string whose opening quote is next: its content with the backslashes resolved.
    pub(crate) fn quoted(&mut self) -> Result<Vec<u8>, Malformed> {
        self.expect(b'"', "a quoted string")?;
        let mut content = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.wrong("a closing quote")),
                Some(b'"') => {
                    self.advance(1);
                    return Ok(content);
                }
                Some(b'\\') => {
                    self.advance(1);
                    // RFC 3261 §25.1 quoted-pair: any ASCII but CR and LF, which a value cannot hold anyway
                    content.push(self.peek().ok_or_else(|| self.wrong("a byte after the backslash"))?);
                    self.advance(1);
                }
                Some(byte) => {
                    content.push(byte);
                    self.advance(1);
                }
            }
        }
    }

    pub(crate) fn wrong(&self, expected: &'static str) -> Malformed {
        Malformed::at(expected, self.bytes, self.position)
    }
}

/// Splits at `separator` where it stands outside quotes and outside `<>`. An unclosed quote or bracket keeps the rest
/// together, so that the parser of the element sees and refuses it.
pub(crate) fn split(bytes: &[u8], separator: u8) -> Split<'_> {
    Split { rest: Some(bytes), separator }
}

pub(crate) struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let end = end_of_element(rest, self.separator);
        self.rest = rest.get(end + 1..).filter(|_| end < rest.len());
        rest.get(..end)
    }
}

fn end_of_element(bytes: &[u8], separator: u8) -> usize {
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    for (position, byte) in bytes.iter().copied().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted {
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if bracketed {
            bracketed = byte != b'>';
        } else if byte == separator {
            return position;
        } else {
            quoted = byte == b'"';
            bracketed = byte == b'<';
        }
    }
    bytes.len()
}

/// Refuses what may never be written into a header line from outside: every control character but the tab.
pub(crate) fn refuse_controls(text: &[u8], place: &'static str) -> Result<(), Unencodable> {
    match text.iter().find(|byte| (**byte < 0x20 && **byte != b'\t') || **byte == 0x7f) {
        Some(byte) => Err(Unencodable::Control(*byte, place)),
        None => Ok(()),
    }
}

/// Refuses everything that is not a token.
pub(crate) fn require_token(text: &str, place: &'static str) -> Result<(), Unencodable> {
    if text.is_empty() {
        return Err(Unencodable::Empty(place));
    }
    match text.bytes().find(|byte| !is_token_byte(*byte)) {
        Some(byte) if byte.is_ascii_control() => Err(Unencodable::Control(byte, place)),
        Some(byte) => Err(Unencodable::Byte(byte, place)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_respects_quotes_and_brackets() {
        let parts: Vec<_> = split(br#""a, \" b" <sip:x,y@z>;p="c,d", <sip:q>,"#, b',').collect();
        assert_eq!(parts, [br#""a, \" b" <sip:x,y@z>;p="c,d""#.as_slice(), b" <sip:q>", b""]);
    }

    #[test]
    fn an_unclosed_quote_keeps_the_rest() {
        assert_eq!(split(br#""a, b"#, b',').count(), 1);
    }

    #[test]
    fn numbers_saturate_and_refuse_signs() {
        assert_eq!(number(b"0068"), Some(68));
        assert_eq!(number(b"36893488147419103232"), Some(u64::MAX));
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b"+1"), None);
        assert_eq!(number(b""), None);
    }
}
