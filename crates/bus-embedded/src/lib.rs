//! The bus on a local SQLite store: one process, one directory, no service to install.
//!
//! **On disk.** One table, `(queue, sequence) → envelope`, in write-ahead mode with `synchronous = FULL`: a commit
//! that was answered is on the disk. A row is removed when its envelope is settled. Leases are memory only, so after a crash
//! every row is unleased, in its old place.
//!
//! **Writing.** One task owns the only writing connection. All that was published and settled while it was busy goes into
//! its next transaction (group commit): under load many callers share one sync, when idle nobody waits for company.
//! Settlements alone wait [`SETTLE_DELAY`], or until there are [`SETTLEMENTS`], for a larger publish to travel with.
//!
//! **Reading.** A reader that has caught up is handed what was published in memory, after the commit. One that is behind
//! reads the table in pages. At most [`READY_ENVELOPES`] envelopes or [`READY_BYTES`] wait in memory for one reader; what
//! comes beyond that it will find in the table.
//!
//! **Invariants.** Within a queue, sequence numbers rise in the order of publishing and are committed in that order. What a reader
//! has been given is a prefix of the queue, without the settled. An envelope in memory was committed before.

mod line;
mod queue;
mod store;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use interchange_bus::{Bus, BusError, Unpublished, Waiting};
use interchange_model::{Envelope, QueueId};
use sqlx::SqlitePool;
use tokio::sync::{Notify, mpsc, oneshot};

pub use line::{READY_BYTES, READY_ENVELOPES};
pub use queue::EmbeddedQueue;
pub use store::{OpenError, Options};
pub use writer::{SETTLE_DELAY, SETTLEMENTS};

use line::{Line, locked};
use writer::{Command, Entry};

/// Commands that may wait for the writer; then callers wait.
const COMMANDS: usize = 256;

/// A bus in a directory.
///
/// End it with [`EmbeddedBus::close`]. Dropping it instead is like a crash, on purpose: nothing published is lost, and
/// settlements of the last moments may be forgotten.
#[derive(Debug)]
pub struct EmbeddedBus {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What callers, readers and the writer have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Every queue that has been heard of; none is ever taken out, there is one for each link.
    lines: Mutex<HashMap<QueueId, Arc<Line>>>,
    /// Queues with settlements that the writer has not seen.
    settled: Mutex<Vec<Arc<Line>>>,
    /// How many settlements that is.
    settlements: AtomicUsize,
    /// Rung when `settled` gets an entry.
    settled_bell: Notify,
    /// Reading connections.
    pool: SqlitePool,
    /// The last delivery id given.
    deliveries: AtomicU64,
    /// The writer has ended: nothing will come any more.
    closed: AtomicBool,
}

impl EmbeddedBus {
    /// Opens the bus in a directory, which is made if it is not there (mode 0700). Holds the directory's lock until it is
    /// closed or dropped: a second process is refused, after waiting 2 s for the first to end. Ready when it returns; reading
    /// how much is stored takes about a second for a million envelopes.
    ///
    /// # Errors
    /// [`OpenError`], which names the directory and what to do.
    pub async fn open(directory: &Path, options: Options) -> Result<Self, OpenError> {
        let store = store::open(directory, options).await?;
        let shared = Arc::new(Shared {
            lines: Mutex::new(store.lines.into_iter().map(|line| (line.queue.clone(), line)).collect()),
            settled: Mutex::default(),
            settlements: AtomicUsize::new(0),
            settled_bell: Notify::new(),
            pool: store.pool,
            deliveries: Default::default(),
            closed: Default::default(),
        });
        let (commands, inbox) = mpsc::channel(COMMANDS);
        tokio::spawn(writer::run(store.connection, store.lock, inbox, shared.clone()));
        Ok(Self { commands, shared })
    }

    /// Stores what was settled, ends all readers, closes the files and releases the directory.
    ///
    /// # Errors
    /// [`BusError::Unavailable`], when the last settlements could not be stored; it is closed all the same.
    pub async fn close(&self) -> Result<(), BusError> {
        self.shared.pool.close().await;
        self.ask(Command::Close).await
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<Result<(), BusError>>) -> Command) -> Result<(), BusError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Bus for EmbeddedBus {
    type Queue = EmbeddedQueue;

    async fn publish(&self, batch: Vec<(QueueId, Arc<Envelope>)>) -> Result<(), Unpublished> {
        if batch.is_empty() {
            return Ok(());
        }
        // Here, not in the writer: callers serialise beside one another, the writer is alone.
        let entries = {
            let mut entries = Vec::with_capacity(batch.len());
            for (queue, envelope) in batch {
                let line = match entries.last() {
                    Some(Entry { line, .. }) if line.queue == queue => line.clone(),
                    _ => self.shared.line(&queue),
                };
                let json = serde_json::to_string(&*envelope)
                    .map_err(|error| BusError::Unavailable(format!("an envelope has no JSON form: {error}")))?;
                entries.push(Entry::new(line, envelope, json));
            }
            entries
        };
        Ok(self.ask(|done| Command::Publish { entries, done }).await?)
    }

    async fn open(&self, queue: &QueueId) -> Result<EmbeddedQueue, BusError> {
        if self.commands.is_closed() {
            return Err(closed());
        }
        EmbeddedQueue::open(self.shared.line(queue), self.shared.clone())
    }

    async fn depth(&self, queue: &QueueId) -> Result<u64, BusError> {
        let line = locked(&self.shared.lines).get(queue).cloned();
        Ok(line.map_or(0, |line| locked(&line.state).depth))
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, BusError> {
        let lines: Vec<Arc<Line>> = locked(&self.shared.lines).values().cloned().collect();
        let mut waiting = Vec::new();
        for line in lines {
            waiting.extend(line.waiting(&self.shared.pool).await?);
        }
        waiting.sort_by_cached_key(|entry| entry.queue.name());
        Ok(waiting)
    }

    async fn quarantined(&self, queue: &QueueId) -> Result<u64, BusError> {
        let line = locked(&self.shared.lines).get(queue).cloned();
        let Some(number) = line.and_then(|line| locked(&line.state).number) else { return Ok(0) };
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM quarantine WHERE queue = ?")
            .bind(number)
            .fetch_one(&self.shared.pool)
            .await
            .map_err(store::unavailable)?;
        Ok(count.unsigned_abs())
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.ask(Command::Flush).await
    }
}

impl Shared {
    /// The line of a queue, new or known.
    fn line(&self, queue: &QueueId) -> Arc<Line> {
        let mut lines = locked(&self.lines);
        match lines.get(queue) {
            Some(line) => line.clone(),
            None => {
                let line = Arc::new(Line::new(queue.clone()));
                lines.insert(queue.clone(), line.clone());
                line
            }
        }
    }
}

fn closed() -> BusError {
    BusError::Unavailable("the bus is closed".to_owned())
}
