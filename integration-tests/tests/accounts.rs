//! People who sign in at the hub, in a real LDAP directory (OpenLDAP), and as a list that the command line keeps.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_accounts::{Accounts, LdapPlace, LdapSettings, ServiceAccount};
use interchange_adapter::{Account, Password, SignInError};
use interchange_driver::{AccountQuestion, Answer, Caller, Network, Reach, Resolver, Roots, Tls};
use interchange_integration_tests::api::Api;
use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::hub::{HubFiles, LinkSettings, binary};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::processes::Directory;
use interchange_integration_tests::slapd::{BASE, Person, SERVICE, SERVICE_PASSWORD, SlapdFiles};
use interchange_model::{Domain, Link, Pace, PlatformName, Settings};
use interchange_registry::{Community, Members, Parts, Store};
use ldap_codec::Filter;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Some of whom have names that are syntax elsewhere.
const PEOPLE: [Person; 7] = [
    Person { user: "alice", name: "Alice Adams", mail: "alice.adams@acme.example", password: "opensesame" },
    Person { user: "Bob", name: "Bob Smith", mail: "bob@acme.example", password: "tiny-fish" },
    Person { user: "carol", name: "Carol Bobbin", mail: "carol@elsewhere.example", password: "pass(word)*" },
    Person { user: "star*", name: "Star (the) Man", mail: "star@acme.example", password: "starstar" },
    Person { user: "nopassword", name: "Nora Password", mail: "nora@acme.example", password: "" },
    Person { user: "zoë", name: "Zoë Zimmer", mail: "zoe@acme.example", password: "zoë-zoë" },
    Person { user: "bobby", name: "Robert Brown", mail: "bobby@acme.example", password: "whatever1" },
];

/// A hub's accounts, asked as its adapters ask.
struct Ground {
    accounts: Accounts,
    _directory: tempfile::TempDir,
}

/// The place of the directory, and who searches there.
fn settings(place: LdapPlace, service_password: &str) -> LdapSettings {
    let password = service_password.to_owned();
    let read = move || Password::new(password.clone()).ok_or_else(|| "there is none".to_owned());
    LdapSettings {
        place,
        service: Some(ServiceAccount { name: SERVICE.to_owned(), password: Arc::new(read) }),
        base: BASE.to_owned(),
        people: Filter::parse("(objectClass=person)").expect("a filter"),
        login_attributes: vec!["uid".to_owned()],
        user_attribute: "uid".to_owned(),
        name_attribute: "cn".to_owned(),
    }
}

impl Ground {
    /// With a directory of which only loopback addresses may be called, and only servers that `authority` vouches for.
    async fn new(authority: &Authority, settings: LdapSettings) -> Self {
        Self::reaching(authority, settings, &["127.0.0.0/8", "::1"]).await
    }

    async fn reaching(authority: &Authority, settings: LdapSettings, networks: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, authority.certificate()).expect("it can be written");
        let mut roots = Roots::none();
        roots.add_file(&ca).expect("an authority");
        let tls = Tls::new(Vec::new(), 0, roots).expect("TLS");
        let networks: Vec<Network> = networks.iter().map(|network| network.parse().expect("a network")).collect();
        let caller = Caller::new(tls, Resolver::system().expect("a resolver"), Reach::public_and(networks));
        let store = Store::open(directory.path()).await.expect("a store");
        let declared = Parts {
            hub: Domain::parse("hub.example").expect("a domain"),
            members: vec!["hub".into(), "acme".into()],
            links: vec![Link {
                id: "acme".into(),
                member: "acme".into(),
                platform: PlatformName::from_static("pigeon"),
                domains: vec![Domain::parse("acme.example").expect("a domain")],
                pace: Pace::default(),
                settings: Settings::default(),
            }],
            partnerships: Vec::new(),
            community: Community::Invitation,
            barriers: Vec::new(),
            accounts: Default::default(),
            directories: ["acme".into()].into(),
        };
        let members = Members::open(store, declared, Box::new(|_| Ok(()))).await.expect("members");
        let accounts = Accounts::start(Arc::new(members), vec![("acme".into(), caller, settings)]);
        Self { accounts, _directory: directory }
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> AccountQuestion) -> Result<T, SignInError> {
        let (answer, answered) = oneshot::channel();
        self.accounts.questions().send(question(answer)).await.expect("somebody answers");
        timeout(Duration::from_secs(14), answered).await.expect("within 14 s").expect("an answer")
    }

    async fn from(&self, last: u8, name: &str, password: &str) -> Result<Account, SignInError> {
        let password = Password::new(password.to_owned()).expect("a password");
        let peer = Some(IpAddr::from([192, 0, 2, last]));
        self.ask(|answer| AccountQuestion::SignIn { link: "acme".into(), peer, name: name.to_owned(), password, answer }).await
    }

    /// Signs in, each time from another address, so that guesses of one test do not slow the next down.
    async fn sign_in(&self, name: &str, password: &str) -> Result<String, SignInError> {
        self.from(rand_octet(), name, password).await.map(|account| account.user)
    }

    async fn look_up(&self, name: &str) -> Result<Vec<String>, SignInError> {
        let found = self.ask(|answer| AccountQuestion::LookUp { link: "acme".into(), name: name.to_owned(), answer }).await?;
        Ok(found.into_iter().map(|account| account.user).collect())
    }
}

fn rand_octet() -> u8 {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn place(scheme: &str, port: &ReservedPort, clear: bool) -> LdapPlace {
    LdapPlace::parse(&format!("{scheme}://localhost:{}", port.number()), clear, None).expect("an address")
}

#[tokio::test]
async fn people_sign_in_with_the_password_of_their_directory_by_each_kind_of_connection() {
    let authority = Authority::new("Test authority");
    let files = SlapdFiles::new(&authority, &PEOPLE);
    let slapd = files.start();
    for place in [place("ldaps", &files.secure, false), place("ldap", &files.clear, false), place("ldap", &files.clear, true)] {
        let ground = Ground::new(&authority, settings(place.clone(), SERVICE_PASSWORD)).await;
        let alice = ground.from(1, "alice", "opensesame").await.expect("it is hers");
        assert_eq!(alice.user, "alice", "{place:?}");
        assert_eq!(alice.display_name.as_ref().map(|name| name.as_str()), Some("Alice Adams"));
        // In the spelling of the directory.
        assert_eq!(ground.sign_in("ALICE", "opensesame").await, Ok("alice".to_owned()));
        assert_eq!(ground.sign_in("bob", "tiny-fish").await, Ok("Bob".to_owned()));
        assert_eq!(ground.sign_in("carol", "pass(word)*").await, Ok("carol".to_owned()));
        assert_eq!(ground.sign_in("zoë", "zoë-zoë").await, Ok("zoë".to_owned()));
        for (name, password) in [
            ("alice", "Opensesame"),
            ("alice", "tiny-fish"),
            ("nobody", "opensesame"),
            ("nopassword", "opensesame"),
            // The service account is nobody of the people.
            ("interchange", SERVICE_PASSWORD),
        ] {
            assert_eq!(ground.sign_in(name, password).await, Err(SignInError::Wrong), "{name} {password}");
        }
    }
    let log = slapd.log();
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert!(log.contains("TLS established"), "{log}");
    // Connections are used again: of 30 questions each of the three grounds needs one to search and one to prove.
    assert!(count("ACCEPT from") <= 1 + 3 * 2 + 2, "{log}");
    for password in ["opensesame", SERVICE_PASSWORD] {
        assert!(!log.contains(password), "{log}");
    }
}

#[tokio::test]
async fn what_is_typed_is_never_syntax() {
    let authority = Authority::new("Test authority");
    let files = SlapdFiles::new(&authority, &PEOPLE);
    let slapd = files.start();
    let ground = Ground::new(&authority, settings(place("ldap", &files.clear, true), SERVICE_PASSWORD)).await;
    assert_eq!(ground.sign_in("star*", "starstar").await, Ok("star*".to_owned()));
    for name in [
        "*",
        "alic*",
        "a*",
        "alice)(uid=*",
        "alice)(objectClass=*))(|(uid=*",
        "*)(uid=alice",
        "\\61lice",
        "alice\\00",
        "alice,ou=people",
        "uid=alice,ou=people,dc=acme,dc=example",
        "(uid=alice)",
        "&(uid=alice)",
        "alice\0",
        "alice\n",
        "",
        &"a".repeat(255),
        &"*".repeat(255),
        &"(".repeat(255),
    ] {
        assert_eq!(ground.sign_in(name, "opensesame").await, Err(SignInError::Wrong), "{name:?}");
        assert_eq!(ground.sign_in(name, "starstar").await, Err(SignInError::Wrong), "{name:?}");
    }
    assert_eq!(ground.look_up("*").await, Ok(Vec::new()), "nobody's name begins with it, or holds it");
    assert_eq!(ground.look_up("star*").await, Ok(vec!["star*".to_owned()]));
    assert_eq!(ground.look_up("(the)").await, Ok(vec!["star*".to_owned()]));
    assert_eq!(ground.look_up(")(uid=*").await, Ok(Vec::new()));
    // Nothing of it was taken for a filter.
    assert!(slapd.log().contains(r"(uid=alice\29\28uid=\2A)"), "{}", slapd.log());
}

#[tokio::test]
async fn colleagues_are_found_by_a_part_of_their_name() {
    let authority = Authority::new("Test authority");
    let files = SlapdFiles::new(&authority, &PEOPLE);
    let _slapd = files.start();
    let ground = Ground::new(&authority, settings(place("ldap", &files.clear, true), SERVICE_PASSWORD)).await;
    // The user of exactly this name first; then names that begin with it.
    assert_eq!(ground.look_up("bob").await, Ok(["Bob", "bobby", "carol"].map(str::to_owned).to_vec()));
    assert_eq!(ground.look_up("adams").await, Ok(vec!["alice".to_owned()]));
    assert_eq!(ground.look_up("Zoë").await, Ok(vec!["zoë".to_owned()]));
    assert_eq!(ground.look_up("nobody").await, Ok(Vec::new()));
    assert_eq!(ground.look_up(" ").await, Ok(Vec::new()));
}

#[tokio::test]
async fn an_address_of_the_members_domain_can_be_the_user() {
    let authority = Authority::new("Test authority");
    let files = SlapdFiles::new(&authority, &PEOPLE);
    let _slapd = files.start();
    let by_mail = LdapSettings {
        user_attribute: "mail".to_owned(),
        login_attributes: vec!["uid".to_owned(), "mail".to_owned()],
        ..settings(place("ldap", &files.clear, true), SERVICE_PASSWORD)
    };
    let ground = Ground::new(&authority, by_mail).await;
    assert_eq!(ground.sign_in("alice", "opensesame").await, Ok("alice.adams".to_owned()));
    assert_eq!(ground.sign_in("alice.adams@acme.example", "opensesame").await, Ok("alice.adams".to_owned()));
    // One who has an address elsewhere is nobody here, whatever the password.
    assert_eq!(ground.sign_in("carol", "pass(word)*").await, Err(SignInError::Wrong));
    assert_eq!(ground.look_up("bobb").await, Ok(vec!["bobby".to_owned()]));
    // However they are typed, one person is guessed at no more often: twenty times from everywhere.
    let mut judged = 0;
    for (number, name) in ["alice", "alice.adams@acme.example"].into_iter().cycle().take(60).enumerate() {
        let address = u8::try_from(number + 100).expect("less than 256");
        judged += u32::from(ground.from(address, name, "guess").await == Err(SignInError::Wrong));
    }
    assert_eq!(judged, 20);
}

#[tokio::test]
async fn a_directory_that_is_away_is_not_taken_for_a_wrong_password_and_is_asked_again_when_it_is_back() {
    let authority = Authority::new("Test authority");
    let files = SlapdFiles::new(&authority, &PEOPLE);
    let ground = Ground::new(&authority, settings(place("ldaps", &files.secure, false), SERVICE_PASSWORD)).await;
    let from = |password| ground.from(1, "alice", password);
    // More often than wrong passwords are free.
    for _ in 0..8 {
        assert_eq!(from("opensesame").await, Err(SignInError::Unavailable));
    }
    assert_eq!(ground.look_up("alice").await, Err(SignInError::Unavailable));
    for _ in 0..3 {
        let slapd = files.start();
        assert!(from("opensesame").await.is_ok());
        assert_eq!(ground.look_up("adams").await, Ok(vec!["alice".to_owned()]));
        // Connections that were kept are gone with it.
        drop(slapd);
        assert_eq!(from("opensesame").await, Err(SignInError::Unavailable));
    }
    let _slapd = files.start();
    assert!(from("opensesame").await.is_ok());
}

#[tokio::test]
async fn a_directory_that_says_nothing_is_given_up_in_time() {
    let authority = Authority::new("Test authority");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    for scheme in ["ldap", "ldaps"] {
        let place = LdapPlace::parse(&format!("{scheme}://localhost:{port}"), false, None).expect("an address");
        let ground = Ground::new(&authority, settings(place, SERVICE_PASSWORD)).await;
        let begun = Instant::now();
        assert_eq!(ground.sign_in("alice", "opensesame").await, Err(SignInError::Unavailable));
        assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn nobody_is_asked_who_cannot_prove_to_be_the_directory() {
    let authority = Authority::new("Test authority");
    let stranger = Authority::new("Somebody else");
    let files = SlapdFiles::new(&authority, &PEOPLE);
    let slapd = files.start();
    for place in [place("ldaps", &files.secure, false), place("ldap", &files.clear, false)] {
        let ground = Ground::new(&stranger, settings(place.clone(), SERVICE_PASSWORD)).await;
        assert_eq!(ground.sign_in("alice", "opensesame").await, Err(SignInError::Unavailable), "{place:?}");
    }
    // The right authority, and another name than the certificate has.
    let url = format!("ldaps://localhost:{}", files.secure.number());
    let other = LdapPlace::parse(&url, false, Some("ldap.acme.example")).expect("an address");
    let ground = Ground::new(&authority, settings(other, SERVICE_PASSWORD)).await;
    assert_eq!(ground.sign_in("alice", "opensesame").await, Err(SignInError::Unavailable));
    assert!(!slapd.log().contains("BIND"), "no password was sent:\n{}", slapd.log());
    // And what is not public is called only where the operator says so (abuse case 39).
    let place = place("ldap", &files.clear, true);
    let ground = Ground::reaching(&authority, settings(place.clone(), SERVICE_PASSWORD), &[]).await;
    assert_eq!(ground.sign_in("alice", "opensesame").await, Err(SignInError::Unavailable));
    // A service account that is refused is no wrong password of alice's.
    let ground = Ground::new(&authority, settings(place, "wrong")).await;
    assert_eq!(ground.sign_in("alice", "opensesame").await, Err(SignInError::Unavailable));
}

#[tokio::test]
async fn abuse_37_after_wrong_passwords_the_directory_is_not_asked_for_a_while() {
    let authority = Authority::new("Test authority");
    let files = SlapdFiles::new(&authority, &PEOPLE);
    let slapd = files.start();
    let ground = Ground::new(&authority, settings(place("ldap", &files.clear, true), SERVICE_PASSWORD)).await;
    let mut shortest = Vec::new();
    for (address, name) in [(1, "alice"), (2, "nobody")] {
        let mut times = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            assert_eq!(ground.from(address, name, "guess").await, Err(SignInError::Wrong));
            times.push(begun.elapsed());
        }
        shortest.extend(times.into_iter().min());
        let searches = |log: &str| log.lines().filter(|line| line.contains(" SRCH base=")).count();
        let before = searches(&slapd.log());
        assert_eq!(ground.from(address, name, "opensesame").await, Err(SignInError::Unavailable));
        assert_eq!(searches(&slapd.log()), before);
    }
    // Whether there is an alice is not told by the time.
    let [known, unknown] = shortest[..] else { panic!("two people were guessed at") };
    assert!(known.min(unknown) >= Duration::from_millis(500), "{shortest:?}");
    assert!(known.abs_diff(unknown) < Duration::from_millis(200), "{shortest:?}");
}

/// `interchange account …`, with these words at its standard input.
fn interchange(files: &HubFiles, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(files.configuration().parent().expect("a folder"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the hub's binary runs");
    // It may have ended without reading.
    let _ = child.stdin.take().expect("it was asked for").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn accounts_are_kept_by_the_command_line_and_no_password_is_ever_shown() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let closed = ReservedPort::any();
    files.configure(&authority, &[LinkSettings::xmpp("acme", "acme.example", closed.number())]);
    let hub = files.start();
    let run = |arguments: &[&str], input: &str| interchange(&files, arguments, input);
    let add = ["account", "add", "acme", "alice", "--name", "Alice Adams"];
    let long = "x".repeat(2000);
    let (good, said) = run(&add, "opensesame\n");
    assert!(good && said.starts_with("done: version "), "{said}");
    for (arguments, input, says) in [
        (&add[..], "opensesame\n", "has an account `alice` already"),
        (&["account", "add", "acme", "bob"], "", "no password was given"),
        (&["account", "add", "acme", "bob"], "short\n", "at least 8 characters"),
        (&["account", "add", "acme", "bob"], long.as_str(), "longer than 1024 bytes"),
        (&["account", "add", "nobody", "bob"], "opensesame\n", "there is no member `nobody`"),
        (&["account", "add", "acme", "bob@acme.example"], "opensesame\n", "the part of an address before the `@`"),
        (&["account", "set-password", "acme", "bob"], "opensesame\n", "no account `bob`"),
        (&["account", "rename", "acme", "bob", "Bob"], "", "no account `bob`"),
        (&["account", "remove", "acme", "bob"], "", "no account `bob`"),
    ] {
        let (good, said) = run(arguments, input);
        assert!(!good && said.contains(says), "{arguments:?}: {said}");
        assert!(!said.contains("opensesame"), "{said}");
    }
    assert!(run(&["account", "add", "acme", "bob", "--json"], "tiny-fish\r\n").0);
    assert!(run(&["account", "set-password", "acme", "Alice"], "another-one\n").0);
    assert!(run(&["account", "rename", "acme", "alice", "Alice Brown"], "").0);
    let (good, said) = run(&["account", "list"], "");
    assert!(good && said.contains("Alice Brown") && said.contains("bob"), "{said}");
    let (good, listed) = run(&["account", "list", "--json"], "");
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert!(good);
    assert_eq!(listed[0], json!({"member": "acme", "user": "alice", "display_name": "Alice Brown", "declared": false}));
    assert!(run(&["account", "remove", "acme", "bob"], "").0);
    // A password is no argument at all.
    assert!(!run(&["account", "add", "acme", "carol", "opensesame"], "").0);
    // A copy has them, and the way back too.
    let copied = run(&["backup", "copy.db"], "");
    assert!(copied.0, "{}", copied.1);

    let (port, token) = (files.admin.number(), files.operator_token());
    let api = Api::new(port, &token);
    let users = |role: serde_json::Value| {
        let (status, answer) = api.post("users", &role);
        assert_eq!(status, 201, "{answer}");
        Api::new(port, answer["token"].as_str().expect("a token"))
    };
    let auditor = users(json!({"user": "eve", "role": "auditor"}));
    let admin = users(json!({"user": "acme-admin", "role": "member", "member": "acme"}));
    let globex = users(json!({"user": "other-admin", "role": "member", "member": "hub"}));
    let account = json!({"member": "acme", "user": "dave", "password": "wide-open-door"});
    assert_eq!(auditor.post("accounts", &account).0, 403);
    assert_eq!(globex.post("accounts", &account).0, 403);
    assert_eq!(admin.post("accounts", &account).0, 200);
    assert_eq!(globex.get("accounts").1, json!([]), "of another member nothing is seen");
    assert_eq!(admin.post("accounts", &json!({"member": "acme", "user": "dave", "password": "short"})).0, 422);
    assert_eq!(admin.post("accounts", &json!({"member": "acme", "user": "erin"})).0, 404);
    assert_eq!(admin.post("accounts", &json!({"member": "acme", "user": "dave", "password_hash": "x"})).0, 400);
    // Abuse case 40.
    let mut seen = hub.log();
    for path in ["accounts", "audit", "members", "users", "links"] {
        let (status, answer) = auditor.get(path);
        assert_eq!(status, 200);
        seen.push_str(&answer.to_string());
    }
    assert!(seen.contains("set-account") && seen.contains("Alice Brown"));
    for secret in ["opensesame", "another-one", "tiny-fish", "wide-open-door", "argon2", "password_hash"] {
        assert!(!seen.contains(secret), "{secret}: {seen}");
    }
    let data = std::fs::read(files.configuration().with_file_name("copy.db")).expect("the copy is there");
    let holds = |text: &str| data.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("Alice Brown") && holds("$argon2id$v=19$"));
    assert!(!holds("opensesame") && !holds("another-one"));
    drop(hub);
    let restored = run(&["restore", "copy.db"], "");
    assert!(restored.0, "{}", restored.1);
    let _hub = files.start();
    let (_, listed) = Api::new(port, &token).get("accounts");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

#[test]
fn a_hash_for_hub_toml_is_made_without_a_hub() {
    let directory = Directory::new("hash");
    let mut command = Command::new(binary());
    command.args(["account", "hash"]).current_dir(directory.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the hub's binary runs");
    child.stdin.take().expect("it was asked for").write_all(b"opensesame\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let hash = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && hash.starts_with("$argon2id$v=19$"), "{hash}");
    // And such a hub starts, with a directory whose password only it may read.
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    files.add(&format!(
        "[[member]]\nid = \"acme\"\n\n[[account]]\nmember = \"acme\"\nuser = \"alice\"\nname = \"Alice Adams\"\npassword_hash = \"{}\"\n\n\
         [[directory]]\nmember = \"globex\"\nurl = \"ldaps://ldap.globex.example\"\nbase = \"dc=globex,dc=example\"\n\
         bind_dn = \"cn=interchange,dc=globex,dc=example\"\nbind_password_variable = \"GLOBEX_PASSWORD\"\n",
        hash.trim()
    ));
    files.configure(&authority, &[]);
    let hub = files.start_with(&[("GLOBEX_PASSWORD", "hunter2hunter2")]);
    let api = Api::new(files.admin.number(), &files.operator_token());
    let declared = json!([{"member": "acme", "user": "alice", "display_name": "Alice Adams", "declared": true}]);
    assert_eq!(api.get("accounts").1, declared);
    let (status, answer) = api.post("accounts", &json!({"member": "acme", "user": "Alice", "password": "another-one"}));
    assert!(status == 409 && answer["detail"].as_str().is_some_and(|why| why.contains("hub.toml")), "{answer}");
    api.change(json!({"change": "add-member", "member": "globex", "name": "Globex"}));
    let (status, answer) = api.post("accounts", &json!({"member": "globex", "user": "hank", "password": "another-one"}));
    assert!(status == 409 && answer["detail"].as_str().is_some_and(|why| why.contains("LDAP directory")), "{answer}");
    assert!(!hub.log().contains("hunter2") && !hub.log().contains("argon2"));
}
