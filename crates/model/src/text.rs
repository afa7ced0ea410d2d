//! Text that every platform can carry.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Text of a message: only characters that XML 1.0 can carry, and line ends as a single LF.
///
/// [`Plain::new`] makes it so: CR LF and CR become LF, and each illegal character (C0 controls but TAB and LF,
/// U+FFFE, U+FFFF) becomes U+FFFD, once, here, so that no encoder has to think of it. Nothing else is changed: no
/// normalisation, no trimming. Its `Debug` form shows the length only, since bodies never reach a log.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Plain(Arc<str>);

impl Plain {
    /// Makes text safe for every platform.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if text.chars().all(|c| c != '\r' && legal(c)) {
            return Self(text.into());
        }
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\r' => {
                    // RFC 3428 bodies end lines by CR LF; XML would turn CR into LF anyway (XML 1.0 §2.11).
                    chars.next_if_eq(&'\n');
                    out.push('\n');
                }
                c if legal(c) => out.push(c),
                _ => out.push('\u{fffd}'),
            }
        }
        Self(out.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// XML 1.0 §2.2 production Char. Surrogates cannot occur in a Rust `char`.
pub(crate) fn legal(c: char) -> bool {
    !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

impl From<&str> for Plain {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes of text>", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&<std::borrow::Cow<'de, str>>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn line_ends_and_illegal_characters_are_mended() {
        assert_eq!(Plain::new("a\r\nb\rc\n\r\nd").as_str(), "a\nb\nc\n\nd");
        assert_eq!(Plain::new("a\u{0}b\u{8}c\td\u{ffff}").as_str(), "a\u{fffd}b\u{fffd}c\td\u{fffd}");
        assert_eq!(Plain::new("  <&>\u{1F600} ").as_str(), "  <&>\u{1F600} ");
    }

    #[test]
    fn debug_never_shows_the_text() {
        assert_eq!(format!("{:?}", Plain::new("secret")), "<6 bytes of text>");
    }

    proptest! {
        #[test]
        fn mending_twice_changes_nothing(text in any::<String>()) {
            let once = Plain::new(&text);
            prop_assert_eq!(Plain::new(once.as_str()), once);
        }
    }
}
