//! TLS that is read and written by two threads at once, and the connections of a peer that ends.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::certificates::Identity;
use crate::ports::ReservedPort;

const READ_BYTES: usize = 64 * 1024;

/// The pause before a peer dials again. It never grows, so that a recovery time measured at a peer is the hub's.
pub(super) const DIAL_PAUSE: Duration = Duration::from_millis(200);
/// How long each step of opening a connection may take, and a write without any progress.
pub(super) const OPENING: Duration = Duration::from_secs(10);

/// Locks also after a panic of another thread: a listener that asserts must not take the whole peer with it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a peer shows of itself, and whom it believes.
pub(super) struct Credentials {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Credentials {
    /// Shows `identity` in both roles, and believes certificates of `authority` (PEM) only. Who dials must show one.
    pub(super) fn new(identity: &Identity, authority: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("the authority is PEM");
        roots.add(authority).expect("the authority is a certificate");
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate is PEM");
        let key = PrivateKeyDer::from_pem_slice(identity.private_key.as_bytes()).expect("a key is PEM");
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions")
            .with_client_cert_verifier(verifier.build().expect("there is an authority"))
            .with_single_cert(vec![certificate.clone()], key.clone_key())
            .expect("the key belongs to the certificate");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .expect("the key belongs to the certificate");
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    /// Completes the handshake of a connection that was dialled.
    pub(super) fn dialled(&self, socket: TcpStream, server_name: &str) -> io::Result<Tls> {
        let name = ServerName::try_from(server_name.to_owned()).expect("a test name is a host name");
        let connection = ClientConnection::new(self.client.clone(), name).map_err(io::Error::other)?;
        Tls::new(connection.into(), socket)
    }

    /// Completes the handshake of a connection that was accepted.
    pub(super) fn accepted(&self, socket: TcpStream) -> io::Result<Tls> {
        let connection = ServerConnection::new(self.server.clone()).map_err(io::Error::other)?;
        Tls::new(connection.into(), socket)
    }
}

/// One TLS connection: any number of writers, and one reader that does not stop them.
pub(super) struct Tls {
    connection: Mutex<Connection>,
    /// Held from sealing to writing, so that records leave in the order of their numbers.
    writing: Mutex<()>,
    socket: TcpStream,
}

impl Tls {
    fn new(mut connection: Connection, mut socket: TcpStream) -> io::Result<Self> {
        connection.set_buffer_limit(None);
        socket.set_write_timeout(Some(OPENING))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        // What the end of the handshake left to send: tickets of the server.
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
        Ok(Self { connection: Mutex::new(connection), writing: Mutex::new(()), socket })
    }

    /// How long a read may wait; `None`: for ever.
    pub(super) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(patience)
    }

    /// Appends what comes next and says how much; nothing means that the connection has ended.
    pub(super) fn read(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        let mut chunk = [0; READ_BYTES];
        loop {
            let mut connection = lock(&self.connection);
            let ended = loop {
                match connection.reader().read(&mut chunk) {
                    Ok(0) => break true,
                    Ok(count) => into.extend_from_slice(&chunk[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                    Err(error) => return Err(error),
                }
            };
            if ended || into.len() > before {
                return Ok(into.len() - before);
            }
            drop(connection);
            let count = (&self.socket).read(&mut chunk)?;
            let mut sealed = &chunk[..count];
            let mut connection = lock(&self.connection);
            if sealed.is_empty() {
                // Tells the connection of the end, for which `reader` then has the right name.
                connection.read_tls(&mut sealed)?;
            }
            while !sealed.is_empty() {
                connection.read_tls(&mut sealed)?;
                connection.process_new_packets().map_err(io::Error::other)?;
            }
        }
    }

    /// Writes all of it.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let _order = lock(&self.writing);
        let mut sealed = Vec::with_capacity(bytes.len() + 64);
        {
            let mut connection = lock(&self.connection);
            connection.writer().write_all(bytes)?;
            while connection.wants_write() {
                connection.write_tls(&mut sealed)?;
            }
        }
        (&self.socket).write_all(&sealed)
    }

    /// Ends it, and with it whoever reads or writes.
    pub(super) fn shut(&self) {
        // It may have ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// The port that a peer listens on, and the thread that accepts there.
#[derive(Debug)]
pub(super) struct Acceptor {
    port: ReservedPort,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Listens, and gives each connection to `serve` on a thread of its own, until the peer with these sockets has ended.
    pub(super) fn start(
        port: ReservedPort,
        sockets: Arc<Sockets>,
        serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = port.listen();
        let serve = Arc::new(serve);
        let thread = thread::spawn(move || {
            for socket in listener.incoming() {
                if sockets.ended() {
                    return;
                }
                // A connection that was reset while it waited is no reason to stop.
                let Ok(socket) = socket else { continue };
                let (sockets, serve) = (sockets.clone(), serve.clone());
                thread::spawn(move || {
                    let Some(_entered) = sockets.enter(&socket) else { return };
                    // A connection that fails is the hub's business, which opens another.
                    let _ = serve(socket);
                });
            }
        });
        Self { port, thread: Some(thread) }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Closes the port. Its sockets must have ended before.
    pub(super) fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Wakes the accepting thread, whose end closes the port.
            let _ = TcpStream::connect(self.port.address());
            // It does not panic; if it did, the port is closed as well.
            let _ = thread.join();
        }
    }

    /// Gives back the port of one that has ended.
    pub(super) fn into_port(self) -> ReservedPort {
        self.port
    }
}

/// The open sockets of a peer, to be ended with it.
#[derive(Default)]
pub(super) struct Sockets {
    ended: AtomicBool,
    open: Mutex<(u64, HashMap<u64, TcpStream>)>,
}

impl Sockets {
    /// Enters a socket for as long as the returned value lives; `None` once the peer has ended.
    pub(super) fn enter(self: &Arc<Self>, socket: &TcpStream) -> Option<Entered> {
        let clone = socket.try_clone().ok()?;
        let mut open = lock(&self.open);
        if self.ended() {
            return None;
        }
        open.0 += 1;
        let number = open.0;
        open.1.insert(number, clone);
        Some(Entered { sockets: self.clone(), number })
    }

    /// Whether the peer has ended.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The peer ends: every connection does, and no new one begins.
    pub(super) fn end(&self) {
        let mut open = lock(&self.open);
        self.ended.store(true, Ordering::Release);
        for (_, socket) in open.1.drain() {
            // The other side may have closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// The entry of one socket in [`Sockets`].
pub(super) struct Entered {
    sockets: Arc<Sockets>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(socket) = lock(&self.sockets.open).1.remove(&self.number) {
            // Ends it for the other side too, whoever still holds a clone.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
