//! Links: dialling, proof, health, connections that the peer opened, and abuse.

use std::time::Duration;

use crate::common::{Hub, LB, LB_UDP, Sip, certificate, hello, link, proof};
use interchange_adapter::{ChainFault, CloseReason, ConnId, Input, Target, TlsPeer, Transport};
use interchange_model::{Health, Outcome};

const NEVER: &str = r#"{"dial":"never"}"#;

fn retrying(hub: &Hub) -> String {
    match hub.health() {
        Some(Health::Retrying { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_link_is_up_when_options_got_any_final_answer() {
    for status in [200, 404, 405, 483, 503] {
        let mut hub = Hub::new(&[link("lb", &["b.example"], LB)]);
        assert_eq!(hub.health(), Some(Health::Connecting));
        assert_eq!(hub.dials[0].1, Target::Host { host: "sip.b.example".into(), port: 5061, transport: Transport::Tls });
        hub.deliver(1, hello(1));
        assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
        let conn = hub.open_dial("b.example", proof("b.example"));
        let options = hub.one(conn);
        hub.receive(conn, options.answer(100, ""));
        assert_eq!(hub.health(), Some(Health::Connecting));
        hub.receive(conn, options.answer(status, ""));
        assert_eq!(hub.health(), Some(Health::Up), "{status}");
    }
    let mut hub = Hub::new(&[link("lb", &["b.example", "b2.example"], "{}")]);
    assert!(matches!(&hub.dials.remove(0).1, Target::Srv { service: "sips", domain, .. } if domain.as_str() == "b.example"));
}

#[test]
fn sip_10_8_abuse_9_a_wrong_certificate_is_broken_and_says_why() {
    for (shown, word) in [
        (proof("sip.b.example"), "sip.b.example"),
        (certificate(&["*.b.example"], Ok(())), "*.b.example"),
        (certificate(&["b.example"], Err(ChainFault::Expired)), "expired"),
        (TlsPeer::default(), "no certificate"),
    ] {
        let mut hub = Hub::new(&[link("lb", &["b.example"], LB)]);
        let conn = hub.open_dial("b.example", shown);
        let Some(Health::Broken { why }) = hub.health() else { panic!("{:?}", hub.told) };
        assert!(why.contains(word) && why.contains("b.example"), "{why}");
        assert_eq!(hub.closed, [(conn, CloseReason::Refused)]);
        assert!(hub.sends.is_empty());
        // Tried again, seldom; and what was mended is mended.
        hub.seconds(59);
        assert!(hub.dials.is_empty());
        hub.seconds(1);
        hub.bring_up("sip.b.example");
    }
    let mut hub = Hub::new(&[link("lb", &["b.example"], r#"{"host":"sip.b.example","identity":"host"}"#)]);
    let conn = hub.open_dial("sip.b.example", proof("sip.b.example"));
    assert_eq!(hub.one(conn).method(), "OPTIONS");
}

#[test]
fn a_dial_that_fails_is_tried_again_ever_more_slowly() {
    let mut hub = Hub::new(&[link("lb", &["b.example"], LB)]);
    let start = hub.now.instant;
    for _ in 0..200 {
        let (conn, _) = hub.dials.remove(0);
        hub.input(Input::Closed { conn, why: CloseReason::Unreachable, detail: "192.0.2.20:5061 refused".into() });
        assert!(retrying(&hub).contains("192.0.2.20:5061 refused"), "{}", retrying(&hub));
        let began = hub.now.instant;
        while hub.dials.is_empty() {
            hub.pass(Duration::from_millis(50));
        }
        let pause = hub.now.instant.duration_since(began).as_secs_f64();
        let want = (began.duration_since(start).as_secs_f64() / 30.0).clamp(1.0, 300.0);
        assert!((want * 0.8 - 0.1..=want * 1.2 + 0.1).contains(&pause), "{pause} s where {want} s was due");
    }
}

#[test]
fn options_every_minute() {
    let (mut hub, conn) = Hub::up(LB);
    for _ in 0..3 {
        hub.pass(Duration::from_millis(59_999));
        assert!(hub.wire(conn).iter().all(|wire| wire.start == "PING"));
        hub.pass(Duration::from_millis(1));
        let options = hub.wire(conn).pop().unwrap();
        hub.receive(conn, options.answer(200, ""));
    }
    assert!(hub.told.is_empty());
}

#[test]
fn a_peer_that_answers_nothing_is_down() {
    let (mut hub, conn) = Hub::up(LB);
    hub.seconds(69);
    assert!(hub.told.is_empty());
    hub.seconds(1);
    assert!(retrying(&hub).contains("did not answer OPTIONS"));
    assert_eq!(hub.closed, [(conn, CloseReason::TimedOut)]);
    // Over UDP retransmissions are waited for.
    let (mut hub, conn) = Hub::up(LB_UDP);
    hub.seconds(91);
    assert!(hub.told.is_empty());
    hub.seconds(2);
    assert!(retrying(&hub).contains("did not answer OPTIONS"));
    assert_eq!(hub.closed, [(conn, CloseReason::TimedOut)]);
}

#[test]
fn keep_alives_count_only_where_they_were_answered_before() {
    let (mut hub, conn) = Hub::up(r#"{"host":"sip.b.example","options_interval":3600}"#);
    hub.seconds(120);
    assert_eq!(hub.one(conn).start, "PING");
    hub.seconds(120);
    assert_eq!(hub.one(conn).start, "PING");
    hub.receive(conn, b"\r\n");
    hub.seconds(40);
    assert!(hub.told.is_empty());
    hub.seconds(100);
    assert!(retrying(&hub).contains("keep-alive"));
    assert_eq!(hub.closed, [(conn, CloseReason::TimedOut)]);
}

#[test]
fn sip_10_11_dial_never_uses_the_connection_that_the_peer_opened() {
    let mut hub = Hub::new(&[link("lb", &["b.example"], NEVER)]);
    hub.seconds(600);
    assert!(hub.dials.is_empty() && hub.health() == Some(Health::Connecting));
    let conn = hub.accept_b();
    let options = hub.one(conn);
    hub.receive(conn, options.answer(200, ""));
    assert_eq!(hub.health(), Some(Health::Up));
    hub.deliver(1, hello(1));
    let message = hub.one(conn);
    hub.lose(conn);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    retrying(&hub);
    hub.seconds(600);
    assert!(hub.dials.is_empty());
    // The peer comes again: at once.
    let again = hub.accept_b();
    let options = hub.one(again);
    hub.receive(again, options.answer(200, ""));
    hub.deliver(1, hello(1));
    assert_eq!(hub.one(again).header("Call-ID"), message.header("Call-ID"));
}

#[test]
fn a_peer_that_comes_a_second_time_is_asked_on_the_first_connection_at_once() {
    let mut hub = Hub::new(&[link("lb", &["b.example"], NEVER)]);
    let first = hub.accept_b();
    let options = hub.one(first);
    hub.receive(first, options.answer(200, ""));
    hub.seconds(5);
    let second = hub.accept_b();
    hub.pass(Duration::ZERO);
    assert_eq!(hub.one(first).method(), "OPTIONS");
    hub.seconds(10);
    assert!(hub.closed.contains(&(first, CloseReason::TimedOut)));
    hub.seconds(2);
    let options = hub.one(second);
    hub.receive(second, options.answer(200, ""));
    assert_eq!(hub.health(), Some(Health::Up));
}

#[test]
fn sip_10_11_an_alias_carries_our_requests_while_our_dial_fails() {
    let mut hub = Hub::new(&[link("lb", &["b.example"], LB)]);
    let (dial, _) = hub.dials.remove(0);
    hub.input(Input::Closed { conn: dial, why: CloseReason::Unreachable, detail: "refused".into() });
    // A connection without alias is only for the peer's own requests (RFC 5923).
    let plain = hub.accept_b();
    hub.receive(plain, Sip::message(1, "hi").bytes());
    assert!(hub.wire(plain).is_empty());
    let alias = hub.accept_b();
    let offer = String::from_utf8(Sip::message(2, "hi").bytes()).unwrap().replace(";branch", ";alias;branch");
    hub.receive(alias, offer);
    let options = hub.one(alias);
    assert_eq!(options.method(), "OPTIONS");
    hub.receive(alias, options.answer(200, ""));
    assert_eq!(hub.health(), Some(Health::Up));
    hub.deliver(1, hello(1));
    assert_eq!(hub.one(alias).body, "hello");
    assert!(hub.dials.is_empty());
    // When it goes, the hub dials again.
    hub.lose(alias);
    hub.seconds(2);
    assert_eq!(hub.dials.len(), 1);
}

#[test]
fn abuse_17_a_connection_of_nobody_gets_403_and_is_closed() {
    for shown in [
        None,
        Some(proof("evil.example")),
        Some(proof("sub.b.example")),
        Some(certificate(&["b.example"], Err(ChainFault::UnknownAuthority))),
    ] {
        let (mut hub, _) = Hub::up(LB);
        let conn = hub.accept(Transport::Tls, "198.51.100.9:4000", shown);
        for number in 0..3 {
            assert!(hub.closed.is_empty());
            hub.refuse(conn, &Sip::message(number, "hi").bytes(), 403);
        }
        assert_eq!(hub.closed, [(conn, CloseReason::Refused)]);
        assert!(hub.told.is_empty());
        assert_eq!(hub.notes.len(), 1);
        assert!(hub.notes[0].contains("198.51.100.9:4000"), "{}", hub.notes[0]);
    }
}

#[test]
fn abuse_24_a_connection_of_nobody_is_closed_after_thirty_seconds_and_takes_no_memory() {
    let (mut hub, link) = Hub::up(LB);
    let idle = hub.accept(Transport::Tls, "198.51.100.9:4000", None);
    hub.seconds(30);
    assert_eq!(hub.closed, [(idle, CloseReason::Refused)]);
    let greedy = hub.accept(Transport::Tls, "198.51.100.9:4001", None);
    hub.receive(greedy, vec![b'x'; 40_000]);
    assert!(hub.closed.contains(&(greedy, CloseReason::Malformed)));
    let tcp = hub.accept(Transport::Tcp, "192.0.2.20:4000", None);
    hub.refuse(tcp, &Sip { transport: "TCP", ..Sip::message(1, "hi") }.bytes(), 403);
    assert!(!hub.closed.iter().any(|(conn, _)| *conn == link));
}

#[test]
fn abuse_23_a_message_that_drips_costs_the_connection() {
    let (mut hub, _) = Hub::up(LB);
    let conn = hub.accept_b();
    let message = Sip::message(1, "hi").bytes();
    for byte in &message[..25] {
        hub.receive(conn, [*byte]);
        hub.seconds(1);
    }
    assert!(hub.closed.is_empty());
    hub.seconds(5);
    assert_eq!(hub.closed, [(conn, CloseReason::TimedOut)]);
    // The header block whole and the body never: the same.
    let conn = hub.accept_b();
    hub.receive(conn, &message[..message.len() - 2]);
    hub.seconds(30);
    assert_eq!(hub.closed.len(), 2);
    assert_eq!(hub.closed[1], (conn, CloseReason::TimedOut));
    // Between messages there is all the time in the world.
    let conn = hub.accept_b();
    hub.receive(conn, &message);
    hub.seconds(60);
    assert!(!hub.closed.iter().any(|(closed, _)| *closed == conn));
}

#[test]
fn abuse_27_udp_from_unknown_addresses_is_answered_by_silence() {
    let (mut hub, _) = Hub::up(LB_UDP);
    let conn = hub.accept(Transport::Udp, "203.0.113.5:5060", None);
    for bytes in [Sip { transport: "UDP", ..Sip::message(1, "hi") }.bytes(), b"garbage\r\n\r\n".to_vec(), b"\r\n\r\n".to_vec()] {
        hub.receive(conn, bytes);
    }
    assert!(hub.wire(conn).is_empty() && hub.told.is_empty());
    let known = hub.accept(Transport::Udp, "192.0.2.20:5070", None);
    hub.receive(known, b"\r\n\r\n");
    hub.receive(known, b"\0");
    assert!(hub.wire(known).is_empty());
    hub.receive(known, Sip { transport: "UDP", ..Sip::message(1, "hi") }.bytes());
    hub.one_submitted();
}

#[test]
fn abuse_10_plain_tcp_only_for_links_that_say_so_and_from_their_addresses() {
    let tcp = r#"{"host":"192.0.2.20","transport":"tcp","addresses":["192.0.2.0/28"]}"#;
    let mut hub = Hub::new(&[link("lb", &["b.example"], tcp), link("lc", &["c.example"], NEVER)]);
    // The dial ends at an address that the link does not list.
    hub.open_dial("", TlsPeer::default());
    let Some(Health::Broken { why }) = hub.health() else { panic!("{:?}", hub.told) };
    assert!(why.contains("192.0.2.20"), "{why}");
    let tcp = r#"{"host":"192.0.2.20","transport":"tcp","addresses":["192.0.2.20"]}"#;
    let (mut hub, conn) = Hub::up(tcp);
    hub.deliver(1, hello(1));
    assert!(hub.one(conn).header("Via").starts_with("SIP/2.0/TCP hub.example;branch="));
    let inbound = hub.accept(Transport::Tcp, "192.0.2.20:40000", None);
    hub.receive(inbound, Sip { transport: "TCP", ..Sip::message(1, "hi") }.bytes());
    hub.one_submitted();
    // No alias without certificates (RFC 5923 §5).
    hub.lose(conn);
    let offer = String::from_utf8(Sip::message(2, "hi").bytes()).unwrap().replace(";branch", ";alias;branch");
    hub.receive(inbound, offer);
    assert!(hub.wire(inbound).is_empty());
}

#[test]
fn links_that_change_begin_anew_and_the_others_stay() {
    let (mut hub, conn) = Hub::up(LB);
    let inbound = hub.accept_b();
    hub.deliver(1, hello(1));
    let lc = link("lc", &["c.example"], NEVER);
    hub.links(&[link("lb", &["b.example"], LB), lc.clone()]);
    assert!(hub.closed.is_empty() && hub.settled().is_empty());
    // Another member now has the domain: the old peer's connections are nobody's.
    hub.links(&[link("lb", &["b3.example"], LB), lc.clone()]);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    let mut closed: Vec<ConnId> = hub.closed.iter().map(|(conn, _)| *conn).collect();
    closed.sort_unstable();
    let mut want = vec![conn, inbound];
    want.sort_unstable();
    assert_eq!(closed, want);
    assert_eq!(hub.health(), Some(Health::Connecting));
    assert_eq!(hub.dials.len(), 1);
    hub.links(&[lc]);
    hub.deliver(2, hello(2));
    assert_eq!(hub.settled(), [(2, Outcome::LinkDown)]);
}

#[test]
fn settings_that_cannot_be_used_are_told_as_a_broken_link() {
    let mut hub = Hub::new(&[link("lb", &["b.example"], r#"{"prot":5061}"#)]);
    let Some(Health::Broken { why }) = hub.health() else { panic!() };
    assert!(why.contains("unknown field `prot`"), "{why}");
    hub.deliver(1, hello(1));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
}

#[test]
fn a_settled_link_costs_nothing_between_its_keep_alives() {
    let (mut hub, conn) = Hub::up(r#"{"host":"sip.b.example","options_interval":3600}"#);
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, _) = hub.one_submitted();
    hub.store(token, Ok(()));
    hub.seconds(40);
    let next = hub.adapter.deadline().unwrap();
    assert!(next.duration_since(hub.now.instant) > Duration::from_secs(50));
    let mut hub = Hub::new(&[link("lb", &["b.example"], NEVER)]);
    hub.seconds(1);
    assert_eq!(hub.adapter.deadline(), None);
}

#[test]
fn abuse_28_no_bytes_make_it_panic() {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let (mut hub, conn) = Hub::up(LB_UDP);
    let message =
        Sip { transport: "UDP", ..Sip::message(1, "hi") }.more("Subject: x\r\nDate: now\r\nContent-Language: de\r\n").bytes();
    let random = BuildHasherDefault::<DefaultHasher>::default();
    for round in 0..20_000u64 {
        let mut bytes = message.clone();
        for change in 0..3u64 {
            let number = usize::try_from(random.hash_one((round, change)) >> 1).unwrap();
            let place = number % bytes.len();
            match number % 3 {
                0 => bytes[place] = u8::try_from(number % 251).unwrap(),
                1 => drop(bytes.remove(place)),
                _ => bytes.insert(place, b"\r\n;<>@:%\0\xff"[number % 10]),
            }
        }
        hub.receive(conn, bytes);
        hub.sends.clear();
    }
}
