//! Load over XMPP: raw client streams in plain TCP, which cost little beside the servers they drive.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use memchr::memmem;

use super::stamp::{Scanner, Template, body, number_place, render_in_turn};
use super::{LoadSender, Tally};
use crate::xmpp_server::XmppServer;
use crate::xmpp_stream::ClientStream;

const READ_BYTES: usize = 64 * 1024;
/// Each error stanza holds it once; in a body it would be escaped.
const ERROR: &[u8] = b"<error";

/// A client that writes load messages.
#[derive(Debug)]
pub struct XmppSender {
    socket: TcpStream,
    /// One for each conversation; messages take them in turn.
    templates: Vec<Template>,
    buffer: Vec<u8>,
    errors: Arc<AtomicU64>,
}

impl XmppSender {
    /// Logs `user` in; messages will go to `to` with bodies of this many bytes.
    pub fn login(server: &XmppServer, user: &str, to: &str, body_bytes: usize) -> Self {
        Self::login_to_many(server, user, &[to.to_owned()], body_bytes)
    }

    /// As [`XmppSender::login`], to each of these in turn: as many conversations.
    pub fn login_to_many(server: &XmppServer, user: &str, to: &[String], body_bytes: usize) -> Self {
        let stream = ClientStream::login(server, user);
        let stanza = |to: &String| {
            format!("<message to='{to}' type='chat' id='load{}'><body>{}</body></message>", number_place(), body(body_bytes))
        };
        let templates = to.iter().map(|to| Template::new(stanza(to))).collect();
        let errors = Arc::new(AtomicU64::new(0));
        let (mut socket, count) = (stream.socket.try_clone().expect("a socket clones"), errors.clone());
        thread::spawn(move || {
            let mut chunk = vec![0; READ_BYTES];
            let mut unread = Vec::new();
            while let Ok(bytes @ 1..) = socket.read(&mut chunk) {
                count.fetch_add(count_errors(&mut unread, &chunk[..bytes]), Ordering::Relaxed);
            }
        });
        Self { socket: stream.socket, templates, buffer: Vec::new(), errors }
    }
}

impl LoadSender for XmppSender {
    fn send(&mut self, first: u64, count: u64) {
        self.buffer.clear();
        render_in_turn(&mut self.templates, first, count, &mut self.buffer);
        self.socket.write_all(&self.buffer).expect("the server takes what a client writes");
    }

    fn refused(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

/// How many error stanzas are complete with these bytes; `unread` keeps what may be the beginning of one.
fn count_errors(unread: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    unread.extend_from_slice(bytes);
    let found = memmem::find_iter(unread, ERROR).count();
    let keep = unread.len().min(ERROR.len() - 1);
    unread.drain(..unread.len() - keep);
    found as u64
}

impl Drop for XmppSender {
    fn drop(&mut self) {
        // Ends the reading thread; the server may have closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A client that counts load messages.
#[derive(Debug)]
pub struct XmppReceiver {
    socket: TcpStream,
}

impl XmppReceiver {
    /// Logs `user` in and enters what arrives into `tally`.
    pub fn login(server: &XmppServer, user: &str, tally: &Tally) -> Self {
        let stream = ClientStream::login(server, user);
        let (mut socket, tally) = (stream.socket.try_clone().expect("a socket clones"), tally.clone());
        thread::spawn(move || {
            let mut scanner = Scanner::default();
            let mut chunk = vec![0; READ_BYTES];
            while let Ok(bytes @ 1..) = socket.read(&mut chunk) {
                tally.record(&scanner.feed(&chunk[..bytes]));
            }
        });
        Self { socket: stream.socket }
    }
}

impl Drop for XmppReceiver {
    fn drop(&mut self) {
        // Ends the reading thread; the server may have closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::count_errors;

    #[test]
    fn errors_are_counted_in_a_stream_cut_anywhere() {
        let stream = b"<message type='error'><error type='cancel'/></message><message type='error'><error/></message>";
        for size in 1..=stream.len() {
            let mut unread = Vec::new();
            let found: u64 = stream.chunks(size).map(|chunk| count_errors(&mut unread, chunk)).sum();
            assert_eq!(found, 2, "in chunks of {size}");
        }
    }
}
