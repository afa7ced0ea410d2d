//! How people sign in with real Sametime clients: by each type of login, through TLS, by a directory that a reload changes, sent to another server,
//! and once too often.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use interchange_integration_tests::api::Api;
use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::processes::Directory;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::sametime_community::{
    ALICE, BOB, CAROL, CommunitySettings, PASSWORD, SametimeCommunity, directory,
};
use interchange_integration_tests::slapd::{Person, SERVICE_PASSWORD, SlapdFiles};
use interchange_integration_tests::stunnel::{self, Stunnel};
use interchange_sametime::reason;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);

/// The tunnel of the manual, to a server that must prove, to this authority, that it is the host of this name; and where clients connect.
fn tunnel(server: SocketAddr, name: &str, authority: &Authority) -> (Stunnel, SocketAddr) {
    let (directory, port) = (Directory::new("stunnel"), ReservedPort::any());
    let authority = directory.write("ca.pem", authority.certificate());
    let services = stunnel::shown(
        include_str!("../../docs/platforms/sametime.md"),
        "`/etc/stunnel/sametime.conf`",
        &[
            ("127.0.0.1:1533", port.address().to_string()),
            ("hub.example:1533", server.to_string()),
            ("hub.example", name.to_owned()),
            ("/etc/ssl/certs/ca-certificates.crt", authority.display().to_string()),
        ],
    );
    (Stunnel::start(directory, &services), port.address())
}

#[track_caller]
fn expect_refused(mut client: MeanwhileClient, reason: u32) {
    assert_eq!(client.expect_stopped(SOON).0, i64::from(reason));
}

#[test]
fn clients_that_are_offered_no_key_sign_in_by_the_older_login() {
    let mut community = SametimeCommunity::start_with(None, Some("diffie_hellman = false"));
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    let mut carol = PurpleClient::sign_on(&PurpleAccount::sametime("carol", PASSWORD, community.address()));
    let signed_in = |log: &str, auth: u8| log.matches(&format!("with a login of type {auth} over tcp")).count();
    let log = community.hub().log();
    assert_eq!((signed_in(&log, 2), signed_in(&log, 4)), (2, 0), "{log}");
    alice.send(BOB, "to-bob", "hello Bob");
    assert_eq!(bob.expect_message(SOON).text, "hello Bob");
    bob.send(ALICE, "hello Alice");
    assert_eq!(alice.expect_message(SOON).body, "hello Alice");
    alice.send(CAROL, "to-carol", "hello Carol");
    assert_eq!(carol.expect_message(SOON).text, "hello Carol");
    expect_refused(MeanwhileClient::start(community.address(), "bob", "another"), reason::WRONG);
    let mut refused = PurpleClient::start(&PurpleAccount::sametime("carol", "another", community.address()));
    assert_eq!(refused.expect_connection_error(SOON).0, "authentication-failed");
    bob.expect_no_warning();
}

#[test]
fn a_client_without_tls_comes_through_a_tunnel_that_knows_the_hub_s_certificate() {
    let authority = Authority::new("Test authority");
    let settings = CommunitySettings { only_tls: true, ..CommunitySettings::default() };
    let mut community = SametimeCommunity::start_of(&authority, &settings);
    // In the clear it is turned away, before it has sent a password; through a tunnel that trusts others, or wants another host, it gets nowhere.
    expect_refused(MeanwhileClient::start(community.address(), "bob", PASSWORD), reason::RESTRICTED);
    let stranger = Authority::new("A stranger");
    for (name, authority) in [(HUB_DOMAIN, &stranger), ("other.example", &authority)] {
        let (_tunnel, address) = tunnel(community.secure_address(), name, authority);
        assert_eq!(MeanwhileClient::start(address, "bob", PASSWORD).expect_stopped(SOON).0, -1, "{name}");
    }
    let (_tunnel, address) = tunnel(community.secure_address(), HUB_DOMAIN, &authority);
    let mut bob = MeanwhileClient::sign_in(address, "bob", PASSWORD);
    let mut carol = PurpleClient::sign_on(&PurpleAccount::sametime("carol", PASSWORD, address));
    community.hub().wait_for_line(&["somebody of globex.example has signed in", "with a login of type 4 over tls"], SOON);
    let mut alice = community.alice();
    alice.send(BOB, "to-bob", "through the tunnel");
    assert_eq!(bob.expect_message(SOON).text, "through the tunnel");
    bob.send(ALICE, "and back");
    assert_eq!(alice.expect_message(SOON).body, "and back");
    alice.send(CAROL, "to-carol", "through the tunnel, too");
    assert_eq!(carol.expect_message(SOON).text, "through the tunnel, too");
    carol.send(&format!("@E {ALICE}"), "and back, too");
    assert_eq!(alice.expect_message(SOON).body, "and back, too");
    expect_refused(MeanwhileClient::start(address, "bob", "another"), reason::WRONG);
    bob.expect_no_warning();
}

/// Bob and Carol, each with a password of this directory's own.
fn people(bob: &'static str, carol: &'static str) -> [Person; 2] {
    [
        Person { user: "bob", name: "Bob Brown", mail: "bob@globex.example", password: bob },
        Person { user: "carol", name: "Carol Clark", mail: "carol@globex.example", password: carol },
    ]
}

/// Reloads and waits for one more line with this text.
#[track_caller]
fn reload(hub: &Hub, text: &str) {
    let lines = || hub.log().lines().filter(|line| line.contains(text)).count();
    let before = lines();
    hub.reload();
    let deadline = Instant::now() + SOON;
    while lines() == before {
        assert!(Instant::now() < deadline, "no line with {text}: {}", hub.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_directory_judges_and_when_it_is_away_clients_come_back_by_themselves_and_no_log_holds_a_password() {
    const RIGHT: [&str; 2] = ["the-word-of-bob", "the-word-of-carol"];
    const WRONG: &str = "a-guess-of-somebody";
    let authority = Authority::new("Test authority");
    let files = SlapdFiles::new(&authority, &people(RIGHT[0], RIGHT[1]));
    let slapd = files.start();
    let environment = [("INTERCHANGE_LOG", "debug")];
    let settings = CommunitySettings { directory: Some(&files), environment: &environment, ..CommunitySettings::default() };
    let mut community = SametimeCommunity::start_of(&authority, &settings);
    let mut alice = community.alice();
    let mut bob = MeanwhileClient::start(community.address(), "bob", RIGHT[0]);
    assert_eq!(bob.expect_signed_in(SOON), ("bob".to_owned(), "Bob Brown".to_owned()));
    let pidgin = |password| PurpleAccount::sametime("carol", password, community.address()).that_returns();
    let mut carol = PurpleClient::sign_on(&pidgin(RIGHT[1]));
    alice.send(BOB, "to-bob", "hello Bob");
    assert_eq!(bob.expect_message(SOON).text, "hello Bob");
    // Colleagues are found there by a part of their names.
    assert_eq!(bob.resolve("Carol", SOON), ["carol"]);
    for (user, password) in [("bob", WRONG), ("nobody", WRONG)] {
        expect_refused(MeanwhileClient::start(community.address(), user, password), reason::WRONG);
    }
    let mut asked = PurpleClient::start(&pidgin(WRONG));
    assert_eq!(asked.expect_connection_error(SOON).0, "authentication-failed");
    assert!(asked.saw("connection_error", QUIET * 3, |_| true).is_none(), "its person is asked, and it waits");

    let mut log = slapd.log();
    drop(slapd);
    carol.sign_off();
    expect_refused(MeanwhileClient::start(community.address(), "bob", RIGHT[0]), reason::NOT_RESPONDING);
    let mut carol = PurpleClient::start(&pidgin(RIGHT[1]));
    assert_eq!(carol.expect_connection_error(SOON).0, "network", "the reason after which Pidgin tries again");
    // Who is signed in stays so.
    alice.send(BOB, "without", "without the directory");
    assert_eq!(bob.expect_message(SOON).text, "without the directory");
    let slapd = files.start();
    carol.expect_signed_on(SOON);
    alice.send(CAROL, "back", "here again");
    assert_eq!(carol.expect_message(SOON).text, "here again");
    log += &slapd.log();
    log += &community.hub().log();
    assert!(log.contains("DEBUG") && log.contains("SRCH base="), "{log}");
    for password in [RIGHT[0], RIGHT[1], WRONG, SERVICE_PASSWORD] {
        assert!(!log.contains(password), "{password}: {log}");
    }
    bob.expect_no_warning();
}

#[test]
fn a_reload_changes_directories_and_keeps_the_old_ones_when_something_is_wrong() {
    let authority = Authority::new("Test authority");
    let (first, second) = (
        SlapdFiles::new(&authority, &people("first-of-bob", "first-of-carol")),
        SlapdFiles::new(&authority, &people("second-of-bob", "second-of-carol")),
    );
    let (_one, _other) = (first.start(), second.start());
    let settings = CommunitySettings { directory: Some(&first), ..CommunitySettings::default() };
    let mut community = SametimeCommunity::start_of(&authority, &settings);
    let (address, path) = (community.address(), community.files.configuration());
    let configured = std::fs::read_to_string(&path).expect("the configuration can be read");
    let write = |text: &str| std::fs::write(&path, text).expect("the configuration can be written");
    let api = Api::new(community.files.admin.number(), &community.files.operator_token());
    let mut alice = community.alice();
    let mut bob = MeanwhileClient::sign_in(address, "bob", "first-of-bob");
    expect_refused(MeanwhileClient::start(address, "carol", "second-of-carol"), reason::WRONG);

    // Another directory for Globex, and one for Acme, whose accounts are the hub's no more.
    let dave = |user: &str| api.post("accounts", &json!({"member": "acme", "user": user, "password": "wide-open-door"}));
    assert_eq!(dave("dave").0, 200);
    let moved = configured.replace(&directory("globex", &first), &directory("globex", &second));
    assert_ne!(moved, configured);
    write(&format!("{moved}\n{}", directory("acme", &first)));
    MeanwhileClient::sign_in(address, "carol", "first-of-carol").sign_out();
    reload(community.hub(), "directories of people were read again");
    MeanwhileClient::sign_in(address, "carol", "second-of-carol").sign_out();
    expect_refused(MeanwhileClient::start(address, "carol", "first-of-carol"), reason::WRONG);
    let (status, answer) = dave("erin");
    assert!(status == 409 && answer["detail"].as_str().is_some_and(|why| why.contains("LDAP directory")), "{answer}");
    // Who has signed in stays so.
    alice.send(BOB, "stays", "you stay");
    assert_eq!(bob.expect_message(SOON).text, "you stay");
    bob.expect_no_warning();

    // With a fault: all stays as it is.
    for (from, to, says) in [("base = ", "bose = ", "unknown field"), ("ldap.password", "no.password", "no.password")] {
        write(&configured.replace(from, to));
        reload(community.hub(), "the reload failed");
        community.hub().wait_for_line(&["the reload failed", "so do the directories of people", says], SOON);
        MeanwhileClient::sign_in(address, "carol", "second-of-carol").sign_out();
    }
    write(&configured);
    reload(community.hub(), "directories of people were read again");
    MeanwhileClient::sign_in(address, "carol", "first-of-carol").sign_out();
    assert_eq!(dave("erin").0, 200);
}

#[test]
fn a_link_sends_clients_to_another_server_and_serves_those_that_cannot_get_there() {
    let authority = Authority::new("Test authority");
    let hub_of = |members: &[(&str, &str)], more: &str| {
        let mut files = HubFiles::new(&authority);
        files.add(more);
        let links: Vec<LinkSettings> = members
            .iter()
            .map(|(member, setting)| {
                files.add_account(member, "bob", "Bob Brown", PASSWORD);
                let link = LinkSettings::sametime(member, &format!("{member}.example"));
                if setting.is_empty() { link } else { link.with(setting) }
            })
            .collect();
        (files, links)
    };
    let port = ReservedPort::any();
    // At the same port of two addresses, since a client that is sent elsewhere keeps the port.
    let listener = |host: &str| {
        format!("[[listener]]\nplatform = \"sametime\"\naddress = \"{host}:{}\"\ntransport = \"tcp\"", port.number())
    };
    let sent = [("globex", "redirect = \"127.0.0.2\""), ("initech", "redirect = \"127.0.0.3\"")];
    let (mut files, links) = hub_of(&sent, &listener("127.0.0.1"));
    files.configure(&authority, &links);
    let mut old = files.start();
    let (mut files, links) = hub_of(&[("globex", ""), ("initech", "")], &listener("127.0.0.2"));
    files.configure(&authority, &links);
    let new = files.start();
    let signed_in = |hub: &Hub| hub.log().matches("has signed in").count();

    let mut bob = MeanwhileClient::start(port.address(), "bob@globex.example", PASSWORD);
    assert_eq!(bob.saw("redirected", SOON, |_| true).expect("it is sent elsewhere")["host"], "127.0.0.2");
    bob.expect_signed_in(SOON);
    let mut pidgin = PurpleClient::sign_on(&PurpleAccount::sametime("bob@globex.example", PASSWORD, port.address()));
    assert_eq!((signed_in(&old), signed_in(&new)), (0, 2));
    old.wait_for_line(&["a client of globex.example is sent to 127.0.0.2"], SOON);
    // One that is told to stay.
    let mut stays = MeanwhileClient::start_with(port.address(), "bob@globex.example", PASSWORD, &json!({ "stay": true }));
    stays.expect_signed_in(SOON);
    assert_eq!((signed_in(&old), signed_in(&new)), (1, 2));
    assert_eq!(stays.resolve("bob", SOON), ["bob"], "it is served");
    // Where nobody listens, Pidgin comes back to the old server; with a wrong password it gets in nowhere.
    let mut back = PurpleClient::sign_on(&PurpleAccount::sametime("bob@initech.example", PASSWORD, port.address()));
    assert_eq!((signed_in(&old), signed_in(&new)), (2, 2));
    let mut refused = PurpleClient::start(&PurpleAccount::sametime("bob@initech.example", "another", port.address()));
    assert_eq!(refused.expect_connection_error(SOON).0, "authentication-failed");
    pidgin.sign_off();
    back.sign_off();
    bob.expect_no_warning();
    stays.expect_no_warning();
}

#[test]
fn whoever_signs_in_elsewhere_is_told_so_at_the_first_place_which_stays_away() {
    let mut community = SametimeCommunity::start_with(None, Some("logins = 1"));
    let mut alice = community.alice();
    let mut first = community.meanwhile("bob");
    let mut second = community.meanwhile("bob");
    assert_eq!(first.expect_stopped(SOON).0, i64::from(reason::ELSEWHERE));
    let account = PurpleAccount::sametime("carol", PASSWORD, community.address()).that_returns();
    let mut one = PurpleClient::sign_on(&account);
    let mut other = PurpleClient::sign_on(&account);
    assert_eq!(one.expect_connection_error(SOON).0, "name-in-use");
    // It would have come back within half a second, and have thrown the other out.
    assert!(one.saw("signed_on", QUIET * 3, |_| true).is_none());
    assert!(other.saw("connection_error", Duration::ZERO, |_| true).is_none());
    for (to, number) in [(BOB, 1), (CAROL, 2)] {
        alice.send(to, &format!("m{number}"), "to the place where you are");
    }
    assert_eq!(second.expect_message(SOON).text, "to the place where you are");
    assert_eq!(other.expect_message(SOON).text, "to the place where you are");
    community.hub().wait_for_line(&["a login ends", "`logins` allows"], SOON);
    second.expect_no_warning();
}
