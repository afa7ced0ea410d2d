//! A SIP peer over TLS with scripted answers: it stands for the hub towards a company's proxy, or for a company's
//! proxy towards the hub. Its parsing is a few lines of its own, so that it shares no mistake with the codec under test.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use memchr::memmem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::Identity;
use crate::ports::ReservedPort;

const READ_BYTES: usize = 64 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// One SIP message off the wire, request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipFrame {
    /// The first line.
    pub start: String,
    /// Header fields in order, with names as written.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl SipFrame {
    /// The first value of a header field, by its long name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| is_field(field, name)).map(|(_, value)| value.as_str())
    }

    /// The method, if this is a request.
    pub fn method(&self) -> Option<&str> {
        self.start.split(' ').next().filter(|_| self.status().is_none())
    }

    /// The status code, if this is a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The response to this request: what RFC 3261 §8.2.6.2 has copied, a tag, and these further header lines.
    fn answer(&self, Answer { status, headers }: &Answer) -> String {
        let status = *status;
        let mut answer = format!("SIP/2.0 {status} {}\r\n", if status < 300 { "OK" } else { "Refused" });
        for (field, value) in &self.headers {
            let is_to = is_field(field, "To");
            if is_to || ["Via", "From", "Call-ID", "CSeq"].iter().any(|name| is_field(field, name)) {
                let tag = if is_to && !value.contains(";tag=") { ";tag=scripted" } else { "" };
                answer.push_str(&format!("{field}: {value}{tag}\r\n"));
            }
        }
        answer.push_str(headers);
        answer.push_str("Content-Length: 0\r\n\r\n");
        answer
    }
}

/// Whether a field name as written is this one, in its long or compact form. RFC 3261 §7.3.3
fn is_field(written: &str, name: &str) -> bool {
    let compact = match name {
        "Via" => "v",
        "From" => "f",
        "To" => "t",
        "Call-ID" => "i",
        "Content-Length" => "l",
        "Content-Type" => "c",
        _ => name,
    };
    written.eq_ignore_ascii_case(name) || written.eq_ignore_ascii_case(compact)
}

/// Cuts a stream of bytes into SIP messages.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
}

impl Framer {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn take(&mut self) -> Option<SipFrame> {
        // Line ends between messages keep a connection alive. RFC 5626 §3.5.1
        let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.buffer.drain(..blank);
        let head_end = memmem::find(&self.buffer, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        let mut lines = head.split("\r\n");
        let start = lines.next().expect("splitting gives at least one part").to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(field, value)| (field.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(field, _)| is_field(field, "Content-Length"));
        let length = length.map_or(0, |(_, value)| value.parse().expect("a peer sends a numeric Content-Length"));
        let body_start = head_end + 4;
        if self.buffer.len() < body_start + length {
            return None;
        }
        let body = self.buffer[body_start..body_start + length].to_vec();
        self.buffer.drain(..body_start + length);
        Some(SipFrame { start, headers, body })
    }
}

/// What a peer answers to a request.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header lines, each with its line end.
    pub headers: String,
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self { status, headers: String::new() }
    }
}

/// A request, and who sent it.
#[derive(Clone, Debug)]
pub struct SipRequest {
    /// The message.
    pub frame: SipFrame,
    /// The verified certificate of the client, DER.
    pub client_certificate: Arc<[u8]>,
}

/// The listening side: answers every request as told.
pub struct TlsSipServer {
    port: ReservedPort,
    stopping: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl TlsSipServer {
    /// Listens with `identity`; clients must show a certificate of `trusted_authority` (PEM). `answer` gives the
    /// status code for each request, or a whole [`Answer`]; it is called from one thread per connection.
    pub fn start<A: Into<Answer>>(
        port: ReservedPort,
        identity: &Identity,
        trusted_authority: &str,
        answer: impl Fn(&SipRequest) -> A + Send + Sync + 'static,
    ) -> Self {
        let listener = port.listen();
        let configuration = server_configuration(identity, trusted_authority);
        let stopping = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let (stop, open) = (stopping.clone(), connections.clone());
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let (configuration, answer) = (configuration.clone(), answer.clone());
                open.lock().expect("no thread panics with the lock").push(socket.try_clone().expect("a socket clones"));
                thread::spawn(move || {
                    // A connection that fails is the business of whoever waits for its messages.
                    let _ = serve(socket, configuration, answer.as_ref());
                });
            }
        });
        Self { port, stopping, connections }
    }

    /// Like [`TlsSipServer::start`]; answers 200 to everything and hands on the MESSAGE requests.
    pub fn recording(port: ReservedPort, identity: &Identity, trusted_authority: &str) -> (Self, Receiver<SipRequest>) {
        let (sender, messages) = mpsc::channel();
        let server = Self::start(port, identity, trusted_authority, move |request| {
            if request.frame.method() == Some("MESSAGE") {
                // The test may have seen enough and be gone.
                let _ = sender.send(request.clone());
            }
            200
        });
        (server, messages)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

impl Drop for TlsSipServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.port.address());
        for connection in self.connections.lock().expect("no thread panics with the lock").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl fmt::Debug for TlsSipServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsSipServer").field("port", &self.port).finish_non_exhaustive()
    }
}

fn serve<A: Into<Answer>>(
    socket: TcpStream,
    configuration: Arc<ServerConfig>,
    answer: &(impl Fn(&SipRequest) -> A + Send + Sync),
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let connection = ServerConnection::new(configuration).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let mut framer = Framer::default();
    let mut chunk = vec![0; READ_BYTES];
    let mut client_certificate: Arc<[u8]> = Arc::default();
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        if client_certificate.is_empty() {
            let chain = stream.conn.peer_certificates().expect("the verifier requires a certificate");
            client_certificate = chain[0].as_ref().into();
        }
        framer.feed(&chunk[..count]);
        let mut answers = String::new();
        while let Some(frame) = framer.take() {
            if matches!(frame.method(), Some("ACK") | None) {
                continue;
            }
            let request = SipRequest { frame, client_certificate: client_certificate.clone() };
            let answer = answer(&request).into();
            answers.push_str(&request.frame.answer(&answer));
        }
        stream.write_all(answers.as_bytes())?;
    }
}

/// The dialling side.
#[derive(Debug)]
pub struct TlsSipClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    framer: Framer,
    /// Requests sent so far: each is a transaction and a call of its own.
    requests: u32,
}

impl TlsSipClient {
    /// Connects to `address`, whose certificate must be of `trusted_authority` (PEM) and for `server_name`; shows
    /// `identity`, if any. The handshake begins with the first request: a peer waits for it no longer than it likes.
    pub fn connect(address: SocketAddr, server_name: &str, identity: Option<&Identity>, trusted_authority: &str) -> Self {
        let socket = TcpStream::connect(address).expect("the peer listens");
        socket.set_nodelay(true).expect("an open socket takes options");
        socket.set_read_timeout(Some(ANSWER_WITHIN)).expect("an open socket takes options");
        let name = ServerName::try_from(server_name.to_owned()).expect("a test name is a host name");
        let configuration = Arc::new(client_configuration(identity, trusted_authority));
        let connection = ClientConnection::new(configuration, name).expect("the name suits");
        Self { stream: StreamOwned::new(connection, socket), framer: Framer::default(), requests: 0 }
    }

    /// Completes the handshake, for one who may have nothing to say for long.
    #[must_use]
    pub fn established(mut self) -> Self {
        while self.stream.conn.is_handshaking() {
            self.stream.conn.complete_io(&mut self.stream.sock).expect("the peer completes the handshake");
        }
        self
    }

    /// The certificate that the server has shown, DER; after the first answer.
    pub fn server_certificate(&self) -> Vec<u8> {
        let shown = self.stream.conn.peer_certificates().expect("the handshake is done");
        shown.first().expect("a server shows a certificate").to_vec()
    }

    /// Completes the handshake and gives up the parts, for one who reads and writes at the same time.
    pub(crate) fn into_parts(self) -> (ClientConnection, TcpStream) {
        let Self { stream, .. } = self.established();
        (stream.conn, stream.sock)
    }

    /// Sends one out-of-dialog MESSAGE and waits for its final answer's code.
    #[track_caller]
    pub fn message(&mut self, from: &str, to: &str, body: &str) -> u16 {
        let port = self.stream.sock.local_addr().expect("an open socket has an address").port();
        self.requests += 1;
        let call = format!("{port}x{}", self.requests);
        let request = format!(
            "MESSAGE {to} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:{port};branch=z9hG4bK{call}\r\nMax-Forwards: 70\r\n\
             From: <{from}>;tag=scripted\r\nTo: <{to}>\r\nCall-ID: {call}@scripted\r\nCSeq: 1 MESSAGE\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.ask(&request)
    }

    /// Sends a request as it is and waits for its final answer's code.
    #[track_caller]
    pub fn ask(&mut self, request: &str) -> u16 {
        self.ask_for_all(request).status().expect("it is a response")
    }

    /// Sends a request as it is and waits for its whole final answer.
    #[track_caller]
    pub fn ask_for_all(&mut self, request: &str) -> SipFrame {
        self.stream.write_all(request.as_bytes()).expect("the peer takes the request");
        loop {
            let answer = self.receive();
            if answer.status().expect("the peer only answers") >= 200 {
                return answer;
            }
        }
    }

    /// Waits until the peer closes; panics when it says more, or does not close in time.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        match self.stream.read(&mut [0; 1024]) {
            Ok(0) => {}
            Ok(count) => panic!("the peer says {count} bytes more instead of closing"),
            Err(error) => {
                let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                assert!(!is_late, "the peer does not close within {ANSWER_WITHIN:?}");
            }
        }
    }

    #[track_caller]
    fn receive(&mut self) -> SipFrame {
        let mut chunk = vec![0; READ_BYTES];
        loop {
            if let Some(frame) = self.framer.take() {
                return frame;
            }
            let count = self.stream.read(&mut chunk).expect("the peer answers in time");
            assert!(count > 0, "the peer closed instead of answering");
            self.framer.feed(&chunk[..count]);
        }
    }
}

fn roots(authority: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("the authority is PEM");
    roots.add(authority).expect("the authority is a certificate");
    Arc::new(roots)
}

fn chain_and_key(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate is PEM");
    let key = PrivateKeyDer::from_pem_slice(identity.private_key.as_bytes()).expect("a key is PEM");
    (vec![certificate], key)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn server_configuration(identity: &Identity, trusted_authority: &str) -> Arc<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(trusted_authority), provider());
    let verifier = verifier.build().expect("there is an authority");
    let (chain, key) = chain_and_key(identity);
    let configuration = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .expect("the key belongs to the certificate");
    Arc::new(configuration)
}

/// Shows `identity`, and wants no certificate of whoever connects.
pub(crate) fn server_configuration_for_anybody(identity: &Identity) -> Arc<ServerConfig> {
    let (chain, key) = chain_and_key(identity);
    let configuration = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key belongs to the certificate");
    Arc::new(configuration)
}

pub(crate) fn client_configuration(identity: Option<&Identity>, trusted_authority: &str) -> ClientConfig {
    let configuration = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions")
        .with_root_certificates(roots(trusted_authority));
    match identity.map(chain_and_key) {
        Some((chain, key)) => configuration.with_client_auth_cert(chain, key).expect("the key belongs to the certificate"),
        None => configuration.with_no_client_auth(),
    }
}

impl Identity {
    /// The certificate as it appears in [`SipRequest::client_certificate`].
    pub fn certificate_der(&self) -> Arc<[u8]> {
        chain_and_key(self).0[0].as_ref().into()
    }
}
