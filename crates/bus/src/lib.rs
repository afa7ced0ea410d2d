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

use interchange_model::{DeliveryId, Envelope, QueueId};

/// A store of queues. Cheap to share; all methods may be called from many tasks at once.
pub trait Bus: Send + Sync + 'static {
    /// One opened queue.
    type Queue: Queue;

    /// Appends a batch, in order, each envelope to its queue; a queue that does not exist yet comes into being.
    ///
    /// Returns once every envelope of the batch would survive a crash. One batch is one commit: after an error none of it is
    /// stored. Batches that one caller publishes one after the other keep their order; batches published at the
    /// same time may come in any order, each whole. A future that is dropped before it has finished may or may not have
    /// published its batch.
    ///
    /// # Errors
    /// [`BusError::Full`], when the store's limit is reached: settling makes room. [`BusError::Unavailable`] otherwise.
    fn publish(&self, batch: Vec<(QueueId, Arc<Envelope>)>) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Opens a queue for reading, from its oldest envelope on. One reader at a time; a queue without envelopes opens too.
    ///
    /// # Errors
    /// [`BusError::Taken`] while another reader has it open, [`BusError::Unavailable`] when the store cannot be read.
    fn open(&self, queue: &QueueId) -> impl Future<Output = Result<Self::Queue, BusError>> + Send;

    /// Envelopes in a queue that are not settled, leased ones included; 0 for an unknown queue.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    fn depth(&self, queue: &QueueId) -> impl Future<Output = Result<u64, BusError>> + Send;

    /// All queues that are not empty, sorted by name: where things wait, and since when.
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
}

/// A queue opened for reading.
///
/// Dropping it frees the queue at once and puts back, in their old places, all envelopes that were leased and not settled:
/// the next reader gets them first.
pub trait Queue: Send + 'static {
    /// Leases the oldest envelope that this reader has not been given yet; waits while there is none.
    /// Nothing limits how many are leased at once: that is the reader's to decide.
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
    /// When the oldest of them was accepted, by the hub's clock.
    pub oldest: SystemTime,
}

/// Why a bus did not do what it was asked. One failure can concern many callers, hence `Clone`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The store's limit, or the disk, is full. Nothing of the batch is stored; settling makes room.
    #[error("the bus is full: {0}")]
    Full(String),
    /// The store cannot be read or written now, or was closed. Nothing of the batch is stored.
    #[error("the bus is unavailable: {0}")]
    Unavailable(String),
    /// The queue has a reader already.
    #[error("the queue has a reader already")]
    Taken,
    /// The reader has no such lease.
    #[error("no such lease")]
    NotLeased,
}
