//! Presence over SIP: the hub as subscriber for people of other platforms, and as notifier for the member's own.

use std::sync::Arc;

use crate::common::{Hub, LB, Sip, Wire, link};
use interchange_adapter::{ConnId, Input};
use interchange_model::{Address, Body, DevicePresence, Down, Envelope, Outcome, Presence, PresenceState, Refusal, Up, Watch};

const ALICE: &str = "alice@a.example";
const BOB: &str = "bob@b.example";

fn said(from: &str, to: &str, body: Body) -> Envelope {
    Envelope { body, ..crate::common::text(1, from, to, "") }
}

fn tell(hub: &mut Hub, from: &str, to: &str, body: Body) {
    let envelope = Arc::new(said(from, to, body));
    hub.input(Input::Broker(Down::Told { link: "lb".into(), envelope }));
}

fn of(state: PresenceState) -> Body {
    Body::Presence(Presence::of(DevicePresence::new(None, state)))
}

/// What was passed on since the last look: who, to whom, what.
fn passed_on(hub: &mut Hub) -> Vec<String> {
    let mut told = Vec::new();
    hub.told.retain(|up| match up {
        Up::Tell { envelope, link } => {
            assert_eq!(*link, envelope.origin);
            told.push(match &envelope.body {
                Body::Presence(presence) => format!("{} {}", envelope.from.user(), presence.state().label()),
                Body::Watch(watch) => format!("{} {watch:?}", envelope.from.user()),
                other => format!("{other:?}"),
            });
            false
        }
        _ => true,
    });
    told
}

fn kept(hub: &mut Hub) -> Vec<(Arc<str>, Option<Vec<u8>>)> {
    let mut kept = Vec::new();
    hub.told.retain(|up| match up {
        Up::Remember { key, value, .. } => {
            kept.push((key.clone(), value.clone()));
            false
        }
        _ => true,
    });
    kept
}

/// Time passes, with a server that lives; what was sent but for OPTIONS.
fn live(hub: &mut Hub, conn: ConnId, seconds: u64) -> Vec<Wire> {
    let mut wires = Vec::new();
    let mut left = seconds;
    while left > 0 {
        let step = left.min(5);
        hub.seconds(step);
        left -= step;
        for wire in hub.wire(conn) {
            match wire.method() {
                "OPTIONS" => hub.receive(conn, wire.answer(200, "")),
                "PING" => {}
                _ => wires.push(wire),
            }
        }
    }
    wires
}

/// The next SUBSCRIBE of so many seconds.
fn next_subscribe(hub: &mut Hub, conn: ConnId, seconds: u64) -> Option<Wire> {
    let steps = (0..seconds).step_by(5).map(|begun| (seconds - begun).min(5));
    steps.into_iter().find_map(|step| live(hub, conn, step).into_iter().find(|wire| wire.method() == "SUBSCRIBE"))
}

// The subscriber.

const OPEN: &str = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:bob@b.example'><tuple id='a'><status><basic>open</basic></status></tuple></presence>";

/// The peer's NOTIFY in the dialog that a SUBSCRIBE of ours begins.
fn notify(subscribe: &Wire, cseq: u32, state: &str, body: &str) -> Vec<u8> {
    let contact = subscribe.header("Contact").trim_matches(['<', '>']).to_owned();
    let media = if body.is_empty() { String::new() } else { "Content-Type: application/pidf+xml\r\n".to_owned() };
    format!(
        "NOTIFY {contact} SIP/2.0\r\nVia: SIP/2.0/TLS sip.b.example;branch=z9hG4bKn{cseq}{}\r\nMax-Forwards: 70\r\nFrom: {};tag=peer\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} NOTIFY\r\nContact: <sip:presence@b.example>\r\nEvent: presence\r\nSubscription-State: {state}\r\n{media}Content-Length: {}\r\n\r\n{body}",
        body.len(),
        subscribe.header("To").split(";tag").next().unwrap(),
        subscribe.header("From"),
        subscribe.header("Call-ID"),
        body.len()
    )
    .into_bytes()
}

/// A hub that watches Bob for Alice; the SUBSCRIBE is out.
fn watching() -> (Hub, ConnId, Wire) {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, said(ALICE, BOB, Body::Watch(Watch::Ask)));
    hub.seconds(0);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    let subscribe = hub.one(conn);
    (hub, conn, subscribe)
}

/// The same, granted and told.
fn granted() -> (Hub, ConnId, Wire) {
    let (mut hub, conn, subscribe) = watching();
    hub.receive(conn, subscribe.answer(200, "Expires: 3600\r\nContact: <sip:presence@b.example>\r\n"));
    hub.receive(conn, notify(&subscribe, 1, "active;expires=3600", OPEN));
    assert_eq!(hub.one(conn).status(), 200);
    let (_, envelope) = hub.one_submitted();
    assert_eq!(envelope.body, Body::Watch(Watch::Allow));
    assert_eq!(passed_on(&mut hub), ["bob available"]);
    hub.told.clear();
    (hub, conn, subscribe)
}

#[test]
fn case_49_pending_says_nothing_and_active_says_it_all() {
    let (mut hub, conn, subscribe) = watching();
    assert_eq!(subscribe.start, "SUBSCRIBE sip:bob@b.example SIP/2.0");
    for (name, want) in
        [("Event", "presence"), ("Accept", "application/pidf+xml"), ("Expires", "3600"), ("To", "<sip:bob@b.example>")]
    {
        assert_eq!(subscribe.header(name), want);
    }
    assert!(subscribe.header("From").starts_with("<sip:alice@a.example>;tag="));
    assert!(
        subscribe.header("Contact").starts_with("<sip:s-")
            && subscribe.header("Contact").ends_with("@hub.example;transport=tls>")
    );
    hub.receive(conn, subscribe.answer(202, "Expires: 3600\r\nContact: <sip:presence@b.example>\r\n"));
    hub.receive(conn, notify(&subscribe, 1, "pending;expires=3600", OPEN));
    assert_eq!(hub.one(conn).status(), 200);
    assert!(hub.submitted().is_empty() && passed_on(&mut hub).is_empty());
    let busy = OPEN.replace("</tuple>", "</tuple><dm:person xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' id='p'><r:activities><r:busy/></r:activities></dm:person>");
    hub.receive(conn, notify(&subscribe, 2, "active", &busy));
    assert_eq!(hub.one(conn).status(), 200);
    let (_, envelope) = hub.one_submitted();
    assert_eq!(
        (envelope.body.clone(), envelope.from.to_string(), envelope.to.to_string()),
        (Body::Watch(Watch::Allow), BOB.into(), ALICE.into())
    );
    assert_eq!(passed_on(&mut hub), ["bob busy"]);
}

#[test]
fn case_61_a_note_alone_says_what_a_person_does() {
    let (mut hub, conn, subscribe) = granted();
    let note = OPEN.replace("</tuple>", "<note>On the phone</note></tuple>");
    hub.receive(conn, notify(&subscribe, 2, "active", &note));
    assert_eq!(hub.one(conn).status(), 200);
    let told = hub.told.iter().find_map(|up| match up {
        Up::Tell { envelope, .. } => Some(envelope.body.clone()),
        _ => None,
    });
    let Some(Body::Presence(presence)) = told else { panic!("{told:?}") };
    assert_eq!(presence.state(), PresenceState::InCall);
    assert_eq!(presence.best().and_then(|device| device.note.as_ref()).map(|note| note.as_str()), Some("On the phone"));
}

#[test]
fn a_server_whose_people_are_watched_is_asked_whether_it_lives_from_then_on() {
    // The link has been up for a second, and its next OPTIONS is a minute away.
    let (mut hub, conn) = Hub::up(LB);
    hub.seconds(1);
    hub.deliver(1, said(ALICE, BOB, Body::Watch(Watch::Ask)));
    hub.seconds(0);
    let subscribe = hub.one(conn);
    hub.receive(conn, subscribe.answer(200, "Expires: 3600\r\nContact: <sip:presence@b.example>\r\n"));
    hub.seconds(12);
    assert_eq!(hub.one(conn).method(), "OPTIONS");
    hub.seconds(10);
    assert!(hub.closed.iter().any(|(closed, _)| *closed == conn));
}

#[test]
fn case_50_sip_10_14_a_notify_may_come_before_the_answer() {
    let (mut hub, conn, subscribe) = watching();
    hub.receive(conn, notify(&subscribe, 1, "active;expires=600", OPEN));
    assert_eq!(hub.one(conn).status(), 200);
    assert_eq!(passed_on(&mut hub), ["bob available"]);
    hub.receive(conn, subscribe.answer(200, "Expires: 600\r\nContact: <sip:presence@b.example>\r\n"));
    // The refresh goes into that dialog, before it ends.
    let refresh = next_subscribe(&mut hub, conn, 600).unwrap();
    assert_eq!(refresh.start, "SUBSCRIBE sip:presence@b.example SIP/2.0");
    assert_eq!((refresh.header("Call-ID"), refresh.header("CSeq")), (subscribe.header("Call-ID"), "2 SUBSCRIBE"));
    assert!(refresh.header("To").ends_with(";tag=peer"));
}

#[test]
fn case_51_sip_10_15_a_notify_that_belongs_to_nothing_or_comes_late_or_says_nothing() {
    let (mut hub, conn, subscribe) = granted();
    let mut answer = |bytes: Vec<u8>| {
        hub.receive(conn, bytes);
        hub.one(conn).status()
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let other = text(notify(&subscribe, 5, "active", OPEN)).replace("Call-ID: ", "Call-ID: x");
    assert_eq!(answer(other.into_bytes()), 481);
    let nobody = text(notify(&subscribe, 5, "active", OPEN)).replace("NOTIFY sip:s-", "NOTIFY sip:s-0");
    assert_eq!(answer(nobody.into_bytes()), 481);
    let stateless =
        text(notify(&subscribe, 5, "active", OPEN)).replace("Subscription-State: active\r\n", "").replace("bKn5", "bKn6");
    assert_eq!(answer(stateless.into_bytes()), 400);
    let dialog = text(notify(&subscribe, 5, "active", OPEN)).replace("Event: presence", "Event: dialog").replace("bKn5", "bKn7");
    assert_eq!(answer(dialog.into_bytes()), 489);
    assert_eq!(answer(notify(&subscribe, 9, "active", OPEN)), 200);
    assert_eq!(answer(notify(&subscribe, 8, "active", OPEN)), 500);
    // Abuse case 6: a document about somebody else; case 62: with a document type.
    assert_eq!(answer(notify(&subscribe, 10, "active", &OPEN.replace("bob@", "eve@"))), 403);
    assert_eq!(answer(notify(&subscribe, 11, "active", "<!DOCTYPE x []><x/>")), 400);
    assert!(passed_on(&mut hub).len() == 1);
}

#[test]
fn case_52_a_lost_dialog_is_begun_anew_and_nobody_sees_it() {
    let (mut hub, conn, subscribe) = granted();
    let refresh = next_subscribe(&mut hub, conn, 3600).unwrap();
    hub.receive(conn, refresh.answer(481, ""));
    let again = next_subscribe(&mut hub, conn, 1).unwrap();
    assert_ne!(again.header("Call-ID"), subscribe.header("Call-ID"));
    assert!(!again.header("To").contains("tag="));
    assert!(hub.submitted().is_empty() && passed_on(&mut hub).is_empty());
}

#[test]
fn case_53_a_refusal_is_the_end() {
    for (status, first) in [(403, true), (489, true), (603, true), (404, true), (604, true), (403, false)] {
        let (mut hub, conn, subscribe) = if first { watching() } else { granted() };
        let open = if first { subscribe } else { next_subscribe(&mut hub, conn, 3600).unwrap() };
        hub.receive(conn, open.answer(status, ""));
        let (_, envelope) = hub.one_submitted();
        assert_eq!(envelope.body, Body::Watch(Watch::Refuse), "{status}");
        assert!(next_subscribe(&mut hub, conn, 90_000).is_none(), "{status}");
    }
}

#[test]
fn the_reasons_for_which_a_subscription_ends() {
    for (reason, within, tells) in [
        ("deactivated", 1, None),
        ("timeout", 1, None),
        ("probation;retry-after=20", 21, None),
        ("probation", 301, None),
        ("giveup", 3_601, None),
        ("noresource", 86_401, Some("bob offline")),
        ("strange", 61, None),
    ] {
        let (mut hub, conn, subscribe) = granted();
        hub.receive(conn, notify(&subscribe, 2, &format!("terminated;reason={reason}"), ""));
        assert_eq!(hub.one(conn).status(), 200);
        assert_eq!(passed_on(&mut hub).first().map(String::as_str), tells, "{reason}");
        let again = next_subscribe(&mut hub, conn, within).unwrap_or_else(|| panic!("{reason}"));
        assert!(!again.header("To").contains("tag="), "{reason}");
        assert!(hub.submitted().is_empty());
    }
    let (mut hub, conn, subscribe) = granted();
    hub.receive(conn, notify(&subscribe, 2, "terminated;reason=rejected", ""));
    hub.wire(conn);
    assert_eq!(hub.one_submitted().1.body, Body::Watch(Watch::Refuse));
}

#[test]
fn sip_10_16_a_longer_time_is_asked_for_where_the_server_wants_it() {
    let (mut hub, conn, subscribe) = watching();
    hub.receive(conn, subscribe.answer(423, "Min-Expires: 7200\r\n"));
    hub.seconds(1);
    assert_eq!(hub.one(conn).header("Expires"), "7200");
}

#[test]
fn a_server_that_fails_makes_its_people_unknown_and_is_asked_again() {
    let (mut hub, conn, _) = granted();
    let refresh = next_subscribe(&mut hub, conn, 3600).unwrap();
    hub.receive(conn, refresh.answer(500, ""));
    assert_eq!(passed_on(&mut hub), ["bob unknown"]);
    assert!(next_subscribe(&mut hub, conn, 80).is_some());
}

#[test]
fn who_wants_no_more_ends_the_dialog() {
    let (mut hub, conn, subscribe) = granted();
    hub.deliver(2, said(ALICE, BOB, Body::Watch(Watch::Stop)));
    hub.seconds(1);
    assert_eq!(hub.settled(), [(2, Outcome::Delivered)]);
    let last = hub.one(conn);
    assert_eq!((last.method(), last.header("Expires")), ("SUBSCRIBE", "0"));
    hub.receive(conn, last.answer(200, ""));
    hub.receive(conn, notify(&subscribe, 3, "terminated;reason=timeout", OPEN));
    assert_eq!(hub.one(conn).status(), 481);
    assert!(hub.submitted().is_empty() && passed_on(&mut hub).is_empty());
}

#[test]
fn case_63_subscribes_of_a_link_are_spread_to_fifty_a_second() {
    let (mut hub, conn) = Hub::up(LB);
    for number in 0..500 {
        tell(&mut hub, &format!("w{number}@a.example"), BOB, Body::Watch(Watch::Fetch));
    }
    hub.pass(std::time::Duration::from_millis(999));
    let sent = hub.wire(conn).len();
    assert!((48..=52).contains(&sent), "{sent}");
    hub.seconds(10);
    assert_eq!(hub.wire(conn).iter().filter(|wire| wire.method() == "SUBSCRIBE").count(), 500 - sent);
}

#[test]
fn case_64_after_a_restart_dialogs_go_on_under_their_call_id_and_rising_cseq() {
    let (mut hub, conn) = Hub::up(LB);
    let mut before = std::collections::HashMap::new();
    for number in 0..1000 {
        hub.deliver(number, said(&format!("w{number}@a.example"), BOB, Body::Watch(Watch::Ask)));
    }
    let all: Vec<Wire> = live(&mut hub, conn, 30).into_iter().filter(|wire| wire.method() == "SUBSCRIBE").collect();
    assert_eq!(all.len(), 1000);
    for subscribe in &all {
        hub.receive(conn, subscribe.answer(200, "Expires: 3600\r\nContact: <sip:presence@b.example>\r\n"));
        hub.receive(conn, notify(subscribe, 1, "active;expires=3600", OPEN));
        before.insert(subscribe.header("Call-ID").to_owned(), 1_u32);
    }
    let mut entries = std::collections::BTreeMap::new();
    for (name, value) in kept(&mut hub) {
        match value {
            Some(value) => drop(entries.insert(name, value)),
            None => drop(entries.remove(&name)),
        }
    }
    assert_eq!(entries.len(), 1000);
    // Another hub, that is given what was kept.
    let mut hub = Hub::new(&[link("lb", &["b.example"], LB)]);
    let entries: Vec<_> = entries.into_iter().collect();
    assert!(hub.told.iter().any(|up| matches!(up, Up::Recall { .. })));
    hub.input(Input::Broker(Down::Remembered { link: "lb".into(), entries }));
    let conn = hub.bring_up("sip.b.example");
    let all = live(&mut hub, conn, 45);
    let mut seen = std::collections::HashSet::new();
    for refresh in all.into_iter().filter(|wire| wire.method() == "SUBSCRIBE") {
        let call = refresh.header("Call-ID").to_owned();
        let cseq: u32 = refresh.header("CSeq").split(' ').next().unwrap().parse().unwrap();
        assert!(cseq > before[&call], "{cseq}");
        assert!(refresh.header("To").ends_with(";tag=peer"));
        assert!(seen.insert(call), "none is refreshed twice");
    }
    assert_eq!(seen.len(), 1000);
}

// The notifier.

fn subscribe(number: u32, more: &str) -> Vec<u8> {
    Sip { media: "", ..Sip::message(number, "") }
        .more(&format!("Contact: <sip:bob@192.0.2.7:5070>\r\n{more}"))
        .method("SUBSCRIBE")
}

/// Bob's SUBSCRIBE to Alice is taken by the broker; the answer and the first NOTIFY.
fn watched(hub: &mut Hub, conn: ConnId, number: u32) -> (Wire, Wire) {
    hub.receive(conn, subscribe(number, "Event: presence\r\nExpires: 600\r\n"));
    assert!(hub.wire(conn).is_empty());
    let (token, envelope) = hub.one_submitted();
    assert_eq!(
        (envelope.body.clone(), envelope.from.to_string(), envelope.to.to_string()),
        (Body::Watch(Watch::Ask), BOB.into(), ALICE.into())
    );
    hub.store(token, Ok(()));
    let mut wires = hub.wire(conn);
    assert_eq!(wires.len(), 2, "{wires:#?}");
    let notify = wires.remove(1);
    (wires.remove(0), notify)
}

fn accept(hub: &mut Hub, conn: ConnId, notify: &Wire) {
    // An answer to a request in a dialog has the tags of that dialog.
    let answer = notify.answer(200, "").replace(";tag=bobtag;tag=peer", ";tag=bobtag");
    hub.receive(conn, answer);
}

#[test]
fn case_54_bob_asks_and_sees_alice_when_she_allows_it() {
    let (mut hub, conn) = Hub::up(LB);
    let (ok, pending) = watched(&mut hub, conn, 1);
    assert_eq!((ok.status(), ok.header("Expires")), (200, "600"));
    assert!(ok.header("Contact").starts_with("<sip:s-"));
    assert_eq!(pending.start, "NOTIFY sip:bob@192.0.2.7:5070 SIP/2.0");
    assert_eq!((pending.header("Subscription-State"), pending.body.as_str()), ("pending;expires=600", ""));
    assert_eq!(pending.header("Event"), "presence");
    accept(&mut hub, conn, &pending);
    hub.deliver(1, said(ALICE, BOB, Body::Watch(Watch::Allow)));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    let active = hub.one(conn);
    assert_eq!((active.header("Subscription-State"), active.body.as_str()), ("active;expires=600", ""));
    accept(&mut hub, conn, &active);
    hub.seconds(6);
    tell(&mut hub, ALICE, BOB, of(PresenceState::DoNotDisturb));
    let state = hub.one(conn);
    assert!(state.header("Subscription-State").starts_with("active;expires=59"));
    assert_eq!(state.header("Content-Type"), "application/pidf+xml");
    assert!(state.body.contains("<basic>open</basic>") && state.body.contains("<rpid:busy/>"), "{}", state.body);
    assert!(state.body.contains("entity=\"sip:alice@a.example\""));
    // Gone.
    accept(&mut hub, conn, &state);
    hub.seconds(6);
    tell(&mut hub, ALICE, BOB, Body::Presence(Presence::default()));
    let gone = hub.one(conn);
    assert!(gone.body.contains("<basic>closed</basic>"));
    // Case 65: nothing is known.
    accept(&mut hub, conn, &gone);
    hub.seconds(6);
    tell(&mut hub, ALICE, BOB, Body::Presence(Presence::unknown()));
    assert_eq!(hub.one(conn).body, "");
}

#[test]
fn case_55_alice_declines() {
    let (mut hub, conn) = Hub::up(LB);
    let (_, pending) = watched(&mut hub, conn, 1);
    accept(&mut hub, conn, &pending);
    hub.deliver(1, said(ALICE, BOB, Body::Watch(Watch::Refuse)));
    let last = hub.one(conn);
    assert_eq!(last.header("Subscription-State"), "terminated;reason=rejected");
    accept(&mut hub, conn, &last);
    // For a day the broker refuses the question.
    hub.receive(conn, subscribe(2, "Event: presence\r\n"));
    let (token, _) = hub.one_submitted();
    hub.store(token, Err(Refusal::PeerRefused));
    assert_eq!(hub.one(conn).status(), 403);
}

#[test]
fn case_56_a_look_asks_nobody() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, subscribe(1, "Event: presence\r\nExpires: 0\r\n"));
    assert_eq!(hub.one(conn).status(), 200);
    assert!(hub.submitted().is_empty());
    assert_eq!(passed_on(&mut hub), ["bob Fetch"]);
    tell(&mut hub, ALICE, BOB, of(PresenceState::Away));
    let state = hub.one(conn);
    assert_eq!(state.header("Subscription-State"), "terminated;reason=timeout");
    assert!(state.body.contains("<rpid:away/>"), "{}", state.body);
    accept(&mut hub, conn, &state);
    // Nobody knows of such a watch: nothing is shown.
    hub.receive(conn, subscribe(2, "Event: presence\r\nExpires: 0\r\n"));
    assert_eq!(hub.one(conn).status(), 200);
    hub.seconds(4);
    let nothing = hub.one(conn);
    assert_eq!((nothing.header("Subscription-State"), nothing.body.as_str()), ("terminated;reason=timeout", ""));
}

#[test]
fn case_57_what_is_not_served() {
    let (mut hub, conn) = Hub::up(LB);
    for (number, more, status, header, want) in [
        (1, "Event: dialog\r\n", 489, "Allow-Events", "presence"),
        (2, "", 489, "Allow-Events", "presence"),
        (3, "Event: presence.winfo\r\n", 489, "Allow-Events", "presence"),
        (4, "Event: presence\r\nExpires: 10\r\n", 423, "Min-Expires", "300"),
        (5, "Event: presence\r\nAccept: text/plain\r\n", 406, "Accept", "application/pidf+xml"),
    ] {
        let answer = hub.refuse(conn, &subscribe(number, more), status);
        assert_eq!(answer.header(header), want);
    }
    let foreign =
        Sip { from: "<sip:mallory@c.example>", media: "", ..Sip::message(9, "") }.more("Event: presence\r\n").method("SUBSCRIBE");
    hub.refuse(conn, &foreign, 403);
    hub.receive(conn, subscribe(10, "Event: Presence;id=7\r\nAccept: text/plain, application/pidf+xml;q=0.5\r\n"));
    let (token, _) = hub.one_submitted();
    hub.store(token, Ok(()));
    assert_eq!(hub.wire(conn)[1].header("Event"), "Presence;id=7");
}

#[test]
fn a_refresh_is_answered_with_the_whole_state_and_a_lapse_ends_it() {
    let (mut hub, conn) = Hub::up(LB);
    let (ok, pending) = watched(&mut hub, conn, 1);
    accept(&mut hub, conn, &pending);
    tell(&mut hub, ALICE, BOB, of(PresenceState::Available));
    let state = hub.one(conn);
    accept(&mut hub, conn, &state);
    let inside = |cseq: u32, expires: u32| {
        let uri = ok.header("Contact").trim_matches(['<', '>']).to_owned();
        format!(
            "SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS sip.b.example;branch=z9hG4bKr{cseq}\r\nMax-Forwards: 70\r\nFrom: <sip:bob@b.example>;tag=bobtag\r\nTo: {}\r\nCall-ID: call1@phone\r\nCSeq: {cseq} SUBSCRIBE\r\nContact: <sip:bob@192.0.2.9>\r\nEvent: presence\r\nExpires: {expires}\r\nContent-Length: 0\r\n\r\n",
            ok.header("To")
        )
    };
    hub.receive(conn, inside(2, 900));
    let wires = hub.wire(conn);
    assert_eq!((wires[0].status(), wires[0].header("Expires")), (200, "900"));
    assert_eq!(wires[1].start, "NOTIFY sip:bob@192.0.2.9 SIP/2.0");
    assert!(wires[1].body.contains("<basic>open</basic>"));
    accept(&mut hub, conn, &wires[1]);
    // Late, and of a dialog that is none.
    hub.receive(conn, inside(2, 900).replace("bKr2", "bKr2b"));
    assert_eq!(hub.one(conn).status(), 500);
    hub.receive(conn, inside(7, 900).replace("tag=bobtag", "tag=other"));
    assert_eq!(hub.one(conn).status(), 481);
    // Nobody refreshes it.
    live(&mut hub, conn, 899);
    let last = live(&mut hub, conn, 2).into_iter().find(|wire| wire.method() == "NOTIFY").unwrap();
    assert_eq!(last.header("Subscription-State"), "terminated;reason=timeout");
    accept(&mut hub, conn, &last);
    hub.receive(conn, inside(9, 900));
    assert_eq!(hub.one(conn).status(), 481);
}

#[test]
fn notifies_are_one_in_five_seconds_and_one_at_a_time_and_end_with_the_newest() {
    let (mut hub, conn) = Hub::up(LB);
    let (_, pending) = watched(&mut hub, conn, 1);
    accept(&mut hub, conn, &pending);
    let mut seen = Vec::new();
    for step in 0..40 {
        tell(&mut hub, ALICE, BOB, of(if step % 2 == 0 { PresenceState::Away } else { PresenceState::Available }));
        hub.seconds(1);
        for wire in hub.wire(conn).into_iter().filter(|wire| wire.method() == "NOTIFY") {
            accept(&mut hub, conn, &wire);
            seen.push(wire);
        }
    }
    hub.seconds(6);
    seen.extend(hub.wire(conn).into_iter().filter(|wire| wire.method() == "NOTIFY"));
    assert!((7..=10).contains(&seen.len()), "{}", seen.len());
    assert!(!seen.last().unwrap().body.contains("away"));
}

#[test]
fn a_watcher_that_has_no_such_dialog_is_told_no_more() {
    for status in [481, 404, 489, 603] {
        let (mut hub, conn) = Hub::up(LB);
        let (_, pending) = watched(&mut hub, conn, 1);
        hub.receive(conn, pending.answer(status, "").replace(";tag=bobtag;tag=peer", ";tag=bobtag"));
        tell(&mut hub, ALICE, BOB, of(PresenceState::Away));
        hub.seconds(10);
        assert!(hub.wire(conn).is_empty(), "{status}");
        assert!(kept(&mut hub).last().unwrap().1.is_none());
    }
}

#[test]
fn case_67_without_a_dialog_nobody_is_told() {
    let (mut hub, conn) = Hub::up(LB);
    tell(&mut hub, ALICE, BOB, of(PresenceState::Away));
    hub.seconds(10);
    assert!(hub.wire(conn).is_empty());
}

#[test]
fn sip_10_31_after_a_restart_watchers_are_told_in_their_old_dialogs() {
    let (mut hub, conn) = Hub::up(LB);
    let (_, pending) = watched(&mut hub, conn, 1);
    accept(&mut hub, conn, &pending);
    tell(&mut hub, ALICE, BOB, of(PresenceState::Away));
    let (name, value) = kept(&mut hub).into_iter().rev().find(|(_, value)| value.is_some()).unwrap();
    let mut hub = Hub::new(&[link("lb", &["b.example"], LB)]);
    hub.input(Input::Broker(Down::Remembered { link: "lb".into(), entries: vec![(name, value.unwrap())] }));
    let conn = hub.bring_up("sip.b.example");
    tell(&mut hub, ALICE, BOB, of(PresenceState::Available));
    let notify = hub.one(conn);
    assert_eq!((notify.header("Call-ID"), notify.header("From")), (pending.header("Call-ID"), pending.header("From")));
    let cseq = |wire: &Wire| wire.header("CSeq").split(' ').next().unwrap().parse::<u32>().unwrap();
    assert!(cseq(&notify) > cseq(&pending));
    // What nobody can understand is forgotten.
    hub.input(Input::Broker(Down::Remembered { link: "lb".into(), entries: vec![("presence x".into(), b"{}".to_vec())] }));
    assert_eq!(kept(&mut hub).last(), Some(&("presence x".into(), None)));
}

#[test]
fn one_person_has_a_thousand_dialogs_at_most() {
    let (mut hub, conn) = Hub::up(LB);
    for number in 0..1000 {
        hub.receive(conn, subscribe(number, "Event: presence\r\n"));
        let (token, _) = hub.one_submitted();
        hub.store(token, Ok(()));
    }
    hub.wire(conn);
    assert!(hub.refuse(conn, &subscribe(5000, "Event: presence\r\n"), 503).find("Retry-After").is_some());
}

#[test]
fn addresses_of_the_model_are_found_again() {
    // A watcher with a name that SIP must escape.
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, said("space cadet@a.example", BOB, Body::Watch(Watch::Ask)));
    hub.seconds(0);
    let subscribe = hub.one(conn);
    assert!(subscribe.header("From").starts_with("<sip:space%20cadet@a.example>"));
    hub.receive(conn, subscribe.answer(403, ""));
    assert_eq!(hub.one_submitted().1.to, Address::parse("space cadet@a.example").unwrap());
}
