//! A scripted XMPP server in the role that it has towards other servers. It shares no code with the adapter under test.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use self::outgoing::Outgoing;
use self::xml::{Element, Frame, Reader, escape};
use super::peer::{Listener, Peer, PeerEvent};
use super::wire::{Acceptor, Credentials, Sockets, Tls, lock};
use crate::certificates::Identity;
use crate::ports::ReservedPort;

mod incoming;
mod outgoing;
mod xml;

/// How to start an XMPP peer.
pub struct XmppPeerSettings<'a> {
    /// Its domain.
    pub domain: String,
    /// Domains to which it opens a stream at once. To others it does so when it has something to write to them.
    pub remote_domains: Vec<String>,
    /// Where it listens for the hub.
    pub port: ReservedPort,
    /// Where it dials for every remote domain: the hub, or a proxy before it.
    pub hub: SocketAddr,
    /// What it shows in both directions.
    pub identity: &'a Identity,
    /// Whom it believes: the certificate of an authority, PEM.
    pub authority: &'a str,
    /// A server that chokes: a message whose body contains this is answered by the end of the stream.
    pub poison: Option<String>,
}

/// A running XMPP peer. Dropping it ends its connections without a word.
pub struct XmppPeer {
    shared: Arc<Shared>,
    /// There until it is stopped.
    acceptor: Option<Acceptor>,
}

struct Shared {
    domain: String,
    hub: SocketAddr,
    credentials: Credentials,
    poison: Option<String>,
    listener: Listener,
    sockets: Arc<Sockets>,
    /// By remote domain.
    outgoing: Mutex<HashMap<String, Arc<Outgoing>>>,
}

impl XmppPeer {
    /// Listens and dials; `listener` is told what happens.
    pub fn start(settings: XmppPeerSettings<'_>, listener: Listener) -> Self {
        let shared = Arc::new(Shared {
            domain: settings.domain,
            hub: settings.hub,
            credentials: Credentials::new(settings.identity, settings.authority),
            poison: settings.poison,
            listener,
            sockets: Arc::default(),
            outgoing: Mutex::default(),
        });
        let serving = shared.clone();
        let serve = move |socket| incoming::serve(&serving, socket);
        let acceptor = Acceptor::start(settings.port, shared.sockets.clone(), serve);
        for remote in &settings.remote_domains {
            shared.outgoing(remote);
        }
        Self { shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.acceptor.as_ref().expect("the acceptor is taken out only at the end").address()
    }

    /// Ends it, as a crash does, and gives back its port for another.
    pub fn stop(mut self) -> ReservedPort {
        self.end();
        self.acceptor.take().expect("the acceptor is taken out only here").into_port()
    }

    fn end(&mut self) {
        self.shared.sockets.end();
        let outgoing: Vec<_> = lock(&self.shared.outgoing).values().cloned().collect();
        outgoing.iter().for_each(|outgoing| outgoing.wake());
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.end();
        }
    }
}

impl Peer for XmppPeer {
    fn send(&self, id: &str, from: &str, to: &str, body: &str) {
        let [from, to, name, words] = [from, to, id, body].map(escape);
        let stanza = format!("<message from='{from}' to='{to}' type='chat' id='{name}'><body>{words}</body></message>");
        self.shared.outgoing(domain_of(&to)).push(Some(id), stanza);
    }

    fn unanswered(&self) -> usize {
        lock(&self.shared.outgoing).values().map(|outgoing| outgoing.unanswered()).sum()
    }

    fn forget_unanswered(&self) {
        lock(&self.shared.outgoing).values().for_each(|outgoing| outgoing.forget());
    }
}

impl Drop for XmppPeer {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for XmppPeer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("XmppPeer")
            .field("domain", &self.shared.domain)
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn tell(&self, event: PeerEvent) {
        if !self.sockets.ended() {
            (self.listener)(event);
        }
    }

    /// The stream to this domain, which is opened if it was not.
    fn outgoing(self: &Arc<Self>, remote: &str) -> Arc<Outgoing> {
        let mut all = lock(&self.outgoing);
        if let Some(outgoing) = all.get(remote) {
            return outgoing.clone();
        }
        let outgoing = Arc::new(Outgoing::new(remote));
        all.insert(remote.to_owned(), outgoing.clone());
        let (shared, keeping) = (self.clone(), outgoing.clone());
        thread::spawn(move || keeping.keep(&shared));
        outgoing
    }
}

/// The opening tag of a stream from this domain; `id` is for the answering side.
fn header(domain: &str, remote: &str, id: Option<&str>) -> String {
    let [domain, remote] = [domain, remote].map(escape);
    let id = id.map_or(String::new(), |id| format!(" id='{}'", escape(id)));
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         from='{domain}' to='{remote}'{id} version='1.0'>"
    )
}

/// Why a stream is given up.
fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

/// The bare address of a full one.
fn bare(address: &str) -> &str {
    address.split('/').next().unwrap_or(address)
}

fn domain_of(address: &str) -> &str {
    let bare = bare(address);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

impl Element {
    /// An error unless it has this name.
    fn is(&self, name: &str) -> io::Result<()> {
        if self.name() == name { Ok(()) } else { Err(broken()) }
    }
}

/// Where the bytes of a stream come from: a socket before TLS, and TLS.
trait Source {
    fn more(&mut self, into: &mut Vec<u8>) -> io::Result<usize>;
}

impl Source for TcpStream {
    fn more(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        // One byte at a time: what follows the last element before TLS is not XML any more.
        let mut byte = [0];
        let count = self.read(&mut byte)?;
        into.extend_from_slice(&byte[..count]);
        Ok(count)
    }
}

impl Source for Tls {
    fn more(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.read(into)
    }
}

fn expect_frame(source: &mut impl Source, reader: &mut Reader) -> io::Result<Frame> {
    loop {
        if let Some(frame) = reader.next().map_err(|_| broken())? {
            return Ok(frame);
        }
        if source.more(reader.input())? == 0 {
            return Err(broken());
        }
    }
}

fn expect_open(source: &mut impl Source, reader: &mut Reader) -> io::Result<Element> {
    match expect_frame(source, reader)? {
        Frame::Open(element) => Ok(element),
        _ => Err(broken()),
    }
}

fn expect_element(source: &mut impl Source, reader: &mut Reader) -> io::Result<Element> {
    match expect_frame(source, reader)? {
        Frame::Element(element) => Ok(element),
        _ => Err(broken()),
    }
}
