//! Bytes to messages: lines to a [`Head`], and a head with its body to a [`Message`].
//!
//! Reading goes on after the first fault, so that an answer can carry what was readable. Lines at fault are not kept.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};

use crate::build::{append_tag, stamp_top};
use crate::encode::{put_header, put_status_line};
use crate::error::{Found, Malformed, Rejected};
use crate::fields::{self, CSeq};
use crate::header::{Header, Headers, Name, Value};
use crate::lex;
use crate::limits::Limits;
use crate::message::{Core, Message, Request, Response};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::uri::Uri;
use crate::via::Via;

/// Decodes one datagram (RFC 3261 §18.3): a body shorter than Content-Length is an error, what is longer is cut, and
/// without Content-Length the body is the rest.
pub fn decode_datagram(datagram: Bytes, limits: &Limits) -> Result<Message, Rejected> {
    // RFC 3261 §7.5: line ends before the start line are skipped
    let leading = datagram.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let mut block = datagram.slice(leading..);
    let Some(end) = end_of_block(&block) else {
        let cause = Malformed::new("an empty line after the headers", Found::End);
        let head = Head::parse(block, limits);
        return Err(Rejected::new(400, "Missing empty line", cause).with_head(head));
    };
    let mut body = block.split_off(end);
    let head = Head::parse(block, limits);
    if end > limits.header_block {
        return Err(Rejected::new(400, "Header block too large", Malformed::new("a shorter header block", Found::Count(end)))
            .with_head(head));
    }
    match head.content_length(limits) {
        Ok(None) if body.len() > limits.body => {
            let cause = Malformed::new("a smaller body", Found::Count(body.len()));
            Err(Rejected::new(413, "Request Entity Too Large", cause).with_head(head))
        }
        Ok(None) => head.finish(body),
        Ok(Some(length)) if length > body.len() => {
            let cause = Malformed::new("as many body bytes as Content-Length says", Found::Count(body.len()));
            Err(Rejected::new(400, "Content-Length larger than the body", cause).with_head(head))
        }
        Ok(Some(length)) => {
            body.truncate(length);
            head.finish(body)
        }
        Err(rejected) => Err(rejected.with_head(head)),
    }
}

/// Whether a datagram is one of the keep-alives that carry no message: line ends or zeros only.
pub fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// Where the body begins. The start line must not be empty.
fn end_of_block(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|newline| empty_line_after(bytes, newline)?)
}

/// With `newline` the place of a line feed: `Some(Some(end))` if the next line is empty, `Some(None)` if it is not,
/// `None` if too little has come to tell.
pub(crate) fn empty_line_after(bytes: &[u8], newline: usize) -> Option<Option<usize>> {
    match bytes.get(newline + 1..)? {
        [] | [b'\r'] => None,
        [b'\n', ..] => Some(Some(newline + 2)),
        [b'\r', b'\n', ..] => Some(Some(newline + 3)),
        _ => Some(None),
    }
}

/// Start line and headers, sound or not.
#[derive(Clone)]
pub(crate) struct Head {
    start: Start,
    headers: Headers,
    content_length: Option<Result<u64, Malformed>>,
    /// The first fault found.
    fault: Option<Box<Rejected>>,
}

#[derive(Clone)]
enum Start {
    Request {
        method: Method,
        uri: Uri,
    },
    Response {
        status: u16,
        reason: Bytes,
    },
    BrokenRequest {
        is_ack: bool,
    },
    BrokenResponse,
    /// Not SIP at all.
    Unknown,
}

impl Head {
    /// `block` begins with the start line and may end with the empty line.
    pub(crate) fn parse(block: Bytes, limits: &Limits) -> Self {
        let mut fault = None;
        let mut place = memchr::memchr(b'\n', &block).map_or(block.len(), |newline| newline + 1);
        let start_line = without_line_end(block.get(..place).unwrap_or_default());
        let start = parse_start(&block, start_line, limits).unwrap_or_else(|broken| {
            let (start, rejected) = *broken;
            fault = Some(Box::new(rejected));
            start
        });
        let mut head = Self { start, headers: Headers::with_capacity(16), content_length: None, fault };
        let mut lines = 0usize;
        let mut vias = 0usize;
        while place < block.len() {
            let line_end = end_of_line(&block, place);
            let line = without_line_end(block.get(place..line_end).unwrap_or_default());
            if line.is_empty() {
                break;
            }
            lines += 1;
            match parse_line(&block, line, place) {
                Ok(header) => head.take(header, lines, &mut vias, limits),
                Err(cause) => head.note(400, "Malformed header line", cause),
            }
            place = line_end;
        }
        head
    }

    fn take(&mut self, header: Header, lines: usize, vias: &mut usize, limits: &Limits) {
        if header.name() == Some(Name::ContentLength) {
            let value = header.value().as_bytes();
            let length = lex::number(value).ok_or_else(|| Malformed::word("a Content-Length", value));
            match &self.content_length {
                None => self.content_length = Some(length),
                Some(known) if *known == length => {}
                // RFC 4475 §3.3.9: two that differ
                Some(_) => self.content_length = Some(Err(Malformed::word("one Content-Length", value))),
            }
            return;
        }
        if lines > limits.headers {
            return self.note(400, "Too many headers", Malformed::new("fewer headers", Found::Count(lines)));
        }
        if header.name() == Some(Name::Via) {
            *vias += header.value().elements().count();
            if *vias > limits.vias {
                return self.note(400, "Too many Via values", Malformed::new("fewer Via values", Found::Count(*vias)));
            }
        }
        self.headers.push_received(header);
    }

    fn note(&mut self, status: u16, reason: impl Into<Cow<'static, str>>, cause: Malformed) {
        self.fault.get_or_insert_with(|| Box::new(Rejected::new(status, reason, cause)));
    }

    /// Whether the start line shows that a message was meant to begin here.
    pub(crate) fn looks_like_sip(&self) -> bool {
        !matches!(self.start, Start::Unknown)
    }

    /// The body's size, or `None` if no header says it.
    pub(crate) fn content_length(&self, limits: &Limits) -> Result<Option<usize>, Rejected> {
        match &self.content_length {
            None => Ok(None),
            Some(Err(cause)) => Err(Rejected::new(400, "Malformed Content-Length", cause.clone())),
            Some(Ok(length)) => match usize::try_from(*length) {
                Ok(length) if length <= limits.body => Ok(Some(length)),
                Ok(length) if length <= 1 << 31 => {
                    Err(Rejected::new(413, "Request Entity Too Large", Malformed::new("a smaller body", Found::Count(length))))
                }
                _ => Err(Rejected::new(
                    400,
                    "Malformed Content-Length",
                    Malformed::word("a Content-Length", length.to_string().as_bytes()),
                )),
            },
        }
    }

    /// The message, if everything mandatory is there, once, and readable.
    pub(crate) fn finish(self, body: Bytes) -> Result<Message, Rejected> {
        if let Some(fault) = &self.fault {
            return Err((**fault).clone().with_head(self));
        }
        match self.check() {
            Ok((core, max_forwards)) => match self.start {
                Start::Request { method, uri } => {
                    Ok(Request { method, uri, core, max_forwards, headers: self.headers, body }.into())
                }
                Start::Response { status, reason } => Ok(Response { status, reason, core, headers: self.headers, body }.into()),
                // A broken start line left a fault above
                _ => Err(Rejected::new(400, "Malformed start line", Malformed::new("a start line", Found::End))),
            },
            Err(rejected) => Err(rejected.with_head(self)),
        }
    }

    fn check(&self) -> Result<(Core, Option<u8>), Rejected> {
        let mut seen = 0u128;
        for name in self.headers.iter().filter_map(Header::name).filter(|name| name.is_single()) {
            let bit = 1 << (name as u8);
            if seen & bit != 0 {
                // RFC 4475 §3.3.8
                let cause = Malformed::word("one header", name.as_str().as_bytes());
                return Err(Rejected::new(400, format!("Repeated {}", name.as_str()), cause));
            }
            seen |= bit;
        }
        // Those below the top are only echoed: what a peer's own network wrote there is not ours to judge
        let via = match self.headers.elements(Name::Via).next() {
            Some(top) => Via::parse(top).map_err(|cause| malformed(Name::Via, cause))?,
            None => return Err(missing(Name::Via)),
        };
        let from = self.required(Name::From, NameAddr::parse)?;
        let to = self.required(Name::To, NameAddr::parse)?;
        let call_id = self.required(Name::CallId, parse_call_id)?;
        let cseq = self.required(Name::CSeq, CSeq::parse)?;
        let max_forwards = self.headers.first(Name::MaxForwards).map(|value| fields::max_forwards(value.as_bytes())).transpose();
        let max_forwards = max_forwards.map_err(|cause| malformed(Name::MaxForwards, cause))?;
        if let Start::Request { method, uri } = &self.start {
            // RFC 3261 §8.1.1.5
            if cseq.method != *method {
                return Err(Rejected::new(
                    400,
                    "CSeq does not match the method",
                    Malformed::word("the method in CSeq", cseq.method.as_str().as_bytes()),
                ));
            }
            // RFC 4475 §3.1.2.11
            if uri.headers().is_some() {
                return Err(Rejected::new(400, "Headers in the Request-URI", Malformed::new("a Request-URI", Found::Byte(b'?'))));
            }
        }
        Ok((Core { via, from, to, call_id, cseq }, max_forwards))
    }

    fn required<T>(&self, name: Name, parse: impl Fn(&[u8]) -> Result<T, Malformed>) -> Result<T, Rejected> {
        let value = self.headers.first(name).ok_or_else(|| missing(name))?;
        parse(value.as_bytes()).map_err(|cause| malformed(name, cause))
    }

    /// The encoded answer to a request that is refused, from whatever could be read.
    pub(crate) fn answer(&self, status: u16, reason: &str, to_tag: &str, source: Option<SocketAddr>) -> Option<Bytes> {
        // RFC 3261 §17: neither a response nor an ACK is ever answered
        match &self.start {
            Start::Request { method: Method::Ack, .. } | Start::BrokenRequest { is_ack: true } => return None,
            Start::Request { .. } | Start::BrokenRequest { .. } => {}
            Start::Response { .. } | Start::BrokenResponse | Start::Unknown => return None,
        }
        // Without a readable top Via nothing says where an answer belongs
        let top = self.headers.elements(Name::Via).next().filter(|top| Via::is_usable(top))?;
        let stamps = source.filter(|_| Via::parse(top).is_ok());
        let mut out = BytesMut::with_capacity(512);
        put_status_line(&mut out, status, reason.as_bytes());
        for (index, value) in self.headers.all(Name::Via).enumerate() {
            match stamps.filter(|_| index == 0) {
                Some(source) => put_header(&mut out, Name::Via.as_str(), stamp_top(value, source).as_bytes()),
                None => put_header(&mut out, Name::Via.as_str(), value.as_bytes()),
            }
        }
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            let Some(value) = self.headers.first(name) else { continue };
            let wants_tag = name == Name::To
                && lex::is_token(to_tag.as_bytes())
                && NameAddr::parse(value.as_bytes()).is_ok_and(|to| to.tag().is_none());
            let value = if wants_tag { append_tag(value, to_tag) } else { value.clone() };
            put_header(&mut out, name.as_str(), value.as_bytes());
        }
        put_header(&mut out, Name::ContentLength.as_str(), b"0");
        out.put_slice(b"\r\n");
        Some(out.freeze())
    }
}

fn missing(name: Name) -> Rejected {
    Rejected::new(400, format!("Missing {}", name.as_str()), Malformed::new("a mandatory header", Found::End))
}

fn malformed(name: Name, cause: Malformed) -> Rejected {
    Rejected::new(400, format!("Malformed {}", name.as_str()), cause)
}

/// Anything printable: real Call-IDs do not keep to `word ["@" word]`.
fn parse_call_id(bytes: &[u8]) -> Result<Box<str>, Malformed> {
    match bytes.iter().position(|byte| *byte <= 0x20 || *byte == 0x7f) {
        None if !bytes.is_empty() => Ok(lex::text(bytes).into()),
        wrong => Err(Malformed::at("a Call-ID", bytes, wrong.unwrap_or(0))),
    }
}

/// What a start line at fault was meant to be, and the fault.
type Broken = Box<(Start, Rejected)>;

fn parse_start(block: &Bytes, line: &[u8], limits: &Limits) -> Result<Start, Broken> {
    let is_response = line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
    let broken = if is_response {
        Start::BrokenResponse
    } else if ends_with_version(line) {
        Start::BrokenRequest { is_ack: line.starts_with(b"ACK ") }
    } else {
        Start::Unknown
    };
    let wrong =
        |status: u16, reason: &'static str, cause: Malformed| Box::new((broken.clone(), Rejected::new(status, reason, cause)));
    if line.len() > limits.start_line {
        return Err(wrong(414, "Request-URI Too Long", Malformed::new("a shorter start line", Found::Count(line.len()))));
    }
    if let Some(control) = line.iter().position(|byte| matches!(byte, b'\r' | 0)) {
        return Err(wrong(400, "Malformed start line", Malformed::at("a start line", line, control)));
    }
    if is_response {
        return parse_status_line(block, line).map_err(|cause| wrong(400, "Malformed status line", cause));
    }
    let bad_line = |cause| wrong(400, "Malformed request line", cause);
    let space = memchr::memchr(b' ', line).ok_or_else(|| bad_line(Malformed::at("a request line", line, line.len())))?;
    // RFC 3261 §7.1: exactly one space on each side of the URI
    let last = memchr::memrchr(b' ', line)
        .filter(|last| *last > space)
        .ok_or_else(|| bad_line(Malformed::at("a request line", line, line.len())))?;
    let method = line.get(..space).unwrap_or_default();
    let uri = line.get(space + 1..last).unwrap_or_default();
    let version = line.get(last + 1..).unwrap_or_default();
    let method = Method::parse(method).ok_or_else(|| bad_line(Malformed::word("a method", method)))?;
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let cause = Malformed::word("SIP/2.0", version);
        return Err(if is_version(version) { wrong(505, "Version Not Supported", cause) } else { bad_line(cause) });
    }
    let uri = Uri::parse(uri).map_err(|cause| wrong(400, "Malformed Request-URI", cause))?;
    Ok(Start::Request { method, uri })
}

/// `SIP/2.0 200 OK`; the phrase may be empty, and its space may be missing.
fn parse_status_line(block: &Bytes, line: &[u8]) -> Result<Start, Malformed> {
    let rest = line.get(..8).filter(|version| version.eq_ignore_ascii_case(b"SIP/2.0 ")).and_then(|_| line.get(8..));
    let rest = rest.ok_or_else(|| Malformed::word("SIP/2.0", line.get(..8).unwrap_or(line)))?;
    let code = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    let status = lex::number(code).filter(|_| code.len() == 3).and_then(|code| u16::try_from(code).ok());
    let status =
        status.filter(|code| (100..=699).contains(code)).ok_or_else(|| Malformed::word("a status code from 100 to 699", code))?;
    let reason = block.slice_ref(rest.get(4..).unwrap_or_default());
    Ok(Start::Response { status, reason })
}

fn is_version(word: &[u8]) -> bool {
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    word.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
        && word.get(4..).is_some_and(|version| match version.iter().position(|byte| *byte == b'.') {
            Some(dot) => digits(version.get(..dot).unwrap_or_default()) && digits(version.get(dot + 1..).unwrap_or_default()),
            None => false,
        })
}

fn ends_with_version(line: &[u8]) -> bool {
    lex::trim(line).rsplit(|byte| *byte == b' ').next().is_some_and(is_version)
}

/// The end of the header line that begins at `start`, its folded continuations included.
fn end_of_line(block: &[u8], start: usize) -> usize {
    let mut place = start;
    loop {
        let Some(newline) = memchr::memchr(b'\n', block.get(place..).unwrap_or_default()) else { return block.len() };
        place += newline + 1;
        // RFC 3261 §7.3.1: a line that begins with white space continues the one before
        if !block.get(place).copied().is_some_and(lex::is_space) {
            return place;
        }
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// `name : value`. `line` lies in `block` from `place` on and is without its own line end.
fn parse_line(block: &Bytes, line: &[u8], place: usize) -> Result<Header, Malformed> {
    let colon = memchr::memchr(b':', line).ok_or_else(|| Malformed::at("a colon", line, line.len()))?;
    let name = line.get(..colon).unwrap_or_default();
    let name = name.get(..name.iter().rposition(|byte| !lex::is_space(*byte)).map_or(0, |last| last + 1)).unwrap_or_default();
    if !lex::is_token(name) {
        return Err(Malformed::word("a header name", name));
    }
    let raw = line.get(colon + 1..).unwrap_or_default();
    // RFC 3261 §25.1: NUL only as a quoted-pair, CR and LF only as a line end
    let mut folded = false;
    for control in memchr::memchr3_iter(b'\r', b'\n', 0, raw) {
        let next = raw.get(control + 1).copied();
        match raw.get(control) {
            Some(b'\n') => folded = true,
            Some(b'\r') if next == Some(b'\n') => {}
            Some(0) if control > 0 && raw.get(control - 1) == Some(&b'\\') => {}
            _ => return Err(Malformed::at("no control character", raw, control)),
        }
    }
    let value = if folded { Bytes::from(unfold(raw)) } else { block.slice_ref(lex::trim(raw)) };
    let known = Name::lookup(name);
    let spelling = match known.map(Name::as_str) {
        Some(long) if long.as_bytes() == name => Bytes::from_static(long.as_bytes()),
        _ => block.slice(place..place + name.len()),
    };
    Ok(Header::received(known, spelling, Value::checked(value)))
}

/// RFC 3261 §7.3.1: a line end with the white space around it is one space.
fn unfold(raw: &[u8]) -> Vec<u8> {
    let mut value: Vec<u8> = Vec::with_capacity(raw.len());
    for line in raw.split(|byte| *byte == b'\n') {
        let line = lex::trim(line.strip_suffix(b"\r").unwrap_or(line));
        if !value.is_empty() && !line.is_empty() {
            value.push(b' ');
        }
        value.extend_from_slice(line);
    }
    value
}
