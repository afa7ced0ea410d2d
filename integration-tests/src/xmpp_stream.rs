//! A raw XMPP client stream in plain TCP, which costs little beside the server it drives.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use crate::xmpp_server::{PASSWORD, XmppServer};

const READ_BYTES: usize = 64 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A bound stream of a client that is available, whose resource is `load`.
#[derive(Debug)]
pub struct ClientStream {
    /// Everything after the login, both ways.
    pub socket: TcpStream,
}

impl ClientStream {
    /// Logs `user` in.
    pub fn login(server: &XmppServer, user: &str) -> Self {
        let socket = TcpStream::connect(server.client_address()).expect("the server listens");
        socket.set_nodelay(true).expect("an open socket takes options");
        socket.set_read_timeout(Some(ANSWER_WITHIN)).expect("an open socket takes options");
        let mut stream = Self { socket };
        let header = format!(
            "<stream:stream to='{}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
            server.domain()
        );
        let credentials = STANDARD.encode(format!("\0{user}\0{PASSWORD}"));
        stream.ask(&header, "</stream:features>");
        stream.ask(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{credentials}</auth>"), "<success");
        stream.ask(&header, "</stream:features>");
        stream.ask(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>load</resource></bind></iq>",
            "</iq>",
        );
        stream.ask("<presence/>", "<presence");
        stream.socket.set_read_timeout(None).expect("an open socket takes options");
        stream
    }

    /// Writes something and reads up to the answer. Nothing else arrives at this point of a stream.
    fn ask(&mut self, text: &str, answer: &str) {
        self.socket.write_all(text.as_bytes()).expect("the server takes what a client writes");
        let mut received = Vec::new();
        let mut chunk = vec![0; READ_BYTES];
        while memmem::find(&received, answer.as_bytes()).is_none() {
            let count = self.socket.read(&mut chunk).expect("the server answers in time");
            let seen = String::from_utf8_lossy(&received);
            assert!(count > 0, "the server closed before {answer}: {seen}");
            assert!(!seen.contains("<failure"), "the server refused: {seen}");
            received.extend_from_slice(&chunk[..count]);
        }
    }
}
