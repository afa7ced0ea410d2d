//! From a SIP server to the hub: what is taken, what is refused, and when the answer comes.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Hub, LB, LB_UDP, Sip, hello, link, proof, text, words};
use interchange_adapter::{CloseReason, Input, Transport};
use interchange_model::{DeliveryId, Down, Envelope, LinkId, MessageId, Outcome, Refusal};

fn failure(of: &Envelope, why: Refusal) -> Envelope {
    of.failure(MessageId(0x5555), why, crate::common::start().wall).unwrap()
}

#[test]
fn a_message_is_submitted_first_and_answered_when_it_is_stored_and_delivered() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, Sip::message(1, "hi\r\nthere").more("Subject: lunch\r\nContent-Language: cs\r\n").bytes());
    let (token, envelope) = hub.one_submitted();
    assert!(hub.wire(conn).is_empty());
    assert_eq!((envelope.from.to_string(), envelope.to.to_string()), ("bob@b.example".into(), "alice@a.example".into()));
    assert_eq!((words(&envelope), envelope.hops, &envelope.origin), ("hi\nthere", 67, &LinkId::from("lb")));
    hub.store(token, Ok(()));
    assert!(hub.wire(conn).is_empty());
    hub.input(Input::Broker(Down::Delivered { link: "lb".into(), id: envelope.id }));
    let answer = hub.one(conn);
    assert_eq!(answer.start, "SIP/2.0 200 OK");
    assert_eq!(answer.header("Via"), "SIP/2.0/TLS sip.b.example;branch=z9hG4bKpeer1;received=192.0.2.20");
    assert!(answer.header("To").starts_with("<sip:alice@a.example>;tag="));
    assert_eq!(answer.find("Contact"), None);
    assert_eq!(answer.header("Server"), "Interchange");
}

#[test]
fn of_many_repeats_the_newest_are_answered() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, envelope) = hub.one_submitted();
    // Its sender lost four connections meanwhile, and waits on the fifth only.
    for number in 2..=6 {
        let again = Sip { branch: format!("z9hG4bKagain{number}"), ..Sip::message(1, "hi") };
        hub.receive(conn, again.bytes());
    }
    hub.store(token, Ok(()));
    hub.input(Input::Broker(Down::Delivered { link: "lb".into(), id: envelope.id }));
    let answered: Vec<_> = hub.wire(conn).iter().map(|wire| wire.header("Via").to_owned()).collect();
    assert_eq!(answered.len(), 4, "{answered:?}");
    assert!(answered.iter().any(|via| via.contains("z9hG4bKagain6")), "{answered:?}");
}

#[test]
fn the_answer_is_202_at_the_end_of_the_wait() {
    let (mut hub, conn) = Hub::up(r#"{"host":"sip.b.example","answer_wait":1500}"#);
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, _) = hub.one_submitted();
    hub.pass(Duration::from_millis(700));
    hub.store(token, Ok(()));
    hub.pass(Duration::from_millis(1499));
    assert!(hub.wire(conn).is_empty());
    hub.pass(Duration::from_millis(1));
    assert_eq!(hub.one(conn).start, "SIP/2.0 202 Accepted");
    let (mut hub, conn) = Hub::up(r#"{"host":"sip.b.example","answer_wait":0}"#);
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, _) = hub.one_submitted();
    hub.store(token, Ok(()));
    assert_eq!(hub.one(conn).status(), 202);
}

#[test]
fn case_9_case_11_every_refusal_of_the_broker_is_answered_at_once() {
    for (why, status, retry_after) in [
        (Refusal::UnknownDomain, 404, None),
        (Refusal::NotAllowed, 403, None),
        (Refusal::NotYours, 403, None),
        (Refusal::Loop, 482, None),
        (Refusal::Overloaded, 503, Some("10")),
        (Refusal::RateLimited, 480, Some("10")),
        (Refusal::TooLarge, 513, None),
    ] {
        let (mut hub, conn) = Hub::up(LB);
        hub.receive(conn, Sip::message(1, "hi").bytes());
        let (token, _) = hub.one_submitted();
        hub.store(token, Err(why));
        let answer = hub.one(conn);
        assert_eq!((answer.status(), answer.find("Retry-After")), (status, retry_after), "{why}");
        // It was not taken, so it may be tried again.
        let again = Sip { branch: "z9hG4bKagain".into(), ..Sip::message(1, "hi") };
        hub.receive(conn, again.bytes());
        hub.one_submitted();
    }
}

#[test]
fn case_9_abuse_1_a_foreign_sender_is_submitted_for_the_broker_to_refuse() {
    let (mut hub, conn) = Hub::up(LB);
    for (number, from) in [(1, "<sip:mallory@c.example>"), (2, "<sip:bob@sub.b.example>"), (3, "<sip:bob@evil-b.example>")] {
        // What Via, Contact and P-Asserted-Identity say does not count (abuse case 6).
        let spoof = Sip { from, ..Sip::message(number, "hi") };
        hub.receive(conn, spoof.more("P-Asserted-Identity: <sip:bob@b.example>\r\nContact: <sip:bob@b.example>\r\n").bytes());
        let (token, envelope) = hub.one_submitted();
        assert_eq!(envelope.from.to_string(), from.trim_matches(['<', '>']).trim_start_matches("sip:"));
        hub.store(token, Err(Refusal::NotYours));
        assert_eq!(hub.one(conn).status(), 403);
    }
}

#[test]
fn a_failure_within_the_wait_is_the_answer() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, envelope) = hub.one_submitted();
    hub.store(token, Ok(()));
    hub.deliver(9, failure(&envelope, Refusal::NoSuchUser));
    assert_eq!(hub.one(conn).status(), 404);
    assert_eq!(hub.settled(), [(9, Outcome::Delivered)]);
    hub.seconds(40);
    assert!(hub.wire(conn).iter().all(|wire| matches!(wire.method(), "PING")));
}

#[test]
fn a_failure_or_a_delivery_before_the_broker_said_stored_waits_for_that() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, envelope) = hub.one_submitted();
    hub.deliver(9, failure(&envelope, Refusal::Unavailable));
    assert_eq!(hub.settled(), [(9, Outcome::Delivered)]);
    assert!(hub.wire(conn).is_empty());
    hub.store(token, Ok(()));
    assert_eq!(hub.one(conn).status(), 480);
}

#[test]
fn case_68_a_failure_after_the_202_is_told_by_a_message() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, Sip::message(1, "my secret").bytes());
    let (token, envelope) = hub.one_submitted();
    hub.store(token, Ok(()));
    hub.seconds(1);
    assert_eq!(hub.one(conn).status(), 202);
    hub.deliver(9, failure(&envelope, Refusal::NoSuchUser));
    let notice = hub.one(conn);
    assert_eq!(notice.start, "MESSAGE sip:bob@b.example SIP/2.0");
    assert!(notice.header("From").starts_with("<sip:alice@a.example>;tag="));
    assert!(notice.body.ends_with("was not delivered. The recipient's server knows no such user."), "{}", notice.body);
    assert!(!notice.body.contains("secret"));
    assert!(hub.settled().is_empty());
    // Its own failure is told to nobody.
    hub.receive(conn, notice.answer(404, ""));
    assert_eq!(hub.settled(), [(9, Outcome::Delivered)]);
}

#[test]
fn notices_are_few_and_never_go_to_machines() {
    let (mut hub, conn) = Hub::up(LB);
    for number in 0..10 {
        hub.deliver(number, failure(&text(number, "bob@b.example", "alice@a.example", "x"), Refusal::TimedOut));
        for notice in hub.wire(conn) {
            hub.receive(conn, notice.answer(200, ""));
        }
    }
    assert_eq!(hub.sends.iter().filter(|(_, bytes)| bytes.starts_with(b"MESSAGE")).count(), 3);
    assert_eq!(hub.settled().len(), 10);
    hub.seconds(61);
    for options in hub.wire(conn) {
        hub.receive(conn, options.answer(200, ""));
    }
    hub.deliver(20, failure(&text(20, "bob@b.example", "alice@a.example", "x"), Refusal::TimedOut));
    let notice = hub.wire(conn).pop().unwrap();
    assert!(notice.body.ends_with(" 7 more messages were not delivered either."), "{}", notice.body);
    hub.deliver(21, failure(&text(21, "msilo@b.example", "alice@a.example", "x"), Refusal::TimedOut));
    assert_eq!(hub.settled(), [(21, Outcome::Delivered)]);
}

#[test]
fn case_2_to_6_addresses() {
    for (uri, to) in [
        ("sip:o'malley@a.example", "o'malley@a.example"),
        ("sip:a%5C27b@a.example", r"a\27b@a.example"),
        ("sip:tsch%C3%BCss@a.example", "tschüss@a.example"),
        ("sip:Alice@A.EXAMPLE;transport=tls", "alice@a.example"),
        ("sip:alice:secret@a.example", "alice@a.example"),
        ("sip:%61lice@a.example", "alice@a.example"),
    ] {
        let (mut hub, conn) = Hub::up(LB);
        let envelope = hub.take(conn, &Sip { uri, ..Sip::message(1, "hi") }.bytes());
        assert_eq!(envelope.to, interchange_model::Address::parse(to).unwrap(), "{uri}");
        assert!(!format!("{envelope:?}").contains("secret"));
    }
}

#[test]
fn case_4_case_7_case_8_abuse_5_addresses_that_are_refused() {
    let (mut hub, conn) = Hub::up(LB);
    for (number, (uri, status)) in [
        ("sip:%FC@a.example", 400),
        ("sip:a%00b@a.example", 400),
        ("sip:a%0D%0AVia:x@a.example", 400),
        ("sips:alice@a.example", 416),
        ("tel:+4930", 416),
        ("sip:a.example", 404),
        ("sip:alice@192.0.2.99", 404),
        ("sip:alice@a.example?Subject=x", 400),
        ("sip:a@b@a.example", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let number = u32::try_from(number).unwrap();
        let answer = hub.refuse(conn, &Sip { uri, ..Sip::message(number, "hi") }.bytes(), status);
        if uri.starts_with("sips") {
            assert_eq!(answer.start, "SIP/2.0 416 SIPS not available beyond this hub");
        }
    }
    let bad_from = Sip { from: "<sip:b.example>", ..Sip::message(20, "hi") };
    hub.refuse(conn, &bad_from.bytes(), 400);
    let address = Sip { from: "<sip:bob@192.0.2.20>", ..Sip::message(21, "hi") };
    hub.refuse(conn, &address.bytes(), 403);
}

#[test]
fn sip_10_19_a_quoted_comma_in_a_name() {
    let (mut hub, conn) = Hub::up(LB);
    let envelope = hub.take(conn, &Sip { from: r#""B, \"o\" <b> ; x" <sip:bob@b.example>"#, ..Sip::message(1, "hi") }.bytes());
    assert_eq!(envelope.from.to_string(), "bob@b.example");
}

#[test]
fn case_14_to_19_bodies_that_are_taken() {
    let multipart = "--x\r\nContent-Type: text/html\r\n\r\n<b>no</b>\r\n--x\r\nContent-Type: text/plain\r\n\r\nyes\r\n--x--";
    let cpim = "From: <im:bob@b.example>\r\nTo: <im:alice@a.example>\r\n\r\nContent-Type: text/plain\r\n\r\nyes";
    for (media, body, want) in [
        ("text/plain", "a\0b\u{8}c", "a\u{fffd}b\u{fffd}c"),
        ("TEXT/Plain ; charset=\"UTF-8\"", "é", "é"),
        ("text/html", "<b>x</b><script>y</script>", "x"),
        ("multipart/alternative;boundary=x", multipart, "yes"),
        ("message/cpim", cpim, "yes"),
        ("text/plain", "a\r\n\r\nb\nc", "a\n\nb\nc"),
    ] {
        let (mut hub, conn) = Hub::up(LB);
        let envelope = hub.take(conn, &Sip { media, ..Sip::message(1, body) }.bytes());
        assert_eq!(words(&envelope), want, "{media}");
    }
    let (mut hub, conn) = Hub::up(LB);
    let latin = Sip { media: "text/plain;charset=iso-8859-1", body: vec![0xe9], ..Sip::message(1, "") };
    assert_eq!(words(&hub.take(conn, &latin.bytes())), "é");
    // Compact forms.
    let compact = "MESSAGE sip:alice@a.example SIP/2.0\r\nv: SIP/2.0/TLS b.example;branch=z9hG4bKc\r\nf: <sip:bob@b.example>;tag=1\r\n\
        t: <sip:alice@a.example>\r\ni: c\r\nCSeq: 1 MESSAGE\r\nc: text/plain\r\nl: 2\r\n\r\nhi";
    assert_eq!(words(&hub.take(conn, compact.as_bytes())), "hi");
}

#[test]
fn case_15_to_19_abuse_16_bodies_that_are_refused() {
    let (mut hub, conn) = Hub::up(LB);
    let mut next = 0;
    let mut refuse = |media, body: &str, more: &str, status| {
        next += 1;
        hub.refuse(conn, &Sip { media, ..Sip::message(next, body) }.more(more).bytes(), status)
    };
    let unknown = refuse("text/plain;charset=klingon", "x", "", 415);
    assert!(unknown.header("Accept").starts_with("text/plain;charset=utf-8, "));
    assert!(refuse("application/pdf", "x", "", 415).header("Accept").starts_with("text/plain, text/html, "));
    refuse("application/im-iscomposing+xml", "<isComposing/>", "", 400);
    refuse("message/imdn+xml", "<imdn/>", "", 400);
    refuse("", "x", "", 400);
    assert_eq!(refuse("text/plain", "x", "Content-Encoding: gzip\r\n", 415).header("Accept-Encoding"), "identity, deflate");
    refuse("text/plain", "x", "Content-Encoding: deflate\r\n", 400);
    refuse("message/cpim", "From: <im:eve@b.example>\r\n\r\nContent-Type: text/plain\r\n\r\nx", "", 403);
    refuse("multipart/mixed;boundary=x", "--x\r\nContent-Type: a/b\r\n\r\nx\r\n--x--", "", 415);
    refuse("text/plain", &"x".repeat(65_537), "", 413);
    assert_eq!(hub.refused().len(), 10);
    // Nothing said is no fault.
    hub.refuse(conn, &Sip { media: "", ..Sip::message(50, "") }.bytes(), 200);
}

#[test]
fn case_70_76_77_78_checks_in_their_order() {
    let (mut hub, conn) = Hub::up(LB);
    let mut next = 100;
    let mut ask = |method: &str, uri, more: &str, status| {
        next += 1;
        let request = Sip { uri, ..Sip::message(next, "hi") }.more(more).method(method);
        hub.refuse(conn, &request, status)
    };
    let alice = "sip:alice@a.example";
    let allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY";
    for method in ["REGISTER", "PUBLISH", "REFER", "INFO", "UPDATE", "PRACK"] {
        assert_eq!(ask(method, alice, "", 405).header("Allow"), allow);
    }
    ask("NEWMETHOD", alice, "", 501);
    assert_eq!(ask("INVITE", alice, "", 415).header("Accept"), "application/sdp");
    ask("BYE", alice, "", 481);
    assert_eq!(ask("MESSAGE", alice, "Require: 100rel\r\n", 420).header("Unsupported"), "100rel");
    assert_eq!(ask("MESSAGE", alice, "Proxy-Require: foo\r\n", 420).header("Unsupported"), "foo");
    ask("MESSAGE", alice, "Via: SIP/2.0/TLS hub.example;branch=z9hG4bK-hub-1-2\r\n", 482);
    // A telephone call is no session of ours.
    let call = "v=0\r\no=bob 1 1 IN IP4 192.0.2.30\r\ns=-\r\nc=IN IP4 192.0.2.30\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    hub.refuse(conn, &Sip { media: "application/sdp", ..Sip::message(99, call) }.method("INVITE"), 488);
    let mut ask = |method: &str, uri, more: &str, status| {
        next += 1;
        let request = Sip { uri, ..Sip::message(next, "hi") }.more(more).method(method);
        hub.refuse(conn, &request, status)
    };
    // Method before URI, URI before extensions.
    ask("PUBLISH", "sips:alice@a.example", "", 405);
    ask("MESSAGE", "sips:alice@a.example", "Require: 100rel\r\n", 416);
    let zero = String::from_utf8(Sip::message(1, "hi").bytes()).unwrap().replace("Max-Forwards: 68", "Max-Forwards: 0");
    hub.refuse(conn, zero.as_bytes(), 483);
    let none = String::from_utf8(Sip::message(2, "hi").bytes()).unwrap().replace("Max-Forwards: 68\r\n", "");
    assert_eq!(hub.take(conn, none.as_bytes()).hops, 69);
    let tagged = String::from_utf8(Sip::message(3, "hi").bytes())
        .unwrap()
        .replace("To: <sip:alice@a.example>", "To: <sip:alice@a.example>;tag=x");
    hub.refuse(conn, tagged.as_bytes(), 481);
    let version = String::from_utf8(Sip::message(4, "hi").bytes()).unwrap().replace("example SIP/2.0\r\n", "example SIP/3.0\r\n");
    hub.refuse(conn, version.as_bytes(), 505);
    let cseq = String::from_utf8(Sip::message(5, "hi").bytes()).unwrap().replace("CSeq: 1 MESSAGE", "CSeq: 1 INVITE");
    hub.refuse(conn, cseq.as_bytes(), 400);
    let refused = hub.refused();
    assert!(refused.contains(&Refusal::Loop) && refused.contains(&Refusal::Unsupported), "{refused:?}");
}

#[test]
fn abuse_34_our_own_mark_is_a_loop_whatever_the_vias_say() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, hello(1));
    let ours = hub.one(conn).header("X-Hub-Trace").to_owned();
    hub.refuse(conn, &Sip::message(1, "hi").more(&format!("X-Hub-Trace: {ours}\r\n")).bytes(), 482);
    assert_eq!(hub.refused(), [Refusal::Loop]);
    hub.take(conn, &Sip::message(2, "hi").more("X-Hub-Trace: 1;hub=0011223344556677\r\n").bytes());
}

#[test]
fn sip_10_26_options_are_answered() {
    let (mut hub, conn) = Hub::up(LB);
    let options = Sip { uri: "sip:hub.example", from: "<sip:ping@localhost>", media: "", ..Sip::message(1, "") };
    let answer = hub.refuse(conn, &options.method("OPTIONS"), 200);
    assert_eq!(answer.header("Allow"), "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY");
    assert!(answer.header("Accept").contains("text/plain"));
}

#[test]
fn sip_10_27_cancel_of_a_message_changes_nothing() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, envelope) = hub.one_submitted();
    hub.receive(conn, Sip { media: "", ..Sip::message(1, "") }.method("CANCEL"));
    assert_eq!(hub.one(conn).header("CSeq"), "1 CANCEL");
    hub.store(token, Ok(()));
    hub.input(Input::Broker(Down::Delivered { link: "lb".into(), id: envelope.id }));
    assert_eq!(hub.one(conn).header("CSeq"), "1 MESSAGE");
    // 28: INVITE, and the ACK that its answer is given.
    hub.refuse(conn, &Sip { media: "application/sdp", ..Sip::message(2, "v=0") }.method("INVITE"), 488);
    hub.receive(conn, Sip { media: "", ..Sip::message(2, "") }.method("ACK"));
    assert!(hub.wire(conn).is_empty());
}

#[test]
fn sip_10_30_vias_are_echoed_byte_for_byte() {
    let (mut hub, conn) = Hub::up(LB);
    let via = "SIP/2.0/tcp 10.0.0.5:37598;ms-received-port=37598;ms-received-cid=100";
    hub.receive(conn, Sip { media: "", ..Sip::message(1, "") }.more(&format!("Via: {via}\r\n")).bytes());
    let answer = hub.one(conn);
    let vias: Vec<&str> = answer.headers.iter().filter(|(name, _)| name == "Via").map(|(_, value)| value.as_str()).collect();
    assert_eq!(vias[1], via);
}

#[test]
fn case_40_sip_10_4_and_5_a_retransmission_over_udp_gets_the_same_answer() {
    let (mut hub, conn) = Hub::up(LB_UDP);
    let message = Sip { transport: "UDP", ..Sip::message(1, "hi") }.bytes();
    hub.receive(conn, &message);
    let (token, envelope) = hub.one_submitted();
    hub.pass(Duration::from_millis(500));
    hub.receive(conn, &message);
    assert!(hub.submitted().is_empty() && hub.wire(conn).is_empty());
    hub.store(token, Ok(()));
    hub.input(Input::Broker(Down::Delivered { link: "lb".into(), id: envelope.id }));
    let answer = hub.one(conn);
    for _ in 0..3 {
        hub.seconds(2);
        hub.receive(conn, &message);
        assert_eq!(hub.wire(conn).last(), Some(&answer));
    }
    assert!(hub.submitted().is_empty());
}

#[test]
fn rfc_4320_trying_comes_late_on_udp_and_only_there() {
    let (mut hub, conn) = Hub::up(LB_UDP);
    hub.receive(conn, Sip { transport: "UDP", ..Sip::message(1, "hi") }.bytes());
    hub.pass(Duration::from_millis(3_499));
    assert!(hub.wire(conn).is_empty());
    hub.pass(Duration::from_millis(1));
    assert_eq!(hub.one(conn).status(), 100);
}

#[test]
fn case_41_the_same_message_in_a_new_transaction_is_delivered_once() {
    let (mut hub, conn) = Hub::up(LB);
    let other_way = |branch: &str| Sip { branch: branch.into(), ..Sip::message(1, "hi") }.bytes();
    hub.receive(conn, Sip::message(1, "hi").bytes());
    let (token, envelope) = hub.one_submitted();
    // While the first is open, on another connection even.
    let second = hub.accept_b();
    hub.receive(second, other_way("z9hG4bKsecond"));
    assert!(hub.submitted().is_empty());
    hub.store(token, Ok(()));
    hub.input(Input::Broker(Down::Delivered { link: "lb".into(), id: envelope.id }));
    assert_eq!((hub.one(conn).status(), hub.one(second).status()), (200, 200));
    // And after it, when its transaction is long gone.
    for options in hub.wire(conn) {
        hub.receive(conn, options.answer(200, ""));
    }
    hub.now = hub.now.after(Duration::from_secs(50));
    hub.receive(second, other_way("z9hG4bKthird"));
    assert_eq!(hub.one(second).status(), 200);
    assert!(hub.submitted().is_empty());
    // Another text under the same Call-ID and CSeq is another message; and after ten minutes everything is.
    hub.receive(second, Sip { branch: "z9hG4bKfourth".into(), ..Sip::message(1, "other") }.bytes());
    hub.one_submitted();
    hub.now = hub.now.after(Duration::from_secs(551));
    hub.receive(second, other_way("z9hG4bKfifth"));
    hub.one_submitted();
}

#[test]
fn the_answer_of_a_lost_connection_is_given_on_the_next() {
    let (mut hub, _) = Hub::up(LB);
    let first = hub.accept_b();
    hub.receive(first, Sip::message(1, "hi").bytes());
    let (token, _) = hub.one_submitted();
    hub.lose(first);
    hub.store(token, Ok(()));
    hub.seconds(1);
    let second = hub.accept_b();
    hub.receive(second, Sip::message(1, "hi").bytes());
    assert_eq!(hub.one(second).status(), 202);
    assert!(hub.submitted().is_empty());
}

#[test]
fn sip_10_1_requests_together_and_in_pieces() {
    let (mut hub, conn) = Hub::up(LB);
    let mut both = Sip::message(1, "one").bytes();
    both.extend(Sip::message(2, "two").bytes());
    hub.receive(conn, &both);
    assert_eq!(hub.submitted().iter().map(|(_, envelope)| words(envelope).to_owned()).collect::<Vec<_>>(), ["one", "two"]);
    let slow = Sip::message(3, "three").bytes();
    for piece in slow.chunks(slow.len() / 20 + 1) {
        hub.receive(conn, piece);
    }
    assert_eq!(words(&hub.one_submitted().1), "three");
}

#[test]
fn sip_10_2_keep_alives_between_messages_and_blank_lines_inside() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, b"\r\n\r\n");
    assert_eq!(hub.one(conn).start, "PONG");
    hub.receive(conn, Sip::message(1, "\r\n\r\nx\r\n\r\n").bytes());
    assert_eq!(words(&hub.one_submitted().1), "\n\nx\n\n");
    assert!(hub.wire(conn).is_empty());
}

#[test]
fn sip_10_3_abuse_18_a_content_length_that_lies_costs_the_connection() {
    let (mut hub, _) = Hub::up(LB);
    for length in ["1", "-1", "4294967296", "2\r\nContent-Length: 3", "99999999"] {
        let conn = hub.accept_b();
        let wrong = String::from_utf8(Sip::message(1, "hi there, more than one byte\r\n\r\n").bytes()).unwrap();
        let wrong = wrong.replace("Content-Length: 32", &format!("Content-Length: {length}"));
        hub.receive(conn, wrong);
        assert!(hub.closed.contains(&(conn, CloseReason::Malformed)), "{length}");
        // What comes after a body that was cut short has no Via that could be answered.
        let answer = hub.wire(conn).last().map(|answer| answer.status());
        assert!(if length == "1" { answer.is_none() } else { matches!(answer, Some(400 | 413)) }, "{length} {answer:?}");
        hub.told.clear();
    }
}

#[test]
fn many_waiting_messages_are_refused_and_not_hoarded() {
    let (mut hub, conn) = Hub::up(LB);
    for number in 0..2_000 {
        hub.receive(conn, Sip::message(number, "hi").bytes());
    }
    assert_eq!(hub.submitted().len(), 2_000);
    let answer = hub.refuse(conn, &Sip::message(2_000, "hi").bytes(), 503);
    assert_eq!(answer.header("Retry-After"), "10");
}

#[test]
fn while_the_hub_stops_stored_messages_are_answered_and_new_ones_refused() {
    let (mut hub, conn) = Hub::up(LB);
    hub.receive(conn, Sip::message(1, "one").bytes());
    hub.receive(conn, Sip::message(2, "two").bytes());
    let submitted = hub.submitted();
    hub.store(submitted[0].0, Ok(()));
    hub.input(Input::Stop);
    assert_eq!(hub.one(conn).status(), 202);
    hub.refuse(conn, &Sip::message(3, "three").bytes(), 503);
    assert!(hub.closed.is_empty());
    hub.store(submitted[1].0, Ok(()));
    assert_eq!(hub.one(conn).status(), 202);
    assert_eq!(hub.closed, [(conn, CloseReason::Shutdown)]);
    let late = Down::Deliver { link: "lb".into(), delivery: DeliveryId(1), envelope: Arc::new(hello(1)) };
    hub.input(Input::Broker(late));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
}

#[test]
fn two_links_on_one_connection_are_told_apart_by_the_sender() {
    let hosted = r#"{"host":"sip.provider.example","identity":"host"}"#;
    let mut hub = Hub::new(&[link("lb", &["b.example"], hosted), link("ld", &["d.example"], hosted)]);
    let conn = hub.accept(Transport::Tls, "192.0.2.20:4000", Some(proof("sip.provider.example")));
    for (number, from, origin) in
        [(1, "<sip:bob@b.example>", "lb"), (2, "<sip:dave@d.example>", "ld"), (3, "<sip:eve@e.example>", "lb")]
    {
        hub.receive(conn, Sip { from, ..Sip::message(number, "hi") }.bytes());
        assert_eq!(hub.one_submitted().1.origin.as_str(), origin);
    }
}

#[test]
fn abuse_26_what_is_compressed_is_unpacked_and_never_more_than_is_taken() {
    let (mut hub, conn) = Hub::up(LB);
    let packed = |number: u32, words: &str| Sip {
        body: miniz_oxide::deflate::compress_to_vec_zlib(words.as_bytes(), 9),
        ..Sip::message(number, "").more("Content-Encoding: deflate\r\n")
    };
    let envelope = hub.take(conn, &packed(1, "hello hello hello").bytes());
    assert_eq!(words(&envelope), "hello hello hello");
    hub.refuse(conn, &packed(2, &"x".repeat(50_000_000)).bytes(), 413);
}
