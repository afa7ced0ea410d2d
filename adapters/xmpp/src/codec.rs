//! Bytes to stanzas and back: incremental, bounded, strict; knows nothing of streams' states or envelopes.
//!
//! [`Codec`] is given bytes as they come and yields one [`Frame`] at a time: the stream's opening tag, one whole
//! child element of the stream, the stream's closing tag. It looks at every byte once to find where an element
//! ends, keeps at most one element and what came with it, and only then lets the strict layer read the element
//! into a [`Document`]. XML that XMPP forbids (RFC 6120 §11.1), XML that is not well-formed with regard to
//! namespaces, and whatever is larger, deeper or richer than the limits ends in [`Malformed`].

mod document;
mod parse;
mod write;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr3};

pub use document::{Document, Element, Namespace};
pub(crate) use write::{push_attribute, push_text};

/// Elements may be nested so deep, the stream itself not counted.
pub const MAX_DEPTH: usize = 64;
/// Attributes of one element, namespace declarations included.
pub const MAX_ATTRIBUTES: usize = 64;
/// Namespace declarations of one element.
pub const MAX_DECLARATIONS: usize = 32;
/// Bytes of an element's or an attribute's name, prefix included.
pub const MAX_NAME: usize = 256;

/// What comes next on a stream. The element itself is in the [`Document`] given to [`Codec::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The opening tag of the stream.
    Open,
    /// A whole child of the stream.
    Element,
    /// The closing tag of the stream.
    Close,
}

/// Why bytes are not what may be on a stream. After one, nothing more is read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A rule of XML 1.0 or of Namespaces in XML is broken.
    #[error("expected well-formed XML: {0}")]
    NotWellFormed(&'static str),
    /// A comment, a processing instruction, a document type declaration, an entity of one's own.
    #[error("expected XML without {0}")]
    Restricted(&'static str),
    /// Bytes that are not UTF-8, or another encoding declared.
    #[error("expected UTF-8")]
    Encoding,
    /// A prefix that was not declared.
    #[error("expected a declared namespace prefix")]
    Prefix,
    /// Text where only elements may be.
    #[error("expected an element, not text, as child of the stream")]
    Text,
    /// An element larger than its limit, which is given in bytes.
    #[error("expected at most {0} bytes in an element")]
    TooLarge(usize),
    /// More of something than is allowed.
    #[error("expected at most {1} {0}")]
    TooMany(&'static str, usize),
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct Codec {
    /// The element that has begun, and what came after it in the same read. Begins with `<`, or with what is not yet looked at.
    buffer: BytesMut,
    /// How many bytes of `buffer` were looked at.
    seen: usize,
    place: Place,
    /// Open elements, the stream included.
    depth: usize,
    /// An XML declaration may come only once, and first.
    declared: bool,
    /// Bytes that one element may have.
    limit: usize,
    /// What the stream's opening tag declared.
    scope: parse::Scope,
    failed: Option<Malformed>,
}

/// Where in XML the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between tags.
    Content,
    /// After `<`.
    Angle,
    /// After `<!`, so many bytes into `[CDATA[`.
    Bang(usize),
    /// In a CDATA section.
    CData,
    /// In an opening tag, outside quotes; whether the last byte was `/`.
    Tag { slash: bool },
    /// In an opening tag, inside these quotes.
    Quoted(u8),
    /// In a closing tag.
    EndTag,
    /// In the XML declaration.
    Declaration,
}

impl Codec {
    /// A codec at the beginning of a stream, for elements of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            seen: 0,
            place: Place::Content,
            depth: 0,
            declared: false,
            limit,
            scope: parse::Scope::default(),
            failed: None,
        }
    }

    /// Begins a new stream on the same connection, as after authentication (RFC 6120 §6.4.6): bytes that
    /// came already belong to the new stream.
    pub fn restart(&mut self) {
        self.seen = 0;
        self.place = Place::Content;
        self.depth = 0;
        self.declared = false;
        self.scope = parse::Scope::default();
    }

    /// Changes how many bytes one element may have.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes, to be read by [`Codec::next`].
    pub fn push(&mut self, bytes: &Bytes) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How many bytes are kept and not yet yielded.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The namespace of stanzas on this stream (RFC 6120 §4.8.2).
    #[must_use]
    pub fn content(&self) -> Namespace {
        self.scope.declared("").map_or(Namespace::None, Namespace::of)
    }

    /// Whether the peer declared the prefix of dialback, as servers without stream features do (XEP-0220 §2.4.1).
    #[must_use]
    pub fn declares_dialback(&self) -> bool {
        self.scope.names().any(|name| Namespace::of(name) == Namespace::Dialback)
    }

    /// The next frame, its element in `document`; `None` until more bytes come.
    ///
    /// # Errors
    /// [`Malformed`]; from then on, always the same.
    pub fn next(&mut self, document: &mut Document) -> Result<Option<Frame>, Malformed> {
        if let Some(malformed) = self.failed {
            return Err(malformed);
        }
        let result = self.advance(document);
        if let Err(malformed) = result {
            self.failed = Some(malformed);
            self.buffer = BytesMut::new();
        }
        result
    }

    fn advance(&mut self, document: &mut Document) -> Result<Option<Frame>, Malformed> {
        loop {
            // White space between elements keeps a connection alive and says nothing (RFC 6120 §4.6.1).
            if self.depth <= 1 && self.place == Place::Content && self.seen == 0 {
                let blank = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
                // The XML declaration is not preceded by anything (XML 1.0 §2.8).
                self.declared |= blank > 0;
                self.buffer.advance(blank);
                if self.buffer.first().is_some_and(|byte| *byte != b'<') {
                    return Err(Malformed::Text);
                }
            }
            let Some(end) = self.scan()? else {
                return if self.buffer.len() > self.limit { Err(Malformed::TooLarge(self.limit)) } else { Ok(None) };
            };
            if end > self.limit {
                return Err(Malformed::TooLarge(self.limit));
            }
            let frame = self.buffer.split_to(end);
            self.seen = 0;
            let text = std::str::from_utf8(&frame).map_err(|_| Malformed::Encoding)?;
            if let Some(declaration) = text.strip_prefix("<?xml") {
                parse::declaration(declaration.strip_suffix("?>").unwrap_or(declaration))?;
                self.declared = true;
                continue;
            }
            self.declared = true;
            if text.starts_with("</") {
                parse::close(text, &self.scope)?;
                self.failed = Some(Malformed::NotWellFormed("nothing after the closing tag"));
                return Ok(Some(Frame::Close));
            }
            if self.scope.is_open() {
                parse::element(text, &self.scope, document)?;
                return Ok(Some(Frame::Element));
            }
            self.scope = parse::open(text, document)?;
            return Ok(Some(Frame::Open));
        }
    }

    /// Looks on from where it stopped; the length of the frame when its last byte is there.
    fn scan(&mut self) -> Result<Option<usize>, Malformed> {
        const CDATA: &[u8] = b"[CDATA[";
        while let Some(rest) = self.buffer.get(self.seen..).filter(|rest| !rest.is_empty()) {
            // Before anything else can be wrong, so that it does not matter how much came in one read.
            if self.seen > self.limit {
                return Err(Malformed::TooLarge(self.limit));
            }
            let byte = rest[0];
            match self.place {
                Place::Content => {
                    let Some(skip) = memchr(b'<', rest) else {
                        self.seen = self.buffer.len();
                        return Ok(None);
                    };
                    self.seen += skip + 1;
                    self.place = Place::Angle;
                }
                Place::Angle => {
                    self.place = match byte {
                        b'/' => {
                            self.depth = self.depth.checked_sub(1).ok_or(Malformed::NotWellFormed("a closing tag first"))?;
                            Place::EndTag
                        }
                        b'!' => Place::Bang(0),
                        b'?' if self.depth == 0 && !self.declared => Place::Declaration,
                        // RFC 6120 §11.1
                        b'?' => return Err(Malformed::Restricted("processing instructions")),
                        b'<' | b'>' | b'&' | b'\'' | b'"' | b'=' | b' ' | b'\t' | b'\r' | b'\n' => {
                            return Err(Malformed::NotWellFormed("no name after <"));
                        }
                        _ => {
                            self.depth += 1;
                            if self.depth > MAX_DEPTH + 1 {
                                return Err(Malformed::TooMany("levels of elements", MAX_DEPTH));
                            }
                            Place::Tag { slash: false }
                        }
                    };
                    self.seen += 1;
                }
                Place::Bang(matched) => {
                    if byte != CDATA[matched] {
                        // RFC 6120 §11.1
                        return Err(Malformed::Restricted(if byte == b'-' { "comments" } else { "declarations" }));
                    }
                    if self.depth <= 1 {
                        return Err(Malformed::Text);
                    }
                    self.seen += 1;
                    self.place = if matched + 1 == CDATA.len() { Place::CData } else { Place::Bang(matched + 1) };
                }
                Place::CData => {
                    let Some(skip) = memchr(b'>', rest) else {
                        self.seen = self.buffer.len();
                        return Ok(None);
                    };
                    self.seen += skip + 1;
                    if self.buffer[..self.seen].ends_with(b"]]>") {
                        self.place = Place::Content;
                    }
                }
                Place::Tag { slash } => {
                    // A slash is looked for only as the byte before `>`.
                    let Some(skip) = memchr3(b'>', b'\'', b'"', rest) else {
                        self.place = Place::Tag { slash: rest.last() == Some(&b'/') };
                        self.seen = self.buffer.len();
                        return Ok(None);
                    };
                    let slash = if skip == 0 { slash } else { rest[skip - 1] == b'/' };
                    self.seen += skip + 1;
                    if rest[skip] != b'>' {
                        self.place = Place::Quoted(rest[skip]);
                        continue;
                    }
                    self.place = Place::Content;
                    if slash {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return Err(Malformed::NotWellFormed("an empty stream"));
                        }
                    }
                    // The stream's own opening tag, or a whole empty child of it.
                    if self.depth == 1 && (slash || !self.scope.is_open()) {
                        return Ok(Some(self.seen));
                    }
                }
                Place::Quoted(quote) => {
                    let Some(skip) = memchr(quote, rest) else {
                        self.seen = self.buffer.len();
                        return Ok(None);
                    };
                    self.seen += skip + 1;
                    self.place = Place::Tag { slash: false };
                }
                Place::EndTag => {
                    let Some(skip) = memchr(b'>', rest) else {
                        self.seen = self.buffer.len();
                        return Ok(None);
                    };
                    self.seen += skip + 1;
                    self.place = Place::Content;
                    if self.depth <= 1 {
                        return Ok(Some(self.seen));
                    }
                }
                Place::Declaration => {
                    let Some(skip) = memchr(b'>', rest) else {
                        self.seen = self.buffer.len();
                        return Ok(None);
                    };
                    self.seen += skip + 1;
                    if self.buffer[..self.seen].ends_with(b"?>") {
                        self.place = Place::Content;
                        if !matches!(self.buffer.get(5), Some(b' ' | b'\t' | b'\r' | b'\n')) || !self.buffer.starts_with(b"<?xml")
                        {
                            return Err(Malformed::Restricted("processing instructions"));
                        }
                        return Ok(Some(self.seen));
                    }
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
