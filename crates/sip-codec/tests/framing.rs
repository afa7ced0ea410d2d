//! Streams and datagrams: sizes, keep-alives, limits, and what is answered when they are wrong.

mod support;

use bytes::Bytes;
use sip_codec::{Limits, Message, Rejected, StreamDecoder, StreamEvent, is_keep_alive};
use support::{decode, message, request};

fn run(portions: &[&[u8]]) -> (Vec<String>, StreamDecoder) {
    run_within(Limits::default(), portions)
}

/// Events in short: bodies of messages, pings, pongs, refusals.
fn run_within(limits: Limits, portions: &[&[u8]]) -> (Vec<String>, StreamDecoder) {
    let mut stream = StreamDecoder::new(limits);
    let mut events = Vec::new();
    for portion in portions {
        stream.push(portion);
        while let Some(event) = stream.next_event() {
            events.push(match event {
                StreamEvent::Message(message) => String::from_utf8_lossy(message.body()).into_owned(),
                StreamEvent::Ping => "ping".into(),
                StreamEvent::Pong => "pong".into(),
                StreamEvent::Rejected(rejected) => {
                    format!("{}{}", rejected.status, if rejected.framing_lost { " lost" } else { "" })
                }
            });
        }
    }
    (events, stream)
}

fn sized(body: &str) -> Vec<u8> {
    message(&format!("Content-Length: {}\r\n", body.len()), body.as_bytes())
}

fn rejected(bytes: Vec<u8>) -> Rejected {
    decode(bytes.into()).expect_err("refused")
}

// sip.md §10 test 1
#[test]
fn two_in_one_read_and_one_in_twenty() {
    let both = [sized("first"), sized("second")].concat();
    assert_eq!(run(&[&both]).0, ["first", "second"]);
    let portions: Vec<&[u8]> = both.chunks(both.len().div_ceil(40)).collect();
    assert!(portions.len() >= 38);
    assert_eq!(run(&portions).0, ["first", "second"]);
    let bytes: Vec<&[u8]> = both.chunks(1).collect();
    assert_eq!(run(&bytes).0, ["first", "second"]);
}

// sip.md §10 test 2
#[test]
fn keep_alives_between_messages_and_never_inside() {
    let content = "a\r\n\r\n\r\n\r\nb";
    let stream = [b"\r\n\r\n".to_vec(), sized(content), b"\r\n\r\n\r\n\r\n".to_vec(), sized("x"), b"\r\n".to_vec()].concat();
    assert_eq!(run(&[&stream]).0, ["ping", content, "ping", "ping", "x", "pong"]);
}

#[test]
fn a_ping_split_over_two_reads_is_one_ping() {
    assert_eq!(run(&[b"\r\n\r", b"\n"]).0, ["pong", "ping"]);
    assert_eq!(run(&[b"\r\n", b"\r\n"]).0, ["pong", "ping"]);
    assert_eq!(run(&[b"\r", b"\n\r\n"]).0, ["ping"]);
    let next = sized("x");
    assert_eq!(run(&[b"\r\n", &next, b"\r\n", &next]).0, ["pong", "x", "pong", "x"]);
}

// sip.md §10 test 3
#[test]
fn what_is_left_of_a_body_too_long_ends_the_stream() {
    let (events, stream) = run(&[&message("Content-Length: 2\r\n", b"hi there, this is not SIP\r\n\r\n"), &sized("never seen")]);
    assert_eq!(events, ["hi", "400 lost"]);
    assert!(stream.is_dead());
    assert_eq!(stream.buffered(), 0);
}

// dependencies.md, security row 18
#[test]
fn content_length_in_all_its_forms() {
    for (headers, expected) in [
        ("Content-Length : 5\r\n", "hello"),
        ("Content-Length:\r\n 5\r\n", "hello"),
        ("Content-Length:\t0005 \r\n", "hello"),
        ("l:5\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "400 lost"),
        ("Content-Length: 18446744073709551615\r\n", "400 lost"),
        ("Content-Length: 99999999999999999999999\r\n", "400 lost"),
        ("Content-Length: 2147483649\r\n", "400 lost"),
        ("Content-Length: 262145\r\n", "413 lost"),
        ("Content-Length: -1\r\n", "400 lost"),
        ("Content-Length: +5\r\n", "400 lost"),
        ("Content-Length: 5, 5\r\n", "400 lost"),
        ("Content-Length:\r\n", "400 lost"),
        ("Content-Length: 0x5\r\n", "400 lost"),
        ("", "400 lost"),
    ] {
        assert_eq!(run(&[&message(headers, b"hello")]).0, [expected], "{headers:?}");
    }
}

// security row 18
#[test]
fn a_body_over_the_limit_is_refused_before_it_comes() {
    let limits = Limits { body: 10, ..Limits::default() };
    let (events, stream) = run_within(limits, &[&message("Content-Length: 11\r\n", b"")]);
    assert_eq!(events, ["413 lost"]);
    assert!(stream.is_dead());
    assert_eq!(run_within(limits, &[&message("Content-Length: 10\r\n", b"0123456789")]).0, ["0123456789"]);
}

#[test]
fn datagrams_short_long_and_unsized() {
    assert_eq!(request(message("Content-Length: 2\r\n", b"hi, cut").into()).body(), "hi");
    assert_eq!(request(message("", b"all of it").into()).body(), "all of it");
    assert_eq!(rejected(message("Content-Length: 9\r\n", b"short")).status, 400);
    assert_eq!(request([b"\r\n\r\n".to_vec(), sized("x")].concat().into()).body(), "x");
    assert!(is_keep_alive(b"\r\n\r\n") && is_keep_alive(b"\0\0\0\0") && !is_keep_alive(b"\r\nx"));
    let torn = message("", b"");
    let torn = rejected(torn[..torn.len() - 2].to_vec());
    assert_eq!(torn.reason, "Missing empty line");
    assert!(torn.to_response("t", None).is_some());
}

#[test]
fn limits_on_lines_headers_and_vias() {
    let long_uri = String::from_utf8(sized("")).unwrap().replacen("bob@", &format!("{}@", "b".repeat(4096)), 1);
    assert_eq!(rejected(long_uri.clone().into_bytes()).status, 414);
    assert_eq!(run(&[long_uri.as_bytes(), &sized("next")]).0, ["414", "next"]);

    let many = "Note: y\r\n".repeat(100);
    assert_eq!(run(&[&message(&format!("{many}Content-Length: 0\r\n"), b""), &sized("next")]).0, ["400", "next"]);
    assert!(rejected(message(&many, b"")).to_response("t", None).is_some());

    let vias = |count: usize| message(&format!("Via: {}\r\nContent-Length: 0\r\n", vec!["SIP/2.0/TCP x"; count].join(",")), b"");
    assert_eq!(request(vias(69).into()).via_count(), 70);
    assert_eq!(rejected(vias(70)).reason, "Too many Via values");

    let huge = message(&format!("Note: {}\r\n", "y".repeat(40_000)), b"");
    assert_eq!(run(&[&huge]).0, ["400 lost"]);
    assert_eq!(run(&huge.chunks(1000).collect::<Vec<_>>()).0, ["400 lost"]);
    assert_eq!(rejected(huge).status, 400);
}

#[test]
fn an_endless_header_block_is_given_up() {
    let mut stream = StreamDecoder::new(Limits::default());
    let mut held = 0;
    for _ in 0..1000 {
        stream.push(&[b'a'; 100]);
        let event = stream.next_event();
        held = held.max(stream.buffered());
        if let Some(StreamEvent::Rejected(rejected)) = event {
            assert!(rejected.framing_lost && rejected.to_response("t", None).is_none());
            break;
        }
    }
    assert!(stream.is_dead() && held <= 32 * 1024);
}

// security row 15: a slow drip costs no more than the same bytes at once
#[test]
fn a_slow_drip_is_scanned_once() {
    let body = "x".repeat(200_000);
    let bytes = message(&format!("Note: {}\r\nContent-Length: {}\r\n", "y\r\n ".repeat(7000), body.len()), body.as_bytes());
    let started = std::time::Instant::now();
    let (events, _) = run(&bytes.chunks(1).collect::<Vec<_>>());
    assert_eq!(events, [body]);
    // Re-reading the block at each byte would take 28 000² steps
    assert!(started.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn a_bad_message_that_was_framed_does_not_end_the_stream() {
    let bad = String::from_utf8(sized("x")).unwrap().replace("CSeq: 1 MESSAGE", "CSeq: 1 INVITE");
    assert_eq!(run(&[bad.as_bytes(), &sized("next")]).0, ["400", "next"]);
}

#[test]
fn not_sip_at_all() {
    for garbage in ["GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\n\n", "hello\r\n\r\n", ":\n\n"] {
        let (events, stream) = run(&[garbage.as_bytes()]);
        assert_eq!(events, ["400 lost"], "{garbage:?}");
        assert!(stream.is_dead());
        assert!(rejected(garbage.as_bytes().to_vec()).to_response("t", None).is_none());
    }
}

#[test]
fn abuse_20_odd_line_ends_and_control_characters() {
    let text = String::from_utf8(sized("x")).unwrap();
    assert_eq!(request(text.replace("\r\n", "\n").into()).body(), "x");
    for bad in ["X\r\n", "X: a\rb\r\n", "X: a\0b\r\n", ": y\r\n", "X Y: z\r\n", "X\0: z\r\n", " folded start\r\n"] {
        let at_top = text.replacen("Via:", &format!("{bad}Via:"), 1);
        assert_eq!(run(&[at_top.as_bytes(), &sized("next")]).0, ["400", "next"], "{bad:?}");
        assert_eq!(rejected(message(bad, b"")).status, 400, "{bad:?}");
    }
}

#[test]
fn abuse_20_a_folded_value_is_one_line_and_is_written_as_one() {
    let folded = request(message("Note: one\r\n  two\r\n\t three\r\nSubject:\r\n lunch\r\n", b"").into());
    assert_eq!(folded.headers().named("note").next().unwrap().text(), "one two three");
    assert_eq!(folded.headers().named("subject").next().unwrap().text(), "lunch");
    let written = folded.encode();
    assert!(written.windows(21).any(|bytes| bytes == b"Note: one two three\r\n"), "{written:?}");
    assert!(!written.windows(3).any(|bytes| matches!(bytes, b"\r\n " | b"\r\n\t")), "{written:?}");
}

#[test]
fn bytes_that_are_not_utf8_pass() {
    let mut bytes = message("Note: \u{fc}\r\n", b"\xff\x00\xfe");
    let place = bytes.windows(2).position(|pair| pair == "\u{fc}".as_bytes()).unwrap();
    bytes[place] = 0xfe;
    let read = request(bytes.into());
    assert_eq!(read.headers().named("note").next().unwrap().as_bytes(), b"\xfe\xbc");
    assert_eq!(read.headers().named("note").next().unwrap().text(), "\u{fffd}\u{fffd}");
    assert_eq!(&read.body()[..], b"\xff\x00\xfe");
    assert!(decode(read.encode()).unwrap() == Message::Request(read));
}

#[test]
fn a_response_or_an_ack_gets_no_answer() {
    for start in [
        "ACK sip:b.example SIP/2.0",
        "ACK <sip:b.example> SIP/2.0",
        "SIP/2.0 200 OK",
        "SIP/2.0 99 Low",
        "SIP/2.0 2000 High",
        "SIP/3.0 200 OK",
    ] {
        let text = format!("{start}\r\nVia: SIP/2.0/UDP a\r\nContent-Length: 0\r\n\r\n");
        assert!(rejected(text.into_bytes()).to_response("t", None).is_none(), "{start}");
    }
}

#[test]
fn abuse_20_an_answer_never_repeats_a_line_at_fault() {
    let text = "MESSAGE sip:b.example SIP/2.0\r\nVia: SIP/2.0/UDP pc.a.example;rport;branch=z9hG4bK1\r\nFrom: <sip:a@a\rVia: evil>\r\nTo: <sip:b@b>\r\n\r\n";
    let answer = rejected(text.into()).to_response("t1", Some("192.0.2.7:4000".parse().unwrap())).unwrap();
    assert_eq!(
        answer,
        Bytes::from_static(
            b"SIP/2.0 400 Malformed header line\r\nVia: SIP/2.0/UDP pc.a.example;rport=4000;branch=z9hG4bK1;received=192.0.2.7\r\n\
              To: <sip:b@b>;tag=t1\r\nContent-Length: 0\r\n\r\n"
        )
    );
}
