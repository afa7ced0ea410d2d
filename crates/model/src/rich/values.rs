//! Values in styles that exist only when they are valid.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Plain;

/// A colour: red, green, blue. In JSON `"#rrggbb"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Colour(pub [u8; 3]);

impl Colour {
    /// Reads `#rrggbb`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        Some(Self([red, green, blue]))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl From<Colour> for String {
    fn from(colour: Colour) -> Self {
        colour.to_string()
    }
}

impl TryFrom<String> for Colour {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("must be #rrggbb")
    }
}

/// Where words lead: an absolute URI of a scheme that does no more than show something or begin to write to somebody. Its `Debug` form
/// shows the length only, as that of [`Plain`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Plain", into = "Plain")]
pub struct Hyperlink(Plain);

impl Hyperlink {
    /// The longest, in bytes.
    pub const LONGEST: usize = 2_048;
    /// Their schemes: no scripts, no files, no data.
    pub const SCHEMES: [&'static str; 5] = ["http", "https", "mailto", "sip", "xmpp"];

    /// Reads one. `None` for another scheme, for one that is too long, and for one with white space or with characters that are
    /// not seen and change how the rest is shown: controls, and those that turn the direction of writing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let known = Self::SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme));
        let odd = |c: char| {
            c.is_whitespace()
                || c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
        };
        let fits = known && !rest.is_empty() && text.len() <= Self::LONGEST && !text.contains(odd);
        fits.then(|| Self(Plain::new(text)))
    }

    /// The URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<Hyperlink> for Plain {
    fn from(link: Hyperlink) -> Self {
        link.0
    }
}

impl TryFrom<Plain> for Hyperlink {
    type Error = &'static str;

    fn try_from(text: Plain) -> Result<Self, Self::Error> {
        Self::parse(text.as_str()).ok_or("must be a URI of http, https, mailto, sip or xmpp")
    }
}
