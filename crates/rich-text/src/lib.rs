//! Formatted text of the platforms that write it as HTML: HTML as mail and SIP clients send it, XHTML-IM (XEP-0071), and [`Rich`] between them.
//!
//! Reading keeps what [`Rich`] has words for, and nothing else: no scripts, no style sheets, no pictures, no frames, no element or attribute that
//! is not on the list. What is written is made of constants and escaped text only, so that nothing a sender wrote as mark-up goes on
//! as mark-up. No reader recurses; work and memory grow with the input, which the caller bounds.

mod css;
mod entity;
mod read;
mod token;
mod write;

use interchange_model::{Plain, Rich};

/// What HTML says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its words, all of them; with the marks of quotations and lists at most twenty bytes for each of the input.
    pub plain: Plain,
    /// With their formatting; `None` where that is more than a [`Rich`] holds.
    pub rich: Option<Rich>,
}

impl Reading {
    /// The formatted text, if it says more than the words by themselves: by how it looks, or by having looked plain although there are
    /// characters in it that are marks to others ([`has_marks`]).
    #[must_use]
    pub fn beyond_plain(self) -> Option<Rich> {
        let has_marks = has_marks(self.plain.as_str());
        self.rich.filter(|rich| has_marks || rich.is_formatted())
    }
}

/// Reads HTML: whole documents and fragments, well-formed or not.
///
/// `style` counts for weight, slant, decoration and colour, links for the schemes of [`interchange_model::Hyperlink`]. A picture is its
/// alternative text, or its address.
#[must_use]
pub fn from_html(html: &str) -> Reading {
    read::read(html, token::Syntax::Html)
}

/// Reads XHTML-IM (XEP-0071), an `html` element or what is in one, well-formed and without prefixes. What is not, is read as well as can be.
#[must_use]
pub fn from_xhtml(xhtml: &str) -> Reading {
    read::read(xhtml, token::Syntax::Xml)
}

/// Writes an HTML document, which is well-formed XML as well.
#[must_use]
pub fn to_html(rich: &Rich) -> String {
    write::write(rich, write::Flavour::Html)
}

/// Writes the `html` element of XHTML-IM (XEP-0071), well-formed, with elements and styles that it defines; blanks that count are U+00A0, as it wants.
#[must_use]
pub fn to_xhtml(rich: &Rich) -> String {
    write::write(rich, write::Flavour::XhtmlIm)
}

/// Whether a text has characters that Message Styling (XEP-0393) takes for marks, rightly or not.
#[must_use]
pub fn has_marks(text: &str) -> bool {
    text.contains(['*', '_', '~', '`'])
}

#[cfg(test)]
mod tests;
