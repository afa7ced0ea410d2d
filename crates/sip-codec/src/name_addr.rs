//! Addresses in headers: `"Alice" <sip:alice@a.example>;tag=1`.

use std::fmt;

use crate::error::{Malformed, Unencodable};
use crate::lex::{self, Cursor};
use crate::params::{self, Params};
use crate::uri::Uri;

/// One value of From, To, Contact, Route, Record-Route, P-Asserted-Identity, Refer-To and the like.
///
/// Always written with the URI in `<>` and the name in quotes.
#[derive(Clone, PartialEq, Eq)]
pub struct NameAddr {
    display: Option<Box<str>>,
    uri: Uri,
    params: Params,
}

impl NameAddr {
    /// An address without a name or parameters.
    pub fn new(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::default() }
    }

    /// With a display name. Control characters are refused; quotes and backslashes are escaped when written.
    pub fn with_display(mut self, name: &str) -> Result<Self, Unencodable> {
        lex::refuse_controls(name.as_bytes(), "a display name")?;
        self.display = Some(name.into());
        Ok(self)
    }

    /// With a tag, which must be a token.
    pub fn with_tag(mut self, tag: &str) -> Result<Self, Unencodable> {
        lex::require_token(tag, "a tag")?;
        self.params.set("tag", Some(tag))?;
        Ok(self)
    }

    /// Without its tag.
    pub fn without_tag(mut self) -> Self {
        self.params.remove("tag");
        self
    }

    /// With a header parameter, in place of one of that name.
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> Result<Self, Unencodable> {
        self.params.set(name, value)?;
        Ok(self)
    }

    /// The display name, unquoted. Bytes that are not UTF-8 show as U+FFFD; control characters that came as a
    /// quoted-pair are still in it.
    pub fn display(&self) -> Option<&str> {
        self.display.as_deref()
    }

    /// The URI.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The parameters behind the URI.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag")
    }

    /// Parses one list element. Without `<>` the URI ends at the first semicolon, and may hold no `?` or comma
    /// (RFC 3261 §20).
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(lex::trim(bytes));
        let display = if cursor.peek() == Some(b'"') {
            let name = lex::text(&cursor.quoted()?);
            cursor.skip_space();
            if cursor.peek() != Some(b'<') {
                return Err(cursor.wrong("\"<\" after the display name"));
            }
            Some(name)
        } else if cursor.rest().contains(&b'<') {
            // Wider than *(token LWS): real phones send dots, brackets and plain UTF-8 here
            let name = lex::trim(cursor.take_while(|byte| !matches!(byte, b'<' | b'>' | b'"' | b',' | b';')));
            if cursor.peek() != Some(b'<') {
                return Err(cursor.wrong("a display name"));
            }
            Some(lex::text(name)).filter(|name| !name.is_empty())
        } else {
            None
        };
        let uri = if cursor.accept(b'<') {
            let uri = Uri::parse(lex::trim(cursor.take_while(|byte| byte != b'>')))?;
            cursor.expect(b'>', "\">\" after the URI")?;
            uri
        } else {
            let text = lex::trim(cursor.take_while(|byte| byte != b';'));
            // RFC 3261 §20: a URI with a comma, question mark or semicolon must be in <>
            if let Some(wrong) = text.iter().position(|byte| matches!(byte, b'?' | b',')) {
                return Err(Malformed::at("a URI in <>", text, wrong));
            }
            Uri::parse(text)?
        };
        let params = Params::parse(&mut cursor)?;
        Ok(Self { display: display.map(Into::into), uri, params })
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        if let Some(display) = &self.display {
            params::write_quoted(display, &mut out);
            out.push(' ');
        }
        out.push_str(&format!("<{}>", self.uri));
        self.params.write(&mut out);
        f.write_str(&out)
    }
}

/// Shows no person: see [`Uri`].
impl fmt::Debug for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameAddr({:?}, tag {:?})", self.uri, self.tag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> NameAddr {
        NameAddr::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_quotes_and_parameters() {
        let address = parse(r#" "a \" < , ; b" <sip:x@y;lr> ; tag = 1 ; epid=d8"#);
        assert_eq!(address.display(), Some(r#"a " < , ; b"#));
        assert!(address.uri().has_param("lr"));
        assert_eq!(address.tag(), Some("1"));
        assert_eq!(address.param("EPID"), Some("d8"));
        assert_eq!(address.to_string(), r#""a \" < , ; b" <sip:x@y;lr>;tag=1;epid=d8"#);
    }

    #[test]
    fn without_brackets_parameters_belong_to_the_header() {
        let address = parse("sip:x@y;tag=1");
        assert_eq!(address.uri().to_string(), "sip:x@y");
        assert_eq!(address.tag(), Some("1"));
        assert_eq!(parse("tel:+1-201").uri().opaque(), Some("+1-201"));
    }

    #[test]
    fn lenient_forms() {
        assert_eq!(parse("\"\" <sip:x@y>").display(), Some(""));
        assert_eq!(parse("caller<sip:x@y>").display(), Some("caller"));
        assert_eq!(parse("Müller (Büro) < sip:x@y >").display(), Some("Müller (Büro)"));
        assert_eq!(NameAddr::parse(b"\"\xff\" <sip:x@y>").unwrap().display(), Some("\u{fffd}"));
        assert_eq!(parse("<sip:x@y>;p=\"a,b\";q").param("p"), Some("a,b"));
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "\"open <sip:x@y>",
            "<sip:x@y",
            "sip:x@y?a=b",
            "Bell, A <sip:x@y>",
            "<>",
            "<sip:x@y>;;",
            "<sip:x@y> x",
            "x sip:x@y",
            "<sip:x@y>, <sip:z@y>",
        ] {
            assert!(NameAddr::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn injection_is_an_error() {
        let address = parse("<sip:x@y>");
        assert!(address.clone().with_display("a\r\nVia: x").is_err());
        assert!(address.clone().with_tag("a;b").is_err());
        assert!(address.clone().with_param("a\nb", None).is_err());
        assert!(address.with_param("a", Some("b\0")).is_err());
    }
}
