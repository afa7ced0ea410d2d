//! From the first byte to somebody who has signed in, and the end of it.

use std::time::Duration;

use crate::common::*;
use interchange_adapter::{CloseReason, ConnId, Input, Output, SignInError, Transport};
use interchange_model::{Down, Health, Outcome, Up};
use interchange_sametime::cipher::{Encryptor, KeyPair};
use interchange_sametime::codec::{Body as Words, Login, Message, Privacy, WireString};
use interchange_sametime::reason;

/// Why the server has ended a connection, as the client is told.
fn ended(world: &mut World, conn: ConnId) -> Option<u32> {
    world.taken(conn).into_iter().find_map(|message| match message {
        Message { channel: 0, body: Words::Destroy { reason, .. }, .. } => Some(reason),
        _ => None,
    })
}

fn weak_login(name: &str, password: &str) -> Message {
    let mut auth_data = vec![0, 0, 0, 5, 1, 2, 3, 4, 5];
    let cipher = Encryptor::new(&[1, 2, 3, 4, 5]).encrypt(password.as_bytes());
    auth_data.extend_from_slice(&u32::try_from(cipher.len()).unwrap().to_be_bytes());
    auth_data.extend_from_slice(&cipher);
    Message::new(0, Words::Login(Login { login_type: 0x1700, name: name.into(), auth_data, auth_type: 2, unknown: 0 }))
}

#[test]
fn somebody_signs_in_by_either_type_of_login() {
    let mut world = World::new(PLAIN);
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "alice", "secret");
    assert!(world.taken(conn).is_empty(), "nobody is let in before the directory has judged");
    assert_eq!(world.judge(), 1);
    let frames = world.taken(conn);
    let [Message { body: Words::LoginAck(ack), .. }] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((ack.login.user.to_text(), ack.login.name.to_text()), ("alice".into(), "Alice Adams".into()));
    assert!(ack.login.community.is_empty(), "trap 2");
    assert!(ack.login.login_id.as_bytes().len() >= 5, "trap 9");
    assert_eq!(ack.privacy, Privacy { deny: true, users: Vec::new() });
    assert!(world.ups().contains(&Up::Here { link: "acme".into(), person: address("alice@acme.example") }));
    let conn = world.open(Transport::Tcp, "192.0.2.78");
    world.greet(conn).unwrap();
    world.say(conn, &weak_login("bob", "secret"));
    world.judge();
    assert!(matches!(world.taken(conn)[..], [Message { body: Words::LoginAck(_), .. }]));
}

#[test]
fn a_password_in_the_clear_and_a_token_are_no_login() {
    let mut world = World::new(PLAIN);
    for auth_type in [0, 1, 3, 5, 0xffff] {
        let conn = world.open(Transport::Tcp, "192.0.2.77");
        world.greet(conn).unwrap();
        let login = Login { login_type: 0x1700, name: "alice".into(), auth_data: b"secret".to_vec(), auth_type, unknown: 0 };
        world.say(conn, &Message::new(0, Words::Login(login)));
        assert_eq!((world.judge(), ended(&mut world, conn)), (0, Some(reason::WRONG)), "{auth_type}");
    }
}

#[test]
fn a_link_that_offers_no_key_has_its_clients_use_the_older_login() {
    let weak = |more: &str| format!(r#"{{"plain_networks":["192.0.2.0/24"],"diffie_hellman":false{more}}}"#);
    let key = |world: &mut World| {
        let conn = world.open(Transport::Tcp, "192.0.2.77");
        (conn, world.greet(conn).unwrap().1.len())
    };
    let mut world = World::new(&weak(""));
    let (conn, length) = key(&mut world);
    assert_eq!(length, 0);
    world.say(conn, &weak_login("alice", "secret"));
    assert_eq!(world.judge(), 1);
    assert!(matches!(world.taken(conn)[..], [Message { body: Words::LoginAck(_), .. }]));
    // A handshake says no name: one of two links is no reason to weaken the other's logins, but where the listener tells.
    let links = |more: &str| vec![link("acme", &["acme.example"], &weak(more)), link("globex", &["globex.example"], PLAIN)];
    assert_eq!(key(&mut World::of(links(""))).1, 64);
    assert_eq!(key(&mut World::of(links(r#","local_port":1534"#))).1, 64, "another listener");
    assert_eq!(key(&mut World::of(links(r#","local_port":1533"#))).1, 0);
}

/// Sent elsewhere; where to, and what is said to one that would rather stay.
const ELSEWHERE: &str = r#"{"plain_networks":["192.0.2.0/24"],"redirect":"hub2.example"}"#;

#[test]
fn a_link_sends_its_clients_elsewhere_and_serves_those_that_would_rather_stay() {
    let mut world = World::new(ELSEWHERE);
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    let (magic, key) = world.greet(conn).unwrap();
    let auth_data = interchange_sametime::cipher::seal_login("secret", &KeyPair::new(&[9; 64]), &key, magic).unwrap();
    let login = Login { login_type: 0x1700, name: "alice".into(), auth_data, auth_type: 4, unknown: 0 };
    world.say(conn, &Message::new(0, Words::Login(login)));
    assert_eq!(
        world.taken(conn),
        [Message::new(0, Words::Redirect { host: "hub2.example".into(), server: "hub2.example".into() })]
    );
    assert_eq!((world.judge(), world.closed(conn)), (0, None), "nobody is asked about somebody who goes");
    world.say(conn, &Message::new(0, Words::Continue));
    // The library refuses the login without the handshake's answer before it, and hangs.
    let again = world.taken(conn);
    let [Message { body: Words::HandshakeAck(ack), .. }] = &again[..] else { panic!("{again:?}") };
    assert_eq!(ack.more.as_ref().map(|more| (more.magic, more.key.clone())), Some((magic, key)));
    assert_eq!(world.judge(), 1);
    assert!(matches!(world.taken(conn)[..], [Message { body: Words::LoginAck(_), .. }]));
    // Who goes closes this connection; who does neither is turned away.
    let goes = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(goes, "alice", "secret");
    world.hang_up(goes);
    let neither = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(neither, "alice", "secret");
    world.pass(Duration::from_secs(31));
    assert_eq!((world.closed(neither), world.judge()), (Some(CloseReason::TimedOut), 0));
    // Nothing else may be said meanwhile, and nobody stays twice.
    for message in [weak_login("alice", "secret"), Message::new(0, Words::Create(Default::default()))] {
        let conn = world.open(Transport::Tcp, "192.0.2.77");
        world.log_in(conn, "alice", "secret");
        world.taken(conn);
        world.say(conn, &message);
        assert_eq!(ended(&mut world, conn), Some(reason::PROTOCOL));
    }
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "alice", "secret");
    world.say(conn, &Message::new(0, Words::Continue));
    world.say(conn, &Message::new(0, Words::Continue));
    assert_eq!(ended(&mut world, conn), Some(reason::PROTOCOL));
    world.judge();
    assert!(world.taken(conn).is_empty());
}

#[test]
fn somebody_who_was_sent_elsewhere_and_whose_link_is_gone_signs_in_nowhere() {
    let mut world = World::new(ELSEWHERE);
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "alice", "secret");
    world.links(vec![link("acme", &["other.example"], PLAIN)]);
    assert_eq!(ended(&mut world, conn), Some(reason::RESTRICTED));
}

#[test]
fn no_two_logins_have_the_same_id() {
    let mut world = World::new(PLAIN);
    let conns = [world.sign_in("alice"), world.sign_in("alice"), world.sign_in("bob")];
    let ids: std::collections::HashSet<_> =
        conns.iter().map(|conn| world.clients[conn].login.login_id.as_bytes()[..5].to_vec()).collect();
    assert_eq!(ids.len(), 3, "their beginnings are channel keys");
}

#[test]
fn trap_8_the_reason_says_whether_the_client_comes_back_by_itself() {
    let mut world = World::new(PLAIN);
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "alice", "wrong");
    world.judge();
    assert_eq!((ended(&mut world, conn), world.closed(conn)), (Some(0x8000_0211), Some(CloseReason::Refused)));
    // Of nobody, the same is said as of a wrong password.
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "mallory", "secret");
    world.judge();
    assert_eq!(ended(&mut world, conn), Some(0x8000_0211));
    // An outage is none of 0x80000214, after which nobody would come back.
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "alice", "secret");
    world.input(Input::Authenticated { conn, result: Err(SignInError::Unavailable) });
    assert_eq!(ended(&mut world, conn), Some(0x8000_020c));
}

#[test]
fn a_password_crosses_no_open_network() {
    let mut world = World::new(PLAIN);
    // Turned away before it has sent one.
    let conn = world.open(Transport::Tcp, "203.0.113.9");
    assert_eq!(world.greet(conn), None);
    assert_eq!(world.closed(conn), Some(CloseReason::Refused));
    // The same client by TLS.
    let conn = world.open(Transport::Tls, "203.0.113.9");
    assert!(world.out.iter().any(|output| matches!(output, Output::StartTls { conn: of, .. } if *of == conn)));
    world.input(Input::Secured { conn, peer: Default::default() });
    world.log_in(conn, "alice", "secret");
    assert_eq!(world.judge(), 1);
    // A network of one link is none of another.
    let links = vec![
        link("acme", &["acme.example"], r#"{"plain_networks":["192.0.2.0/24"]}"#),
        link("globex", &["globex.example"], r#"{"plain_networks":["198.51.100.0/24"]}"#),
    ];
    let mut world = World::of(links);
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "alice@globex.example", "secret");
    assert_eq!((world.judge(), ended(&mut world, conn)), (0, Some(0x8000_0210)));
}

#[test]
fn abuse_17_nothing_is_taken_before_somebody_has_signed_in() {
    let mut world = World::new(PLAIN);
    for message in [
        Message::new(0, Words::Status(Default::default())),
        Message::new(0, Words::Create(Default::default())),
        Message::new(0, Words::Continue),
        weak_login("alice", "secret"),
    ] {
        let conn = world.open(Transport::Tcp, "192.0.2.77");
        world.say(conn, &message);
        assert_eq!((ended(&mut world, conn), world.closed(conn)), (Some(reason::PROTOCOL), Some(CloseReason::Refused)));
    }
    // Nor while it is judged, and nothing of it is kept for later.
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "alice", "secret");
    world.say(conn, &Message::new(0, Words::Status(Default::default())));
    assert_eq!(ended(&mut world, conn), Some(reason::PROTOCOL));
    world.judge();
    assert!(world.taken(conn).is_empty());
    assert!(world.ups().is_empty());
}

#[test]
fn a_login_recorded_on_another_connection_opens_none() {
    let mut world = World::new(PLAIN);
    let first = world.open(Transport::Tcp, "192.0.2.77");
    let (magic, key) = world.greet(first).unwrap();
    let pair = interchange_sametime::cipher::KeyPair::new(&[9; 64]);
    let auth_data = interchange_sametime::cipher::seal_login("secret", &pair, &key, magic).unwrap();
    let second = world.open(Transport::Tcp, "192.0.2.77");
    world.greet(second).unwrap();
    let login = Login { login_type: 0x1700, name: "alice".into(), auth_data, auth_type: 4, unknown: 0 };
    world.say(second, &Message::new(0, Words::Login(login)));
    assert_eq!((world.judge(), ended(&mut world, second)), (0, Some(0x8000_0211)));
}

#[test]
fn the_name_or_the_listener_says_which_link() {
    let links = |port: &str| {
        vec![
            link("acme", &["acme.example", "acme.test"], &format!(r#"{{"plain_networks":["192.0.2.0/24"]{port}}}"#)),
            link("globex", &["globex.example"], PLAIN),
        ]
    };
    let mut world = World::of(links(""));
    let signs_in = |world: &mut World, name: &str| {
        let conn = world.open(Transport::Tcp, "192.0.2.77");
        world.log_in(conn, name, "secret");
        let asked = world.out.iter().find_map(|output| match output {
            Output::Authenticate { link, name, .. } => Some((link.to_string(), name.clone())),
            _ => None,
        });
        world.judge();
        let frames = world.taken(conn);
        let id = frames.iter().find_map(|message| match &message.body {
            Words::LoginAck(ack) => Some(ack.login.user.to_text().into_owned()),
            _ => None,
        });
        (asked, id)
    };
    let asked = |link: &str, name: &str| Some((link.to_owned(), name.to_owned()));
    assert_eq!(signs_in(&mut world, "Alice@Acme.Example"), (asked("acme", "Alice"), Some("alice".into())));
    assert_eq!(signs_in(&mut world, "alice@acme.test"), (asked("acme", "alice"), Some("alice@acme.test".into())));
    assert_eq!(signs_in(&mut world, "bob@globex.example"), (asked("globex", "bob"), Some("bob".into())));
    assert_eq!(signs_in(&mut world, "bob@nobody.example"), (None, None));
    assert_eq!(signs_in(&mut world, "bob"), (None, None), "of two links, a bare name says neither");
    assert_eq!(signs_in(&mut world, ""), (None, None));
    assert_eq!(signs_in(&mut world, &"x".repeat(256)), (None, None));
    // The listener of the tests has port 1533.
    let mut world = World::of(links(r#","local_port":1533"#));
    assert_eq!(signs_in(&mut world, "bob"), (asked("acme", "bob"), Some("bob".into())));
}

#[test]
fn one_login_more_than_allowed_ends_the_oldest_which_stays_away() {
    let mut world = World::new(r#"{"plain_networks":["192.0.2.0/24"],"logins":2}"#);
    let conns = [world.sign_in("alice"), world.sign_in("alice"), world.sign_in("bob")];
    assert!(conns.iter().all(|conn| world.closed(*conn).is_none()));
    let third = world.sign_in("alice");
    // A reason of the kind after which clients come back would make two throw each other out in turns.
    assert_eq!(ended(&mut world, conns[0]), Some(0x8000_0227));
    assert!([conns[1], conns[2], third].iter().all(|conn| world.closed(*conn).is_none()));
}

#[test]
fn abuse_23_whoever_dawdles_is_turned_away() {
    let mut world = World::new(PLAIN);
    let silent = world.open(Transport::Tcp, "192.0.2.77");
    let slow = world.open(Transport::Tcp, "192.0.2.77");
    world.greet(slow).unwrap();
    for _ in 0..29 {
        world.pass(Duration::from_secs(1));
        // Keep-alives are none the less silence.
        world.raw(silent, &[0x80]);
        world.raw(slow, &[0x80]);
        assert_eq!(world.closed(silent), None);
    }
    world.pass(Duration::from_secs(2));
    assert_eq!((world.closed(silent), world.closed(slow)), (Some(CloseReason::TimedOut), Some(CloseReason::TimedOut)));
    // A frame that never becomes whole, a byte a second.
    let conn = world.sign_in("alice");
    world.raw(conn, &[0, 0, 1, 0]);
    for _ in 0..31 {
        world.pass(Duration::from_secs(1));
        world.raw(conn, &[0]);
    }
    assert_eq!(world.closed(conn), Some(CloseReason::TimedOut));
}

#[test]
fn a_silent_client_is_asked_whether_it_lives_and_counts_as_gone_if_it_does_not_answer() {
    let mut world = World::new(PLAIN);
    let (dead, alive) = (world.sign_in("alice"), world.sign_in("alice"));
    world.clients.get_mut(&dead).unwrap().answers = false;
    for _ in 0..10 {
        world.pass(Duration::from_secs(20));
        world.run();
    }
    assert_eq!(world.closed(dead), Some(CloseReason::TimedOut));
    assert_eq!(world.closed(alive), None);
    // Without questions, only a byte that nobody answers.
    let mut world = World::new(r#"{"plain_networks":["192.0.2.0/24"],"probe":false}"#);
    let conn = world.sign_in("alice");
    world.pass(Duration::from_secs(200));
    assert_eq!((world.closed(conn), world.taken(conn).len(), world.keep_alives[&conn]), (None, 0, 3));
}

#[test]
fn nobody_is_let_in_before_it_is_known_what_is_kept_for_them() {
    let mut world = World::bare();
    world.links(vec![link("acme", &["acme.example"], PLAIN)]);
    let health = Up::Health { link: "acme".into(), health: Health::Up };
    assert_eq!(world.ups(), [Up::Recall { link: "acme".into() }, health]);
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(conn, "alice", "secret");
    assert_eq!(world.judge(), 0, "an empty contact list would be stored over the real one");
    world.input(Input::Broker(Down::Remembered { link: "acme".into(), entries: Vec::new() }));
    assert_eq!(world.judge(), 1);
    assert_eq!(world.taken(conn).len(), 1);
    // A second set of links does not ask again.
    world.links(vec![link("acme", &["acme.example"], PLAIN)]);
    assert!(!world.ups().iter().any(|up| matches!(up, Up::Recall { .. })));
}

#[test]
fn a_reconnect_storm_asks_once_for_each_login_and_ends_by_itself() {
    let mut world = World::new(PLAIN);
    let conns: Vec<ConnId> = (0..1_000).map(|_| world.open(Transport::Tcp, "192.0.2.77")).collect();
    for conn in &conns {
        world.log_in(*conn, "alice", "secret");
    }
    let asked = world.out.iter().filter(|output| matches!(output, Output::Authenticate { .. })).count();
    assert_eq!(asked, 1_000);
    // The directory is overwhelmed: each is told so that it comes back later, and is not kept.
    for conn in &conns {
        world.input(Input::Authenticated { conn: *conn, result: Err(SignInError::Unavailable) });
        assert_eq!(ended(&mut world, *conn), Some(reason::NOT_RESPONDING));
        world.hang_up(*conn);
    }
    world.out.clear();
    world.pass(Duration::from_secs(600));
    assert!(world.out.is_empty(), "nothing is left of them");
    // An answer that comes after the end is for nobody.
    world.input(Input::Authenticated { conn: conns[0], result: Err(SignInError::Wrong) });
    assert!(world.out.is_empty());
}

#[test]
fn a_hub_that_stops_sends_clients_away_so_that_they_come_back_and_gives_back_what_is_in_flight() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.clients.get_mut(&conn).unwrap().answers = false;
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "hello"));
    world.clients.remove(&conn);
    world.input(Input::Stop);
    assert_eq!(world.settled(), [(delivery, Outcome::LinkDown)]);
    assert_eq!((ended(&mut world, conn), world.closed(conn)), (Some(0x8000_020c), Some(CloseReason::Shutdown)));
    let late = world.open(Transport::Tcp, "192.0.2.77");
    assert_eq!(world.closed(late), Some(CloseReason::Shutdown));
}

#[test]
fn people_of_a_link_that_is_no_more_are_signed_out() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.links(vec![link("acme", &["other.example"], PLAIN)]);
    assert_eq!(ended(&mut world, conn), Some(reason::RESTRICTED));
    world.links(vec![link("acme", &["acme.example"], r#"{"probe":7}"#)]);
    let broken = |up: &Up| matches!(up, Up::Health { health: Health::Broken { why }, .. } if why.contains("probe"));
    assert!(world.ups().iter().any(broken));
}

#[test]
fn a_client_of_another_protocol_is_told_by_its_first_byte() {
    let mut world = World::new(PLAIN);
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00"] {
        let conn = world.open(Transport::Tcp, "192.0.2.77");
        world.raw(conn, first);
        assert_eq!((world.closed(conn), world.taken(conn).len()), (Some(CloseReason::Malformed), 0));
    }
    // An address of IPv6, a name that is no UTF-8: nothing of it is fatal.
    let conn = world.open(Transport::Tls, "[2001:db8::1]");
    world.input(Input::Secured { conn, peer: Default::default() });
    assert!(world.greet(conn).is_some());
    let mut bytes = weak_login("ali\u{e9}e", "secret").encode();
    let at = bytes.windows(2).position(|pair| pair == [0xc3, 0xa9]).unwrap();
    bytes[at] = 0xff;
    world.raw(conn, &bytes);
    world.judge();
    assert_eq!(ended(&mut world, conn), Some(reason::WRONG));
    let _ = WireString::default();
}
