//! Questions whether a link works: asked by a ping, answered by what comes of it, and nobody else is disturbed.

use crate::common::*;
use interchange_adapter::{ChainFault, CloseReason, Input};
use interchange_model::{Down, Fault, Health, Outcome};

fn hub() -> Hub {
    let mut hub = Hub::new(&[link("acme", &["a.example"], "{}")], &["b.example", "c.example"]);
    assert_eq!(hub.health("acme"), Some(Health::Up));
    hub
}

fn check(hub: &mut Hub, from: &str) {
    hub.input(Input::Broker(Down::Check { link: "acme".into(), from: domain(from), to: domain("a.example") }));
}

#[test]
fn an_idle_link_is_asked_by_a_ping_and_answers_over_its_own_stream() {
    let mut hub = hub();
    check(&mut hub, "b.example");
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    assert!(heard.contains("urn:xmpp:ping") && !heard.contains("<message"), "{heard}");
    assert_eq!(hub.checked(), []);
    let inbound = hub.authenticated("a.example", "b.example");
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.checked(), [("b.example".to_owned(), Ok(()))]);
    // And once more, over the stream that stands.
    check(&mut hub, "b.example");
    let heard = hub.heard(conn);
    assert!(hub.dialled().is_none());
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.checked(), [("b.example".to_owned(), Ok(()))]);
}

#[test]
fn what_fails_is_named() {
    // Nobody there.
    let mut gone = hub();
    check(&mut gone, "b.example");
    let (conn, _) = gone.dialled().expect("a dial");
    gone.lost(conn, CloseReason::Unreachable, "192.0.2.20:5269 refused");
    assert_eq!(gone.checked(), [("b.example".to_owned(), Err(Fault::PortClosed))]);
    assert!(matches!(gone.health("acme"), Some(Health::Retrying { .. })));
    // Asked again, it is tried at once: the pause is not waited for.
    check(&mut gone, "b.example");
    let (conn, _) = gone.dialled().expect("another dial");
    gone.lost(conn, CloseReason::CertificateRefused, "fatal alert: UnknownCA");
    assert_eq!(gone.checked(), [("b.example".to_owned(), Err(Fault::AuthenticationRefused))]);
    // A certificate whose time is over.
    let mut old = hub();
    check(&mut old, "b.example");
    let (conn, _) = old.dialled().expect("a dial");
    old.connected(conn);
    old.heard(conn);
    old.receive(conn, &answer_header("a.example", "b.example", "s1"));
    old.receive(conn, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
    old.receive(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    old.secured(conn, certificate(&["a.example"], Err(ChainFault::Expired)));
    assert_eq!(old.checked(), [("b.example".to_owned(), Err(Fault::CertificateExpired))]);
    // It takes everything, and nothing comes back.
    let mut mute = hub();
    check(&mut mute, "b.example");
    mute.answer_dial("b.example", "a.example");
    mute.seconds(31);
    assert_eq!(mute.checked(), [("b.example".to_owned(), Err(Fault::NoWayBack))]);
    // It does not serve the domain.
    let mut moved = hub();
    check(&mut moved, "b.example");
    let (conn, _) = moved.dialled().expect("a dial");
    moved.connected(conn);
    moved.receive(conn, &answer_header("a.example", "b.example", "s1"));
    moved.receive(conn, "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    assert_eq!(moved.checked(), [("b.example".to_owned(), Err(Fault::HostUnknown))]);
}

#[test]
fn what_comes_of_one_question_touches_neither_the_link_nor_another_pair() {
    let mut hub = hub();
    check(&mut hub, "b.example");
    let first = hub.answer_dial("b.example", "a.example");
    hub.heard(first);
    hub.seconds(20);
    check(&mut hub, "c.example");
    let second = hub.answer_dial("c.example", "a.example");
    let heard = hub.heard(second);
    hub.deliver("acme", 1, text("carol@c.example", "alice@a.example", "hello"));
    // The first is not answered in time: the peer knows no way to this domain. Nobody's words went that way.
    hub.seconds(11);
    assert_eq!(hub.checked(), [("b.example".to_owned(), Err(Fault::NoWayBack))]);
    assert_eq!((hub.settled(), hub.health("acme")), (vec![], None));
    let inbound = hub.authenticated("a.example", "c.example");
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.checked(), [("c.example".to_owned(), Ok(()))]);
    let heard = hub.heard(second);
    assert!(heard.contains("hello"), "{heard}");
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn a_link_that_a_question_found_away_is_up_when_the_server_answers_at_all() {
    let mut hub = hub();
    check(&mut hub, "b.example");
    let (conn, _) = hub.dialled().expect("a dial");
    hub.lost(conn, CloseReason::Unreachable, "192.0.2.20:5269 refused");
    assert_eq!(hub.checked(), [("b.example".to_owned(), Err(Fault::PortClosed))]);
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { .. })));
    // The server is back, and has no way to the domain of the question.
    hub.seconds(2);
    hub.answer_dial("b.example", "a.example");
    assert_eq!(hub.health("acme"), None);
    hub.seconds(31);
    assert_eq!(hub.health("acme"), Some(Health::Up));
    hub.deliver("acme", 1, text("carol@c.example", "alice@a.example", "hello"));
    let conn = hub.answer_dial("c.example", "a.example");
    assert!(hub.heard(conn).contains("hello"));
}

#[test]
fn a_question_about_what_the_hub_does_not_stand_for_is_answered_at_once() {
    let mut hub = hub();
    for (link, from, to) in [
        ("acme", "elsewhere.example", "a.example"),
        ("acme", "b.example", "elsewhere.example"),
        ("acme", "a.example", "a.example"),
        ("nothing", "b.example", "a.example"),
    ] {
        hub.input(Input::Broker(Down::Check { link: link.into(), from: domain(from), to: domain(to) }));
        assert_eq!(hub.checked(), [(from.to_owned(), Err(Fault::Settings))], "{link} {from} {to}");
    }
    assert!(hub.dialled().is_none());
}
