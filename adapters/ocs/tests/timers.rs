//! Session timers (RFC 4028), both ways, in virtual time.

use crate::common::alice::{Alice, ROUTES, SDP};
use crate::common::*;
use interchange_adapter::ConnId;
use interchange_model::{Outcome, Refusal};
use proptest::prelude::*;

/// A link whose sessions may be silent for as long as these tests take.
const JSON: &str = r#"{"edge":"sip.contoso.example","listed":true,"idle":1440}"#;
const UPDATES: &str = "Allow: INVITE, BYE, ACK, CANCEL, INFO, MESSAGE, UPDATE, REFER, NOTIFY, BENOTIFY\r\n";

/// Alice asks for a timer; her dialog, and what was answered.
fn session(hub: &mut Hub, edge: ConnId, more: &str) -> (Alice, Wire) {
    let mut alice = Alice::calls("sip:bob@fabrikam.example", "c1");
    hub.receive(edge, alice.invites(more));
    let answer = hub.one(edge);
    if answer.status() == 200 {
        alice.hears(&answer);
        hub.receive(edge, alice.says("ACK", "", "", ""));
    }
    (alice, answer)
}

/// Bob writes to Alice, whose client answers with more headers; what goes out then.
fn called(hub: &mut Hub, own: ConnId, more: &str) -> (Alice, Wire) {
    hub.deliver(1, hello(1));
    let invite = hub.one(own);
    let alice = Alice::answers(&invite);
    hub.receive(own, alice.accepts(&invite).replace("Content-Type: ", &format!("{more}Content-Type: ")));
    let sent = hub.wire(own);
    assert_eq!(sent.iter().map(Wire::method).collect::<Vec<_>>(), ["ACK", "MESSAGE"]);
    hub.receive(own, sent[1].answer(200, ""));
    (alice, invite)
}

/// The first request that goes out within so many seconds, and after how many.
fn next(hub: &mut Hub, own: ConnId, most: u64) -> Option<(u64, Wire)> {
    (1..=most).find_map(|second| hub.live(own, 1).into_iter().next().map(|wire| (second, wire)))
}

#[test]
fn what_a_client_asks_for_is_agreed_to_and_a_client_that_asks_for_nothing_is_asked_for_nothing() {
    for (more, expires, require) in [
        ("", None, None),
        ("Supported: timer\r\n", None, None),
        // Who is to refresh is left to us: the client, which has asked.
        ("Supported: timer\r\nSession-Expires: 1800\r\nMin-SE: 90\r\n", Some("1800;refresher=uac"), Some("timer")),
        ("Require: timer\r\nx: 720;refresher=uac\r\n", Some("720;refresher=uac"), Some("timer")),
        ("Supported: timer\r\nSession-Expires: 720;refresher=uas\r\n", Some("720;refresher=uas"), None),
        // A server between has asked, for a client that knows nothing of it: then it is for us.
        ("Session-Expires: 600;refresher=uac\r\n", Some("600;refresher=uas"), None),
        ("Session-Expires: 10\r\n", None, None),
        ("Supported: timer\r\nSession-Expires: 4294967296\r\n", Some("86400;refresher=uac"), Some("timer")),
    ] {
        let (mut hub, _, edge) = Hub::up(JSON);
        let (_, answer) = session(&mut hub, edge, more);
        assert_eq!(answer.status(), 200, "{more}");
        assert_eq!((answer.find("Session-Expires"), answer.find("Require")), (expires, require), "{more}");
        // Clients that know no timer compare the whole of the header.
        let knows = expires.is_some() && more.contains(": timer");
        assert_eq!(answer.all("Supported"), if knows { vec!["timer"] } else { vec![] }, "{more}");
    }
    let (mut hub, _, edge) = Hub::up(JSON);
    let (_, answer) = session(&mut hub, edge, "Supported: timer\r\nSession-Expires: 60\r\n");
    assert_eq!((answer.status(), answer.header("Min-SE")), (422, "90"));
    let mut alice = Alice::calls("sip:bob@fabrikam.example", "c2");
    hub.receive(edge, alice.invites("Session-Expires: soon\r\n"));
    assert_eq!(hub.wire(edge).last().map(Wire::status), Some(400));
}

#[test]
fn a_session_that_the_client_does_not_refresh_is_ended() {
    let (mut hub, own, edge) = Hub::up(JSON);
    let (mut alice, _) = session(&mut hub, edge, "Supported: timer\r\nSession-Expires: 720;refresher=uac\r\n");
    assert_eq!(next(&mut hub, own, 600), None);
    // It refreshes, by each of the two.
    hub.receive(edge, alice.says("UPDATE", "Supported: timer\r\nSession-Expires: 720;refresher=uac\r\n", "", ""));
    let answer = hub.one(edge);
    assert_eq!(
        (answer.status(), answer.header("Session-Expires"), answer.header("Require")),
        (200, "720;refresher=uac", "timer")
    );
    assert!(answer.find("Contact").is_some() && answer.body.is_empty());
    assert_eq!(next(&mut hub, own, 600), None);
    hub.receive(edge, alice.invites("Supported: timer\r\nSession-Expires: 720;refresher=uac\r\n"));
    let answer = hub.one(edge);
    assert_eq!((answer.status(), answer.header("Session-Expires")), (200, "720;refresher=uac"));
    assert!(answer.body.contains("m=message "));
    hub.receive(edge, alice.says("ACK", "", "", ""));
    // And then no more: 32 s before it is over, the other side is told.
    let (second, bye) = next(&mut hub, own, 720).expect("ended");
    assert_eq!((second, bye.method(), bye.all("Route")), (688, "BYE", ROUTES.to_vec()));
    hub.receive(edge, alice.writes("late"));
    assert_eq!(hub.one(edge).status(), 481);
    // Without a timer it goes on.
    let (mut hub, own, edge) = Hub::up(JSON);
    let (mut alice, _) = session(&mut hub, edge, "Supported: timer\r\nSession-Expires: 90\r\n");
    hub.receive(edge, alice.says("UPDATE", "", "", ""));
    assert_eq!(hub.one(edge).find("Session-Expires"), None);
    assert_eq!(next(&mut hub, own, 3_600), None);
}

#[test]
fn a_refresh_is_no_use_of_a_session() {
    let (mut hub, own, edge) = Hub::up(r#"{"edge":"sip.contoso.example","listed":true,"idle":10}"#);
    let more = "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n";
    let (mut alice, _) = session(&mut hub, edge, more);
    assert_eq!(next(&mut hub, own, 300), None);
    hub.receive(edge, alice.invites(more));
    assert_eq!(hub.one(edge).status(), 200);
    hub.receive(edge, alice.says("ACK", "", "", ""));
    assert!(next(&mut hub, own, 300).is_some_and(|(second, wire)| second == 300 && wire.method() == "BYE"));
}

#[test]
fn we_refresh_a_session_at_half_time_by_update_where_the_client_takes_it_and_else_by_invite() {
    for (more, method) in [("", "INVITE"), (UPDATES, "UPDATE")] {
        let (mut hub, own, edge) = Hub::up(JSON);
        let (_, answer) = session(&mut hub, edge, &format!("{more}Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n"));
        assert!(answer.header("Allow").contains("UPDATE"));
        let (second, refresh) = next(&mut hub, own, 600).expect("refreshed");
        assert_eq!((second, refresh.method(), refresh.all("Route")), (300, method, ROUTES.to_vec()));
        assert_eq!(refresh.header("Session-Expires"), "600;refresher=uac");
        assert_eq!((refresh.header("Supported"), refresh.header("Min-SE")), ("timer", "90"));
        assert_eq!(refresh.body.contains("m=message 5060 sip null"), method == "INVITE", "{}", refresh.body);
        hub.receive(own, refresh.answer(200, "Session-Expires: 600;refresher=uac\r\nRequire: timer\r\n"));
        let acks: Vec<Wire> = hub.wire(own);
        assert_eq!(acks.iter().map(Wire::method).collect::<Vec<_>>(), if method == "INVITE" { vec!["ACK"] } else { vec![] });
        // And again.
        let (second, refresh) = next(&mut hub, own, 600).expect("refreshed");
        assert_eq!((second, refresh.method()), (300, method));
        // An answer that says nothing of it: there is no timer any more.
        hub.receive(own, refresh.answer(200, ""));
        let _ = hub.wire(own);
        assert_eq!(next(&mut hub, own, 3_600), None, "{method}");
    }
}

#[test]
fn our_own_sessions_ask_for_a_timer_and_take_what_the_client_says() {
    let (mut hub, own, edge) = Hub::up(JSON);
    let (mut alice, invite) = called(&mut hub, own, "Session-Expires: 200;refresher=uas\r\nRequire: timer\r\n");
    assert_eq!((invite.header("Session-Expires"), invite.header("Min-SE"), invite.header("Supported")), ("1800", "90", "timer"));
    assert!(invite.header("Allow").contains("UPDATE"));
    assert_eq!(next(&mut hub, own, 150), None);
    hub.receive(edge, alice.says("UPDATE", "Supported: timer\r\nSession-Expires: 200;refresher=uac\r\n", "", ""));
    assert_eq!(hub.one(edge).status(), 200);
    assert!(next(&mut hub, own, 200).is_some_and(|(second, wire)| second == 168 && wire.method() == "BYE"));
    // A client that knows none.
    let (mut hub, own, _) = Hub::up(JSON);
    called(&mut hub, own, "");
    assert_eq!(next(&mut hub, own, 7_200), None);
    // One that leaves it to us.
    let (mut hub, own, _) = Hub::up(JSON);
    called(&mut hub, own, &format!("{UPDATES}Session-Expires: 200;refresher=uac\r\n"));
    assert!(next(&mut hub, own, 200).is_some_and(|(second, wire)| second == 100 && wire.method() == "UPDATE"));
}

#[test]
fn a_timer_that_is_too_short_for_somebody_on_the_way_is_asked_for_longer_once() {
    let (mut hub, own, _) = Hub::up(JSON);
    hub.deliver(1, hello(1));
    let invite = hub.one(own);
    hub.receive(own, invite.answer(422, "Min-SE: 3600\r\n"));
    let sent = hub.wire(own);
    assert_eq!(sent.iter().map(Wire::method).collect::<Vec<_>>(), ["ACK", "INVITE"]);
    let again = &sent[1];
    assert_eq!((again.header("Call-ID"), again.header("From")), (invite.header("Call-ID"), invite.header("From")));
    assert_eq!((again.header("CSeq"), again.header("Session-Expires"), again.header("Min-SE")), ("2 INVITE", "3600", "3600"));
    let alice = Alice::answers(again);
    hub.receive(own, alice.accepts(again));
    let sent = hub.wire(own);
    assert_eq!((sent[0].header("CSeq"), sent[1].header("CSeq"), sent[1].body.as_str()), ("2 ACK", "3 MESSAGE", "hello"));
    // Whoever always wants more gets no more, and what nobody can mean is not asked for.
    for (first, second) in [("3600", Some("7200")), ("4000000", None), ("60", None), ("1800", None)] {
        let (mut hub, own, _) = Hub::up(JSON);
        hub.deliver(1, hello(1));
        let invite = hub.one(own);
        hub.receive(own, invite.answer(422, &format!("Min-SE: {first}\r\n")));
        if let Some(second) = second {
            let again = hub.wire(own).remove(1);
            hub.receive(own, again.answer(422, &format!("Min-SE: {second}\r\n")));
        }
        assert_eq!(hub.wire(own).iter().map(Wire::method).collect::<Vec<_>>(), ["ACK"], "{first}");
        assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::Unavailable))], "{first}");
    }
}

#[test]
fn a_refresh_that_is_refused_is_tried_otherwise_and_one_that_nobody_answers_ends_the_session() {
    let refreshing = |more: &str| {
        let (mut hub, own, edge) = Hub::up(JSON);
        let (alice, _) = session(&mut hub, edge, &format!("{more}Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n"));
        let (_, refresh) = next(&mut hub, own, 300).expect("refreshed");
        (hub, own, edge, alice, refresh)
    };
    let (mut hub, own, _, _, refresh) = refreshing(UPDATES);
    hub.receive(own, refresh.answer(501, ""));
    let invite = hub.one(own);
    assert_eq!(invite.method(), "INVITE");
    // Too short, for somebody on the way.
    hub.receive(own, invite.answer(422, "Min-SE: 900\r\n"));
    let sent = hub.wire(own);
    assert_eq!(
        (sent[0].method(), sent[1].header("Session-Expires"), sent[1].header("Min-SE")),
        ("ACK", "900;refresher=uac", "900")
    );
    // Both at once: a little later.
    hub.receive(own, sent[1].answer(491, ""));
    assert_eq!(hub.one(own).method(), "ACK");
    let (second, again) = next(&mut hub, own, 10).expect("again");
    assert!((3..=5).contains(&second), "{second}");
    hub.receive(own, again.answer(200, "Session-Expires: 900;refresher=uac\r\n"));
    assert_eq!(hub.one(own).method(), "ACK");
    // It does not want it: asked again until it is too late.
    let (second, refused) = next(&mut hub, own, 900).expect("refreshed");
    assert_eq!(second, 450);
    hub.receive(own, refused.answer(500, ""));
    assert_eq!(hub.one(own).method(), "ACK");
    let mut last = None;
    for _ in 0..500 {
        for wire in hub.live(own, 1) {
            if wire.method() == "INVITE" {
                hub.receive(own, wire.answer(500, ""));
            }
            last = Some(wire.method().to_owned()).filter(|method| method != "ACK").or(last);
        }
    }
    assert_eq!(last.as_deref(), Some("BYE"));

    for (status, says) in [(481, false), (408, true)] {
        let (mut hub, own, _, _, refresh) = refreshing(UPDATES);
        hub.receive(own, refresh.answer(status, ""));
        assert_eq!(hub.wire(own).iter().any(|wire| wire.method() == "BYE"), says, "{status}");
        hub.deliver(9, hello(9));
        assert_eq!(hub.one(own).method(), "INVITE", "it is over");
    }
    let (mut hub, own, _, _, _) = refreshing(UPDATES);
    assert!(next(&mut hub, own, 40).is_some_and(|(second, wire)| second == 32 && wire.method() == "BYE"));

    // Both sides at once.
    let (mut hub, own, edge, mut alice, refresh) = refreshing("");
    hub.receive(edge, alice.invites("Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n"));
    assert_eq!(hub.one(edge).status(), 491);
    hub.receive(own, refresh.answer(200, "Session-Expires: 600;refresher=uac\r\n"));
    assert_eq!(hub.one(own).method(), "ACK");
}

#[test]
fn a_timer_outlives_a_restart_and_a_session_that_was_over_meanwhile_is_forgotten() {
    let (mut hub, _, edge) = Hub::up(JSON);
    session(&mut hub, edge, &format!("{UPDATES}Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n"));
    let kept = hub.kept();
    let begun = hub.now;
    let again = |seconds: u64| {
        let mut hub = Hub::with(r#"{"contact_host":"sip.fabrikam.example"}"#, &[link("lb", &["contoso.example"], JSON)]);
        hub.now = begun.after(std::time::Duration::from_secs(seconds));
        let own = hub.bring_up();
        hub.remembered.clear();
        hub.remember(&kept);
        (hub, own)
    };
    let (mut hub, own) = again(400);
    let (second, refresh) = next(&mut hub, own, 60).expect("soon, for it may be overdue");
    assert_eq!((second, refresh.method(), refresh.header("Session-Expires")), (10, "UPDATE", "600;refresher=uac"));
    let (mut hub, own) = again(700);
    assert_eq!(hub.remembered.len(), 1);
    assert_eq!(hub.remembered[0].1, None);
    assert_eq!(next(&mut hub, own, 60), None);
}

#[test]
fn an_update_with_an_offer_is_answered_with_one() {
    let (mut hub, _, edge) = Hub::up(JSON);
    let (mut alice, _) = session(&mut hub, edge, "");
    hub.receive(edge, alice.says("UPDATE", "", "application/sdp", SDP));
    let answer = hub.one(edge);
    assert!(answer.status() == 200 && answer.body.contains("m=message 5060 sip null"), "{answer:?}");
    hub.receive(
        edge,
        alice.says("UPDATE", "", "application/sdp", &SDP.replace("message 25060 sip null", "audio 5004 RTP/AVP 0")),
    );
    assert_eq!(hub.one(edge).status(), 488);
}

/// What the client does for a while.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It refreshes; whose the next turn is.
    Refresh(bool),
    /// It answers refreshes for so many seconds: with this code, or not at all.
    Answer(u64, Option<u16>),
}

fn step() -> impl Strategy<Value = Step> {
    let code = prop_oneof![4 => Just(Some(200u16)), 1 => Just(Some(500)), 1 => Just(Some(491)), 1 => Just(None)];
    prop_oneof![1 => any::<bool>().prop_map(Step::Refresh), 3 => (1..150u64, code).prop_map(|(seconds, code)| Step::Answer(seconds, code))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_session_outlives_its_timer_and_none_that_is_refreshed_is_ended(
        seconds in 90..400u64,
        is_ours: bool,
        updates: bool,
        steps in proptest::collection::vec(step(), 1..20),
    ) {
        let (mut hub, own, edge) = Hub::up(JSON);
        let expires = |is_ours: bool| format!("Session-Expires: {seconds};refresher={}\r\n", if is_ours { "uas" } else { "uac" });
        let allow = if updates { UPDATES } else { "" };
        let (mut alice, _) = session(&mut hub, edge, &format!("{allow}Supported: timer\r\n{}", expires(is_ours)));
        let (mut clock, mut refreshed, mut faithful) = (0, 0, true);
        'steps: for step in steps {
            let (passes, code) = match step {
                Step::Refresh(is_ours) => {
                    hub.receive(edge, alice.says("UPDATE", &format!("Supported: timer\r\n{}", expires(is_ours)), "", ""));
                    prop_assert_eq!(hub.one(edge).status(), 200);
                    refreshed = clock;
                    continue;
                }
                Step::Answer(passes, code) => (passes, code),
            };
            for _ in 0..passes {
                clock += 1;
                let mut sent: std::collections::VecDeque<Wire> = hub.live(own, 1).into();
                while let Some(wire) = sent.pop_front() {
                    match (wire.method(), code) {
                        ("BYE", _) => {
                            prop_assert!(clock - refreshed >= seconds - (seconds / 3).min(32) || !faithful, "ended though it was refreshed");
                            break 'steps;
                        }
                        ("ACK", _) => {}
                        (_, Some(code)) => {
                            hub.receive(own, wire.answer(code, &expires(false)));
                            sent.extend(hub.wire(own));
                            if code == 200 {
                                refreshed = clock;
                            }
                        }
                        // Of whoever does not answer within 32 s nothing is hoped for.
                        (_, None) => faithful = false,
                    }
                }
                prop_assert!(clock - refreshed < seconds, "{} s", clock - refreshed);
            }
        }
    }
}
