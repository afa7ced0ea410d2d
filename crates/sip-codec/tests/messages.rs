//! What messages mean, and what is written: vectors of sip.md §8 and §10, RFC 5118, and properties.

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use sip_codec::{
    ContentType, Host, Limits, Message, Method, Name, NameAddr, Request, Response, StreamDecoder, StreamEvent, Transport,
    Unencodable, Uri, Value, Via, decode_datagram,
};
use support::{decode, message, request, response, wire};

fn host(text: &str) -> Host {
    Host::new(text).unwrap()
}

fn build(body: &str) -> Request {
    Request::builder(Method::Message, Uri::sip_user("bob", host("b.example")).unwrap())
        .via(
            Via::new(Transport::Tls, host("hub.example"), Some(5061))
                .with_branch("z9hG4bK-hub-1")
                .unwrap()
                .with_param("alias", None)
                .unwrap(),
        )
        .from(NameAddr::new(Uri::sip_user("alice", host("a.example")).unwrap()).with_tag("9fxced76sl").unwrap())
        .to(NameAddr::new(Uri::sip_user("bob", host("b.example")).unwrap()))
        .call_id("c1@hub.example")
        .unwrap()
        .cseq(1)
        .header(Name::Date, Value::new("Sat, 15 Oct 2005 04:44:56 GMT").unwrap())
        .unwrap()
        .body(ContentType::new("text", "plain").unwrap().with_param("charset", "UTF-8").unwrap(), body.to_owned())
        .build()
        .unwrap()
}

#[test]
fn a_request_on_the_wire() {
    let expected = "MESSAGE sip:bob@b.example SIP/2.0\r\n\
        Via: SIP/2.0/TLS hub.example:5061;branch=z9hG4bK-hub-1;alias\r\n\
        Max-Forwards: 70\r\n\
        From: <sip:alice@a.example>;tag=9fxced76sl\r\n\
        To: <sip:bob@b.example>\r\n\
        Call-ID: c1@hub.example\r\n\
        CSeq: 1 MESSAGE\r\n\
        Date: Sat, 15 Oct 2005 04:44:56 GMT\r\n\
        Content-Type: text/plain;charset=UTF-8\r\n\
        Content-Length: 6\r\n\r\nh\u{e9}llo";
    let built = build("h\u{e9}llo");
    assert_eq!(built.encode(), Bytes::from(expected));
    assert!(request(built.encode()) == built);
}

#[test]
fn an_answer_on_the_wire() {
    let asked = request(wire(
        "SUBSCRIBE sip:bob@b.example SIP/2.0
v: SIP / 2.0/UDP pc.a.example ;rport; branch=z9hG4bK1 ,  SIP/2.0/tcp 10.0.0.5:37598;ms-received-port=37598
Via: SIP/2.0/UDP last.a.example;x=\"a,b\"
Record-Route: <sip:p1;lr;ms-route-sig=x9G1==>,<sip:p2;lr>
f: Alice <sip:alice@a.example>;tag=1;epid=d8
t: sip:bob@b.example;epid=e9
i: c1
CSeq:  007  SUBSCRIBE
Timestamp: 54

",
    ));
    let source = Some("192.0.2.1:9999".parse().unwrap());
    let answer = Response::to_request(&asked, 200, Some("tag1"), source)
        .unwrap()
        .with_record_route_of(&asked)
        .with_header(Name::Contact, (&NameAddr::new(Uri::sip(host("hub.example")))).into())
        .unwrap();
    assert_eq!(
        answer.encode(),
        "SIP/2.0 200 OK\r\n\
         Via: SIP / 2.0/UDP pc.a.example ;rport=9999; branch=z9hG4bK1 ;received=192.0.2.1,  SIP/2.0/tcp 10.0.0.5:37598;ms-received-port=37598\r\n\
         Via: SIP/2.0/UDP last.a.example;x=\"a,b\"\r\n\
         From: Alice <sip:alice@a.example>;tag=1;epid=d8\r\n\
         To: sip:bob@b.example;epid=e9;tag=tag1\r\n\
         Call-ID: c1\r\n\
         CSeq: 007  SUBSCRIBE\r\n\
         Record-Route: <sip:p1;lr;ms-route-sig=x9G1==>,<sip:p2;lr>\r\n\
         Contact: <sip:hub.example>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(answer.via().rport(), Some(Some(9999)));
    let trying = Response::to_request(&asked, 100, Some("tag1"), None).unwrap();
    assert_eq!(trying.to().tag(), None);
    assert_eq!(trying.headers().first(Name::Timestamp).unwrap().text(), "54");
    assert!(response(answer.encode()) == answer);
    assert!(
        Response::to_request(&asked, 99, None, None).is_err() && Response::to_request(&asked, 200, Some("a b"), None).is_err()
    );
}

// sip.md §10 test 30
#[test]
fn a_via_without_branch_below_the_top_is_echoed() {
    let asked =
        request(message("Via: SIP/2.0/tcp  10.0.0.5:37598;ms-received-cid=100;odd=@|\r\nContent-Length: 0\r\n", b"").into());
    let answer = Response::to_request(&asked, 200, Some("t"), None).unwrap().encode();
    let line = b"\r\nVia: SIP/2.0/tcp  10.0.0.5:37598;ms-received-cid=100;odd=@|\r\n";
    assert!(answer.windows(line.len()).any(|window| window == line));
}

// sip.md §10 test 19
#[test]
fn a_quoted_comma_in_a_display_name_divides_nothing() {
    let asked = request(
        message("Contact: \"Bell, A. \\\"G\\\"\" <sip:a,b@c.example>;q=1, <sip:d@e.example>\r\nContent-Length: 0\r\n", b"")
            .into(),
    );
    let contacts: Vec<_> = asked.headers().addresses(Name::Contact).map(Result::unwrap).collect();
    assert_eq!(contacts.len(), 2);
    assert_eq!(contacts[0].display(), Some("Bell, A. \"G\""));
    assert_eq!(contacts[0].uri().user(), Some("a,b"));
}

// sip.md §10 test 20
#[test]
fn an_escaped_letter_is_the_letter() {
    let escaped: Uri = "sip:%61lice@b.example".parse().unwrap();
    assert!(escaped.equivalent(&"sip:alice@b.example".parse().unwrap()));
    assert_eq!(escaped.user_bytes().unwrap(), b"alice");
}

#[test]
fn abuse_19_refused_for_one_header() {
    let text = String::from_utf8(message("Max-Forwards: 70\r\nContent-Length: 0\r\n", b"")).unwrap();
    for (from, to, reason) in [
        ("To: <sip:bob@b.example>", "To:", "Malformed To"),
        ("To: <sip:bob@b.example>\r\n", "", "Missing To"),
        ("From: ", "From: <sip:x@y>\r\nf: ", "Repeated From"),
        ("Call-ID: c1", "Call-ID: c 1", "Malformed Call-ID"),
        ("CSeq: 1 ", "CSeq: 2147483648 ", "Malformed CSeq"),
        ("CSeq: 1 ", "CSeq: 18446744073709551617 ", "Malformed CSeq"),
        ("CSeq: 1 ", "CSeq: -1 ", "Malformed CSeq"),
        ("CSeq: 1 ", "CSeq: 1 MESSAGE\r\nCSeq: 1 ", "Repeated CSeq"),
        ("CSeq: 1 MESSAGE", "CSeq: 1 INVITE", "CSeq does not match the method"),
        ("Call-ID: c1", "Call-ID: c1\r\ni: c1", "Repeated Call-ID"),
        ("To: ", "To: <sip:x@y>\r\nt: ", "Repeated To"),
        ("Max-Forwards: 70", "Max-Forwards: 70\r\nMax-Forwards: 69", "Repeated Max-Forwards"),
        ("Max-Forwards: 70", "Max-Forwards: 256", "Malformed Max-Forwards"),
        ("Max-Forwards: 70", "Content-Type: a/b\r\nc: a/c", "Repeated Content-Type"),
        ("Max-Forwards: 70", "Expires: 0\r\nExpires: 3600", "Repeated Expires"),
        ("sip:bob@b.example SIP", "sip:a@b@c SIP", "Malformed Request-URI"),
        ("Via: SIP/2.0/TLS", "Via: SIP/2.0/", "Malformed Via"),
    ] {
        let rejected = decode(text.replacen(from, to, 1).into()).expect_err(reason);
        assert_eq!((rejected.status, &*rejected.reason), (400, reason));
    }
}

#[test]
fn numbers_beyond_reason() {
    let asked = request(
        message("Expires: 99999999999\r\nRetry-After: 18 (later)\r\nMin-Expires: 0060\r\nContent-Length: 0\r\n", b"").into(),
    );
    assert_eq!(asked.headers().expires(), Ok(Some(u32::MAX)));
    assert_eq!(asked.headers().min_expires(), Ok(Some(60)));
    assert_eq!(asked.headers().retry_after().unwrap().unwrap().comment.as_deref(), Some("later"));
    let bad = request(message("Expires: soon\r\nContent-Length: 0\r\n", b"").into());
    assert!(bad.headers().expires().is_err());
}

#[test]
fn ack_and_cancel_follow_their_request() {
    let invite = request(wire(
        "INVITE sip:bob@b.example SIP/2.0
Via: SIP/2.0/TCP a.example;branch=z9hG4bKx
Route: <sip:p1;lr>
Max-Forwards: 70
From: <sip:alice@a.example>;tag=1
To: <sip:bob@b.example>
Call-ID: c1
CSeq: 5 INVITE
Content-Length: 0

",
    ));
    let busy = Response::to_request(&invite, 486, Some("b1"), None).unwrap();
    let ack = request(invite.to_ack(&busy).encode());
    assert_eq!((ack.method(), ack.cseq().number, ack.to().tag()), (&Method::Ack, 5, Some("b1")));
    assert_eq!((ack.via(), ack.uri(), ack.call_id()), (invite.via(), invite.uri(), invite.call_id()));
    assert_eq!(ack.headers().first(Name::Route).unwrap().text(), "<sip:p1;lr>");
    let cancel = request(invite.to_cancel().encode());
    assert_eq!((cancel.method(), cancel.to().tag(), cancel.via()), (&Method::Cancel, None, invite.via()));
}

// RFC 5118
#[test]
fn ipv6() {
    // §4.1, §4.2: a reference in the Request-URI; without brackets it is refused
    let text = String::from_utf8(message("Content-Length: 0\r\n", b"")).unwrap();
    let with_uri = |uri: &str| decode(text.replacen("sip:bob@b.example SIP", &format!("{uri} SIP"), 1).into());
    let Ok(Message::Request(read)) = with_uri("sip:[2001:db8::10]") else { panic!() };
    assert_eq!(read.uri().host().unwrap().ip(), Some("2001:db8::10".parse().unwrap()));
    assert_eq!(with_uri("sip:2001:db8::10").unwrap_err().status, 400);
    // §4.3: what looks like a port is one only behind the bracket
    let Ok(Message::Request(read)) = with_uri("sip:[2001:db8::10:5070]") else { panic!() };
    assert_eq!((read.uri().port(), read.uri().host().unwrap().as_str()), (None, "[2001:db8::10:5070]"));
    // §4.4
    let Ok(Message::Request(read)) = with_uri("sip:[2001:db8::10]:5070") else { panic!() };
    assert_eq!(read.uri().port(), Some(5070));
    // §4.5: received with and without brackets
    for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
        let via = format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111");
        assert_eq!(Via::parse(via.as_bytes()).unwrap().received(), Some("2001:db8::9:255".parse().unwrap()));
    }
    // §4.7: both families in one message
    let both = "Via: SIP/2.0/UDP 192.0.2.1;received=192.0.2.1,SIP/2.0/TCP [2001:db8::9:1]\r\nContact: <sip:a@[2001:db8::20]>\r\nContent-Length: 0\r\n";
    let read = request(message(both, b"").into());
    assert_eq!(
        read.headers().vias().map(|via| via.unwrap().host().ip().map(|ip| ip.is_ipv6())).collect::<Vec<_>>(),
        [None, Some(false), Some(true)]
    );
    // §4.9: IPv4 mapped into IPv6
    assert_eq!(host("[::ffff:192.0.2.10]").ip(), Some("::ffff:192.0.2.10".parse().unwrap()));
    // §4.10: three colons in a row
    assert_eq!(with_uri("sip:user@[2001:db8:::192.0.2.1]").unwrap_err().status, 400);
    assert_eq!(host("[2001:DB8::1]"), host("[2001:db8:0::1]"));
}

#[test]
fn a_builder_refuses_what_is_not_its_own() {
    let begin = || Request::builder(Method::Message, Uri::sip(host("b.example")));
    assert_eq!(begin().header(Name::Via, Value::new("x").unwrap()).unwrap_err(), Unencodable::Managed(Name::Via));
    assert_eq!(begin().named_header("l", Value::new("9").unwrap()).unwrap_err(), Unencodable::Managed(Name::ContentLength));
    assert!(begin().call_id("a\r\nb").is_err());
    assert_eq!(begin().build().unwrap_err(), Unencodable::Missing("From"));
    assert!(Method::new("A B").is_err() && Method::new("X\r\n").is_err() && Method::new("").is_err());
    assert!(Host::new("a\r\nb").is_err() && Host::new("").is_err());
    let full = build("x");
    assert!(Response::to_request(&full, 200, None, None).unwrap().with_reason("OK\r\nX: y").is_err());
}

#[test]
fn debug_shows_no_person_and_no_text() {
    let built = build("secret words");
    let draft = Request::builder(Method::Message, built.uri().clone()).body(ContentType::new("text", "plain").unwrap(), "secret");
    let shown = format!("{built:?} {draft:?} {:?} {:?}", built.from(), built.headers());
    assert!(!shown.contains("alice") && !shown.contains("secret"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(bytes.into());
    }

    /// Sound messages with a few bytes changed: nearer to the edges than noise.
    #[test]
    fn a_damaged_message_is_refused_or_stable(changes in proptest::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\0\r\n\t \"<>;:,@%/\\()[]=?a0\x80".to_vec())), 1..6)) {
        let mut bytes = message("Contact: \"Q \\\" x\" <sip:a@[::1]:5060;lr?h=v>;p=\"q\", <sip:b@c>\r\nEvent: presence\r\nContent-Length: 5\r\n", b"hello");
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let mut stream = StreamDecoder::new(Limits::default());
        stream.push(&bytes);
        while stream.next_event().is_some() {}
        if let Ok(first) = decode(bytes.into()) {
            let _ = (first.headers().addresses(Name::Contact).count(), first.headers().vias().count());
            let written = first.encode();
            let second = decode(written.clone()).unwrap();
            prop_assert!(first == second);
            prop_assert_eq!(second.encode(), written);
        }
    }

    #[test]
    fn any_name_and_user_come_back(display in "[^\\p{Cc}]{0,20}", user in "[^\\p{Cc}]{1,20}", tag in "[a-z0-9]{1,10}") {
        let uri = Uri::sip_user(&user, host("b.example")).unwrap();
        let address = NameAddr::new(uri).with_display(&display).unwrap().with_tag(&tag).unwrap();
        let read = NameAddr::parse(address.to_string().as_bytes()).unwrap();
        prop_assert_eq!(read.display(), Some(display.as_str()));
        prop_assert_eq!(read.uri().user_bytes().unwrap(), user.as_bytes());
        prop_assert_eq!(read, address);
    }

    /// Security row 29: whatever text is given, the message has the lines it was built with, or is not built.
    #[test]
    fn no_text_makes_another_line(text in any::<String>()) {
        let Ok(value) = Value::new(&text) else { return Ok(()) };
        let answer = Response::to_request(&build("x"), 200, Some("t"), None).unwrap().with_named_header("X-Note", value).unwrap();
        let read = response(answer.encode());
        prop_assert_eq!(read.headers().len(), answer.headers().len());
        prop_assert!(read == answer);
    }

    #[test]
    fn any_split_gives_the_same_messages(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..5), cuts in proptest::collection::vec(1usize..200, 0..30), damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>()))) {
        let mut bytes = Vec::new();
        for body in &bodies {
            bytes.extend(message(&format!("Content-Length: {}\r\n", body.len()), body));
            bytes.extend_from_slice(b"\r\n\r\n");
        }
        if let Some((place, byte)) = damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = events(std::iter::once(bytes.as_slice()));
        if damage.is_none() {
            prop_assert_eq!(whole.len(), bodies.len() * 2);
        }
        let mut portions = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (portion, after) = rest.split_at(cut.min(rest.len()));
            portions.push(portion);
            rest = after;
        }
        portions.push(rest);
        prop_assert_eq!(events(portions.into_iter()), whole);
    }
}

/// Everything but pongs: the first half of a ping is told as one if the second half is late.
fn events<'a>(portions: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut stream = StreamDecoder::new(Limits::default());
    let mut events = Vec::new();
    for portion in portions {
        stream.push(portion);
        while let Some(event) = stream.next_event() {
            match event {
                StreamEvent::Pong => {}
                StreamEvent::Ping => events.push("ping".to_owned()),
                StreamEvent::Message(message) => events.push(message.encode().escape_ascii().to_string()),
                StreamEvent::Rejected(rejected) => events.push(format!("{rejected} {}", rejected.framing_lost)),
            }
        }
    }
    events
}

/// Not a measurement, but a tripwire: a plain MESSAGE is read, answered and written in microseconds.
#[test]
fn a_message_costs_microseconds() {
    let bytes = build(&"x".repeat(200)).encode();
    let started = std::time::Instant::now();
    for _ in 0..10_000 {
        let Ok(Message::Request(read)) = decode_datagram(bytes.clone(), &Limits::default()) else { panic!() };
        assert_eq!(read.cseq().number, 1);
    }
    let each = started.elapsed() / 10_000;
    println!("{} bytes, {each:?} each", bytes.len());
    assert!(each < std::time::Duration::from_micros(500));
}
