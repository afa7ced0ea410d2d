//! Answers on the streams that a partner opens (XEP-0288).

use crate::common::*;
use interchange_adapter::{CloseReason, ConnId, Transport};
use interchange_model::{Health, Outcome};

const BIDI: &str = r#"{"bidi":true}"#;
const ASKS: &str = "<bidi xmlns='urn:xmpp:bidi'/>";

fn hub(json: &str) -> Hub {
    let mut hub = Hub::new(&[link("acme", &["a.example", "sub.a.example"], json)], &["b.example", "c.example"]);
    assert_eq!(hub.health("acme"), Some(Health::Up));
    hub
}

fn stream(hub: &mut Hub, asks: bool) -> ConnId {
    opened(hub, asks).0
}

/// A partner's stream as far as EXTERNAL, which asks for both directions, or does not; and what was heard on it at once.
fn opened(hub: &mut Hub, asks: bool) -> (ConnId, String) {
    let (conn, features) = hub.encrypted("a.example", "b.example", proof("a.example"));
    assert!(features.contains("<bidi xmlns='urn:xmpp:features:bidi'/>"), "{features}");
    if asks {
        assert_eq!(hub.say(conn, ASKS), "");
    }
    hub.say(conn, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    let features = hub.say(conn, &header("a.example", "b.example"));
    assert!(features.contains("<sm xmlns='urn:xmpp:sm:3'/>"), "{features}");
    (conn, features)
}

#[test]
fn what_is_for_the_partner_goes_out_on_its_own_stream() {
    let mut hub = hub(BIDI);
    let conn = stream(&mut hub, true);
    hub.told();
    hub.deliver("acme", 1, numbered(1));
    assert_eq!(hub.dialled(), None);
    let heard = hub.heard(conn);
    assert!(heard.starts_with("<message from='bob@b.example' to='alice@a.example'") && heard.contains("words 1"), "{heard}");
    pong(&mut hub, conn, &heard);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    // Stanzas come in as on any stream, and are answered there.
    hub.receive(conn, "<message from='alice@a.example' to='bob@b.example' id='m1'><body>hi</body></message>");
    assert_eq!(hub.submissions().len(), 1);
    let answer = hub.say(conn, "<iq from='a.example' to='b.example' type='get' id='p1'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(answer, "<iq from='b.example' to='a.example' id='p1' type='result'/>");
}

#[test]
fn only_for_the_pair_that_was_proved() {
    let mut hub = hub(BIDI);
    let conn = stream(&mut hub, true);
    for envelope in [
        text("carol@c.example", "alice@a.example", "another of ours"),
        text("bob@b.example", "alice@sub.a.example", "another of theirs"),
    ] {
        hub.deliver("acme", 1, envelope);
        assert!(hub.dialled().is_some());
    }
    assert_eq!(hub.heard(conn), "");
}

#[test]
fn whoever_does_not_ask_or_may_not_is_dialled() {
    let mut asked = hub(BIDI);
    let conn = stream(&mut asked, false);
    asked.deliver("acme", 1, numbered(1));
    assert!(asked.dialled().is_some() && asked.heard(conn).is_empty());
    // Too late: it was authenticated for one direction.
    let mut late = hub(BIDI);
    let conn = stream(&mut late, false);
    let error = late.say(conn, ASKS);
    assert!(error.contains("<unsupported-stanza-type "), "{error}");
    // Not where the link does not have it, whatever the peer asks for.
    let mut off = hub("{}");
    let (conn, features) = off.encrypted("a.example", "b.example", proof("a.example"));
    assert!(!features.contains("bidi"), "{features}");
    off.say(conn, ASKS);
    off.say(conn, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    off.say(conn, &header("a.example", "b.example"));
    off.deliver("acme", 1, numbered(1));
    assert!(off.dialled().is_some() && off.heard(conn).is_empty());
    // Nor in the clear.
    let mut clear = hub(BIDI);
    let conn = clear.accept(Transport::Tcp);
    let features = clear.say(conn, &header("a.example", "b.example"));
    assert!(!features.contains("bidi"), "{features}");
}

#[test]
fn when_the_stream_is_gone_what_was_not_answered_goes_back() {
    let mut hub = hub(BIDI);
    let conn = stream(&mut hub, true);
    hub.deliver("acme", 1, numbered(1));
    hub.heard(conn);
    hub.told();
    hub.lost(conn, CloseReason::Broken, "reset");
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { why }) if why.contains("reset")));
    // It comes again, and that is how the link is up again: nobody was dialled.
    let (conn, heard) = opened(&mut hub, true);
    pong(&mut hub, conn, &heard);
    assert_eq!(hub.health("acme"), Some(Health::Up));
    assert_eq!(hub.dialled(), None);
}

#[test]
fn a_partner_that_cannot_be_reached_is_up_by_its_own_stream() {
    let mut hub = hub(BIDI);
    hub.deliver("acme", 1, numbered(1));
    let (dial, _) = hub.dialled().expect("a dial");
    let conn = stream(&mut hub, true);
    // The dial still goes on; it fails, and the stream that came meanwhile takes its place.
    hub.lost(dial, CloseReason::Unreachable, "no route");
    assert_eq!(hub.settled(), []);
    let heard = hub.heard(conn);
    assert!(heard.contains("words 1"), "{heard}");
    pong(&mut hub, conn, &heard);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn a_stream_that_does_not_answer_is_closed() {
    let mut hub = hub(BIDI);
    let conn = stream(&mut hub, true);
    hub.deliver("acme", 1, numbered(1));
    hub.heard(conn);
    hub.seconds(61);
    assert!(hub.heard(conn).contains("<connection-timeout "));
    assert_eq!(hub.closed(conn), Some(CloseReason::TimedOut));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
}
