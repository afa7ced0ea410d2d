//! Questions whether a link works: asked by a ping, answered by what comes of it, and nobody else is disturbed.

mod common;

use common::*;
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

fn pong(hub: &mut Hub, inbound: interchange_adapter::ConnId, heard: &str) {
    let ping = &heard[heard.rfind("<iq ").unwrap_or_else(|| panic!("no ping in {heard}"))..];
    let (from, to, id) = (attribute(ping, "<iq", "from"), attribute(ping, "<iq", "to"), attribute(ping, "<iq", "id"));
    hub.receive(inbound, &format!("<iq from='{to}' to='{from}' type='result' id='{id}'/>"));
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
fn each_pair_has_its_own_answer_also_when_another_brings_the_link_down() {
    let mut hub = hub();
    check(&mut hub, "b.example");
    let first = hub.answer_dial("b.example", "a.example");
    hub.heard(first);
    hub.seconds(20);
    check(&mut hub, "c.example");
    let second = hub.answer_dial("c.example", "a.example");
    let heard = hub.heard(second);
    hub.deliver("acme", 1, text("carol@c.example", "alice@a.example", "hello"));
    // The first is not answered in time: the link is down, and what was under way goes back.
    hub.seconds(11);
    assert_eq!(hub.checked(), [("b.example".to_owned(), Err(Fault::NoWayBack))]);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    // The answer to the second still counts, and shows that the peer lives.
    let inbound = hub.authenticated("a.example", "c.example");
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.checked(), [("c.example".to_owned(), Ok(()))]);
    assert_eq!(hub.health("acme"), Some(Health::Up));
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
