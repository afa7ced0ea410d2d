//! Formatted text as plain text.

use super::{Block, BlockKind, Hyperlink, Span};
use crate::Plain;

/// The spans as somebody would type them.
pub(super) fn of(spans: &[Span]) -> Plain {
    let mut page = Page::default();
    for (at, span) in spans.iter().enumerate() {
        match span {
            Span::Block(block) => page.block(*block, at == 0),
            Span::Break => page.line(),
            Span::Words(words) => {
                page.line_is_empty = false;
                let Some(link) = &words.style.link else {
                    page.out.push_str(words.text.as_str());
                    continue;
                };
                page.link_start = page.link_start.or(Some(page.out.len()));
                page.out.push_str(words.text.as_str());
                if !goes_on(spans.get(at + 1..).unwrap_or_default(), link) {
                    page.end_link(link);
                }
            }
        }
    }
    page.out.truncate(page.out.trim_end().len());
    Plain::new(&page.out)
}

/// Whether the next words belong to the same link. Also in the next block: an address that stood behind each of many would be much longer than
/// what was put in.
fn goes_on(rest: &[Span], link: &Hyperlink) -> bool {
    let next = rest.iter().find_map(|span| match span {
        Span::Words(words) => Some(words),
        Span::Block(_) | Span::Break => None,
    });
    next.is_some_and(|words| words.style.link.as_ref() == Some(link))
}

#[derive(Default)]
struct Page {
    out: String,
    /// What stands before the second and later lines of the block.
    indent: String,
    /// Nothing but that stands in the line.
    line_is_empty: bool,
    /// Where the words of the open link began.
    link_start: Option<usize>,
}

impl Page {
    fn block(&mut self, block: Block, is_first: bool) {
        if !is_first {
            self.end_line();
        }
        let marker = match block.kind {
            BlockKind::Paragraph | BlockKind::Preformatted => String::new(),
            BlockKind::Bullet => "- ".to_owned(),
            BlockKind::Numbered(number) => format!("{number}. "),
        };
        let quote = "> ".repeat(block.quote.into());
        self.out.push_str(&quote);
        self.out.push_str(&marker);
        self.indent = quote + &" ".repeat(marker.len());
        self.line_is_empty = true;
    }

    fn line(&mut self) {
        self.end_line();
        self.out.push_str(&self.indent);
        self.line_is_empty = true;
    }

    fn end_line(&mut self) {
        if self.line_is_empty {
            self.out.truncate(self.out.trim_end_matches(' ').len());
        }
        self.out.push('\n');
    }

    /// The address behind the words, unless they say it themselves.
    fn end_link(&mut self, link: &Hyperlink) {
        let shown = self.link_start.take().and_then(|start| self.out.get(start..)).unwrap_or_default().trim();
        if without_scheme(shown) == without_scheme(link.as_str()) {
            return;
        }
        let blank = if shown.is_empty() { "" } else { " " };
        self.out.push_str(&format!("{blank}({})", link.as_str()));
    }
}

/// What of an address people leave out is left out.
fn without_scheme(address: &str) -> &str {
    let scheme = |(scheme, rest)| Hyperlink::SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)).then_some(rest);
    let bare: &str = address.split_once(':').and_then(scheme).unwrap_or(address);
    bare.trim_start_matches('/').trim_end_matches('/')
}
