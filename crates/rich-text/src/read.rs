//! Tags and text to spans: which elements begin lines, which change the look of words, and which say nothing.

use interchange_model::{Block, BlockKind, Hyperlink, RichBuilder, Style};

use crate::Reading;
use crate::css::{self, Effect};
use crate::entity;
use crate::token::{Syntax, Token, Tokens, attribute};

/// Elements that may be open in one another; what is deeper changes nothing.
const DEEPEST: usize = 64;
/// Lists in one another.
const DEEPEST_LIST: usize = 32;

/// What a document says.
pub(crate) fn read(text: &str, syntax: Syntax) -> Reading {
    let mut page = Page { is_at_boundary: true, ..Page::default() };
    let mut tokens = Tokens::new(text, syntax);
    let mut has_head = false;
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(_) if page.is_in_head => {}
            Token::Text(text) => page.text(text),
            Token::Open { name, attributes, is_empty } => {
                let name = name.to_ascii_lowercase();
                if name == "head" && !is_empty {
                    // Without an end, all the rest would be head. There is but one, or this would look for the end again and again.
                    page.is_in_head = !std::mem::replace(&mut has_head, true) && has_end_of_head(tokens.rest());
                    continue;
                }
                page.open(&name, attributes);
                if is_empty {
                    page.close(&name);
                }
            }
            Token::Close { name } => page.close(&name.to_ascii_lowercase()),
        }
    }
    page.close("a");
    page.boundary();
    let (plain, rich) = page.builder.finish_both();
    Reading { plain, rich: rich.ok() }
}

fn has_end_of_head(rest: &str) -> bool {
    rest.match_indices("</").any(|(at, _)| rest.get(at + 2..at + 6).is_some_and(|name| name.eq_ignore_ascii_case("head")))
}

/// Where in an item of a list the next words are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Item {
    /// In none.
    #[default]
    None,
    /// At its beginning.
    Begins(BlockKind),
    /// On a later line of one that has so many quotations around it.
    GoesOn(usize),
}

#[derive(Debug, Default)]
struct Page {
    builder: RichBuilder,
    /// Open elements that may change the look of words.
    open: Vec<(String, Effect)>,
    /// Open elements beyond [`DEEPEST`].
    too_deep: usize,
    /// All of `open` together.
    style: Style,
    /// White space that becomes a blank before the next word, in the style where it stood.
    blank: Option<Style>,
    /// Something stands in the line.
    has_words: bool,
    /// A line has ended, and the next has not begun.
    is_broken: bool,
    /// A block has ended, and the next has not begun.
    is_at_boundary: bool,
    /// Open quotations.
    quotes: usize,
    /// Open preformatted elements.
    preformatted: usize,
    /// The first line end in a preformatted element is not one (HTML Standard §13.2.6.4.7).
    is_after_pre: bool,
    /// Open lists, and the number that the next item has if they are numbered.
    lists: Vec<Option<u32>>,
    item: Item,
    /// The open link has shown something.
    link_is_shown: bool,
    is_in_head: bool,
}

impl Page {
    fn open(&mut self, name: &str, attributes: &str) {
        self.is_after_pre = false;
        let mut effect = Effect::default();
        match name {
            "b" | "strong" => effect.bold = Some(true),
            "i" | "em" | "cite" => effect.italic = Some(true),
            "u" | "ins" => effect.underline = Some(true),
            "s" | "strike" | "del" => effect.strike = Some(true),
            "code" | "tt" | "kbd" | "samp" => effect.monospace = true,
            "font" => effect.colour = attribute(attributes, "color").and_then(|value| css::colour(&value)),
            "span" => {}
            "a" => {
                self.close("a");
                effect.link = attribute(attributes, "href").and_then(|target| Hyperlink::parse(&target));
                self.link_is_shown = false;
            }
            "br" => return self.line_break(),
            "hr" => return self.boundary(),
            "img" => return self.image(attributes),
            "td" | "th" => {
                // Also where the cell before it was not closed.
                self.forget(name);
                self.white_space();
            }
            "ul" | "ol" | "menu" | "dir" => {
                self.boundary();
                let first = attribute(attributes, "start").and_then(|start| start.parse().ok()).unwrap_or(1);
                if self.lists.len() < DEEPEST_LIST {
                    self.lists.push((name == "ol").then_some(first));
                }
            }
            "li" => {
                self.boundary();
                self.forget(name);
                self.begin_item(attributes);
            }
            "blockquote" => {
                self.boundary();
                self.quotes += 1;
            }
            "pre" => {
                self.boundary();
                self.preformatted += 1;
                self.is_after_pre = true;
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.boundary();
                effect.bold = Some(true);
            }
            "p" | "dt" | "dd" => {
                self.boundary();
                // Closed by the next one (HTML Standard §13.1.2.4).
                self.forget(name);
            }
            _ if is_block(name) => self.boundary(),
            _ => return,
        }
        self.is_in_head = false;
        if let Some(declarations) = attribute(attributes, "style") {
            effect.add_declarations(&declarations);
        }
        if self.open.len() < DEEPEST {
            effect.apply(&mut self.style);
            self.open.push((name.to_owned(), effect));
        } else {
            self.too_deep += 1;
        }
    }

    fn close(&mut self, name: &str) {
        self.is_after_pre = false;
        match name {
            "head" => self.is_in_head = false,
            // Browsers take it for <br> and for an empty paragraph.
            "br" | "hr" | "img" => return,
            "a" => self.show_link(),
            "td" | "th" => self.white_space(),
            "ul" | "ol" | "menu" | "dir" => {
                self.boundary();
                self.lists.pop();
                self.item = Item::None;
            }
            "li" => {
                self.boundary();
                self.item = Item::None;
            }
            "blockquote" => {
                self.boundary();
                self.quotes = self.quotes.saturating_sub(1);
            }
            "pre" => {
                self.boundary();
                self.preformatted = self.preformatted.saturating_sub(1);
            }
            _ if is_block(name) => self.boundary(),
            _ => {}
        }
        self.forget(name);
    }

    /// Takes the effect of the innermost open element of a name away, whatever has been opened in it since.
    fn forget(&mut self, name: &str) {
        match self.open.iter().rposition(|(open, _)| open == name) {
            Some(_) if self.too_deep > 0 => self.too_deep -= 1,
            Some(at) => {
                self.open.remove(at);
                self.style = Style::default();
                for (_, effect) in &self.open {
                    effect.apply(&mut self.style);
                }
            }
            None => {}
        }
    }

    fn begin_item(&mut self, attributes: &str) {
        let number = self.lists.last_mut().and_then(Option::as_mut);
        self.item = Item::Begins(match number {
            None => BlockKind::Bullet,
            Some(next) => {
                let number = attribute(attributes, "value").and_then(|value| value.parse().ok()).unwrap_or(*next);
                *next = number.saturating_add(1);
                BlockKind::Numbered(number)
            }
        });
    }

    fn image(&mut self, attributes: &str) {
        let words = attribute(attributes, "alt").filter(|alt| !alt.trim().is_empty());
        let address = || {
            let source = Hyperlink::parse(&attribute(attributes, "src")?)?;
            source.as_str().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")).then(|| source.as_str().to_owned())
        };
        if let Some(words) = words.or_else(address) {
            // In an attribute line ends are blanks.
            self.words(&words.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
        }
    }

    /// Words, with white space put together as HTML does.
    fn text(&mut self, text: &str) {
        let mut words = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (c, length, is_reference) = match rest.strip_prefix('&').and_then(entity::read) {
                Some((c, length)) => (c, length + 1, true),
                None => (c, c.len_utf8(), false),
            };
            rest = rest.get(length..).unwrap_or_default();
            let is_first_of_pre = std::mem::take(&mut self.is_after_pre);
            match c {
                '\r' if rest.starts_with('\n') => self.is_after_pre = is_first_of_pre,
                '\n' | '\r' if self.preformatted > 0 => {
                    self.words(&std::mem::take(&mut words));
                    if !is_first_of_pre {
                        self.line_break();
                    }
                }
                // One that is written as a reference is meant.
                ' ' | '\t' if is_reference || self.preformatted > 0 => words.push(c),
                c if c.is_ascii_whitespace() => {
                    self.words(&std::mem::take(&mut words));
                    self.white_space();
                }
                c => words.push(c),
            }
        }
        self.words(&words);
    }

    fn white_space(&mut self) {
        if self.has_words && self.blank.is_none() {
            self.blank = Some(self.style.clone());
        }
    }

    /// Puts words into the line.
    fn words(&mut self, words: &str) {
        if words.is_empty() {
            return;
        }
        self.begin();
        if let Some(style) = self.blank.take() {
            self.builder.words(" ", &style);
        }
        self.builder.words(words, &self.style);
        self.has_words = true;
        self.link_is_shown = true;
    }

    /// Begins what was put off: a block, or a line of it.
    fn begin(&mut self) {
        if std::mem::take(&mut self.is_at_boundary) {
            let quote = u8::try_from(self.quotes).unwrap_or(u8::MAX);
            match self.item {
                Item::Begins(kind) => {
                    self.builder.block(Block { quote, kind });
                    self.item = Item::GoesOn(self.quotes);
                }
                Item::GoesOn(quotes) if quotes == self.quotes && self.preformatted == 0 => self.builder.line_break(),
                Item::GoesOn(_) | Item::None => {
                    let kind = if self.preformatted > 0 { BlockKind::Preformatted } else { BlockKind::Paragraph };
                    self.builder.block(Block { quote, kind });
                    self.item = Item::None;
                }
            }
        }
        if std::mem::take(&mut self.is_broken) {
            self.builder.line_break();
        }
    }

    fn line_break(&mut self) {
        self.blank = None;
        self.begin();
        self.is_broken = true;
        self.has_words = false;
    }

    /// A block ends, if one has begun. A break at its end has ended its last line, and is no further one.
    fn boundary(&mut self) {
        self.blank = None;
        self.is_broken = false;
        self.is_at_boundary = true;
        self.has_words = false;
    }

    /// A link without words shows where it leads.
    fn show_link(&mut self) {
        if !self.link_is_shown
            && let Some(link) = &self.style.link
        {
            let words = link.as_str().to_owned();
            self.words(&words);
        }
    }
}

/// Other elements that begin on a line of their own.
fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "body"
            | "tr"
            | "table"
            | "section"
            | "article"
            | "header"
            | "footer"
            | "main"
            | "center"
            | "address"
            | "dl"
            | "dt"
            | "dd"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
    )
}
