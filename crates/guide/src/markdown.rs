//! A guide as Markdown.

use std::fmt::Write as _;

use crate::guide::Guide;

impl Guide {
    /// The guide as CommonMark, for a page or a ticket. What is pasted stands in fences that its content cannot close.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        // A string takes all that is written into it.
        let _ = write!(text, "# {}\n\n> **{}**: {}\n", escaped(&self.title), self.tried_words(), self.note);
        for (number, step) in (1..).zip(&self.steps) {
            let _ = write!(text, "\n## {number}. {}\n\n{}\n", escaped(&step.title), step.text);
            if let Some(snippet) = &step.snippet {
                let fence = fence(&snippet.content);
                let language = snippet.language.label();
                let _ = write!(text, "\n**{}**:\n\n{fence}{language}\n{}{fence}\n", escaped(&snippet.file), snippet.content);
            }
            if let Some(check) = &step.check {
                let _ = write!(text, "\n**Check:** {check}\n");
            }
        }
        text
    }
}

/// At least three backticks, and more than stand together anywhere in the content.
fn fence(content: &str) -> String {
    let longest = content.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// Text in which nothing is Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '&' | '!' | '|' | '~') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_what_is_inside() {
        assert_eq!(fence("a `b` c"), "```");
        assert_eq!(fence("```\n"), "````");
        assert_eq!(fence(""), "```");
    }

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(escaped("<b>[x](y)"), r"\<b\>\[x\](y)");
    }
}
