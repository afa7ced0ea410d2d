//! What real clients have said, said again to the adapter: its answers mean the same as those that satisfied them.
//!
//! Only the login is the test's own, since the recorded one is encrypted for another server's key; and conversations that were encrypted are in
//! `codec.rs`. The recorded server was free in much (it greeted, echoed words and pushed states): what a client waits for is compared.

use crate::common::*;
use interchange_adapter::{ConnId, Transport};
use interchange_sametime::codec::{Awareness, Body as Words, Item, Message, Reply, Storage, UserStatus, service};
use interchange_sametime::{cipher, reason};

use crate::vectors::{Line, recording};

/// What an answer means to the client that waits for it.
#[derive(Debug, Clone, PartialEq)]
enum Meaning {
    Accepted { channel: u32, service: u32 },
    Refused { channel: u32, reason: u32 },
    Snapshot(Vec<String>),
    Loaded { id: u32, result: u32, items: Vec<Item> },
    Saved { id: u32, result: u32 },
    Found { id: u32, names: Vec<(String, Vec<String>)> },
    Privacy(Vec<u8>),
    Sensed(u32),
}

/// The meanings of what the server says, of which `own` are the client's channels with their services.
fn meanings(messages: &[Message], own: &std::collections::HashMap<u32, u32>) -> Vec<Meaning> {
    messages
        .iter()
        .filter_map(|message| {
            let channel = message.channel;
            let service = own.get(&channel).copied();
            Some(match &message.body {
                Words::Accept(accept) => Meaning::Accepted { channel, service: accept.service },
                Words::Destroy { reason, .. } if channel != 0 => Meaning::Refused { channel, reason: *reason },
                Words::Send { kind, payload } if service == Some(service::AWARENESS) => {
                    match Awareness::read(*kind, payload).unwrap() {
                        Awareness::Snapshot(records) => Meaning::Snapshot(
                            records
                                .iter()
                                .map(|record| {
                                    format!("{:?}", (record.id.kind, record.id.user.to_text(), record.id.community.to_text()))
                                })
                                .collect(),
                        ),
                        _ => return None,
                    }
                }
                Words::Send { kind, payload } if service == Some(service::STORAGE) => {
                    match Storage::read(*kind, payload).unwrap() {
                        Storage::Loaded { id, result, items } => Meaning::Loaded { id, result, items },
                        Storage::Saved { id, result } => Meaning::Saved { id, result },
                        other => panic!("{other:?}"),
                    }
                }
                Words::Send { payload, .. } if service == Some(service::RESOLVE) => {
                    let reply = Reply::read(payload).unwrap();
                    let names = reply.results.iter().map(|answer| {
                        let users = answer.matches.iter().map(|one| one.user.to_text().into_owned()).collect();
                        (answer.name.to_text().into_owned(), users)
                    });
                    Meaning::Found { id: reply.id, names: names.collect() }
                }
                Words::Privacy(privacy) => Meaning::Privacy(privacy.to_bytes()),
                Words::Sense { service } => Meaning::Sensed(*service),
                _ => return None,
            })
        })
        .collect()
}

fn decode(frame: &[u8]) -> Option<Message> {
    (frame.len() > 4).then(|| Message::decode(&frame[4..]).unwrap())
}

/// What the recorded storage held before the client saved anything.
fn kept_before(lines: &[Line]) -> Vec<Item> {
    let mut items = Vec::new();
    for line in lines {
        let Line::Server(frame) = line else { continue };
        if let Some(Message { channel: 3, body: Words::Send { kind: 5, payload }, .. }) = decode(frame)
            && let Storage::Loaded { items: loaded, .. } = Storage::read(5, &payload).unwrap()
        {
            items.extend(loaded);
        }
    }
    items
}

fn signed_in(world: &mut World, lines: &[Line]) -> ConnId {
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    // The recorded handshake, and a login of our own.
    let Some(Line::Client(handshake)) = lines.first() else { panic!("a handshake comes first") };
    world.raw(conn, handshake);
    let frames = world.taken(conn);
    let [Message { body: Words::HandshakeAck(ack), .. }] = &frames[..] else { panic!("{frames:?}") };
    let more = ack.more.clone().unwrap();
    let auth_data = cipher::seal_login("secret", &cipher::KeyPair::new(&[9; 64]), &more.key, more.magic).unwrap();
    let recorded = lines.iter().find_map(|line| match line {
        Line::Client(frame) => match decode(frame)?.body {
            Words::Login(login) => Some(login),
            _ => None,
        },
        _ => None,
    });
    let login = interchange_sametime::codec::Login { auth_data, auth_type: 4, ..recorded.unwrap() };
    world.say(conn, &Message::new(0, Words::Login(login)));
    world.judge();
    let frames = world.taken(conn);
    assert!(matches!(&frames[..], [Message { body: Words::LoginAck(_), .. }]), "{frames:?}");
    conn
}

/// Says what the client of a recording said; what the server answered then and what ours does, frame by frame.
fn replayed(name: &str) -> Vec<(Message, Vec<Meaning>, Vec<Meaning>)> {
    let lines = recording(name);
    let mut world = World::new(PLAIN);
    let dn = "uid=bob,ou=people,dc=example,dc=test";
    world.accounts.push((dn, "secret", "Bob Bot"));
    for (colleague, status) in [("bob", 0x20), ("carol", 0x20), ("dnd", 0x80), (dn, 0x20)] {
        let conn = world.sign_in(colleague);
        world.say(conn, &Message::new(0, Words::Status(UserStatus { status, ..UserStatus::default() })));
    }
    let conn = world.sign_in("alice");
    for item in kept_before(&lines) {
        world.store(conn, &Storage::Save { id: 1, items: vec![item] });
    }
    world.hang_up(conn);
    let conn = signed_in(&mut world, &lines);
    let mut own = std::collections::HashMap::new();
    let mut replayed: Vec<(Message, Vec<Meaning>, Vec<Meaning>)> = Vec::new();
    let mut begun = false;
    for line in &lines {
        match line {
            Line::Client(frame) => {
                let Some(message) = decode(frame) else { continue };
                if matches!(message.body, Words::Handshake(_) | Words::Login(_)) {
                    begun = matches!(message.body, Words::Login(_));
                    continue;
                }
                if let Words::Create(create) = &message.body {
                    own.insert(create.id, create.service);
                }
                world.raw(conn, frame);
                while world.find() > 0 {}
                let answers = world.taken(conn);
                replayed.push((message, Vec::new(), meanings(&answers, &own)));
            }
            Line::Server(frame) if begun => {
                let Some(message) = decode(frame) else { continue };
                if let Some((_, recorded, _)) = replayed.last_mut() {
                    recorded.extend(meanings(&[message], &own));
                }
            }
            _ => {}
        }
    }
    replayed
}

#[test]
fn what_clients_wait_for_is_answered_as_it_was() {
    let mut compared = 0;
    for name in [
        "conference",
        "im-errors",
        "login-rc2_128",
        "login-rc2_40",
        "login-rc2_40-old",
        "multipart-html",
        "pidgin-dn-ids",
        "pidgin-session",
        "server-calls",
        "state-admin",
    ] {
        // Answers come behind one another when a client has said several things at once.
        let (mut recorded, mut ours) = (Vec::new(), Vec::new());
        for (_, was, is) in replayed(name) {
            recorded.extend(was);
            ours.extend(is);
        }
        let waits = |meaning: &Meaning| match (name, meaning) {
            // The recorded server took conferences, refused what it was scripted to, and ended what was open.
            (_, Meaning::Accepted { service: 0x8000_0010, .. } | Meaning::Refused { reason: reason::NO_SERVICE, .. }) => false,
            ("im-errors", Meaning::Refused { channel: 6..=8, .. } | Meaning::Accepted { channel: 6, .. }) => false,
            ("server-calls", Meaning::Refused { channel: 3, .. }) => false,
            // Its directory was another one; and what is encrypted for its key is no words to ours.
            ("pidgin-dn-ids", Meaning::Found { .. } | Meaning::Refused { reason: reason::INVALID, .. }) => false,
            _ => true,
        };
        recorded.retain(|meaning| waits(meaning));
        ours.retain(|meaning| waits(meaning));
        assert_eq!(ours, recorded, "{name}");
        compared += ours.len();
    }
    // Nobody shall lose some of them unnoticed.
    assert_eq!(compared, 73);
}

#[test]
fn what_is_not_carried_is_refused_as_the_specification_says() {
    let refused = |name: &str| {
        let answers = replayed(name).into_iter().flat_map(|(_, _, ours)| ours);
        answers.filter(|meaning| matches!(meaning, Meaning::Refused { reason: reason::NO_SERVICE, .. })).count()
    };
    assert!(refused("conference") >= 1 && refused("im-errors") == 1);
}

#[test]
fn a_recorded_wrong_password_is_answered_as_it_was() {
    let mut recorded = None;
    for line in recording("login-refused") {
        if let Line::Server(frame) = line
            && let Some(Message { channel: 0, body: Words::Destroy { reason, .. }, .. }) = decode(&frame)
        {
            recorded = Some(reason);
        }
    }
    assert_eq!(recorded, Some(reason::WRONG));
}

#[test]
fn words_of_every_recording_reach_the_broker_or_the_colleague() {
    let mut world = World::new(PLAIN);
    let bob = world.sign_in("bob");
    let lines = recording("multipart-html");
    let conn = signed_in(&mut world, &lines);
    let mut said = 0;
    for line in &lines {
        if let Line::Client(frame) = line
            && let Some(message) = decode(frame)
            && !matches!(message.body, Words::Handshake(_) | Words::Login(_))
        {
            said += usize::from(matches!(&message.body, Words::Send { kind: 0x64, .. }));
            world.raw(conn, frame);
            world.run();
        }
    }
    // Two and a half thousand letters, in parts, that look like any others.
    let log = world.log(bob);
    assert_eq!((said, log), (4, vec![Event::text("alice", &"y".repeat(2_500))]));
}
