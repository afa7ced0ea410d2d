//! Frames on a stream: a length of four bytes and as many bytes, and between them single bytes with the top bit set.

use bytes::{Buf, Bytes, BytesMut};

/// What stands next on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One or more bytes with the top bit set between frames: a keep-alive (`80`), or anything else that is to be skipped.
    KeepAlive,
    /// The bytes of a frame, without its length; never none.
    Message(Bytes),
}

/// Why a stream cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It begins with a letter, or with a TLS record: somebody speaks another protocol.
    #[error("not the Virtual Places protocol")]
    OtherProtocol,
    /// A frame larger than the limit.
    #[error("a frame of {0} bytes is too large")]
    TooLarge(u32),
}

/// Takes frames off a stream. Never holds more than one frame of the limit and what was pushed last.
#[derive(Debug, Default)]
pub struct Stream {
    buffer: BytesMut,
    /// Something was read already.
    begun: bool,
}

impl Stream {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, of at most `most` bytes; `None`: there is no whole one yet.
    ///
    /// # Errors
    /// [`FrameError`]; nothing more can be read then.
    pub fn next(&mut self, most: usize) -> Result<Option<Frame>, FrameError> {
        loop {
            let series = self.buffer.iter().take_while(|byte| **byte & 0x80 != 0).count();
            if series > 0 {
                self.begun = true;
                self.buffer.advance(series);
                return Ok(Some(Frame::KeepAlive));
            }
            // TLS begins with 16, HTTP with a letter; a length of our limit begins with 00.
            if !self.begun && self.buffer.first().is_some_and(|first| *first != 0) {
                return Err(FrameError::OtherProtocol);
            }
            let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
            let claimed = u32::from_be_bytes(*head);
            let length = usize::try_from(claimed).unwrap_or(usize::MAX);
            if length > most {
                return Err(FrameError::TooLarge(claimed));
            }
            if self.buffer.len() < 4 + length {
                return Ok(None);
            }
            self.begun = true;
            self.buffer.advance(4);
            if length > 0 {
                return Ok(Some(Frame::Message(self.buffer.split_to(length).freeze())));
            }
        }
    }

    /// Whether a frame has begun and is not whole.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &mut Stream) -> Vec<Frame> {
        std::iter::from_fn(|| stream.next(16).unwrap()).collect()
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let bytes = [0x80, 0x81, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0x80, 0, 0, 0, 1, 9, 0, 0];
        let whole = [
            Frame::KeepAlive,
            Frame::Message(Bytes::from_static(&[7, 8])),
            Frame::KeepAlive,
            Frame::Message(Bytes::from_static(&[9])),
        ];
        for cut in 0..bytes.len() {
            let mut stream = Stream::default();
            stream.push(&bytes[..cut]);
            let mut frames = read(&mut stream);
            stream.push(&bytes[cut..]);
            frames.extend(read(&mut stream));
            // A run of keep-alives that is cut in two is two.
            frames.dedup_by(|one, other| *one == Frame::KeepAlive && one == other);
            assert_eq!(frames, whole, "{cut}");
            assert!(stream.is_partial());
        }
    }

    #[test]
    fn abuse_21_a_length_is_refused_before_its_bytes_come() {
        let mut stream = Stream::default();
        stream.push(&[0, 0, 0, 17]);
        assert_eq!(stream.next(16), Err(FrameError::TooLarge(17)));
    }

    #[test]
    fn other_protocols_are_told_by_their_first_byte() {
        for first in [&b"GET / HTTP/1.1\r\n"[..], &[0x16, 3, 1, 2, 0]] {
            let mut stream = Stream::default();
            stream.push(first);
            assert_eq!(stream.next(16), Err(FrameError::OtherProtocol));
        }
    }
}
