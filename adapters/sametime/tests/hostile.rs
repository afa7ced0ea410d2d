//! Clients that do what none should, and the traps of the specification that concern a server.

use std::time::Duration;

use crate::common::*;
use interchange_adapter::{CloseReason, ConnId, Transport};
use interchange_model::Up;
use interchange_sametime::codec::{
    Accept, Awareness, Body as Words, ClientType, Create, Message, Said, Storage, UserStatus, data, mode, service,
};
use interchange_sametime::reason;
use proptest::prelude::*;

fn sense(service: u32) -> Message {
    Message::new(0, Words::Sense { service })
}

#[test]
fn trap_1_a_service_that_is_refused_is_never_said_to_be_there() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for (service, there) in
        [(0x11, true), (0x15, true), (0x18, true), (0x1000, true), (0x8000_0010, false), (0x38, false), (0, false)]
    {
        world.say(conn, &sense(service));
        let answers = world.taken(conn);
        assert_eq!(answers, if there { vec![sense(service)] } else { vec![] }, "{service:x}");
        // And the other way round: what is there is taken.
        let create = Create { id: 100 + (service & 0xff), service, ..Create::default() };
        world.say(conn, &Message::new(0, Words::Create(create)));
        let answers = world.taken(conn);
        let taken = matches!(&answers[..], [Message { body: Words::Accept(_), .. }]);
        let refused = matches!(&answers[..], [Message { body: Words::Destroy { reason: reason::NO_SERVICE, .. }, .. }]);
        // A conversation has a type of client, which this one has not.
        assert!(
            if service == 0x1000 { !taken && !refused } else { taken == there && refused != there },
            "{service:x}: {answers:?}"
        );
    }
}

#[test]
fn trap_1_a_sense_storm_dies_at_the_server() {
    // As the library does it: each answer is followed by a create at once, and that by a question, should it be refused.
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let mut id = 10;
    let mut answers = 0;
    for _ in 0..1_000 {
        world.say(conn, &sense(service::STORAGE));
        for message in world.taken(conn) {
            answers += 1;
            if matches!(message.body, Words::Sense { .. }) {
                id += 1;
                let create = Create { id, service: service::STORAGE, ..Create::default() };
                world.say(conn, &Message::new(0, Words::Create(create)));
            }
        }
    }
    assert!(answers < 200, "{answers} answers to a storm of 1,000");
    // Channels that stay open are few; then there is no answer, and no refusal that it could be asked after.
    assert_eq!(world.closed(conn), None);
    world.pass(Duration::from_secs(600));
    world.run();
    world.taken(conn);
    world.say(conn, &sense(service::STORAGE));
    assert_eq!(world.taken(conn), [], "its room is full");
}

#[test]
fn abuse_21_frames_are_bounded_before_login_and_after() {
    let mut world = World::new(PLAIN);
    let conn = world.open(Transport::Tcp, "192.0.2.77");
    world.raw(conn, &[0, 0, 0x40, 1]);
    assert_eq!(world.closed(conn), Some(CloseReason::Limit), "16 KiB before");
    let conn = world.sign_in("alice");
    world.raw(conn, &[0, 3, 0xff, 0xff]);
    assert_eq!(world.closed(conn), None);
    let conn = world.sign_in("bob");
    world.raw(conn, &[0, 4, 0, 1]);
    assert_eq!(world.closed(conn), Some(CloseReason::Limit), "256 KiB after");
}

#[test]
fn abuse_22_unknown_messages_are_skipped_and_those_out_of_turn_end_the_connection() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for kind in [0x25, 0x33, 0x7fff] {
        world.say(conn, &Message::new(0, Words::Unknown { kind, data: vec![1, 2, 3] }));
    }
    // Bytes behind what is known, attributes, accepts and ends and words of channels that never were.
    let mut longer = sense(service::STORAGE);
    longer.rest = vec![9; 100];
    longer.attributes = Some(vec![1, 2]);
    world.say(conn, &longer);
    assert_eq!(world.taken(conn).len(), 1);
    for message in [
        Message::new(77, Words::Accept(Accept::default())),
        Message::new(0x8000_0077, Words::Accept(Accept::default())),
        Message::destroy(77, 0),
        Message::new(77, Words::Send { kind: 0x64, payload: vec![0xff; 50] }),
        Message::new(0, Words::Admin { text: "I am the administrator".into() }),
        Message::new(0, Words::Announce(Default::default())),
        Message::new(0, Words::Continue),
    ] {
        world.say(conn, &message);
    }
    assert_eq!((world.taken(conn), world.closed(conn)), (vec![], None));
    for message in [
        Message::new(0, Words::Handshake(Default::default())),
        Message::new(0, Words::Login(Default::default())),
        Message::new(0, Words::LoginAck(Default::default())),
        Message::new(0, Words::Redirect { host: "evil.example".into(), server: "x".into() }),
        // Numbers that are not the client's, or are taken.
        Message::new(0, Words::Create(Create { id: 0, service: service::STORAGE, ..Create::default() })),
        Message::new(0, Words::Create(Create { id: 0x8000_0001, service: service::STORAGE, ..Create::default() })),
        Message::new(0, Words::Create(Create { id: STORAGE, service: service::STORAGE, ..Create::default() })),
    ] {
        let conn = world.sign_in("bob");
        world.say(conn, &message);
        assert_eq!(world.closed(conn), Some(CloseReason::Refused), "{message:?}");
    }
}

#[test]
fn words_that_lie_about_their_length_end_their_channel_and_no_other() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for (channel, kind, payload) in [(AWARENESS, 0x68, vec![0xff; 8]), (RESOLVE, 2, vec![0xff; 12]), (STORAGE, 6, vec![0xff; 12])]
    {
        world.say(conn, &Message::new(channel, Words::Send { kind, payload: payload.clone() }));
        assert_eq!(world.taken(conn), [Message::destroy(channel, reason::INVALID)]);
        // It was forgotten.
        world.say(conn, &Message::new(channel, Words::Send { kind, payload }));
        assert_eq!(world.taken(conn), []);
    }
    let channel = world.call(conn, "@E eve@globex.example", ClientType::RICH, mode::WHATEVER);
    // What was not encrypted under the key.
    let noise =
        Message { options: Message::ENCRYPTED, ..Message::new(channel, Words::Send { kind: 0x64, payload: vec![7; 13] }) };
    world.say(conn, &noise);
    world.run();
    assert_eq!(world.log(conn), [Event::Ended("@E eve@globex.example".to_owned(), reason::INVALID)]);
    // Parts without end.
    let channel = world.call(conn, "@E ann@globex.example", ClientType::RICH, mode::NONE);
    world.speak(conn, channel, &Said::data(data::PARTS, 0, Vec::new()));
    for _ in 0..100 {
        if world.clients[&conn].talks.contains_key(&channel) {
            world.speak(conn, channel, &Said::data(data::HTML, 0, vec![b'x'; 2_048]));
        }
    }
    assert_eq!(world.log(conn), [Event::Ended("@E ann@globex.example".to_owned(), reason::INVALID)]);
    assert_eq!((world.closed(conn), world.submitted().len()), (None, 0));
}

#[test]
fn abuse_25_a_flood_ends_the_connection_with_a_reason_after_which_the_client_stays_away() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for number in 0..3_000 {
        if world.closed(conn).is_some() {
            assert!(number > 1_500, "{number}");
            break;
        }
        world.say(conn, &Message::new(0, Words::Status(UserStatus { status: 0x60, time: 0, text: "x".into() })));
    }
    assert_eq!(world.closed(conn), Some(CloseReason::Limit));
    assert_eq!(world.taken(conn), [Message::destroy(0, reason::RESTRICTED)]);
    // Keep-alives are no messages, and cost nothing.
    let conn = world.sign_in("bob");
    for _ in 0..10_000 {
        world.raw(conn, &[0x80; 100]);
    }
    assert_eq!((world.closed(conn), world.taken(conn)), (None, vec![]));
}

#[test]
fn conversations_are_bounded_and_the_one_longest_silent_makes_room() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for number in 0..400 {
        world.pass(Duration::from_secs(1));
        world.call(conn, &format!("@E u{number}@globex.example"), ClientType::RICH, mode::NONE);
    }
    assert!(world.clients[&conn].talks.len() <= 256, "{}", world.clients[&conn].talks.len());
    let log = world.log(conn);
    assert_eq!(log[0], Event::Ended("@E u0@globex.example".to_owned(), 0), "a normal end");
    // From outside the same: so many strangers write.
    let conn = world.sign_in("bob");
    for number in 0..400 {
        world.pass(Duration::from_secs(1));
        world.deliver(text(number, &format!("u{number}@globex.example"), "bob@acme.example", "hello"));
    }
    assert!(world.clients[&conn].talks.len() <= 256);
    assert_eq!(world.settled().len(), 400);
}

#[test]
fn texts_that_the_broker_does_not_answer_are_bounded() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let channel = world.call(conn, "@E eve@globex.example", ClientType::RICH, mode::NONE);
    for number in 0..400 {
        world.speak(conn, channel, &Said::Text(number.to_string().as_str().into()));
    }
    let submitted = world.submitted();
    assert_eq!(submitted.len(), 256);
    assert_eq!(world.log(conn).len(), 144, "of the others it is said that they were not taken");
    for (token, _) in submitted {
        world.answer(token, Ok(()));
    }
    world.speak(conn, channel, &Said::Text("again".into()));
    assert_eq!(world.submitted().len(), 1);
}

#[test]
fn whatever_somebody_leaves_behind_is_gone_with_the_connection() {
    let mut world = World::new(PLAIN);
    for round in 0..20 {
        let conn = world.sign_in("alice");
        world.watch(conn, &Awareness::Add((0..200).map(|number| aware(&format!("@E u{number}@globex.example"))).collect()));
        world.watch(conn, &Awareness::Add(vec![aware("bob"), aware("carol")]));
        world.call(conn, "@E eve@globex.example", ClientType::RICH, mode::WHATEVER);
        world.clients.get_mut(&conn).unwrap().answers = false;
        world.deliver(text(round, "ann@globex.example", "alice@acme.example", "hello"));
        world.hang_up(conn);
        assert_eq!(world.settled().len(), 1);
        world.ups();
    }
    world.pass(Duration::from_secs(5));
    world.out.clear();
    world.pass(Duration::from_secs(24 * 60 * 60));
    assert!(world.out.is_empty(), "nothing is asked or told for somebody who is gone: {:?}", world.out.first());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Abuse case 28.
    #[test]
    fn no_bytes_bring_it_down(pieces in proptest::collection::vec((any::<u8>(), 0_u16..0x30, 0_u32..6, proptest::collection::vec(any::<u8>(), 0..80)), 0..40), signed_in: bool) {
        let mut world = World::new(PLAIN);
        let conn: ConnId = if signed_in { world.sign_in("alice") } else { world.open(Transport::Tcp, "192.0.2.77") };
        for (how, kind, channel, bytes) in pieces {
            if how % 4 == 0 {
                world.raw(conn, &bytes);
                continue;
            }
            let kind = if how % 4 == 1 { [0x68, 0x69, 2, 4, 6, 0x64, 0xc9][usize::from(kind) % 7] } else { kind };
            let message = if how % 4 == 1 {
                Message::new(channel, Words::Send { kind, payload: bytes })
            } else {
                Message::new(channel, Words::Unknown { kind, data: bytes })
            };
            world.say(conn, &message);
        }
        world.pass(Duration::from_secs(100));
        let ups = world.ups();
        let submitted = |up: &Up| matches!(up, Up::Submit { .. });
        prop_assert!(signed_in || !ups.iter().any(submitted));
    }
}

#[test]
fn a_client_that_stores_and_loads_as_fast_as_it_may_is_answered_each_time() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for id in 0..1_000 {
        assert_eq!(world.store(conn, &Storage::Load { id, keys: vec![0] }), [Storage::Loaded { id, result: 0, items: vec![] }]);
    }
}
