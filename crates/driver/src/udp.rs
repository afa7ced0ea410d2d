//! UDP: one socket, and on it one virtual connection for each peer's address.
//!
//! A peer's first datagram opens its connection. It ends when the adapter closes it, when nothing has passed for
//! [`Limits::datagram_idle`], or when [`Limits::datagram_peers`] newer ones need its place. Dialling an address that has a
//! connection ends the older one: what comes from a peer comes over the connection opened last.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use interchange_adapter::{CloseReason, ConnId, Transport, Via};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::listen::Limits;
use crate::shared::{Event, Opener, Shared};

/// Datagrams that may wait for one socket; more are dropped, as UDP may.
const WAITING: usize = 4096;

/// Largest datagram, in bytes.
const LARGEST: usize = 65_535;

/// What the adapter wants of a virtual connection.
#[derive(Debug)]
enum Command {
    Send { conn: ConnId, bytes: Bytes },
    Open { conn: ConnId, peer: SocketAddr },
    Close { conn: ConnId, why: CloseReason },
}

/// The loop's end of a UDP socket's task. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Port {
    commands: mpsc::UnboundedSender<Command>,
    waiting: Arc<AtomicUsize>,
    ipv4: bool,
}

impl Port {
    pub(crate) fn open(socket: Arc<UdpSocket>, number: usize, events: mpsc::Sender<Event>, shared: Arc<Shared>) -> Self {
        let (commands, heard) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let ipv4 = socket.local_addr().is_ok_and(|local| local.is_ipv4());
        let tasks = shared.tasks.clone();
        let desk =
            Desk { peers: Peers::new(&shared.limits), socket, number, waiting: waiting.clone(), hand: VecDeque::new(), shared };
        tasks.spawn(desk.serve(heard, events));
        Self { commands, waiting, ipv4 }
    }

    /// Whether its peers have IPv4 addresses; else they have IPv6 ones.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.ipv4
    }

    pub(crate) fn send(&self, conn: ConnId, bytes: Bytes, shared: &Shared) {
        if self.waiting.load(Relaxed) >= WAITING {
            shared.stats.count_dropped();
            return;
        }
        self.waiting.fetch_add(1, Relaxed);
        // An error: the task ended with its run, and so does the loop.
        let _ = self.commands.send(Command::Send { conn, bytes });
    }

    pub(crate) fn dial(&self, conn: ConnId, peer: SocketAddr) {
        let _ = self.commands.send(Command::Open { conn, peer });
    }

    pub(crate) fn close(&self, conn: ConnId, why: CloseReason) {
        let _ = self.commands.send(Command::Close { conn, why });
    }
}

/// One socket's task.
struct Desk {
    socket: Arc<UdpSocket>,
    /// Which of the platform's UDP sockets it is.
    number: usize,
    peers: Peers,
    waiting: Arc<AtomicUsize>,
    /// For the loop, in order.
    hand: VecDeque<Event>,
    shared: Arc<Shared>,
}

impl Desk {
    async fn serve(mut self, mut commands: mpsc::UnboundedReceiver<Command>, events: mpsc::Sender<Event>) {
        let mut buffer = vec![0; LARGEST];
        let mut sweep =
            interval((self.shared.limits.datagram_idle / 4).clamp(Duration::from_millis(10), Duration::from_secs(15)));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The loop first, then what it wants, then new datagrams: those wait best in the kernel, which drops what is too much.
            tokio::select! {
                biased;
                permit = events.reserve(), if !self.hand.is_empty() => match (permit, self.hand.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    _ => break,
                },
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                received = self.socket.recv_from(&mut buffer), if self.hand.is_empty() => match received {
                    Ok((length, peer)) => self.read(peer, &buffer[..length]),
                    // An ICMP message about an earlier datagram, or no memory: the next call tells.
                    Err(error) => tracing::debug!(%error, "receiving a datagram failed"),
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
        for _ in 0..self.peers.len() {
            self.shared.stats.count_closed(CloseReason::Shutdown);
        }
    }

    fn read(&mut self, peer: SocketAddr, bytes: &[u8]) {
        self.shared.stats.count_read(bytes.len());
        if bytes.is_empty() {
            return;
        }
        let conn = match self.peers.used(peer, Instant::now()) {
            Some(conn) => conn,
            None => {
                let conn = ConnId::accepted(self.shared.next_accepted());
                self.admit(conn, peer);
                let via = Box::new(Via::Accepted { transport: Transport::Udp, local: self.local(peer), peer });
                self.hand.push_back(Event::Opened { conn, via, by: Opener::Datagrams(self.number) });
                conn
            }
        };
        let _span = tracing::debug_span!("read", conn = %conn, bytes = bytes.len()).entered();
        self.hand.push_back(Event::Received { conn, bytes: Bytes::copy_from_slice(bytes) });
    }

    fn write(&mut self, conn: ConnId, bytes: &Bytes) {
        let Some(peer) = self.peers.peer(conn) else { return };
        self.peers.used(peer, Instant::now());
        match self.socket.try_send_to(bytes, peer) {
            Ok(_) => {
                let _span = tracing::debug_span!("write", conn = %conn, bytes = bytes.len()).entered();
                self.shared.stats.count_written(bytes.len());
            }
            Err(error) => {
                tracing::debug!(%conn, %peer, %error, bytes = bytes.len(), "a datagram was dropped");
                self.shared.stats.count_dropped();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Send { conn, bytes } => {
                self.waiting.fetch_sub(1, Relaxed);
                self.write(conn, &bytes);
            }
            Command::Open { conn, peer } => {
                let local = self.local(peer);
                if let Some(older) = self.peers.forget(peer) {
                    self.closed(older, CloseReason::Finished, format!("replaced: {peer} was dialled"));
                }
                self.admit(conn, peer);
                let via = Box::new(Via::Dialled { transport: Transport::Udp, local, peer });
                self.hand.push_back(Event::Opened { conn, via, by: Opener::Dial });
            }
            Command::Close { conn, why } => {
                if let Some(peer) = self.peers.peer(conn) {
                    self.peers.forget(peer);
                    self.closed(conn, why, format!("closed by the hub; the peer was {peer}"));
                }
            }
        }
    }

    fn admit(&mut self, conn: ConnId, peer: SocketAddr) {
        if let Some(evicted) = self.peers.insert(conn, peer, Instant::now()) {
            self.closed(evicted, CloseReason::Limit, "forgotten: too many UDP peers".to_owned());
        }
        self.shared.stats.count_opened(conn.is_dialled());
    }

    fn sweep(&mut self) {
        while let Some((conn, peer)) = self.peers.idle(Instant::now()) {
            self.closed(conn, CloseReason::Finished, format!("no datagram from or to {peer} for long"));
        }
    }

    fn closed(&mut self, conn: ConnId, why: CloseReason, detail: String) {
        self.shared.stats.count_closed(why);
        self.hand.push_back(Event::Closed { conn, why, detail });
    }

    /// Our address as `peer` sees it: a socket bound to all addresses does not know, and the routing table does.
    fn local(&self, peer: SocketAddr) -> SocketAddr {
        let bound = self.socket.local_addr().unwrap_or(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0));
        if !bound.ip().is_unspecified() {
            return bound;
        }
        let probe = std::net::UdpSocket::bind(SocketAddr::new(bound.ip(), 0));
        let routed = probe.and_then(|probe| probe.connect(peer).and_then(|()| probe.local_addr()));
        routed.map_or(bound, |routed| SocketAddr::new(routed.ip(), bound.port()))
    }
}

/// The peers of one socket, by address, by connection, and by how long ago they were used.
struct Peers {
    most: usize,
    idle: Duration,
    by_address: HashMap<SocketAddr, Entry>,
    by_conn: HashMap<ConnId, SocketAddr>,
    /// From the number of its last use: the first was unused for longest.
    by_use: BTreeMap<u64, SocketAddr>,
    uses: u64,
}

struct Entry {
    conn: ConnId,
    last_use: u64,
    used: Instant,
}

impl Peers {
    fn new(limits: &Limits) -> Self {
        Self {
            most: limits.datagram_peers.max(1),
            idle: limits.datagram_idle,
            by_address: HashMap::new(),
            by_conn: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    fn len(&self) -> usize {
        self.by_address.len()
    }

    fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.by_conn.get(&conn).copied()
    }

    /// The connection of an address, used now.
    fn used(&mut self, peer: SocketAddr, now: Instant) -> Option<ConnId> {
        let entry = self.by_address.get_mut(&peer)?;
        self.uses += 1;
        self.by_use.remove(&entry.last_use);
        self.by_use.insert(self.uses, peer);
        entry.last_use = self.uses;
        entry.used = now;
        Some(entry.conn)
    }

    /// A new connection for an address that has none; the one that had to make room.
    fn insert(&mut self, conn: ConnId, peer: SocketAddr, now: Instant) -> Option<ConnId> {
        let oldest = self.by_use.values().next().copied().filter(|_| self.len() >= self.most);
        let evicted = oldest.and_then(|oldest| self.forget(oldest));
        self.uses += 1;
        self.by_use.insert(self.uses, peer);
        self.by_conn.insert(conn, peer);
        self.by_address.insert(peer, Entry { conn, last_use: self.uses, used: now });
        evicted
    }

    fn forget(&mut self, peer: SocketAddr) -> Option<ConnId> {
        let entry = self.by_address.remove(&peer)?;
        self.by_use.remove(&entry.last_use);
        self.by_conn.remove(&entry.conn);
        Some(entry.conn)
    }

    /// Forgets one peer that was unused for too long.
    fn idle(&mut self, now: Instant) -> Option<(ConnId, SocketAddr)> {
        let oldest = *self.by_use.values().next()?;
        if now.duration_since(self.by_address.get(&oldest)?.used) < self.idle {
            return None;
        }
        self.forget(oldest).map(|conn| (conn, oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_unused_for_longest_goes_first() {
        let limits = Limits { datagram_peers: 2, datagram_idle: Duration::from_secs(10), ..Limits::default() };
        let mut peers = Peers::new(&limits);
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let conn = ConnId::accepted;
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(peers.insert(conn(1), address(1), at(0)), None);
        assert_eq!(peers.insert(conn(2), address(2), at(0)), None);
        assert_eq!(peers.used(address(1), at(0)), Some(conn(1)));
        assert_eq!(peers.insert(conn(3), address(3), at(0)), Some(conn(2)));
        assert_eq!(peers.used(address(2), at(0)), None);
        assert_eq!(peers.peer(conn(2)), None);

        assert_eq!(peers.idle(at(9)), None);
        peers.used(address(1), at(9));
        assert_eq!(peers.idle(at(10)), Some((conn(3), address(3))));
        assert_eq!(peers.idle(at(10)), None);
        assert_eq!((peers.len(), peers.by_conn.len(), peers.by_use.len()), (1, 1, 1));
    }
}
