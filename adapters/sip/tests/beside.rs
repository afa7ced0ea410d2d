//! What goes beside the words of a message: typing (RFC 3994), receipts (RFC 5438), and what SIP can only say in words.

use std::sync::Arc;

use crate::common::{Hub, LB, Sip, Wire, hello, words};
use interchange_adapter::Input;
use interchange_model::{
    Body, Down, Envelope, Failure, Outcome, Receipt, ReceiptKind, Refusal, Relation, SharedFile, Text, Typing, TypingState, Up,
    Wants,
};

const ALICE: &str = "alice@a.example";
const BOB: &str = "bob@b.example";
const IMDN: &str = r#"{"host":"sip.b.example","imdn":true}"#;

fn tell(hub: &mut Hub, state: TypingState) {
    let body = Body::Typing(Typing { state, conversation: None });
    let envelope = Arc::new(Envelope { body, ..crate::common::text(1, ALICE, BOB, "") });
    hub.input(Input::Broker(Down::Told { link: "lb".into(), envelope }));
}

/// Who types, as it was passed on.
fn passed_on(hub: &mut Hub) -> Vec<TypingState> {
    let mut told = Vec::new();
    hub.told.retain(|up| match up {
        Up::Tell { envelope, .. } => {
            let Body::Typing(typing) = &envelope.body else { panic!("{envelope:?}") };
            assert_eq!((envelope.from.to_string(), envelope.to.to_string()), (BOB.into(), ALICE.into()));
            told.push(typing.state);
            false
        }
        _ => true,
    });
    told
}

fn composing(number: u32, inside: &str) -> Vec<u8> {
    let body = format!("<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'>{inside}</isComposing>");
    Sip { media: "application/im-iscomposing+xml", ..Sip::message(number, &body) }.bytes()
}

#[test]
fn case_33_nobody_is_told_of_the_typing_of_strangers() {
    let (mut hub, conn) = Hub::up(LB);
    tell(&mut hub, TypingState::Composing);
    assert!(hub.wire(conn).is_empty());
    hub.take(conn, &Sip::message(1, "hi").bytes());
    tell(&mut hub, TypingState::Composing);
    let active = hub.one(conn);
    assert_eq!((active.method(), active.header("Content-Type")), ("MESSAGE", "application/im-iscomposing+xml"));
    assert!(active.body.contains("<state>active</state>") && active.body.contains("<refresh>60</refresh>"), "{}", active.body);
    hub.receive(conn, active.answer(200, ""));
    // Not again before it is over, and nothing that is no news.
    tell(&mut hub, TypingState::Composing);
    assert!(hub.wire(conn).is_empty());
    tell(&mut hub, TypingState::Paused);
    assert!(hub.one(conn).body.contains("<state>idle</state>"));
    tell(&mut hub, TypingState::Gone);
    assert!(hub.wire(conn).is_empty());
    // Words say it too.
    tell(&mut hub, TypingState::Composing);
    hub.wire(conn);
    hub.deliver(1, hello(1));
    hub.wire(conn);
    tell(&mut hub, TypingState::Active);
    assert!(hub.wire(conn).is_empty());
    // Nothing of it was settled, or told to anybody.
    assert!(hub.submitted().is_empty());
}

#[test]
fn case_34_who_does_not_take_it_is_not_told_for_a_day() {
    let (mut hub, conn) = Hub::up(LB);
    hub.take(conn, &Sip::message(1, "hi").bytes());
    tell(&mut hub, TypingState::Composing);
    let active = hub.one(conn);
    hub.receive(conn, active.answer(415, ""));
    tell(&mut hub, TypingState::Paused);
    tell(&mut hub, TypingState::Composing);
    assert!(hub.wire(conn).is_empty() && hub.submitted().is_empty() && hub.settled().is_empty());
}

#[test]
fn case_35_who_says_no_more_has_paused() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, composing(1, "<state>active</state>"));
    assert_eq!(hub.one(conn).status(), 200);
    assert_eq!(passed_on(&mut hub), [TypingState::Composing]);
    hub.seconds(119);
    assert!(passed_on(&mut hub).is_empty());
    hub.seconds(2);
    assert_eq!(passed_on(&mut hub), [TypingState::Paused]);
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, composing(2, "<state>active</state><refresh>60</refresh>"));
    hub.receive(conn, composing(3, "<state>idle</state>"));
    assert_eq!(passed_on(&mut hub), [TypingState::Composing, TypingState::Paused]);
    hub.seconds(65);
    assert!(passed_on(&mut hub).is_empty());
}

#[test]
fn case_36_what_is_malformed_is_told_and_goes_no_further() {
    let (mut hub, conn) = Hub::up(LB);
    hub.refuse(conn, &composing(1, ""), 400);
    assert!(passed_on(&mut hub).is_empty());
}

/// A text from Alice that wants receipts.
fn asking(number: u64) -> Envelope {
    let text = Text { plain: "hello".into(), wants: Wants { delivered: true, displayed: true }, ..Text::default() };
    Envelope {
        native_id: Some(format!("x{number}").into()),
        body: Body::Text(text),
        ..crate::common::text(number, ALICE, BOB, "")
    }
}

fn receipt(hub: &mut Hub) -> Option<(Receipt, String)> {
    let (_, envelope) = hub.submitted().pop()?;
    let Body::Receipt(receipt) = &envelope.body else { panic!("{envelope:?}") };
    Some((receipt.clone(), format!("{} to {}", envelope.from, envelope.to)))
}

#[test]
fn case_37_a_200_is_a_receipt_and_a_202_is_none() {
    for (status, expected) in [(200, true), (202, false), (404, false)] {
        let (mut hub, conn) = Hub::up(LB);
        let sent = asking(1);
        hub.deliver(1, sent.clone());
        let message = hub.one(conn);
        assert_eq!(message.header("Content-Type"), "text/plain;charset=UTF-8");
        hub.receive(conn, message.answer(status, ""));
        let want = Receipt { of: Some(sent.id), native_id: Some("x1".into()), what: ReceiptKind::Delivered };
        assert_eq!(receipt(&mut hub), expected.then(|| (want, format!("{BOB} to {ALICE}"))));
        let outcome = if status == 404 { Outcome::Refused(Refusal::NoSuchUser) } else { Outcome::Delivered };
        assert_eq!(hub.settled(), [(1, outcome)]);
    }
    // Who wants none gets none.
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, hello(1));
    let message = hub.one(conn);
    hub.receive(conn, message.answer(200, ""));
    assert!(hub.submitted().is_empty());
}

/// The Message-ID in the CPIM body of ours.
fn message_id(wire: &Wire) -> String {
    let line = wire.body.lines().find(|line| line.starts_with("imdn.Message-ID: ")).unwrap_or_else(|| panic!("{}", wire.body));
    line["imdn.Message-ID: ".len()..].trim().to_owned()
}

fn imdn(number: u32, id: &str, status: &str, from: &'static str) -> Vec<u8> {
    let what = if status == "displayed" { "display" } else { "delivery" };
    let document = format!(
        "<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>{id}</message-id><datetime>2026-01-01T00:00:00Z</datetime><{what}-notification><status><{status}/></status></{what}-notification></imdn>"
    );
    let inner = from.trim_matches(['<', '>']).replace("sip:", "im:");
    let body = format!(
        "From: <{inner}>\r\nTo: <im:alice@a.example>\r\nNS: i <urn:ietf:params:imdn>\r\ni.Message-ID: own\r\n\r\nContent-Type: message/imdn+xml\r\nContent-Disposition: notification\r\n\r\n{document}"
    );
    Sip { media: "message/cpim", from, ..Sip::message(number, &body) }.bytes()
}

#[test]
fn imdn_is_asked_for_where_the_link_has_it_and_only_it_is_the_receipt() {
    let (mut hub, conn) = Hub::up(IMDN);
    let sent = asking(1);
    hub.deliver(1, sent.clone());
    let message = hub.one(conn);
    assert_eq!(message.header("Content-Type"), "message/cpim");
    for part in [
        "From: <sip:alice@a.example>\r\nTo: <sip:bob@b.example>\r\nDateTime: ",
        "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: ",
        "imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n\r\nContent-Type: text/plain;charset=UTF-8\r\n\r\nhello",
    ] {
        assert!(message.body.contains(part), "{}", message.body);
    }
    hub.receive(conn, message.answer(200, ""));
    assert!(hub.submitted().is_empty());
    let id = message_id(&message);
    for (number, status, what) in [(1, "delivered", ReceiptKind::Delivered), (2, "displayed", ReceiptKind::Displayed)] {
        hub.receive(conn, imdn(number, &id, status, "<sip:bob@b.example>"));
        let (token, _) = match hub.told.last() {
            Some(Up::Submit { token, envelope, .. }) => (*token, envelope.clone()),
            other => panic!("{other:?}"),
        };
        let want = Receipt { of: Some(sent.id), native_id: Some("x1".into()), what };
        assert_eq!(receipt(&mut hub), Some((want, format!("{BOB} to {ALICE}"))));
        hub.store(token, Ok(()));
        assert_eq!(hub.one(conn).status(), 202);
    }
    // What came to nothing is a failure of the message.
    hub.receive(conn, imdn(3, &id, "failed", "<sip:bob@b.example>"));
    let (_, envelope) = hub.one_submitted();
    let failure = Failure { of: Some(sent.id), native_id: Some("x1".into()), why: Refusal::PeerFault, detail: None };
    assert_eq!(envelope.body, Body::Failure(failure));
}

#[test]
fn case_39_receipts_of_what_was_never_sent_are_taken_and_dropped() {
    let (mut hub, conn) = Hub::up(IMDN);
    hub.deliver(1, asking(1));
    let message = hub.one(conn);
    let id = message_id(&message);
    hub.receive(conn, message.answer(200, ""));
    // Another id; somebody to whom it was not sent.
    for (number, id, from) in [(1, "made-up", "<sip:bob@b.example>"), (2, id.as_str(), "<sip:eve@b.example>")] {
        hub.receive(conn, imdn(number, id, "delivered", from));
        assert_eq!(hub.one(conn).status(), 200);
        assert!(hub.submitted().is_empty());
    }
}

#[test]
fn case_38_bob_asks_and_is_told() {
    let (mut hub, conn) = Hub::up(LB);
    let body = "From: <sip:bob@b.example>\r\nTo: <sip:alice@a.example>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: abc&1\r\nimdn.Disposition-Notification: positive-delivery, display\r\n\r\nContent-Type: text/plain\r\n\r\nhi";
    let envelope = hub.take(conn, &Sip { media: "message/cpim", ..Sip::message(1, body) }.bytes());
    assert_eq!((words(&envelope), envelope.native_id.as_deref()), ("hi", Some("abc&1")));
    let Body::Text(text) = &envelope.body else { panic!() };
    assert_eq!(text.wants, Wants { delivered: true, displayed: true });
    let receipt = Receipt { of: Some(envelope.id), native_id: envelope.native_id.clone(), what: ReceiptKind::Displayed };
    let answer = Envelope {
        id: interchange_model::MessageId(77),
        origin: "la".into(),
        body: Body::Receipt(receipt),
        ..crate::common::text(2, ALICE, BOB, "")
    };
    hub.deliver(1, answer.clone());
    let message = hub.one(conn);
    assert_eq!(message.header("Content-Type"), "message/cpim");
    for part in [
        "Content-Type: message/imdn+xml",
        "Content-Disposition: notification",
        "<message-id>abc&amp;1</message-id>",
        "<display-notification><status><displayed/></status></display-notification>",
    ] {
        assert!(message.body.contains(part), "{}", message.body);
    }
    // A receipt has no receipt and no failure.
    hub.receive(conn, message.answer(415, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    // Of a message that nobody here sent: nothing to say.
    let unknown = Receipt { of: None, native_id: Some("abc&1".into()), what: ReceiptKind::Delivered };
    hub.deliver(2, Envelope { body: Body::Receipt(unknown), ..answer });
    assert!(hub.wire(conn).is_empty());
    assert_eq!(hub.settled(), [(2, Outcome::Delivered)]);
}

#[test]
fn case_68_bob_asks_to_be_told_of_a_failure_and_is() {
    let asking = |asked: &str, id: &str| {
        format!(
            "From: <sip:bob@b.example>\r\nTo: <sip:alice@a.example>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {id}\r\nimdn.Disposition-Notification: {asked}\r\n\r\nContent-Type: text/plain\r\n\r\nhi"
        )
    };
    let (mut hub, conn) = Hub::up(LB);
    for (number, asked, id, wanted) in [
        (1, "positive-delivery, negative-delivery", "abc1", true),
        (2, "negative-delivery", "!abc", true),
        (3, "positive-delivery", "abc3", false),
        (4, "display", "=abc", false),
    ] {
        let envelope = hub.take(conn, &Sip { media: "message/cpim", ..Sip::message(number, &asking(asked, id)) }.bytes());
        // Much later, perhaps in another process: all that is known is in the failure.
        hub.deliver(
            number.into(),
            envelope
                .failure(interchange_model::MessageId(70 + u128::from(number)), Refusal::NoSuchUser, crate::common::start().wall)
                .unwrap(),
        );
        let told = hub.one(conn);
        hub.receive(conn, told.answer(200, ""));
        assert_eq!(hub.settled().len(), 1);
        if wanted {
            assert_eq!(told.header("Content-Type"), "message/cpim");
            assert!(told.body.contains(&format!("<message-id>{id}</message-id>")), "{}", told.body);
            assert!(
                told.body.contains("<delivery-notification><status><failed/></status></delivery-notification>"),
                "{}",
                told.body
            );
            assert!(!told.body.contains("was not delivered"));
        } else {
            assert!(told.body.contains("was not delivered. The recipient's server knows no such user."), "{}", told.body);
        }
    }
    // What it is called comes back in a receipt as it was.
    let envelope = hub.take(
        conn,
        &Sip { media: "message/cpim", ..Sip::message(9, &asking("positive-delivery, negative-delivery", "!x")) }.bytes(),
    );
    let receipt = Receipt { of: Some(envelope.id), native_id: envelope.native_id.clone(), what: ReceiptKind::Delivered };
    hub.deliver(9, envelope.answer(interchange_model::MessageId(99), Body::Receipt(receipt), crate::common::start().wall));
    assert!(hub.one(conn).body.contains("<message-id>!x</message-id>"));
}

#[test]
fn case_28_to_30_what_sip_has_no_header_for_is_said_in_words() {
    let said = |text: Text| {
        let (mut hub, conn) = Hub::up(LB);
        hub.deliver(1, Envelope { body: Body::Text(text), ..crate::common::text(1, ALICE, BOB, "") });
        let sent = hub.wire(conn).pop().map(|wire| wire.body);
        (sent, hub.settled().pop())
    };
    let plain = |words: &str| Text { plain: words.into(), ..Text::default() };
    let file = |url: &str| SharedFile { url: url.into(), description: None };
    let url = "https://files.a.example/x.png";
    for (text, want) in [
        (Text { relation: Some(Relation::Correction), ..plain("new text") }, "* new text"),
        (Text { relation: Some(Relation::Reply), ..plain("> old\nnew") }, "> old\r\nnew"),
        (Text { relation: Some(Relation::Reaction(vec!["👋".into(), "🐢".into()])), ..plain("") }, "reacted with 👋 🐢"),
        (Text { relation: Some(Relation::Retraction), ..plain("took it back") }, "took it back"),
        (Text { files: vec![file(url)], ..plain(url) }, url),
        (Text { files: vec![file(url)], ..plain("look") }, "look\r\nhttps://files.a.example/x.png"),
        (Text { files: vec![file(url)], ..plain("") }, url),
        // Case 27: the notice beside what is encrypted.
        (Text { encrypted: true, ..plain("This message is encrypted.") }, "This message is encrypted."),
    ] {
        assert_eq!(said(text), (Some(want.to_owned()), None));
    }
    // Without a word there is nothing to send, and of what is encrypted the sender is told.
    assert_eq!(said(Text { relation: Some(Relation::Retraction), ..plain("") }), (None, Some((1, Outcome::Delivered))));
    assert_eq!(said(Text { encrypted: true, ..plain("") }), (None, Some((1, Outcome::Refused(Refusal::Unsupported)))));
}
