//! What the loop, its listeners and its connections have in common, and what connections tell the loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use interchange_adapter::{CloseReason, ConnId, Input, TlsPeer, Via};
use interchange_model::PlatformName;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use crate::accounts::AccountQuestion;
use crate::listen::{Gate, Limits};
use crate::observe::Observation;
use crate::outbox::Handle;
use crate::reach::Reach;
use crate::resolve::Resolver;
use crate::stats::DriverStats;
use crate::tls::Tls;

/// What a connection tells the loop.
pub(crate) enum Event {
    Opened {
        conn: ConnId,
        via: Box<Via>,
        by: Opener,
    },
    Received {
        conn: ConnId,
        bytes: Bytes,
    },
    Secured {
        conn: ConnId,
        peer: Box<TlsPeer>,
    },
    Closed {
        conn: ConnId,
        why: CloseReason,
        detail: String,
    },
    /// A dial over UDP has found its peer's address.
    Resolved {
        conn: ConnId,
        peer: SocketAddr,
    },
    /// A question about an account was answered.
    Answered(Box<Input>),
}

/// How a connection came to the loop.
pub(crate) enum Opener {
    /// The loop dialled it and knows it.
    Dial,
    /// A listener accepted it.
    Stream(Handle),
    /// The first datagram on this one of the UDP sockets.
    Datagrams(usize),
}

/// What the loop, its listeners and its connections have in common, also across restarts of the adapter.
pub(crate) struct Shared {
    pub(crate) name: PlatformName,
    pub(crate) tls: Tls,
    pub(crate) resolver: Resolver,
    pub(crate) reach: Reach,
    pub(crate) limits: Limits,
    pub(crate) stats: Arc<DriverStats>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) dials: Semaphore,
    pub(crate) tasks: TaskTracker,
    pub(crate) accepted: AtomicU64,
    pub(crate) observer: Option<mpsc::Sender<Observation>>,
    pub(crate) accounts: Option<mpsc::Sender<AccountQuestion>>,
}

impl Shared {
    pub(crate) fn next_accepted(&self) -> u64 {
        self.accepted.fetch_add(1, Relaxed)
    }
}
