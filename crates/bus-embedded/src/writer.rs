//! The task that owns the only writing connection: group commit.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use interchange_bus::BusError;
use interchange_model::{Envelope, to_millis};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::line::{Line, Settled, locked};
use crate::{Shared, store};

/// How long settlements wait at most for others, or for a larger publish, to share a commit with.
pub const SETTLE_DELAY: Duration = Duration::from_millis(10);

/// How many settlements wait at most while small publishes are committed: a crash hands that many over again, beside what was leased.
pub const SETTLEMENTS: usize = 64;

/// How long settlements wait after a commit that failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Rows after which no further batch joins a transaction.
const ROWS: usize = 1024;

/// Rows, or removals, of one statement: any number is a sum of few of these, and each is prepared once.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// Rows, and removals, of a transaction that is one text.
const SMALL: usize = 4;

/// An envelope to be stored.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) line: Arc<Line>,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) json: String,
    /// Given by the writer.
    sequence: i64,
    /// Of the JSON, once that has gone to the database.
    bytes: usize,
}

impl Entry {
    pub(crate) fn new(line: Arc<Line>, envelope: Arc<Envelope>, json: String) -> Self {
        Self { line, envelope, json, sequence: 0, bytes: 0 }
    }
}

type Done = oneshot::Sender<Result<(), BusError>>;

/// What the writer is asked.
#[derive(Debug)]
pub(crate) enum Command {
    Publish {
        entries: Vec<Entry>,
        done: Done,
    },
    /// Store what was settled before.
    Flush(Done),
    /// The same, then close everything.
    Close(Done),
}

/// Runs until it is told to close, or the bus is dropped.
pub(crate) async fn run(connection: SqliteConnection, lock: File, mut inbox: mpsc::Receiver<Command>, shared: Arc<Shared>) {
    let mut writer = Writer { connection, shared, texts: HashMap::new(), settle_at: None, emptied: None };
    let closing = writer.work(&mut inbox).await;
    // Callers that come now are told; those that have come are told by their dropped answers.
    drop(inbox);
    writer.shared.closed.store(true, Relaxed);
    let lines: Vec<Arc<Line>> = locked(&writer.shared.lines).values().cloned().collect();
    for line in lines {
        line.bell.notify_one();
    }
    if let Err(error) = writer.connection.close().await {
        tracing::warn!(%error, "the bus could not be closed in order; it will recover when it is opened");
    }
    // Not before the connection's own thread has ended: a commit might still be under way in it.
    drop(lock);
    if let Some((done, result)) = closing {
        let _ = done.send(result);
    }
}

struct Writer {
    connection: SqliteConnection,
    shared: Arc<Shared>,
    /// Statements by what they do and to how many.
    texts: HashMap<Text, Arc<str>>,
    /// When settlements that no publish has taken along are stored.
    settle_at: Option<Instant>,
    /// When the write-ahead file was last emptied because a commit had failed.
    emptied: Option<Instant>,
}

/// What goes to the database in one transaction.
#[derive(Default)]
struct Work {
    rows: Vec<Row>,
    /// Queue, first and last sequence number.
    removals: Vec<(i64, i64, i64)>,
    /// Queue, sequence number, reason.
    dead: Vec<(i64, i64, String)>,
}

struct Row {
    queue: i64,
    sequence: i64,
    accepted: i64,
    json: String,
}

impl Writer {
    /// The loop. Returns when it should end, with whom to tell and what.
    async fn work(&mut self, inbox: &mut mpsc::Receiver<Command>) -> Option<(Done, Result<(), BusError>)> {
        let mut publishes: Vec<(Vec<Entry>, Done)> = Vec::new();
        loop {
            let mut asked = None;
            let shared = self.shared.clone();
            tokio::select! {
                biased;
                command = inbox.recv() => {
                    let mut next = Some(command?);
                    let mut rows = 0;
                    while let Some(command) = next.take() {
                        match command {
                            Command::Publish { entries, done } => {
                                rows += entries.len();
                                publishes.push((entries, done));
                                next = if rows < ROWS { inbox.try_recv().ok() } else { None };
                            }
                            other => asked = Some(other),
                        }
                    }
                }
                () = shared.settled_bell.notified(), if self.settle_at.is_none() => {
                    self.settle_at = Some(Instant::now() + SETTLE_DELAY);
                    continue;
                }
                () = until(self.settle_at) => {}
            }
            // A small publish goes alone, as a single statement, which costs half; settlements gather meanwhile.
            let rows: usize = publishes.iter().map(|(entries, _)| entries.len()).sum();
            let due =
                self.settle_at.is_some_and(|at| at <= Instant::now()) || self.shared.settlements.load(Relaxed) >= SETTLEMENTS;
            let alone = asked.is_none() && !due && (1..=SMALL).contains(&rows);
            let settled = if alone { Vec::new() } else { self.take_settled() };
            let result = self.commit(&mut publishes, settled).await;
            match asked {
                Some(Command::Flush(done)) => {
                    let _ = done.send(result);
                }
                Some(Command::Close(done)) => return Some((done, result)),
                _ => {}
            }
        }
    }

    /// The queues with settlements.
    fn take_settled(&mut self) -> Vec<Arc<Line>> {
        self.settle_at = None;
        self.shared.settlements.store(0, Relaxed);
        std::mem::take(&mut *locked(&self.shared.settled))
    }

    /// One transaction with all that was published and settled. Answers the publishers. Fails when settlements were not stored.
    async fn commit(&mut self, publishes: &mut Vec<(Vec<Entry>, Done)>, settled: Vec<Arc<Line>>) -> Result<(), BusError> {
        let mut work = Work::default();
        for line in &settled {
            gather(line, &mut work);
        }
        let mut result = self.number_queues(publishes).await;
        if result.is_ok() {
            publishes.iter_mut().flat_map(|(entries, _)| entries).for_each(|entry| assign(entry, &mut work));
            result = self.execute(&mut work).await;
        }
        let settled_too = match &result {
            Ok(()) => Ok(()),
            // A full store must still be able to give room: the settlements alone.
            Err(_) if !publishes.is_empty() && !settled.is_empty() => {
                work.rows.clear();
                self.execute(&mut work).await
            }
            Err(error) => Err(error.clone()),
        };
        for line in &settled {
            self.settlements_done(line, settled_too.is_ok());
        }
        if let Err(error) = result.as_ref().and(settled_too.as_ref()) {
            tracing::error!(%error, "the bus could not commit");
        }
        for (entries, done) in publishes.drain(..) {
            if result.is_ok() {
                hand_over(entries);
            }
            // Nobody waits any more: stored all the same.
            let _ = done.send(result.clone());
        }
        if settled.is_empty() { Ok(()) } else { settled_too }
    }

    /// Gives each queue that is new its number.
    async fn number_queues(&mut self, publishes: &[(Vec<Entry>, Done)]) -> Result<(), BusError> {
        for entry in publishes.iter().flat_map(|(entries, _)| entries) {
            if locked(&entry.line.state).number.is_none() {
                let number: i64 = sqlx::query_scalar("INSERT INTO queue (name) VALUES (?) RETURNING id")
                    .bind(entry.line.queue.name())
                    .fetch_one(&mut self.connection)
                    .await
                    .map_err(store::unavailable)?;
                locked(&entry.line.state).number = Some(number);
            }
        }
        Ok(())
    }

    fn settlements_done(&mut self, line: &Arc<Line>, stored: bool) {
        let again = {
            let mut state = locked(&line.state);
            let settling = std::mem::take(&mut state.settling);
            if !stored {
                state.settled.extend(settling);
            }
            !stored && !std::mem::replace(&mut state.listed, true)
        };
        if again {
            locked(&self.shared.settled).push(line.clone());
        }
        if !stored {
            self.settle_at = Some(Instant::now() + RETRY_DELAY);
        }
    }

    /// Writes, and syncs.
    async fn execute(&mut self, work: &mut Work) -> Result<(), BusError> {
        let result = self.try_execute(work).await;
        if result.is_err() {
            // Fails when the transaction is over already, which is as good.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
            self.empty_write_ahead().await;
        }
        result.map_err(store::unavailable)
    }

    /// After a failure: moves what is in the write-ahead file into the database and cuts it, at most once a second. Where there is no
    /// room for the file to grow, nothing could be removed either, and the store would stay full for ever.
    async fn empty_write_ahead(&mut self) {
        if self.emptied.is_some_and(|at| at.elapsed() < RETRY_DELAY) {
            return;
        }
        self.emptied = Some(Instant::now());
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await {
            tracing::error!(%error, "the bus cannot move what it has stored into its database");
        }
    }

    async fn try_execute(&mut self, work: &mut Work) -> Result<(), sqlx::Error> {
        let (rows, removals) = (work.rows.len(), work.removals.len());
        if rows == 0 && removals == 0 && work.dead.is_empty() {
            return Ok(());
        }
        // Each execution is a trip to the connection's thread, so what is small goes in one.
        if work.dead.is_empty() && rows <= SMALL && removals <= SMALL {
            let mut arguments = SqliteArguments::default();
            bind_removals(&work.removals, &mut arguments)?;
            bind_rows(&mut work.rows, &mut arguments)?;
            return self.run(Text::Whole { rows, removals }, arguments).await;
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        for (queue, sequence, why) in &work.dead {
            quarantine(&mut self.connection, *queue, *sequence, why).await?;
        }
        // Removals first: the pages that they free are used again at once.
        for piece in pieces(removals) {
            let mut arguments = SqliteArguments::default();
            bind_removals(&work.removals[piece.clone()], &mut arguments)?;
            self.run(Text::Remove(piece.len()), arguments).await?;
        }
        for piece in pieces(rows) {
            let mut arguments = SqliteArguments::default();
            bind_rows(&mut work.rows[piece.clone()], &mut arguments)?;
            self.run(Text::Insert(piece.len()), arguments).await?;
        }
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }

    async fn run(&mut self, text: Text, arguments: SqliteArguments) -> Result<(), sqlx::Error> {
        let text = self.texts.entry(text).or_insert_with(|| text.sql().into()).clone();
        sqlx::query_with(AssertSqlSafe(text), arguments).execute(&mut self.connection).await.map(drop)
    }
}

/// Which statement. There are few, so each is prepared once and kept by the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Text {
    /// So many rows.
    Insert(usize),
    /// So many ranges.
    Remove(usize),
    /// A whole transaction.
    Whole { rows: usize, removals: usize },
}

impl Text {
    fn sql(self) -> String {
        match self {
            Text::Insert(0) => String::new(),
            Text::Insert(rows) => {
                let values = vec!["(?,?,?,?)"; rows].join(",");
                format!("INSERT INTO envelope (queue, sequence, accepted, envelope) VALUES {values};")
            }
            Text::Remove(ranges) => "DELETE FROM envelope WHERE queue = ? AND sequence BETWEEN ? AND ?;".repeat(ranges),
            // One statement is a transaction by itself.
            Text::Whole { rows, removals: 0 } => Text::Insert(rows).sql(),
            Text::Whole { rows: 0, removals: 1 } => Text::Remove(1).sql(),
            Text::Whole { rows, removals } => {
                format!("BEGIN IMMEDIATE;{}{}COMMIT;", Text::Remove(removals).sql(), Text::Insert(rows).sql())
            }
        }
    }
}

/// `count` as ranges whose lengths are all in [`SIZES`].
fn pieces(count: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| start + size <= count)?;
        start += size;
        Some(start - size..start)
    })
}

fn bind_removals(removals: &[(i64, i64, i64)], arguments: &mut SqliteArguments) -> Result<(), sqlx::Error> {
    for (queue, first, last) in removals {
        for number in [queue, first, last] {
            arguments.add(*number).map_err(sqlx::Error::Encode)?;
        }
    }
    Ok(())
}

/// Takes the JSON out of the rows.
fn bind_rows(rows: &mut [Row], arguments: &mut SqliteArguments) -> Result<(), sqlx::Error> {
    arguments.reserve(rows.len() * 4, 0);
    for row in rows {
        for number in [row.queue, row.sequence, row.accepted] {
            arguments.add(number).map_err(sqlx::Error::Encode)?;
        }
        arguments.add(std::mem::take(&mut row.json)).map_err(sqlx::Error::Encode)?;
    }
    Ok(())
}

async fn quarantine(connection: &mut SqliteConnection, queue: i64, sequence: i64, why: &str) -> Result<(), sqlx::Error> {
    let copied = sqlx::query(
        "INSERT INTO quarantine (queue, sequence, accepted, envelope, reason, quarantined)
         SELECT queue, sequence, accepted, envelope, ?, ? FROM envelope WHERE queue = ? AND sequence = ?",
    );
    copied.bind(why).bind(millis(SystemTime::now())).bind(queue).bind(sequence).execute(&mut *connection).await?;
    let removed = sqlx::query("DELETE FROM envelope WHERE queue = ? AND sequence = ?");
    removed.bind(queue).bind(sequence).execute(connection).await.map(drop)
}

/// Takes what was settled in a line into the work.
fn gather(line: &Line, work: &mut Work) {
    let mut state = locked(&line.state);
    state.listed = false;
    let mut settled = std::mem::take(&mut state.settled);
    settled.sort_unstable_by_key(|settled| settled.sequence);
    // Without a number nothing was ever stored, so nothing was settled.
    if let Some(queue) = state.number {
        for Settled { sequence, dead } in &settled {
            match (dead, work.removals.last_mut()) {
                (Some(why), _) => work.dead.push((queue, *sequence, why.clone())),
                (None, Some((same, _, last))) if *same == queue && *last + 1 == *sequence => *last = *sequence,
                (None, _) => work.removals.push((queue, *sequence, *sequence)),
            }
        }
    }
    state.settling = settled;
}

/// Gives an entry its place in its queue.
fn assign(entry: &mut Entry, work: &mut Work) {
    let mut state = locked(&entry.line.state);
    state.assigned += 1;
    entry.sequence = state.assigned;
    entry.bytes = entry.json.len();
    work.rows.push(Row {
        queue: state.number.unwrap_or_default(),
        sequence: state.assigned,
        accepted: millis(entry.envelope.accepted),
        json: std::mem::take(&mut entry.json),
    });
}

/// Gives what is committed to the readers that have caught up.
fn hand_over(entries: Vec<Entry>) {
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        let line = entry.line.clone();
        let mut state = locked(&line.state);
        let mut ring = state.committed(entry.sequence, entry.envelope, entry.bytes);
        while let Some(entry) = entries.next_if(|next| Arc::ptr_eq(&next.line, &line)) {
            ring |= state.committed(entry.sequence, entry.envelope, entry.bytes);
        }
        drop(state);
        if ring {
            line.bell.notify_one();
        }
    }
}

fn millis(time: SystemTime) -> i64 {
    i64::try_from(to_millis(time)).unwrap_or(i64::MAX)
}

/// Sleeps; for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
