//! The servers of one company with Office Communications Server, scripted: a home server (pool) for real clients of the plugin SIPE, and
//! an Access Edge for federation with partners over mutual TLS.
//!
//! It is strict. Whatever a partner does that a real edge or client would trip over is kept as a fault, with the message that shows it, and
//! a test ends with [`OcsServer::assert_no_faults`]. It shares no code with the adapter under test. What it writes itself follows published
//! forms and captures of SIPE, not a real server of Microsoft's.
//!
//! One client for each person: the server does not fork.

mod clients;
mod community;
mod connection;
mod edge;
mod message;
mod presence;
mod proxy;
mod routes;
mod rules;
mod state;
mod watch;
mod with_sip;
mod xml;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

pub use self::community::Community;
use self::connection::{ConnectionId, Event, Listener, Security};
pub use self::message::Message;
pub use self::presence::Presence;
use self::state::{Connection, Script, Side, State};
pub use self::with_sip::WithSip;
use crate::certificates::{Authority, Identity, Leaf};
use crate::ports::ReservedPort;
use crate::processes::Directory;
use crate::tls_sip_peer::{client_configuration, server_configuration, server_configuration_for_anybody};

const TICK: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(10);

/// How the servers talk to their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Live Communications Server 2005.
    Lcs2005,
    /// Office Communications Server 2007 and later.
    Ocs2007,
}

impl Dialect {
    fn server(self) -> &'static str {
        match self {
            Self::Lcs2005 => "RTC/2.0",
            Self::Ocs2007 => "RTC/3.5",
        }
    }
}

/// Texts that a careless client, server or translation would damage, each told apart by its number.
pub fn text(number: usize) -> String {
    let words = match number % 4 {
        0 => "plain words",
        1 => "5 < 6 && \"quotes\" 'single' &amp;",
        2 => "first line\nsecond line",
        _ => "Grüße aus 東京 👋",
    };
    format!("{number}: {words}")
}

/// The ports of one company's servers.
#[derive(Debug)]
pub struct OcsPorts {
    /// For clients: TCP, or TLS.
    pub clients: ReservedPort,
    /// For partners: TLS.
    pub edge: ReservedPort,
}

impl OcsPorts {
    /// Reserves both.
    pub fn reserve() -> Self {
        Self { clients: ReservedPort::any(), edge: ReservedPort::any() }
    }
}

/// An entry of the allow list.
#[derive(Clone, Debug)]
pub struct Partner {
    /// The host name of his edge, which his certificate must prove.
    pub edge: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The domains it may send for, and to which it leads.
    pub domains: Vec<String>,
}

/// How to start the servers.
#[derive(Debug)]
pub struct OcsSettings {
    /// The company's domain.
    pub domain: String,
    /// Its people, by the left part of their addresses.
    pub users: Vec<String>,
    /// Who has whom on the list of contacts from the beginning: user and address.
    pub contacts: Vec<(String, String)>,
    /// How it talks to clients.
    pub dialect: Dialect,
    /// Where it listens.
    pub ports: OcsPorts,
    /// What the pool shows its clients, if they come over TLS.
    pub pool_identity: Option<Identity>,
    /// What the edge shows, as server and as client.
    pub identity: Identity,
    /// Certificate (PEM) of the authority it trusts.
    pub trusted_authority: String,
    /// Whom it federates with.
    pub partners: Vec<Partner>,
    /// Whether the edge asks for compression first, as real ones do.
    pub negotiates: bool,
    /// Whether clients get messages that are outside a session.
    pub page_mode: bool,
    /// The longest subscription of a partner's user; 28,800 s when nothing is said.
    pub subscription_seconds: Option<u32>,
}

impl OcsSettings {
    /// A company with these people and a good certificate of `authority`, which it also trusts.
    pub fn new(domain: &str, users: &[&str], ports: OcsPorts, authority: &Authority) -> Self {
        Self {
            domain: domain.to_owned(),
            users: users.iter().map(|&user| user.to_owned()).collect(),
            contacts: Vec::new(),
            dialect: Dialect::Ocs2007,
            ports,
            pool_identity: None,
            identity: authority.issue(&Leaf::host(&format!("sip.{domain}"))),
            trusted_authority: authority.certificate().to_owned(),
            partners: Vec::new(),
            negotiates: true,
            page_mode: false,
            subscription_seconds: None,
        }
    }

    /// With clients that come over TLS, to this host.
    pub fn with_tls_for_clients(mut self, authority: &Authority) -> Self {
        self.pool_identity = Some(authority.issue(&Leaf::host(&format!("pool.{}", self.domain)).and_host("localhost")));
        self
    }

    /// With somebody on somebody's list of contacts.
    pub fn with_contact(mut self, user: &str, contact: &str) -> Self {
        self.contacts.push((user.to_owned(), contact.to_owned()));
        self
    }

    /// Federated with `domains`, which are behind `edge` at `address`.
    pub fn with_partner(mut self, edge: &str, address: SocketAddr, domains: &[&str]) -> Self {
        let domains = domains.iter().map(|&domain| domain.to_owned()).collect();
        self.partners.push(Partner { edge: edge.to_owned(), address, domains });
        self
    }
}

struct Shared {
    state: Mutex<State>,
    connections: AtomicU64,
    stopping: Arc<AtomicBool>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> ConnectionId {
        ConnectionId(100 + self.connections.fetch_add(1, Ordering::Relaxed))
    }
}

/// The running servers.
pub struct OcsServer {
    shared: Arc<Shared>,
    clients: SocketAddr,
    edge: SocketAddr,
    directory: Directory,
}

impl OcsServer {
    /// Starts them.
    pub fn start(settings: OcsSettings) -> Self {
        let directory = Directory::new("ocs");
        let trace = std::fs::File::create(directory.path().join("trace.sip")).expect("the trace can be made");
        let inside = server_configuration(&settings.identity, &settings.trusted_authority);
        let outside = Arc::new(client_configuration(Some(&settings.identity), &settings.trusted_authority));
        let for_anybody = settings.pool_identity.as_ref().map(server_configuration_for_anybody);
        let partners = settings.partners.clone();
        let (clients, edge) = (settings.ports.clients.address(), settings.ports.edge.address());
        let (for_clients, for_partners) = (settings.ports.clients.listen(), settings.ports.edge.listen());
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| {
            let dialling = shared.clone();
            let dial = move |partner: usize| {
                let Some(shared) = dialling.upgrade() else { return ConnectionId(0) };
                let (id, to) = (shared.next(), &partners[partner]);
                let name = ServerName::try_from(to.edge.clone()).expect("a test name is a host name");
                let events = listener(&dialling, Side::Outbound(partner));
                connection::dial(to.address, Security::Client(outside.clone(), name), id, events);
                id
            };
            let state = Mutex::new(State::new(settings, trace, Box::new(dial)));
            Shared { state, connections: AtomicU64::new(0), stopping: Arc::new(AtomicBool::new(false)) }
        });
        let weak = Arc::downgrade(&shared);
        for (socket, tls, side) in [(for_clients, for_anybody, Side::Client), (for_partners, Some(inside), Side::Inbound(0))] {
            let numbers = weak.clone();
            let next = move || numbers.upgrade().map_or(ConnectionId(0), |shared| shared.next());
            connection::accept(socket, tls, shared.stopping.clone(), next, listener(&weak, side));
        }
        thread::spawn(move || {
            while let Some(shared) = weak.upgrade() {
                shared.state().tick();
                drop(shared);
                thread::sleep(TICK);
            }
        });
        Self { shared, clients, edge, directory }
    }

    /// Where clients sign on.
    pub fn client_address(&self) -> SocketAddr {
        self.clients
    }

    /// Where partners connect.
    pub fn edge_address(&self) -> SocketAddr {
        self.edge
    }

    /// All that the other side did wrong so far.
    pub fn faults(&self) -> Vec<String> {
        self.shared.state().faults.clone()
    }

    /// Panics when a partner or a client did anything wrong so far.
    #[track_caller]
    pub fn assert_no_faults(&self) {
        let faults = self.faults();
        assert!(
            faults.is_empty(),
            "{} fault(s), with the trace in {}:\n{}",
            faults.len(),
            self.directory.path().display(),
            faults.join("\n\n")
        );
    }

    /// Waits until a message of a partner fits.
    #[track_caller]
    pub fn expect_from_partner(&self, what: &str, within: Duration, fits: impl Fn(&Message) -> bool) -> Message {
        let deadline = Instant::now() + within;
        loop {
            if let Some(message) = self.shared.state().federated.iter().find(|message| fits(message)) {
                return message.clone();
            }
            assert!(Instant::now() < deadline, "no {what} came from a partner within {within:?}; faults: {:?}", self.faults());
            thread::sleep(POLL);
        }
    }

    /// What watchers of a user see.
    pub fn presence_of(&self, user: &str) -> Presence {
        self.shared.state().presence_of(user)
    }

    /// From now on watchers of a user who is signed on see this, whatever the client publishes: a telephone or a calendar says so, which no
    /// client of the tests has.
    pub fn show_as(&self, user: &str, presence: Presence) {
        let mut state = self.shared.state();
        if let Some(home) = state.homes.get_mut(user) {
            home.publications.instead = Some(presence);
        }
        state.show(user);
    }

    /// How many subscriptions of partners' people stand.
    pub fn partner_subscriptions(&self) -> usize {
        let state = self.shared.state();
        state.subscriptions.iter().filter(|one| matches!(one.subscriber, watch::Subscriber::Partner(_))).count()
    }

    /// From now on partners may ask so much in a second, and are told 503 beyond; `None` is without limit.
    pub fn throttle(&self, requests_per_second: Option<u32>) {
        self.shared.state().throttle = requests_per_second;
    }

    /// The next `times` requests of a partner with this method are answered so by the edge.
    pub fn refuse(&self, method: &str, status: u16, times: u32) {
        self.shared.state().scripts.push(Script { method: method.to_owned(), status, times });
    }

    /// The next `times` requests of a partner with this method get no answer.
    pub fn ignore(&self, method: &str, times: u32) {
        self.refuse(method, edge::NO_ANSWER, times);
    }

    /// Cuts all connections with partners.
    pub fn cut_federation(&self) {
        let state = self.shared.state();
        for connection in state.connections.values().filter(|connection| connection.side != Side::Client) {
            connection.handle.close();
        }
    }
}

/// Hands events of connections of one side to the state.
fn listener(shared: &Weak<Shared>, side: Side) -> Listener {
    let shared = shared.clone();
    Arc::new(move |event| {
        let Some(shared) = shared.upgrade() else { return };
        let mut state = shared.state();
        match event {
            Event::Opened { id, handle, certificate } => {
                let side = match side {
                    Side::Inbound(_) => match prover(&state, certificate.as_deref()) {
                        Some(partner) => Side::Inbound(partner),
                        None => {
                            state.fault("a certificate that proves no name of the allow list", None);
                            return handle.close();
                        }
                    },
                    other => other,
                };
                state.connections.insert(id, Connection { handle, side });
                if let Side::Outbound(partner) = side {
                    state.opened_to(id, partner);
                }
            }
            Event::Message { id, message } => state.received(id, message),
            Event::Closed { id, why } => {
                if let (Side::Inbound(_) | Side::Outbound(_), Some(why)) = (side, &why)
                    && !state.connections.contains_key(&id)
                {
                    state.fault(&format!("no connection with a partner: {why}"), None);
                }
                state.closed(id, why);
            }
        }
    })
}

/// The partner whose edge's name the certificate proves.
fn prover(state: &State, certificate: Option<&[u8]>) -> Option<usize> {
    let certificate = CertificateDer::from(certificate?.to_vec());
    let parsed = ParsedCertificate::try_from(&certificate).ok()?;
    state.settings.partners.iter().position(|partner| {
        ServerName::try_from(partner.edge.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
    })
}

impl Drop for OcsServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        for address in [self.clients, self.edge] {
            // Wakes the accepting thread.
            let _ = std::net::TcpStream::connect(address);
        }
        for connection in self.shared.state().connections.values() {
            connection.handle.close();
        }
    }
}

impl fmt::Debug for OcsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OcsServer").field("clients", &self.clients).field("edge", &self.edge).finish_non_exhaustive()
    }
}
