//! Reports of what became of a message after its answer (`application/ms-imdn+xml`), both ways.

use crate::common::alice::{Alice, SDP};
use crate::common::*;
use interchange_adapter::ConnId;
use interchange_model::{Body, Envelope, Failure, Outcome, Receipt, ReceiptKind, Refusal, Text, Wants};

const BOB: &str = "sip:bob@fabrikam.example";
const JSON: &str = r#"{"edge":"sip.contoso.example","listed":true,"reports":true}"#;
const MEDIA: &str = "application/ms-imdn+xml";

/// Alice has a session with Bob; her client takes reports.
fn session(hub: &mut Hub, edge: ConnId) -> Alice {
    let sdp = SDP.replace("image/gif", MEDIA);
    let mut alice = Alice::calls(BOB, "c1");
    hub.receive(edge, alice.says("INVITE", "", "application/sdp", &sdp));
    let answer = hub.one(edge);
    assert!(answer.body.contains(MEDIA));
    alice.hears(&answer);
    hub.receive(edge, alice.says("ACK", "", "", ""));
    alice
}

fn report(name: &str, uri: &str, status: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><imdn><message-id>{name}</message-id><recipient uri=\"{uri}\"><status>{status}</status></recipient></imdn>"
    )
}

/// A message of Bob's that wants a receipt, and was taken under a name.
fn taken(hub: &mut Hub, own: ConnId, number: u64, name: &str) {
    let wants = Wants { delivered: true, displayed: false };
    let body = Body::Text(Text { plain: "did you get it".into(), wants, ..Text::default() });
    hub.deliver(number, Envelope { body, native_id: Some("m1".into()), ..hello(number) });
    let message = hub.one(own);
    hub.receive(own, message.answer(200, &format!("Message-Id: {name}\r\n")));
    assert_eq!(hub.settled(), [(number, Outcome::Delivered)]);
    assert!(hub.submitted().is_empty(), "whether it has arrived is told later");
}

#[test]
fn a_message_that_somebody_has_taken_has_arrived_or_failed_when_the_report_says_so() {
    for (method, status) in
        [("MESSAGE", "200"), ("NOTIFY", "200"), ("BENOTIFY", "200"), ("MESSAGE", "404"), ("BENOTIFY", ""), ("NOTIFY", "480 gone")]
    {
        let (mut hub, own, edge) = Hub::up(EDGE);
        let mut alice = session(&mut hub, edge);
        taken(&mut hub, own, 1, "n-17");
        hub.receive(edge, alice.says(method, "", MEDIA, &report("n-17", "sip:alice@contoso.example", status)));
        let answered: Vec<u16> = hub.wire(edge).iter().map(Wire::status).collect();
        assert_eq!(answered, if method == "BENOTIFY" { vec![] } else { vec![200] }, "{method}");
        let (_, told) = hub.one_submitted();
        assert_eq!((told.from.to_string(), told.to.to_string()), ("alice@contoso.example".into(), "bob@fabrikam.example".into()));
        match &told.body {
            Body::Receipt(Receipt { of, native_id, what: ReceiptKind::Delivered }) => {
                assert_eq!((status, *of, native_id.as_deref()), ("200", Some(hello(1).id), Some("m1")));
            }
            Body::Failure(Failure { of, native_id, why, .. }) => {
                assert_eq!((*of, native_id.as_deref()), (Some(hello(1).id), Some("m1")));
                let want = match status {
                    "404" => Refusal::NoSuchUser,
                    "" => Refusal::PeerFault,
                    _ => Refusal::Unavailable,
                };
                assert_eq!(*why, want);
            }
            other => panic!("{other:?}"),
        }
        // Once.
        hub.receive(edge, alice.says(method, "", MEDIA, &report("n-17", "sip:alice@contoso.example", status)));
        assert!(hub.submitted().is_empty());
    }
}

#[test]
fn abuse_6_a_report_speaks_of_its_sender_and_of_messages_to_them_alone() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge);
    taken(&mut hub, own, 1, "n-17");
    for (name, uri) in [("n-18", "sip:alice@contoso.example"), ("n-17", "sip:carol@contoso.example"), ("n-17", ""), ("", BOB)] {
        hub.receive(edge, alice.says("MESSAGE", "", MEDIA, &report(name, uri, "404")));
        assert_eq!(hub.one(edge).status(), 200, "nothing in it is for a person");
    }
    for body in ["<imdn/>", "<imdn", "x"] {
        hub.receive(edge, alice.says("MESSAGE", "", MEDIA, body));
        assert_eq!(hub.one(edge).status(), 200);
    }
    // Outside of her session, and by somebody else.
    let mut mallory = Alice { from: "sip:mallory@contoso.example", tag: "mallory", ..Alice::calls(BOB, "c9") };
    hub.receive(edge, mallory.says("MESSAGE", "", MEDIA, &report("n-17", "sip:mallory@contoso.example", "404")));
    assert_eq!(hub.one(edge).status(), 200);
    let mut ghost = Alice { their_tag: Some("ghost".into()), ..Alice::calls(BOB, "ghost") };
    hub.receive(edge, ghost.says("NOTIFY", "", MEDIA, &report("n-17", "sip:alice@contoso.example", "404")));
    assert_eq!(hub.one(edge).status(), 481);
    hub.receive(
        edge,
        alice
            .says("BENOTIFY", "", MEDIA, &report("n-17", "sip:alice@contoso.example", "404"))
            .replace("From: <sip:alice@contoso.example>", "From: <sip:alice@evil.example>"),
    );
    assert!(hub.wire(edge).is_empty() && hub.submitted().is_empty());
    // What was said of the message before has not used up its report.
    hub.receive(edge, alice.says("MESSAGE", "", MEDIA, &report("n-17", "sip:alice@contoso.example", "200")));
    assert!(matches!(&hub.one_submitted().1.body, Body::Receipt(_)));
}

/// Alice has written, and her client was told the name of the message.
fn written(hub: &mut Hub, edge: ConnId, alice: &mut Alice) -> std::sync::Arc<Envelope> {
    hub.receive(edge, alice.writes("did you get it"));
    let envelope = hub.store_one();
    let answer = hub.one(edge);
    assert_eq!((answer.status(), answer.header("Message-Id")), (200, envelope.id.to_string().as_str()));
    envelope
}

#[test]
fn a_client_that_takes_reports_is_told_by_one_what_became_of_a_message_after_its_answer() {
    let (mut hub, own, edge) = Hub::up(JSON);
    let mut alice = session(&mut hub, edge);
    let envelope = written(&mut hub, edge, &mut alice);
    assert!(matches!(&envelope.body, Body::Text(text) if text.wants.delivered));
    let receipt = Body::Receipt(Receipt { of: Some(envelope.id), native_id: None, what: ReceiptKind::Delivered });
    hub.deliver(1, Envelope { body: receipt, ..hello(1) });
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    let notify = hub.one(own);
    assert_eq!((notify.method(), notify.header("Call-ID"), notify.header("Content-Type")), ("NOTIFY", "c1", MEDIA));
    assert_eq!((notify.header("Event"), notify.header("Subscription-State")), ("ms-imdn", "active"));
    assert_eq!(notify.body, report(&envelope.id.to_string(), BOB, "200"));
    hub.receive(own, notify.answer(200, ""));

    let envelope = written(&mut hub, edge, &mut alice);
    let failure = Failure { of: Some(envelope.id), native_id: None, why: Refusal::NoSuchUser, detail: None };
    hub.deliver(2, Envelope { body: Body::Failure(failure), ..hello(2) });
    let notify = hub.one(own);
    assert_eq!((notify.method(), &notify.body), ("NOTIFY", &report(&envelope.id.to_string(), BOB, "404")));
    assert!(hub.settled().is_empty());
    hub.receive(own, notify.answer(200, ""));
    assert_eq!(hub.settled(), [(2, Outcome::Delivered)]);
    assert!(hub.wire(own).is_empty());
}

#[test]
fn a_client_that_does_not_want_it_so_is_told_by_a_message() {
    let (mut hub, own, edge) = Hub::up(JSON);
    let mut alice = session(&mut hub, edge);
    let envelope = written(&mut hub, edge, &mut alice);
    let failure = Failure { of: Some(envelope.id), native_id: None, why: Refusal::NoSuchUser, detail: None };
    hub.deliver(2, Envelope { body: Body::Failure(failure), ..hello(2) });
    let notify = hub.one(own);
    assert_eq!(notify.method(), "NOTIFY");
    hub.receive(own, notify.answer(489, ""));
    let notice = hub.one(own);
    assert!(notice.method() == "MESSAGE" && notice.body.contains("was not delivered"), "{notice:?}");
    hub.receive(own, notice.answer(200, ""));
    assert_eq!(hub.settled(), [(2, Outcome::Delivered)]);
}

#[test]
fn whoever_has_not_asked_for_reports_gets_none() {
    // The link does not say so, or the client does not.
    for (json, sdp) in [(EDGE, SDP.replace("image/gif", MEDIA)), (JSON, SDP.to_owned())] {
        let (mut hub, own, edge) = Hub::up(json);
        let mut alice = Alice::calls(BOB, "c1");
        hub.receive(edge, alice.says("INVITE", "", "application/sdp", &sdp));
        alice.hears(&hub.one(edge));
        hub.receive(edge, alice.says("ACK", "", "", ""));
        hub.receive(edge, alice.writes("x"));
        let envelope = hub.store_one();
        assert!(matches!(&envelope.body, Body::Text(text) if text.wants.is_nothing()));
        assert_eq!(hub.one(edge).find("Message-Id"), None);
        let receipt = Body::Receipt(Receipt { of: Some(envelope.id), native_id: None, what: ReceiptKind::Delivered });
        hub.deliver(1, Envelope { body: receipt, ..hello(1) });
        assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
        let failure = Failure { of: Some(envelope.id), native_id: None, why: Refusal::Expired, detail: None };
        hub.deliver(2, Envelope { body: Body::Failure(failure), ..hello(2) });
        assert_eq!(hub.one(own).method(), "MESSAGE");
    }
}
