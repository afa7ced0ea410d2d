//! A proxy for TCP that breaks what passes through it: the network between a peer and the hub.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::random::Random;
use super::wire::lock;
use crate::ports::ReservedPort;

/// How soon a connection that waits for bytes sees that the mode has changed.
const GLANCE: Duration = Duration::from_millis(10);
const READ_BYTES: usize = 16 * 1024;
/// How long a cut may take: each connection sees it at its next glance.
const CUT_WITHIN: Duration = Duration::from_secs(5);
/// Less than that: a connection that is being made cannot look.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// The damage of a run is the same as that of the run before, as far as the bytes are.
const SEED: u64 = 0x1D87_2B41_5A3C_99E7;

/// What the proxy does with connections, present and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards every byte, and the end of each direction.
    Through,
    /// Resets present connections, and new ones as soon as they are accepted.
    Cut,
    /// Accepts, and forwards nothing: no byte, no end and no reset. What was under way is kept back and goes on in another mode, as a
    /// healed network retransmits.
    BlackHole,
    /// Forwards with one bit flipped in about one byte of so many, in each direction.
    Corrupt {
        /// The mean distance of damaged bytes; at least 1.
        one_in: u32,
    },
    /// Forwards at most so many bytes in a second, in each direction of each connection.
    Slow {
        /// At least 1.
        bytes_per_second: u32,
    },
}

/// A running proxy. Dropping it resets its connections.
pub struct FaultProxy {
    port: ReservedPort,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when a connection ends, and when the mode changes.
    changed: Condvar,
    accepted: AtomicU64,
    stopping: AtomicBool,
}

struct State {
    /// Where new connections lead.
    to: SocketAddr,
    mode: Mode,
    /// Counts the cuts: a connection ends when there was one since it began.
    cuts: u64,
    /// Of each open connection: at which count of cuts it began.
    open: Vec<u64>,
}

impl FaultProxy {
    /// Listens on a port of its own and forwards to this address.
    pub fn start(to: SocketAddr) -> Self {
        Self::start_on(ReservedPort::any(), to)
    }

    /// Listens on this port, which somebody may have been told before.
    pub fn start_on(port: ReservedPort, to: SocketAddr) -> Self {
        let listener = port.listen();
        let shared = Arc::new(Shared {
            state: Mutex::new(State { to, mode: Mode::Through, cuts: 0, open: Vec::new() }),
            changed: Condvar::new(),
            accepted: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        let acceptor = thread::spawn(move || accepting.accept(&listener));
        Self { port, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// New connections lead to this address: a name or an address that moves to another machine. Present ones stay.
    pub fn lead_to(&self, to: SocketAddr) {
        lock(&self.shared.state).to = to;
    }

    /// Changes what it does, at once and for all connections. A cut has been made when this returns.
    pub fn set(&self, mode: Mode) {
        let mut state = lock(&self.shared.state);
        state.mode = mode;
        self.shared.changed.notify_all();
        drop(state);
        if mode == Mode::Cut {
            self.cut_now();
        }
    }

    /// Resets all present connections, in whatever mode; they are gone when this returns. New ones are taken as before.
    pub fn cut_now(&self) {
        assert!(self.shared.cut(), "a connection was not cut within {CUT_WITHIN:?}");
    }

    /// How many connections were accepted so far, those that were reset at once included.
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.port.address());
        if let Some(acceptor) = self.acceptor.take() {
            // It does not panic; if it did, there is nothing more to stop.
            let _ = acceptor.join();
        }
        // Connections that do not end in time end later.
        let _ = self.shared.cut();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FaultProxy")
            .field("port", &self.port)
            .field("to", &lock(&self.shared.state).to)
            .finish_non_exhaustive()
    }
}

/// Has a socket end by a reset when its last clone is dropped.
fn doom(socket: &TcpStream) {
    // It may have been reset by the other side.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

fn is_glance(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for socket in listener.incoming() {
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            // A connection that was reset while it waited is no reason to stop.
            let Ok(socket) = socket else { continue };
            let number = self.accepted.fetch_add(1, Ordering::Relaxed);
            let began = {
                let mut state = lock(&self.state);
                if state.mode == Mode::Cut {
                    doom(&socket);
                    continue;
                }
                let cuts = state.cuts;
                state.open.push(cuts);
                cuts
            };
            let shared = self.clone();
            thread::spawn(move || {
                shared.serve(socket, number, began);
                let mut state = lock(&shared.state);
                let place = state.open.iter().position(|open| *open == began).expect("it was entered");
                state.open.swap_remove(place);
                shared.changed.notify_all();
            });
        }
    }

    /// Ends every connection. Whether all ended in time.
    fn cut(&self) -> bool {
        let mut state = lock(&self.state);
        state.cuts += 1;
        let cuts = state.cuts;
        self.changed.notify_all();
        let deadline = Instant::now() + CUT_WITHIN;
        while state.open.iter().any(|began| *began < cuts) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        true
    }

    /// What to do with the bytes of a connection that began at this count of cuts; `None`: end it.
    fn mode(&self, began: u64) -> Option<Mode> {
        let state = lock(&self.state);
        (state.cuts == began).then_some(state.mode)
    }

    /// As [`Shared::mode`], but waits through a black hole.
    fn lit_mode(&self, began: u64) -> Option<Mode> {
        let mut state = lock(&self.state);
        while state.mode == Mode::BlackHole && state.cuts == began {
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        (state.cuts == began).then_some(state.mode)
    }

    /// Carries one connection to its end.
    fn serve(self: &Arc<Self>, near: TcpStream, number: u64, began: u64) {
        // Whatever ends here without an end of both directions is reset.
        doom(&near);
        if self.lit_mode(began).is_none() {
            return;
        }
        let to = lock(&self.state).to;
        let Ok(far) = TcpStream::connect_timeout(&to, CONNECTED_WITHIN) else { return };
        doom(&far);
        let broken = AtomicBool::new(false);
        for socket in [&near, &far] {
            let ready = socket
                .set_nodelay(true)
                .and_then(|()| socket.set_read_timeout(Some(GLANCE)))
                .and_then(|()| socket.set_write_timeout(Some(GLANCE)));
            if ready.is_err() {
                return;
            }
        }
        let carry = |from, to, direction: u64| {
            let damage = Damage::new(SEED ^ (number << 1 | direction).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut pump = Pump { shared: self, began, from, to, broken: &broken, damage, free_at: Instant::now() };
            // A failed read or write breaks the connection, as does a cut.
            if pump.run().is_none() {
                broken.store(true, Ordering::Release);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| carry(&near, &far, 0));
            carry(&far, &near, 1);
        });
        if !broken.load(Ordering::Acquire) {
            for socket in [&near, &far] {
                // Both directions have ended in order, so nothing is left to be reset.
                let _ = SockRef::from(socket).set_linger(None);
            }
        }
    }
}

/// One direction of one connection.
struct Pump<'a> {
    shared: &'a Shared,
    began: u64,
    from: &'a TcpStream,
    to: &'a TcpStream,
    broken: &'a AtomicBool,
    damage: Damage,
    /// When the next bytes may go, in slow mode.
    free_at: Instant,
}

impl Pump<'_> {
    /// Forwards until the direction ends in order; `None`: the connection must be reset.
    fn run(&mut self) -> Option<()> {
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let most = match self.mode()? {
                // A twentieth of a second at a time, so that it trickles.
                Mode::Slow { bytes_per_second } => (bytes_per_second / 20).clamp(1, READ_BYTES as u32) as usize,
                _ => READ_BYTES,
            };
            match self.from.read(&mut chunk[..most]) {
                Ok(0) => {
                    self.mode()?;
                    return self.to.shutdown(Shutdown::Write).ok();
                }
                Ok(count) => self.forward(&mut chunk[..count])?,
                Err(error) if is_glance(&error) => {}
                Err(_) => {
                    // A reset does not cross a black hole either.
                    self.mode()?;
                    return None;
                }
            }
        }
    }

    /// What to do now, after the end of any black hole; `None`: end.
    fn mode(&self) -> Option<Mode> {
        let mode = self.shared.lit_mode(self.began)?;
        (!self.broken.load(Ordering::Acquire)).then_some(mode)
    }

    fn forward(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.mode()? {
            Mode::Corrupt { one_in } => self.damage.apply(bytes, one_in.max(1)),
            Mode::Slow { bytes_per_second } => self.pause(bytes.len(), bytes_per_second.max(1))?,
            _ => {}
        }
        let mut left: &[u8] = bytes;
        while !left.is_empty() {
            self.mode()?;
            match self.to.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if is_glance(&error) => {}
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// Waits until so many bytes may go, or the mode is no longer slow.
    fn pause(&mut self, bytes: usize, bytes_per_second: u32) -> Option<()> {
        let takes = Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_second));
        self.free_at = self.free_at.max(Instant::now()) + takes;
        while let Some(left) = self.free_at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.broken.load(Ordering::Acquire) || !matches!(self.shared.mode(self.began)?, Mode::Slow { .. }) {
                self.free_at = Instant::now();
                break;
            }
            thread::sleep(left.min(GLANCE));
        }
        Some(())
    }
}

/// Flips bits at random distances.
struct Damage {
    random: Random,
    /// The mean distance, and how many bytes are left to the next damaged one.
    next: Option<(u32, u64)>,
}

impl Damage {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), next: None }
    }

    fn apply(&mut self, bytes: &mut [u8], one_in: u32) {
        let mut at = match self.next {
            Some((mean, left)) if mean == one_in => left,
            _ => self.distance(one_in),
        };
        let length = bytes.len() as u64;
        while at < length {
            bytes[at as usize] ^= 1 << self.random.below(8);
            at += 1 + self.distance(one_in);
        }
        self.next = Some((one_in, at - length));
    }

    /// How many bytes stay whole before the next: exponential, of the given mean with the damaged one.
    fn distance(&mut self, one_in: u32) -> u64 {
        (-(1.0 - self.random.fraction()).ln() * f64::from(one_in - 1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::{Damage, FaultProxy, Mode};
    use crate::ports::ReservedPort;

    const SOON: Duration = Duration::from_secs(10);
    const MOMENT: Duration = Duration::from_millis(200);

    /// A server that sends back what it gets, and a proxy before it.
    fn echo() -> (ReservedPort, FaultProxy) {
        let port = ReservedPort::any();
        let listener = port.listen();
        thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut chunk = [0; 4096];
                    while let Ok(count @ 1..) = socket.read(&mut chunk) {
                        if socket.write_all(&chunk[..count]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let proxy = FaultProxy::start(port.address());
        (port, proxy)
    }

    fn dial(proxy: &FaultProxy) -> TcpStream {
        let socket = TcpStream::connect(proxy.address()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }

    fn passes(socket: &mut TcpStream, text: &[u8]) {
        socket.write_all(text).unwrap();
        let mut back = vec![0; text.len()];
        socket.read_exact(&mut back).unwrap();
        assert_eq!(back, text);
    }

    fn is_reset(socket: &mut TcpStream) -> bool {
        socket.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    }

    #[test]
    fn everything_passes_and_so_does_the_end() {
        let (_server, proxy) = echo();
        let mut socket = dial(&proxy);
        passes(&mut socket, &vec![b'x'; 300_000][..100_000]);
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        assert_eq!(proxy.connections(), 1);
    }

    #[test]
    fn a_cut_resets_present_and_new_connections() {
        let (_server, proxy) = echo();
        let mut first = dial(&proxy);
        passes(&mut first, b"one");
        proxy.cut_now();
        assert!(is_reset(&mut first));
        let mut second = dial(&proxy);
        passes(&mut second, b"two");
        proxy.set(Mode::Cut);
        assert!(is_reset(&mut second));
        assert!(is_reset(&mut dial(&proxy)));
        proxy.set(Mode::Through);
        passes(&mut dial(&proxy), b"three");
        assert_eq!(proxy.connections(), 4);
    }

    #[test]
    fn a_black_hole_keeps_back_what_goes_on_when_it_is_healed() {
        let (_server, proxy) = echo();
        let mut old = dial(&proxy);
        passes(&mut old, b"before");
        proxy.set(Mode::BlackHole);
        let mut new = dial(&proxy);
        for socket in [&mut old, &mut new] {
            socket.write_all(b"kept back").unwrap();
            socket.set_read_timeout(Some(MOMENT)).unwrap();
            assert!(matches!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
            socket.set_read_timeout(Some(SOON)).unwrap();
        }
        proxy.set(Mode::Through);
        for socket in [&mut old, &mut new] {
            let mut back = [0; 9];
            socket.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"kept back");
            passes(socket, b"after");
        }
    }

    #[test]
    fn a_black_hole_can_be_cut() {
        let (_server, proxy) = echo();
        let mut socket = dial(&proxy);
        passes(&mut socket, b"before");
        proxy.set(Mode::BlackHole);
        proxy.cut_now();
        assert!(is_reset(&mut socket));
    }

    #[test]
    fn slow_is_slow() {
        let (_server, proxy) = echo();
        let mut socket = dial(&proxy);
        proxy.set(Mode::Slow { bytes_per_second: 10_000 });
        let start = Instant::now();
        passes(&mut socket, &[b'x'; 5_000]);
        let took = start.elapsed();
        assert!(took > Duration::from_millis(400) && took < Duration::from_secs(3), "{took:?}");
    }

    #[test]
    fn about_one_byte_in_so_many_is_damaged_and_always_the_same() {
        let damaged = |pieces: usize| {
            let mut bytes = vec![0_u8; 1_000_000];
            let mut damage = Damage::new(7);
            bytes.chunks_mut(pieces).for_each(|piece| damage.apply(piece, 1_000));
            bytes
        };
        let whole = damaged(1_000_000);
        let count = whole.iter().filter(|byte| **byte != 0).count();
        assert!((800..1_200).contains(&count), "{count}");
        assert!(whole.iter().all(|byte| byte.count_ones() <= 1));
        assert!(whole == damaged(777), "where the pieces end makes no difference");
        let mut all = [0_u8; 1_000];
        Damage::new(7).apply(&mut all, 1);
        assert!(all.iter().all(|byte| byte.count_ones() == 1));
    }

    #[test]
    fn damage_reaches_the_other_side() {
        let (_server, proxy) = echo();
        let mut socket = dial(&proxy);
        proxy.set(Mode::Corrupt { one_in: 100 });
        let text = [b'x'; 10_000];
        socket.write_all(&text).unwrap();
        let mut back = vec![0; text.len()];
        socket.read_exact(&mut back).unwrap();
        let damaged = back.iter().zip(&text).filter(|(one, other)| one != other).count();
        assert!((100..350).contains(&damaged), "{damaged}");
    }
}
