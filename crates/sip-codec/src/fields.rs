//! Smaller header values: CSeq, Content-Type, Retry-After, and the numbers.

use std::fmt;

use crate::error::{Malformed, Unencodable};
use crate::lex::{self, Cursor};
use crate::method::Method;
use crate::params::Params;

/// Sequence number and method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// At most 2³¹−1.
    pub number: u32,
    /// Of the request, also in its ACK's and its response's CSeq where the standard says so.
    pub method: Method,
}

impl CSeq {
    pub(crate) const MAX: u32 = (1 << 31) - 1;

    /// `number LWS method`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(lex::trim(bytes));
        let digits = cursor.take_while(|byte| byte.is_ascii_digit());
        let number = lex::number(digits)
            .and_then(|number| u32::try_from(number).ok())
            // RFC 3261 §8.1.1.5: less than 2**31
            .filter(|number| *number <= Self::MAX)
            .ok_or_else(|| Malformed::word("a number below 2^31", digits))?;
        if !cursor.peek().is_some_and(lex::is_space) {
            return Err(cursor.wrong("white space and a method"));
        }
        let method = lex::trim(cursor.rest());
        let method = Method::parse(method).ok_or_else(|| Malformed::word("a method", method))?;
        Ok(Self { number, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// A media type with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    kind: Box<str>,
    subtype: Box<str>,
    params: Params,
}

impl ContentType {
    /// `ContentType::new("text", "plain")`; both must be tokens.
    pub fn new(kind: &str, subtype: &str) -> Result<Self, Unencodable> {
        lex::require_token(kind, "a media type")?;
        lex::require_token(subtype, "a media subtype")?;
        Ok(Self {
            kind: kind.to_ascii_lowercase().into(),
            subtype: subtype.to_ascii_lowercase().into(),
            params: Params::default(),
        })
    }

    /// With a parameter, such as `charset` or `boundary`.
    pub fn with_param(mut self, name: &str, value: &str) -> Result<Self, Unencodable> {
        self.params.set(name, Some(value))?;
        Ok(self)
    }

    /// `type / subtype *(;parameter)`; white space around slash, semicolon and equals sign.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(lex::trim(bytes));
        let kind = lex::text(cursor.token("a media type")?).to_ascii_lowercase().into();
        cursor.skip_space();
        cursor.expect(b'/', "a slash")?;
        cursor.skip_space();
        let subtype = lex::text(cursor.token("a media subtype")?).to_ascii_lowercase().into();
        Ok(Self { kind, subtype, params: Params::parse(&mut cursor)? })
    }

    /// The type, in lower case.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The subtype, in lower case.
    pub fn subtype(&self) -> &str {
        &self.subtype
    }

    /// Whether it is this type and subtype, both given in lower case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        &*self.kind == kind && &*self.subtype == subtype
    }

    /// The value of a parameter, unquoted.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// The `charset` parameter.
    pub fn charset(&self) -> Option<&str> {
        self.param("charset")
    }

    /// All parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tail = String::new();
        self.params.write(&mut tail);
        write!(f, "{}/{}{tail}", self.kind, self.subtype)
    }
}

/// When to come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds from now; a larger number than fits is 2³²−1.
    pub seconds: u32,
    /// The text in parentheses, escapes resolved.
    pub comment: Option<String>,
    /// Such as `duration`: how long the peer will then be available.
    pub params: Params,
}

impl RetryAfter {
    /// `30 (maintenance);duration=600`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(lex::trim(bytes));
        let seconds = seconds(cursor.take_while(|byte| byte.is_ascii_digit()))?;
        cursor.skip_space();
        let comment = if cursor.peek() == Some(b'(') { Some(comment(&mut cursor)?) } else { None };
        Ok(Self { seconds, comment, params: Params::parse(&mut cursor)? })
    }
}

/// A comment whose opening parenthesis is next. Nested ones are counted, not recursed into.
fn comment(cursor: &mut Cursor<'_>) -> Result<String, Malformed> {
    let mut content = Vec::new();
    let mut depth = 0usize;
    loop {
        let byte = cursor.peek().ok_or_else(|| cursor.wrong("a closing parenthesis"))?;
        cursor.advance(1);
        match byte {
            b'\\' => {
                content.push(cursor.peek().ok_or_else(|| cursor.wrong("a byte after the backslash"))?);
                cursor.advance(1);
            }
            b'(' => {
                depth += 1;
                if depth > 1 {
                    content.push(byte);
                }
            }
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Ok(lex::text(&content));
                }
                content.push(byte);
            }
            _ => content.push(byte),
        }
    }
}

/// Seconds as in Expires; what is larger than 2³²−1 becomes that (RFC 3261 §20.19).
pub(crate) fn seconds(bytes: &[u8]) -> Result<u32, Malformed> {
    let number = lex::number(lex::trim(bytes)).ok_or_else(|| Malformed::word("seconds", bytes))?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// RFC 3261 §20.22: 0 to 255.
pub(crate) fn max_forwards(bytes: &[u8]) -> Result<u8, Malformed> {
    let bytes = lex::trim(bytes);
    lex::number(bytes)
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| Malformed::word("a number from 0 to 255", bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cseq_numbers() {
        assert_eq!(CSeq::parse(b" 0009   INVITE").unwrap(), CSeq { number: 9, method: Method::Invite });
        assert_eq!(CSeq::parse(b"2147483647 X").unwrap().method.as_str(), "X");
        for bad in ["2147483648 INVITE", "36893488147419103232 REGISTER", "1INVITE", "1", "INVITE", "", "-1 ACK", "1 A B"] {
            assert!(CSeq::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    // sip.md §10 test 21
    #[test]
    fn content_type_in_any_case() {
        let media = ContentType::parse(b"TEXT/Plain ; charset=\"UTF-8\"").unwrap();
        assert!(media.is("text", "plain"));
        assert_eq!(media.charset(), Some("UTF-8"));
        assert_eq!(
            ContentType::parse(b"multipart/mixed;boundary=7a9cbec02ceef655").unwrap().param("boundary"),
            Some("7a9cbec02ceef655")
        );
        assert!(ContentType::parse(b"text").is_err());
        assert!(ContentType::new("text", "pl ain").is_err());
        assert_eq!(
            ContentType::new("text", "plain").unwrap().with_param("charset", "UTF-8").unwrap().to_string(),
            "text/plain;charset=UTF-8"
        );
    }

    // sip.md §10 test 12
    #[test]
    fn retry_after_with_comment() {
        let retry = RetryAfter::parse(b"30 (maintenance \\) (twice)) ; duration=600").unwrap();
        assert_eq!(
            (retry.seconds, retry.comment.as_deref(), retry.params.get("duration")),
            (30, Some("maintenance ) (twice)"), Some("600"))
        );
        assert_eq!(RetryAfter::parse(b"949302838503028349304023988").unwrap().seconds, u32::MAX);
        assert!(RetryAfter::parse(b"30 (open").is_err());
        assert!(RetryAfter::parse(b"soon").is_err());
    }

    #[test]
    fn max_forwards_range() {
        assert_eq!(max_forwards(b"0068"), Ok(68));
        assert!(max_forwards(b"300").is_err());
        assert!(max_forwards(b"").is_err());
    }
}
