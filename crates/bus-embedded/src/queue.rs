//! Reading a queue: from memory when caught up, in pages from the table when behind.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::TryStreamExt;
use interchange_bus::{BusError, Lease, Queue, Verdict};
use interchange_model::{DeliveryId, Envelope};
use sqlx::Row;

use crate::line::{Line, READY_BYTES, READY_ENVELOPES, Reader, Ready, Settled, locked};
use crate::{Shared, closed, store};

/// Rows of one page; with what is left in memory when it is read, fewer than may wait there.
const PAGE: usize = READY_ENVELOPES / 2;

/// A queue of an [`EmbeddedBus`](crate::EmbeddedBus), opened for reading.
#[derive(Debug)]
pub struct EmbeddedQueue {
    line: Arc<Line>,
    shared: Arc<Shared>,
    /// In the order in which they were leased, so both columns rise.
    leases: VecDeque<(DeliveryId, i64)>,
}

impl EmbeddedQueue {
    pub(crate) fn open(line: Arc<Line>, shared: Arc<Shared>) -> Result<Self, BusError> {
        {
            let mut state = locked(&line.state);
            if state.reader.is_some() {
                return Err(BusError::Taken);
            }
            state.openings += 1;
            let reader = Reader::new(&state, state.openings);
            state.reader = Some(reader);
        }
        Ok(Self { line, shared, leases: VecDeque::new() })
    }

    /// Leases what is in memory. `None`: there is nothing, and when there is, the bell rings.
    fn take(&mut self) -> Result<Option<Lease>, BusError> {
        let mut guard = locked(&self.line.state);
        let state = &mut *guard;
        let Some(reader) = &mut state.reader else { return Err(closed()) };
        let ready = reader.pop();
        if !reader.live && !reader.paging && reader.is_low() {
            match reader.failure.take() {
                // Told once; the next call reads again.
                Some(failure) if ready.is_none() => return Err(failure),
                failure => reader.failure = failure,
            }
            if reader.failure.is_none() {
                reader.paging = true;
                let Some(number) = state.number else { return Err(closed()) };
                let page = Page {
                    line: self.line.clone(),
                    shared: self.shared.clone(),
                    opening: reader.opening,
                    number,
                    after: reader.cursor,
                    skip: reader.skip.clone(),
                };
                // A task of its own: a caller that drops and repeats `next` must not start the page again each time.
                tokio::spawn(page.read());
            }
        }
        let Some(ready) = ready else { return Ok(None) };
        let delivery = DeliveryId(self.shared.deliveries.fetch_add(1, Relaxed) + 1);
        self.leases.push_back((delivery, ready.sequence));
        let redelivered = ready.sequence <= state.leased;
        state.leased = state.leased.max(ready.sequence);
        Ok(Some(Lease { delivery, envelope: ready.envelope, redelivered }))
    }
}

impl Queue for EmbeddedQueue {
    async fn next(&mut self) -> Result<Lease, BusError> {
        loop {
            if let Some(lease) = self.take()? {
                return Ok(lease);
            }
            if self.shared.closed.load(Relaxed) {
                return Err(closed());
            }
            self.line.bell.notified().await;
        }
    }

    async fn settle(&mut self, delivery: DeliveryId, verdict: Verdict) -> Result<(), BusError> {
        let place = self.leases.binary_search_by_key(&delivery, |(known, _)| *known).map_err(|_| BusError::NotLeased)?;
        let (_, sequence) = self.leases.remove(place).ok_or(BusError::NotLeased)?;
        let dead = match verdict {
            Verdict::Done => None,
            Verdict::Dead { why } => {
                tracing::warn!(queue = %self.line.queue.name(), sequence, why, "an envelope goes to quarantine");
                Some(why)
            }
        };
        self.line.settle(Settled { sequence, dead }, &self.shared);
        Ok(())
    }
}

impl Drop for EmbeddedQueue {
    fn drop(&mut self) {
        locked(&self.line.state).reader = None;
    }
}

/// A piece of a queue to be read from the table.
struct Page {
    line: Arc<Line>,
    shared: Arc<Shared>,
    opening: u64,
    number: i64,
    after: i64,
    skip: Arc<HashSet<i64>>,
}

/// A row, understood or not.
enum Found {
    Envelope(Ready),
    Damaged { sequence: i64, why: String },
}

impl Page {
    /// Reads it and hands it to the reader that asked, if that one is still there.
    async fn read(self) {
        let found = self.rows().await;
        {
            let mut guard = locked(&self.line.state);
            let state = &mut *guard;
            let Some(reader) = state.reader.as_mut().filter(|reader| reader.opening == self.opening) else { return };
            reader.paging = false;
            match found {
                Ok((rows, last, exhausted)) => {
                    for row in rows {
                        match row {
                            Found::Envelope(ready) => reader.push(ready),
                            Found::Damaged { sequence, why } => {
                                state.depth = state.depth.saturating_sub(1);
                                state.settled.push(Settled { sequence, dead: Some(why) });
                            }
                        }
                    }
                    reader.cursor = reader.cursor.max(last);
                    // Nothing was committed that this page did not see: from here on, memory.
                    reader.live = exhausted && state.stored <= reader.cursor;
                }
                Err(error) => reader.failure = Some(error),
            }
            if state.settled.is_empty() || std::mem::replace(&mut state.listed, true) {
                drop(guard);
            } else {
                drop(guard);
                self.line.list(&self.shared);
            }
        }
        self.line.bell.notify_one();
    }

    /// What there is, the last sequence number seen, and whether that was the end.
    async fn rows(&self) -> Result<(Vec<Found>, i64, bool), BusError> {
        let mut rows =
            sqlx::query("SELECT sequence, envelope FROM envelope WHERE queue = ? AND sequence > ? ORDER BY sequence LIMIT ?")
                .bind(self.number)
                .bind(self.after)
                .bind(PAGE as i64)
                .fetch(&self.shared.pool);
        let (mut found, mut last, mut count, mut bytes) = (Vec::new(), self.after, 0, 0);
        while let Some(row) = rows.try_next().await.map_err(store::unavailable)? {
            count += 1;
            let sequence: i64 = row.get_unchecked(0);
            last = sequence;
            if self.skip.contains(&sequence) {
                continue;
            }
            // Bytes, whatever type the column has in this row: damage must not turn into an error.
            let json: &[u8] = row.try_get_unchecked(1).unwrap_or_default();
            bytes += json.len();
            found.push(self.understand(sequence, json));
            if bytes >= READY_BYTES / 2 {
                return Ok((found, last, false));
            }
        }
        Ok((found, last, count < PAGE))
    }

    fn understand(&self, sequence: i64, json: &[u8]) -> Found {
        match serde_json::from_slice::<Envelope>(json) {
            Ok(envelope) => Found::Envelope(Ready { sequence, envelope: Arc::new(envelope), bytes: json.len() }),
            Err(error) => {
                // The category and the place, not the error's text: that may quote the message.
                let (line, column) = (error.line(), error.column());
                let why = format!("the record cannot be understood: {:?} at {line}:{column}", error.classify());
                let queue = self.line.queue.name();
                tracing::error!(queue, sequence, id = message_id(json), why, "a damaged record goes to quarantine");
                Found::Damaged { sequence, why }
            }
        }
    }
}

/// The id in a damaged record, for the log, if it can still be seen.
fn message_id(json: &[u8]) -> &str {
    let key = br#""id":""#;
    let start = json.windows(key.len()).position(|window| window == key).map(|place| place + key.len());
    let id = start.and_then(|start| json.get(start..start + 32));
    id.filter(|id| id.iter().all(u8::is_ascii_hexdigit)).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or("unknown")
}
