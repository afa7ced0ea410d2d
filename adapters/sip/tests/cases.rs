//! Cases of the interworking and security documents that no other file here is about.

use crate::common::{Hub, LB, Sip, hello};
use interchange_model::{Body, Device, DisplayName, Envelope, Refusal, Text};

#[test]
fn case_10_a_device_that_the_hub_never_gave_out_is_left_out() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, Envelope { to_device: Device::new("phone7"), ..hello(1) });
    let message = hub.one(conn);
    assert_eq!(message.start, "MESSAGE sip:bob@b.example SIP/2.0");
    assert_eq!(message.header("To"), "<sip:bob@b.example>");
}

#[test]
fn case_12_a_domain_in_ascii_is_written_and_read() {
    let links = [crate::common::link("lb", &["bücher.example"], LB)];
    let mut hub = Hub::new(&links);
    let conn = hub.open_dial("xn--bcher-kva.example", crate::common::proof("xn--bcher-kva.example"));
    let options = hub.one(conn);
    hub.receive(conn, options.answer(200, ""));
    hub.told.clear();
    hub.deliver(1, crate::common::text(1, "alice@a.example", "bob@bücher.example", "hi"));
    let message = hub.one(conn);
    assert_eq!(message.start, "MESSAGE sip:bob@xn--bcher-kva.example SIP/2.0");
    let back = hub.take(conn, &Sip { from: "<sip:bob@XN--Bcher-kva.example>", ..Sip::message(1, "hi") }.bytes());
    assert_eq!(back.from.to_string(), "bob@xn--bcher-kva.example");
}

/// What each fault of a mandatory header is answered by, over a connection that goes on: the framing is sound.
#[test]
fn abuse_19_mandatory_headers_that_are_missing_repeated_or_contradict_one_another() {
    let (mut hub, conn) = Hub::up(LB);
    for (number, (from, to)) in (1..).zip([
        ("From: <sip:bob@b.example>;tag=bobtag\r\n", ""),
        ("From: ", "From: <sip:carol@b.example>;tag=1\r\nFrom: "),
        ("From: ", "f: <sip:bob@b.example>;tag=bobtag\r\nFrom: "),
        ("To: <sip:alice@a.example>\r\n", ""),
        ("To: ", "To: <sip:eve@a.example>\r\nt: "),
        ("Call-ID: ", "Call-ID: other@phone\r\nCall-ID: "),
        ("CSeq: 1 MESSAGE\r\n", ""),
        ("CSeq: 1 MESSAGE", "CSeq: 1 INVITE"),
        ("CSeq: 1 MESSAGE", "CSeq: MESSAGE"),
        ("CSeq: 1 MESSAGE", "CSeq: 2147483648 MESSAGE"),
        ("CSeq: 1 MESSAGE", "CSeq: 99999999999999999999999 MESSAGE"),
        ("CSeq: 1 MESSAGE", "CSeq: -1 MESSAGE"),
        ("CSeq: ", "CSeq: 2 MESSAGE\r\nCSeq: "),
        ("Max-Forwards: 68", "Max-Forwards: 68\r\nMax-Forwards: 1"),
        ("Max-Forwards: 68", "Max-Forwards: many"),
        ("Content-Type: text/plain", "Content-Type: text/plain\r\nc: text/html"),
    ]) {
        let sound = String::from_utf8(Sip::message(number, "hi").bytes()).unwrap();
        let bad = sound.replacen(from, to, 1);
        assert_ne!(bad, sound);
        let answer = hub.refuse(conn, bad.as_bytes(), 400);
        assert!(answer.find("Via").is_some(), "{answer:?}");
    }
    // Without a Call-ID, and without a Via, there is nothing that an answer would find its way by.
    let sound = String::from_utf8(Sip::message(90, "hi").bytes()).unwrap();
    hub.refuse(conn, sound.replacen("Call-ID: call90@phone\r\n", "", 1).as_bytes(), 400);
    hub.receive(conn, sound.replacen("Via: SIP/2.0/TLS sip.b.example;branch=z9hG4bKpeer90\r\n", "", 1));
    assert!(hub.wire(conn).is_empty() && hub.submitted().is_empty());
    // The largest number that there is, and the connection as good as new.
    let last = Sip { cseq: 2_147_483_647, ..Sip::message(91, "hi") };
    hub.take(conn, &last.bytes());
    assert!(hub.closed.is_empty());
}

#[test]
fn abuse_20_what_breaks_a_line_is_refused_and_never_written_again() {
    let (mut hub, conn) = Hub::up(LB);
    for (number, more) in (1..).zip(["No colon here\r\n", "X: a\rVia: evil\r\n", "X: a\0b\r\n", "X\0: a\r\n"]) {
        hub.refuse(conn, &Sip::message(number, "hi").more(more).bytes(), 400);
    }
    let folded = Sip::message(50, "hi").more("Subject: lunch\r\n  at\r\n\tnoon\r\n");
    let envelope = hub.take(conn, &folded.bytes());
    let Body::Text(text) = &envelope.body else { panic!() };
    assert_eq!(text.subject.as_ref().map(|subject| subject.as_str()), Some("lunch at noon"));
    // What goes out is written anew: none of the peer's own header text is in it.
    let mut back = hello(60);
    back.body = envelope.body.clone();
    hub.deliver(1, back);
    assert_eq!(hub.one(conn).header("Subject"), "lunch at noon");
}

#[test]
fn abuse_32_a_name_is_carried_without_what_deceives() {
    let (mut hub, conn) = Hub::up(LB);
    for (number, (from, want)) in (1..).zip([
        ("Bob <sip:bob@b.example>", Some("Bob")),
        (r#""Bob \"the\" Builder" <sip:bob@b.example>"#, Some("Bob \"the\" Builder")),
        ("\"alice@a.example\u{202e}\u{200b}\" <sip:bob@b.example>", Some("alicea.example")),
        ("\"\u{200b}\" <sip:bob@b.example>", None),
        ("<sip:bob@b.example>", None),
        ("sip:bob@b.example", None),
    ]) {
        let envelope = hub.take(conn, &Sip { from, ..Sip::message(number, "hi") }.bytes());
        let Body::Text(text) = &envelope.body else { panic!() };
        assert_eq!(text.display_name.as_ref().map(DisplayName::as_str), want, "{from}");
    }
    // And back, in quotes, whatever is in it.
    let name = DisplayName::new("Alice \"<sip:x>\" \\, 山田;tag=1");
    let body = Body::Text(Text { plain: "hi".into(), display_name: name.clone(), ..Text::default() });
    hub.deliver(1, Envelope { body, ..hello(70) });
    let message = hub.one(conn);
    let from = message.header("From");
    assert!(from.starts_with(r#""Alice \"<sip:x>\" \\, 山田;tag=1" <sip:alice@a.example>;tag="#), "{from}");
}

#[test]
fn abuse_25_whoever_sends_too_much_is_told_when_to_try_again_and_the_server_goes_on() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, _) = hub.one_submitted();
    hub.store(token, Err(Refusal::RateLimited));
    let answer = hub.one(conn);
    // 503 would be about the whole server (RFC 3261 §21.5.4).
    assert_eq!((answer.status(), answer.find("Retry-After")), (480, Some("10")));
    // The same message under the next CSeq is a new one (RFC 3261 §8.1.3.5).
    hub.take(conn, &Sip { cseq: 2, branch: "z9hG4bKagain".into(), ..Sip::message(1, "hi") }.bytes());
}
