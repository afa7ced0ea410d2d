use super::*;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn watch_row(watcher: &str, state: WatchState, seconds: u64) -> WatchRow {
    WatchRow {
        watcher: address(watcher),
        presentity: address("bob@b.example"),
        state,
        since: UNIX_EPOCH + Duration::from_secs(seconds),
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_the_newest_counts() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    store.write(Note::Watch(watch_row("alice@a.example", WatchState::Asked, 1)));
    store.write(Note::Watch(watch_row("carol@a.example", WatchState::Granted, 2)));
    store.write(Note::Watch(watch_row("Alice@A.example", WatchState::Granted, 3)));
    store.write(Note::Watch(watch_row("dave@a.example", WatchState::Refused, 4)));
    store.write(Note::NoWatch { watcher: address("dave@a.example"), presentity: address("Bob@b.example") });
    let remember = |link: &str, name: &str, value: Option<&[u8]>| {
        store.write(Note::Remembered { link: link.into(), name: name.into(), value: value.map(Vec::from) });
    };
    remember("sip", "dialog 1", Some(b"old"));
    store.flush().await;
    remember("sip", "dialog 1", Some(b"\x00\xffnew"));
    remember("sip", "dialog 2", Some(b"x"));
    remember("sip", "dialog 2", None);
    remember("other", "dialog 1", Some(b"theirs"));
    remember("sip", &"n".repeat(256), Some(b"too long a name"));
    remember("sip", "too long", Some(&[0; LONGEST_VALUE + 1]));
    store.close().await;
    let store = Store::open(directory.path()).await.unwrap();
    let watches = store.watches().await.unwrap();
    assert_eq!(
        watches,
        [watch_row("alice@a.example", WatchState::Granted, 3), watch_row("carol@a.example", WatchState::Granted, 2)]
    );
    // As it was last written.
    assert_eq!(watches[0].watcher.user(), "Alice");
    assert_eq!(store.remembered(&"sip".into()).await.unwrap(), [("dialog 1".into(), b"\x00\xffnew".to_vec())]);
    store.close().await;
}

#[tokio::test]
async fn a_thousand_changes_are_one_or_few_transactions() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    for number in 0..1000 {
        store.write(Note::Watch(watch_row(&format!("u{number}@a.example"), WatchState::Granted, number)));
    }
    store.flush().await;
    assert_eq!(store.watches().await.unwrap().len(), 1000);
    store.close().await;
}

#[tokio::test]
async fn a_database_that_fails_is_tried_again_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let pool = store.shared.pool.clone().unwrap();
    sqlx::query("ALTER TABLE watch RENAME TO elsewhere").execute(&pool).await.unwrap();
    store.write(Note::Watch(watch_row("alice@a.example", WatchState::Asked, 1)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    // A newer value of the same row meanwhile.
    store.write(Note::Watch(watch_row("alice@a.example", WatchState::Granted, 2)));
    sqlx::query("ALTER TABLE elsewhere RENAME TO watch").execute(&pool).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), store.flush()).await.unwrap();
    assert_eq!(store.watches().await.unwrap(), [watch_row("alice@a.example", WatchState::Granted, 2)]);
    store.close().await;
}

#[tokio::test]
async fn rows_that_cannot_be_understood_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    store.write(Note::Watch(watch_row("alice@a.example", WatchState::Asked, 1)));
    store.flush().await;
    let pool = store.shared.pool.clone().unwrap();
    sqlx::query("INSERT INTO watch VALUES ('x', 'y', 'no address', 'bob@b.example', 'asked', 1)").execute(&pool).await.unwrap();
    sqlx::query("INSERT INTO watch VALUES ('x', 'z', 'x@a.example', 'bob@b.example', 'perhaps', 1)")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(store.watches().await.unwrap().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let mode = std::fs::metadata(directory.path().join("hub.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    store.close().await;
}
