//! What one peer may send.

/// Limits of one connection. Whatever goes beyond them ends it: framing would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a start line with its headers.
    pub head: usize,
    /// Headers of one message.
    pub headers: usize,
    /// Bytes of the body of one chunk. A peer may send a message of any size as one chunk (RFC 4975 §5.1), so this is the
    /// size of the largest message that is taken.
    pub body: usize,
}

impl Default for Limits {
    /// 8 KiB of headers, 64 of them, 1 MiB of body.
    fn default() -> Self {
        Self { head: 8 * 1024, headers: 64, body: 1024 * 1024 }
    }
}
