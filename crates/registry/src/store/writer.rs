//! The task that writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlitePool;

use super::{Cells, Key, Shared, lock};

/// How long after a failure of the database it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes what has gathered until the store is closed and all is written.
pub(super) async fn run(shared: Arc<Shared>) {
    let Some(pool) = shared.pool.clone() else { return };
    loop {
        let (changes, last, closed) = {
            let mut line = lock(&shared.line);
            (std::mem::take(&mut line.changes), line.last, line.closed)
        };
        if changes.is_empty() {
            shared.written.send_replace(last);
            if closed {
                return;
            }
            shared.wake.notified().await;
            continue;
        }
        match write(&pool, &changes).await {
            Ok(()) => drop(shared.written.send_replace(last)),
            Err(error) => {
                tracing::error!(path = %shared.path.display(), %error, changes = changes.len(), "changes cannot be written; they are tried again");
                put_back(&shared, changes);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What was noted since is newer.
fn put_back(shared: &Shared, changes: HashMap<Key, Option<Cells>>) {
    let mut line = lock(&shared.line);
    for (key, cells) in changes {
        line.changes.entry(key).or_insert(cells);
    }
}

async fn write(pool: &SqlitePool, changes: &HashMap<Key, Option<Cells>>) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    for (key, cells) in changes {
        let query = match (key, cells) {
            (Key::Watch(watcher_key, presentity_key), Some(Cells::Watch { watcher, presentity, state, since })) => sqlx::query(
                "INSERT INTO watch (watcher_key, presentity_key, watcher, presentity, state, since) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (watcher_key, presentity_key) DO UPDATE SET
                 watcher = excluded.watcher, presentity = excluded.presentity, state = excluded.state, since = excluded.since",
            )
            .bind(watcher_key)
            .bind(presentity_key)
            .bind(watcher)
            .bind(presentity)
            .bind(*state)
            .bind(*since),
            (Key::Watch(watcher_key, presentity_key), _) => {
                sqlx::query("DELETE FROM watch WHERE watcher_key = ? AND presentity_key = ?")
                    .bind(watcher_key)
                    .bind(presentity_key)
            }
            (Key::Remembered(link, name), Some(Cells::Remembered(value))) => sqlx::query(
                "INSERT INTO remembered (link, name, value) VALUES (?, ?, ?)
                 ON CONFLICT (link, name) DO UPDATE SET value = excluded.value",
            )
            .bind(link.as_str())
            .bind(&**name)
            .bind(value),
            (Key::Remembered(link, name), _) => {
                sqlx::query("DELETE FROM remembered WHERE link = ? AND name = ?").bind(link.as_str()).bind(&**name)
            }
        };
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
