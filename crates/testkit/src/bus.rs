//! A bus in memory: as durable as its [`FakeStorage`], which a test keeps across "restarts".
//!
//! It does what the contract says in the plainest way, and lets a test take the store away: [`FakeBus::refuse_publishing`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use interchange_bus::conformance::Storage;
use interchange_bus::{Bus, BusError, Lease, Queue, Unpublished, Verdict, Waiting};
use interchange_model::{DeliveryId, Envelope, QueueId};
use tokio::sync::Notify;

/// What survives when a [`FakeBus`] is dropped.
#[derive(Debug, Clone, Default)]
pub struct FakeStorage {
    queues: Arc<Mutex<HashMap<QueueId, Stored>>>,
}

#[derive(Debug, Default)]
struct Stored {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    dead: Vec<(Arc<Envelope>, String)>,
}

#[derive(Debug)]
struct Entry {
    envelope: Arc<Envelope>,
    handed_out: bool,
}

/// A bus on a [`FakeStorage`]. Settlements are stored at once. To be opened inside a tokio runtime.
#[derive(Debug, Clone)]
pub struct FakeBus {
    storage: FakeStorage,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Woken by a publish, one for each queue with a reader.
    readers: HashMap<QueueId, Arc<Notify>>,
    deliveries: u64,
    limit: Option<usize>,
    refusal: Option<BusError>,
    batches: Vec<usize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked while it held the lock has failed already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeStorage {
    /// Empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is stored in a queue, oldest first, leased or not.
    #[must_use]
    pub fn stored(&self, queue: &QueueId) -> Vec<Arc<Envelope>> {
        let queues = locked(&self.queues);
        queues.get(queue).map_or_else(Vec::new, |stored| stored.entries.values().map(|entry| entry.envelope.clone()).collect())
    }

    /// What is in a queue's quarantine, with the reasons.
    #[must_use]
    pub fn dead(&self, queue: &QueueId) -> Vec<(Arc<Envelope>, String)> {
        locked(&self.queues).get(queue).map_or_else(Vec::new, |stored| stored.dead.clone())
    }
}

impl FakeBus {
    /// A bus on new storage.
    #[must_use]
    pub fn new() -> Self {
        Self::on(FakeStorage::new())
    }

    /// A bus on storage that an earlier one may have left.
    #[must_use]
    pub fn on(storage: FakeStorage) -> Self {
        Self { storage, shared: Arc::default() }
    }

    /// The storage.
    #[must_use]
    pub fn storage(&self) -> &FakeStorage {
        &self.storage
    }

    /// From now on every publish fails so; `None`: works again.
    pub fn refuse_publishing(&self, refusal: Option<BusError>) {
        locked(&self.shared.state).refusal = refusal;
    }

    /// From now on at most so many envelopes are stored.
    pub fn limit(&self, envelopes: usize) {
        locked(&self.shared.state).limit = Some(envelopes);
    }

    /// The sizes of all batches published so far.
    #[must_use]
    pub fn batches(&self) -> Vec<usize> {
        locked(&self.shared.state).batches.clone()
    }
}

impl Default for FakeBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for FakeBus {
    type Queue = FakeQueue;

    async fn publish(&self, batch: Vec<(QueueId, Arc<Envelope>)>) -> Result<(), Unpublished> {
        // As a real store, it does not answer in the same breath.
        tokio::task::yield_now().await;
        let mut state = locked(&self.shared.state);
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone().into());
        }
        let mut queues = locked(&self.storage.queues);
        let stored: usize = queues.values().map(|stored| stored.entries.len()).sum();
        if state.limit.is_some_and(|limit| stored + batch.len() > limit) {
            return Err(BusError::Full("as the test wants".to_owned()).into());
        }
        state.batches.push(batch.len());
        for (queue, envelope) in batch {
            if let Some(reader) = state.readers.get(&queue) {
                reader.notify_one();
            }
            let stored = queues.entry(queue).or_default();
            stored.next += 1;
            stored.entries.insert(stored.next, Entry { envelope, handed_out: false });
        }
        Ok(())
    }

    async fn open(&self, queue: &QueueId) -> Result<FakeQueue, BusError> {
        let mut state = locked(&self.shared.state);
        if state.readers.contains_key(queue) {
            return Err(BusError::Taken);
        }
        let arrived = Arc::new(Notify::new());
        state.readers.insert(queue.clone(), arrived.clone());
        Ok(FakeQueue { bus: self.clone(), queue: queue.clone(), arrived, position: 0, leases: VecDeque::new() })
    }

    async fn depth(&self, queue: &QueueId) -> Result<u64, BusError> {
        Ok(self.storage.stored(queue).len() as u64)
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, BusError> {
        let queues = locked(&self.storage.queues);
        let mut waiting: Vec<Waiting> = queues
            .iter()
            .filter_map(|(queue, stored)| {
                let (_, oldest) = stored.entries.first_key_value()?;
                Some(Waiting { queue: queue.clone(), depth: stored.entries.len() as u64, oldest: Some(oldest.envelope.accepted) })
            })
            .collect();
        waiting.sort_by_key(|entry| entry.queue.name());
        Ok(waiting)
    }

    async fn quarantined(&self, queue: &QueueId) -> Result<u64, BusError> {
        Ok(self.storage.dead(queue).len() as u64)
    }

    async fn flush(&self) -> Result<(), BusError> {
        Ok(())
    }
}

/// A queue of a [`FakeBus`].
#[derive(Debug)]
pub struct FakeQueue {
    bus: FakeBus,
    queue: QueueId,
    arrived: Arc<Notify>,
    /// The last entry leased.
    position: u64,
    leases: VecDeque<(DeliveryId, u64)>,
}

impl Queue for FakeQueue {
    async fn next(&mut self) -> Result<Lease, BusError> {
        loop {
            if let Some(lease) = self.take() {
                return Ok(lease);
            }
            self.arrived.notified().await;
        }
    }

    async fn settle(&mut self, delivery: DeliveryId, verdict: Verdict) -> Result<(), BusError> {
        let place = self.leases.iter().position(|(known, _)| *known == delivery).ok_or(BusError::NotLeased)?;
        let Some((_, number)) = self.leases.remove(place) else { return Err(BusError::NotLeased) };
        let mut queues = locked(&self.bus.storage.queues);
        let stored = queues.entry(self.queue.clone()).or_default();
        if let (Some(entry), Verdict::Dead { why }) = (stored.entries.remove(&number), verdict) {
            stored.dead.push((entry.envelope, why));
        }
        Ok(())
    }
}

impl FakeQueue {
    fn take(&mut self) -> Option<Lease> {
        let mut state = locked(&self.bus.shared.state);
        let mut queues = locked(&self.bus.storage.queues);
        let (number, entry) = queues.get_mut(&self.queue)?.entries.range_mut(self.position + 1..).next()?;
        state.deliveries += 1;
        let delivery = DeliveryId(state.deliveries);
        let redelivered = std::mem::replace(&mut entry.handed_out, true);
        self.position = *number;
        self.leases.push_back((delivery, *number));
        Some(Lease { delivery, envelope: entry.envelope.clone(), redelivered })
    }
}

impl Drop for FakeQueue {
    fn drop(&mut self) {
        locked(&self.bus.shared.state).readers.remove(&self.queue);
    }
}

impl Storage for FakeStorage {
    type Bus = FakeBus;

    async fn open(&self) -> FakeBus {
        FakeBus::on(self.clone())
    }

    async fn open_small(&self) -> FakeBus {
        let bus = FakeBus::on(self.clone());
        bus.limit(100);
        bus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_keeps_the_contract() {
        interchange_bus::conformance_suite!(run: FakeStorage::new());
    }
}
