//! From the hub to a SIP server: requests, their answers, and the order of messages.

use std::time::Duration;

use crate::common::{Hub, LB, LB_UDP, SMALL, Wire, certificate, hello, link, text};
use interchange_adapter::CloseReason;
use interchange_model::{Body, Detail, Health, Outcome, Refusal, Text, TextKind};

#[test]
fn case_1_the_message_and_its_200() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, hello(1));
    let message = hub.one(conn);
    assert_eq!(message.start, "MESSAGE sip:bob@b.example SIP/2.0");
    assert!(message.header("Via").starts_with("SIP/2.0/TLS hub.example;alias;branch=z9hG4bK-hub-"));
    assert!(message.header("From").starts_with("<sip:alice@a.example>;tag="));
    assert_eq!(message.header("To"), "<sip:bob@b.example>");
    assert_eq!((message.header("Content-Type"), message.body.as_str()), ("text/plain;charset=UTF-8", "hello"));
    assert_eq!((message.header("Max-Forwards"), message.header("CSeq"), message.find("Contact")), ("70", "1 MESSAGE", None));
    assert!(hub.settled().is_empty());
    hub.receive(conn, message.answer(200, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn case_43_provisional_and_repeated_answers_count_once() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, hello(1));
    let message = hub.one(conn);
    for status in [100, 100, 202, 200, 404] {
        hub.receive(conn, message.answer(status, ""));
    }
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn case_45_case_46_refusals_of_the_peer_are_told() {
    for (status, more, why) in [
        (302, "Contact: <sip:bob@x.example>\r\n", Refusal::Unavailable),
        (400, "", Refusal::Malformed),
        (401, "WWW-Authenticate: Digest realm=\"b\"\r\n", Refusal::PeerFault),
        (403, "", Refusal::PeerRefused),
        (404, "", Refusal::NoSuchUser),
        (407, "Proxy-Authenticate: Digest realm=\"b\"\r\n", Refusal::PeerFault),
        (408, "", Refusal::TimedOut),
        (415, "Accept: text/html\r\n", Refusal::Unsupported),
        (480, "", Refusal::Unavailable),
        (482, "", Refusal::Loop),
        (500, "", Refusal::PeerFault),
        (503, "", Refusal::Unavailable),
        (503, "Retry-After: soon\r\n", Refusal::Unavailable),
        (503, "Retry-After: 0\r\n", Refusal::Unavailable),
        (513, "", Refusal::TooLarge),
        (604, "", Refusal::NoSuchUser),
        (699, "", Refusal::Unavailable),
    ] {
        let (mut hub, conn) = Hub::up(LB);
        hub.deliver(1, hello(1));
        let message = hub.one(conn);
        hub.receive(conn, message.answer(status, more));
        assert_eq!(hub.settled(), [(1, Outcome::Refused(why))], "{status}");
        // The link stays as it was, nothing more is sent, and a password is asked of nobody.
        assert!(hub.told.is_empty() && hub.wire(conn).is_empty(), "{status}");
        assert_eq!(hub.notes.len(), usize::from([401, 407].contains(&status)), "{status}");
    }
}

#[test]
fn case_42_order_for_a_pair_and_others_beside_it() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, text(1, "alice@a.example", "bob@b.example", "one"));
    hub.deliver(2, text(2, "alice@a.example", "bob@b.example", "two"));
    hub.deliver(3, text(3, "alice@a.example", "carol@b.example", "three"));
    hub.deliver(4, text(4, "Alice@A.example", "BOB@b.example", "four"));
    let open = hub.wire(conn);
    assert_eq!(open.iter().map(|wire| wire.body.as_str()).collect::<Vec<_>>(), ["one", "three"]);
    hub.receive(conn, open[1].answer(200, ""));
    assert!(hub.wire(conn).is_empty());
    // The next goes whatever became of the one before.
    hub.receive(conn, open[0].answer(404, ""));
    let next = hub.one(conn);
    assert_eq!(next.body, "two");
    hub.receive(conn, next.answer(200, ""));
    assert_eq!(hub.one(conn).body, "four");
    assert_eq!(hub.settled(), [(3, Outcome::Delivered), (1, Outcome::Refused(Refusal::NoSuchUser)), (2, Outcome::Delivered)]);
}

#[test]
fn fifty_pairs_side_by_side_and_no_more() {
    let (mut hub, conn) = Hub::up(LB);
    for number in 0..64 {
        hub.deliver(number, text(number, &format!("u{number}@a.example"), "bob@b.example", "x"));
    }
    let open = hub.wire(conn);
    assert_eq!(open.len(), 50);
    hub.receive(conn, open[10].answer(200, ""));
    assert_eq!(hub.wire(conn).len(), 1);
}

#[test]
fn case_47_a_lost_connection_gives_everything_back_in_order_and_a_repeat_is_known_as_one() {
    let (mut hub, conn) = Hub::up(LB);
    for number in 1..=3 {
        hub.deliver(number, text(number, "alice@a.example", "bob@b.example", "x"));
    }
    let first = hub.one(conn);
    hub.lose(conn);
    // Settled before the health is told, in the order in which they came.
    let settled: Vec<_> = hub.told.iter().map(|up| format!("{up:?}").chars().take(6).collect::<String>()).collect();
    assert_eq!(settled, ["Settle", "Settle", "Settle", "Health"]);
    assert!(matches!(hub.health(), Some(Health::Retrying { .. })));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown), (2, Outcome::LinkDown), (3, Outcome::LinkDown)]);
    // What is handed over late comes back at once.
    hub.deliver(4, hello(4));
    assert_eq!(hub.settled(), [(4, Outcome::LinkDown)]);
    hub.seconds(2);
    let again = hub.bring_up("sip.b.example");
    assert_ne!(again, conn);
    hub.deliver(1, text(1, "alice@a.example", "bob@b.example", "x"));
    let repeat = hub.one(again);
    for name in ["Call-ID", "CSeq", "From", "Date"] {
        assert_eq!(repeat.header(name), first.header(name));
    }
    assert_ne!(repeat.branch(), first.branch());
    // The peer still has the first: that it knows the second as a repeat says that it was delivered.
    hub.receive(again, repeat.answer(482, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn what_was_refused_for_now_is_tried_again_under_the_next_number() {
    let (mut hub, conn) = Hub::up(LB);
    // 486 is a last word, after which all is forgotten.
    for (delivery, status, cseq) in [(1, 500, 1), (2, 500, 2), (3, 486, 3), (9, 500, 1)] {
        hub.deliver(delivery, hello(1));
        let message = hub.one(conn);
        assert_eq!(message.header("CSeq"), format!("{cseq} MESSAGE"));
        hub.receive(conn, message.answer(status, ""));
        hub.settled();
    }
    hub.deliver(4, hello(1));
    let open = hub.one(conn);
    assert_eq!(open.header("CSeq"), "2 MESSAGE");
    hub.lose(conn);
    hub.seconds(2);
    let conn = hub.bring_up("sip.b.example");
    hub.deliver(5, hello(1));
    let repeat = hub.one(conn);
    for name in ["Call-ID", "CSeq", "From"] {
        assert_eq!(repeat.header(name), open.header(name), "what was not answered is the same again");
    }
}

#[test]
fn sip_10_6_a_black_hole_over_udp_gets_eleven_transmissions() {
    let (mut hub, conn) = Hub::up(LB_UDP);
    hub.deliver(1, hello(1));
    let sent = |hub: &Hub| hub.sends.iter().filter(|(_, bytes)| bytes.starts_with(b"MESSAGE")).count();
    let mut at = Vec::new();
    for tenth in 0..=320u64 {
        if sent(&hub) > at.len() {
            at.push(tenth * 100);
        }
        if tenth < 320 {
            hub.pass(Duration::from_millis(100));
        }
    }
    assert_eq!(at, [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    assert!(matches!(hub.health(), Some(Health::Retrying { why }) if why.contains("32 s")));
    assert_eq!(hub.closed, [(conn, CloseReason::TimedOut)]);
    let _ = hub.wire(conn);
}

#[test]
fn one_message_that_is_never_answered_does_not_stop_a_link_that_answers_others() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, hello(1));
    assert_eq!(hub.one(conn).body, "hello");
    hub.seconds(20);
    hub.deliver(2, text(2, "carol@a.example", "bob@b.example", "x"));
    let other = hub.one(conn);
    hub.receive(conn, other.answer(200, ""));
    hub.seconds(12);
    assert_eq!(hub.settled(), [(2, Outcome::Delivered), (1, Outcome::Refused(Refusal::TimedOut))]);
    assert!(hub.closed.is_empty());
}

#[test]
fn case_44_sip_10_12_a_503_with_retry_after_pauses_the_link() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, hello(1));
    hub.deliver(2, text(2, "carol@a.example", "bob@b.example", "x"));
    let open = hub.wire(conn);
    hub.receive(conn, open[0].answer(503, "Retry-After: 30 (maintenance);duration=600\r\n"));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown), (2, Outcome::LinkDown)]);
    assert!(matches!(hub.health(), Some(Health::Retrying { why }) if why.contains("30 s")));
    // Whatever comes of the other one now is nobody's business any more.
    hub.receive(conn, open[1].answer(200, ""));
    hub.pass(Duration::from_millis(29_999));
    assert!(hub.settled().is_empty() && hub.wire(conn).is_empty() && hub.dials.is_empty());
    // The peer may use the connection meanwhile.
    assert!(hub.closed.is_empty());
    hub.pass(Duration::from_millis(1));
    let options = hub.one(conn);
    assert_eq!(options.method(), "OPTIONS");
    hub.receive(conn, options.answer(405, ""));
    assert_eq!(hub.health(), Some(Health::Up));
}

#[test]
fn case_44_meanwhile_the_next_of_the_srv_records_is_used() {
    // No host: SRV records lead to the servers.
    let mut hub = Hub::new(&[link("lb", &["b.example"], "{}")]);
    let conn = hub.bring_up("b.example");
    hub.deliver(1, hello(1));
    let open = hub.one(conn);
    hub.receive(conn, open.answer(503, "Retry-After: 120\r\n"));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    assert_eq!(hub.avoided, ["192.0.2.20:5061".parse().unwrap()]);
    assert!(hub.closed.contains(&(conn, CloseReason::Finished)));
    // Another server answers, and the broker hands the message over again.
    let (other, _) = hub.dials.remove(0);
    hub.open_at(other, "192.0.2.21:5061");
    let options = hub.one(other);
    hub.receive(other, options.answer(200, ""));
    assert_eq!(hub.health(), Some(Health::Up));
    hub.deliver(2, hello(1));
    assert_eq!(hub.one(other).method(), "MESSAGE");
    // Where there is no other, the pause is kept.
    let mut hub = Hub::new(&[link("lb", &["b.example"], "{}")]);
    let conn = hub.bring_up("b.example");
    hub.deliver(1, hello(1));
    let open = hub.one(conn);
    hub.receive(conn, open.answer(503, "Retry-After: 120\r\n"));
    let (same, _) = hub.dials.remove(0);
    hub.open_at(same, "192.0.2.20:5061");
    hub.pass(Duration::from_millis(119_999));
    assert!(hub.wire(same).is_empty());
    hub.pass(Duration::from_millis(1));
    assert_eq!(hub.one(same).method(), "OPTIONS");
}

#[test]
fn a_server_that_does_not_answer_is_tried_after_the_others() {
    let mut hub = Hub::new(&[link("lb", &["b.example"], "{}")]);
    let conn = hub.bring_up("b.example");
    hub.seconds(75);
    assert!(hub.closed.contains(&(conn, CloseReason::TimedOut)));
    assert_eq!(hub.dials.len(), 1);
    assert_eq!(hub.avoided, ["192.0.2.20:5061".parse().unwrap()]);
}

#[test]
fn a_pause_over_udp_stops_retransmissions_and_is_five_minutes_at_most() {
    let (mut hub, conn) = Hub::up(LB_UDP);
    hub.deliver(1, hello(1));
    hub.deliver(2, text(2, "carol@a.example", "bob@b.example", "x"));
    let open = hub.wire(conn);
    hub.receive(conn, open[0].answer(503, "Retry-After: 86400\r\n"));
    hub.seconds(299);
    assert!(hub.wire(conn).is_empty());
    hub.seconds(1);
    assert_eq!(hub.one(conn).method(), "OPTIONS");
}

#[test]
fn case_25_what_is_too_large_is_refused_with_the_limit() {
    let (mut hub, conn) = Hub::up(LB);
    let large = |bytes: usize| text(1, "alice@a.example", "bob@b.example", &"x".repeat(bytes));
    let refused = |bytes| Outcome::RefusedWith(Refusal::TooLarge, Detail::Most { bytes });
    hub.deliver(1, large(65_537));
    assert_eq!(hub.settled(), [(1, refused(65_536))]);
    hub.deliver(2, large(40_000));
    assert_eq!(hub.one(conn).body.len(), 40_000);
    // Ten parts are the most.
    let (mut hub, conn) = Hub::up(SMALL);
    hub.deliver(1, large(8_921));
    assert_eq!(hub.settled(), [(1, refused(8_920))]);
    hub.deliver(2, large(1_300));
    assert_eq!(hub.one(conn).body.len(), 1_300);
    // Over UDP the whole request counts.
    let (mut hub, conn) = Hub::up(LB_UDP);
    hub.deliver(2, large(700));
    assert!(hub.one(conn).header("Via").starts_with("SIP/2.0/UDP hub.example;rport;branch="));
    assert!(hub.sends.iter().all(|(_, bytes)| bytes.len() <= 1_300));
}

#[test]
fn nothing_to_say_and_no_hops_left() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, text(1, "alice@a.example", "bob@b.example", ""));
    let mut tired = hello(2);
    tired.hops = 0;
    hub.deliver(2, tired);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered), (2, Outcome::Refused(Refusal::Loop))]);
    assert!(hub.wire(conn).is_empty());
    let mut headline = hello(3);
    headline.body = Body::Text(Text { plain: "news".into(), kind: TextKind::Headline, ..Text::default() });
    hub.deliver(3, headline);
    assert_eq!(hub.one(conn).body, "news");
}

#[test]
fn answers_of_others_count_for_nothing() {
    let mut hub = Hub::new(&[link("lb", &["b.example"], LB), link("lc", &["c.example"], r#"{"dial":"never"}"#)]);
    let conn = hub.bring_up("sip.b.example");
    let other = hub.accept(interchange_adapter::Transport::Tls, "192.0.2.30:4000", Some(crate::common::proof("c.example")));
    let stranger =
        hub.accept(interchange_adapter::Transport::Tls, "192.0.2.99:4000", Some(certificate(&["evil.example"], Ok(()))));
    hub.deliver(1, hello(1));
    let message = hub.one(conn);
    hub.receive(other, message.answer(200, ""));
    hub.receive(stranger, message.answer(200, ""));
    // Another branch, another sent-by, a second Via.
    let wrong = |change: &dyn Fn(&str) -> String| Wire {
        headers: message.headers.iter().map(|(n, v)| (n.clone(), if n == "Via" { change(v) } else { v.clone() })).collect(),
        ..message.clone()
    };
    for forged in [
        wrong(&|via| via.replace("-hub-", "-hub-x")),
        wrong(&|via| via.replace("hub.example", "hub2.example")),
        wrong(&|via| format!("{via}, SIP/2.0/TLS x.example;branch=z9hG4bKx")),
    ] {
        hub.receive(conn, forged.answer(200, ""));
    }
    assert!(hub.settled().is_empty());
    // The same answer on another connection of the right peer counts.
    let second = hub.accept_b();
    hub.receive(second, message.answer(200, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}
