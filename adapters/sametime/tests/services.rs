//! Names, and what clients keep here.

use std::time::Duration;

use crate::common::*;
use interchange_adapter::{ConnId, Input, Output, Transport};
use interchange_model::{Down, Outcome, Plain, Refusal, Up};
use interchange_sametime::codec::{Answer, Body as Words, Item, Message, Question, Reply, Storage, WireString};
use interchange_sametime::reason;

/// A question, and what is answered; `None`: not yet.
fn ask(world: &mut World, conn: ConnId, question: &Question) -> Option<Reply> {
    world.say(conn, &Message::new(RESOLVE, Words::Send { kind: 2, payload: question.write() }));
    while world.find() > 0 {}
    match &world.taken(conn)[..] {
        [] => None,
        [Message { channel: RESOLVE, body: Words::Send { kind: 2, payload }, .. }] => Some(Reply::read(payload).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn question(names: &[&str]) -> Question {
    Question { zero: 0, id: 7, names: names.iter().map(|name| (*name).into()).collect(), flags: 8 }
}

#[test]
fn names_are_found_in_the_directory_and_partners_by_their_address() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let names = [
        "bob",
        "Bob Bot",
        "a",
        "zzz",
        "eve@globex.example",
        "eve@nowhere.example",
        "@E eve@globex.example",
        "bob@acme.example",
        "",
    ];
    let reply = ask(&mut world, conn, &question(&names)).unwrap();
    assert_eq!((reply.id, reply.code), (7, 0));
    let found: Vec<(String, u32, Vec<String>)> = reply
        .results
        .iter()
        .map(|answer| {
            let users = answer.matches.iter().map(|one| one.user.to_text().into_owned()).collect();
            (answer.name.to_text().into_owned(), answer.code, users)
        })
        .collect();
    let of = |name: &str, code, users: &[&str]| (name.to_owned(), code, users.iter().map(|user| (*user).to_owned()).collect());
    assert_eq!(
        found,
        [
            of("bob", Answer::FOUND, &["bob"]),
            of("Bob Bot", Answer::FOUND, &["bob"]),
            of("a", Answer::SEVERAL, &["alice", "carol", "dnd"]),
            of("zzz", Answer::NOBODY, &[]),
            of("eve@globex.example", Answer::FOUND, &["eve@globex.example"]),
            of("eve@nowhere.example", Answer::NOBODY, &[]),
            of("@E eve@globex.example", Answer::FOUND, &["@E eve@globex.example"]),
            of("bob@acme.example", Answer::FOUND, &["bob"]),
            of("", Answer::NOBODY, &[]),
        ]
    );
    assert_eq!(reply.results[0].matches[0].name.to_text(), "Bob Bot");
    let first = Question { flags: 8 | Question::FIRST, ..question(&["a"]) };
    assert_eq!(ask(&mut world, conn, &first).unwrap().results[0].matches.len(), 1);
}

#[test]
fn a_question_is_answered_also_when_the_directory_is_not_there_and_too_many_are_refused() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for _ in 0..8 {
        world.say(conn, &Message::new(RESOLVE, Words::Send { kind: 2, payload: question(&["bob"]).write() }));
    }
    assert!(world.taken(conn).is_empty());
    world.say(conn, &Message::new(RESOLVE, Words::Send { kind: 2, payload: question(&["bob"]).write() }));
    let frames = world.taken(conn);
    let [Message { body: Words::Send { payload, .. }, .. }] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(Reply::read(payload).unwrap().code, reason::STARVING);
    let queries: Vec<u64> = world
        .out
        .iter()
        .filter_map(|output| if let Output::LookUp { query, .. } = output { Some(*query) } else { None })
        .collect();
    assert_eq!(queries.len(), 8);
    let result = Err(interchange_adapter::SignInError::Unavailable);
    world.input(Input::Found { conn, query: queries[0], result: result.clone() });
    assert_eq!(world.taken(conn).len(), 1);
    // Who asked is gone: the answers are for nobody.
    world.hang_up(conn);
    for query in queries {
        world.input(Input::Found { conn, query, result: result.clone() });
    }
    assert!(world.taken(conn).is_empty());
}

#[test]
fn what_a_client_keeps_is_given_back_also_after_a_restart() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let list = b"\x00\x04abcd".to_vec();
    assert_eq!(world.store(conn, &Storage::Load { id: 1, keys: vec![0] }), [Storage::Loaded { id: 1, result: 0, items: vec![] }]);
    world.ups();
    let save = Storage::Save { id: 2, items: vec![Item::new(0, list.clone())] };
    assert_eq!(world.store(conn, &save), [Storage::Saved { id: 2, result: 0 }]);
    let ups = world.ups();
    let [Up::Remember { link, key, value: Some(value) }] = &ups[..] else { panic!("{ups:?}") };
    assert!(key.len() <= 255 && !key.contains("alice"), "{key}");
    let entry = (key.clone(), value.clone());
    assert_eq!(*link, "acme".into());
    // The same again is stored once.
    world.store(conn, &save);
    assert_eq!(world.ups(), []);
    let loaded = [Storage::Loaded { id: 3, result: 0, items: vec![Item::new(0, list.clone())] }];
    assert_eq!(world.store(conn, &Storage::Load { id: 3, keys: vec![0] }), loaded);
    // Nobody else has it.
    let bob = world.sign_in("bob");
    assert_eq!(world.store(bob, &Storage::Load { id: 3, keys: vec![0] }), [Storage::Loaded { id: 3, result: 0, items: vec![] }]);
    // A new run of the hub; entries that it does not know are of another version.
    let mut world = World::bare();
    world.links(vec![interchange_model::Link { ..crate::common::link("acme", &["acme.example"], PLAIN) }]);
    let odd = ("something:else".into(), vec![1]);
    world.input(Input::Broker(Down::Remembered { link: "acme".into(), entries: vec![entry, odd] }));
    let conn = world.sign_in("Alice");
    assert_eq!(world.store(conn, &Storage::Load { id: 3, keys: vec![0] }), loaded);
}

#[test]
fn what_is_kept_is_bounded_and_the_client_is_told() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let save = |world: &mut World, key: u32, bytes: usize| {
        let answers = world.store(conn, &Storage::Save { id: 1, items: vec![Item::new(key, vec![7; bytes])] });
        world.ups();
        match answers[..] {
            [Storage::Saved { result, .. }] => result,
            _ => panic!("{answers:?}"),
        }
    };
    assert_eq!(save(&mut world, 0, 65_537), reason::TOO_LARGE);
    for key in 0..4 {
        assert_eq!(save(&mut world, key, 65_536), 0);
    }
    assert_eq!(save(&mut world, 4, 1), reason::TOO_LARGE, "256 KiB are a person's");
    for key in 0..4 {
        assert_eq!(save(&mut world, key, 10), 0, "what becomes smaller makes room");
    }
    for key in 4..32 {
        assert_eq!(save(&mut world, key, 10), 0);
    }
    assert_eq!(save(&mut world, 32, 10), reason::TOO_LARGE, "32 keys are a person's");
    assert_eq!(save(&mut world, 31, 11), 0);
    // A question of a thousand times the same is not answered by a thousand times as much.
    save(&mut world, 0, 65_000);
    let load = Storage::Load { id: 2, keys: vec![0; 1_000] };
    let [Storage::Loaded { items, .. }] = &world.store(conn, &load)[..] else { panic!("one answer") };
    assert_eq!(items.len(), 4);
    let _ = WireString::default();
}

#[test]
fn for_a_minute_after_a_start_those_are_waited_for_who_were_here_before_it() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.store(conn, &Storage::Save { id: 1, items: vec![Item::new(0, b"a list".to_vec())] });
    let kept: Vec<_> = world
        .ups()
        .into_iter()
        .filter_map(|up| match up {
            Up::Remember { key, value: Some(value), .. } => Some((key, value)),
            _ => None,
        })
        .collect();
    assert_ne!(kept, []);
    let started = || {
        let mut world = World::bare();
        world.links(vec![link("acme", &["acme.example"], PLAIN)]);
        world.input(Input::Broker(Down::Remembered { link: "acme".into(), entries: kept.clone() }));
        world
    };
    let write = |world: &mut World, to: &str| {
        world.deliver(text(1, "eve@globex.example", to, "hello"));
        while world.find() > 0 {}
        world.settled().into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>()
    };
    let gone = [Outcome::Refused(Refusal::Unavailable)];
    let mut world = started();
    assert_eq!(write(&mut world, "alice@acme.example"), [Outcome::Absent]);
    assert_eq!(write(&mut world, "bob@acme.example"), gone, "who has kept nothing was perhaps never here");
    // Who has been back and has left again is gone as ever.
    let conn = world.sign_in("alice");
    world.hang_up(conn);
    assert_eq!(write(&mut world, "alice@acme.example"), gone);
    let mut world = started();
    world.pass(Duration::from_secs(59));
    assert_eq!(write(&mut world, "alice@acme.example"), [Outcome::Absent]);
    world.pass(Duration::from_secs(2));
    assert_eq!(write(&mut world, "alice@acme.example"), gone);
}

#[test]
fn a_notice_is_the_administrator_s_and_for_everybody_of_the_link_who_has_signed_in() {
    let mut world = World::of(vec![link("acme", &["acme.example"], PLAIN), link("other", &["other.example"], PLAIN)]);
    let conns = ["alice@acme.example", "alice@acme.example", "bob@acme.example", "carol@other.example"].map(|name| {
        let conn = world.open(Transport::Tcp, "192.0.2.77");
        world.log_in(conn, name, "secret");
        world.judge();
        world.taken(conn);
        conn
    });
    let waits = world.open(Transport::Tcp, "192.0.2.77");
    world.log_in(waits, "bob@acme.example", "secret");
    let text = Plain::new("The hub restarts at noon.");
    world.input(Input::Broker(Down::Notice { link: "acme".into(), text }));
    let shown = Message::new(0, Words::Admin { text: "The hub restarts at noon.".into() });
    for conn in &conns[..3] {
        assert_eq!(world.taken(*conn), std::slice::from_ref(&shown));
    }
    assert_eq!((world.taken(conns[3]), world.taken(waits)), (vec![], vec![]), "of another link, and not signed in");
    world.input(Input::Broker(Down::Notice { link: "nowhere".into(), text: Plain::new("nobody") }));
    assert!(conns.iter().all(|conn| world.taken(*conn).is_empty()));
}
