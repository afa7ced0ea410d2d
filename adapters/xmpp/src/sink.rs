//! Where outputs go: bytes for one connection, written one after another, leave as one `Send`.

use bytes::BytesMut;
use interchange_adapter::{About, CloseReason, ConnId, Output};
use interchange_model::Up;

/// The outputs of one call of `handle`. [`Sink::flush`] must come last.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    out: &'a mut Vec<Output>,
    buffer: &'a mut BytesMut,
    conn: Option<ConnId>,
}

impl<'a> Sink<'a> {
    /// A sink that pushes onto `out`; `buffer` is kept from call to call, so that its memory is used again.
    pub(crate) fn new(out: &'a mut Vec<Output>, buffer: &'a mut BytesMut) -> Self {
        buffer.clear();
        Self { out, buffer, conn: None }
    }

    /// Where to append bytes for a connection.
    pub(crate) fn write(&mut self, conn: ConnId) -> &mut BytesMut {
        if self.conn != Some(conn) {
            self.flush();
            self.conn = Some(conn);
        }
        self.buffer
    }

    /// Says something to the broker. Words to the broker and bytes to peers need no order between them.
    pub(crate) fn broker(&mut self, up: Up) {
        self.out.push(Output::Broker(up));
    }

    /// Tells the operator one sentence about a connection; remote words in it are escaped by who gives them.
    pub(crate) fn note(&mut self, conn: ConnId, text: &str) {
        self.note_about(conn, None, text);
    }

    /// The same, with what it means for a link, if anything.
    pub(crate) fn note_about(&mut self, conn: ConnId, about: Option<About>, text: &str) {
        let text = text.chars().take(300).collect();
        self.out.push(Output::Note { conn, about, text });
    }

    /// Closes a connection, after what was written to it.
    pub(crate) fn close(&mut self, conn: ConnId, why: CloseReason) {
        self.push(Output::Close { conn, why });
    }

    /// Any other output, after what was written.
    pub(crate) fn push(&mut self, output: Output) {
        self.flush();
        self.out.push(output);
    }

    /// Pushes what was written.
    pub(crate) fn flush(&mut self) {
        if let Some(conn) = self.conn.take()
            && !self.buffer.is_empty()
        {
            self.out.push(Output::Send { conn, bytes: self.buffer.split().freeze() });
        }
    }
}
