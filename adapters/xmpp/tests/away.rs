//! Peers that are gone, do not answer, or show what the link does not take: what goes back, what is tried again and when.

use std::time::Duration;

use interchange_adapter::CloseReason;
use interchange_model::{Health, Outcome, Refusal, Up};

use crate::common::*;
use crate::outbound::hub;

#[test]
fn a_link_that_goes_away_takes_nothing_with_it_and_comes_back() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    hub.deliver("acme", 2, numbered(2));
    hub.deliver("acme", 3, text("carol@c.example", "alice@a.example", "x"));
    hub.told();
    hub.lost(conn, CloseReason::Broken, "the connection broke");
    let told = hub.told();
    let [Up::Settle { .. }, Up::Settle { .. }, Up::Settle { .. }, Up::Health { health: Health::Retrying { why }, .. }] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    assert!(why.contains("a.example") && why.contains("the connection broke"), "{why}");
    hub.told = told;
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown), (2, Outcome::LinkDown), (3, Outcome::LinkDown)]);
    hub.told();
    // What the broker had already handed over goes back at once.
    hub.deliver("acme", 4, numbered(4));
    assert_eq!(hub.settled(), [(4, Outcome::LinkDown)]);
    hub.dialled();
    // After about a second the same pair is tried, and only an answered ping makes the link up.
    hub.after(Duration::from_millis(1_201));
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    assert!(heard.starts_with("<iq ") && hub.health("acme").is_none(), "{heard}");
    let inbound = hub.authenticated("a.example", "b.example");
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.health("acme"), Some(Health::Up));
    hub.deliver("acme", 5, numbered(5));
    assert!(hub.heard(conn).contains("words 5"));
}

#[test]
fn a_ping_that_is_not_answered_brings_the_link_down() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    hub.seconds(29);
    assert_eq!(hub.settled(), []);
    hub.seconds(1);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    assert!(hub.heard(conn).ends_with("</stream:stream>"));
    assert_eq!(hub.closed(conn), Some(CloseReason::TimedOut));
    let Some(Health::Retrying { why }) = hub.health("acme") else { panic!() };
    assert!(why.contains("did not answer a ping") && why.contains("way back"), "{why}");
}

#[test]
fn one_domain_without_a_way_back_does_not_stop_the_others_of_a_link() {
    // Alice's server answers what is for c.example, and has no way to b.example.
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    hub.answer_dial("b.example", "a.example");
    hub.seconds(20);
    hub.deliver("acme", 2, text("carol@c.example", "alice@a.example", "from c"));
    let conn = hub.answer_dial("c.example", "a.example");
    let inbound = hub.authenticated("a.example", "c.example");
    let heard = hub.heard(conn);
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.settled(), [(2, Outcome::Delivered)]);
    hub.told();
    hub.seconds(10);
    assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::TimedOut))]);
    hub.deliver("acme", 3, text("carol@c.example", "alice@a.example", "again from c"));
    let heard = hub.heard(conn);
    assert!(heard.contains("again from c"), "{heard}");
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.settled(), [(3, Outcome::Delivered)]);
    assert_eq!(hub.health("acme"), None);

    // It may have arrived, so it is not sent again before the peer has answered.
    hub.deliver("acme", 4, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    assert!(heard.contains("urn:xmpp:ping") && !heard.contains("<message"), "{heard}");
    hub.seconds(30);
    assert_eq!((hub.settled(), hub.health("acme")), (vec![(4, Outcome::Refused(Refusal::TimedOut))], None));
    hub.deliver("acme", 5, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    for id in 6..30 {
        hub.deliver("acme", id, numbered(1));
    }
    // A few wait for the answer; more would take the places of others.
    assert_eq!(hub.settled().len(), 17);
    let heard = hub.heard(conn);
    let inbound = hub.authenticated("a.example", "b.example");
    pong(&mut hub, inbound, &heard);
    let heard = hub.heard(conn);
    assert_eq!(heard.matches("<message").count(), 8, "{heard}");
}

#[test]
fn where_a_link_goes_down_for_one_domain_another_is_asked_and_brings_it_up() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, text("carol@c.example", "alice@a.example", "from c"));
    let well = hub.answer_dial("c.example", "a.example");
    let inbound = hub.authenticated("a.example", "c.example");
    let heard = hub.heard(well);
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    hub.seconds(1);
    hub.deliver("acme", 2, numbered(2));
    hub.answer_dial("b.example", "a.example");
    // Nobody has answered since the question was put: the whole server may be gone.
    hub.seconds(30);
    assert_eq!(hub.settled(), [(2, Outcome::LinkDown)]);
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { .. })));
    let heard = hub.heard(well);
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.health("acme"), Some(Health::Up));
    hub.deliver("acme", 3, numbered(2));
    hub.deliver("acme", 4, text("carol@c.example", "alice@a.example", "again from c"));
    assert!(hub.heard(well).contains("again from c"));
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    assert!(heard.contains("urn:xmpp:ping") && !heard.contains("<message"), "{heard}");
}

#[test]
fn attempts_are_made_each_second_and_later_after_a_thirtieth_of_the_outage() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let began = hub.now.instant;
    for _ in 0..400 {
        let (conn, _) = hub.dialled().expect("a dial");
        hub.lost(conn, CloseReason::Unreachable, "nobody listens");
        let before = hub.now.instant;
        while hub.out.is_empty() {
            let next = hub.adapter.deadline().expect("a deadline");
            hub.after(next - hub.now.instant);
        }
        let wait = (hub.now.instant - before).as_secs_f64();
        let want = ((before - began).as_secs_f64() / 30.0).clamp(1.0, 300.0);
        assert!((want * 0.8 - 0.01..=want * 1.21).contains(&wait), "{wait} s where {want} s was due");
    }
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
}

#[test]
fn a_peer_that_comes_by_itself_is_tried_at_once() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    for _ in 0..8 {
        let (conn, _) = hub.dialled().expect("a dial");
        hub.lost(conn, CloseReason::Unreachable, "nobody listens");
        let next = hub.adapter.deadline().unwrap();
        hub.after(next - hub.now.instant);
    }
    let (conn, _) = hub.dialled().expect("a dial");
    hub.lost(conn, CloseReason::Unreachable, "nobody listens");
    hub.authenticated("a.example", "b.example");
    hub.seconds(1);
    assert!(hub.dialled().is_some());
}

#[test]
fn an_answer_makes_the_next_failure_the_first_again() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    for _ in 0..5 {
        let (conn, _) = hub.dialled().unwrap();
        hub.lost(conn, CloseReason::Unreachable, "");
        hub.after(Duration::from_secs(40));
    }
    let conn = hub.answer_dial("b.example", "a.example");
    let inbound = hub.authenticated("a.example", "b.example");
    let heard = hub.heard(conn);
    pong(&mut hub, inbound, &heard);
    hub.deliver("acme", 2, numbered(2));
    hub.lost(conn, CloseReason::Broken, "");
    hub.after(Duration::from_millis(1_201));
    assert!(hub.dialled().is_some());
}

#[test]
fn a_wrong_certificate_waits_for_a_person_and_names_both_domains() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let (conn, _) = hub.dialled().unwrap();
    hub.connected(conn);
    hub.receive(conn, &answer_header("a.example", "b.example", "s1"));
    hub.receive(conn, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
    hub.receive(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    hub.secured(conn, certificate(&["other.example"], Ok(())));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    let Some(Health::Broken { why }) = hub.health("acme") else { panic!() };
    assert!(why.contains("a.example") && why.contains("other.example"), "{why}");
    hub.seconds(239);
    assert_eq!(hub.dialled(), None);
    hub.seconds(122);
    assert!(hub.dialled().is_some());
}

#[test]
fn abuse_10_a_server_without_tls_gets_nothing() {
    let mut hub = hub(r#"{"authentication":["external","dialback"]}"#);
    hub.deliver("acme", 1, numbered(1));
    let (conn, _) = hub.dialled().unwrap();
    hub.connected(conn);
    hub.heard(conn);
    hub.receive(conn, &answer_header("a.example", "b.example", "s1"));
    let heard = hub.say(
        conn,
        "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>",
    );
    assert_eq!(heard, "</stream:stream>");
    assert!(matches!(hub.health("acme"), Some(Health::Broken { why }) if why.contains("no TLS")));
}
