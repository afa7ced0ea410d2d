//! The bus on RabbitMQ: for a hub of several nodes, or a community that has outgrown one machine.
//!
//! **In RabbitMQ.** One quorum queue for each link, with a single active consumer, in a virtual host of the hub's own; one more quorum queue for
//! what is in quarantine; one exchange for words that may be lost. `topology.rs` declares them, once, as a user that may; a running hub
//! needs no right to declare queues.
//!
//! **Records.** What one batch brings for one queue travels together: up to [`RECORD_ENVELOPES`] envelopes in one AMQP message
//! (`record.rs`). Under load that is what sets the rate; an idle hub sends one envelope at a time, at once. A record is acknowledged when all
//! of its envelopes are settled; in this process an envelope that was settled is not handed out again with the rest of its record.
//!
//! **Publishing** (`publisher.rs`): one task, one connection, publisher confirms, many records under way, each `mandatory`. When the connection
//! breaks, what was not confirmed is published again on the next one, marked, and a reader that has seen a marked record before drops it.
//!
//! **Reading** (`queue.rs`): one channel for each open queue, on connections of their own, so that a hub that RabbitMQ has blocked for want of memory
//! or disk still delivers and acknowledges. Nothing is ever requeued by hand, since that would break the order: an envelope that is
//! not settled goes back to its place when the channel is closed, and to whichever hub reads the queue next. RabbitMQ hands a queue to one
//! reader at a time and ignores the acknowledgements of one that it has given up: that is all the fencing there is, and all that is needed.

mod connections;
mod names;
mod publisher;
mod queue;
mod record;
mod topology;
mod transient;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use interchange_bus::{Bus, BusError, Transient, Unpublished, Waiting};
use interchange_model::{Envelope, QueueId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use names::{QUARANTINE, queue_name};
pub use publisher::{PATIENCE, PATIENCE_AFTER_BREAK, PATIENCE_UNDER_WAY, RECORDS_UNDER_WAY};
pub use queue::{PREFETCH, RabbitQueue};
pub use record::{RECORD_BYTES, RECORD_ENVELOPES};
pub use topology::{QueueLimits, setup};

use connections::{Connections, ReadingChannel, Server};
use queue::Line;

/// What RabbitMQ allows (`consumer_timeout`) since 3.8.17 unless it is told otherwise.
pub const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Where RabbitMQ is and how the hub proves itself.
#[derive(Clone)]
pub struct Options {
    /// `amqp://user:password@host:port/vhost` or `amqps://…`, one for each node of the cluster; they are tried in turn.
    pub urls: Vec<String>,
    /// The password, where the addresses hold none.
    pub password: Option<String>,
    /// Authorities that RabbitMQ's certificate may come from, in PEM, beside those of the system; for `amqps`.
    pub authorities: Option<String>,
    /// How long RabbitMQ lets a reader hold a message before it closes the channel and takes back all that the reader has: its `consumer_timeout`,
    /// [`CONSUMER_TIMEOUT`] unless it is configured otherwise. Queues of which something has waited for two thirds of it are opened anew.
    pub consumer_timeout: Duration,
    /// A hub that may: a queue that is not there is declared when it is first used. Without it, it is an error that says what to do.
    pub declare: Option<QueueLimits>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The addresses hold passwords.
        f.debug_struct("Options").field("nodes", &self.urls.len()).field("declare", &self.declare).finish_non_exhaustive()
    }
}

/// How the way to RabbitMQ is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Messages are taken.
    Connected,
    /// RabbitMQ takes none, for want of memory or disk; what it has is still delivered.
    Blocked {
        /// As RabbitMQ said.
        why: String,
    },
    /// There is no connection; it is tried again and again.
    Away {
        /// What the last attempt failed with.
        why: String,
    },
}

/// Why the bus cannot be opened or set up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// An address cannot be read. It is not shown: it may hold a password.
    #[error("address number {number} of RabbitMQ cannot be read: {why}; it has the form amqp://user:password@host:port/vhost")]
    Address {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// No address at all.
    #[error("no address of RabbitMQ is given")]
    NoAddress,
    /// Nobody answers, or not in a way that helps.
    #[error("RabbitMQ cannot be reached at {server}: {why}")]
    Unreachable {
        /// Host, port and virtual host.
        server: String,
        /// What happened.
        why: String,
    },
    /// RabbitMQ refused a declaration.
    #[error("RabbitMQ refuses to declare {what}: {why}")]
    Refused {
        /// Queue or exchange.
        what: String,
        /// As RabbitMQ said.
        why: String,
    },
}

/// A bus on RabbitMQ.
///
/// Dropping it closes its connections without any farewell: nothing published is lost, and what was settled in the last moments may
/// be handed out again.
#[derive(Debug)]
pub struct RabbitBus {
    shared: Arc<Shared>,
    commands: mpsc::Sender<publisher::Command>,
    condition: watch::Receiver<Condition>,
    told: Mutex<Option<mpsc::Receiver<Transient>>>,
    words: mpsc::Sender<Transient>,
    tasks: Vec<JoinHandle<()>>,
}

/// What all parts of one bus have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) servers: Vec<Server>,
    pub(crate) declare: Option<QueueLimits>,
    /// How long a record may be with a reader before the queue is opened anew.
    pub(crate) renew_after: Duration,
    /// For reading, apart from the publisher's.
    pub(crate) connections: Connections,
    /// Every queue that this bus has read or written.
    lines: Mutex<HashMap<QueueId, Arc<Line>>>,
    /// Queues that are known to exist.
    known: Mutex<HashSet<QueueId>>,
    /// The last delivery id given.
    pub(crate) deliveries: AtomicU64,
    /// Channels of queues that were dropped, being closed.
    pub(crate) closing: Mutex<Vec<JoinHandle<()>>>,
}

/// Locks. A poisoned lock is taken all the same: no code that can panic runs between two states that belong together.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RabbitBus {
    /// Opens the bus, inside a tokio runtime, and waits up to 10 s for RabbitMQ to be there.
    ///
    /// # Errors
    /// [`OpenError::Address`], [`OpenError::NoAddress`], and [`OpenError::Unreachable`] when none of the nodes took the connection in that time.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let servers = connections::servers(&options)?;
        let shared = Arc::new(Shared {
            connections: Connections::new(servers.clone()),
            servers,
            declare: options.declare,
            renew_after: options.consumer_timeout.mul_f64(2.0 / 3.0),
            lines: Mutex::default(),
            known: Mutex::default(),
            deliveries: AtomicU64::new(0),
            closing: Mutex::default(),
        });
        let (commands, inbox) = mpsc::channel(publisher::COMMANDS);
        let (condition_sender, mut condition) = watch::channel(Condition::Away { why: "not connected yet".to_owned() });
        let (words, outgoing) = mpsc::channel(transient::WORDS);
        let (incoming, told) = mpsc::channel(transient::WORDS);
        let tasks = vec![
            tokio::spawn(publisher::run(shared.clone(), inbox, condition_sender)),
            tokio::spawn(transient::run(shared.clone(), outgoing, incoming)),
        ];
        let bus = Self { shared, commands, condition: condition.clone(), told: Mutex::new(Some(told)), words, tasks };
        let connected = tokio::time::timeout(
            Duration::from_secs(10),
            condition.wait_for(|condition| !matches!(condition, Condition::Away { .. })),
        );
        if connected.await.is_err() {
            let why = match &*bus.condition.borrow() {
                Condition::Away { why } => why.clone(),
                Condition::Connected | Condition::Blocked { .. } => "too late".to_owned(),
            };
            return Err(OpenError::Unreachable { server: bus.shared.servers[0].name.clone(), why });
        }
        Ok(bus)
    }

    /// How the way to RabbitMQ is, and every change of it.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.clone()
    }

    /// Which of these queues are not there, and so would refuse what is published to them.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    pub async fn missing(&self, queues: &[QueueId]) -> Result<Vec<QueueId>, BusError> {
        let missing = topology::missing(&self.shared, queues).await?;
        locked(&self.shared.known).extend(queues.iter().filter(|queue| !missing.contains(queue)).cloned());
        Ok(missing)
    }

    /// Acknowledges what was settled and closes the connections in good order.
    ///
    /// # Errors
    /// [`BusError::Unavailable`], when RabbitMQ could not be told; those envelopes may be handed out again.
    pub async fn close(&self) -> Result<(), BusError> {
        let flushed = self.flush().await;
        let (done, answer) = tokio::sync::oneshot::channel();
        if self.commands.send(publisher::Command::Close(done)).await.is_ok() {
            let _ = answer.await;
        }
        self.shared.connections.close().await;
        flushed
    }
}

impl Drop for RabbitBus {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.connections.abandon();
    }
}

impl Bus for RabbitBus {
    type Queue = RabbitQueue;

    async fn publish(&self, batch: Vec<(QueueId, Arc<Envelope>)>) -> Result<(), Unpublished> {
        if batch.is_empty() {
            return Ok(());
        }
        for (queue, _) in &batch {
            self.shared.ensure(queue).await?;
        }
        publisher::publish(&self.commands, batch).await
    }

    async fn open(&self, queue: &QueueId) -> Result<RabbitQueue, BusError> {
        self.shared.ensure(queue).await?;
        RabbitQueue::open(self.shared.line(queue), self.shared.clone()).await
    }

    async fn depth(&self, queue: &QueueId) -> Result<u64, BusError> {
        self.shared.depth(&mut None, queue).await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, BusError> {
        let mut queues: Vec<QueueId> = locked(&self.shared.known).iter().cloned().collect();
        queues.sort_by_cached_key(QueueId::name);
        let mut waiting = Vec::new();
        let mut channel = None;
        for queue in queues {
            let depth = self.shared.depth(&mut channel, &queue).await?;
            if depth > 0 {
                waiting.push(Waiting { queue, depth, oldest: None });
            }
        }
        Ok(waiting)
    }

    async fn quarantined(&self, queue: &QueueId) -> Result<u64, BusError> {
        topology::quarantined(&self.shared, queue).await
    }

    async fn flush(&self) -> Result<(), BusError> {
        let closing = std::mem::take(&mut *locked(&self.shared.closing));
        for task in closing {
            let _ = task.await;
        }
        let lines: Vec<Arc<Line>> = locked(&self.shared.lines).values().cloned().collect();
        for line in lines {
            line.flush().await?;
        }
        Ok(())
    }

    fn tell(&self, word: Transient) {
        if word.payload.len() > Transient::LONGEST {
            tracing::debug!(link = %word.link, bytes = word.payload.len(), "a word to the other hubs is too long, and is not told");
        } else if self.words.try_send(word).is_err() {
            tracing::debug!("a word to the other hubs is dropped: too many wait already");
        }
    }

    fn told(&self) -> Option<mpsc::Receiver<Transient>> {
        locked(&self.told).take()
    }
}

impl Shared {
    /// The line of a queue, new or known.
    fn line(&self, queue: &QueueId) -> Arc<Line> {
        locked(&self.lines).entry(queue.clone()).or_insert_with(|| Arc::new(Line::new(queue.clone()))).clone()
    }

    /// Envelopes with this bus's reader, and records that wait; over `channel`, where there is one.
    async fn depth(&self, channel: &mut Option<ReadingChannel>, queue: &QueueId) -> Result<u64, BusError> {
        let line = locked(&self.lines).get(queue).cloned();
        let leased = line.map_or(0, |line| line.unsettled());
        Ok(leased + topology::ready(self, channel, queue).await?.unwrap_or(0))
    }

    /// Makes sure that a queue is there, as far as this hub may.
    async fn ensure(&self, queue: &QueueId) -> Result<(), BusError> {
        let Some(limits) = self.declare else { return Ok(()) };
        if locked(&self.known).contains(queue) {
            return Ok(());
        }
        topology::declare(self, queue, limits).await?;
        locked(&self.known).insert(queue.clone());
        Ok(())
    }
}

/// What lapin says, as the bus says it.
pub(crate) fn unavailable(error: impl fmt::Display) -> BusError {
    BusError::Unavailable(error.to_string())
}
