//! The 49 messages of RFC 4475 by their names, in words of our own, with the outcome the RFC asks for.

mod support;

use sip_codec::{Limits, Message, Method, Name, Request, Response, Scheme, StreamDecoder, StreamEvent, Transport};
use support::{decode, request, response, vector};

enum Expect {
    /// Sound; and this holds of it.
    Request(fn(&Request)),
    /// Sound; and this holds of it.
    Response(fn(&Response)),
    /// Refused, with an answer of this status.
    Answered(u16),
    /// Refused without an answer.
    Dropped,
}
use Expect::*;

#[rustfmt::skip]
const TABLE: &[(&str, Expect)] = &[
    ("wsinv", Request(|r| {
        assert!(r.uri().has_param("unknownparam"));
        assert_eq!(r.to().tag(), Some("1918181833n"));
        assert_eq!(r.from().display(), Some("J Rosen \\\""));
        assert_eq!(r.from().tag(), Some("98asjd8"));
        assert_eq!(r.max_forwards(), Some(68));
        assert_eq!(r.cseq().number, 9);
        assert_eq!(r.headers().first(Name::Subject).map(|subject| subject.as_bytes()), Some(b"".as_slice()));
        assert_eq!(values(r, "newfangledheader"), ["newfangled value continued newfangled value"]);
        assert_eq!(values(r, "UnknownHeaderWithUnusualValue"), [";;,,;;,;"]);
        let vias: Vec<_> = r.headers().vias().map(Result::unwrap).collect();
        assert_eq!(vias.iter().map(|via| via.host().as_str()).collect::<Vec<_>>(), ["192.0.2.2", "spindle.a.example", "192.168.255.111"]);
        assert_eq!(vias.iter().map(|via| via.branch().unwrap()).collect::<Vec<_>>(), ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]);
        let route = r.headers().addresses(Name::Route).next().unwrap().unwrap();
        assert!(route.uri().has_param("lr") && route.uri().param("unknownwith") == Some("value") && route.uri().has_param("unknown-no-value"));
        let contact = r.headers().addresses(Name::Contact).next().unwrap().unwrap();
        assert_eq!(contact.display(), Some("Quoted string \"\""));
        assert_eq!((contact.param("newparam"), contact.params().has("secondparam"), contact.param("q")), (Some("newvalue"), true, Some("0.33")));
    })),
    ("intmeth", Request(|r| {
        assert_eq!(r.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
        assert_eq!(r.uri().user(), Some("1_odd.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
        assert_eq!(r.uri().password(), Some("&it+has=1,odd!*pas$wo~d_too.(doesn't-it)"));
        assert_eq!(r.to().display(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
        assert_eq!(r.from().display(), Some("token1~` token2'+_ token3*%!.-"));
        assert_eq!(r.from().param("fromParam''~+*_!.-%"), Some("работающий"));
        assert_eq!(r.from().tag(), Some("_token~1'+`*%!-."));
        assert_eq!(r.call_id(), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
        assert_eq!(r.max_forwards(), Some(255));
        assert_eq!(values(r, "extensionHeader-!.%*+_`'~"), ["大停電"]);
    })),
    ("esc01", Request(|r| {
        assert_eq!(r.uri().user_bytes().unwrap(), b"sips:user@a.example");
        assert_eq!(r.to().uri().user_bytes().unwrap(), b"user");
        assert_eq!(r.from().uri().user_bytes().unwrap(), b"I have spaces");
        let contact = r.headers().addresses(Name::Contact).next().unwrap().unwrap();
        assert_eq!(contact.uri().user_bytes().unwrap(), b"caller");
        assert_eq!(sip_codec::percent_decode(contact.uri().param("n%61me").unwrap()), b"value%41");
    })),
    ("escnull", Request(|r| {
        assert_eq!(r.to().uri().user_bytes().unwrap(), b"null-\0-null");
        let contacts: Vec<_> = r.headers().addresses(Name::Contact).map(|contact| contact.unwrap().uri().user_bytes().unwrap()).collect();
        assert_eq!(contacts, [b"\0".to_vec(), b"\0\0".to_vec()]);
    })),
    ("esc02", Request(|r| {
        assert_ne!(*r.method(), Method::Register);
        assert_eq!(r.method().as_str(), "RE%47IST%45R");
        assert_eq!(r.to().display(), Some("%Z%45"));
        assert_eq!(r.headers().addresses(Name::Contact).count(), 2);
        assert_eq!(values(r, "C%6Fntact"), ["<sip:alias2@host2.b.example>"]);
    })),
    ("lwsdisp", Request(|r| assert_eq!((r.from().display(), r.from().tag()), (Some("caller"), Some("323"))))),
    ("longreq", Request(|r| {
        assert_eq!(r.via_count(), 33);
        assert_eq!(r.headers().vias().last().unwrap().unwrap().branch(), Some("z9hG4bK1928"));
        assert!(r.to().display().unwrap().ends_with("extreme proportion"));
        assert_eq!(r.to().uri().port(), Some(6000));
        assert_eq!(r.from().params().iter().count(), 3);
    })),
    ("dblreq", Request(|r| assert_eq!((r.method(), r.call_id(), r.body().len()), (&Method::Register, "dblreq.1", 0)))),
    ("semiuri", Request(|r| {
        assert_eq!(r.uri().user(), Some("user;par=u%40a.example"));
        assert_eq!(r.uri().host().unwrap().as_str(), "b.example");
        assert_eq!(r.headers().tokens(Name::Accept).count(), 6);
    })),
    ("transports", Request(|r| {
        let transports: Vec<_> = r.headers().vias().map(|via| via.unwrap().transport().clone()).collect();
        assert_eq!(transports, [Transport::Udp, Transport::Other("SCTP".into()), Transport::Tls, Transport::Other("UNKNOWN".into()), Transport::Tcp]);
    })),
    ("mpart01", Request(|r| {
        assert_eq!(r.headers().content_type().unwrap().unwrap().param("boundary"), Some("7a9cbec02ceef655"));
        let binary = b"\x30\x82\x01\x52\x06\x09\x2a\x86\x48\x00\r\n\r\n\xff\xc0\x80";
        assert!(r.body().windows(binary.len()).any(|window| window == binary));
        assert!(r.body().ends_with(b"--7a9cbec02ceef655--\r\n"));
    })),
    ("unreason", Response(|r| assert_eq!((r.status(), &*r.reason()), (200, "= 2**3 * 5**2 но сто девяносто девять - простое")))),
    ("noreason", Response(|r| assert_eq!((r.status(), &*r.reason()), (100, "")))),
    ("badinv01", Answered(400)),
    ("clerr", Answered(400)),
    ("ncl", Answered(400)),
    ("scalar02", Answered(400)),
    ("scalarlg", Dropped),
    ("quotbal", Answered(400)),
    ("ltgtruri", Answered(400)),
    ("lwsruri", Answered(400)),
    ("lwsstart", Answered(400)),
    ("trws", Answered(400)),
    ("escruri", Answered(400)),
    // The RFC leaves it open to be strict or to ignore the Date: a codec keeps it as text
    ("baddate", Request(|r| assert_eq!(values(r, "Date"), ["Fri, 01 Jan 2010 16:00:00 EST"]))),
    // Mandatory headers are sound; who needs the Contact sees that it is not, and answers 400
    ("regbadct", Request(|r| assert!(r.headers().addresses(Name::Contact).next().unwrap().is_err()))),
    // Open in the RFC; taken liberally
    ("badaspec", Request(|r| {
        assert_eq!(r.to().display(), Some("Watson, Thomas"));
        assert_eq!(r.to().uri().to_string(), "sip:t.watson@a.example");
    })),
    // Open in the RFC; taken strictly, since a comma divides lists
    ("baddn", Answered(400)),
    ("badvers", Answered(505)),
    ("mismatch01", Answered(400)),
    // 501 would do as well
    ("mismatch02", Answered(400)),
    ("bigcode", Dropped),
    ("badbranch", Request(|r| assert!(!r.via().has_unique_branch()))),
    ("insuf", Answered(400)),
    // 416, which is a matter of what the receiver serves
    ("unkscm", Request(|r| assert_eq!((r.uri().scheme(), r.uri().opaque()), (&Scheme::Other("nobodyknowsthisscheme".into()), Some("totallyopaquecontent"))))),
    ("novelsc", Request(|r| assert_eq!(r.uri().scheme(), &Scheme::Other("soap.beep".into())))),
    ("unksm2", Request(|r| {
        assert_eq!(r.to().uri().opaque(), Some("2983792873"));
        assert_eq!(r.from().uri().to_string(), "http://www.b.example");
        assert_eq!(r.from().tag(), Some("3234233"));
        assert_eq!(r.headers().addresses(Name::Contact).next().unwrap().unwrap().uri().opaque(), Some("John_Smith"));
    })),
    // 420
    ("bext01", Request(|r| {
        assert_eq!(r.headers().tokens(Name::Require).collect::<Vec<_>>(), ["nothingSupportsThis", "nothingSupportsThisEither"]);
        assert_eq!(r.headers().tokens(Name::ProxyRequire).count(), 2);
    })),
    // 415
    ("invut", Request(|r| assert!(r.headers().content_type().unwrap().unwrap().is("application", "unknownformat")))),
    ("regaut01", Request(|r| assert_eq!(values(r, "Authorization"), ["NoOneKnowsThisScheme opaque-data=here"]))),
    ("multi01", Answered(400)),
    ("mcl01", Answered(400)),
    // For the transaction layer to drop: it is not for us, and has two Via
    ("bcast", Response(|r| {
        assert_eq!(r.via_count(), 2);
        assert_eq!(r.headers().vias().nth(1).unwrap().unwrap().host().as_str(), "255.255.255.255");
    })),
    // 483 from whom it would pass on
    ("zeromf", Request(|r| assert_eq!(r.max_forwards(), Some(0)))),
    ("cparam01", Request(|r| {
        let contact = r.headers().addresses(Name::Contact).next().unwrap().unwrap();
        assert!(contact.params().has("unknownparam") && !contact.uri().has_param("unknownparam"));
    })),
    ("cparam02", Request(|r| {
        let contact = r.headers().addresses(Name::Contact).next().unwrap().unwrap();
        assert!(!contact.params().has("unknownparam") && contact.uri().has_param("unknownparam"));
    })),
    ("regescrt", Request(|r| {
        let contact = r.headers().addresses(Name::Contact).next().unwrap().unwrap();
        assert_eq!(contact.uri().headers(), Some("Route=%3Csip:sip.b.example%3E"));
    })),
    ("sdp01", Request(|r| assert!(r.headers().has_token(Name::Accept, "text/nobodyKnowsThis")))),
    ("inv2543", Request(|r| {
        assert_eq!((r.via().branch(), r.from().tag(), r.max_forwards()), (None, None, None));
        assert_eq!(r.to().param("user"), Some("phone"));
        assert_eq!(r.from().uri().param("user"), Some("phone"));
        assert_eq!(&r.body()[..], b"v=0\r\n");
    })),
];

fn values(request: &Request, name: &str) -> Vec<String> {
    request.headers().named(name).map(|value| value.text().into_owned()).collect()
}

#[test]
fn every_message_has_its_outcome() {
    assert_eq!(TABLE.len(), 49);
    for (name, expect) in TABLE {
        println!("{name}");
        match expect {
            Request(check) => check(&request(vector(name))),
            Response(check) => check(&response(vector(name))),
            Answered(status) => {
                let rejected = decode(vector(name)).expect_err(name);
                assert_eq!(rejected.status, *status, "{name}: {rejected}");
                let answer = rejected.to_response("tag1", None).expect(name);
                assert!(answer.starts_with(format!("SIP/2.0 {status} ").as_bytes()), "{name}");
            }
            Dropped => assert!(decode(vector(name)).expect_err(name).to_response("tag1", None).is_none(), "{name}"),
        }
    }
}

#[test]
fn what_is_sound_survives_being_written() {
    for (name, expect) in TABLE {
        if matches!(expect, Request(_) | Response(_)) {
            let first = decode(vector(name)).unwrap();
            let written = first.encode();
            let second = decode(written.clone()).unwrap();
            assert!(first == second, "{name}");
            assert_eq!(second.encode(), written, "{name}");
        }
    }
}

#[test]
fn the_answer_echoes_what_could_be_read() {
    let answer =
        |name: &str| String::from_utf8(decode(vector(name)).unwrap_err().to_response("tag1", None).unwrap().to_vec()).unwrap();
    assert_eq!(
        answer("insuf"),
        "SIP/2.0 400 Missing From\r\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf\r\nCSeq: 193942 INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    // No tag where it would fall inside the open quote
    assert!(answer("quotbal").contains("To: \"Mr. J. User <sip:j.user@b.example>\r\n"));
    assert!(answer("lwsstart").contains("To: sip:user@b.example;tag=tag1\r\n"));
    assert!(answer("badinv01").contains("Via: SIP/2.0/UDP 192.0.2.15;;,;,,\r\n"));
}

#[test]
fn two_messages_on_a_stream_are_two() {
    let mut stream = StreamDecoder::new(Limits::default());
    stream.push(&vector("dblreq"));
    let mut methods = Vec::new();
    while let Some(event) = stream.next_event() {
        match event {
            StreamEvent::Message(Message::Request(request)) => methods.push(request.method().clone()),
            StreamEvent::Pong => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(methods, [Method::Register, Method::Invite]);
}

#[test]
fn a_bad_start_line_on_a_stream_keeps_the_framing() {
    for (name, lost) in [
        ("lwsstart", false),
        ("trws", false),
        ("ltgtruri", false),
        ("badvers", false),
        ("ncl", true),
        ("mcl01", true),
        ("inv2543", true),
    ] {
        let mut stream = StreamDecoder::new(Limits::default());
        stream.push(&vector(name));
        match stream.next_event() {
            Some(StreamEvent::Rejected(rejected)) => assert_eq!(rejected.framing_lost, lost, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(stream.is_dead(), lost, "{name}");
    }
}
