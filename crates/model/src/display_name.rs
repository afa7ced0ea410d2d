//! How people call themselves.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// How the sender of a text is called: the display name of a SIP From (RFC 3261 §20.10), a nickname of XMPP (XEP-0172).
///
/// It proves nothing, and is nobody's address: people see it beside one. So whatever makes a name look like another, or like an address, or
/// changes the text around it, is taken out here, once for all platforms (abuse case 32): `@` in all its widths, controls, marks of writing direction
/// (Bidi_Control), and characters that are not seen (Default_Ignorable_Code_Point). White space is one blank, and none at the ends. At most
/// [`DisplayName::LONGEST`] characters are left.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct DisplayName(Arc<str>);

impl DisplayName {
    /// The longest name, in characters (Unicode scalar values); what is more is cut.
    pub const LONGEST: usize = 64;

    /// A name as a person may see it; `None` where nothing is left.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut name = String::new();
        let mut length = 0;
        let mut blank = false;
        // A name of millions of bytes is not looked through for the sake of 64 characters.
        for c in text.chars().take(MOST_READ) {
            if c.is_whitespace() || matches!(c, '\t' | '\n' | '\r') {
                blank = length > 0;
                continue;
            }
            if is_left_out(c) {
                continue;
            }
            if length + usize::from(blank) >= Self::LONGEST {
                break;
            }
            if std::mem::take(&mut blank) {
                name.push(' ');
                length += 1;
            }
            name.push(c);
            length += 1;
        }
        (length > 0).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads an optional name; one of which nothing is left is none.
    pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Ok(text.and_then(|text| Self::new(&text)))
    }
}

/// Names are people's, and never stand in a log.
impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<a name of {} bytes>", self.0.len())
    }
}

/// Characters that are looked at.
const MOST_READ: usize = 1_024;

fn is_left_out(c: char) -> bool {
    c.is_control()
        || UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
        || matches!(c, '@' | '\u{fe6b}' | '\u{ff20}')
}

/// Bidi_Control and Default_Ignorable_Code_Point of Unicode 17 (PropList.txt, DerivedCoreProperties.txt), with annotations, what stands for nothing
/// (U+FFFC, U+FFFD), non-characters and private use.
const UNSEEN: [(char, char); 27] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{ffff}'),
    ('\u{13430}', '\u{13455}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{1fffe}', '\u{1ffff}'),
    ('\u{2fffe}', '\u{2ffff}'),
    ('\u{3fffe}', '\u{3ffff}'),
    ('\u{4fffe}', '\u{4ffff}'),
    ('\u{dfffe}', '\u{dffff}'),
    ('\u{e0000}', '\u{e0fff}'),
    ('\u{efffe}', '\u{10ffff}'),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn abuse_32_what_names_lose() {
        for (text, want) in [
            ("Bob Smith", "Bob Smith"),
            ("  Bob \t\r\n Smith  ", "Bob Smith"),
            ("Zoë Ąčęģ 山田 太郎 😀", "Zoë Ąčęģ 山田 太郎 😀"),
            // The end of a name turned round, so that it reads as another.
            ("Bob\u{202e}moc.live@ecila\u{202c}", "Bobmoc.liveecila"),
            ("\u{2067}Bob\u{2069}\u{200e}\u{200f}\u{61c}", "Bob"),
            ("A\u{200b}l\u{200c}i\u{200d}c\u{feff}e\u{ad}\u{2060}", "Alice"),
            ("alice@a.example", "alicea.example"),
            ("alice＠a.example", "alicea.example"),
            ("Bob\0\u{1b}[31m\u{7f}\u{9b}", "Bob[31m"),
            ("Bob\u{85}Smith\u{2028}x", "Bob Smith x"),
            ("\u{e0001}\u{e0041}Bob\u{fe0f}\u{fff9}", "Bob"),
        ] {
            assert_eq!(DisplayName::new(text).unwrap().as_str(), want, "{text:?}");
        }
        for nothing in ["", " \n ", "@", "\u{200b}\u{202e}", "\u{3164}"] {
            assert_eq!(DisplayName::new(nothing), None, "{nothing:?}");
        }
        assert_eq!(DisplayName::new(&"é".repeat(65)).unwrap().as_str(), "é".repeat(64));
        assert_eq!(DisplayName::new(&format!("{} b", "a".repeat(63))).unwrap().as_str(), "a".repeat(63));
    }

    proptest! {
        #[test]
        fn abuse_32_no_name_deceives(text in any::<String>()) {
            if let Some(name) = DisplayName::new(&text) {
                let text = name.as_str();
                prop_assert!((1..=64).contains(&text.chars().count()));
                prop_assert!(!text.chars().any(|c| c == '@' || is_left_out(c)));
                prop_assert!(!text.contains("  ") && text.trim() == text);
                prop_assert_eq!(DisplayName::new(text), Some(name.clone()));
            }
        }
    }
}
