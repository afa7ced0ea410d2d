//! Values as the languages of configuration files write them, and text that cannot leave its line.

use std::fmt::Write as _;

use crate::guide::Language;

/// A text of one line without controls or marks of writing direction, of at most 200 characters: for titles and
/// comments. What is dropped would move a terminal's cursor, end a comment, or show another text than is there.
pub(crate) fn plain(text: &str) -> String {
    let bad = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|character| if bad(character) { ' ' } else { character }).take(200).collect()
}

/// A string in double quotes, for Lua, YAML and Kamailio.
///
/// Only `\\` and `\"` are written as escapes, which the three read alike; controls, for which they differ, become blanks.
/// No name that a link can have holds any.
pub(crate) fn quoted(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for character in plain(text).chars() {
        if matches!(character, '"' | '\\') {
            string.push('\\');
        }
        string.push(character);
    }
    string.push('"');
    string
}

/// A string in single quotes for a POSIX shell, where nothing but the quote itself means anything.
pub(crate) fn shell(text: &str) -> String {
    format!("'{}'", plain(text).replace('\'', r"'\''"))
}

/// A string in single quotes for PowerShell, which takes four typographic quotes for the plain one.
pub(crate) fn power_shell(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('\'');
    for character in plain(text).chars() {
        if matches!(character, '\'' | '\u{2018}'..='\u{201b}') {
            string.push(character);
        }
        string.push(character);
    }
    string.push('\'');
    string
}

/// A comment of one line.
pub(crate) fn comment(language: Language, text: &str) -> String {
    let begin = match language {
        Language::Lua => "--",
        Language::Erlang => "%",
        Language::Yaml | Language::Kamailio | Language::Ini | Language::Dnsmasq | Language::Shell | Language::PowerShell => "#",
        // What is pasted into a form, or a zone file.
        Language::Text => "",
        Language::Zone => ";",
    };
    let mut line = String::new();
    // Kamailio reads `#!` at the start of a line as a directive: the blank keeps every text a comment.
    let _ = write!(line, "{begin} {}", plain(text));
    line.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Lua, YAML and Kamailio make of a string in double quotes: its text, and what follows it.
    fn read_quoted(text: &str) -> Option<(String, &str)> {
        let mut rest = text.strip_prefix('"')?.chars();
        let mut value = String::new();
        loop {
            match rest.next()? {
                '"' => return Some((value, rest.as_str())),
                '\\' => value.push(rest.next().filter(|character| matches!(character, '"' | '\\'))?),
                '\n' | '\r' => return None,
                character => value.push(character),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_ends_a_double_quoted_string(text in any::<String>()) {
            let written = quoted(&text);
            prop_assert_eq!(read_quoted(&written), Some((plain(&text), "")));
        }

        #[test]
        fn no_text_ends_a_shell_string(text in any::<String>()) {
            let written = shell(&text);
            // Quoted parts and escaped quotes in turn; nothing else stands outside of quotes.
            let inner = written.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap();
            prop_assert!(inner.split(r"'\''").all(|part| !part.contains('\'')));
            prop_assert_eq!(inner.replace(r"'\''", "'"), plain(&text));
        }

        #[test]
        fn no_text_ends_a_power_shell_string(text in "[a'’‘‚‛\"$`\n]{0,20}") {
            let written = power_shell(&text);
            let quote = |character: char| matches!(character, '\'' | '\u{2018}'..='\u{201b}');
            let inner: Vec<char> = written.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap().chars().collect();
            let mut at = 0;
            while at < inner.len() {
                if quote(inner[at]) {
                    let doubled = inner.get(at + 1).copied().is_some_and(quote);
                    prop_assert!(doubled);
                    at += 1;
                }
                at += 1;
            }
        }

        #[test]
        fn no_text_leaves_a_comment(text in any::<String>()) {
            for language in Language::ALL {
                let line = comment(language, &text);
                prop_assert!(!line.chars().any(char::is_control));
                prop_assert!(!line.starts_with("#!"));
            }
        }
    }
}
