//! Spans to mark-up. Elements are constants of ours and text is escaped, so that whatever the spans hold, it is well-formed.

use interchange_model::{Block, BlockKind, Hyperlink, Rich, Span, Style};

/// Which HTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// A document for mail and SIP clients.
    Html,
    /// XEP-0071, which has no `b`, `i`, `u` and `s`.
    XhtmlIm,
}

/// The document.
pub(crate) fn write(rich: &Rich, flavour: Flavour) -> String {
    let mut page = Page { out: String::new(), flavour, quote: 0, list: None, block: None, link: None, before: None };
    page.out.push_str(match flavour {
        Flavour::Html => "<html><body>",
        Flavour::XhtmlIm => "<html xmlns=\"http://jabber.org/protocol/xhtml-im\"><body xmlns=\"http://www.w3.org/1999/xhtml\">",
    });
    let spans = rich.spans();
    for (at, span) in spans.iter().enumerate() {
        let next = spans.get(at + 1);
        match span {
            Span::Block(block) => page.begin(*block),
            Span::Break => page.end_line("<br/>"),
            Span::Words(words) => {
                page.words(words.text.as_str(), &words.style, next);
                continue;
            }
        }
        // The last break in a block ends its line: an empty line has one of its own.
        if matches!(next, None | Some(Span::Block(_))) {
            page.out.push_str("<br/>");
        }
    }
    page.end_block();
    page.end_list();
    page.quote_to(0);
    page.out.push_str("</body></html>");
    page.out
}

struct Page {
    out: String,
    flavour: Flavour,
    /// Open quotations.
    quote: u8,
    /// The open list, and the number that its next item has if it has one.
    list: Option<Option<u32>>,
    block: Option<BlockKind>,
    link: Option<Hyperlink>,
    /// The last character in the line.
    before: Option<char>,
}

impl Page {
    fn begin(&mut self, block: Block) {
        self.end_block();
        let goes_on = match (self.list, block.kind) {
            (Some(None), BlockKind::Bullet) => true,
            (Some(Some(next)), BlockKind::Numbered(number)) => next == number,
            _ => false,
        };
        if !goes_on || self.quote != block.quote {
            self.end_list();
            self.quote_to(block.quote);
            match block.kind {
                BlockKind::Bullet => self.out.push_str("<ul>"),
                BlockKind::Numbered(1) => self.out.push_str("<ol>"),
                BlockKind::Numbered(number) => self.out.push_str(&format!("<ol start=\"{number}\">")),
                BlockKind::Paragraph | BlockKind::Preformatted => {}
            }
        }
        self.list = match block.kind {
            BlockKind::Bullet => Some(None),
            BlockKind::Numbered(number) => Some(Some(number.saturating_add(1))),
            BlockKind::Paragraph | BlockKind::Preformatted => None,
        };
        self.out.push_str(match block.kind {
            BlockKind::Paragraph => "<p>",
            BlockKind::Preformatted => "<pre>",
            BlockKind::Bullet | BlockKind::Numbered(_) => "<li>",
        });
        self.block = Some(block.kind);
    }

    fn end_block(&mut self) {
        self.end_line("");
        self.out.push_str(match self.block.take() {
            None => "",
            Some(BlockKind::Paragraph) => "</p>",
            Some(BlockKind::Preformatted) => "</pre>",
            Some(BlockKind::Bullet | BlockKind::Numbered(_)) => "</li>",
        });
    }

    fn end_list(&mut self) {
        self.out.push_str(match self.list.take() {
            None => "",
            Some(None) => "</ul>",
            Some(Some(_)) => "</ol>",
        });
    }

    fn quote_to(&mut self, depth: u8) {
        while self.quote > depth {
            self.quote -= 1;
            self.out.push_str("</blockquote>");
        }
        while self.quote < depth {
            self.quote += 1;
            self.out.push_str("<blockquote>");
        }
    }

    fn end_line(&mut self, how: &str) {
        self.end_link();
        self.before = None;
        self.out.push_str(how);
    }

    fn end_link(&mut self) {
        if self.link.take().is_some() {
            self.out.push_str("</a>");
        }
    }

    fn words(&mut self, text: &str, style: &Style, next: Option<&Span>) {
        if self.link != style.link {
            self.end_link();
            if let Some(link) = &style.link {
                self.out.push_str("<a href=\"");
                push_escaped(&mut self.out, link.as_str());
                self.out.push_str("\">");
            }
            self.link.clone_from(&style.link);
        }
        let tags = self.tags(style);
        for (open, _) in &tags {
            self.out.push_str(open);
        }
        let after = match next {
            Some(Span::Words(next)) => next.text.as_str().chars().next(),
            _ => None,
        };
        self.text(text, after);
        for (_, close) in tags.iter().rev() {
            self.out.push_str(close);
        }
    }

    /// The tags of a style, from the outside in.
    fn tags(&self, style: &Style) -> Vec<(String, &'static str)> {
        let is_html = self.flavour == Flavour::Html;
        let mut tags: Vec<(String, &'static str)> = Vec::new();
        let mut add = |wanted: bool, open: &str, close: &'static str| {
            if wanted {
                tags.push((open.to_owned(), close));
            }
        };
        let mut declarations = Vec::new();
        if is_html {
            add(style.bold, "<b>", "</b>");
            add(style.italic, "<i>", "</i>");
            add(style.underline, "<u>", "</u>");
            add(style.strike, "<s>", "</s>");
        } else {
            add(style.bold, "<strong>", "</strong>");
            add(style.italic, "<em>", "</em>");
            match (style.underline, style.strike) {
                (true, true) => declarations.push("text-decoration: underline line-through".to_owned()),
                (true, false) => declarations.push("text-decoration: underline".to_owned()),
                (false, true) => declarations.push("text-decoration: line-through".to_owned()),
                (false, false) => {}
            }
        }
        add(style.monospace, "<code>", "</code>");
        declarations.extend(style.colour.map(|colour| format!("color: {colour}")));
        add(!declarations.is_empty(), &format!("<span style=\"{}\">", declarations.join("; ")), "</span>");
        tags
    }

    /// Text in which no blank is lost when blanks are put together: each that could be is one that does not break. `after`: what the words
    /// after it begin with.
    fn text(&mut self, text: &str, after: Option<char>) {
        if self.block == Some(BlockKind::Preformatted) {
            push_escaped(&mut self.out, text);
            return;
        }
        let is_blank = |c: Option<char>| c.is_none_or(|c| matches!(c, ' ' | '\t'));
        // Words that are nothing but a blank must stay inside their own tags.
        let all_blank = text.chars().all(|c| is_blank(Some(c)));
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                ' ' if all_blank || is_blank(self.before) || is_blank(chars.peek().copied().or(after)) => {
                    self.out.push_str("&#160;");
                }
                '\t' => self.out.push_str("&#9;"),
                c => push_character(&mut self.out, c),
            }
            self.before = Some(c);
        }
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        push_character(out, c);
    }
}

fn push_character(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        c => out.push(c),
    }
}
