//! Listening sockets, and who may come in.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use interchange_adapter::{ConnId, Transport, Via};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::conn::Conn;
use crate::outbox::Handle;
use crate::shared::{Event, Opener, Shared};
use crate::stream::{forget_unsent, set_options};

/// Where to listen. Port 0: one that is free. `[::]` takes IPv6 only; list `0.0.0.0` beside it for IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// TCP, TLS from the first byte, or UDP.
    pub transport: Transport,
}

/// How many connections may come in. The driver cannot tell who has proved to be whom, so these count all accepted connections
/// of the platform, proven ones too; adapters close those that do not prove themselves in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From one IPv4 address, or one IPv6 /64, which is what one party is given. 100.
    pub per_address: usize,
    /// In all. 20,000.
    pub connections: usize,
    /// Peers' addresses remembered for each UDP socket; the one unused for longest makes room. 10,000.
    pub datagram_peers: usize,
    /// After how long without a datagram, either way, a peer's address is forgotten. 180 s.
    pub datagram_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_address: 100, connections: 20_000, datagram_peers: 10_000, datagram_idle: Duration::from_secs(180) }
    }
}

/// A socket that listens; it stays open while the adapter behind it is built anew.
#[derive(Debug, Clone)]
pub(crate) enum OpenSocket {
    Stream { listener: Arc<TcpListener>, transport: Transport },
    Datagrams(Arc<UdpSocket>),
}

/// Opens the socket of a listener, and says which address it got. Needs a runtime.
pub(crate) fn bind(listener: &Listener) -> io::Result<(OpenSocket, SocketAddr)> {
    let (kind, protocol) = match listener.transport {
        Transport::Tcp | Transport::Tls => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(listener.address), kind, Some(protocol))?;
    if listener.address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    if listener.transport == Transport::Udp {
        socket.bind(&listener.address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let address = socket.local_addr()?;
        return Ok((OpenSocket::Datagrams(Arc::new(socket)), address));
    }
    // Connections of the last run that linger in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    socket.bind(&listener.address.into())?;
    socket.listen(1024)?;
    let tcp = TcpListener::from_std(socket.into())?;
    let address = tcp.local_addr()?;
    Ok((OpenSocket::Stream { listener: Arc::new(tcp), transport: listener.transport }, address))
}

/// Accepts connections until it is dropped.
pub(crate) async fn accept(listener: Arc<TcpListener>, transport: Transport, events: mpsc::Sender<Event>, shared: Arc<Shared>) {
    let mut complained: Option<Instant> = None;
    loop {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No more file descriptors, or the peer was gone again: accept(2). Neither ends a listener.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    if complained.is_none_or(|last| last.elapsed() > Duration::from_secs(10)) {
                        complained = Some(Instant::now());
                        tracing::warn!(platform = %shared.name, %error, "cannot accept connections now; is the limit on open files too low?");
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        let Some(seat) = shared.gate.enter(peer.ip()) else {
            tracing::debug!(platform = %shared.name, %peer, "turned away: too many connections");
            shared.stats.count_turned_away();
            forget_unsent(&tcp);
            continue;
        };
        set_options(&tcp);
        let Ok(local) = tcp.local_addr() else { continue };
        let id = ConnId::accepted(shared.next_accepted());
        tracing::debug!(conn = %id, %peer, transport = transport.label(), "accepted");
        let (handle, outbox) = Handle::new();
        let reading = transport == Transport::Tcp;
        let conn = Conn::new(id, tcp, peer, reading, outbox, Default::default(), events.clone(), shared.clone(), Some(seat));
        let via = Box::new(Via::Accepted { transport, local, peer });
        shared.tasks.spawn(conn.serve(Event::Opened { conn: id, via, by: Opener::Stream(handle) }));
    }
}

/// Counts the connections that have come in.
#[derive(Debug)]
pub(crate) struct Gate {
    per_address: usize,
    connections: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place for one connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    gate: Arc<Gate>,
    key: IpAddr,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let (per_address, connections) = (limits.per_address, limits.connections);
        Arc::new(Self { per_address, connections, taken: Mutex::default() })
    }

    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let key = party(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.connections || taken.by_address.get(&key).is_some_and(|&count| count >= self.per_address) {
            return None;
        }
        taken.all += 1;
        *taken.by_address.entry(key).or_default() += 1;
        Some(Seat { gate: self.clone(), key })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.gate.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.key);
            }
        }
    }
}

/// Whom an address counts for: an IPv4 address alone, an IPv6 address with its /64.
fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_has_so_many_seats_and_gives_them_back() {
        let gate = Gate::new(&Limits { per_address: 2, connections: 3, ..Limits::default() });
        let enter = |address: &str| gate.enter(address.parse().unwrap());
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none());
        let third = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.2").is_none());
        drop(third);
        drop(first);
        assert!(enter("2001:db8::3").is_some());
        assert_eq!(gate.taken.lock().unwrap().by_address.len(), 1);
    }
}
