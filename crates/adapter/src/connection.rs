//! Connections, as an adapter sees them.

use std::fmt;
use std::net::SocketAddr;

use interchange_model::{Domain, Fault};

/// One connection: a TCP connection, or one peer's address on a UDP socket. Never used twice in one run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

impl ConnId {
    const DIALLED: u64 = 1 << 63;

    /// The `number`-th connection that the driver accepted.
    #[must_use]
    pub const fn accepted(number: u64) -> Self {
        Self(number & !Self::DIALLED)
    }

    /// The `number`-th connection that the adapter dialled.
    #[must_use]
    pub const fn dialled(number: u64) -> Self {
        Self(number | Self::DIALLED)
    }

    /// Whether the adapter dialled it.
    #[must_use]
    pub const fn is_dialled(self) -> bool {
        self.0 & Self::DIALLED != 0
    }

    /// One number for both kinds, for logs and for protocol stacks that want an opaque key.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The connection of such a number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_dialled() { 'd' } else { 'a' };
        write!(f, "{side}{}", self.0 & !Self::DIALLED)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// A stream that starts in the clear; TLS may follow by STARTTLS.
    Tcp,
    /// A stream on which TLS comes first: the adapter answers `Opened` with `StartTls` at once.
    Tls,
    /// Datagrams.
    Udp,
}

impl Transport {
    /// The stable label, as configuration writes it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Udp => "udp",
        }
    }

    /// Whether bytes arrive whole and in order or the connection ends.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }
}

/// How a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A listener of ours accepted it. For UDP: the first datagram of a peer's address.
    Accepted {
        /// The listener's transport.
        transport: Transport,
        /// Our end: where replies come from.
        local: SocketAddr,
        /// The other end.
        peer: SocketAddr,
    },
    /// We dialled it.
    Dialled {
        /// The transport asked for.
        transport: Transport,
        /// Our end.
        local: SocketAddr,
        /// The other end.
        peer: SocketAddr,
    },
}

impl Via {
    /// The transport.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self {
            Via::Accepted { transport, .. } | Via::Dialled { transport, .. } => *transport,
        }
    }

    /// Our end.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        match self {
            Via::Accepted { local, .. } | Via::Dialled { local, .. } => *local,
        }
    }

    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        match self {
            Via::Accepted { peer, .. } | Via::Dialled { peer, .. } => *peer,
        }
    }
}

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A host name or IP address, and a port. Every address of the name is tried, 5 s each.
    Host {
        /// Name or address literal, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// Transport; UDP leaves from the platform's first UDP listener, so that answers and new requests meet there.
        transport: Transport,
    },
    /// The SRV records `_service._proto.domain`, each target in the order of RFC 2782; for XMPP, where there is no record at
    /// all, the domain itself at `fallback_port`. A target of `.` means that the service is not offered.
    Srv {
        /// Service label without the underscore: `xmpp-server`, `sips`.
        service: &'static str,
        /// The domain.
        domain: Domain,
        /// Transport.
        transport: Transport,
        /// Port of the domain itself when no SRV record exists (RFC 6120 §3.2.2); `None`: that is a failure.
        fallback_port: Option<u16>,
    },
}

/// Why a connection ended, or never came about. A closed set: it is a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CloseReason {
    /// We had nothing more to say.
    Finished,
    /// The peer closed it in good order.
    PeerClosed,
    /// It broke.
    Broken,
    /// The name could not be resolved, or the service is not offered there.
    Unresolved,
    /// Nobody listens there, or nobody can be reached.
    Unreachable,
    /// Connecting, the handshake, or an answer took too long.
    TimedOut,
    /// The TLS handshake failed.
    TlsFailed,
    /// The peer ended the TLS handshake because of our certificate.
    CertificateRefused,
    /// The peer does not read what we send.
    Slow,
    /// The peer sent what cannot be understood.
    Malformed,
    /// The peer may not do what it did, or did not prove who it is.
    Refused,
    /// A limit on number or size was reached.
    Limit,
    /// The hub stops, or the link was removed.
    Shutdown,
}

impl CloseReason {
    /// The stable label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            CloseReason::Finished => "finished",
            CloseReason::PeerClosed => "peer-closed",
            CloseReason::Broken => "broken",
            CloseReason::Unresolved => "unresolved",
            CloseReason::Unreachable => "unreachable",
            CloseReason::TimedOut => "timed-out",
            CloseReason::TlsFailed => "tls-failed",
            CloseReason::CertificateRefused => "certificate-refused",
            CloseReason::Slow => "slow",
            CloseReason::Malformed => "malformed",
            CloseReason::Refused => "refused",
            CloseReason::Limit => "limit",
            CloseReason::Shutdown => "shutdown",
        }
    }
}

/// What the end of a connection, or of the attempt to make one, says about the link that it was for.
impl From<CloseReason> for Fault {
    fn from(why: CloseReason) -> Self {
        match why {
            CloseReason::Unresolved => Fault::DnsFailed,
            CloseReason::Unreachable => Fault::PortClosed,
            CloseReason::TimedOut => Fault::NoConnection,
            CloseReason::TlsFailed => Fault::TlsFailed,
            CloseReason::Malformed => Fault::WrongProtocol,
            CloseReason::Refused | CloseReason::CertificateRefused => Fault::AuthenticationRefused,
            CloseReason::Finished
            | CloseReason::PeerClosed
            | CloseReason::Broken
            | CloseReason::Slow
            | CloseReason::Limit
            | CloseReason::Shutdown => Fault::Disconnected,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
