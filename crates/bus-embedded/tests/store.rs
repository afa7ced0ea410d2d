//! The files: who may have them, who may read them, and what if something in them is wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use interchange_bus::conformance::{envelope, queue};
use interchange_bus::{Bus, BusError, Queue, Unpublished, Verdict};
use interchange_bus_embedded::{EmbeddedBus, OpenError, Options};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::time::timeout;

async fn open(directory: &Path) -> EmbeddedBus {
    EmbeddedBus::open(directory, Options::default()).await.unwrap()
}

async fn database(directory: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(directory.join("bus.db")).connect().await.unwrap()
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let directory = TempDir::new().unwrap();
    let inside = directory.path().join("a/b");
    let bus = open(&inside).await;
    bus.publish(vec![(queue("a"), envelope(1))]).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inside), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&inside).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 3, "the database, its write-ahead file, the lock");
}

#[tokio::test]
async fn a_second_hub_on_the_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    let first = open(directory.path()).await;
    let error = EmbeddedBus::open(directory.path(), Options::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, OpenError::Locked { process: Some(process), .. } if process == std::process::id()), "{text}");
    assert!(text.contains("in use by another hub") && text.contains(&std::process::id().to_string()), "{text}");
    first.publish(vec![(queue("a"), envelope(1))]).await.expect("the first is not disturbed");
    first.close().await.unwrap();
    open(directory.path()).await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    open(directory.path()).await.close().await.unwrap();
    let mut connection = database(directory.path()).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let error = EmbeddedBus::open(directory.path(), Options::default()).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let error = EmbeddedBus::open(Path::new("/proc/nothing/here"), Options::default()).await.unwrap_err();
    assert!(matches!(error, OpenError::Files { .. }) && error.to_string().contains("/proc/nothing/here"), "{error}");
}

#[tokio::test]
async fn damaged_records_go_to_quarantine_and_the_rest_is_delivered() {
    let directory = TempDir::new().unwrap();
    let bus = open(directory.path()).await;
    bus.publish((0..10).map(|number| (queue("a"), envelope(number))).collect()).await.unwrap();
    bus.close().await.unwrap();
    let mut connection = database(directory.path()).await;
    for (sequence, damage) in
        [(1, "'nothing like it'"), (4, "x'ff00fe'"), (5, "42"), (9, "substr(envelope, 1, 60)"), (10, "'{}'")]
    {
        let statement = format!("UPDATE envelope SET envelope = {damage} WHERE sequence = {sequence}");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();

    let bus = open(directory.path()).await;
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let mut found = Vec::new();
    for _ in 0..5 {
        let lease = timeout(Duration::from_secs(10), reader.next()).await.unwrap().unwrap();
        found.push(lease.envelope.id.0);
        reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
    assert_eq!(found, [1, 2, 5, 6, 7]);
    bus.flush().await.unwrap();
    assert_eq!(bus.depth(&queue("a")).await, Ok(0));
    assert_eq!(bus.quarantined(&queue("a")).await, Ok(5));
    bus.close().await.unwrap();
    let kept: Vec<(i64, String)> = sqlx::query_as("SELECT sequence, reason FROM quarantine ORDER BY sequence")
        .fetch_all(&mut database(directory.path()).await)
        .await
        .unwrap();
    assert_eq!(kept.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 4, 5, 9, 10]);
    assert!(kept.iter().all(|(_, reason)| reason.contains("cannot be understood")), "{kept:?}");
}

#[tokio::test]
async fn settlements_outlast_a_time_when_nothing_can_be_written() {
    let directory = TempDir::new().unwrap();
    let bus = open(directory.path()).await;
    bus.publish((0..10).map(|number| (queue("a"), envelope(number))).collect()).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    // An operator's tool in the middle of a transaction.
    let mut other = database(directory.path()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    for _ in 0..10 {
        let lease = reader.next().await.unwrap();
        reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
    assert!(matches!(bus.flush().await, Err(BusError::Unavailable(_))));
    let refused = bus.publish(vec![(queue("a"), envelope(10))]).await;
    assert!(matches!(refused, Err(Unpublished { error: BusError::Unavailable(_), places: None })), "{refused:?}");
    drop(reader);
    let mut reader = bus.open(&queue("a")).await.unwrap();
    assert!(timeout(Duration::from_millis(100), reader.next()).await.is_err(), "settled is settled");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    bus.flush().await.unwrap();
    drop((reader, bus));
    let bus = open(directory.path()).await;
    assert_eq!(bus.depth(&queue("a")).await, Ok(0));
}

#[tokio::test]
async fn a_closed_bus_says_so() {
    let directory = TempDir::new().unwrap();
    let bus = open(directory.path()).await;
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let (lease, closed) = tokio::join!(timeout(Duration::from_secs(10), reader.next()), bus.close());
    closed.unwrap();
    assert!(matches!(lease.expect("a waiting reader is told"), Err(BusError::Unavailable(_))));
    let refused = bus.publish(vec![(queue("a"), envelope(1))]).await;
    assert!(matches!(refused, Err(Unpublished { error: BusError::Unavailable(_), places: None })), "{refused:?}");
    assert!(matches!(bus.open(&queue("b")).await.err(), Some(BusError::Unavailable(_))));
    assert!(matches!(bus.close().await, Err(BusError::Unavailable(_))), "closed twice");
}

/// `cargo test --release -p interchange-bus-embedded --test store -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes half a gigabyte"]
async fn a_million_waiting_envelopes_are_ready_soon() {
    let directory = TempDir::new().unwrap();
    let bus = open(directory.path()).await;
    for batch in 0..1000_u64 {
        let entries = (0..1000).map(|entry| (queue(&(entry % 100).to_string()), envelope(batch * 1000 + entry))).collect();
        bus.publish(entries).await.unwrap();
    }
    drop(bus);
    let start = Instant::now();
    let bus = open(directory.path()).await;
    let ready = start.elapsed();
    let mut reader = bus.open(&queue("7")).await.unwrap();
    assert_eq!(reader.next().await.unwrap().envelope.id.0, 7);
    let first = start.elapsed();
    assert_eq!(bus.waiting().await.unwrap().len(), 100);
    println!("ready after {ready:?}, first envelope after {first:?}, all queues listed after {:?}", start.elapsed());
    assert!(ready < Duration::from_secs(10), "{ready:?}");
}
