//! Connections of the servers: a reading and a writing thread each, over TCP or TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::message::{Framer, Message};

const READ_BYTES: usize = 64 * 1024;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) u64);

/// What happens on connections.
#[derive(Debug)]
pub(super) enum Event {
    /// A connection stands; for TLS with the certificate of the other, DER.
    Opened { id: ConnectionId, handle: Handle, certificate: Option<Vec<u8>> },
    /// A message came.
    Message { id: ConnectionId, message: Message },
    /// It is gone; `why` is a fault of the other's, if it was one.
    Closed { id: ConnectionId, why: Option<String> },
}

/// Takes events, from any thread.
pub(super) type Listener = Arc<dyn Fn(Event) + Send + Sync>;

/// The sending end.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    bytes: Sender<Vec<u8>>,
    socket: Arc<TcpStream>,
}

impl Handle {
    /// Sends; a connection that is gone takes it and loses it.
    pub(super) fn send(&self, message: &Message) {
        let _ = self.bytes.send(message.bytes());
    }

    /// Cuts the connection.
    pub(super) fn close(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// How a connection is protected.
pub(super) enum Security {
    None,
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>, ServerName<'static>),
}

/// Accepts on `listener` until `stopping` is set and somebody connects.
pub(super) fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    stopping: Arc<AtomicBool>,
    next: impl Fn() -> ConnectionId + Send + 'static,
    events: Listener,
) {
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            if stopping.load(Ordering::Acquire) {
                break;
            }
            let security = tls.clone().map_or(Security::None, Security::Server);
            let (id, events) = (next(), events.clone());
            thread::spawn(move || run(id, socket, security, &events));
        }
    });
}

/// Connects to `address`.
pub(super) fn dial(address: SocketAddr, security: Security, id: ConnectionId, events: Listener) {
    thread::spawn(move || match TcpStream::connect_timeout(&address, HANDSHAKE_WITHIN) {
        Ok(socket) => run(id, socket, security, &events),
        Err(_) => events(Event::Closed { id, why: None }),
    });
}

fn run(id: ConnectionId, socket: TcpStream, security: Security, events: &Listener) {
    let why = match converse(id, socket, security, events) {
        Ok(()) => None,
        Err(fault) => match fault.kind() {
            // Ends of connections without ceremony are usual.
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof | ErrorKind::ConnectionAborted => None,
            _ => Some(fault.to_string()),
        },
    };
    events(Event::Closed { id, why });
}

fn converse(id: ConnectionId, mut socket: TcpStream, security: Security, events: &Listener) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(HANDSHAKE_WITHIN))?;
    let tls: Option<Connection> = match security {
        Security::None => None,
        Security::Server(configuration) => Some(ServerConnection::new(configuration).map_err(io::Error::other)?.into()),
        Security::Client(configuration, name) => {
            Some(ClientConnection::new(configuration, name).map_err(io::Error::other)?.into())
        }
    };
    let tls = match tls {
        Some(mut tls) => {
            while tls.is_handshaking() {
                tls.complete_io(&mut socket)?;
            }
            // A server of TLS 1.3 has tickets to send.
            while tls.wants_write() {
                tls.write_tls(&mut socket)?;
            }
            Some(tls)
        }
        None => None,
    };
    socket.set_read_timeout(None)?;
    let certificate =
        tls.as_ref().and_then(|tls| tls.peer_certificates()).and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    let tls = tls.map(|tls| Arc::new(Mutex::new(tls)));
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let handle = Handle { bytes: sender, socket: Arc::new(socket.try_clone()?) };
    let (mut output, writing) = (socket.try_clone()?, tls.clone());
    thread::spawn(move || {
        for bytes in receiver {
            let written = match &writing {
                None => output.write_all(&bytes),
                Some(tls) => write(&mut tls.lock().unwrap_or_else(PoisonError::into_inner), &mut output, &bytes),
            };
            if written.is_err() {
                break;
            }
        }
        let _ = output.shutdown(Shutdown::Both);
    });
    events(Event::Opened { id, handle, certificate });
    read(id, &mut socket, tls.as_deref(), events)
}

fn write(tls: &mut Connection, output: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let taken = tls.writer().write(bytes)?;
        bytes = &bytes[taken..];
        while tls.wants_write() {
            tls.write_tls(output)?;
        }
    }
    Ok(())
}

fn read(id: ConnectionId, socket: &mut TcpStream, tls: Option<&Mutex<Connection>>, events: &Listener) -> io::Result<()> {
    let mut framer = Framer::default();
    let mut chunk = vec![0; READ_BYTES];
    // What came with the end of the handshake is in there already.
    let mut fresh = true;
    loop {
        if let Some(tls) = tls {
            let plain = if fresh { Vec::new() } else { socket_bytes(socket, &mut chunk)? };
            if !fresh && plain.is_empty() {
                return Ok(());
            }
            fresh = false;
            let mut ended = false;
            {
                let mut tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
                let mut rest = plain.as_slice();
                loop {
                    if !rest.is_empty() {
                        tls.read_tls(&mut rest)?;
                    }
                    let state = tls.process_new_packets().map_err(io::Error::other)?;
                    let mut decrypted = vec![0; state.plaintext_bytes_to_read()];
                    tls.reader().read_exact(&mut decrypted)?;
                    framer.feed(&decrypted);
                    ended |= state.peer_has_closed();
                    if rest.is_empty() {
                        break;
                    }
                }
                while tls.wants_write() {
                    tls.write_tls(socket)?;
                }
            }
            hand_on(id, &mut framer, events)?;
            if ended {
                return Ok(());
            }
        } else {
            let bytes = socket_bytes(socket, &mut chunk)?;
            if bytes.is_empty() {
                return Ok(());
            }
            framer.feed(&bytes);
            hand_on(id, &mut framer, events)?;
        }
    }
}

fn socket_bytes(socket: &mut TcpStream, chunk: &mut [u8]) -> io::Result<Vec<u8>> {
    let count = socket.read(chunk)?;
    Ok(chunk[..count].to_vec())
}

fn hand_on(id: ConnectionId, framer: &mut Framer, events: &Listener) -> io::Result<()> {
    while let Some(message) = framer.take().map_err(io::Error::other)? {
        events(Event::Message { id, message });
    }
    Ok(())
}
