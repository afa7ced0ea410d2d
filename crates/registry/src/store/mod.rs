//! The hub's own database: what must outlive a restart and is no message. One SQLite file, `hub.db`, in the data directory; what is registered may be in a
//! PostgreSQL that several hubs share ([`Database`]), while watches and what adapters remember are always the node's own.
//!
//! Writing never waits: [`Store::write`] notes a change in memory, and one task writes what has gathered, in one transaction; the newest
//! value of a row takes the place of one that is not written yet, so what waits is never more than there are rows. What fails is kept and
//! tried again. [`Store::flush`] waits for all that was noted before it.

mod backup;
mod database;
pub(crate) mod members;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use interchange_model::{Address, LinkId, to_millis};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use database::Registered;
pub use database::{Database, PostgreSql};

/// Every version of the tables, built in.
static VERSIONS: Migrator = sqlx::migrate!();

/// The longest name and value of what an adapter has remembered, in bytes.
const LONGEST_NAME: usize = 255;
const LONGEST_VALUE: usize = 64 * 1024;

/// A watch: whether one person may see another's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRow {
    /// Who sees.
    pub watcher: Address,
    /// Who is seen.
    pub presentity: Address,
    /// How it stands.
    pub state: WatchState,
    /// When it became so, or was last asked; stored in milliseconds.
    pub since: SystemTime,
}

/// How a watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchState {
    /// Asked, and not answered.
    Asked,
    /// Allowed.
    Granted,
    /// Refused, or taken back.
    Refused,
}

impl WatchState {
    /// The stable label, which is what is stored.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            WatchState::Asked => "asked",
            WatchState::Granted => "granted",
            WatchState::Refused => "refused",
        }
    }

    fn parse(label: &str) -> Option<Self> {
        [WatchState::Asked, WatchState::Granted, WatchState::Refused].into_iter().find(|state| state.label() == label)
    }
}

/// What may be written.
#[derive(Debug, Clone)]
pub enum Note {
    /// A watch as it is now.
    Watch(WatchRow),
    /// There is no watch any more.
    NoWatch {
        /// Who saw.
        watcher: Address,
        /// Who was seen.
        presentity: Address,
    },
    /// What an adapter remembers for a link; `None`: nothing any more.
    Remembered {
        /// Which link.
        link: LinkId,
        /// The adapter's name for it, at most 255 bytes.
        name: Arc<str>,
        /// At most 64 KiB.
        value: Option<Vec<u8>>,
    },
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It has no database.
    #[error("nothing is kept over a restart")]
    Volatile,
    /// A newer version of the hub has written it.
    #[error("{} was written by a newer version of the hub (version {found} of its tables, this one knows {known}): start that version, or restore the copy made before it was installed", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version that it has.
        found: i64,
        /// The last version known here.
        known: i64,
    },
    /// Somebody else has it open.
    #[error("the database {} is in use: stop the hub first", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// What it holds cannot stand beside what the configuration declares.
    #[error("what is registered in {} contradicts hub.toml: {why}; take it out of hub.toml", path.display())]
    Contradiction {
        /// The database.
        path: PathBuf,
        /// What does.
        why: String,
    },
    /// The database fails.
    #[error("cannot use the database {}: {source}", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The store. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// `None`: nothing is kept over a restart.
    pool: Option<SqlitePool>,
    /// Where what is registered is; `None` as above.
    registered: Option<Registered>,
    line: Mutex<Line>,
    written: watch::Sender<u64>,
    wake: Notify,
    /// Of a store that is not kept: what would be in the database.
    volatile: Mutex<HashMap<Key, String>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What is noted and not written.
#[derive(Debug, Default)]
struct Line {
    changes: HashMap<Key, Option<Cells>>,
    /// Rises with every change.
    last: u64,
    closed: bool,
}

/// The primary key of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// Watcher and presentity in their comparison forms.
    Watch(String, String),
    /// Link and name.
    Remembered(LinkId, Arc<str>),
}

/// The rest of a row.
#[derive(Debug, Clone)]
enum Cells {
    Watch { watcher: String, presentity: String, state: &'static str, since: i64 },
    Remembered(String),
}

impl Store {
    /// Opens `hub.db` in a directory that exists and that nobody else may read; makes or brings up to date its tables.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_with(directory, &Database::Embedded).await
    }

    /// The same, with what is registered in this database.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_with(directory: &Path, database: &Database) -> Result<Self, StoreError> {
        let path = directory.join("hub.db");
        let failed = |source: sqlx::Error| StoreError::Database { path: path.clone(), source: source.into() };
        private_file(&path).map_err(|error| failed(sqlx::Error::Io(error)))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await.map_err(failed)?;
        VERSIONS.run(&pool).await.map_err(|error| unmigrated(&path, error))?;
        let registered = match database {
            Database::Embedded => Registered::embedded(&path).await.map_err(failed)?,
            Database::PostgreSql(database) => Registered::postgresql(database).await?,
        };
        let store = Self::with(path, Some(pool), Some(registered));
        let task = tokio::spawn(writer::run(store.shared.clone()));
        *lock(&store.shared.writer) = Some(task);
        Ok(store)
    }

    /// A store that keeps nothing over a restart: for tests in virtual time.
    #[must_use]
    pub fn volatile() -> Self {
        Self::with(PathBuf::new(), None, None)
    }

    fn with(path: PathBuf, pool: Option<SqlitePool>, registered: Option<Registered>) -> Self {
        let shared = Shared {
            path,
            pool,
            registered,
            line: Mutex::default(),
            written: watch::Sender::new(0),
            wake: Notify::new(),
            volatile: Mutex::default(),
            writer: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Notes a change; it is written soon. A name or value that is too long is logged and left out.
    pub fn write(&self, note: Note) {
        let Some((key, cells)) = row(note) else { return };
        if self.shared.pool.is_none() {
            let mut rows = lock(&self.shared.volatile);
            match (key, cells) {
                (key @ Key::Remembered(..), Some(Cells::Remembered(value))) => drop(rows.insert(key, value)),
                (key, _) => drop(rows.remove(&key)),
            }
            return;
        }
        let mut line = lock(&self.shared.line);
        line.last += 1;
        line.changes.insert(key, cells);
        drop(line);
        self.shared.wake.notify_one();
    }

    /// Returns when all that was noted before is written, however long the database fails; or when the store is closed.
    pub async fn flush(&self) {
        if self.shared.pool.is_none() {
            return;
        }
        let last = lock(&self.shared.line).last;
        let _ = self.shared.written.subscribe().wait_for(|written| *written >= last).await;
    }

    /// Writes what is left, for at most 5 s, and ends the writing task.
    pub async fn close(&self) {
        lock(&self.shared.line).closed = true;
        self.shared.wake.notify_one();
        let task = lock(&self.shared.writer).take();
        if let Some(task) = task
            && tokio::time::timeout(Duration::from_secs(5), task).await.is_err()
        {
            tracing::error!(path = %self.shared.path.display(), "the last changes could not be written");
        }
        if let Some(registered) = &self.shared.registered {
            registered.pool().close().await;
        }
        if let Some(pool) = &self.shared.pool {
            pool.close().await;
        }
    }

    /// Every watch. Rows that cannot be understood are logged and left out.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn watches(&self) -> Result<Vec<WatchRow>, StoreError> {
        let Some(pool) = &self.shared.pool else { return Ok(Vec::new()) };
        let rows = sqlx::query("SELECT watcher, presentity, state, since FROM watch ORDER BY watcher_key, presentity_key");
        let rows = rows.fetch_all(pool).await.map_err(|source| self.failed(source))?;
        let mut watches = Vec::with_capacity(rows.len());
        for row in rows {
            let read = || -> Option<WatchRow> {
                Some(WatchRow {
                    watcher: Address::parse(row.try_get(0).ok()?).ok()?,
                    presentity: Address::parse(row.try_get(1).ok()?).ok()?,
                    state: WatchState::parse(row.try_get(2).ok()?)?,
                    since: UNIX_EPOCH + Duration::from_millis(u64::try_from(row.try_get::<i64, _>(3).ok()?).ok()?),
                })
            };
            match read() {
                Some(watch) => watches.push(watch),
                None => tracing::error!("a watch in the database cannot be understood and is left out"),
            }
        }
        Ok(watches)
    }

    /// All that is remembered for a link, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn remembered(&self, link: &LinkId) -> Result<Vec<(Arc<str>, Vec<u8>)>, StoreError> {
        let Some(pool) = &self.shared.pool else {
            let rows = lock(&self.shared.volatile);
            let of_link = rows.iter().filter_map(|(key, value)| match key {
                Key::Remembered(owner, name) if owner == link => Some((name.clone(), STANDARD.decode(value).ok()?)),
                _ => None,
            });
            let mut entries: Vec<_> = of_link.collect();
            entries.sort();
            return Ok(entries);
        };
        self.flush().await;
        let rows = sqlx::query("SELECT name, value FROM remembered WHERE link = ? ORDER BY name").bind(link.as_str());
        let rows = rows.fetch_all(pool).await.map_err(|source| self.failed(source))?;
        let read = |row: &sqlx::sqlite::SqliteRow| -> Option<(Arc<str>, Vec<u8>)> {
            Some((row.try_get::<&str, _>(0).ok()?.into(), STANDARD.decode(row.try_get::<&str, _>(1).ok()?).ok()?))
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    fn failed(&self, source: sqlx::Error) -> StoreError {
        StoreError::Database { path: self.shared.path.clone(), source: source.into() }
    }
}

/// A change as a row.
fn row(note: Note) -> Option<(Key, Option<Cells>)> {
    match note {
        Note::Watch(WatchRow { watcher, presentity, state, since }) => {
            let cells = Cells::Watch {
                watcher: watcher.to_string(),
                presentity: presentity.to_string(),
                state: state.label(),
                since: i64::try_from(to_millis(since)).unwrap_or(i64::MAX),
            };
            Some((watch_key(&watcher, &presentity), Some(cells)))
        }
        Note::NoWatch { watcher, presentity } => Some((watch_key(&watcher, &presentity), None)),
        Note::Remembered { link, name, value } => {
            if name.len() > LONGEST_NAME || value.as_ref().is_some_and(|value| value.len() > LONGEST_VALUE) {
                tracing::error!(%link, "an adapter wants more remembered than can be: it is left out");
                return None;
            }
            let cells = value.map(|value| Cells::Remembered(STANDARD.encode(value)));
            Some((Key::Remembered(link, name), cells))
        }
    }
}

fn watch_key(watcher: &Address, presentity: &Address) -> Key {
    let key = |address: &Address| format!("{}@{}", address.user_key(), address.domain());
    Key::Watch(key(watcher), key(presentity))
}

/// Why the tables of a database could not be made, or brought up to date.
fn unmigrated(path: &Path, error: MigrateError) -> StoreError {
    let path = path.to_owned();
    match error {
        MigrateError::VersionMissing(found) => {
            let known = VERSIONS.iter().map(|version| version.version).max().unwrap_or(0);
            StoreError::Newer { path, found, known }
        }
        error => StoreError::Database { path, source: error.into() },
    }
}

/// A file that nobody else may read. SQLite gives the files beside a database the mode of the database.
fn private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

/// A panic while a lock was held leaves whole values behind: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
