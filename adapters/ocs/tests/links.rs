//! Whose connection is whose, whether a link works, and how fast it is used.

use std::time::Duration;

use crate::common::alice::Alice;
use crate::common::*;
use interchange_adapter::{CloseReason, Input, Target, TlsPeer, TlsRole, Transport, Via};
use interchange_model::{Domain, Down, Fault, Health, Outcome, Refusal};

const CONTOSO: &[&str] = &["contoso.example"];

fn hub(json: &str) -> Hub {
    Hub::with(r#"{"contact_host":"sip.fabrikam.example"}"#, &[link("lb", CONTOSO, json)])
}

#[test]
fn the_edge_is_dialled_by_name_and_shown_the_hubs_certificate() {
    let mut hub = hub(EDGE);
    assert!(
        matches!(&hub.dials[..], [(_, Target::Host { host, port: 5061, transport: Transport::Tls })] if host == "sip.contoso.example")
    );
    let (conn, _) = hub.dials[0].clone();
    let (local, peer) = ("192.0.2.1:33333".parse().unwrap(), "192.0.2.20:5061".parse().unwrap());
    hub.input(Input::Opened { conn, via: Via::Dialled { transport: Transport::Tls, local, peer } });
    assert!(matches!(&hub.handshakes[..], [(_, TlsRole::Client { server_name, .. })] if server_name == "sip.contoso.example"));
    hub.input(Input::Secured { conn, peer: proof("sip.contoso.example") });
    let options = hub.one(conn);
    assert_eq!(options.header("Contact"), "<sip:sip.fabrikam.example:5061;transport=tls>");
    assert!(options.header("Via").starts_with("SIP/2.0/TLS sip.fabrikam.example:5061;branch=z9hG4bK"), "{options:?}");
    // Any answer shows that it lives; edges refuse OPTIONS that are for nobody.
    hub.receive(conn, options.answer(404, ""));
    assert_eq!(hub.health(), Some(Health::Up));
    assert!(hub.notes.iter().any(|note| note.contains("proved to be the Access Edge of link lb")), "{:?}", hub.notes);
}

#[test]
fn without_a_name_the_edge_is_found_by_its_srv_record_and_must_be_a_host_of_the_domain() {
    let mut hub = hub("{}");
    assert!(matches!(&hub.dials[..], [(_, Target::Srv { service: "sipfederationtls", .. })]));
    let conn = hub.open_dial(proof("sip.elsewhere.example"));
    assert!(
        matches!(hub.health(), Some(Health::Broken { why }) if why.contains("sip.elsewhere.example") && why.contains("contoso.example"))
    );
    assert_eq!(hub.closed, [(conn, CloseReason::Refused)]);
    hub.seconds(60);
    let conn = hub.open_dial(proof("edge.contoso.example"));
    assert_eq!(hub.one(conn).method(), "OPTIONS");
}

#[test]
fn an_edge_that_is_never_asked_is_up_when_it_has_proved_itself() {
    let mut hub = hub(r#"{"edge":"sip.contoso.example","options_interval":0}"#);
    let conn = hub.open_dial(proof("sip.contoso.example"));
    assert_eq!(hub.health(), Some(Health::Up));
    hub.seconds(90);
    assert!(hub.wire(conn).is_empty());
    hub.input(Input::Broker(Down::Check { link: "lb".into(), from: domain("fabrikam.example"), to: domain("contoso.example") }));
    assert!(matches!(&hub.checked[..], [(_, _, Ok(()))]));
}

#[test]
fn abuse_9_a_wrong_name_an_unlisted_edge_and_no_certificate_are_refused_with_the_rule_in_the_log() {
    for (shown, rule) in [
        (proof("sip.evil.example"), "names sip.evil.example"),
        (certificate(&["sip.contoso.example"], Err(interchange_adapter::ChainFault::SelfSigned)), "signed by nobody but itself"),
        (TlsPeer::default(), "mutual TLS"),
    ] {
        let mut hub = hub(EDGE);
        let conn = hub.accept(shown);
        for number in 0..3 {
            hub.receive(conn, Alice::calls("sip:bob@fabrikam.example", &format!("c{number}")).writes("let me in"));
            let answer = hub.one(conn);
            assert_eq!(answer.status(), 403);
            assert!(answer.header("ms-diagnostics-public").contains("not that of a partner's edge"));
        }
        assert!(hub.submitted().is_empty());
        assert_eq!(hub.closed, [(conn, CloseReason::Refused)]);
        let notes: Vec<&String> = hub.notes.iter().filter(|note| note.contains("403")).collect();
        assert!(notes.len() == 1 && notes[0].contains(rule), "{:?}", hub.notes);
    }
}

#[test]
fn a_stranger_who_says_nothing_is_not_kept() {
    let mut hub = hub(EDGE);
    let conn = hub.accept(proof("sip.evil.example"));
    hub.seconds(30);
    assert_eq!(hub.closed, [(conn, CloseReason::Refused)]);
}

#[test]
fn a_listener_without_tls_takes_nobody() {
    let mut hub = hub(EDGE);
    let conn = interchange_adapter::ConnId::accepted(9);
    let (local, peer) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.20:40000".parse().unwrap());
    hub.input(Input::Opened { conn, via: Via::Accepted { transport: Transport::Tcp, local, peer } });
    assert_eq!(hub.closed, [(conn, CloseReason::Refused)]);
    assert!(hub.notes.iter().any(|note| note.contains("transport = \"tls\"")));
}

#[test]
fn a_common_name_counts_where_a_certificate_has_no_other() {
    let mut old = proof("x");
    old.certificate.as_mut().unwrap().names = vec![interchange_adapter::PeerName::Common("sip.contoso.example".into())];
    let mut hub = hub(EDGE);
    let conn = hub.open_dial(old);
    assert_eq!(hub.one(conn).method(), "OPTIONS");
}

#[test]
fn a_silent_edge_is_missed_and_what_it_was_sent_goes_back() {
    let (mut hub, own, _) = Hub::up(EDGE);
    hub.deliver(1, hello(1));
    let sent = hub.wire(own);
    assert_eq!(sent[0].method(), "INVITE");
    hub.seconds(75);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    assert!(matches!(hub.health(), Some(Health::Retrying { .. })));
    assert!(hub.closed.contains(&(own, CloseReason::TimedOut)));
    assert_eq!(hub.dials.len(), 1);
    // It is back, and so is the message.
    let own = hub.bring_up();
    hub.deliver(2, hello(1));
    assert_eq!(hub.one(own).method(), "INVITE");
}

#[test]
fn the_peers_connection_carries_its_requests_and_ours_go_by_our_own() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    hub.deliver(1, hello(1));
    assert!(hub.wire(edge).is_empty());
    assert_eq!(hub.one(own).method(), "INVITE");
    // Keep-alives between messages are skipped, and answered.
    hub.receive(edge, "\r\n\r\n");
    assert_eq!(hub.one(edge).start, "PONG");
    let mut alice = Alice::calls("sip:bob@fabrikam.example", "c1");
    hub.receive(edge, alice.invites(""));
    assert_eq!(hub.one(edge).status(), 200);
}

#[test]
fn one_edge_may_stand_before_two_members_and_from_decides() {
    let mut hub = Hub::with("{}", &[link("la", CONTOSO, EDGE), link("lb", &["litware.example"], EDGE)]);
    for id in ["la", "lb"] {
        hub.input(Input::Broker(Down::Remembered { link: id.into(), entries: Vec::new() }));
    }
    let edge = hub.accept_edge();
    for (from, origin) in [("sip:alice@contoso.example", "la"), ("sip:dan@litware.example", "lb")] {
        let mut person = Alice { from, ..Alice::calls("sip:bob@fabrikam.example", origin) };
        hub.receive(edge, person.writes("x"));
        let (token, envelope) = hub.one_submitted();
        assert_eq!(envelope.origin.as_str(), origin);
        hub.store(token, Ok(()));
    }
}

#[test]
fn a_throttling_edge_is_seen_and_left_alone_for_as_long_as_it_asks() {
    let (mut hub, own, _) = Hub::up(r#"{"edge":"sip.contoso.example"}"#);
    hub.deliver(1, hello(1));
    let invite = hub.one(own);
    hub.receive(own, invite.answer(503, "Retry-After: 30\r\n"));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    assert!(matches!(hub.health(), Some(Health::Retrying { why }) if why.contains("throttles")));
    assert!(hub.notes.iter().any(|note| note.contains("throttles") && note.contains("Allow list")), "{:?}", hub.notes);
    hub.input(Input::Broker(Down::Check { link: "lb".into(), from: domain("fabrikam.example"), to: domain("contoso.example") }));
    assert!(matches!(&hub.checked[..], [(_, _, Err(trouble))] if trouble.fault == Fault::Throttled));
    let _ = hub.wire(own);
    hub.seconds(29);
    assert!(hub.wire(own).is_empty());
    hub.seconds(1);
    assert_eq!(hub.one(own).method(), "OPTIONS");
}

#[test]
fn an_edge_that_does_not_list_the_hub_gets_less_than_twenty_messages_a_second() {
    let (mut hub, own, edge) = Hub::up(r#"{"edge":"sip.contoso.example"}"#);
    let mut alices = Vec::new();
    for number in 0..60 {
        let from: &'static str = Box::leak(format!("sip:u{number}@contoso.example").into_boxed_str());
        let mut person = Alice { from, ..Alice::calls("sip:bob@fabrikam.example", &format!("c{number}x")) };
        hub.receive(edge, person.invites(""));
        person.hears(&hub.one(edge));
        hub.receive(edge, person.says("ACK", "", "", ""));
        alices.push(person);
    }
    for number in 0..60 {
        hub.deliver(number, text(number, "bob@fabrikam.example", &format!("u{number}@contoso.example"), "x"));
    }
    let mut seconds = Vec::new();
    for _ in 0..5 {
        let mut count = 0;
        for _ in 0..10 {
            for wire in hub.wire(own) {
                count += 1;
                hub.receive(own, wire.answer(200, ""));
            }
            hub.pass(Duration::from_millis(100));
        }
        seconds.push(count);
    }
    assert_eq!(hub.settled().len(), 60, "{seconds:?}");
    // A bucket of one second at first, and then the rate.
    assert!(seconds.iter().skip(1).all(|count| *count < 20) && seconds[0] <= 30, "{seconds:?}");
}

#[test]
fn an_edge_that_does_not_list_the_hub_is_not_asked_for_a_thousand_people() {
    let (mut hub, own, _) = Hub::up(r#"{"edge":"sip.contoso.example","rate":1000}"#);
    let mut refused = 0;
    for number in 0..950 {
        hub.deliver(number, text(number, "bob@fabrikam.example", &format!("u{number}@contoso.example"), "x"));
        for wire in hub.live(own, 1).iter().filter(|wire| wire.method() == "INVITE") {
            hub.receive(own, wire.answer(480, ""));
        }
        refused += hub.settled().iter().filter(|(_, outcome)| *outcome == Outcome::Refused(Refusal::RateLimited)).count();
    }
    assert_eq!(refused, 50);
    assert_eq!(hub.notes.iter().filter(|note| note.contains("Allow list")).count(), 1, "{:?}", hub.notes);
}

#[test]
fn bytes_of_every_kind_make_nothing_panic() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    for bytes in [&b"\0\0\0\0"[..], b"INVITE\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let conn = hub.accept(proof("sip.contoso.example"));
        hub.receive(conn, bytes);
        hub.seconds(31);
    }
    let mut alice = Alice::calls("sip:bob@fabrikam.example", "c1");
    hub.receive(edge, alice.invites("ms-text-format: ;;;ms-body=%%%\r\nMs-Conversation-ID: <script>\r\nEndPoints: ,\r\n"));
    assert_eq!(hub.one(edge).status(), 200);
    let _ = Domain::parse("contoso.example");
}
