//! Faults in a configuration, as a person sees them.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan};

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The bytes of the file that it speaks of; empty: none of them.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

/// Every fault of one file.
pub struct Faults {
    name: String,
    text: String,
    /// At least one.
    pub all: Vec<Fault>,
}

impl Faults {
    pub(super) fn new(name: &str, text: &str, mut all: Vec<Fault>) -> Self {
        all.sort_by_key(|fault| fault.at.start);
        Self { name: name.to_owned(), text: text.to_owned(), all }
    }

    /// A fault that shows only later, when what the file names is read.
    pub fn single(name: &str, text: &str, fault: Fault) -> Self {
        Self::new(name, text, vec![fault])
    }

    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let help = "give the path of the configuration with --config".to_owned();
        let fault = Fault { at: 0..0, message: format!("cannot read it: {error}"), help: Some(help) };
        Self::new(&path.display().to_string(), "", vec![fault])
    }

    pub(super) fn of_toml(name: &str, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().to_owned();
        let help = help_for(&message);
        Self::new(name, text, vec![Fault { at: error.span().unwrap_or(0..0), message, help }])
    }

    /// Line and column of a fault, both from 1; columns count characters.
    #[must_use]
    pub fn place(&self, fault: &Fault) -> (usize, usize) {
        let before = self.text.get(..fault.at.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before.get(line_start..).map_or(0, |line| line.chars().count()) + 1)
    }

    /// A fault with its place, in one line, for a log.
    #[must_use]
    pub fn line(&self, fault: &Fault) -> String {
        if fault.at.is_empty() && self.text.is_empty() {
            return format!("{}: {}", self.name, fault.message);
        }
        let (line, column) = self.place(fault);
        format!("{}:{line}:{column}: {}", self.name, fault.message)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colour = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(120);
        for fault in &self.all {
            writeln!(f, "{}", self.line(fault))?;
            let source = NamedSource::new(&self.name, self.text.clone());
            handler.render_report(f, &Shown { fault, source })?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// One fault in the form that draws it.
#[derive(Debug)]
struct Shown<'a> {
    fault: &'a Fault,
    source: NamedSource<String>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.fault.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.fault.at.is_empty()).then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = SourceSpan::new(self.fault.at.start.into(), self.fault.at.len());
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some("here".to_owned()), span))))
    }
}

/// How to mend what a deserialiser complains of.
pub(super) fn help_for(message: &str) -> Option<String> {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (field, rest) = rest.split_once('`')?;
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return did_you_mean(field, &known).or_else(|| match known.is_empty() {
            true => Some("no key is known here: remove it".to_owned()),
            false => Some(format!("remove it; the keys known here are {}", known.join(", "))),
        });
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return Some(format!("add `{field} = …` to this table"));
    }
    if message.starts_with("unknown variant") {
        return Some("write one of the values named above".to_owned());
    }
    message.starts_with("invalid type").then(|| "give a value of the type named above".to_owned())
}

/// A suggestion where one of the known words is close.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let (closest, likeness) =
        known.iter().map(|known| (known, strsim::jaro_winkler(word, known))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    (likeness > 0.8).then(|| format!("did you mean `{closest}`?"))
}
