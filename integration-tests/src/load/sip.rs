//! Load over SIP and TLS, in the place of a company's proxy.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::ClientConnection;

use super::stamp::{Scanner, Template, body, number_place, render_in_turn, time_place};
use super::{LoadSender, Tally};
use crate::certificates::Identity;
use crate::ports::ReservedPort;
use crate::tls_sip_peer::{Framer, TlsSipClient, TlsSipServer};

const READ_BYTES: usize = 64 * 1024;

/// A proxy that takes every MESSAGE with 200 and counts the load messages among them.
#[derive(Debug)]
pub struct SipReceiver {
    server: TlsSipServer,
}

impl SipReceiver {
    /// Listens with `identity`; who connects must show a certificate of `trusted_authority` (PEM).
    pub fn start(port: ReservedPort, identity: &Identity, trusted_authority: &str, tally: &Tally) -> Self {
        let tally = tally.clone();
        let server = TlsSipServer::start(port, identity, trusted_authority, move |request| {
            tally.record(&Scanner::default().feed(&request.frame.body));
            200
        });
        Self { server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

/// A proxy that sends load messages over one connection.
pub struct SipSender {
    connection: Arc<Mutex<ClientConnection>>,
    socket: TcpStream,
    /// One for each conversation; messages take them in turn.
    templates: Vec<Template>,
    buffer: Vec<u8>,
    answers: Arc<Mutex<BTreeMap<u16, u64>>>,
}

impl SipSender {
    /// Sends on `client` from one SIP URI to another, with bodies of this many bytes.
    pub fn new(client: TlsSipClient, from: &str, to: &str, body_bytes: usize) -> Self {
        Self::to_many(client, from, &[to.to_owned()], body_bytes)
    }

    /// As [`SipSender::new`], to each of these in turn: as many conversations.
    pub fn to_many(client: TlsSipClient, from: &str, to: &[String], body_bytes: usize) -> Self {
        let (connection, socket) = client.into_parts();
        let local = socket.local_addr().expect("an open socket has an address");
        let templates = to.iter().map(|to| Template::new(request(local, from, to, body_bytes))).collect();
        let connection = Arc::new(Mutex::new(connection));
        let answers = Arc::new(Mutex::new(BTreeMap::new()));
        let reader = socket.try_clone().expect("a socket clones");
        reader.set_read_timeout(None).expect("an open socket takes options");
        let (reading, counting) = (connection.clone(), answers.clone());
        thread::spawn(move || count_answers(reader, &reading, &counting));
        Self { connection, socket, templates, buffer: Vec::new(), answers }
    }

    /// Final answers by status code.
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        self.answers.lock().expect("no thread panics with the lock").clone()
    }
}

/// A MESSAGE with places for the stamp, each a transaction of its own.
fn request(local: SocketAddr, from: &str, to: &str, body_bytes: usize) -> String {
    let (number, time) = (number_place(), time_place());
    let body = body(body_bytes);
    format!(
        "MESSAGE {to} SIP/2.0\r\nVia: SIP/2.0/TLS {local};branch=z9hG4bKload{number}-{time}\r\nMax-Forwards: 70\r\n\
         From: <{from}>;tag=load{number}\r\nTo: <{to}>\r\nCall-ID: {number}-{time}@{local}\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn count_answers(mut socket: TcpStream, connection: &Mutex<ClientConnection>, answers: &Mutex<BTreeMap<u16, u64>>) {
    let mut framer = Framer::default();
    let mut chunk = vec![0; READ_BYTES];
    let mut plain = vec![0; READ_BYTES];
    while let Ok(bytes @ 1..) = socket.read(&mut chunk) {
        let mut sealed = &chunk[..bytes];
        while !sealed.is_empty() {
            let mut connection = connection.lock().expect("no thread panics with the lock");
            let received = connection.read_tls(&mut sealed).is_ok() && connection.process_new_packets().is_ok();
            assert!(received, "the peer breaks TLS");
            while let Ok(count @ 1..) = connection.reader().read(&mut plain) {
                framer.feed(&plain[..count]);
            }
        }
        let mut answers = answers.lock().expect("no thread panics with the lock");
        while let Some(frame) = framer.take() {
            if let Some(status @ 200..) = frame.status() {
                *answers.entry(status).or_default() += 1;
            }
        }
    }
}

impl LoadSender for SipSender {
    fn send(&mut self, first: u64, count: u64) {
        self.buffer.clear();
        render_in_turn(&mut self.templates, first, count, &mut self.buffer);
        let mut sealed = Vec::new();
        {
            let mut connection = self.connection.lock().expect("no thread panics with the lock");
            connection.set_buffer_limit(None);
            connection.writer().write_all(&self.buffer).expect("the buffer has no limit");
            while connection.wants_write() {
                connection.write_tls(&mut sealed).expect("a vector takes all");
            }
        }
        self.socket.write_all(&sealed).expect("the peer takes what is sent");
    }

    fn refused(&self) -> u64 {
        self.answers().range(300..).map(|(_, count)| count).sum()
    }
}

impl Drop for SipSender {
    fn drop(&mut self) {
        // Ends the reading thread; the peer may have closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
