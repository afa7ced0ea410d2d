//! The layer: what goes in and comes out, and the maps that bind messages to transactions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use sip_codec::{Message, Request, Response};

use crate::branch;
use crate::client::Client;
use crate::key::{CallKey, ClientKey, ServerKey};
use crate::server::Server;
use crate::timers::{Kind, Owner, Queue, Timers};

/// A connection, or a UDP socket towards one address. The caller's number for it, never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Whom a flow was proved to belong to. All flows of one peer share its transactions, so that a request repeated on a
/// new connection is known; no peer reaches those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u64);

/// A way to and from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where to transmit.
    pub id: FlowId,
    /// Whose it is.
    pub peer: PeerId,
    /// TCP or TLS: nothing is retransmitted.
    pub reliable: bool,
    /// The far end's address, for `received` and `rport` in answers the layer makes itself.
    pub source: Option<SocketAddr>,
}

/// A request of ours and its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// A request of a peer and our answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u64);

/// What must now happen.
#[derive(Clone)]
pub enum Action {
    /// Write these bytes: one whole message.
    Transmit {
        /// Where.
        flow: FlowId,
        /// What.
        bytes: Bytes,
    },
    /// A new request; answer it with [`TransactionLayer::respond`]. Never an ACK or a CANCEL.
    Request {
        /// To answer it by.
        server: ServerId,
        /// Where it came from.
        flow: Flow,
        /// The request.
        request: Box<Request>,
        /// The live transaction this one repeats on another way (RFC 3261 §8.2.2.2): to be answered 482, or alike.
        merged_with: Option<ServerId>,
    },
    /// An ACK that ends no transaction: that of a 2xx, or of nothing we know. Never answered.
    Ack {
        /// The INVITE whose 2xx it acknowledges; its retransmissions have stopped.
        server: Option<ServerId>,
        /// The ACK.
        request: Box<Request>,
    },
    /// The peer takes back an INVITE that has no final answer; the CANCEL is answered. Answer the INVITE with 487.
    Cancelled {
        /// The INVITE.
        server: ServerId,
    },
    /// An answer to one of our requests. Provisional ones may come often; a final one comes once, but each 2xx of an INVITE
    /// is told, since each needs an ACK.
    Response {
        /// Our request.
        client: ClientId,
        /// The answer.
        response: Box<Response>,
    },
    /// Nobody gave a final answer in time (timers B and F). The last word on this client.
    TimedOut {
        /// Our request.
        client: ClientId,
    },
    /// The flow closed before the final answer. The last word on this client; the request may have been acted upon.
    TransportFailed {
        /// Our request.
        client: ClientId,
    },
    /// No ACK came for our final answer to an INVITE (timer H, or 64·T1 after a 2xx). After a 2xx: send BYE.
    NotAcknowledged {
        /// The INVITE.
        server: ServerId,
    },
}

/// Shows no address and no text, so that it may be logged.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit { flow, bytes } => write!(f, "Transmit({flow:?}, {} bytes)", bytes.len()),
            Self::Request { server, flow, request, merged_with } => {
                write!(f, "Request({server:?}, {:?}, {request:?}, merged with {merged_with:?})", flow.id)
            }
            Self::Ack { server, request } => write!(f, "Ack({server:?}, {request:?})"),
            Self::Cancelled { server } => write!(f, "Cancelled({server:?})"),
            Self::Response { client, response } => write!(f, "Response({client:?}, {response:?})"),
            Self::TimedOut { client } => write!(f, "TimedOut({client:?})"),
            Self::TransportFailed { client } => write!(f, "TransportFailed({client:?})"),
            Self::NotAcknowledged { server } => write!(f, "NotAcknowledged({server:?})"),
        }
    }
}

/// Values that do not change while a layer lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Timer values.
    pub timers: Timers,
    /// Server transactions at one time, those kept for repeats included. More get 503 with `Retry-After`.
    pub servers: usize,
    /// Of these, as many may be of one peer.
    pub servers_per_peer: usize,
    /// Client transactions at one time. More are a [`crate::SendError`].
    pub clients: usize,
    /// Stands in our branches behind the cookie; a token, such as the node's name.
    pub branch_label: String,
    /// `Retry-After` of the 503, in seconds.
    pub overload_retry_after: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timers: Timers::default(),
            servers: 200_000,
            servers_per_peer: 100_000,
            clients: 100_000,
            branch_label: "hub".into(),
            overload_retry_after: 5,
        }
    }
}

/// All transactions of one adapter.
///
/// Call [`receive`](Self::receive) with each decoded message, [`tick`](Self::tick) at [`deadline`](Self::deadline), and
/// [`flow_closed`](Self::flow_closed) for each flow that ends. Every call pushes what must now happen onto `out`, in order.
pub struct TransactionLayer {
    pub(crate) settings: Settings,
    pub(crate) branches: branch::Source,
    pub(crate) timers: Queue,
    next_id: u64,
    pub(crate) clients: HashMap<ClientId, Client>,
    pub(crate) client_keys: HashMap<ClientKey, ClientId>,
    pub(crate) servers: HashMap<ServerId, Server>,
    pub(crate) server_keys: HashMap<ServerKey, ServerId>,
    pub(crate) calls: HashMap<CallKey, ServerId>,
    pub(crate) servers_of: HashMap<PeerId, usize>,
    flows: BTreeMap<FlowId, BTreeSet<Owner>>,
}

impl TransactionLayer {
    /// An empty layer. The same seed gives the same branches and tags: take a fresh random one at each start.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let branches = branch::Source::new(seed, &settings.branch_label);
        Self {
            settings,
            branches,
            timers: Queue::default(),
            next_id: 0,
            clients: HashMap::new(),
            client_keys: HashMap::new(),
            servers: HashMap::new(),
            server_keys: HashMap::new(),
            calls: HashMap::new(),
            servers_of: HashMap::new(),
            flows: BTreeMap::new(),
        }
    }

    /// Takes one decoded message. A response that answers nothing of ours is dropped.
    pub fn receive(&mut self, now: Instant, flow: Flow, message: Message, out: &mut Vec<Action>) {
        match message {
            Message::Request(request) => self.receive_request(now, flow, request, out),
            Message::Response(response) => self.receive_response(now, flow, response, out),
        }
    }

    /// A flow is gone: each of our requests on it that awaits an answer fails now. Answers still to be given are held for a
    /// repeat of the request on another flow, or for [`TransactionLayer::reroute`].
    pub fn flow_closed(&mut self, now: Instant, flow: FlowId, out: &mut Vec<Action>) {
        for owner in self.flows.remove(&flow).unwrap_or_default() {
            match owner {
                Owner::Client(client) => self.client_flow_closed(now, client, out),
                Owner::Server(server) => self.server_flow_closed(server),
            }
        }
    }

    /// When [`TransactionLayer::tick`] is next wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// Does what is due, in the order it fell due.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        while let Some((due, owner, kind)) = self.timers.pop_due(now) {
            match (owner, kind) {
                (Owner::Client(client), Kind::Retransmit) => self.client_retransmit(due, now, client, out),
                (Owner::Client(client), Kind::Trying | Kind::End) => self.client_end(client, out),
                (Owner::Server(server), Kind::Retransmit) => self.server_retransmit(due, now, server, out),
                (Owner::Server(server), Kind::Trying) => self.server_trying(server, out),
                (Owner::Server(server), Kind::End) => self.server_end(server, out),
            }
        }
    }

    /// Client transactions alive, those that only absorb repeats included.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Server transactions alive, those that only answer repeats included.
    pub fn server_count(&self) -> usize {
        self.servers.len()
    }

    pub(crate) fn new_client_id(&mut self) -> ClientId {
        self.next_id += 1;
        ClientId(self.next_id)
    }

    pub(crate) fn new_server_id(&mut self) -> ServerId {
        self.next_id += 1;
        ServerId(self.next_id)
    }

    pub(crate) fn bind_flow(&mut self, flow: FlowId, owner: Owner) {
        self.flows.entry(flow).or_default().insert(owner);
    }

    pub(crate) fn unbind_flow(&mut self, flow: FlowId, owner: Owner) {
        if let Some(owners) = self.flows.get_mut(&flow) {
            owners.remove(&owner);
            if owners.is_empty() {
                self.flows.remove(&flow);
            }
        }
    }
}

/// When a timer that fell due at `due` is next wanted. After a long sleep missed retransmissions are left out, not made up.
pub(crate) fn next_after(due: Instant, now: Instant, interval: std::time::Duration) -> Instant {
    let next = due + interval;
    if next > now { next } else { now + interval }
}
