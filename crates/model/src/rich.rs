//! Formatted text, as little of it as every platform with any can show.
//!
//! A flat list: a [`Span::Block`] begins a paragraph, an item of a list or preformatted lines; [`Span::Words`] and [`Span::Break`] are in the
//! block begun last. There are no trees, so nothing that reads or drops one can recurse, and of two that look the same there is only one form.

mod plain;
mod values;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Plain;
use crate::text::legal;

pub use values::{Colour, Hyperlink};

/// Formatted text beside its [`Plain`] form, which is always there and says the same.
///
/// One that exists holds at most [`Rich::MOST_SPANS`] spans and [`Rich::MOST_BYTES`] bytes, only characters that XML 1.0 can carry and, TAB
/// apart, no control characters: they became U+FFFD. U+00A0 became a blank: in formatted text it is there to keep blanks from being
/// put together, and here none are. Two neighbours of the same style are one, and two paragraphs one with a break.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Span>")]
pub struct Rich(Arc<[Span]>);

/// One step through a [`Rich`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Span {
    /// A new line begins, and a block with it. The first span is one.
    Block(Block),
    /// A new line begins in the same block.
    Break,
    /// Words in the line, all of one style.
    Words(Words),
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Block {
    /// How many quotations it is in, 0 to [`Block::DEEPEST`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quote: u8,
    /// Its kind.
    #[serde(default)]
    pub kind: BlockKind,
}

impl Block {
    /// Quotations in one another; what is deeper counts as so deep.
    pub const DEEPEST: u8 = 8;
}

/// The kind of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockKind {
    /// Lines of text.
    #[default]
    Paragraph,
    /// Lines whose blanks count, in letters of one width.
    Preformatted,
    /// An item of a list.
    Bullet,
    /// An item of a numbered list, with its number.
    Numbered(u32),
}

/// Words of one style.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// The words. In a [`Rich`] there are some, and no line ends.
    pub text: Plain,
    /// How they look.
    #[serde(default, skip_serializing_if = "Style::is_none")]
    pub style: Style,
}

/// How words look, and where they lead.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Style {
    /// Heavy letters.
    #[serde(skip_serializing_if = "is_false")]
    pub bold: bool,
    /// Slanted letters.
    #[serde(skip_serializing_if = "is_false")]
    pub italic: bool,
    /// A line below.
    #[serde(skip_serializing_if = "is_false")]
    pub underline: bool,
    /// A line through.
    #[serde(skip_serializing_if = "is_false")]
    pub strike: bool,
    /// Letters of one width; not told of preformatted blocks, which have them anyway.
    #[serde(skip_serializing_if = "is_false")]
    pub monospace: bool,
    /// Of the letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// Where a click leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Hyperlink>,
}

impl Style {
    /// Whether the words look like any others.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// Why there is no [`Rich`] of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RichError {
    /// More than [`Rich::MOST_SPANS`].
    #[error("must have at most {} spans", Rich::MOST_SPANS)]
    Spans,
    /// More than [`Rich::MOST_BYTES`].
    #[error("must have at most {} bytes of text and links", Rich::MOST_BYTES)]
    Bytes,
}

impl Rich {
    /// The most spans.
    pub const MOST_SPANS: usize = 1_024;
    /// The most bytes of text, and of links, each counted wherever it stands.
    pub const MOST_BYTES: usize = 65_536;

    /// Brings spans into their one form.
    ///
    /// # Errors
    /// [`RichError`] where that is larger than the limits.
    pub fn new(spans: impl IntoIterator<Item = Span>) -> Result<Self, RichError> {
        let mut builder = RichBuilder::default();
        for span in spans {
            match span {
                Span::Block(block) => builder.block(block),
                Span::Break => builder.line_break(),
                Span::Words(words) => builder.words(words.text.as_str(), &words.style),
            }
        }
        builder.finish()
    }

    /// The spans.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.0
    }

    /// Whether anything in it looks other than plain lines do.
    #[must_use]
    pub fn is_formatted(&self) -> bool {
        self.0.iter().any(|span| match span {
            Span::Block(block) => *block != Block::default(),
            Span::Break => false,
            Span::Words(words) => !words.style.is_none(),
        })
    }

    /// The same as a person would type it: links as `text (address)` where the text does not say the address already, items behind `- ` or
    /// `1. `, quotations behind `> `. Blanks and line ends at its end are left out.
    #[must_use]
    pub fn to_plain(&self) -> Plain {
        plain::of(&self.0)
    }
}

impl TryFrom<Vec<Span>> for Rich {
    type Error = RichError;

    fn try_from(spans: Vec<Span>) -> Result<Self, Self::Error> {
        Self::new(spans)
    }
}

/// Makes a [`Rich`] from its beginning to its end. What is put in has no limit of its own, so that the plain form is whole even where the
/// other would be too large: whoever uses one bounds the input.
#[derive(Debug, Default)]
pub struct RichBuilder {
    spans: Vec<Span>,
    block: Option<Block>,
    /// Words that may go on.
    text: String,
    style: Style,
}

impl RichBuilder {
    /// Begins a block. A paragraph, or preformatted lines, after one of its own kind only goes on on a new line.
    pub fn block(&mut self, block: Block) {
        self.end_words();
        let block = Block { quote: block.quote.min(Block::DEEPEST), ..block };
        let goes_on = matches!(block.kind, BlockKind::Paragraph | BlockKind::Preformatted) && self.block == Some(block);
        self.spans.push(if goes_on { Span::Break } else { Span::Block(block) });
        self.block = Some(block);
    }

    /// Begins a line. Without a block before it, the second one of a paragraph.
    pub fn line_break(&mut self) {
        self.end_words();
        if self.block.is_none() {
            self.block(Block::default());
        }
        self.spans.push(Span::Break);
    }

    /// Adds words to the line, in a paragraph where no block has begun. Line ends in them are breaks.
    pub fn words(&mut self, text: &str, style: &Style) {
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let c = match c {
                '\n' => {
                    self.line_break();
                    continue;
                }
                '\r' => {
                    chars.next_if_eq(&'\n');
                    self.line_break();
                    continue;
                }
                '\t' => c,
                '\u{a0}' => ' ',
                c if c.is_control() || !legal(c) => '\u{fffd}',
                c => c,
            };
            self.character(c, style);
        }
    }

    fn character(&mut self, c: char, style: &Style) {
        if self.block.is_none() {
            self.block(Block::default());
        }
        // A preformatted block says it of all its words.
        let is_preformatted = self.block.is_some_and(|block| block.kind == BlockKind::Preformatted);
        let same = self.style == *style
            || is_preformatted && style.monospace && self.style == Style { monospace: false, ..style.clone() };
        if self.text.is_empty() || !same {
            self.end_words();
            self.style = Style { monospace: style.monospace && !is_preformatted, ..style.clone() };
        }
        self.text.push(c);
    }

    fn end_words(&mut self) {
        if !self.text.is_empty() {
            self.spans.push(Span::Words(Words { text: Plain::new(&self.text), style: self.style.clone() }));
            self.text.clear();
        }
    }

    /// The plain form of all that was put in, and the formatted one.
    ///
    /// # Errors
    /// [`RichError`] beside the plain form, where the other is larger than its limits.
    pub fn finish_both(mut self) -> (Plain, Result<Rich, RichError>) {
        self.end_words();
        (plain::of(&self.spans), self.finish())
    }

    /// The formatted text.
    ///
    /// # Errors
    /// [`RichError`] where it is larger than the limits.
    pub fn finish(mut self) -> Result<Rich, RichError> {
        self.end_words();
        if self.spans.len() > Rich::MOST_SPANS {
            return Err(RichError::Spans);
        }
        let bytes = self.spans.iter().map(|span| match span {
            Span::Words(words) => words.text.as_str().len() + words.style.link.as_ref().map_or(0, |link| link.as_str().len()),
            Span::Block(_) | Span::Break => 0,
        });
        if bytes.sum::<usize>() > Rich::MOST_BYTES {
            return Err(RichError::Bytes);
        }
        Ok(Rich(self.spans.into()))
    }
}

#[cfg(test)]
mod tests;
