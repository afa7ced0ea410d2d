//! One queue in memory: how much is stored, what was settled, and what its reader is about to be given.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use interchange_bus::{BusError, Waiting};
use interchange_model::{Envelope, QueueId};
use sqlx::{Row, SqlitePool};
use tokio::sync::Notify;

use crate::{Shared, store};

/// Envelopes that may wait in memory for one reader.
pub const READY_ENVELOPES: usize = 1024;

/// Bytes of JSON that the envelopes waiting in memory for one reader may have; one more envelope may exceed it.
pub const READY_BYTES: usize = 1 << 20;

/// One queue.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) queue: QueueId,
    /// Never held across an await.
    pub(crate) state: Mutex<State>,
    /// Rung when the reader has something to look at.
    pub(crate) bell: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The queue's row in the table `queue`; none before the first publish.
    pub(crate) number: Option<i64>,
    /// The last sequence number that the writer has given.
    pub(crate) assigned: i64,
    /// The last that is committed.
    pub(crate) stored: i64,
    /// The last that may ever have been leased.
    pub(crate) leased: i64,
    /// Stored and not settled.
    pub(crate) depth: u64,
    /// Settled, and not yet seen by the writer.
    pub(crate) settled: Vec<Settled>,
    /// Settled, and in the writer's present transaction.
    pub(crate) settling: Vec<Settled>,
    /// It is in [`Shared::settled`].
    pub(crate) listed: bool,
    pub(crate) reader: Option<Reader>,
    /// How often it was opened; tells readers apart.
    pub(crate) openings: u64,
}

/// One settled envelope.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) sequence: i64,
    /// Why it goes to quarantine; `None`: it is simply removed.
    pub(crate) dead: Option<String>,
}

/// What is in memory for the one that reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) opening: u64,
    pub(crate) ready: VecDeque<Ready>,
    /// Sum of the sizes in `ready`.
    bytes: usize,
    /// The last sequence number that came into `ready`.
    pub(crate) cursor: i64,
    /// Caught up: whatever is committed next is handed over in memory.
    pub(crate) live: bool,
    /// A page is being read.
    pub(crate) paging: bool,
    /// Settled before this reader came, and perhaps still in the table. The reader's own settlements lie before its cursor.
    pub(crate) skip: Arc<HashSet<i64>>,
    /// What the last page failed with.
    pub(crate) failure: Option<BusError>,
}

/// An envelope for the reader.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) sequence: i64,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) bytes: usize,
}

/// Locks. A poisoned lock is taken all the same: no code that can panic runs between two states that belong together.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(crate) fn new(queue: QueueId) -> Self {
        Self { queue, state: Mutex::default(), bell: Notify::new() }
    }

    /// As the store has it.
    pub(crate) fn stored(queue: QueueId, number: i64, depth: u64, last: i64) -> Self {
        // What was leased before the start is not known, so all of it may have been.
        let state = State { number: Some(number), assigned: last, stored: last, leased: last, depth, ..State::default() };
        Self { queue, state: Mutex::new(state), bell: Notify::new() }
    }

    /// Takes an envelope out. The writer will hear of it.
    pub(crate) fn settle(self: &Arc<Self>, settled: Settled, shared: &Shared) {
        shared.settlements.fetch_add(1, Relaxed);
        let news = {
            let mut state = locked(&self.state);
            state.depth = state.depth.saturating_sub(1);
            state.settled.push(settled);
            !std::mem::replace(&mut state.listed, true)
        };
        if news {
            self.list(shared);
        }
    }

    /// Puts the line where the writer looks. Its `listed` is set already.
    pub(crate) fn list(self: &Arc<Self>, shared: &Shared) {
        locked(&shared.settled).push(self.clone());
        shared.settled_bell.notify_one();
    }

    /// For the operator; `None` when nothing waits.
    pub(crate) async fn waiting(&self, pool: &SqlitePool) -> Result<Option<Waiting>, BusError> {
        let (number, depth, skip) = {
            let state = locked(&self.state);
            let Some(number) = state.number.filter(|_| state.depth > 0) else { return Ok(None) };
            (number, state.depth, state.unremoved())
        };
        // Only those that were settled and are still in the table can stand before the oldest.
        let limit = i64::try_from(skip.len() + 1).unwrap_or(i64::MAX);
        let rows = sqlx::query("SELECT sequence, accepted FROM envelope WHERE queue = ? ORDER BY sequence LIMIT ?")
            .bind(number)
            .bind(limit)
            .fetch_all(pool)
            .await
            .map_err(store::unavailable)?;
        let oldest = rows.iter().find(|row| !skip.contains(&row.get_unchecked::<i64, _>(0)));
        // None: all of it was settled since it was counted.
        Ok(oldest.map(|row| {
            let accepted = Duration::from_millis(row.get_unchecked::<i64, _>(1).unsigned_abs());
            Waiting { queue: self.queue.clone(), depth, oldest: Some(UNIX_EPOCH + accepted) }
        }))
    }
}

impl State {
    /// Sequence numbers that were settled and may still be in the table.
    pub(crate) fn unremoved(&self) -> HashSet<i64> {
        self.settled.iter().chain(&self.settling).map(|settled| settled.sequence).collect()
    }

    /// An envelope has been committed. `true`: the reader should look.
    pub(crate) fn committed(&mut self, sequence: i64, envelope: Arc<Envelope>, bytes: usize) -> bool {
        self.stored = sequence;
        self.depth += 1;
        let Some(reader) = &mut self.reader else { return false };
        // A page may have found it in the table already, between the commit and now.
        if !reader.live || sequence <= reader.cursor {
            return false;
        }
        if reader.is_full() {
            reader.live = false;
            return false;
        }
        reader.push(Ready { sequence, envelope, bytes });
        true
    }
}

impl Reader {
    pub(crate) fn new(state: &State, opening: u64) -> Self {
        let empty = state.depth == 0;
        Self {
            opening,
            ready: VecDeque::new(),
            bytes: 0,
            cursor: if empty { state.stored } else { 0 },
            live: empty,
            paging: false,
            skip: Arc::new(if empty { HashSet::new() } else { state.unremoved() }),
            failure: None,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() >= READY_ENVELOPES || self.bytes >= READY_BYTES
    }

    /// So little is left that the next page should be read now.
    pub(crate) fn is_low(&self) -> bool {
        self.ready.len() < READY_ENVELOPES / 4 && self.bytes < READY_BYTES / 4
    }

    pub(crate) fn push(&mut self, ready: Ready) {
        self.cursor = ready.sequence;
        self.bytes += ready.bytes;
        self.ready.push_back(ready);
    }

    pub(crate) fn pop(&mut self) -> Option<Ready> {
        let ready = self.ready.pop_front()?;
        self.bytes -= ready.bytes;
        Some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interchange_bus::conformance::envelope;

    fn read_by_one_who_has_caught_up() -> State {
        let mut state = State::default();
        state.reader = Some(Reader::new(&state, 1));
        state
    }

    #[test]
    fn what_a_page_has_found_already_is_not_handed_over_again() {
        let mut state = read_by_one_who_has_caught_up();
        // The page saw the row between its commit and the moment when the writer says so.
        state.reader.as_mut().unwrap().cursor = 5;
        assert!(!state.committed(5, envelope(5), 100));
        assert!(state.committed(6, envelope(6), 100));
        let reader = state.reader.as_mut().unwrap();
        assert_eq!(reader.pop().map(|ready| ready.sequence), Some(6));
        assert!(reader.pop().is_none());
    }

    #[test]
    fn memory_for_a_reader_is_bounded_by_number_and_by_size() {
        for (bytes, bound) in [(100, READY_ENVELOPES), (READY_BYTES / 4, 4)] {
            let mut state = read_by_one_who_has_caught_up();
            for sequence in 1..=5000 {
                state.committed(sequence, envelope(0), bytes);
            }
            let reader = state.reader.as_ref().unwrap();
            assert_eq!(reader.ready.len(), bound);
            assert!(!reader.live, "the rest is read from the table, from here on");
            assert_eq!((reader.cursor, state.stored), (bound as i64, 5000));
        }
    }
}
