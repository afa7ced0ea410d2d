//! Framing: bytes in any portions, whole messages out (RFC 4975 §7.1, §9).

use bytes::{Bytes, BytesMut};

use crate::limits::Limits;
use crate::message::{ByteRange, Content, Continuation, FailureReport, Message, Method, Request, Response, TransactionId};
use crate::uri::Path;

/// Why a connection cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first line is none of MSRP's.
    #[error("expected `MSRP`, a transaction and a method or a status")]
    StartLine,
    /// A header that cannot be read, or one that must be there and is not.
    #[error("expected To-Path, From-Path and headers that can be read")]
    Header,
    /// The end line does not follow where it must.
    #[error("expected the end line of the message")]
    EndLine,
    /// More headers than are taken.
    #[error("the headers are too large")]
    HeadTooLarge,
    /// More body than is taken.
    #[error("the body is too large")]
    BodyTooLarge,
}

/// A message that must not be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub why: Malformed,
    /// What to answer, where that makes sense.
    pub response: Option<Response>,
    /// Nothing more can be read: close, when the answer is sent.
    pub framing_lost: bool,
}

/// Cuts one direction of one connection into messages.
///
/// Push what was read, then take messages until there is none. What is held never exceeds one head and one body within the
/// limits plus the last portion pushed, and every byte is scanned once.
#[derive(Debug)]
pub struct StreamDecoder {
    limits: Limits,
    buffer: BytesMut,
    state: State,
}

#[derive(Debug)]
enum State {
    /// In a head whose first `scanned` bytes hold no end of it.
    Head { scanned: usize },
    /// In a body whose first `scanned` bytes hold no end of it.
    Body { head: Box<Head>, scanned: usize },
    /// Framing is lost.
    Dead,
}

impl StreamDecoder {
    /// For a new connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: BytesMut::new(), state: State::Head { scanned: 0 } }
    }

    /// The peer may send more from here on, or less.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes what was read. After framing was lost it is thrown away.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Dead) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Whether no message is half read.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty() && matches!(self.state, State::Head { .. } | State::Dead)
    }

    /// The next message, or `None` until more is pushed.
    pub fn next_message(&mut self) -> Option<Result<Message, Rejected>> {
        match std::mem::replace(&mut self.state, State::Dead) {
            State::Dead => None,
            State::Head { scanned } => self.head(scanned),
            State::Body { head, scanned } => self.body(head, scanned),
        }
    }

    /// A head ends by an empty line, after which there is a body, or by the end line.
    fn head(&mut self, mut scanned: usize) -> Option<Result<Message, Rejected>> {
        loop {
            let Some(found) = self.buffer.get(scanned..).and_then(|rest| memchr::memchr(b'\n', rest)) else {
                if self.buffer.len() > self.limits.head {
                    return lost(Malformed::HeadTooLarge);
                }
                self.state = State::Head { scanned };
                return None;
            };
            let end = scanned + found + 1;
            if end > self.limits.head {
                return lost(Malformed::HeadTooLarge);
            }
            let line = self.buffer.get(scanned..end).unwrap_or_default();
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let is_empty = line.is_empty();
            if is_empty || line.starts_with(b"-------") {
                let last = line.to_vec();
                let block = self.buffer.split_to(end);
                let head = match Head::parse(block.get(..scanned).unwrap_or_default(), self.limits.headers) {
                    Ok(head) => head,
                    Err(why) => return lost(why),
                };
                if is_empty {
                    return self.body(Box::new(head), 0);
                }
                let Some(continuation) = head.ended_by(&last) else { return lost(Malformed::EndLine) };
                self.state = State::Head { scanned: 0 };
                return Some(head.finish(None, continuation));
            }
            scanned = end;
        }
    }

    fn body(&mut self, head: Box<Head>, mut scanned: usize) -> Option<Result<Message, Rejected>> {
        loop {
            // The empty line before an empty body's end line is the body's own CR LF.
            let Some(at) = self.buffer.get(scanned..).and_then(|rest| memchr::memmem::find(rest, &head.end)) else {
                // As much of the end line as may have come already is looked at again.
                let scanned = scanned.max((self.buffer.len() + 1).saturating_sub(head.end.len()));
                if self.buffer.len() > self.limits.body + head.end.len() + 3 {
                    return lost_with(Malformed::BodyTooLarge, head.refusal(413, "Message Too Large"));
                }
                self.state = State::Body { head, scanned };
                return None;
            };
            let start = scanned + at;
            if start > self.limits.body {
                return lost_with(Malformed::BodyTooLarge, head.refusal(413, "Message Too Large"));
            }
            let flag = start + head.end.len();
            let Some(tail) = self.buffer.get(flag..flag + 3) else {
                self.state = State::Body { head, scanned: start };
                return None;
            };
            let continuation = match tail {
                [flag, b'\r', b'\n'] => Continuation::of_flag(*flag),
                _ => None,
            };
            let Some(continuation) = continuation else {
                // Looks like an end line and is none: part of the body.
                scanned = start + 1;
                continue;
            };
            let body = self.buffer.split_to(start).freeze();
            let _ = self.buffer.split_to(head.end.len() + 3);
            self.state = State::Head { scanned: 0 };
            return Some(head.finish(Some(body), continuation));
        }
    }
}

fn lost(why: Malformed) -> Option<Result<Message, Rejected>> {
    lost_with(why, None)
}

fn lost_with(why: Malformed, response: Option<Response>) -> Option<Result<Message, Rejected>> {
    Some(Err(Rejected { why, response, framing_lost: true }))
}

/// A start line and headers.
#[derive(Debug)]
struct Head {
    transaction: TransactionId,
    what: What,
    to_path: Path,
    from_path: Path,
    message_id: Option<String>,
    byte_range: Option<ByteRange>,
    success_report: bool,
    failure_report: FailureReport,
    status: Option<u16>,
    media: Option<String>,
    /// A header of no importance to framing that cannot be read.
    is_unsound: bool,
    /// What ends the body: CR LF, seven dashes, the transaction.
    end: Vec<u8>,
}

#[derive(Debug)]
enum What {
    Request(Method),
    Response(u16),
}

impl Head {
    fn parse(block: &[u8], most: usize) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(block).map_err(|_| Malformed::Header)?;
        let mut lines = text.lines();
        let start = lines.next().ok_or(Malformed::StartLine)?;
        let mut words = start.splitn(4, ' ');
        if words.next() != Some("MSRP") {
            return Err(Malformed::StartLine);
        }
        let transaction = words.next().and_then(TransactionId::parse).ok_or(Malformed::StartLine)?;
        let word = words.next().ok_or(Malformed::StartLine)?;
        let what = match word {
            "SEND" => What::Request(Method::Send),
            "REPORT" => What::Request(Method::Report),
            _ if word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()) => {
                What::Response(word.parse().map_err(|_| Malformed::StartLine)?)
            }
            _ if !word.is_empty() && word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                What::Request(Method::Other(word.to_owned()))
            }
            _ => return Err(Malformed::StartLine),
        };
        if matches!(what, What::Request(_)) && words.next().is_some() {
            return Err(Malformed::StartLine);
        }
        let (mut to_path, mut from_path) = (None, None);
        let mut end = b"\r\n-------".to_vec();
        end.extend_from_slice(transaction.as_str().as_bytes());
        let mut head = Self {
            transaction,
            what,
            // Replaced below, or the head is refused.
            to_path: Path::none(),
            from_path: Path::none(),
            message_id: None,
            byte_range: None,
            success_report: false,
            failure_report: FailureReport::Yes,
            status: None,
            media: None,
            is_unsound: false,
            end,
        };
        for (count, line) in lines.enumerate() {
            if count == most {
                return Err(Malformed::HeadTooLarge);
            }
            let (name, value) = line.split_once(':').ok_or(Malformed::Header)?;
            let value = value.trim();
            if value.chars().any(char::is_control) {
                return Err(Malformed::Header);
            }
            let set = |path: &mut Option<Path>| match path.replace(Path::parse(value).map_err(|_| Malformed::Header)?) {
                Some(_) => Err(Malformed::Header),
                None => Ok(()),
            };
            match name.to_ascii_lowercase().as_str() {
                "to-path" => set(&mut to_path)?,
                "from-path" => set(&mut from_path)?,
                other => head.note(other, value),
            }
        }
        head.to_path = to_path.ok_or(Malformed::Header)?;
        head.from_path = from_path.ok_or(Malformed::Header)?;
        Ok(head)
    }

    fn note(&mut self, name: &str, value: &str) {
        match name {
            "message-id" => {
                let sound = (1..=255).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
                self.is_unsound |= !sound || self.message_id.is_some();
                self.message_id = sound.then(|| value.to_owned());
            }
            "byte-range" => {
                let range = ByteRange::parse(value);
                self.is_unsound |= range.is_none() || self.byte_range.is_some();
                self.byte_range = range;
            }
            "success-report" => match value {
                "yes" => self.success_report = true,
                "no" => self.success_report = false,
                _ => self.is_unsound = true,
            },
            "failure-report" => match value {
                "yes" => self.failure_report = FailureReport::Yes,
                "no" => self.failure_report = FailureReport::No,
                "partial" => self.failure_report = FailureReport::Partial,
                _ => self.is_unsound = true,
            },
            "status" => {
                // namespace SP code [SP comment]; only the namespace 000 is known (RFC 4975 §7.1.2).
                let mut words = value.split(' ');
                let code = match (words.next(), words.next()) {
                    (Some("000"), Some(code)) if code.len() == 3 => code.parse().ok(),
                    _ => None,
                };
                self.is_unsound |= code.is_none();
                self.status = code;
            }
            "content-type" => self.media = Some(value.to_owned()),
            // RFC 4975 §7.1: what is not known is left alone.
            _ => {}
        }
    }

    /// What an end line without a body before it says.
    fn ended_by(&self, line: &[u8]) -> Option<Continuation> {
        let rest = line.strip_prefix(self.end.strip_prefix(b"\r\n")?)?;
        match rest {
            [flag] => Continuation::of_flag(*flag),
            _ => None,
        }
    }

    fn finish(self, body: Option<Bytes>, continuation: Continuation) -> Result<Message, Rejected> {
        let status = match &self.what {
            What::Response(status) => *status,
            What::Request(_) => return self.finish_request(body, continuation),
        };
        Ok(Message::Response(Response {
            transaction: self.transaction,
            status,
            comment: None,
            to_path: self.to_path,
            from_path: self.from_path,
        }))
    }

    fn finish_request(self, body: Option<Bytes>, continuation: Continuation) -> Result<Message, Rejected> {
        // A body must say what it is (RFC 4975 §7.1).
        let untyped = body.as_ref().is_some_and(|body| !body.is_empty()) && self.media.is_none();
        let nameless = matches!(self.what, What::Request(Method::Send | Method::Report)) && self.message_id.is_none();
        if self.is_unsound || untyped || nameless {
            let response = self.refusal(400, "Bad Request");
            return Err(Rejected { why: Malformed::Header, response, framing_lost: false });
        }
        let What::Request(method) = self.what else {
            return Err(Rejected { why: Malformed::StartLine, response: None, framing_lost: true });
        };
        let content = match (self.media, body) {
            (Some(media), Some(body)) => Some(Content { media, body }),
            _ => None,
        };
        Ok(Message::Request(Request {
            transaction: self.transaction,
            method,
            to_path: self.to_path,
            from_path: self.from_path,
            message_id: self.message_id,
            byte_range: self.byte_range,
            success_report: self.success_report,
            failure_report: self.failure_report,
            status: self.status,
            content,
            continuation,
        }))
    }

    /// A refusal of it; nothing for responses, reports, and senders who want none.
    fn refusal(&self, status: u16, comment: &'static str) -> Option<Response> {
        let What::Request(method) = &self.what else { return None };
        if *method == Method::Report || self.failure_report == FailureReport::No {
            return None;
        }
        let one = |path: &Path| path.first().map_or_else(|| path.clone(), |uri| Path::direct(uri.clone()));
        Some(Response {
            transaction: self.transaction.clone(),
            status,
            comment: Some(comment),
            to_path: one(&self.from_path),
            from_path: one(&self.to_path),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: &str = "MSRP d93kswow SEND\r\nTo-Path: msrp://bobpc.example.com:8888/9di4eae923wzd;tcp\r\n\
        From-Path: msrp://alicepc.example.com:7777/iau39soe2843z;tcp\r\nMessage-ID: 12339sdqwer\r\nByte-Range: 1-16/16\r\n\
        Content-Type: text/plain\r\n\r\nHi, I'm Alice!\r\n\r\n-------d93kswow$\r\n";

    fn all(bytes: &[u8], portion: usize) -> Vec<Result<Message, Rejected>> {
        let mut decoder = StreamDecoder::new(Limits { body: 200, ..Limits::default() });
        let mut found = Vec::new();
        for part in bytes.chunks(portion.max(1)) {
            decoder.push(part);
            while let Some(message) = decoder.next_message() {
                found.push(message);
            }
        }
        found
    }

    fn one(text: &str) -> Result<Message, Rejected> {
        let found = all(text.as_bytes(), text.len());
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn the_first_example_of_the_standard_in_portions_of_every_size() {
        let response = "MSRP d93kswow 200 OK\r\nTo-Path: msrp://alicepc.example.com:7777/iau39soe2843z;tcp\r\n\
            From-Path: msrp://bobpc.example.com:8888/9di4eae923wzd;tcp\r\n-------d93kswow$\r\n";
        let stream = format!("{SEND}{response}");
        for portion in 1..stream.len() {
            let found = all(stream.as_bytes(), portion);
            let [Ok(Message::Request(request)), Ok(Message::Response(answer))] = &found[..] else {
                panic!("{portion}: {found:?}")
            };
            assert_eq!(request.content.as_ref().unwrap().body, "Hi, I'm Alice!\r\n");
            assert_eq!(request.byte_range, Some(ByteRange { start: 1, end: Some(16), total: Some(16) }));
            assert_eq!((request.method.clone(), request.continuation), (Method::Send, Continuation::Last));
            assert_eq!((answer.status, answer.transaction.as_str()), (200, "d93kswow"));
            assert_eq!(request.encode(), SEND);
        }
    }

    #[test]
    fn what_looks_like_an_end_line_belongs_to_the_body() {
        let text = SEND.replace("Hi, I'm Alice!\r\n", "-------d93kswow$\r\n-------d93kswowX\r\n-------d93ksw$\r\nx");
        let Ok(Message::Request(request)) = one(&text) else { panic!() };
        assert_eq!(request.content.unwrap().body, "-------d93kswow$\r\n-------d93kswowX\r\n-------d93ksw$\r\nx");
    }

    #[test]
    fn bodies_may_be_empty_and_absent() {
        let Ok(Message::Request(request)) = one(&SEND.replace("Hi, I'm Alice!\r\n", "")) else { panic!() };
        assert_eq!(request.content.unwrap().body, "");
        let none = SEND.replace("Content-Type: text/plain\r\n\r\nHi, I'm Alice!\r\n\r\n", "").replace('$', "+");
        let Ok(Message::Request(request)) = one(&none) else { panic!() };
        assert_eq!((request.content.clone(), request.continuation), (None, Continuation::More));
        assert_eq!(request.encode(), none);
    }

    #[test]
    fn what_cannot_be_read_ends_the_connection() {
        for (text, why) in [
            ("SIP/2.0 200 OK\r\n\r\n".to_owned(), Malformed::StartLine),
            (SEND.replace("MSRP d93kswow", "MSRP d"), Malformed::StartLine),
            (SEND.replace("SEND", "send"), Malformed::StartLine),
            (SEND.replace("SEND", "SEND now"), Malformed::StartLine),
            (SEND.replace("To-Path", "Too-Path"), Malformed::Header),
            (SEND.replace("To-Path", "From-Path"), Malformed::Header),
            (SEND.replace("Message-ID: ", "Message-ID "), Malformed::Header),
            (SEND.replace("12339sdqwer", "a\u{1}b"), Malformed::Header),
            (SEND.replace("12339sdqwer", &"x".repeat(9000)), Malformed::HeadTooLarge),
            (SEND.replace("Byte", &format!("{}Byte", "X: y\r\n".repeat(70))), Malformed::HeadTooLarge),
            (SEND.replace("Hi", &"x".repeat(300)), Malformed::BodyTooLarge),
            (
                "MSRP d93kswow SEND\r\nTo-Path: msrp://a/b;tcp\r\nFrom-Path: msrp://c/d;tcp\r\n-------other$\r\n".to_owned(),
                Malformed::EndLine,
            ),
        ] {
            let rejected = one(&text).unwrap_err();
            assert_eq!((rejected.why, rejected.framing_lost), (why, true), "{text}");
        }
        // Without an end in sight, too.
        let rejected = one(&SEND.replace("-------d93kswow$\r\n", &"y".repeat(400))).unwrap_err();
        assert_eq!(rejected.response.map(|response| response.status), Some(413));
        assert_eq!(one(&"x".repeat(9000)).unwrap_err().why, Malformed::HeadTooLarge);
    }

    #[test]
    fn what_is_unsound_is_refused_and_the_next_is_read() {
        for text in [
            SEND.replace("1-16/16", "1-16"),
            SEND.replace("1-16/16", "-1-16/16"),
            SEND.replace("1-16/16", "1-16/99999999999999999999999"),
            SEND.replace("Message-ID: 12339sdqwer\r\n", ""),
            SEND.replace("Content-Type: text/plain\r\n", ""),
            SEND.replace("Byte-Range", "Success-Report: maybe\r\nByte-Range"),
        ] {
            let found = all(format!("{text}{SEND}").as_bytes(), 1000);
            let [Err(rejected), Ok(Message::Request(_))] = &found[..] else { panic!("{found:?}") };
            assert_eq!((rejected.response.as_ref().unwrap().status, rejected.framing_lost), (400, false), "{text}");
        }
        let quiet = SEND.replace("1-16/16", "x\r\nFailure-Report: no");
        assert_eq!(one(&quiet).unwrap_err().response, None);
    }

    #[test]
    fn reports_are_read() {
        let text = "MSRP dkei38sd REPORT\r\nTo-Path: msrp://a:1/x;tcp\r\nFrom-Path: msrp://b:2/y;tcp\r\nMessage-ID: m1\r\n\
            Byte-Range: 1-39/39\r\nStatus: 000 200 OK\r\n-------dkei38sd$\r\n";
        let Ok(Message::Request(report)) = one(text) else { panic!() };
        assert_eq!((report.method, report.status, report.message_id.as_deref()), (Method::Report, Some(200), Some("m1")));
    }
}
