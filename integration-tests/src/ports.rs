//! Loopback ports that nobody else takes between the moment a test chooses them and the moment a server binds them.

use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Below the range from which Linux takes the local port of outgoing connections, so that a waiting `connect` can
/// neither occupy a reserved port nor meet itself on it.
const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;
const ATTEMPTS: usize = 1_000;
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(5);

/// A port number on 127.0.0.1, free for both TCP and UDP, and ours until this value is dropped.
///
/// It holds a TCP socket that was bound alone and then marked as reusable without listening: Linux lets a server that
/// sets `SO_REUSEADDR` bind and listen on the same port beside it, while another reservation, which binds alone,
/// fails. The kernel ends the reservation with the process, so nothing can stay behind.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _guard: Socket,
}

impl ReservedPort {
    /// Reserves any free port.
    pub fn any() -> Self {
        let span = u64::from(LAST - FIRST);
        for attempt in 0..ATTEMPTS {
            let offset = RandomState::new().hash_one(attempt) % span;
            let number = FIRST + u16::try_from(offset).expect("the span fits a port number");
            if let Some(reserved) = Self::reserve(number) {
                return reserved;
            }
        }
        panic!("no free port between {FIRST} and {LAST} in {ATTEMPTS} attempts");
    }

    fn reserve(number: u16) -> Option<Self> {
        let address = loopback(number);
        let guard = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket can be made");
        guard.bind(&address.into()).ok()?;
        UdpSocket::bind(address).ok()?;
        guard.set_reuse_address(true).expect("SO_REUSEADDR can be set");
        Some(Self { number, _guard: guard })
    }

    /// The port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Listens on it.
    ///
    /// # Panics
    /// When somebody else still does after five seconds. Until then it waits: a program that another thread of the test
    /// starts holds a copy of every socket between its fork and its exec, also of a listener that was closed meanwhile.
    pub fn listen(&self) -> TcpListener {
        let deadline = Instant::now() + RELEASED_WITHIN;
        loop {
            match TcpListener::bind(self.address()) {
                Ok(listener) => return listener,
                Err(fault) if fault.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => thread::sleep(RETRY),
                Err(fault) => panic!("the reserved port {} is not free: {fault}", self.number),
            }
        }
    }

    /// 127.0.0.1 with this port.
    pub fn address(&self) -> SocketAddr {
        loopback(self.number)
    }
}

/// 127.0.0.1 with the given port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_refused_to_others_and_open_to_its_server() {
        let port = ReservedPort::any();
        assert!(ReservedPort::reserve(port.number()).is_none());
        TcpListener::bind(port.address()).expect("a server that sets SO_REUSEADDR binds a reserved port");
    }

    #[test]
    fn a_listener_that_is_closing_is_waited_for() {
        let port = ReservedPort::any();
        let first = port.listen();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                drop(first);
            });
            port.listen();
        });
    }
}
