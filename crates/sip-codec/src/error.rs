//! What can be wrong with a peer's bytes, and with a value we were asked to send.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::decode::Head;
use crate::header::Name;

/// The peer's text breaks the grammar: what was expected, and what stood there.
///
/// Safe to log: addresses, names and bodies never get in, only single bytes and short protocol words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Malformed {
    /// The thing the grammar asks for at this place.
    pub expected: &'static str,
    /// What came in its place.
    pub found: Found,
}

impl Malformed {
    pub(crate) fn new(expected: &'static str, found: Found) -> Self {
        Self { expected, found }
    }

    /// `found` is the byte at `position`, or the end.
    pub(crate) fn at(expected: &'static str, bytes: &[u8], position: usize) -> Self {
        Self { expected, found: bytes.get(position).map_or(Found::End, |byte| Found::Byte(*byte)) }
    }

    /// `found` is a protocol word (a number, a version, a header name); cut to 40 characters.
    pub(crate) fn word(expected: &'static str, word: &[u8]) -> Self {
        let short = word.get(..40).unwrap_or(word);
        Self { expected, found: Found::Word(short.escape_ascii().to_string()) }
    }
}

/// What stood where something else was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The text ended.
    End,
    /// One byte.
    Byte(u8),
    /// A short protocol word, already escaped to printable ASCII.
    Word(String),
    /// More of something than may be.
    Count(usize),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the end"),
            Self::Byte(byte) => write!(f, "'{}'", byte.escape_ascii()),
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// A message that was framed but must not be acted upon.
///
/// For a request with a usable top Via, [`Rejected::to_response`] gives the answer to send. For anything else (a bad
/// response, an ACK, bytes without a Via) there is none, and the message is dropped.
#[derive(Clone, thiserror::Error)]
#[error("{status} {reason}: {cause}")]
pub struct Rejected {
    /// The status that fits: 400, 413, 414 or 505.
    pub status: u16,
    /// Reason phrase naming the header or part at fault.
    pub reason: Cow<'static, str>,
    /// What exactly was wrong.
    pub cause: Malformed,
    /// On a stream: where the next message starts is unknown, so answer and close.
    pub framing_lost: bool,
    pub(crate) head: Option<Box<Head>>,
}

impl Rejected {
    pub(crate) fn new(status: u16, reason: impl Into<Cow<'static, str>>, cause: Malformed) -> Self {
        Self { status, reason: reason.into(), cause, framing_lost: false, head: None }
    }

    pub(crate) fn with_head(mut self, head: Head) -> Self {
        self.head = Some(Box::new(head));
        self
    }

    pub(crate) fn losing_framing(mut self) -> Self {
        self.framing_lost = true;
        self
    }

    /// The encoded answer, or `None` if the message gets none.
    ///
    /// Via, From, To, Call-ID and CSeq are echoed as far as they came; `to_tag` (a token) is added to a To without
    /// one; `source` puts `received` and `rport` on the top Via.
    pub fn to_response(&self, to_tag: &str, source: Option<SocketAddr>) -> Option<Bytes> {
        self.head.as_ref()?.answer(self.status, &self.reason, to_tag, source)
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("cause", &self.cause)
            .field("framing_lost", &self.framing_lost)
            .finish_non_exhaustive()
    }
}

/// A value that may not be put into a message. Never repaired silently: the caller decides what to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// A control character, CR, LF or NUL in a value or a display name.
    #[error("control character 0x{0:02x} in {1}")]
    Control(u8, &'static str),
    /// A character the grammar of this part does not allow.
    #[error("byte 0x{0:02x} may not stand in {1}")]
    Byte(u8, &'static str),
    /// Nothing where something is needed.
    #[error("empty {0}")]
    Empty(&'static str),
    /// The header has its own setter, or is computed, and must not be added by name.
    #[error("{} has its own setter", .0.as_str())]
    Managed(Name),
    /// A number outside its range.
    #[error("{0} is out of range for {1}")]
    Range(u64, &'static str),
    /// The builder was not given a mandatory part.
    #[error("{0} was not given")]
    Missing(&'static str),
}
