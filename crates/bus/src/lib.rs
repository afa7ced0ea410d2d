//! The durable line between adapters: what the broker asks of any store that keeps envelopes.
//!
//! A bus holds one queue per link. [`Bus::publish`] appends and returns when a crash can no longer lose what
//! was appended; [`Queue::next`] hands out the oldest envelope not yet leased; [`Queue::settle`] takes it out
//! for good. There is no "again": an envelope whose link went away stays unsettled, and dropping the queue puts
//! everything unsettled back in its old place. So order holds without any requeueing, and a message has an age but no
//! count of attempts.
//!
//! Module [`conformance`] is the suite that every implementation runs. Which platform an envelope came from, who may
//! write to whom, and when a link is up is not known here.

pub mod conformance;

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use interchange_model::{DeliveryId, Envelope, LinkId, QueueId};

/// So many envelopes of one queue can always be leased at once.
pub const MOST_LEASED: usize = 1024;

/// A store of queues. Cheap to share; all methods may be called from many tasks at once.
pub trait Bus: Send + Sync + 'static {
    /// One opened queue.
    type Queue: Queue;

    /// Appends a batch, in order, each envelope to its queue; a queue that does not exist yet comes into being.
    ///
    /// Returns once every envelope of the batch would survive a crash, or is known not to be stored. Batches that one caller
    /// publishes one after the other keep their order; batches published at the same time may come in any order, each queue's part
    /// of a batch whole. A future that is dropped before it has finished may or may not have published its batch.
    ///
    /// # Errors
    /// [`Unpublished`] says which envelopes were not stored, and why; all others are. What one queue refuses does no harm to the
    /// others of the batch. [`BusError::Full`], when a limit is reached: settling makes room. [`BusError::Unavailable`] otherwise;
    /// then it is not known of an envelope that it is stored, and it may still be handed out one day.
    fn publish(&self, batch: Vec<(QueueId, Arc<Envelope>)>) -> impl Future<Output = Result<(), Unpublished>> + Send;

    /// Opens a queue for reading, from its oldest envelope on. One reader at a time; a queue without envelopes opens too.
    ///
    /// # Errors
    /// [`BusError::Taken`] while another reader has it open, [`BusError::Unavailable`] when the store cannot be read.
    fn open(&self, queue: &QueueId) -> impl Future<Output = Result<Self::Queue, BusError>> + Send;

    /// Envelopes in a queue that are not settled, leased ones included; 0 for an unknown queue. A bus that carries several envelopes
    /// in one record may count a record as one where it has not opened it: then this is the least that waits, and 0 only when
    /// nothing does.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    fn depth(&self, queue: &QueueId) -> impl Future<Output = Result<u64, BusError>> + Send;

    /// All queues that are not empty, sorted by name: where things wait, and since when, as far as that is known. A bus that several
    /// hubs share tells of the queues that this one has opened or written to.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    fn waiting(&self) -> impl Future<Output = Result<Vec<Waiting>, BusError>> + Send;

    /// Envelopes of a queue in quarantine: settled as [`Verdict::Dead`], or found damaged in the store.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    fn quarantined(&self, queue: &QueueId) -> impl Future<Output = Result<u64, BusError>> + Send;

    /// Returns once every settlement made before the call would survive a crash. For an orderly stop, so that nothing is
    /// handed over twice after it.
    ///
    /// # Errors
    /// [`BusError::Unavailable`], when the settlements could not be stored; they are tried again with the next commit.
    fn flush(&self) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Tells the other hubs on this bus something that may be lost, is stored nowhere, and waits for nobody. Never displaces or delays
    /// an envelope. A newer word with the same link and key takes the place of one that has not left yet. Does nothing on a bus
    /// that no other hub shares.
    fn tell(&self, word: Transient) {
        let _ = word;
    }

    /// What other hubs [`tell`](Self::tell), from now on; never what this one says itself. To be called once: a second caller takes the
    /// words of the first. `None` on a bus that no other hub shares.
    fn told(&self) -> Option<tokio::sync::mpsc::Receiver<Transient>> {
        None
    }
}

/// A word between the hubs of one bus, about one link, that may be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transient {
    /// Which link it is about.
    pub link: LinkId,
    /// What it is about, within the link: of two words with the same key only the newer matters. `None`: each matters.
    pub key: Option<Arc<str>>,
    /// For the link's adapter to understand; at most [`Transient::LONGEST`] bytes, longer words are not told.
    pub payload: Vec<u8>,
}

impl Transient {
    /// The longest payload, in bytes.
    pub const LONGEST: usize = 64 * 1024;
}

/// A queue opened for reading.
///
/// Dropping it frees the queue at once and puts back, in their old places, all envelopes that were leased and not settled:
/// the next reader gets them first.
pub trait Queue: Send + 'static {
    /// Leases the oldest envelope that this reader has not been given yet; waits while there is none.
    /// How many are leased at once is the reader's to decide; a bus may make it wait when [`MOST_LEASED`] or more are.
    ///
    /// Cancel safe: a future that is dropped before it has finished has leased nothing.
    ///
    /// # Errors
    /// [`BusError::Unavailable`], when the store cannot be read; the call may be repeated. A record that cannot be understood
    /// is no error: it goes to quarantine, is logged, and the next one is given.
    fn next(&mut self) -> impl Future<Output = Result<Lease, BusError>> + Send;

    /// Takes a leased envelope out of the queue, for good.
    ///
    /// May hand this to the store's writer and return before it is committed. Within this process the envelope is gone from that
    /// moment. A crash before the commit brings it back, so a crash repeats at most the envelopes that were leased, or were
    /// settled in the last moments, when it happened. [`Bus::flush`] waits for the commit.
    ///
    /// # Errors
    /// [`BusError::NotLeased`], when this reader has no such lease: it was settled before, or belongs to an earlier reader.
    fn settle(&mut self, delivery: DeliveryId, verdict: Verdict) -> impl Future<Output = Result<(), BusError>> + Send;

    /// How many envelopes should be leased and settled yet before the queue is dropped, so that nothing is handed out twice: the rest of
    /// records of which some envelopes have been leased. 0 on a bus that stores each envelope by itself.
    fn begun(&self) -> usize {
        0
    }

    /// When the queue is to be dropped and opened again at the latest, because the bus takes back by itself what is leased for long, and all that is
    /// leased beside it. `None`: it never does, or nothing is leased.
    fn renew_at(&self) -> Option<tokio::time::Instant> {
        None
    }
}

/// One envelope, handed out and not yet settled. Dropping a lease does nothing; it ends with [`Queue::settle`] or with the queue.
#[derive(Debug, Clone)]
pub struct Lease {
    /// For [`Queue::settle`]. Unique for as long as the bus is open, also between queues: a late word about a lease of an
    /// earlier reader is never mistaken for one of the present.
    pub delivery: DeliveryId,
    /// What was published.
    pub envelope: Arc<Envelope>,
    /// It may have been handed out before: by an earlier reader, or before the bus was last opened.
    pub redelivered: bool,
}

/// How a lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Dealt with: removed.
    Done,
    /// Nobody can deal with it: kept in quarantine, never handed out again.
    Dead {
        /// One sentence for the operator. Never a message's text.
        why: String,
    },
}

/// A queue in which something waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub queue: QueueId,
    /// Envelopes not settled, leased ones included.
    pub depth: u64,
    /// When the oldest of them was accepted, by the hub's clock; `None` where the bus cannot look without taking it.
    pub oldest: Option<SystemTime>,
}

/// A batch that was not stored, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Unpublished {
    /// Why; where there are several reasons, one of them.
    pub error: BusError,
    /// The places in the batch of what is not stored, rising; `None`: all of it.
    pub places: Option<Vec<usize>>,
}

impl Unpublished {
    /// Whether the envelope at this place of the batch is among them.
    #[must_use]
    pub fn concerns(&self, place: usize) -> bool {
        self.places.as_ref().is_none_or(|places| places.binary_search(&place).is_ok())
    }
}

impl From<BusError> for Unpublished {
    fn from(error: BusError) -> Self {
        Self { error, places: None }
    }
}

/// Why a bus did not do what it was asked. One failure can concern many callers, hence `Clone`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The store's limit, the queue's, or the disk's is reached. Settling makes room.
    #[error("the bus is full: {0}")]
    Full(String),
    /// The store cannot be read or written now, or was closed.
    #[error("the bus is unavailable: {0}")]
    Unavailable(String),
    /// The queue has a reader already.
    #[error("the queue has a reader already")]
    Taken,
    /// The reader has no such lease.
    #[error("no such lease")]
    NotLeased,
}
