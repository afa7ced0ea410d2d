//! Presence by docs/presence.md: what a partner's server says of its people, and what it is told of others.

use std::sync::Arc;

use crate::common::{Hub, attribute, device, link, text};
use interchange_adapter::{CloseReason, ConnId, Input};
use interchange_model::{
    Body, DevicePresence, Down, Envelope, Health, MessageId, Outcome, Plain, Presence, PresenceState, Refusal, Up, Watch,
};

fn hub() -> Hub {
    Hub::new(&[link("acme", &["a.example"], "{}"), link("globex", &["c.example"], "{}")], &["b.example"])
}

fn said(from: &str, to: &str, body: Body) -> Envelope {
    Envelope { body, origin: "sip".into(), ..text(from, to, "") }
}

fn tell(hub: &mut Hub, body: Body) {
    let envelope = Arc::new(said("bob@b.example", "alice@a.example", body));
    hub.input(Input::Broker(Down::Told { link: "acme".into(), envelope }));
}

fn told_on(hub: &mut Hub, conn: ConnId, stanza: &str) -> Vec<Up> {
    hub.told();
    hub.receive(conn, stanza);
    assert_eq!(hub.closed(conn), None, "{stanza}");
    hub.told()
}

fn submitted(hub: &mut Hub, conn: ConnId, stanza: &str) -> Arc<Envelope> {
    let told = told_on(hub, conn, stanza);
    let [Up::Submit { envelope, .. }] = &told[..] else { panic!("{stanza}: {told:?}") };
    envelope.clone()
}

fn passed_on(hub: &mut Hub, conn: ConnId, stanza: &str) -> Arc<Envelope> {
    let told = told_on(hub, conn, stanza);
    let [Up::Tell { envelope, link }] = &told[..] else { panic!("{stanza}: {told:?}") };
    assert_eq!(link, &envelope.origin);
    envelope.clone()
}

fn presence(hub: &mut Hub, conn: ConnId, inside: &str) -> Presence {
    let stanza = format!("<presence from='alice@a.example/phone' to='bob@b.example'>{inside}</presence>");
    match &passed_on(hub, conn, &stanza).body {
        Body::Presence(presence) => presence.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn case_66_what_is_asked_and_said_of_a_watch_is_between_people() {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    for (kind, watch) in
        [("subscribe", Watch::Ask), ("subscribed", Watch::Allow), ("unsubscribed", Watch::Refuse), ("unsubscribe", Watch::Stop)]
    {
        let envelope = submitted(
            &mut hub,
            conn,
            &format!("<presence from='alice@a.example/x' to='bob@b.example/y' type='{kind}' id='s1'/>"),
        );
        assert_eq!(envelope.body, Body::Watch(watch));
        assert_eq!((&envelope.from_device, &envelope.to_device), (&None, &None));
        assert_eq!((envelope.from.to_string(), envelope.to.to_string()), ("alice@a.example".into(), "bob@b.example".into()));
    }
    let probe = passed_on(&mut hub, conn, "<presence from='alice@a.example' to='bob@b.example' type='probe'/>");
    assert_eq!(probe.body, Body::Watch(Watch::Fetch));
}

#[test]
fn what_a_device_says_is_read() {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    for (inside, state) in [
        ("", PresenceState::Available),
        ("<show>chat</show>", PresenceState::Free),
        ("<show>away</show>", PresenceState::Away),
        ("<show> xa\n</show>", PresenceState::LongAway),
        ("<show>dnd</show>", PresenceState::DoNotDisturb),
        ("<show>nonsense</show>", PresenceState::Available),
        ("<show>away</show><idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00Z'/>", PresenceState::Idle),
    ] {
        assert_eq!(presence(&mut hub, conn, inside).state(), state, "{inside}");
    }
    let full = presence(
        &mut hub,
        conn,
        "<show>away</show><status xml:lang='de'>Mittag</status><status>Lunch &amp; tea</status><priority>-3</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>",
    );
    let [one] = &full.devices[..] else { panic!("{full:?}") };
    assert_eq!(one.note, Some(Plain::new("Lunch & tea")));
    assert_eq!(one.priority, Some(-3));
    let native = one.native.as_ref().unwrap();
    assert_eq!(&*native.payload, "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>");
    let gone = passed_on(&mut hub, conn, "<presence from='alice@a.example/phone' to='bob@b.example' type='unavailable'/>");
    assert_eq!(gone.body, Body::Presence(Presence::default()));
    assert_eq!(gone.from_device, device("phone"));
    let long = presence(&mut hub, conn, &format!("<status>{}</status><priority>200</priority>", "ä".repeat(400)));
    assert!(long.devices[0].note.as_ref().unwrap().as_str().len() <= DevicePresence::LONGEST_NOTE);
    assert_eq!(long.devices[0].priority, None);
}

#[test]
fn presence_of_what_is_no_person_is_not_carried() {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    for stanza in [
        "<presence from='a.example' to='bob@b.example'/>",
        "<presence from='alice@a.example/x' to='b.example'/>",
        "<presence from='alice@a.example/x' to='bob@b.example' type='strange'/>",
    ] {
        assert!(told_on(&mut hub, conn, stanza).is_empty(), "{stanza}");
    }
}

#[test]
fn whoever_may_not_ask_is_told() {
    for (why, want) in [
        (Refusal::PeerRefused, "<presence from='bob@b.example' to='alice@a.example' id='s1' type='unsubscribed'/>"),
        (
            Refusal::NotAllowed,
            "<presence from='bob@b.example' to='alice@a.example' id='s1' type='error'><error type='auth'><forbidden ",
        ),
    ] {
        let mut hub = hub();
        hub.durable = false;
        let conn = hub.authenticated("a.example", "b.example");
        hub.told();
        hub.receive(conn, "<presence from='alice@a.example' to='bob@b.example' type='subscribe' id='s1'/>");
        let (token, _) = hub.submissions()[0].clone();
        hub.submitted(token, Err(why));
        let out = hub.answer_dial("b.example", "a.example");
        let heard = hub.heard(out);
        assert!(heard.contains(want), "{heard}");
    }
}

#[test]
fn watches_are_delivered_and_settled_like_messages() {
    let mut hub = hub();
    for (number, watch) in [(1, Watch::Ask), (2, Watch::Allow), (3, Watch::Refuse), (4, Watch::Stop)] {
        let envelope = Envelope { id: MessageId(number.into()), ..said("bob@b.example", "alice@a.example", Body::Watch(watch)) };
        hub.deliver("acme", number, envelope);
    }
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    for kind in ["subscribe", "subscribed", "unsubscribed", "unsubscribe"] {
        assert!(heard.contains(&format!(" type='{kind}'/>")), "{heard}");
    }
    assert!(heard.starts_with("<presence from='bob@b.example' to='alice@a.example' id='"), "{heard}");
    let inbound = hub.authenticated("a.example", "b.example");
    let ping = attribute(&heard, "<iq", "id");
    hub.receive(inbound, &format!("<iq from='a.example' to='b.example' type='result' id='{ping}'/>"));
    assert_eq!(hub.settled(), [1, 2, 3, 4].map(|number| (number, Outcome::Delivered)));
}

#[test]
fn whoever_cannot_be_asked_has_refused() {
    let mut hub = hub();
    hub.deliver("acme", 1, said("bob@b.example", "nobody@a.example", Body::Watch(Watch::Ask)));
    let conn = hub.answer_dial("b.example", "a.example");
    let id = attribute(&hub.heard(conn), "<presence", "id");
    let inbound = hub.authenticated("a.example", "b.example");
    let told = told_on(
        &mut hub,
        inbound,
        &format!(
            "<presence from='nobody@a.example' to='bob@b.example' type='error' id='{id}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
        ),
    );
    let refused = told.iter().find_map(|word| match word {
        Up::Submit { envelope, .. } => Some(envelope.body.clone()),
        _ => None,
    });
    assert_eq!(refused, Some(Body::Watch(Watch::Refuse)));
    assert!(told.iter().any(|word| matches!(word, Up::Settle { outcome: Outcome::Refused(Refusal::NoSuchUser), .. })));
    // Of what was only told, an error says that nothing is known.
    let unknown = passed_on(&mut hub, inbound, "<presence from='alice@a.example' to='bob@b.example' type='error' id='x'/>");
    assert_eq!(unknown.body, Body::Presence(Presence::unknown()));
}

fn full() -> Presence {
    let phone = DevicePresence {
        note: Some("In <b> town".into()),
        priority: Some(5),
        ..DevicePresence::new(device("phone"), PresenceState::InCall)
    };
    Presence {
        devices: vec![phone, DevicePresence::new(None, PresenceState::Away)],
        gone: device("desk").into_iter().collect(),
        ..Presence::default()
    }
}

#[test]
fn case_49_a_watcher_is_told_each_device() {
    let mut hub = hub();
    tell(&mut hub, Body::Presence(full()));
    let conn = hub.answer_dial("b.example", "a.example");
    assert_eq!(
        hub.heard(conn),
        "<presence from='bob@b.example/desk' to='alice@a.example' type='unavailable'/>\
         <presence from='bob@b.example/phone' to='alice@a.example'><show>dnd</show><status>In &lt;b&gt; town</status><priority>5</priority></presence>\
         <presence from='bob@b.example/interchange' to='alice@a.example'><show>away</show></presence>"
    );
    tell(&mut hub, Body::Presence(Presence::unknown()));
    let heard = hub.heard(conn);
    assert!(heard.contains("from='bob@b.example/interchange' to='alice@a.example' type='unavailable'"), "{heard}");
    // Nobody waits for what becomes of it.
    assert!(hub.told().iter().all(|word| matches!(word, Up::Health { .. })));
}

#[test]
fn every_state_has_its_word() {
    let mut hub = hub();
    tell(&mut hub, Body::Presence(full()));
    let conn = hub.answer_dial("b.example", "a.example");
    hub.heard(conn);
    for (state, want) in [
        (PresenceState::Free, "<show>chat</show>"),
        (PresenceState::Available, "to='alice@a.example'></presence>"),
        (PresenceState::Idle, "<show>away</show>"),
        (PresenceState::BeRightBack, "<show>away</show><status>Be right back</status>"),
        (PresenceState::Away, "<show>away</show>"),
        (PresenceState::LongAway, "<show>xa</show>"),
        (PresenceState::Busy, "<show>dnd</show>"),
        (PresenceState::DoNotDisturb, "<show>dnd</show>"),
        (PresenceState::InCall, "<show>dnd</show><status>On the phone</status>"),
        (PresenceState::InMeeting, "<show>dnd</show><status>In a meeting</status>"),
        (PresenceState::Presenting, "<show>dnd</show><status>Presenting</status>"),
    ] {
        tell(&mut hub, Body::Presence(Presence::of(DevicePresence::new(None, state))));
        let heard = hub.heard(conn);
        assert!(heard.contains(want), "{state:?}: {heard}");
    }
}

#[test]
fn what_waits_for_a_stream_is_the_newest_of_each_and_no_device_is_forgotten() {
    let mut hub = hub();
    let with = |devices: &[&str], gone: &[&str]| {
        let devices = devices.iter().map(|name| DevicePresence::new(device(name), PresenceState::Away)).collect();
        let gone = gone.iter().filter_map(|name| device(name)).collect();
        Body::Presence(Presence { devices, gone, ..Presence::default() })
    };
    tell(&mut hub, with(&["a", "b"], &["old"]));
    tell(&mut hub, with(&["a"], &["b"]));
    tell(&mut hub, with(&["a", "c"], &[]));
    tell(&mut hub, Body::Watch(Watch::Fetch));
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    let gone: Vec<_> = heard.match_indices("type='unavailable'").collect();
    assert_eq!(gone.len(), 2, "{heard}");
    assert!(heard.contains("bob@b.example/old") && heard.contains("bob@b.example/b'"), "{heard}");
    assert_eq!(heard.matches("<show>away</show>").count(), 2, "{heard}");
    assert!(heard.contains("<presence from='bob@b.example' to='alice@a.example' type='probe'/>"), "{heard}");
}

/// A server that is killed says goodbye by its connection.
#[test]
fn a_server_whose_people_are_watched_is_missed_at_once() {
    let mut hub = hub();
    tell(&mut hub, Body::Watch(Watch::Fetch));
    let conn = hub.answer_dial("b.example", "a.example");
    hub.told();
    hub.lost(conn, CloseReason::PeerClosed, "gone");
    let (again, _) = hub.dialled().expect("it is looked for at once");
    hub.lost(again, CloseReason::Unreachable, "connection refused");
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { .. })));
}

/// A server that is cut off says nothing at all.
#[test]
fn a_server_whose_people_are_watched_is_missed_within_twenty_seconds_of_silence() {
    let mut hub = hub();
    tell(&mut hub, Body::Watch(Watch::Fetch));
    let conn = hub.answer_dial("b.example", "a.example");
    let inbound = hub.authenticated("a.example", "b.example");
    hub.told();
    // For a day it answers.
    for _ in 0..7000 {
        hub.seconds(12);
        let heard = hub.heard(conn);
        let ping = attribute(&heard, "<iq", "id");
        hub.receive(inbound, &format!("<iq from='a.example' to='b.example' type='result' id='{ping}'/>"));
        assert_eq!(hub.health("acme"), None);
    }
    hub.seconds(20);
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { .. })));
}

#[test]
fn a_stream_without_presence_is_left_alone() {
    let mut hub = hub();
    tell(
        &mut hub,
        Body::Typing(interchange_model::Typing { state: interchange_model::TypingState::Composing, conversation: None }),
    );
    let conn = hub.answer_dial("b.example", "a.example");
    hub.heard(conn);
    hub.seconds(100);
    assert_eq!(hub.heard(conn), "");
    hub.lost(conn, CloseReason::PeerClosed, "gone");
    assert!(hub.dialled().is_none());
}
