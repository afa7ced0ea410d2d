//! How much of a peer's bytes is held before it must have said something complete.

/// Bounds on one message, counted while reading. All are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the start line without its line end. More is answered 414.
    pub start_line: usize,
    /// Bytes from the start line to the empty line, both included. More loses a stream's framing.
    pub header_block: usize,
    /// Header lines, folded ones counted once.
    pub headers: usize,
    /// Via values, by comma or by line.
    pub vias: usize,
    /// Bytes of a body. A larger Content-Length on a stream is refused (413) before anything is allocated for it.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { start_line: 4 * 1024, header_block: 32 * 1024, headers: 100, vias: 70, body: 256 * 1024 }
    }
}
