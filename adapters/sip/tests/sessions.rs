//! Sessions: INVITE and MSRP, both ways, in virtual time (RFC 4975, RFC 6135, RFC 7573). The client's side is plain strings.

use crate::common::{Hub, LB, Sip, Wire, certificate, hello, proof, text, words};
use interchange_adapter::{CloseReason, ConnId, Input, Target, Transport, Via};
use interchange_model::{
    Body, Detail, Down, Envelope, MessageId, Outcome, Receipt, ReceiptKind, Refusal, Text, Typing, TypingState, Up,
};

const OFFERS: &str = r#"{"host":"sip.b.example","sessions":"offer"}"#;
const BOB: &str = "msrps://phone.b.example:4000/bobsession;tcp";

/// A description of Bob's client.
fn description(more: &str) -> String {
    format!(
        "v=0\r\no=bob 1 1 IN IP4 192.0.2.30\r\ns=-\r\nc=IN IP4 192.0.2.30\r\nt=0 0\r\nm=message 4000 TCP/TLS/MSRP *\r\n\
         a=accept-types:message/cpim text/plain application/im-iscomposing+xml\r\na=accept-wrapped-types:text/plain message/imdn+xml\r\n\
         a=path:{BOB}\r\n{more}"
    )
}

fn invite(number: u32, sdp: &str) -> Sip {
    let invite = Sip { media: "application/sdp", ..Sip::message(number, sdp) };
    invite.more("Contact: <sip:bob@phone.b.example;transport=tls>\r\n")
}

/// What follows in the dialog of an INVITE that was answered.
fn follow(number: u32, method: &str, cseq: u32, answer: &Wire, body: &str) -> Vec<u8> {
    let base = invite(number, body);
    let request = Sip { cseq, branch: format!("z9hG4bKf{number}{method}{cseq}"), ..base }.method(method);
    String::from_utf8(request)
        .unwrap()
        .replace("To: <sip:alice@a.example>\r\n", &format!("To: {}\r\n", answer.header("To")))
        .into_bytes()
}

fn path_of(sdp: &str) -> String {
    let path = sdp.lines().find_map(|line| line.strip_prefix("a=path:")).unwrap_or_else(|| panic!("{sdp}"));
    path.to_owned()
}

/// A chunk of Bob's.
fn send(transaction: &str, to: &str, id: &str, range: &str, more: &str, body: &str, flag: &str) -> String {
    format!(
        "MSRP {transaction} SEND\r\nTo-Path: {to}\r\nFrom-Path: {BOB}\r\nMessage-ID: {id}\r\nByte-Range: {range}\r\n{more}\r\n{body}\r\n-------{transaction}{flag}\r\n"
    )
}

fn plain(transaction: &str, to: &str, id: &str, body: &str) -> String {
    send(transaction, to, id, &format!("1-{0}/{0}", body.len()), "Content-Type: text/plain\r\n", body, "$")
}

fn bind(to: &str) -> String {
    format!("MSRP bind0001 SEND\r\nTo-Path: {to}\r\nFrom-Path: {BOB}\r\nMessage-ID: bind1\r\n-------bind0001$\r\n")
}

fn answer_to(transaction: &str, status: &str, to: &str) -> String {
    format!("MSRP {transaction} {status}\r\nTo-Path: {to}\r\nFrom-Path: {BOB}\r\n-------{transaction}$\r\n")
}

/// The status codes of what was sent, with the transactions.
fn statuses(raw: &str) -> Vec<(String, u16)> {
    let starts = raw.lines().filter_map(|line| line.strip_prefix("MSRP "));
    starts
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .collect()
}

/// The SEND requests of ours: transaction, Content-Type and body.
fn sends(raw: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut rest = raw;
    while let Some(at) = rest.find("MSRP ") {
        let transaction = rest[at + 5..].split(' ').next().unwrap().to_owned();
        let end = rest.find(&format!("-------{transaction}")).unwrap();
        let message = &rest[at..end];
        if message.lines().next().unwrap().ends_with(" SEND")
            && let Some((head, body)) = message.split_once("\r\n\r\n")
        {
            let media = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap().to_owned();
            found.push((transaction.clone(), media, body.trim_end_matches("\r\n").to_owned()));
        }
        rest = &rest[end + transaction.len() + 8..];
    }
    found
}

/// A session that Bob began, and that stands: SIP's connection, that of the session, our path, the answer to the INVITE.
fn session(hub: &mut Hub, sip: ConnId) -> (ConnId, String, Wire) {
    hub.receive(sip, invite(1, &description("a=setup:actpass\r\n")).method("INVITE"));
    let answer = hub.one(sip);
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(
        answer.body.contains("m=message 5061 TCP/TLS/MSRP *\r\n") && answer.body.contains("a=setup:passive\r\n"),
        "{}",
        answer.body
    );
    assert!(answer.header("Contact").starts_with("<sip:m-"), "{answer:?}");
    hub.receive(sip, follow(1, "ACK", 1, &answer, ""));
    let path = path_of(&answer.body);
    assert!(path.starts_with("msrps://hub.example:5061/"), "{path}");
    // Bob's own client comes, which has no certificate.
    let media = hub.accept(Transport::Tls, "192.0.2.30:4001", None);
    hub.receive(media, bind(&path));
    assert_eq!(statuses(&hub.raw(media)), [("bind0001".to_owned(), 200)]);
    (media, path, answer)
}

#[test]
fn words_of_a_session_are_stored_before_they_are_answered() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    hub.receive(media, plain("tx000001", &path, "m1", "hello\r\nAlice"));
    let (token, envelope) = hub.one_submitted();
    assert_eq!(
        (words(&envelope), envelope.from.to_string(), envelope.to.to_string()),
        ("hello\nAlice", "bob@b.example".into(), "alice@a.example".into())
    );
    let Body::Text(text) = &envelope.body else { panic!() };
    assert_eq!(text.conversation.as_ref().map(|name| name.len()), Some(32));
    assert!(hub.raw(media).is_empty(), "answered before it was stored");
    hub.store(token, Ok(()));
    assert_eq!(statuses(&hub.raw(media)), [("tx000001".to_owned(), 200)]);
    // Sent again over the same session it is not said twice.
    hub.receive(media, plain("tx000002", &path, "m1", "hello\r\nAlice"));
    assert!(hub.submitted().is_empty());
    assert_eq!(statuses(&hub.raw(media)), [("tx000002".to_owned(), 200)]);
}

#[test]
fn what_the_broker_refuses_is_refused_in_the_session() {
    for (why, status) in [
        (Refusal::UnknownDomain, 403),
        (Refusal::NotAllowed, 403),
        (Refusal::TooLarge, 413),
        (Refusal::Overloaded, 408),
        (Refusal::Unsupported, 415),
    ] {
        let (mut hub, sip) = Hub::up(LB);
        let (media, path, _) = session(&mut hub, sip);
        hub.receive(media, plain("tx000001", &path, "m1", "hello"));
        let (token, _) = hub.one_submitted();
        hub.store(token, Err(why));
        assert_eq!(statuses(&hub.raw(media)), [("tx000001".to_owned(), status)], "{why}");
    }
}

#[test]
fn a_long_text_comes_in_chunks_of_any_order_and_is_one_message() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    let whole: String = (0..100_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    let total = whole.len();
    let mut chunks: Vec<(usize, usize)> = (0..total).step_by(2_000).map(|start| (start, (start + 2_000).min(total))).collect();
    // Ten at a time are turned round: pieces wait for those before them.
    for group in chunks.chunks_mut(10) {
        group.reverse();
    }
    // The last of the message may come before others, and ends nothing then.
    for (count, (start, end)) in chunks.iter().enumerate() {
        let flag = if *end == total { "$" } else { "+" };
        let chunk = send(
            &format!("tx{count:06}"),
            &path,
            "m1",
            &format!("{}-*/{}", start + 1, if count == 0 { "*".to_owned() } else { total.to_string() }),
            "Content-Type: text/plain\r\n",
            &whole[*start..*end],
            flag,
        );
        hub.receive(media, chunk);
    }
    let (token, envelope) = hub.one_submitted();
    assert_eq!(words(&envelope), whole);
    assert_eq!(statuses(&hub.raw(media)).len(), chunks.len() - 1);
    hub.store(token, Ok(()));
    assert_eq!(statuses(&hub.raw(media)).len(), 1);
}

#[test]
fn abuse_15_abuse_33_what_is_too_large_is_refused_and_never_cut() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    hub.receive(media, send("tx000001", &path, "m1", "1-5/9999999", "Content-Type: text/plain\r\n", "hello", "+"));
    assert_eq!(statuses(&hub.raw(media)), [("tx000001".to_owned(), 413)]);
    hub.receive(media, send("tx000002", &path, "m2", "1-5/10", "Content-Type: image/png\r\n", "hello", "+"));
    assert_eq!(statuses(&hub.raw(media)), [("tx000002".to_owned(), 415)]);
    // Given up by its sender.
    hub.receive(media, send("tx000003", &path, "m3", "1-5/10", "Content-Type: text/plain\r\n", "hello", "+"));
    hub.receive(media, send("tx000004", &path, "m3", "6-5/10", "Content-Type: text/plain\r\n", "", "#"));
    assert_eq!(statuses(&hub.raw(media)).len(), 2);
    assert!(hub.submitted().is_empty());
}

#[test]
fn receipts_and_failures_are_reported_in_the_session() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    let asking = "Success-Report: yes\r\nContent-Type: text/plain\r\n";
    let mut envelopes = Vec::new();
    for (number, id) in [(1, "m1"), (2, "m2")] {
        hub.receive(media, send(&format!("tx00000{number}"), &path, id, "1-5/5", asking, "hello", "$"));
        let (token, envelope) = hub.one_submitted();
        let Body::Text(text) = &envelope.body else { panic!() };
        assert!(text.wants.delivered);
        hub.store(token, Ok(()));
        envelopes.push(envelope);
    }
    hub.raw(media);
    let receipt = Receipt { of: Some(envelopes[0].id), native_id: None, what: ReceiptKind::Delivered };
    hub.deliver(5, envelopes[0].answer(MessageId(77), Body::Receipt(receipt), crate::common::start().wall));
    let report = hub.raw(media);
    assert!(report.contains(" REPORT\r\n") && report.contains("Message-ID: m1\r\n"), "{report}");
    assert!(report.contains("Byte-Range: 1-5/5\r\n") && report.contains("Status: 000 200\r\n"), "{report}");
    hub.deliver(6, envelopes[1].failure(MessageId(78), Refusal::NoSuchUser, crate::common::start().wall).unwrap());
    let report = hub.raw(media);
    assert!(report.contains("Message-ID: m2\r\n") && report.contains("Status: 000 403\r\n"), "{report}");
    assert_eq!(hub.settled(), [(5, Outcome::Delivered), (6, Outcome::Delivered)]);
    assert!(hub.wire(sip).is_empty(), "told twice");
}

#[test]
fn what_others_write_goes_into_the_session_that_stands() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    hub.deliver(1, hello(1));
    hub.deliver(2, text(2, "alice@a.example", "bob@b.example", "two\nlines"));
    assert!(hub.wire(sip).is_empty());
    let said = sends(&hub.raw(media));
    // One of a pair at a time (case 42).
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].1.as_str(), said[0].2.as_str()), ("text/plain;charset=UTF-8", "hello"));
    assert!(hub.settled().is_empty());
    hub.receive(media, answer_to(&said[0].0, "200 OK", &path));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    let said = sends(&hub.raw(media));
    assert_eq!(said[0].2, "two\r\nlines");
    // Somebody else's words are another conversation, and go as a single message.
    hub.deliver(3, text(3, "carol@a.example", "bob@b.example", "other"));
    assert_eq!(hub.one(sip).method(), "MESSAGE");
    // The client says no.
    hub.receive(media, answer_to(&said[0].0, "413 No", &path));
    assert_eq!(hub.settled(), [(2, Outcome::Refused(Refusal::TooLarge))]);
}

#[test]
fn a_long_text_goes_out_in_chunks_that_wait_for_their_answers() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    let whole: String = "0123456789abcdef".repeat(62_500);
    hub.deliver(1, text(1, "alice@a.example", "bob@b.example", &whole));
    let mut all = String::new();
    let mut rounds = 0;
    loop {
        let said = sends(&hub.raw(media));
        if said.is_empty() {
            break;
        }
        rounds += 1;
        assert!(said.len() <= 32 && said.iter().all(|(_, _, body)| body.len() <= 2_048));
        for (transaction, _, body) in said {
            all.push_str(&body);
            hub.receive(media, answer_to(&transaction, "200 OK", &path));
        }
    }
    assert_eq!(all, whole);
    assert!(rounds > 10);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn typing_and_its_end_are_told_in_the_session() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    let composing = "<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state></isComposing>";
    hub.receive(
        media,
        send(
            "tx000001",
            &path,
            "m1",
            &format!("1-{0}/{0}", composing.len()),
            "Content-Type: application/im-iscomposing+xml\r\n",
            composing,
            "$",
        ),
    );
    let told = |hub: &mut Hub| -> Vec<TypingState> {
        let told = std::mem::take(&mut hub.told);
        let typing = told.into_iter().filter_map(|up| match up {
            Up::Tell { envelope, .. } => match &envelope.body {
                Body::Typing(typing) => Some(typing.state),
                _ => None,
            },
            _ => None,
        });
        typing.collect()
    };
    assert_eq!(told(&mut hub), [TypingState::Composing]);
    assert_eq!(statuses(&hub.raw(media)), [("tx000001".to_owned(), 200)]);
    let tell = |hub: &mut Hub, state| {
        let envelope = Envelope { body: Body::Typing(Typing { state, conversation: None }), ..hello(9) };
        hub.input(Input::Broker(Down::Told { link: "lb".into(), envelope: envelope.into() }));
    };
    tell(&mut hub, TypingState::Composing);
    let said = sends(&hub.raw(media));
    assert!(said[0].1 == "application/im-iscomposing+xml" && said[0].2.contains("active"), "{said:?}");
    // Who leaves the conversation ends the session (RFC 7573 §6.1).
    tell(&mut hub, TypingState::Gone);
    assert_eq!(hub.one(sip).method(), "BYE");
    assert_eq!(hub.closed, [(media, CloseReason::Finished)]);
}

#[test]
fn bye_ends_a_session_and_the_other_is_told() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, answer) = session(&mut hub, sip);
    hub.receive(media, plain("tx000001", &path, "m1", "hello"));
    let (token, _) = hub.one_submitted();
    hub.store(token, Ok(()));
    hub.receive(sip, follow(1, "BYE", 2, &answer, ""));
    assert_eq!(hub.one(sip).status(), 200);
    assert!(hub.told.iter().any(|up| matches!(up, Up::Tell { envelope, .. } if matches!(&envelope.body, Body::Typing(Typing { state: TypingState::Gone, .. })))));
    assert_eq!(hub.closed, [(media, CloseReason::Finished)]);
    hub.receive(sip, follow(1, "BYE", 3, &answer, ""));
    assert_eq!(hub.one(sip).status(), 481);
    // What comes now goes as single messages.
    hub.deliver(1, hello(1));
    assert_eq!(hub.one(sip).method(), "MESSAGE");
}

#[test]
fn a_session_in_which_nothing_is_said_ends_after_ten_minutes() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, ..) = session(&mut hub, sip);
    let mut ended = false;
    for _ in 0..70 {
        hub.seconds(10);
        for wire in hub.wire(sip) {
            match wire.method() {
                "OPTIONS" => hub.receive(sip, wire.answer(200, "")),
                "BYE" => ended = true,
                _ => {}
            }
        }
        if ended {
            break;
        }
    }
    assert!(ended);
    assert_eq!(hub.closed, [(media, CloseReason::Finished)]);
    assert_eq!(hub.now.instant.duration_since(crate::common::start().instant).as_secs() / 10, 60);
}

#[test]
fn an_invite_that_nobody_acknowledges_or_connects_for_is_ended() {
    let (mut hub, sip) = Hub::up(LB);
    hub.receive(sip, invite(1, &description("")).method("INVITE"));
    let answer = hub.one(sip);
    hub.receive(sip, follow(1, "ACK", 1, &answer, ""));
    hub.seconds(21);
    assert_eq!(hub.wire(sip).last().map(|wire| wire.method().to_owned()), Some("BYE".to_owned()));
}

#[test]
fn a_connection_that_is_lost_may_come_again_within_five_seconds() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    hub.deliver(1, hello(1));
    assert_eq!(sends(&hub.raw(media)).len(), 1);
    hub.lose(media);
    // It may have arrived: the broker tries again, and knows that it is a repeat.
    assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::TimedOut))]);
    hub.seconds(4);
    let again = hub.accept(Transport::Tls, "192.0.2.30:4002", None);
    hub.receive(again, bind(&path));
    assert_eq!(statuses(&hub.raw(again)).len(), 1);
    hub.deliver(2, hello(1));
    assert_eq!(sends(&hub.raw(again)).len(), 1);
    hub.lose(again);
    hub.seconds(6);
    assert_eq!(hub.wire(sip).last().map(|wire| wire.method().to_owned()), Some("BYE".to_owned()));
}

#[test]
fn abuse_7_abuse_17_a_connection_that_names_no_session_is_closed() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, _) = session(&mut hub, sip);
    for (number, to) in [
        (1, "msrps://hub.example:5061/guess;tcp".to_owned()),
        (2, path.replace("hub.example", "other.example")),
        (3, path.replace("msrps:", "msrp:")),
    ] {
        let stranger = hub.accept(Transport::Tls, &format!("203.0.113.9:{}", 5000 + number), None);
        hub.receive(stranger, plain("tx000001", &to, "m1", "hello"));
        assert_eq!(statuses(&hub.raw(stranger)), [("tx000001".to_owned(), 481)], "{to}");
        assert!(hub.closed.contains(&(stranger, CloseReason::Refused)));
    }
    // A session is not taken over while its connection stands (RFC 4975 §7.3.1).
    let thief = hub.accept(Transport::Tls, "203.0.113.9:6000", None);
    hub.receive(thief, plain("tx000001", &path, "m1", "hello"));
    assert_eq!(statuses(&hub.raw(thief)), [("tx000001".to_owned(), 506)]);
    // Nobody speaks for somebody else in it.
    hub.receive(media, plain("tx000002", &path, "m2", "hello").replace("bobsession", "evesession"));
    assert_eq!(statuses(&hub.raw(media)), [("tx000002".to_owned(), 481)]);
    assert!(hub.submitted().is_empty());
    // Who says nothing is not waited for.
    let silent = hub.accept(Transport::Tls, "203.0.113.9:6001", None);
    hub.receive(silent, "MSRP");
    hub.seconds(31);
    assert!(hub.closed.iter().any(|(conn, _)| *conn == silent));
}

#[test]
fn abuse_9_a_certificate_that_the_description_does_not_name_is_refused() {
    let fingerprint = |byte: &str| format!("a=fingerprint:SHA-256 {}\r\n", vec![byte; 32].join(":"));
    for (named, taken) in [("02", true), ("03", false)] {
        let (mut hub, sip) = Hub::up(LB);
        hub.receive(sip, invite(1, &description(&fingerprint(named))).method("INVITE"));
        let answer = hub.one(sip);
        let path = path_of(&answer.body);
        // Of the certificates here, the fingerprint is 02 02 02 …
        let media = hub.accept(
            Transport::Tls,
            "192.0.2.30:4001",
            Some(certificate(&["phone"], Err(interchange_adapter::ChainFault::UnknownAuthority))),
        );
        hub.receive(media, bind(&path));
        assert_eq!(statuses(&hub.raw(media))[0].1, if taken { 200 } else { 481 });
        assert_eq!(hub.notes.iter().any(|note| note.contains("RFC 4975 §14.4")), !taken, "{:?}", hub.notes);
    }
}

#[test]
fn abuse_1_abuse_7_offers_that_are_refused() {
    let ask = |settings: &str, from: &'static str, sdp: &str| {
        let (mut hub, sip) = Hub::up(settings);
        let status = {
            hub.receive(sip, Sip { from, ..invite(1, sdp) }.method("INVITE"));
            hub.one(sip).status()
        };
        let dialled = hub.dials.len();
        (status, dialled)
    };
    let bob = "<sip:bob@b.example>";
    assert_eq!(ask(LB, bob, &description("")), (200, 0));
    assert_eq!(ask(LB, "<sip:mallory@c.example>", &description("")), (403, 0));
    assert_eq!(ask(r#"{"host":"sip.b.example","sessions":"off"}"#, bob, &description("")), (488, 0));
    assert_eq!(ask(LB, bob, &description("").replace("TCP/TLS/MSRP", "TCP/MSRP").replace("msrps:", "msrp:")), (488, 0));
    assert_eq!(ask(LB, bob, &description("").replace("text/plain", "image/png")), (488, 0));
    assert_eq!(ask(LB, bob, "nonsense"), (400, 0));
    // Where the hub connects to is not for the client to choose.
    assert_eq!(ask(LB, bob, &description("a=setup:passive\r\n")), (488, 0));
    let local = description("a=setup:passive\r\n").replace("phone.b.example", "127.0.0.1");
    assert_eq!(ask(LB, bob, &local), (488, 0));
    let allowed = r#"{"host":"sip.b.example","msrp_networks":["192.0.2.0/24"]}"#;
    assert_eq!(ask(allowed, bob, &description("a=setup:passive\r\n").replace("phone.b.example", "192.0.2.30")), (200, 1));
    assert_eq!(ask(LB, bob, &description("a=setup:passive\r\n").replace("phone.b.example", "192.0.2.20")), (200, 1));
}

#[test]
fn the_hub_connects_where_the_client_wants_that_and_may() {
    let (mut hub, sip) = Hub::up(LB);
    let sdp = description("a=setup:passive\r\n").replace("phone.b.example:4000", "192.0.2.20:4000");
    hub.receive(sip, invite(1, &sdp).method("INVITE"));
    let answer = hub.one(sip);
    assert!(answer.body.contains("a=setup:active\r\n"), "{}", answer.body);
    hub.receive(sip, follow(1, "ACK", 1, &answer, ""));
    let (conn, to) = hub.dials.remove(0);
    assert_eq!(to, Target::Host { host: "192.0.2.20".into(), port: 4000, transport: Transport::Tls });
    let (local, peer) = ("192.0.2.1:33334".parse().unwrap(), "192.0.2.20:4000".parse().unwrap());
    hub.input(Input::Opened { conn, via: Via::Dialled { transport: Transport::Tls, local, peer } });
    hub.handshakes.clear();
    hub.input(Input::Secured { conn, peer: proof("b.example") });
    let first = hub.raw(conn);
    // The empty message that says which session it is.
    assert!(
        first.contains(" SEND\r\nTo-Path: msrps://192.0.2.20:4000/bobsession;tcp\r\n") && !first.contains("Content-Type"),
        "{first}"
    );
    hub.deliver(1, hello(1));
    assert_eq!(sends(&hub.raw(conn)).len(), 1);
    // A server that proves nothing is told nothing.
    let (mut hub, sip) = Hub::up(LB);
    hub.receive(sip, invite(1, &sdp).method("INVITE"));
    hub.one(sip);
    let (conn, _) = hub.dials.remove(0);
    hub.input(Input::Opened { conn, via: Via::Dialled { transport: Transport::Tls, local, peer } });
    hub.input(Input::Secured { conn, peer: proof("evil.example") });
    assert!(hub.raw(conn).is_empty() && hub.closed.contains(&(conn, CloseReason::Refused)));
}

#[test]
fn a_session_that_the_hub_offers_is_taken() {
    let (mut hub, sip) = Hub::up(OFFERS);
    hub.deliver(1, hello(1));
    hub.deliver(2, text(2, "alice@a.example", "bob@b.example", "two"));
    let offer = hub.one(sip);
    assert_eq!((offer.method(), offer.start.as_str()), ("INVITE", "INVITE sip:bob@b.example SIP/2.0"));
    assert!(offer.body.contains("a=setup:actpass\r\n"), "{}", offer.body);
    let path = path_of(&offer.body);
    let ok = accept_invite(&offer, &description("a=setup:active\r\n"));
    hub.receive(sip, &ok);
    let ack = hub.one(sip);
    assert_eq!((ack.method(), ack.header("CSeq")), ("ACK", "1 ACK"));
    assert_eq!(ack.start, "ACK sip:bob@phone.b.example SIP/2.0");
    // A repeat of the answer is acknowledged again.
    hub.receive(sip, &ok);
    let again = hub.wire(sip);
    assert_eq!(again[0].method(), "ACK");
    let media = hub.accept(Transport::Tls, "192.0.2.30:4001", None);
    hub.receive(media, bind(&path));
    let raw = hub.raw(media);
    let said = sends(&raw);
    assert_eq!(said.iter().map(|one| one.2.as_str()).collect::<Vec<_>>(), ["hello"]);
    hub.receive(media, answer_to(&said[0].0, "200 OK", &path));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    assert_eq!(sends(&hub.raw(media))[0].2, "two");
    assert!(hub.wire(sip).is_empty());
}

fn accept_invite(offer: &Wire, sdp: &str) -> String {
    let ok = offer.answer(200, "Contact: <sip:bob@phone.b.example>\r\nContent-Type: application/sdp\r\n");
    format!("{}{sdp}", ok.replace("Content-Length: 0", &format!("Content-Length: {}", sdp.len())))
}

#[test]
fn where_sessions_are_refused_what_waits_goes_as_single_messages() {
    for status in [488, 404, 486, 603] {
        let (mut hub, sip) = Hub::up(OFFERS);
        hub.deliver(1, hello(1));
        let offer = hub.one(sip);
        hub.receive(sip, offer.answer(status, ""));
        let after = hub.wire(sip);
        assert_eq!(after.iter().map(Wire::method).collect::<Vec<_>>(), ["ACK", "MESSAGE"], "{status}");
        hub.receive(sip, after[1].answer(200, ""));
        assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
        for _ in 0..7 {
            hub.seconds(10);
            for options in hub.wire(sip).into_iter().filter(|wire| wire.method() == "OPTIONS") {
                hub.receive(sip, options.answer(200, ""));
            }
        }
        hub.deliver(2, hello(2));
        let next = hub.wire(sip).into_iter().next_back().map(|wire| wire.method().to_owned()).unwrap();
        assert_eq!(next, if status == 488 { "MESSAGE" } else { "INVITE" }, "{status}");
    }
}

#[test]
fn an_offer_that_nobody_takes_is_taken_back() {
    let (mut hub, sip) = Hub::up(OFFERS);
    hub.deliver(1, hello(1));
    let offer = hub.one(sip);
    hub.receive(sip, offer.answer(180, ""));
    hub.seconds(21);
    let after: Vec<Wire> = hub.wire(sip).into_iter().filter(|wire| wire.method() != "OPTIONS").collect();
    assert_eq!(after.iter().map(Wire::method).collect::<Vec<_>>(), ["CANCEL", "MESSAGE"]);
    // The client has taken it at that moment: it is told that it is over.
    hub.receive(sip, accept_invite(&offer, &description("a=setup:active\r\n")));
    let after: Vec<Wire> = hub.wire(sip).into_iter().filter(|wire| wire.method() != "OPTIONS").collect();
    assert_eq!(after.iter().map(Wire::method).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert!(hub.settled().is_empty());
}

#[test]
fn too_long_for_a_message_and_no_session_is_refused() {
    let (mut hub, sip) = Hub::up(OFFERS);
    let long = "x".repeat(70_000);
    hub.deliver(1, text(1, "alice@a.example", "bob@b.example", &long));
    let offer = hub.one(sip);
    hub.receive(sip, offer.answer(488, ""));
    assert_eq!(hub.settled(), [(1, Outcome::RefusedWith(Refusal::TooLarge, Detail::Most { bytes: 65_536 }))]);
    let (mut hub, _) = Hub::up(LB);
    hub.deliver(1, text(1, "alice@a.example", "bob@b.example", &long));
    assert_eq!(hub.settled(), [(1, Outcome::RefusedWith(Refusal::TooLarge, Detail::Most { bytes: 65_536 }))]);
}

#[test]
fn imdn_is_asked_for_inside_cpim_where_the_link_says_so() {
    let (mut hub, sip) = Hub::up(r#"{"host":"sip.b.example","imdn":true}"#);
    let (media, _, _) = session(&mut hub, sip);
    let wants = interchange_model::Wants { delivered: true, displayed: true };
    let asked = Text { plain: "hello".into(), subject: Some("Lunch".into()), wants, ..Text::default() };
    hub.deliver(1, Envelope { body: Body::Text(asked), ..hello(1) });
    let said = sends(&hub.raw(media));
    assert_eq!(said[0].1, "message/cpim");
    for line in [
        "From: <sip:alice@a.example>",
        "Subject: Lunch",
        "NS: imdn <urn:ietf:params:imdn>",
        "imdn.Disposition-Notification: positive-delivery, negative-delivery, display",
    ] {
        assert!(said[0].2.contains(line), "{line} in {}", said[0].2);
    }
}

#[test]
fn a_link_that_is_removed_takes_its_sessions_with_it_and_a_hub_that_stops_says_goodbye() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, ..) = session(&mut hub, sip);
    hub.links(&[]);
    assert!(hub.closed.contains(&(media, CloseReason::Finished)));
    let (mut hub, sip) = Hub::up(LB);
    let (media, ..) = session(&mut hub, sip);
    hub.input(Input::Stop);
    assert_eq!(hub.wire(sip).iter().map(Wire::method).collect::<Vec<_>>(), ["BYE"]);
    assert!(hub.closed.contains(&(media, CloseReason::Finished)));
}

#[test]
fn a_client_may_move_within_its_session() {
    let (mut hub, sip) = Hub::up(LB);
    let (media, path, answer) = session(&mut hub, sip);
    let moved = description("a=setup:active\r\n").replace("bobsession", "elsewhere");
    hub.receive(sip, follow(1, "INVITE", 2, &answer, &moved));
    let again = hub.one(sip);
    assert_eq!((again.status(), path_of(&again.body)), (200, path.clone()));
    assert!(hub.closed.contains(&(media, CloseReason::Finished)));
    hub.receive(sip, follow(1, "ACK", 2, &answer, ""));
    let media = hub.accept(Transport::Tls, "192.0.2.31:4001", None);
    hub.receive(media, plain("tx000001", &path, "m1", "hello").replace("bobsession", "elsewhere"));
    assert_eq!(words(&hub.one_submitted().1), "hello");
}
