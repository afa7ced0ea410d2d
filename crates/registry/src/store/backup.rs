//! A copy of the database, and the way back.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::{Store, StoreError};

impl Store {
    /// Writes a copy of `hub.db` in a directory to a new file that only its owner may read, as of one moment; the hub may run. The copy is read again
    /// before this returns.
    ///
    /// # Errors
    /// [`StoreError`]; also when there is something at `to` already, which is left as it is.
    pub async fn back_up(directory: &Path, to: &Path) -> Result<(), StoreError> {
        let path = directory.join("hub.db");
        let failed = |source: sqlx::Error| StoreError::Database { path: path.clone(), source: source.into() };
        let mut connection = connect(&path, false).await.map_err(failed)?;
        let of_copy = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Database { path: to.to_owned(), source };
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|error| of_copy(error.into()))?;
        let written = async {
            let target = to.to_str().ok_or_else(|| sqlx::Error::Configuration("the file's name is not UTF-8".into()))?;
            // SQLite takes an empty file for none, so the copy has the mode that it was made with.
            sqlx::query("VACUUM INTO ?").bind(target).execute(&mut connection).await?;
            connection.close().await?;
            check(to).await?;
            fs::File::open(to)?.sync_all()?;
            Ok::<(), sqlx::Error>(())
        };
        let result = written.await;
        if result.is_err() {
            // Half a copy would be taken for one.
            let _ = fs::remove_file(to);
        }
        result.map_err(|error| of_copy(error.into()))
    }

    /// Puts a copy in the place of `hub.db`, whole or not at all. What was there is kept beside it as `hub.db.replaced`. The hub must not run.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when a hub runs on the directory; [`StoreError::Newer`]; [`StoreError::Database`] for what is no copy, or is damaged.
    pub async fn restore(directory: &Path, from: &Path) -> Result<(), StoreError> {
        let path = directory.join("hub.db");
        let failed = |path: &Path, source: Box<dyn std::error::Error + Send + Sync>| StoreError::Database {
            path: path.to_owned(),
            source,
        };
        check(from).await.map_err(|error| failed(from, error.into()))?;
        let fresh = directory.join("restoring");
        let _ = fs::remove_dir_all(&fresh);
        let result = async {
            fs::DirBuilder::new().create(&fresh).map_err(|error| failed(&fresh, error.into()))?;
            let copy = fresh.join("hub.db");
            fs::copy(from, &copy).map_err(|error| failed(&copy, error.into()))?;
            // Its tables are known, or are brought up to date.
            let store = Self::open(&fresh).await?;
            store.close().await;
            settle(&copy).await.map_err(|error| failed(&copy, error.into()))?;
            if path.exists() {
                settle(&path).await.map_err(|_| StoreError::InUse { path: path.clone() })?;
                let kept = PathBuf::from(format!("{}.replaced", path.display()));
                fs::hard_link(&path, fresh.join("old"))
                    .and_then(|()| fs::rename(fresh.join("old"), kept))
                    .map_err(|error| failed(&path, error.into()))?;
            }
            let moved = fs::File::open(&copy).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&copy, &path));
            moved.and_then(|()| fs::File::open(directory)?.sync_all()).map_err(|error| failed(&path, error.into()))
        };
        let result = result.await;
        let _ = fs::remove_dir_all(&fresh);
        result
    }
}

async fn connect(path: &Path, read_only: bool) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(read_only)
        .busy_timeout(std::time::Duration::from_secs(5))
        .connect()
        .await
}

/// That a file is a whole database of a hub.
async fn check(path: &Path) -> Result<(), sqlx::Error> {
    let mut connection = connect(path, true).await?;
    let verdict: String = sqlx::query("PRAGMA integrity_check").fetch_one(&mut connection).await?.try_get(0)?;
    if verdict != "ok" {
        return Err(sqlx::Error::Protocol(format!("it is damaged: {verdict}")));
    }
    sqlx::query("SELECT version FROM version").fetch_one(&mut connection).await?;
    connection.close().await
}

/// Brings all of a database into its one file. That takes nobody else who has it open.
async fn settle(path: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Delete);
    options.busy_timeout(std::time::Duration::from_millis(200)).connect().await?.close().await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Note, WatchRow, WatchState};

    fn watch(user: &str) -> Note {
        let address = |text: &str| interchange_model::Address::parse(text).unwrap();
        Note::Watch(WatchRow {
            watcher: address(&format!("{user}@a.example")),
            presentity: address("bob@b.example"),
            state: WatchState::Granted,
            since: std::time::UNIX_EPOCH,
        })
    }

    async fn watchers(directory: &Path) -> Vec<String> {
        let store = Store::open(directory).await.unwrap();
        let watches = store.watches().await.unwrap();
        store.close().await;
        watches.into_iter().map(|row| row.watcher.to_string()).collect()
    }

    #[tokio::test]
    async fn what_was_there_at_the_copy_is_there_again() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("copy.db");
        let store = Store::open(directory.path()).await.unwrap();
        store.write(watch("alice"));
        store.flush().await;
        // While it is in use.
        Store::back_up(directory.path(), &copy).await.unwrap();
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        store.write(watch("carol"));
        store.flush().await;
        assert!(Store::back_up(directory.path(), &copy).await.is_err(), "a copy is not written over");
        // In use it is not replaced, and nothing has changed.
        assert!(matches!(Store::restore(directory.path(), &copy).await, Err(StoreError::InUse { .. })));
        assert_eq!(store.watches().await.unwrap().len(), 2);
        store.close().await;
        Store::restore(directory.path(), &copy).await.unwrap();
        assert_eq!(watchers(directory.path()).await, ["alice@a.example"]);
        assert!(!directory.path().join("restoring").exists());
        // What was replaced can be brought back in the same way.
        Store::restore(directory.path(), &directory.path().join("hub.db.replaced")).await.unwrap();
        assert_eq!(watchers(directory.path()).await, ["alice@a.example", "carol@a.example"]);
        // And where there was nothing.
        let empty = tempfile::tempdir().unwrap();
        Store::restore(empty.path(), &copy).await.unwrap();
        assert_eq!(watchers(empty.path()).await, ["alice@a.example"]);
    }

    #[tokio::test]
    async fn what_is_no_copy_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        store.write(watch("alice"));
        store.close().await;
        let whole = directory.path().join("whole.db");
        Store::back_up(directory.path(), &whole).await.unwrap();
        let bytes = fs::read(&whole).unwrap();
        let mut damaged = bytes.clone();
        damaged[4096 + 100..].fill(0xAA);
        for (name, bytes) in
            [("text", &b"not a database"[..]), ("short", &bytes[..bytes.len() / 2]), ("damaged", &damaged), ("empty", b"")]
        {
            let file = directory.path().join(name);
            fs::write(&file, bytes).unwrap();
            assert!(Store::restore(directory.path(), &file).await.is_err(), "{name}");
        }
        assert!(Store::restore(directory.path(), &directory.path().join("nothing")).await.is_err());
        assert_eq!(watchers(directory.path()).await, ["alice@a.example"]);
    }
}
