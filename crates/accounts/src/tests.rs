use std::time::Duration;

use interchange_driver::Answer;
use interchange_model::{DisplayName, Domain, Link, Pace, PlatformName, Settings};
use interchange_registry::{Actor, Change, Community, Parts, Role, Store};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

/// Any platform.
const PIGEON: &str = "pigeon";

/// A hub with two members, each with a link of its name; `globex` has an account in the file.
struct Ground {
    accounts: Accounts,
    members: Arc<Members>,
    _directory: tempfile::TempDir,
}

fn link(id: &str) -> Link {
    Link {
        id: id.into(),
        member: id.into(),
        platform: PlatformName::from_static(PIGEON),
        domains: vec![Domain::parse(&format!("{id}.example")).unwrap()],
        pace: Pace::default(),
        settings: Settings::default(),
    }
}

impl Ground {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let entry = AccountEntry {
            user: "Hank".into(),
            display_name: DisplayName::new("Hank Scorpio"),
            password_hash: interchange_credentials::hash(b"hammock"),
        };
        let declared = Parts {
            hub: Domain::parse("hub.example").unwrap(),
            members: vec!["hub".into(), "acme".into(), "globex".into()],
            links: vec![link("acme"), link("globex")],
            partnerships: Vec::new(),
            community: Community::Invitation,
            barriers: Vec::new(),
            accounts: [(("globex".into(), "hank".to_owned()), entry)].into(),
            directories: Default::default(),
        };
        let members = Arc::new(Members::open(store, declared, Box::new(|_| Ok(()))).await.unwrap());
        Self { accounts: Accounts::start(members.clone(), Vec::new()), members, _directory: directory }
    }

    async fn add(&self, member: &str, user: &str, name: Option<&str>, password: &str) {
        let change = Change::SetAccount {
            member: member.into(),
            user: user.into(),
            display_name: name.and_then(DisplayName::new),
            password_hash: Some(interchange_credentials::hash(password.as_bytes())),
            is_new: None,
        };
        let operator = Actor { name: "ops".into(), role: Role::Operator };
        self.members.apply(&operator, &change, 1).await.unwrap();
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> AccountQuestion) -> Result<T, SignInError> {
        let (answer, answered) = oneshot::channel();
        self.accounts.questions().send(question(answer)).await.unwrap();
        timeout(Duration::from_secs(14), answered).await.expect("in time").expect("an answer")
    }

    async fn sign_in(&self, at: &str, name: &str, password: &str) -> Result<String, SignInError> {
        let password = Password::new(password.into()).unwrap();
        let (link, name) = (at.into(), name.to_owned());
        let peer = Some(IpAddr::from([192, 0, 2, 1]));
        let account = self.ask(|answer| AccountQuestion::SignIn { link, peer, name, password, answer }).await?;
        Ok(account.user)
    }

    async fn look_up(&self, at: &str, name: &str) -> Result<Vec<String>, SignInError> {
        let (link, name) = (at.into(), name.to_owned());
        let found = self.ask(|answer| AccountQuestion::LookUp { link, name, answer }).await?;
        Ok(found.into_iter().map(|account| account.user).collect())
    }
}

#[tokio::test]
async fn who_is_on_the_list_signs_in_with_their_password_and_nobody_else_does() {
    let ground = Ground::new().await;
    ground.add("acme", "Alice", Some("Alice Adams"), "opensesame").await;
    assert_eq!(ground.sign_in("acme", "Alice", "opensesame").await, Ok("Alice".into()));
    // In the one spelling that is used everywhere, however it was typed.
    assert_eq!(ground.sign_in("acme", "ALICE", "opensesame").await, Ok("Alice".into()));
    assert_eq!(ground.sign_in("globex", "hank", "hammock").await, Ok("Hank".into()), "declared in the file");
    for (at, name, password) in [
        ("acme", "alice", "Opensesame"),
        ("acme", "alic", "opensesame"),
        ("acme", "alice ", "opensesame"),
        ("acme", "", "opensesame"),
        ("acme", "hank", "hammock"),
        ("globex", "alice", "opensesame"),
        ("acme", "alice\0", "opensesame"),
    ] {
        assert_eq!(ground.sign_in(at, name, password).await, Err(SignInError::Wrong), "{name:?} {password}");
    }
    assert_eq!(ground.sign_in("nowhere", "alice", "opensesame").await, Err(SignInError::Unavailable));
}

#[tokio::test]
async fn a_change_holds_from_the_next_sign_in_on() {
    let ground = Ground::new().await;
    ground.add("acme", "alice", None, "first-one").await;
    assert!(ground.sign_in("acme", "alice", "first-one").await.is_ok());
    ground.add("acme", "alice", None, "second-one").await;
    assert_eq!(ground.sign_in("acme", "alice", "first-one").await, Err(SignInError::Wrong));
    assert!(ground.sign_in("acme", "alice", "second-one").await.is_ok());
    let operator = Actor { name: "ops".into(), role: Role::Operator };
    let change = Change::RemoveAccount { member: "acme".into(), user: "ALICE".into() };
    ground.members.apply(&operator, &change, 1).await.unwrap();
    assert_eq!(ground.sign_in("acme", "alice", "second-one").await, Err(SignInError::Wrong));
}

#[tokio::test]
async fn abuse_37_after_wrong_passwords_nobody_is_asked_for_a_while() {
    let ground = Ground::new().await;
    ground.add("acme", "alice", None, "opensesame").await;
    for _ in 0..5 {
        assert_eq!(ground.sign_in("acme", "alice", "guess").await, Err(SignInError::Wrong));
    }
    assert_eq!(ground.sign_in("acme", "Alice", "opensesame").await, Err(SignInError::Unavailable), "however it is spelled");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    assert_eq!(ground.sign_in("acme", "alice", "opensesame").await, Ok("alice".into()));
    for _ in 0..5 {
        assert_eq!(ground.sign_in("acme", "alice", "guess").await, Err(SignInError::Wrong), "and all begins afresh");
    }
}

#[tokio::test]
async fn people_are_found_by_user_and_by_how_they_are_called_the_best_first() {
    let ground = Ground::new().await;
    for (user, name) in [
        ("bo", Some("Zoe Zimmer")),
        ("robert", Some("Bo")),
        ("bob", Some("Bob Smith")),
        ("carol", Some("Carol Bolton")),
        ("abo", None),
        ("dave", Some("Dave Ebony")),
        ("eve", Some("Eve Adams")),
    ] {
        ground.add("acme", user, name, "opensesame").await;
    }
    assert_eq!(ground.look_up("acme", " BO ").await.unwrap(), ["bo", "robert", "bob", "carol", "abo", "dave"]);
    assert_eq!(ground.look_up("acme", "eve adams").await.unwrap(), ["eve"]);
    assert_eq!(ground.look_up("globex", "scorpio").await.unwrap(), ["Hank"]);
    assert_eq!(ground.look_up("globex", "bo").await.unwrap(), [""; 0], "nobody of another member is");
    for nobody in ["", "  ", "%", "*", &"b".repeat(256)] {
        assert_eq!(ground.look_up("acme", nobody).await.unwrap(), [""; 0], "{nobody:?}");
    }
    assert_eq!(ground.look_up("nowhere", "bo").await, Err(SignInError::Unavailable));
}

#[tokio::test]
async fn who_finds_no_room_is_told_so_and_every_question_has_its_answer() {
    let ground = Ground::new().await;
    ground.add("acme", "alice", None, "opensesame").await;
    let mut open = Vec::new();
    for n in 0..AT_ONCE_OF_A_MEMBER * 2 {
        let (answer, answered) = oneshot::channel();
        let password = Password::new("opensesame".into()).unwrap();
        let (link, name, peer) = ("acme".into(), format!("user{n}"), None);
        let question = AccountQuestion::SignIn { link, peer, name, password, answer };
        ground.accounts.questions().send(question).await.unwrap();
        open.push(answered);
    }
    let mut told = HashMap::new();
    for answered in open {
        let result = timeout(Duration::from_secs(60), answered).await.unwrap().unwrap();
        *told.entry(result.unwrap_err()).or_insert(0) += 1;
    }
    assert_eq!(told.get(&SignInError::Wrong), Some(&AT_ONCE_OF_A_MEMBER), "{told:?}");
    assert_eq!(told.get(&SignInError::Unavailable), Some(&AT_ONCE_OF_A_MEMBER), "{told:?}");
    assert!(ground.sign_in("acme", "alice", "opensesame").await.is_ok(), "there is room again");
}
