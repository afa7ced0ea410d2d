//! Sentences for people that hold text from outside.

/// `text` with control characters escaped, and cut to at most `limit` characters.
pub(crate) fn escaped(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    let mut count = 0;
    for c in text.chars() {
        let shown = if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            c.escape_default().to_string()
        } else {
            c.to_string()
        };
        count += shown.chars().count();
        if count > limit {
            while out.chars().count() >= limit {
                out.pop();
            }
            out.push('…');
            break;
        }
        out.push_str(&shown);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_breaks_a_log_line() {
        assert_eq!(escaped("a\r\nb\u{1b}[31m\u{202e}", 300), "a\\r\\nb\\u{1b}[31m\\u{202e}");
        assert_eq!(escaped("grüße", 300), "grüße");
        assert_eq!(escaped(&"x".repeat(400), 300).chars().count(), 300);
        assert!(escaped(&"\u{1}".repeat(400), 300).chars().count() <= 300);
    }
}
