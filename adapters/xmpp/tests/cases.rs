//! Cases of the interworking and security documents that no other file here is about.

use std::sync::Arc;

use crate::common::*;
use interchange_adapter::{CloseReason, Input, TlsPeer};
use interchange_model::{
    Body, Detail, DevicePresence, DisplayName, Down, Envelope, Failure, Health, MessageId, Native, Outcome, PlatformName,
    Presence, PresenceState, Refusal, Text,
};

const DIALBACK: &str = r#"{"host":"xmpp.a.example","authentication":["external","dialback"]}"#;

fn hub(json: &str) -> Hub {
    Hub::new(&[link("acme", &["a.example"], json)], &["b.example", "xn--bcher-kva.example"])
}

fn words(number: u64) -> Envelope {
    Envelope { id: MessageId(number.into()), ..text("bob@b.example", "alice@a.example", &format!("words {number}")) }
}

#[test]
fn case_12_both_forms_of_a_domain_are_one_domain() {
    let mut hub = hub("{}");
    for form in ["bücher.example", "xn--bcher-kva.example", "Bücher.Example."] {
        let conn = hub.authenticated("a.example", form);
        hub.told();
        hub.receive(conn, &format!("<message from='alice@a.example' to='bob@{form}' type='chat'><body>hi</body></message>"));
        let came = hub.submissions();
        assert_eq!(came[0].1.to.to_string(), "bob@xn--bcher-kva.example", "{form}");
    }
}

#[test]
fn case_32_without_an_id_a_message_is_carried_and_its_error_has_none() {
    let mut hub = hub("{}");
    hub.durable = false;
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.receive(conn, "<message from='alice@a.example/w' to='bob@b.example' type='chat'><body>hi</body></message>");
    let (token, envelope) = hub.submissions().remove(0);
    assert_eq!(envelope.native_id, None);
    // Refused at once.
    hub.submitted(token, Err(Refusal::NotAllowed));
    let back = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(back);
    assert!(heard.starts_with("<message from='bob@b.example' to='alice@a.example/w' type='error'><error "), "{heard}");
    // Failed later.
    let failure = envelope.failure(MessageId(9), Refusal::NoSuchUser, start().wall).unwrap();
    hub.deliver("acme", 1, failure);
    let heard = hub.heard(back);
    assert!(heard.starts_with("<message from='bob@b.example' to='alice@a.example/w' type='error'><error "), "{heard}");
    assert!(heard.contains("<item-not-found "), "{heard}");
}

/// What the peer has not confirmed when its stream closes is not lost, and not failed: the broker has it again, in order, and
/// hands it over again under the same ids, by which a peer that has it may know it.
#[test]
fn case_48_what_was_not_confirmed_when_the_stream_closed_is_sent_again_under_its_id() {
    let mut hub = hub("{}");
    hub.authenticated("a.example", "b.example");
    for number in 1..=3 {
        hub.deliver("acme", number, words(number));
    }
    let conn = hub.answer_dial("b.example", "a.example");
    let first = hub.heard(conn);
    assert_eq!(first.matches("<message ").count(), 3);
    hub.health("acme");
    hub.receive(conn, "</stream:stream>");
    hub.lost(conn, CloseReason::PeerClosed, "the peer closed it");
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown), (2, Outcome::LinkDown), (3, Outcome::LinkDown)]);
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { .. })));
    let again = {
        hub.seconds(5);
        let conn = hub.answer_dial("b.example", "a.example");
        let inbound = hub.authenticated("a.example", "b.example");
        let probe = hub.heard(conn);
        pong(&mut hub, inbound, &probe);
        assert_eq!(hub.health("acme"), Some(Health::Up));
        for number in 1..=3 {
            hub.deliver("acme", number, words(number));
        }
        hub.heard(conn)
    };
    let ids = |heard: &str| -> Vec<String> {
        heard.split("<message ").skip(1).map(|rest| attribute(&format!("<message {rest}"), "<message", "id")).collect()
    };
    assert_eq!(ids(&again), ids(&first));
}

#[test]
fn case_25_one_error_for_the_senders_id_says_how_many_parts_arrived() {
    let mut hub = hub("{}");
    hub.authenticated("a.example", "b.example");
    let failure = |detail, why| Envelope {
        body: Body::Failure(Failure { of: Some(MessageId(9)), native_id: Some("m9".into()), why, detail: Some(detail) }),
        ..text("bob@b.example", "alice@a.example", "")
    };
    hub.deliver("acme", 1, failure(Detail::Parts { arrived: 1, of: 3 }, Refusal::NoSuchUser));
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    assert_eq!(heard.matches("<message ").count(), 1);
    assert!(heard.contains("id='m9'") && heard.contains("<item-not-found "), "{heard}");
    assert!(heard.contains("It was sent in 3 parts, of which 1 arrived.</text>"), "{heard}");
    // And the limit, where there is one.
    hub.deliver("acme", 2, failure(Detail::Most { bytes: 8_920 }, Refusal::TooLarge));
    let heard = hub.heard(conn);
    assert!(heard.contains("<policy-violation ") && heard.contains("At most 8920 bytes of text are taken."), "{heard}");
}

#[test]
fn case_61_whoever_is_on_the_telephone_is_not_to_be_disturbed() {
    let mut hub = hub("{}");
    let device = DevicePresence { note: Some("On the phone".into()), ..DevicePresence::new(None, PresenceState::InCall) };
    let envelope =
        Arc::new(Envelope { body: Body::Presence(Presence::of(device)), ..text("bob@b.example", "alice@a.example", "") });
    hub.authenticated("a.example", "b.example");
    hub.input(Input::Broker(Down::Told { link: "acme".into(), envelope }));
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    assert!(heard.contains("<show>dnd</show><status>On the phone</status>"), "{heard}");
}

/// A second server comes for a domain that has a live stream already: it must prove itself as the first did, by asking at the address that
/// is provisioned. Then both are heard, and what goes out stays where it is.
#[test]
fn case_74_dialback_for_a_domain_with_a_live_stream_is_verified_as_usual_and_then_trusted() {
    let mut hub = hub(DIALBACK);
    let first = hub.authenticated("a.example", "b.example");
    hub.deliver("acme", 1, words(1));
    let out = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(out);
    pong(&mut hub, first, &heard);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    let say = "<message from='alice@a.example' to='bob@b.example' type='chat'><body>x</body></message>";

    let (second, features) = hub.encrypted("a.example", "b.example", TlsPeer::default());
    let id = attribute(&features, "<stream:stream", "id");
    assert_eq!(hub.say(second, "<db:result from='a.example' to='b.example'>the-key</db:result>"), "");
    let (asked, target) = hub.dialled().expect("the hub asks, though it has a stream to that domain");
    assert!(format!("{target:?}").contains("xmpp.a.example"), "{target:?}");
    hub.connected(asked);
    hub.heard(asked);
    hub.receive(asked, &answer_header("a.example", "b.example", "s1"));
    hub.say(asked, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
    hub.receive(asked, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    hub.secured(asked, TlsPeer::default());
    hub.heard(asked);
    hub.receive(asked, &answer_header("a.example", "b.example", "s2"));
    hub.say(asked, "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>");
    hub.receive(asked, &format!("<db:verify from='a.example' to='b.example' id='{id}' type='valid'/>"));
    assert_eq!(hub.heard(second), "<db:result from='b.example' to='a.example' type='valid'/>");

    hub.told();
    hub.receive(second, say);
    assert_eq!(hub.submissions().len(), 1, "the newest is trusted");
    hub.receive(first, say);
    assert_eq!(hub.submissions().len(), 1, "and the older one, which has proved the same, as well");
    // Outgoing as provisioned: over the stream that was there.
    hub.deliver("acme", 2, words(2));
    assert!(hub.heard(out).contains("words 2"));
    assert_eq!(hub.dialled(), None);
}

#[test]
fn abuse_32_a_nickname_is_carried_without_what_deceives() {
    let nick = |text: &str| format!("<nick xmlns='http://jabber.org/protocol/nick'>{text}</nick>");
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    let long = "x".repeat(100);
    for (told, want) in [
        ("Alice &amp; Co", Some("Alice & Co")),
        ("\u{202e}bob@b.example\u{2066}", Some("bobb.example")),
        (&long, Some(&long[..64])),
        ("@", None),
    ] {
        let message =
            format!("<message from='alice@a.example' to='bob@b.example' type='chat'><body>hi</body>{}</message>", nick(told));
        hub.receive(conn, &message);
        let envelope = hub.submissions().remove(0).1;
        let Body::Text(text) = &envelope.body else { panic!() };
        assert_eq!(text.display_name.as_ref().map(DisplayName::as_str), want);
        // What goes to another XMPP server as it is has the same name.
        let native = envelope.native.as_ref().map(|native| native.payload.to_string()).unwrap_or_default();
        assert_eq!(native, want.map(|want| nick(&want.replace('&', "&amp;"))).unwrap_or_default());
    }
    // A name alone says nothing.
    hub.receive(conn, &format!("<message from='alice@a.example' to='bob@b.example' type='chat'>{}</message>", nick("A")));
    assert!(hub.submissions().is_empty());
    // From another platform.
    let name = DisplayName::new("Bob <b>");
    let body = Body::Text(Text { plain: "hi".into(), display_name: name, ..Text::default() });
    hub.deliver("acme", 1, Envelope { body, ..words(1) });
    let out = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(out);
    assert!(heard.contains(&nick("Bob &lt;b&gt;")), "{heard}");
    // From another hub by the bus, a native form that nobody cleaned.
    let native = Native { platform: PlatformName::from_static("xmpp"), payload: nick("a\u{202e}@b").into() };
    let stored = Envelope { native: Some(native), ..words(2) };
    hub.deliver("acme", 2, stored);
    let heard = hub.heard(out);
    assert!(heard.contains(&nick("ab")), "{heard}");
}

#[test]
fn abuse_25_case_72_whoever_sends_too_much_is_told_to_wait_and_whoever_repeats_it_is_told() {
    for (why, condition, kind) in
        [(Refusal::RateLimited, "resource-constraint", "wait"), (Refusal::Loop, "not-acceptable", "modify")]
    {
        let mut hub = hub("{}");
        hub.durable = false;
        let conn = hub.authenticated("a.example", "b.example");
        hub.told();
        hub.receive(conn, "<message from='alice@a.example' to='bob@b.example' id='m1' type='chat'><body>hi</body></message>");
        let (token, _) = hub.submissions().remove(0);
        hub.submitted(token, Err(why));
        let back = hub.answer_dial("b.example", "a.example");
        let heard = hub.heard(back);
        assert!(heard.contains(&format!(" id='m1' type='error'><error type='{kind}'><{condition} ")), "{heard}");
        // The stream goes on.
        assert_eq!(hub.closed(conn), None);
    }
}
