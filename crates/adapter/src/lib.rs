//! The contract that every platform adapter meets.
//!
//! An adapter is a deterministic machine: bytes, ticks and the broker's words go in; bytes, wishes about
//! connections and words for the broker come out. It owns no socket, clock, task, lock or random source: time
//! comes with every call, randomness is a seed given when it is built. So a day of retries is tested in a
//! millisecond, and a failing test replays exactly. The driver (crate `interchange-driver`) does the rest,
//! once, for all of them.
//!
//! How it is called: [`Platform::build`] once; then [`Adapter::handle`] with one [`Input`] at a time, and with
//! [`Input::Tick`] when [`Adapter::deadline`] has come. The first input of a running hub is
//! `Input::Broker(Down::Links { .. })`.

mod account;
mod connection;
mod name;
mod network;
mod outage;
mod pin;
mod reference;
mod timers;
mod tls;

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use interchange_model::{Domain, Down, Fault, LinkId, PlatformName, Settings, SettingsError, Trouble, Up};

pub use account::{Account, Password, SignInError};
pub use connection::{CloseReason, ConnId, Target, Transport, Via};
pub use name::dns_name_matches;
pub use network::Network;
pub use outage::Outage;
pub use pin::Pin;
pub use reference::References;
pub use timers::{Alarm, Timers};
pub use tls::{ChainFault, Identity, PeerCertificate, PeerName, TlsPeer, TlsRole};

/// One platform's machine.
pub trait Adapter: Send {
    /// Takes one input and pushes onto `out` whatever must now happen, in that order.
    /// Never blocks, never fails: trouble is an output. Outputs come back only from the call that caused them.
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>);

    /// When this adapter next wants [`Input::Tick`]; `None` when nothing is pending. Asked after every `handle`.
    fn deadline(&self) -> Option<Instant>;
}

/// The time of an input, from two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For timers: never goes back.
    pub instant: Instant,
    /// For dates and ids: what a calendar said when the process started, and from then on what has passed. Never jumps.
    pub wall: SystemTime,
}

impl Now {
    /// Both clocks, read now. For drivers; an adapter is given its time.
    #[must_use]
    pub fn read() -> Self {
        static START: OnceLock<(Instant, SystemTime)> = OnceLock::new();
        let (start, date) = *START.get_or_init(|| (Instant::now(), SystemTime::now()));
        let instant = Instant::now();
        Self { instant, wall: date + instant.saturating_duration_since(start) }
    }

    /// Both clocks, later by `by`. For tests in virtual time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self { instant: self.instant + by, wall: self.wall + by }
    }
}

/// What happens to an adapter.
#[derive(Debug, Clone)]
pub enum Input {
    /// A connection was accepted, or one asked for by [`Output::Dial`] stands. No byte has been read yet.
    Opened {
        /// Which.
        conn: ConnId,
        /// How it came about.
        via: Via,
    },
    /// Some bytes of a stream (never none), or exactly one datagram.
    Received {
        /// From which connection.
        conn: ConnId,
        /// The bytes, decrypted where TLS is on.
        bytes: Bytes,
    },
    /// The TLS handshake asked for by [`Output::StartTls`] is done.
    Secured {
        /// On which connection.
        conn: ConnId,
        /// What the peer proved.
        peer: TlsPeer,
    },
    /// A connection is gone, or a dial failed (then there was no `Opened`). Nothing more comes from it. Also the answer to
    /// [`Output::Close`], with the reason given there.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why, from a closed set.
        why: CloseReason,
        /// The same for a person: names and addresses, at most 300 characters, no remote text unescaped.
        detail: String,
    },
    /// The deadline has come.
    Tick,
    /// The broker speaks.
    Broker(Down),
    /// Answer to [`Output::Authenticate`]: exactly one for each, also when the connection is gone by now.
    Authenticated {
        /// The connection that was named.
        conn: ConnId,
        /// Who it is; or why nobody is signed in.
        result: Result<Account, SignInError>,
    },
    /// Answer to [`Output::LookUp`]: exactly one for each.
    Found {
        /// The connection that was named.
        conn: ConnId,
        /// The number that was given.
        query: u64,
        /// Who fits, the best first, at most 50; or nobody could be asked.
        result: Result<Vec<Account>, SignInError>,
    },
    /// Say goodbye to peers now; the driver closes in a few seconds what remains.
    Stop,
}

/// What an adapter wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Look up and connect. Answered by `Opened` or `Closed` within 30 s.
    Dial {
        /// A new id, made by [`ConnId::dialled`].
        conn: ConnId,
        /// Where to.
        to: Target,
        /// Addresses that are tried after all others, for they were of no use not long ago (RFC 3263 §4.3).
        avoid: Vec<SocketAddr>,
    },
    /// Secure a connection: bytes sent before are flushed in the clear, bytes received before and not yet handed over
    /// are discarded (they were sent in the clear: RFC 6120 §5.4.3.3). Answered by `Secured` or `Closed` within 15 s.
    StartTls {
        /// Which.
        conn: ConnId,
        /// As which side, with what name.
        role: TlsRole,
    },
    /// Send bytes, or exactly one datagram. To a connection that is gone: nothing happens.
    /// A peer that does not read what was sent is closed, alone, when 1 MiB waits for it.
    Send {
        /// On which connection.
        conn: ConnId,
        /// What.
        bytes: Bytes,
    },
    /// Send what is still waiting, at most for 5 s, and close. Answered by `Closed` with the same reason.
    Close {
        /// Which.
        conn: ConnId,
        /// Why; [`CloseReason::Finished`] when all is well.
        why: CloseReason,
    },
    /// Speak to the broker.
    Broker(Up),
    /// Tell the operator something that concerns a connection and no message: whom it was refused as, which rule its certificate
    /// breaks. One log line.
    Note {
        /// Which connection.
        conn: ConnId,
        /// What it means for a link, where it is one's and that is known.
        about: Option<About>,
        /// One sentence, at most 300 characters. Never a secret, never text of a message, no remote text unescaped.
        text: String,
    },
    /// Somebody wants to sign in over a link: is it them? Answered by [`Input::Authenticated`] within 15 s. At most one at a time for a
    /// connection.
    Authenticate {
        /// For the answer.
        conn: ConnId,
        /// The link whose member's directory knows.
        link: LinkId,
        /// The name as it was typed: at most 255 bytes, without the domain. Remote text.
        name: String,
        /// And the password.
        password: Password,
    },
    /// Who is meant by a name? For people who are signed in and look for a colleague. Answered by [`Input::Found`] within 15 s.
    LookUp {
        /// For the answer; need not be open.
        conn: ConnId,
        /// The adapter's own number, for the answer.
        query: u64,
        /// The link whose member's directory is asked.
        link: LinkId,
        /// A user's name or a part of how somebody is called, at most 255 bytes. Remote text.
        name: String,
    },
    /// Answer to [`Down::Check`].
    Checked {
        /// The link that was asked about.
        link: LinkId,
        /// The domain that the hub spoke for.
        from: Domain,
        /// The link's domain.
        to: Domain,
        /// An answer came back; or what keeps it from coming.
        result: Result<(), Trouble>,
    },
}

/// What a note means for a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Which.
    pub link: LinkId,
    /// The peer has proved that it is the link's; or why it was turned away.
    pub sign: Result<(), Fault>,
}

/// What a platform crate exports: one constant, listed once in `crates/hub/src/platforms.rs`.
#[derive(Clone, Copy)]
pub struct Platform {
    /// Its name in configuration, logs and metrics.
    pub name: &'static str,
    /// Makes the machine.
    pub build: fn(Build<'_>) -> Result<Box<dyn Adapter>, SettingsError>,
    /// Reads the settings of one link without using them: for `interchange check`, and before a change is applied.
    pub check_link: fn(&Settings) -> Result<(), SettingsError>,
    /// Where the hub would connect to for a domain of a link with these settings; `None` where it never does, or the settings cannot be used.
    pub target: fn(&Settings, &Domain) -> Option<Target>,
}

impl Platform {
    /// The name as the model has it.
    #[must_use]
    pub fn name(&self) -> PlatformName {
        PlatformName::from_static(self.name)
    }
}

/// What a machine is built from.
#[derive(Debug, Clone)]
pub struct Build<'a> {
    /// The platform's own settings, the same for all its links.
    pub settings: &'a Settings,
    /// The hub's own domain: peers see it in certificates and Via; the Echo user lives there.
    pub hub: &'a Domain,
    /// 32 bytes known only to this installation and the same after a restart: for dialback keys and the like.
    pub secret: [u8; 32],
    /// Randomness for this run.
    pub seed: u64,
}
