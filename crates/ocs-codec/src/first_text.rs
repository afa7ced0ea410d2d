//! The first text of a session, in the header `ms-text-format` of its INVITE: a Content-Type with one parameter more, `ms-body`, which is base64
//! of the text.

use base64::Engine as _;

use crate::font::BASE64;

/// Bytes of a header that is read.
const MAX_BYTES: usize = 256 * 1024;

/// A first text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstText {
    /// What a MESSAGE with the same text would have as its Content-Type.
    pub content_type: String,
    /// What it would have as its body.
    pub body: Vec<u8>,
}

impl FirstText {
    /// Reads the header's value. `None`: there is no text in it.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        if value.len() > MAX_BYTES {
            return None;
        }
        let mut kept = Vec::new();
        let mut body = None;
        // No parameter that is known has a semicolon in its value.
        for part in value.split(';') {
            match part.trim().split_once('=') {
                Some((name, value)) if name.trim_end().eq_ignore_ascii_case("ms-body") => {
                    body = BASE64.decode(value.trim().trim_matches('"')).ok();
                }
                _ => kept.push(part.trim()),
            }
        }
        Some(Self { content_type: kept.join(";"), body: body? })
    }

    /// The header's value.
    #[must_use]
    pub fn write(&self) -> String {
        format!("{};ms-body={}", self.content_type, BASE64.encode(&self.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_recorded_first_text_is_read() {
        let value = "text/plain; charset=UTF-8;msgr=WAAtAE0;ms-body=cmVwbHkgaW4gdGhlIHBlZXItb3BlbmVkIHNlc3Npb24=";
        let read = FirstText::read(value).unwrap();
        assert_eq!(read.content_type, "text/plain;charset=UTF-8;msgr=WAAtAE0");
        assert_eq!(read.body, b"reply in the peer-opened session");
        assert_eq!(FirstText::read(&read.write()), Some(read));
    }

    #[test]
    fn a_header_without_text_has_none() {
        for value in ["", "text/plain", "text/plain;msgr=x", "text/plain;ms-body=***", "text/plain;ms-body"] {
            assert_eq!(FirstText::read(value), None, "{value}");
        }
        assert_eq!(FirstText::read("text/plain;MS-Body=\"aGk=\"").unwrap().body, b"hi");
    }

    proptest! {
        #[test]
        fn every_text_survives(text in any::<String>()) {
            let first = FirstText { content_type: "text/plain;charset=UTF-8".to_owned(), body: text.into_bytes() };
            prop_assert_eq!(FirstText::read(&first.write()), Some(first));
        }

        #[test]
        fn no_value_makes_it_panic(value in any::<String>()) {
            let _ = FirstText::read(&value);
        }
    }
}
