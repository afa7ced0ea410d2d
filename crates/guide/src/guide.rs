//! A guide, and how it is written for a terminal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The steps for one link on one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guide {
    /// One line: which link, on which product.
    pub title: String,
    /// Whether tests of this repository run steps of this kind against the real product.
    pub tried: bool,
    /// With what it was tried, or where the steps come from when it was not.
    pub note: String,
    /// In the order in which they are done.
    pub steps: Vec<Step>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// A few words, as an order.
    pub title: String,
    /// What to do and why; one paragraph.
    pub text: String,
    /// What to paste.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snippet: Option<Snippet>,
    /// How to see that it worked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub check: Option<String>,
}

/// What to paste, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippet {
    /// The file, or the place in a console, where it goes.
    pub file: String,
    /// What it is written in.
    pub language: Language,
    /// The text, which ends with a line feed.
    pub content: String,
}

/// What a snippet is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Language {
    /// Prosody's configuration.
    Lua,
    /// ejabberd's configuration.
    Yaml,
    /// Terms of Erlang.
    Erlang,
    /// `kamailio.cfg`.
    Kamailio,
    /// Sections of `name = value`.
    Ini,
    /// `dnsmasq.conf`.
    Dnsmasq,
    /// Records of a DNS zone (RFC 1035).
    Zone,
    /// Commands for a POSIX shell.
    Shell,
    /// Commands for PowerShell.
    PowerShell,
    /// Values for the fields of a form.
    Text,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Lua,
        Self::Yaml,
        Self::Erlang,
        Self::Kamailio,
        Self::Ini,
        Self::Dnsmasq,
        Self::Zone,
        Self::Shell,
        Self::PowerShell,
        Self::Text,
    ];

    /// The word that Markdown readers know for its colours, or a neutral one.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lua => "lua",
            Self::Yaml => "yaml",
            Self::Erlang => "erlang",
            Self::Kamailio => "kamailio",
            Self::Ini => "ini",
            Self::Dnsmasq => "dnsmasq",
            Self::Zone => "zone",
            Self::Shell => "sh",
            Self::PowerShell => "powershell",
            Self::Text => "text",
        }
    }
}

impl Step {
    /// A step of text alone.
    pub(crate) fn new(title: impl Into<String>, text: impl Into<String>) -> Self {
        Self { title: title.into(), text: text.into(), snippet: None, check: None }
    }

    /// With something to paste.
    pub(crate) fn snippet(mut self, file: impl Into<String>, language: Language, content: impl Into<String>) -> Self {
        let mut content = content.into();
        if !content.ends_with('\n') {
            content.push('\n');
        }
        self.snippet = Some(Snippet { file: file.into(), language, content });
        self
    }

    /// With a way to see that it worked.
    pub(crate) fn check(mut self, check: impl Into<String>) -> Self {
        self.check = Some(check.into());
        self
    }
}

/// Characters in a line of the plain text; what is pasted is never broken.
const WIDTH: usize = 96;

/// Writes words into lines that begin with `indent`.
fn fill(formatter: &mut fmt::Formatter<'_>, indent: &str, text: &str) -> fmt::Result {
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column == 0 {
            write!(formatter, "{indent}{word}")?;
            column = indent.len() + width;
        } else if column + 1 + width > WIDTH {
            write!(formatter, "\n{indent}{word}")?;
            column = indent.len() + width;
        } else {
            write!(formatter, " {word}")?;
            column += 1 + width;
        }
    }
    writeln!(formatter)
}

impl fmt::Display for Guide {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.title)?;
        fill(formatter, "", &format!("{}: {}", self.tried_words(), self.note))?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(formatter, "\n{number}. {}", step.title)?;
            fill(formatter, "   ", &step.text)?;
            if let Some(snippet) = &step.snippet {
                writeln!(formatter, "\n   {}:\n", snippet.file)?;
                for line in snippet.content.lines() {
                    if line.is_empty() {
                        writeln!(formatter)?;
                    } else {
                        writeln!(formatter, "       {line}")?;
                    }
                }
            }
            if let Some(check) = &step.check {
                writeln!(formatter)?;
                fill(formatter, "   ", &format!("Check: {check}"))?;
            }
        }
        Ok(())
    }
}

impl Guide {
    /// The first words of the note.
    pub(crate) const fn tried_words(&self) -> &'static str {
        if self.tried { "Tried" } else { "Not tried on the real product" }
    }
}
