//! Requests and responses, and how they are written (RFC 4975 §7, §9).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::uri::Path;

/// Names one transaction, and ends its messages. 4 to 32 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(String);

impl TransactionId {
    /// Reads one (RFC 4975 §9, `ident`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-+%=".contains(&byte);
        let sound = (4..=32).contains(&text.len())
            && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && text.bytes().all(is_inner);
        sound.then(|| Self(text.to_owned()))
    }

    /// One of ours, from a number that was not used before.
    #[must_use]
    pub fn of(number: u64) -> Self {
        Self(format!("{number:016x}"))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// The answer to one.
    Response(Response),
}

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// A chunk of a message.
    Send,
    /// What became of one.
    Report,
    /// Another, at most 32 letters.
    Other(String),
}

impl Method {
    fn as_str(&self) -> &str {
        match self {
            Method::Send => "SEND",
            Method::Report => "REPORT",
            Method::Other(name) => name,
        }
    }
}

/// What follows a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// `$`: nothing, it is the last.
    Last,
    /// `+`: more of the message.
    More,
    /// `#`: nothing, the sender gives the message up.
    Aborted,
}

impl Continuation {
    fn flag(self) -> u8 {
        match self {
            Continuation::Last => b'$',
            Continuation::More => b'+',
            Continuation::Aborted => b'#',
        }
    }

    pub(crate) fn of_flag(flag: u8) -> Option<Self> {
        match flag {
            b'$' => Some(Continuation::Last),
            b'+' => Some(Continuation::More),
            b'#' => Some(Continuation::Aborted),
            _ => None,
        }
    }
}

/// Which bytes of a message these are, counted from 1 (RFC 4975 §7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first.
    pub start: u64,
    /// The last; `None` (`*`): wherever the chunk ends.
    pub end: Option<u64>,
    /// Bytes of the whole message; `None` (`*`): not known yet.
    pub total: Option<u64>,
}

impl ByteRange {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let or_star = |text: &str| if text == "*" { Some(None) } else { number(text).map(Some) };
        Some(Self { start: number(start)?, end: or_star(end)?, total: or_star(total)? })
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = |number: Option<u64>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{}-{}/{}", self.start, star(self.end), star(self.total))
    }
}

/// Which failures the sender of a chunk wants to hear of (RFC 4975 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FailureReport {
    /// Every answer, and failures later on.
    #[default]
    Yes,
    /// Nothing at all.
    No,
    /// Failures only.
    Partial,
}

impl FailureReport {
    fn as_str(self) -> &'static str {
        match self {
            FailureReport::Yes => "yes",
            FailureReport::No => "no",
            FailureReport::Partial => "partial",
        }
    }
}

/// The content of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Content-Type, as written.
    pub media: String,
    /// Its bytes.
    pub body: Bytes,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub transaction: TransactionId,
    /// What it asks.
    pub method: Method,
    /// To whom, by which way.
    pub to_path: Path,
    /// From whom, by which way.
    pub from_path: Path,
    /// Which message it is about; at most 255 bytes here, 32 in the standard.
    pub message_id: Option<String>,
    /// Which bytes of it.
    pub byte_range: Option<ByteRange>,
    /// Whether the sender wants a report when the message has arrived.
    pub success_report: bool,
    /// Which failures the sender wants to hear of.
    pub failure_report: FailureReport,
    /// Of a REPORT: the status code.
    pub status: Option<u16>,
    /// What it carries.
    pub content: Option<Content>,
    /// What follows it.
    pub continuation: Continuation,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The name of the request.
    pub transaction: TransactionId,
    /// 200 to 599.
    pub status: u16,
    /// For a person; never of the peer's making in what we write.
    pub comment: Option<&'static str>,
    /// To whom, by which way.
    pub to_path: Path,
    /// From whom, by which way.
    pub from_path: Path,
}

impl Request {
    /// The answer to it. It goes one hop back (RFC 4975 §7.2): to the first of From-Path, from the first of To-Path.
    #[must_use]
    pub fn answer(&self, status: u16, comment: Option<&'static str>) -> Response {
        let one = |path: &Path| path.first().map_or_else(|| path.clone(), |uri| Path::direct(uri.clone()));
        Response {
            transaction: self.transaction.clone(),
            status,
            comment,
            // A SEND goes to its end and is answered there by the hop before; REPORTs are not answered at all.
            to_path: one(&self.from_path),
            from_path: one(&self.to_path),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let size = self.content.as_ref().map_or(0, |content| content.body.len());
        let mut out = BytesMut::with_capacity(size + 512);
        let id = self.transaction.as_str();
        let mut line = |text: String| {
            out.put_slice(text.as_bytes());
            out.put_slice(b"\r\n");
        };
        line(format!("MSRP {id} {}", self.method.as_str()));
        line(format!("To-Path: {}", self.to_path));
        line(format!("From-Path: {}", self.from_path));
        if let Some(message_id) = &self.message_id {
            line(format!("Message-ID: {message_id}"));
        }
        if self.success_report {
            line("Success-Report: yes".to_owned());
        }
        if self.failure_report != FailureReport::Yes {
            line(format!("Failure-Report: {}", self.failure_report.as_str()));
        }
        if let Some(range) = self.byte_range {
            line(format!("Byte-Range: {range}"));
        }
        if let Some(status) = self.status {
            line(format!("Status: 000 {status:03}"));
        }
        if let Some(content) = &self.content {
            line(format!("Content-Type: {}", content.media));
            out.put_slice(b"\r\n");
            out.put_slice(&content.body);
            out.put_slice(b"\r\n");
        }
        end_line(&mut out, id, self.continuation);
        out.freeze()
    }
}

impl Response {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        let comment = self.comment.map(|comment| format!(" {comment}")).unwrap_or_default();
        let id = self.transaction.as_str();
        out.put_slice(format!("MSRP {id} {:03}{comment}\r\n", self.status).as_bytes());
        out.put_slice(format!("To-Path: {}\r\nFrom-Path: {}\r\n", self.to_path, self.from_path).as_bytes());
        end_line(&mut out, id, Continuation::Last);
        out.freeze()
    }
}

fn end_line(out: &mut BytesMut, id: &str, continuation: Continuation) {
    out.put_slice(b"-------");
    out.put_slice(id.as_bytes());
    out.put_u8(continuation.flag());
    out.put_slice(b"\r\n");
}

/// Whether content would end a chunk of this name too early (RFC 4975 §7.1).
pub(crate) fn holds_end_line(body: &[u8], id: &TransactionId) -> bool {
    let line = [b"-------", id.as_str().as_bytes()].concat();
    memchr::memmem::find(body, &line).is_some()
}
