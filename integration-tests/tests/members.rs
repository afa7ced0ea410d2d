//! The only writer of what is registered, on both databases: each case runs on SQLite and on a real PostgreSQL.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_integration_tests::postgresql::{PASSWORD, PostgreSql};
use interchange_model::{DisplayName, Domain, Link, PlatformName, SettingsError};
use interchange_registry::{Actor, Change, ChangeFault, Community, Database, Members, Parts, PostgreSql as Address, Role, Store};

/// A database that several nodes may share, and where each test's nodes have their directories.
struct Ground {
    directory: tempfile::TempDir,
    server: Option<PostgreSql>,
}

impl Ground {
    fn sqlite() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), server: None }
    }

    fn postgresql() -> Self {
        Self { server: Some(PostgreSql::start()), ..Self::sqlite() }
    }

    fn database(&self) -> Database {
        match &self.server {
            None => Database::Embedded,
            Some(server) => {
                Database::PostgreSql(Address { url: server.url(), password: Some(PASSWORD.to_owned()), authority: None })
            }
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn store(&self) -> Store {
        Store::open_with(self.path(), &self.database()).await.expect("the store can be opened")
    }
}

/// Each case twice.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::Ground::sqlite()).await;
            })*
        }
        mod postgresql {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::Ground::postgresql()).await;
            })*
        }
    };
}

/// Any platform.
const PIGEON: &str = "pigeon";

fn operator() -> Actor {
    Actor { name: "ops".to_owned(), role: Role::Operator }
}

/// A node: what it knows, and its store.
struct Node {
    members: Arc<Members>,
    store: Store,
}

impl std::ops::Deref for Node {
    type Target = Members;

    fn deref(&self) -> &Members {
        &self.members
    }
}

/// A node whose platforms know no setting but `good`.
async fn node(ground: &Ground) -> Node {
    let store = ground.store().await;
    let declared = Parts {
        hub: Domain::parse("hub.example").unwrap(),
        members: vec!["hub".into()],
        links: Vec::new(),
        partnerships: Vec::new(),
        community: Community::Invitation,
        barriers: Vec::new(),
        accounts: Default::default(),
        directories: Default::default(),
    };
    let check = |link: &Link| match link.settings.0.keys().find(|key| *key != "good") {
        Some(key) => Err(SettingsError::new(key.clone(), "there is no such setting")),
        None => Ok(()),
    };
    let members = Arc::new(Members::open(store.clone(), declared, Box::new(check)).await.unwrap());
    let follower = members.clone();
    tokio::spawn(async move { follower.follow().await });
    Node { members, store }
}

fn change(json: &str) -> Change {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn add(member: &str) -> Change {
    change(&format!(r#"{{"change":"add-member","member":"{member}","name":"{member}"}}"#))
}

/// Acme with a link, by these changes.
fn acme(settings: &str) -> [Change; 4] {
    [
        add("acme"),
        change(r#"{"change":"add-domain","member":"acme","domain":"acme.example"}"#),
        change(r#"{"change":"vouch-domain","domain":"acme.example"}"#),
        change(&format!(
            r#"{{"change":"set-link","link":"acme","member":"acme","platform":"pigeon","domains":["acme.example"],"settings":{settings}}}"#
        )),
    ]
}

async fn a_change_is_live_here_at_once_at_another_node_within_two_seconds_and_there_after_a_restart(ground: Ground) {
    let (one, two) = (node(&ground).await, node(&ground).await);
    let mut seen = two.watch();
    // Somebody who signs in at either.
    let account = Change::SetAccount {
        member: "acme".into(),
        user: "Alice".to_owned(),
        display_name: DisplayName::new("Alice Adams"),
        password_hash: Some("$argon2id$hash".to_owned()),
        is_new: Some(true),
    };
    let [member, rest @ ..] = acme(r#"{"good":1}"#);
    for change in [member, account].into_iter().chain(rest) {
        one.apply(&operator(), &change, 5).await.unwrap();
    }
    assert!(one.watch().borrow().link(&"acme".into()).is_some());
    let changed = Instant::now();
    seen.wait_for(|registry| registry.link(&"acme".into()).is_some()).await.unwrap();
    assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
    assert_eq!(two.directory(), one.directory());
    assert_eq!(two.directory().1.accounts[&("acme".into(), "alice".to_owned())].user, "Alice");
    one.store.close().await;
    two.store.close().await;
    let again = node(&ground).await;
    assert_eq!(again.directory(), one.directory());
    assert_eq!(again.watch().borrow().links(&PlatformName::from_static(PIGEON)).len(), 1);
}

async fn what_is_refused_changes_nothing_and_is_not_audited(ground: Ground) {
    let members = node(&ground).await.members;
    let [member, domain, vouch, link] = acme(r#"{"bad":1}"#);
    for change in [&member, &domain, &vouch] {
        members.apply(&operator(), change, 5).await.unwrap();
    }
    let before = members.directory();
    let audit = members.audit(None, 100).await.unwrap();
    let error = members.apply(&operator(), &link, 5).await.unwrap_err();
    assert_eq!(error.message, "the settings of link `acme` at `bad`: there is no such setting");
    let error = members.apply(&operator(), &member, 5).await.unwrap_err();
    assert_eq!(error.fault, ChangeFault::Conflict);
    // A link without domains is found by the check of the whole.
    let nothing = change(r#"{"change":"set-link","link":"acme","member":"acme","platform":"pigeon","domains":[]}"#);
    assert!(members.apply(&operator(), &nothing, 5).await.unwrap_err().message.contains("serves no domain"));
    assert_eq!((members.directory(), members.audit(None, 100).await.unwrap()), (before, audit));
}

async fn each_change_is_audited_with_before_and_after_and_without_secrets(ground: Ground) {
    let members = node(&ground).await.members;
    for change in acme("{}") {
        members.apply(&operator(), &change, 5).await.unwrap();
    }
    let user = Change::SetUser { user: "eve".to_owned(), role: Role::Auditor, token_hash: "$argon2id$secret".to_owned() };
    members.apply(&operator(), &user, 5).await.unwrap();
    let account = |hash: &str| Change::SetAccount {
        member: "acme".into(),
        user: "alice".to_owned(),
        display_name: None,
        password_hash: Some(hash.to_owned()),
        is_new: None,
    };
    let mut registry = members.watch();
    registry.mark_unchanged();
    for hash in ["$argon2id$first", "$argon2id$second"] {
        members.apply(&operator(), &account(hash), 5).await.unwrap();
    }
    assert!(!registry.has_changed().unwrap(), "who signs in changes nothing about who is linked");
    let rows = members.audit(None, 100).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.version, row.change.as_str(), row.kind.as_str(), row.id.as_str())).collect();
    assert_eq!(
        told,
        [
            (7, "set-account", "account", "acme alice"),
            (6, "set-account", "account", "acme alice"),
            (5, "set-user", "user", "eve"),
            (4, "set-link", "link", "acme"),
            (3, "vouch-domain", "domain", "acme.example"),
            (2, "add-domain", "domain", "acme.example"),
            (1, "add-member", "member", "acme"),
        ]
    );
    assert!(rows.iter().all(|row| row.actor == "ops" && row.at > 1_700_000_000_000));
    assert!(!serde_json::to_string(&rows).unwrap().contains("argon2id"));
    // A new password is seen, and nothing of it.
    assert_eq!(rows[0].after, Some(serde_json::json!({"user": "alice", "display_name": null})));
    assert_eq!(rows[0].before, rows[0].after);
    assert_eq!(rows[2].after, Some(serde_json::json!({"role": "auditor"})));
    let vouched = &rows[4];
    assert_eq!(vouched.before.as_ref().unwrap()["proof"], serde_json::Value::Null);
    assert_eq!(vouched.after.as_ref().unwrap()["proof"]["kind"], "vouched");
    let older = members.audit(Some(3), 2).await.unwrap();
    assert_eq!(older.iter().map(|row| row.version).collect::<Vec<_>>(), [3, 2]);
}

async fn two_nodes_that_change_at_once_lose_nothing(ground: Ground) {
    let (one, two) = (node(&ground).await, node(&ground).await);
    let many = |members: Arc<Members>, name: &'static str| {
        tokio::spawn(async move {
            let mut versions = Vec::new();
            for number in 0..25 {
                versions.push(members.apply(&operator(), &add(&format!("{name}-{number}")), 5).await.unwrap());
            }
            versions
        })
    };
    let (first, second) = (many(one.members.clone(), "a"), many(two.members.clone(), "b"));
    let mut versions = [first.await.unwrap(), second.await.unwrap()].concat();
    versions.sort_unstable();
    assert_eq!(versions, (1..=50).collect::<Vec<_>>());
    let until = Instant::now() + Duration::from_secs(2);
    while (one.directory().0 < 50 || two.directory().0 < 50) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(one.directory(), two.directory());
    assert_eq!(one.directory().1.members.len(), 50);
}

async fn what_contradicts_the_configuration_is_said_at_the_start(ground: Ground) {
    let members = node(&ground).await.members;
    for change in acme("{}") {
        members.apply(&operator(), &change, 5).await.unwrap();
    }
    let mut declared = members.declared().clone();
    declared.members.push("acme".into());
    let store = ground.store().await;
    let error = Members::open(store, declared, Box::new(|_| Ok(()))).await.err().unwrap();
    assert!(
        error.to_string().ends_with("contradicts hub.toml: there are two members `acme`; take it out of hub.toml"),
        "{error}"
    );
}

/// A node goes on with what it knows while the database is away, refuses changes with a reason, and takes up what it missed.
async fn a_database_that_goes_away_and_comes_back(ground: Ground) {
    let Ground { server: Some(_), .. } = ground else { return };
    let mut ground = ground;
    let (one, two) = (node(&ground).await, node(&ground).await);
    one.apply(&operator(), &add("acme"), 5).await.unwrap();
    ground.server.as_mut().unwrap().kill();
    let asked = Instant::now();
    let error = one.apply(&operator(), &add("globex"), 5).await.unwrap_err();
    assert_eq!(error.fault, ChangeFault::Unavailable);
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
    assert!(one.audit(None, 10).await.is_err());
    assert_eq!(one.directory().1.members.len(), 1);
    ground.server.as_mut().unwrap().start_again();
    let until = Instant::now() + Duration::from_secs(20);
    // Neither was started anew.
    while one.apply(&operator(), &add("initech"), 5).await.is_err() {
        assert!(Instant::now() < until, "it does not come back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    while two.directory() != one.directory() {
        assert!(Instant::now() < until, "the other node does not take it up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let members: Vec<_> = two.directory().1.members.keys().map(|id| id.as_str().to_owned()).collect();
    assert!(members.contains(&"acme".to_owned()) && members.contains(&"initech".to_owned()), "{members:?}");
}

/// What is wrong with an address, or there, is said without the password.
#[tokio::test]
async fn a_database_that_cannot_be_used_is_named_without_its_password() {
    let ground = Ground::postgresql();
    let open = async |url: String, password: &str| {
        let database = Database::PostgreSql(Address { url, password: Some(password.to_owned()), authority: None });
        let error = Store::open_with(ground.path(), &database).await.expect_err("it cannot be opened");
        let text = format!("{error} {error:?}");
        assert!(!text.contains(password), "{text}");
        text
    };
    let url = ground.server.as_ref().unwrap().url();
    assert!(open(url.clone(), "wrong-secret").await.contains("password authentication failed"));
    let nobody = "postgresql://interchange@127.0.0.1:1/postgres".to_owned();
    assert!(open(nobody, "other-secret").await.contains("cannot use the database postgresql://interchange@127.0.0.1:1/postgres"));
    assert!(open("mysql://db/x".to_owned(), "third-secret").await.contains("write an address"));
}

on_both! {
    a_change_is_live_here_at_once_at_another_node_within_two_seconds_and_there_after_a_restart
    what_is_refused_changes_nothing_and_is_not_audited
    each_change_is_audited_with_before_and_after_and_without_secrets
    two_nodes_that_change_at_once_lose_nothing
    what_contradicts_the_configuration_is_said_at_the_start
}

mod postgresql_alone {
    #[tokio::test]
    async fn a_database_that_goes_away_and_comes_back() {
        super::a_database_that_goes_away_and_comes_back(super::Ground::postgresql()).await;
    }
}
