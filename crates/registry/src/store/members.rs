//! The only writer of what is registered.
//!
//! One transaction reads the version, makes the change on what is registered then, and writes entries, audit rows and the next version: two
//! nodes cannot overwrite one another, and a crash leaves a change whole or absent. Each node asks for the version twice a second.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use interchange_model::{Link, MemberId, SettingsError};
use serde::Serialize;
use sqlx::{AnyConnection, Row as _};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::database::{PATIENCE, Registered};
use super::{Store, StoreError};
use crate::directory::{Actor, Change, ChangeError, ChangeFault, Directory, Moment};
use crate::{Parts, Registry};

/// How often a node looks whether another has changed something.
const LOOK: Duration = Duration::from_millis(500);

/// The most audit rows in one answer.
const MOST_AUDIT: u32 = 1000;

/// Judges what a platform must understand: that there is such a platform, and that the settings are right.
pub type CheckLink = dyn Fn(&Link) -> Result<(), SettingsError> + Send + Sync;

/// A change as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// The version that it made: rises by one with each change.
    pub version: u64,
    /// `member`, `domain`, `link`, `partnership`, `barrier`, `user` or `account`.
    pub kind: String,
    /// Which of them.
    pub id: String,
    /// In milliseconds since 1970.
    pub at: u64,
    /// Who made it.
    pub actor: String,
    /// Its name: `add-member`.
    pub change: String,
    /// The entry before, as JSON; absent if there was none.
    pub before: Option<serde_json::Value>,
    /// The entry after, as JSON; absent if there is none.
    pub after: Option<serde_json::Value>,
}

/// What is registered: what the configuration declares, and what the database holds.
pub struct Members {
    store: Store,
    declared: Parts,
    /// Members whose people are in a directory: the one thing of what is declared that can change while the hub runs.
    directories: RwLock<BTreeSet<MemberId>>,
    check: Box<CheckLink>,
    /// One writer at a time in this process; the database sees to the others.
    writer: Mutex<()>,
    known: watch::Sender<Known>,
    registry: watch::Sender<Arc<Registry>>,
    /// The database answered when it was last looked at.
    answers: AtomicBool,
}

#[derive(Clone)]
struct Known {
    version: u64,
    directory: Arc<Directory>,
}

impl Members {
    /// Reads what is registered. A store that is volatile has nothing, and refuses changes.
    ///
    /// # Errors
    /// [`StoreError`]; also when what the database holds contradicts what the configuration declares.
    pub async fn open(store: Store, declared: Parts, check: Box<CheckLink>) -> Result<Self, StoreError> {
        let (version, directory) = match &store.shared.registered {
            Some(registered) => moment(registered).await.map_err(|source| failed(registered, source))?,
            None => (0, Directory::default()),
        };
        let registry = Registry::new(directory.parts(&declared)).map_err(|error| {
            let path = store.shared.registered.as_ref().map(|registered| registered.shown.clone()).unwrap_or_default();
            StoreError::Contradiction { path, why: error.to_string() }
        })?;
        Ok(Self {
            store,
            directories: RwLock::new(declared.directories.clone()),
            declared,
            check,
            writer: Mutex::new(()),
            known: watch::Sender::new(Known { version, directory: Arc::new(directory) }),
            registry: watch::Sender::new(Arc::new(registry)),
            answers: AtomicBool::new(true),
        })
    }

    /// Whether this node knew at its last look, half a second ago, what all nodes have changed. While it does not, it goes by what it knew before.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.answers.load(Relaxed)
    }

    /// The registry now, and each that follows.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Registry>> {
        self.registry.subscribe()
    }

    /// What the database holds, and its version.
    #[must_use]
    pub fn directory(&self) -> (u64, Arc<Directory>) {
        let known = self.known.borrow();
        (known.version, known.directory.clone())
    }

    /// What the configuration declared when the hub started.
    #[must_use]
    pub fn declared(&self) -> &Parts {
        &self.declared
    }

    /// From now on the people of these members, and of no others, are in a directory, and have no accounts here.
    pub fn set_directories(&self, directories: BTreeSet<MemberId>) {
        *self.directories.write().unwrap_or_else(PoisonError::into_inner) = directories;
    }

    /// Checks a change, writes it with who made it, and has this node go by it. Answers the version that it made.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn apply(&self, by: &Actor, change: &Change, random: u128) -> Result<u64, ChangeError> {
        let _one = self.writer.lock().await;
        let patience = timeout(PATIENCE * 2, self.change(by, change, random));
        patience.await.unwrap_or_else(|_| {
            tracing::error!("what is registered cannot be changed: the database does not answer");
            Err(ChangeError::new(
                ChangeFault::Unavailable,
                "the hub's database does not answer: look whether the change was made before you make it again",
            ))
        })
    }

    async fn change(&self, by: &Actor, change: &Change, random: u128) -> Result<u64, ChangeError> {
        let unavailable = |why: &dyn std::fmt::Display| {
            tracing::error!(%why, "what is registered cannot be changed");
            ChangeError::new(ChangeFault::Unavailable, "the hub's database fails: nothing was changed; its log says why")
        };
        let Some(registered) = &self.store.shared.registered else {
            return Err(unavailable(&"nothing is kept over a restart"));
        };
        let mut connection = registered.acquire().await.map_err(|error| unavailable(&error))?;
        let (mut transaction, version) = registered.begin(&mut connection).await.map_err(|error| unavailable(&error))?;
        let known = self.known.borrow().clone();
        let before = if known.version == version {
            known.directory
        } else {
            Arc::new(read(&mut transaction).await.map_err(|error| unavailable(&error))?)
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let directories = self.directories.read().unwrap_or_else(PoisonError::into_inner).clone();
        let declared = Parts { directories, ..self.declared.clone() };
        let after = before.with(by, change, &declared, Moment { now: wall.as_secs(), random })?;
        let parts = after.parts(&self.declared);
        if let Change::SetLink { link, .. } = change {
            let link = parts.links.iter().find(|known| known.id == *link).expect("it was just set");
            (self.check)(link).map_err(|error| {
                let at = if error.path.is_empty() { String::new() } else { format!(" at `{}`", error.path) };
                ChangeError::new(ChangeFault::Invalid, format!("the settings of link `{}`{at}: {}", link.id, error.message))
            })?;
        }
        let registry = Registry::new(parts)?;
        let at = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let next = version + 1;
        write(&mut transaction, &before, &after, next, &Stamp { at, actor: &by.name, change: change.name() })
            .await
            .map_err(|error| unavailable(&error))?;
        transaction.commit().await.map_err(|error| {
            // The answer may have been lost, and not the change.
            tracing::error!(%error, "whether what is registered was changed is not known");
            ChangeError::new(
                ChangeFault::Unavailable,
                "the hub's database failed at the last moment: look whether the change was made before you make it again",
            )
        })?;
        tracing::info!(version = next, actor = by.name, change = change.name(), "what is registered has changed");
        self.take_up(next, after, registry);
        Ok(next)
    }

    /// Writes something that somebody has done, and that changes nothing of what is registered, into the audit log. Answers the version that it made.
    ///
    /// # Errors
    /// [`StoreError::Database`]; also where nothing is kept. Then it is not in the log.
    pub async fn record(&self, by: &Actor, act: &str, about: (&str, &str), what: &serde_json::Value) -> Result<u64, StoreError> {
        let _one = self.writer.lock().await;
        let Some(registered) = &self.store.shared.registered else { return Err(StoreError::Volatile) };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = Stamp { at: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX), actor: &by.name, change: act };
        let recorded = timeout(PATIENCE * 2, async {
            let mut connection = registered.acquire().await?;
            let (mut transaction, version) = registered.begin(&mut connection).await?;
            let next = version + 1;
            let number = i64::try_from(next).map_err(|error| sqlx::Error::Encode(error.into()))?;
            audit(&mut transaction, number, about, &stamp, (None, Some(what.to_string()))).await?;
            sqlx::query("UPDATE version SET version = $1").bind(number).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(next)
        });
        // This node takes the version up at its next look, as any other.
        recorded.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|source| failed(registered, source))
    }

    /// Goes by what other nodes change, until it is dropped.
    pub async fn follow(&self) {
        let Some(registered) = &self.store.shared.registered else { return std::future::pending().await };
        let mut failing = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let looked = timeout(PATIENCE, self.look(registered)).await;
            let looked = looked.unwrap_or_else(|_| Err("the database does not answer".to_owned()));
            self.answers.store(looked.is_ok(), Relaxed);
            match looked {
                Ok(()) if failing => {
                    tracing::info!("the database answers again: what other nodes have changed was taken up");
                    failing = false;
                }
                Ok(()) => {}
                // Once, not twice a second.
                Err(why) if !failing => {
                    tracing::error!(%why, "what other nodes change cannot be taken up");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn look(&self, registered: &Registered) -> Result<(), String> {
        let mut connection = registered.acquire().await.map_err(|error| error.to_string())?;
        let found = version(&mut connection).await.map_err(|error| error.to_string())?;
        drop(connection);
        if found <= self.known.borrow().version {
            return Ok(());
        }
        let (found, directory) = moment(registered).await.map_err(|error| error.to_string())?;
        let registry = Registry::new(directory.parts(&self.declared))
            .map_err(|error| format!("it contradicts the hub.toml of this node: {error}"))?;
        self.take_up(found, directory, registry);
        Ok(())
    }

    /// Never backwards: a change and a look may end in any order.
    fn take_up(&self, version: u64, directory: Directory, registry: Registry) {
        self.known.send_if_modified(|known| {
            if known.version >= version {
                return false;
            }
            // A thousand new accounts tell no adapter a thousand times which links there are.
            let same = known.directory.is_linked_like(&directory);
            *known = Known { version, directory: Arc::new(directory) };
            if !same {
                self.registry.send_replace(Arc::new(registry));
            }
            true
        });
    }

    /// The newest changes first, at most 1,000 rows: those up to and with version `until`, or from the newest.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn audit(&self, until: Option<u64>, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let Some(registered) = &self.store.shared.registered else { return Ok(Vec::new()) };
        let until = until.map_or(i64::MAX, |until| i64::try_from(until).unwrap_or(i64::MAX));
        let rows = sqlx::query(
            "SELECT version, kind, id, at, actor, change, before, after FROM audit WHERE version <= $1
             ORDER BY version DESC, kind, id LIMIT $2",
        );
        let rows = rows.bind(until).bind(i64::from(limit.min(MOST_AUDIT))).fetch_all(registered.pool()).await;
        let rows = rows.map_err(|source| failed(registered, source))?;
        let value = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        let read = |row: &sqlx::any::AnyRow| -> Result<AuditRow, sqlx::Error> {
            Ok(AuditRow {
                version: row.try_get::<i64, _>(0)?.unsigned_abs(),
                kind: row.try_get(1)?,
                id: row.try_get(2)?,
                at: row.try_get::<i64, _>(3)?.unsigned_abs(),
                actor: row.try_get(4)?,
                change: row.try_get(5)?,
                before: value(row.try_get(6)?),
                after: value(row.try_get(7)?),
            })
        };
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|source| failed(registered, source))
    }
}

fn failed(registered: &Registered, source: sqlx::Error) -> StoreError {
    StoreError::Database { path: registered.shown.clone(), source: source.into() }
}

/// Version and entries of one moment.
async fn moment(registered: &Registered) -> Result<(u64, Directory), sqlx::Error> {
    let mut connection = registered.acquire().await?;
    let mut transaction = registered.snapshot(&mut connection).await?;
    let found = version(&mut transaction).await?;
    let directory = read(&mut transaction).await?;
    transaction.rollback().await?;
    Ok((found, directory))
}

async fn version(connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT version FROM version").fetch_one(connection).await?;
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}

async fn read(connection: &mut AnyConnection) -> Result<Directory, sqlx::Error> {
    let rows = sqlx::query("SELECT kind, id, value FROM entry").fetch_all(connection).await?;
    let rows: Result<Vec<_>, sqlx::Error> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect();
    Directory::from_rows(rows?).map_err(|why| sqlx::Error::Decode(why.into()))
}

struct Stamp<'a> {
    at: i64,
    actor: &'a str,
    change: &'a str,
}

/// Writes what differs, a row of the audit for each, and the version.
async fn write(
    connection: &mut AnyConnection,
    before: &Directory,
    after: &Directory,
    version: u64,
    stamp: &Stamp<'_>,
) -> Result<(), sqlx::Error> {
    let version = i64::try_from(version).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let (before, after) = (before.rows(), after.rows());
    let mut touched: HashMap<_, (Option<&String>, Option<&String>)> = HashMap::new();
    for (key, value) in &before {
        touched.entry(key).or_default().0 = Some(value);
    }
    for (key, value) in &after {
        touched.entry(key).or_default().1 = Some(value);
    }
    touched.retain(|_, (before, after)| before != after);
    for ((kind, id), (before, after)) in touched {
        let query = match after {
            Some(value) => sqlx::query(
                "INSERT INTO entry (kind, id, value) VALUES ($1, $2, $3) ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value",
            )
            .bind(*kind)
            .bind(id)
            .bind(value),
            None => sqlx::query("DELETE FROM entry WHERE kind = $1 AND id = $2").bind(*kind).bind(id),
        };
        query.execute(&mut *connection).await?;
        let shown = |value: Option<&String>| value.map(|value| shown(kind, value));
        audit(connection, version, (kind, id), stamp, (shown(before), shown(after))).await?;
    }
    sqlx::query("UPDATE version SET version = $1").bind(version).execute(connection).await?;
    Ok(())
}

/// Writes a row of the audit: about an entry, by its kind and id, as it was before and is after.
async fn audit(
    connection: &mut AnyConnection,
    version: i64,
    (kind, id): (&str, &str),
    stamp: &Stamp<'_>,
    (before, after): (Option<String>, Option<String>),
) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO audit (version, kind, id, at, actor, change, before, after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    );
    let row = row.bind(version).bind(kind).bind(id).bind(stamp.at).bind(stamp.actor).bind(stamp.change);
    row.bind(before).bind(after).execute(connection).await?;
    Ok(())
}

/// What the audit log keeps of an entry: no hash of a token or a password.
fn shown(kind: &str, value: &str) -> String {
    match serde_json::from_str(value) {
        Ok(serde_json::Value::Object(mut object)) if matches!(kind, "user" | "account") => {
            object.remove("token_hash");
            object.remove("password_hash");
            serde_json::Value::Object(object).to_string()
        }
        _ => value.to_owned(),
    }
}
