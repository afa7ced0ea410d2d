//! Framing on TCP and TLS: bytes in any portions, whole messages out.

use std::fmt;

use bytes::{Buf, BytesMut};

use crate::decode::{Head, empty_line_after};
use crate::error::{Found, Malformed, Rejected};
use crate::limits::Limits;
use crate::message::Message;

/// What a stream said.
// Nearly every event is a message, which would only be boxed to be unboxed
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum StreamEvent {
    /// A sound message.
    Message(Message),
    /// CR LF CR LF between messages: answer it with one CR LF (RFC 5626 §4.4.1). Counted in pairs, so it is
    /// reported once however it was split over reads.
    Ping,
    /// A single CR LF between messages. If it turns out to be the first half of a ping, a [`StreamEvent::Ping`]
    /// follows; both prove that the peer is alive.
    Pong,
    /// A message that must not be acted upon. With `framing_lost` it is the last event of this stream: send the answer, if
    /// there is one, and close.
    Rejected(Rejected),
}

/// Cuts one direction of one connection into messages.
///
/// Push what was read, then take events until there is none. What is held never exceeds one header block and one
/// body within the limits plus the last portion pushed; every byte is scanned once, however slowly it drips in.
pub struct StreamDecoder {
    limits: Limits,
    buffer: BytesMut,
    state: State,
}

enum State {
    /// Between messages, with the number of line ends since the last one.
    Between { line_ends: usize },
    /// In a header block whose first `scanned` bytes hold no empty line.
    Head { scanned: usize },
    /// The header block is complete; the body is not.
    Body { head: Box<Head>, length: usize },
    /// Framing is lost.
    Dead,
}

impl StreamDecoder {
    /// For a new connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: BytesMut::new(), state: State::Between { line_ends: 0 } }
    }

    /// Takes what was read. After framing was lost it is thrown away.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.is_dead() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Whether framing was lost: nothing more will come, and the connection is to be closed.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead)
    }

    /// Bytes held of a message that is not complete.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether everything pushed has been taken out, and no message is half read.
    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty() && matches!(self.state, State::Between { .. } | State::Dead)
    }

    /// The next event, or `None` until more is pushed.
    pub fn next_event(&mut self) -> Option<StreamEvent> {
        loop {
            match std::mem::replace(&mut self.state, State::Dead) {
                State::Dead => return None,
                State::Between { line_ends } => {
                    if let Some(event) = self.between(line_ends)? {
                        return Some(event);
                    }
                }
                State::Head { scanned } => {
                    if let Some(event) = self.head(scanned)? {
                        return Some(event);
                    }
                }
                State::Body { head, length } => {
                    if self.buffer.len() < length {
                        self.state = State::Body { head, length };
                        return None;
                    }
                    let body = self.buffer.split_to(length).freeze();
                    self.state = State::Between { line_ends: 0 };
                    return Some(match head.finish(body) {
                        Ok(message) => StreamEvent::Message(message),
                        Err(rejected) => StreamEvent::Rejected(rejected),
                    });
                }
            }
        }
    }

    /// `None`: wait. `Some(None)`: go on in the new state. The state is `Dead` on entry.
    fn between(&mut self, line_ends: usize) -> Option<Option<StreamEvent>> {
        let taken = match self.buffer.as_ref() {
            [b'\r', b'\n', ..] => 2,
            // RFC 3261 §7.5 speaks of CR LF; a lone LF is as harmless
            [b'\n', ..] => 1,
            [] | [b'\r'] => {
                self.state = State::Between { line_ends };
                return None;
            }
            _ => {
                self.state = State::Head { scanned: 0 };
                return Some(None);
            }
        };
        self.buffer.advance(taken);
        self.state = State::Between { line_ends: line_ends + 1 };
        if line_ends % 2 == 1 {
            return Some(Some(StreamEvent::Ping));
        }
        // The first of a pair: a pong only if the second has not come along with it
        let pair_follows = self.buffer.starts_with(b"\r\n") || self.buffer.starts_with(b"\n");
        Some((!pair_follows).then_some(StreamEvent::Pong))
    }

    /// As [`Self::between`].
    fn head(&mut self, scanned: usize) -> Option<Option<StreamEvent>> {
        let mut place = scanned;
        let end = loop {
            let Some(found) = memchr::memchr(b'\n', self.buffer.get(place..).unwrap_or_default()) else {
                place = self.buffer.len();
                break None;
            };
            match empty_line_after(&self.buffer, place + found) {
                None => {
                    // The line feed is the last byte but for a CR at most: look at it again
                    place += found;
                    break None;
                }
                Some(Some(end)) => break Some(end),
                Some(None) => place += found + 1,
            }
        };
        let Some(end) = end.filter(|end| *end <= self.limits.header_block) else {
            if end.is_none() && self.buffer.len() <= self.limits.header_block {
                self.state = State::Head { scanned: place };
                return None;
            }
            // How much more has come says nothing: the answer must not depend on how the stream was cut
            let block = self.buffer.split_to(self.limits.header_block.min(self.buffer.len())).freeze();
            let cause = Malformed::new("a shorter header block", Found::Count(block.len()));
            return Some(Some(self.lose(Rejected::new(400, "Header block too large", cause), Head::parse(block, &self.limits))));
        };
        let head = Head::parse(self.buffer.split_to(end).freeze(), &self.limits);
        if !head.looks_like_sip() {
            // What stands here is the rest of something else, such as a body longer than was said
            let rejected = head.finish(bytes::Bytes::new()).err().map(Rejected::losing_framing)?;
            return Some(Some(self.end(rejected)));
        }
        match head.content_length(&self.limits) {
            Ok(Some(length)) => {
                self.state = State::Body { head: Box::new(head), length };
                Some(None)
            }
            // RFC 3261 §18.3: on a stream it must be there
            Ok(None) => {
                let cause = Malformed::new("a Content-Length", Found::End);
                Some(Some(self.lose(Rejected::new(400, "Missing Content-Length", cause), head)))
            }
            Err(rejected) => Some(Some(self.lose(rejected, head))),
        }
    }

    fn lose(&mut self, rejected: Rejected, head: Head) -> StreamEvent {
        self.end(rejected.with_head(head).losing_framing())
    }

    fn end(&mut self, rejected: Rejected) -> StreamEvent {
        self.state = State::Dead;
        self.buffer = BytesMut::new();
        StreamEvent::Rejected(rejected)
    }
}

impl fmt::Debug for StreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Between { .. } => "between messages",
            State::Head { .. } => "in a header block",
            State::Body { .. } => "in a body",
            State::Dead => "framing lost",
        };
        write!(f, "StreamDecoder({state}, {} bytes held)", self.buffer.len())
    }
}
