//! Who sees whom.

use std::time::Duration;

use crate::common::*;
use interchange_model::{Body, Device, DevicePresence, Envelope, Outcome, Presence, PresenceState, Refusal, Up, Watch};
use interchange_sametime::codec::{AwareId, Awareness, Body as Words, Message, Privacy, UserItem, UserStatus, WireString};

const EVE: &str = "@E eve@globex.example";

fn presence(state: PresenceState, note: &str) -> Body {
    let device =
        DevicePresence { note: (!note.is_empty()).then(|| note.into()), ..DevicePresence::new(Device::new("laptop"), state) };
    Body::Presence(Presence::of(device))
}

fn from_eve(body: Body) -> Envelope {
    envelope(1, "eve@globex.example", "alice@acme.example", body)
}

/// Watcher, watch.
fn watches(world: &mut World) -> Vec<(String, Watch)> {
    let told = world.tolds().into_iter().chain(world.submitted().into_iter().map(|(_, envelope)| envelope));
    told.filter_map(|envelope| match envelope.body {
        Body::Watch(watch) => Some((format!("{} {}", envelope.from, envelope.to), watch)),
        _ => None,
    })
    .collect()
}

fn status(status: u16, text: &str) -> Message {
    Message::new(0, Words::Status(UserStatus { status, time: 0, text: text.into() }))
}

/// What watchers are told: who, and how.
fn shown(world: &mut World) -> Vec<(String, PresenceState, String)> {
    world
        .tolds()
        .into_iter()
        .filter_map(|envelope| match &envelope.body {
            Body::Presence(presence) => {
                assert!(envelope.from_device.is_none(), "all there is to say");
                let note = presence.best().and_then(|best| best.note.as_ref()).map(|note| note.as_str().to_owned());
                Some((envelope.to.to_string(), presence.state(), note.unwrap_or_default()))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_contact_is_shown_as_not_here_until_its_state_is_known_and_then_as_it_is() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.ups();
    world.watch(conn, &Awareness::Add(vec![aware(EVE), aware("@E x@nowhere.example"), aware("nobody")]));
    let unseen = [Event::status(EVE, None), Event::status("@E x@nowhere.example", None), Event::status("nobody", None)];
    assert_eq!(world.log(conn), unseen, "a record for every one");
    let pair = "alice@acme.example eve@globex.example".to_owned();
    assert_eq!(watches(&mut world), [(pair.clone(), Watch::Fetch)], "as if the watch were there; and nobody outside is asked");
    // There is none: eve is asked, once.
    world.deliver(from_eve(Body::Watch(Watch::Refuse)));
    assert_eq!(watches(&mut world), [(pair.clone(), Watch::Ask)]);
    world.deliver(from_eve(Body::Watch(Watch::Allow)));
    for (state, want) in [
        (PresenceState::Available, 0x20),
        (PresenceState::Free, 0x20),
        (PresenceState::Idle, 0x40),
        (PresenceState::Away, 0x60),
        (PresenceState::LongAway, 0x60),
        (PresenceState::DoNotDisturb, 0x80),
        (PresenceState::InMeeting, 0x80),
    ] {
        world.tell(from_eve(presence(state, "so it is")));
        assert_eq!(world.log(conn), [Event::status(EVE, Some((want, "so it is")))], "{state:?}");
    }
    world.tell(from_eve(presence(PresenceState::InMeeting, "so it is")));
    assert_eq!(world.log(conn), [], "nothing new");
    for body in [Body::Presence(Presence::unknown()), Body::Presence(Presence::default())] {
        world.tell(from_eve(body));
        assert_eq!(world.log(conn), [Event::status(EVE, None)]);
        world.tell(from_eve(presence(PresenceState::Available, "")));
        world.log(conn);
    }
    // She takes it back: that is no reason to ask again.
    let delivery = world.deliver(from_eve(Body::Watch(Watch::Refuse)));
    assert_eq!(world.log(conn), [Event::status(EVE, None)]);
    assert_eq!(watches(&mut world), []);
    assert!(world.settled().contains(&(delivery, Outcome::Delivered)));
    // A second login knows what the first does.
    world.tell(from_eve(presence(PresenceState::Away, "")));
    let other = world.sign_in("alice");
    world.watch(other, &Awareness::Add(vec![aware(EVE)]));
    assert_eq!(world.log(other), [Event::status(EVE, Some((0x60, "")))]);
    assert_eq!(watches(&mut world), [], "and asks nothing");
}

#[test]
fn the_vendors_clients_may_be_told_of_meetings() {
    let mut world = World::new(r#"{"plain_networks":["192.0.2.0/24"],"busy":"meeting"}"#);
    let conn = world.sign_in("alice");
    world.watch(conn, &Awareness::Add(vec![aware(EVE)]));
    world.tell(from_eve(presence(PresenceState::InCall, "")));
    assert_eq!(world.log(conn).last(), Some(&Event::status(EVE, Some((0x08, "")))));
}

#[test]
fn a_client_is_told_under_its_own_ids_byte_for_byte() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    // Two spellings of one person, one of them of another code page; and a community, which is repeated as it came.
    let mut odd = aware("@E EVE@GLOBEX.example");
    odd.community = WireString::default();
    world.watch(conn, &Awareness::Add(vec![aware("@E Eve@Globex.Example"), odd, aware("eve@globex.example")]));
    world.log(conn);
    world.tell(from_eve(presence(PresenceState::Away, "")));
    let mut log = world.log(conn);
    log.sort_by_key(|event| format!("{event:?}"));
    let wanted = ["@E EVE@GLOBEX.example", "@E Eve@Globex.Example", "eve@globex.example"];
    assert_eq!(log, wanted.map(|id| Event::status(id, Some((0x60, "")))));
    world.pass(Duration::from_secs(1));
    assert_eq!(watches(&mut world).len(), 1, "one person is asked for once");
}

#[test]
fn a_contact_that_is_removed_is_seen_no_more_and_one_who_signs_out_keeps_it() {
    let mut world = World::new(PLAIN);
    let (one, two) = (world.sign_in("alice"), world.sign_in("alice"));
    for conn in [one, two] {
        world.watch(conn, &Awareness::Add(vec![aware(EVE)]));
    }
    world.tell(from_eve(presence(PresenceState::Away, "")));
    watches(&mut world);
    world.watch(one, &Awareness::Remove(vec![aware(EVE), aware("@E never@globex.example")]));
    assert_eq!(watches(&mut world), [], "the other login sees her still");
    world.log(one);
    world.tell(from_eve(presence(PresenceState::Available, "")));
    assert_eq!((world.log(one), world.log(two).pop()), (vec![], Some(Event::status(EVE, Some((0x20, ""))))));
    world.watch(two, &Awareness::Remove(vec![aware(EVE)]));
    assert_eq!(watches(&mut world), [("alice@acme.example eve@globex.example".to_owned(), Watch::Stop)]);
    world.watch(two, &Awareness::Add(vec![aware(EVE)]));
    world.pass(Duration::from_secs(1));
    watches(&mut world);
    world.hang_up(two);
    world.hang_up(one);
    assert_eq!(watches(&mut world), [], "a watch is no login's");
}

#[test]
fn two_thousand_contacts_are_asked_for_in_turn_and_no_more_are_watched() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.ups();
    let ids: Vec<AwareId> = (0..2_500).map(|number| aware(&format!("@E u{number}@globex.example"))).collect();
    world.watch(conn, &Awareness::Add(ids));
    assert_eq!(world.log(conn).len(), 2_500, "a record for every one");
    let at_once = watches(&mut world).len();
    assert!(at_once <= 10, "{at_once}");
    world.pass(Duration::from_secs(1));
    let in_a_second = watches(&mut world).len();
    assert!((400..=510).contains(&in_a_second), "{in_a_second}");
    world.pass(Duration::from_secs(10));
    assert_eq!(at_once + in_a_second + watches(&mut world).len(), 2_000);
    // Beyond the limit, nobody is told of.
    world.run();
    world.log(conn);
    world.tell(envelope(1, "u2400@globex.example", "alice@acme.example", presence(PresenceState::Away, "")));
    assert_eq!(world.log(conn), []);
    world.tell(envelope(1, "u1999@globex.example", "alice@acme.example", presence(PresenceState::Away, "")));
    assert_eq!(world.log(conn), [Event::status("@E u1999@globex.example", Some((0x60, "")))]);
    // Removed and added again, they take no more room.
    for _ in 0..3 {
        let ids: Vec<AwareId> = (0..2_000).map(|number| aware(&format!("@E u{number}@globex.example"))).collect();
        world.watch(conn, &Awareness::Remove(ids.clone()));
        world.watch(conn, &Awareness::Add(ids));
        world.log(conn);
    }
    world.tell(envelope(1, "u7@globex.example", "alice@acme.example", presence(PresenceState::Away, "")));
    assert_eq!(world.log(conn), [Event::status("@E u7@globex.example", Some((0x60, "")))]);
}

#[test]
fn whoever_asks_may_see_somebody_who_exists() {
    let mut world = World::new(PLAIN);
    let ask = |to: &str| envelope(1, "eve@globex.example", to, Body::Watch(Watch::Ask));
    let delivery = world.deliver(ask("Alice@acme.example"));
    assert_eq!(world.find(), 1);
    let [(token, allow)] = &world.submitted()[..] else { panic!("one answer") };
    assert_eq!((allow.from.to_string(), &allow.body), ("Alice@acme.example".to_owned(), &Body::Watch(Watch::Allow)));
    assert_eq!(world.settled(), [], "not before the answer is safe");
    world.answer(*token, Ok(()));
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    world.deliver(ask("mallory@acme.example"));
    world.find();
    assert!(matches!(&world.submitted()[..], [(_, refuse)] if refuse.body == Body::Watch(Watch::Refuse)));
    // The directory does not answer: it is tried again.
    let delivery = world.deliver(ask("bob@acme.example"));
    let query = world.out.iter().find_map(|output| match output {
        interchange_adapter::Output::LookUp { query, conn, .. } => Some((*query, *conn)),
        _ => None,
    });
    let (query, conn) = query.unwrap();
    world.input(interchange_adapter::Input::Found { conn, query, result: Err(interchange_adapter::SignInError::Unavailable) });
    assert_eq!(world.settled(), [(delivery, Outcome::Refused(Refusal::TimedOut))]);
}

#[test]
fn watchers_are_told_how_somebody_is_on_all_logins_together_at_most_once_a_second() {
    let mut world = World::new(PLAIN);
    let fetch = envelope(1, "eve@globex.example", "alice@acme.example", Body::Watch(Watch::Fetch));
    world.tell(fetch.clone());
    let eve = |state, note: &str| ("eve@globex.example".to_owned(), state, note.to_owned());
    assert_eq!(shown(&mut world), [eve(PresenceState::Offline, "")], "somebody who is not signed in");
    let conn = world.sign_in("alice");
    world.pass(Duration::from_secs(2));
    assert_eq!(shown(&mut world).last(), Some(&eve(PresenceState::Available, "")));
    // A storm of changes: the first at once, then the newest, once a second (abuse case 36).
    for number in 0..100 {
        world.say(conn, &status(if number % 2 == 0 { 0x60 } else { 0x80 }, &format!("change {number}")));
        world.pass(Duration::from_millis(10));
    }
    world.pass(Duration::from_secs(3));
    let told = shown(&mut world);
    assert!((2..=4).contains(&told.len()), "{told:?}");
    assert_eq!(told.last(), Some(&eve(PresenceState::DoNotDisturb, "change 99")));
    assert!(world.taken(conn).is_empty(), "no echo, and no trouble");
    for (number, state) in [
        (0x20, PresenceState::Available),
        (0x40, PresenceState::Idle),
        (0x0220, PresenceState::Available),
        (0x08, PresenceState::InMeeting),
        (0x00, PresenceState::Offline),
        (0x77, PresenceState::Available),
    ] {
        world.say(conn, &status(number, ""));
        world.pass(Duration::from_secs(2));
        assert_eq!(shown(&mut world), [eve(state, "")], "{number:04x}");
    }
    world.say(conn, &status(0x60, ""));
    let other = world.sign_in("alice");
    world.pass(Duration::from_secs(2));
    assert_eq!(shown(&mut world).last(), Some(&eve(PresenceState::Available, "")), "where she is here, she is here");
    world.hang_up(other);
    world.pass(Duration::from_secs(2));
    assert_eq!(shown(&mut world), [eve(PresenceState::Away, "")]);
    world.hang_up(conn);
    world.pass(Duration::from_secs(2));
    assert_eq!(shown(&mut world), [eve(PresenceState::Offline, "")]);
    world.deliver(Envelope { body: Body::Watch(Watch::Stop), ..fetch });
    world.sign_in("alice");
    world.pass(Duration::from_secs(2));
    assert_eq!(shown(&mut world), []);
}

#[test]
fn whom_the_privacy_list_names_sees_and_reaches_nobody() {
    let mut world = World::new(PLAIN);
    for watcher in ["eve@globex.example", "ann@globex.example"] {
        world.tell(envelope(1, watcher, "alice@acme.example", Body::Watch(Watch::Fetch)));
    }
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.watch(bob, &Awareness::Add(vec![aware("alice")]));
    assert_eq!(world.log(bob), [Event::status("alice", Some((0x20, "")))]);
    world.pass(Duration::from_secs(2));
    world.ups();
    let item = |user: &str| UserItem { user: user.into(), community: WireString::default(), name: None };
    let deny = Privacy { deny: true, users: vec![item("@E Eve@Globex.example"), item("bob")] };
    world.say(alice, &Message::new(0, Words::Privacy(deny.clone())));
    assert_eq!(world.taken(alice), [Message::new(0, Words::Privacy(deny.clone()))], "the client takes up only what comes back");
    world.run();
    let of = |name: &str, state| (format!("{name}@globex.example"), state, String::new());
    let kept = world.out.iter().any(|output| matches!(output, interchange_adapter::Output::Broker(Up::Remember { value: Some(bytes), .. }) if *bytes == deny.to_bytes()));
    assert!(kept);
    assert_eq!(shown(&mut world), [of("ann", PresenceState::Available), of("eve", PresenceState::Offline)]);
    assert_eq!(world.log(bob), [Event::status("alice", None)]);
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "hello"));
    assert_eq!(world.settled(), [(delivery, Outcome::Refused(Refusal::Unavailable))]);
    world.call(bob, "alice", interchange_sametime::codec::ClientType::RICH, 0);
    assert_eq!(world.log(bob), [Event::Ended("alice".to_owned(), 0x8000_2000)]);
    // Only one may: everybody else may not.
    world.pass(Duration::from_secs(2));
    world.say(alice, &Message::new(0, Words::Privacy(Privacy { deny: false, users: vec![item("@E eve@globex.example")] })));
    world.run();
    assert_eq!(shown(&mut world), [of("ann", PresenceState::Offline), of("eve", PresenceState::Available)]);
    // It counts from the first moment of the next login.
    world.hang_up(alice);
    world.pass(Duration::from_secs(2));
    shown(&mut world);
    world.sign_in("alice");
    world.pass(Duration::from_secs(2));
    assert!(!shown(&mut world).contains(&of("ann", PresenceState::Available)));
}

#[test]
fn colleagues_see_each_other() {
    let mut world = World::new(PLAIN);
    let alice = world.sign_in("alice");
    world.ups();
    world.watch(alice, &Awareness::Add(vec![aware("bob"), aware("bob@acme.example"), aware("alice")]));
    assert_eq!(
        world.log(alice),
        [Event::status("bob", None), Event::status("bob@acme.example", None), Event::status("alice", Some((0x20, "")))]
    );
    let bob = world.sign_in("bob");
    world.run();
    assert_eq!(world.log(alice), [Event::status("bob", Some((0x20, ""))), Event::status("bob@acme.example", Some((0x20, "")))]);
    world.pass(Duration::from_secs(2));
    world.say(bob, &status(0x60, "lunch"));
    world.run();
    assert_eq!(world.log(alice)[0], Event::status("bob", Some((0x60, "lunch"))));
    world.pass(Duration::from_secs(2));
    world.hang_up(bob);
    world.run();
    assert_eq!(world.log(alice)[0], Event::status("bob", None));
    assert_eq!(watches(&mut world), [], "nobody else is asked");
}

#[test]
fn a_contact_that_the_hub_cannot_reach_yet_is_asked_for_when_it_can() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.watch(conn, &Awareness::Add(vec![aware("@E x@new.example")]));
    assert_eq!(watches(&mut world), []);
    world.links(vec![link("acme", &["acme.example"], PLAIN), link("new", &["new.example"], PLAIN)]);
    world.pass(Duration::from_secs(1));
    assert_eq!(watches(&mut world), [("alice@acme.example x@new.example".to_owned(), Watch::Fetch)]);
}

#[test]
fn what_is_no_person_is_shown_as_not_here() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let group = AwareId { kind: 3, ..aware("sales") };
    let server = AwareId { kind: 8, ..aware("srv1") };
    let community = AwareId { community: "elsewhere".into(), ..aware("bob") };
    let odd = [group, server, aware(""), aware("a\u{1}b"), community];
    let (kind, payload) = Awareness::Add(odd.to_vec()).write();
    world.say(conn, &Message::new(AWARENESS, Words::Send { kind, payload }));
    let frames = world.taken(conn);
    let [Message { body: Words::Send { kind, payload }, .. }] = &frames[..] else { panic!("{frames:?}") };
    let Awareness::Snapshot(records) = Awareness::read(*kind, payload).unwrap() else { panic!("a snapshot") };
    assert_eq!(records.iter().map(|record| record.id.clone()).collect::<Vec<_>>(), odd);
    assert!(records.iter().all(|record| record.online.is_none()));
    // At sign-on the list may be empty, and attributes come; nothing of it is answered but by a snapshot.
    world.watch(conn, &Awareness::Add(Vec::new()));
    world.watch(conn, &Awareness::WatchAttributes { zero: 0, keys: vec![1, 6] });
    world.watch(conn, &Awareness::SetAttribute { numbers: [0, 2, 0], key: 6, value: vec![0, 1] });
    assert_eq!(world.log(conn), []);
}
