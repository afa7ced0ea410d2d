//! The files: directory, lock, database, versions.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use interchange_bus::BusError;
use interchange_model::QueueId;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, SqliteConnection, SqlitePool};
use tokio::time::{Instant, sleep};

use crate::line::Line;

/// Every version of the tables, built in.
static VERSIONS: Migrator = sqlx::migrate!();

/// How long a directory's lock is waited for: a process that is ending may still hold it.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

const PAGE_SIZE: u64 = 4096;

/// Reading connections: pages of queues that are behind, and the operator's questions.
const READERS: u32 = 4;

/// How a bus is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes that the database file may have, rounded to pages of 4 KiB; at it, publishing is refused as full. The
    /// write-ahead file beside it takes some 16 MiB more. At first 16 GiB.
    pub capacity: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { capacity: 16 << 30 }
    }
}

/// Why a bus could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be made, read or written.
    #[error("cannot use {}: {source}", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by another hub ({}): two hubs cannot share a data directory; stop the other or choose another directory", directory.display(), holder(*.process))]
    Locked {
        /// Which.
        directory: PathBuf,
        /// The other's process id, where it wrote it.
        process: Option<u32>,
    },
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
    /// The database itself fails.
    #[error("cannot open the database {}: {source}", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn holder(process: Option<u32>) -> String {
    process.map_or_else(|| "an unknown process".to_owned(), |process| format!("process {process}"))
}

/// What was opened.
pub(crate) struct Store {
    /// Released when dropped, or when the process ends however it does.
    pub(crate) lock: File,
    /// The only one that writes.
    pub(crate) connection: SqliteConnection,
    pub(crate) pool: SqlitePool,
    pub(crate) lines: Vec<Arc<Line>>,
}

pub(crate) async fn open(directory: &Path, options: Options) -> Result<Store, OpenError> {
    let failed = |source| OpenError::Files { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let lock = lock(directory).await?;
    let path = directory.join("bus.db");
    private_file(&path).map_err(|source| OpenError::Files { path: path.clone(), source })?;

    let database = |source: sqlx::Error| OpenError::Database { path: path.clone(), source: source.into() };
    let common = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Only an operator's own tool can hold the database; publishers wait no longer for it than this.
        .busy_timeout(Duration::from_secs(2))
        .disable_statement_logging();
    let mut connection = common
        .clone()
        .page_size(u32::try_from(PAGE_SIZE).unwrap_or(4096))
        .pragma("max_page_count", (options.capacity / PAGE_SIZE).max(16).to_string())
        // Checkpoints of 16 MiB: what is inserted and soon removed is written to the database file once or not at all.
        .pragma("wal_autocheckpoint", "4096")
        .pragma("journal_size_limit", (64 << 20).to_string())
        .statement_cache_capacity(128)
        .connect()
        .await
        .map_err(database)?;
    migrate(&mut connection, &path).await?;
    let lines = lines(&mut connection).await.map_err(database)?;
    let pool = SqlitePoolOptions::new()
        .max_connections(READERS)
        .min_connections(0)
        .test_before_acquire(false)
        .connect_lazy_with(common.read_only(true));
    Ok(Store { lock, connection, pool, lines })
}

/// Takes the directory for this process.
async fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let failed = |source| OpenError::Files { path: path.clone(), source };
    let mut file = private_file(&path).map_err(failed)?;
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < patience => sleep(Duration::from_millis(10)).await,
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let process = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(OpenError::Locked { directory: directory.to_owned(), process });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed)?;
    Ok(file)
}

/// A file that nobody else may read. SQLite gives the files beside a database the mode of the database.
fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let known = VERSIONS.iter().map(|version| version.version).max().unwrap_or(0);
    VERSIONS.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => OpenError::Newer { path: path.to_owned(), found, known },
        error => OpenError::Database { path: path.to_owned(), source: error.into() },
    })
}

/// All queues, and how much is in each.
async fn lines(connection: &mut SqliteConnection) -> Result<Vec<Arc<Line>>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, name, coalesce(depth, 0), coalesce(last, 0) FROM queue LEFT JOIN
         (SELECT queue, count(*) AS depth, max(sequence) AS last FROM envelope GROUP BY queue) ON queue = id",
    )
    .fetch_all(connection)
    .await?;
    let mut lines = Vec::new();
    for row in rows {
        let name: String = row.try_get_unchecked(1)?;
        match QueueId::parse(&name) {
            Some(queue) => {
                let depth: i64 = row.try_get_unchecked(2)?;
                let (number, last) = (row.try_get_unchecked(0)?, row.try_get_unchecked(3)?);
                lines.push(Arc::new(Line::stored(queue, number, depth.unsigned_abs(), last)));
            }
            None => {
                tracing::error!(queue = %name.escape_debug(), "a queue with an unknown kind of name: what is in it stays there")
            }
        }
    }
    Ok(lines)
}

/// A failure of the database, as the bus says it.
pub(crate) fn unavailable(error: sqlx::Error) -> BusError {
    // SQLITE_FULL: the disk, or `max_page_count`.
    let full = error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "13");
    let text = error.to_string();
    if full { BusError::Full(text) } else { BusError::Unavailable(text) }
}
