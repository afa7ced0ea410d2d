use std::path::Path;
use std::time::Instant;

use interchange_model::{Domain, PlatformName};

use super::*;
use crate::{Community, Role};

/// Any platform.
const PIGEON: &str = "pigeon";

fn operator() -> Actor {
    Actor { name: "ops".to_owned(), role: Role::Operator }
}

/// A node whose platforms know no setting but `good`.
async fn node(directory: &Path) -> Arc<Members> {
    let store = Store::open(directory).await.unwrap();
    let declared = Parts {
        hub: Domain::parse("hub.example").unwrap(),
        members: vec!["hub".into()],
        links: Vec::new(),
        partnerships: Vec::new(),
        community: Community::Invitation,
        barriers: Vec::new(),
    };
    let check = |link: &Link| match link.settings.0.keys().find(|key| *key != "good") {
        Some(key) => Err(SettingsError::new(key.clone(), "there is no such setting")),
        None => Ok(()),
    };
    let members = Arc::new(Members::open(store, declared, Box::new(check)).await.unwrap());
    let follower = members.clone();
    tokio::spawn(async move { follower.follow().await });
    members
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

#[tokio::test]
async fn a_change_is_live_here_at_once_at_another_node_within_two_seconds_and_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (node(directory.path()).await, node(directory.path()).await);
    let mut seen = two.watch();
    for change in acme(r#"{"good":1}"#) {
        one.apply(&operator(), &change, 5).await.unwrap();
    }
    assert!(one.watch().borrow().link(&"acme".into()).is_some());
    let changed = Instant::now();
    seen.wait_for(|registry| registry.link(&"acme".into()).is_some()).await.unwrap();
    assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
    assert_eq!(two.directory(), one.directory());
    one.store.close().await;
    two.store.close().await;
    let again = node(directory.path()).await;
    assert_eq!(again.directory(), one.directory());
    assert_eq!(again.watch().borrow().links(&PlatformName::from_static(PIGEON)).len(), 1);
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_is_not_audited() {
    let directory = tempfile::tempdir().unwrap();
    let members = node(directory.path()).await;
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

#[tokio::test]
async fn each_change_is_audited_with_before_and_after_and_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let members = node(directory.path()).await;
    for change in acme("{}") {
        members.apply(&operator(), &change, 5).await.unwrap();
    }
    let user = Change::SetUser { user: "eve".to_owned(), role: Role::Auditor, token_hash: "$argon2id$secret".to_owned() };
    members.apply(&operator(), &user, 5).await.unwrap();
    let rows = members.audit(None, 100).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.version, row.change.as_str(), row.kind.as_str(), row.id.as_str())).collect();
    assert_eq!(
        told,
        [
            (5, "set-user", "user", "eve"),
            (4, "set-link", "link", "acme"),
            (3, "vouch-domain", "domain", "acme.example"),
            (2, "add-domain", "domain", "acme.example"),
            (1, "add-member", "member", "acme"),
        ]
    );
    assert!(rows.iter().all(|row| row.actor == "ops" && row.at > 1_700_000_000_000));
    assert_eq!(rows[0].after, Some(serde_json::json!({"role": "auditor"})));
    let vouched = &rows[2];
    assert_eq!(vouched.before.as_ref().unwrap()["proof"], serde_json::Value::Null);
    assert_eq!(vouched.after.as_ref().unwrap()["proof"]["kind"], "vouched");
    let older = members.audit(Some(3), 2).await.unwrap();
    assert_eq!(older.iter().map(|row| row.version).collect::<Vec<_>>(), [3, 2]);
}

#[tokio::test]
async fn two_nodes_that_change_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (node(directory.path()).await, node(directory.path()).await);
    let many = |members: Arc<Members>, name: &'static str| {
        tokio::spawn(async move {
            let mut versions = Vec::new();
            for number in 0..25 {
                versions.push(members.apply(&operator(), &add(&format!("{name}-{number}")), 5).await.unwrap());
            }
            versions
        })
    };
    let (first, second) = (many(one.clone(), "a"), many(two.clone(), "b"));
    let mut versions = [first.await.unwrap(), second.await.unwrap()].concat();
    versions.sort_unstable();
    assert_eq!(versions, (1..=50).collect::<Vec<_>>());
    let mut seen = one.known.subscribe();
    tokio::time::timeout(Duration::from_secs(2), seen.wait_for(|known| known.version == 50)).await.unwrap().unwrap();
    assert_eq!(one.directory().1.members.len(), 50);
}

#[tokio::test]
async fn what_contradicts_the_configuration_is_said_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let members = node(directory.path()).await;
    for change in acme("{}") {
        members.apply(&operator(), &change, 5).await.unwrap();
    }
    let mut declared = members.declared().clone();
    declared.members.push("acme".into());
    let store = Store::open(directory.path()).await.unwrap();
    let error = Members::open(store, declared, Box::new(|_| Ok(()))).await.err().unwrap();
    assert!(
        error.to_string().ends_with("contradicts hub.toml: there are two members `acme`; take it out of hub.toml"),
        "{error}"
    );
}
