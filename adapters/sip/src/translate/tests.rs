use super::*;
use bytes::Bytes;
use interchange_model::{Address, Domain, Rich, Span, Style, TextKind, Words};
use proptest::prelude::*;
use sip_codec::{Host, Limits, Message, decode_datagram};

use crate::body;

fn up_to(max_text: usize) -> Manner {
    Manner { max_text, imdn: false, html: false }
}

fn hub() -> Hub {
    Hub {
        sent_by: SentBy { host: Host::new("hub.example").unwrap(), port: None },
        mark: "00ff".into(),
        references: References::new(b"secret"),
    }
}

fn moment() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

fn envelope(from: Address, to: Address, text: Text) -> Envelope {
    Envelope {
        id: MessageId::new(moment(), 0x1234_5678_9abc_def0_1122),
        origin: "acme".into(),
        from,
        from_device: None,
        to,
        to_device: None,
        native_id: None,
        accepted: moment(),
        hops: 70,
        native: None,
        body: Body::Text(text),
    }
}

fn alice_to_bob(text: Text) -> Envelope {
    envelope(Address::parse("alice@a.example").unwrap(), Address::parse("bob@b.example").unwrap(), text)
}

fn encoded(builder: RequestBuilder) -> Bytes {
    let via = hub().via(interchange_adapter::Transport::Tls).unwrap().with_branch("z9hG4bK-hub-1").unwrap();
    builder.via(via).build().unwrap().encode()
}

fn sent(envelope: &Envelope) -> String {
    let Body::Text(text) = &envelope.body else { panic!() };
    String::from_utf8(encoded(to_request(envelope, text, &hub(), up_to(65_536)).unwrap().unwrap()).to_vec()).unwrap()
}

/// What the other side would make of our bytes.
fn read_back(bytes: Bytes) -> Envelope {
    let Message::Request(request) = decode_datagram(bytes, &Limits::default()).unwrap() else { panic!() };
    let from = address::from_sender_uri(request.from().uri()).unwrap();
    let to = address::from_uri(request.uri()).unwrap();
    let media = request.headers().content_type().unwrap();
    let Some(body::Said::Words(words)) = body::read(media.as_ref(), request.body(), &from.address).unwrap() else {
        panic!("words")
    };
    to_envelope(&request, from, to, words, MessageId(1), "b".into(), moment())
}

#[test]
fn case_1_what_a_message_looks_like_on_the_wire() {
    let text = Text { plain: "hi\nyou".into(), ..Text::default() };
    let id = alice_to_bob(text.clone()).id.to_string();
    assert_eq!(
        sent(&alice_to_bob(text)),
        "MESSAGE sip:bob@b.example SIP/2.0\r\n\
         Via: SIP/2.0/TLS hub.example;alias;branch=z9hG4bK-hub-1\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@a.example>;tag=FROMTAG\r\n\
         To: <sip:bob@b.example>\r\n\
         Call-ID: CALLID@hub.example\r\n\
         CSeq: 1 MESSAGE\r\n\
         Date: Fri, 15 Jan 2027 08:00:00 GMT\r\n\
         X-Hub-Trace: CALLID;hub=00ff\r\n\
         Content-Type: text/plain;charset=UTF-8\r\n\
         Content-Length: 7\r\n\r\nhi\r\nyou"
            .replace("CALLID", &id)
            .replace("FROMTAG", &id[16..])
    );
}

#[test]
fn case_13_content_length_counts_bytes() {
    let words = "<>&\"'\u{1F600}";
    let wire = sent(&alice_to_bob(Text { plain: words.into(), ..Text::default() }));
    assert!(wire.ends_with(&format!("Content-Length: 9\r\n\r\n{words}")), "{wire}");
}

#[test]
fn case_20_and_22_language_and_subject() {
    let text =
        Text { plain: "nazdar".into(), subject: Some("Lunch\nnow".into()), language: Some("cs".into()), ..Text::default() };
    let wire = sent(&alice_to_bob(text.clone()));
    assert!(wire.contains("\r\nSubject: Lunch now\r\n") && wire.contains("\r\nContent-Language: cs\r\n"), "{wire}");
    let back = read_back(Bytes::from(wire));
    let want = Text { subject: Some("Lunch now".into()), ..text };
    assert_eq!(back.body, Body::Text(want));
    // A subject without words is the words; nothing at all is nothing to send.
    let only = alice_to_bob(Text { subject: Some("Lunch".into()), kind: TextKind::Single, ..Text::default() });
    assert!(sent(&only).ends_with("\r\n\r\nLunch"));
    assert!(matches!(to_request(&only, &Text::default(), &hub(), up_to(100)), Ok(None)));
    let bad_tag = sent(&alice_to_bob(Text { plain: "x".into(), language: Some("c\r\ns".into()), ..Text::default() }));
    assert!(!bad_tag.contains("Content-Language"));
}

#[test]
fn case_23_a_subject_is_one_line_and_not_decoded() {
    let wire = "MESSAGE sip:alice@a.example SIP/2.0\r\nVia: SIP/2.0/UDP b.example;branch=z9hG4bK1\r\nFrom: <sip:bob@b.example>;tag=1\r\n\
        To: <sip:alice@a.example>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\ns: =?utf-8?q?a=20b?=\r\n  folded\r\n\
        c: text/plain\r\nl: 2\r\n\r\nhi";
    let Body::Text(text) = read_back(Bytes::from_static(wire.as_bytes())).body else { panic!() };
    assert_eq!(text.subject.unwrap().as_str().split_whitespace().collect::<Vec<_>>(), ["=?utf-8?q?a=20b?=", "folded"]);
}

#[test]
fn case_31_the_date_is_when_it_was_written() {
    let early = moment() - Duration::from_secs(10_800);
    let wire = sent(&alice_to_bob(Text { plain: "x".into(), written: Some(early), ..Text::default() }));
    assert!(wire.contains("\r\nDate: Fri, 15 Jan 2027 05:00:00 GMT\r\n"), "{wire}");
    let Body::Text(text) = read_back(Bytes::from(wire)).body else { panic!() };
    assert_eq!(text.written, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 - 10_800)));
    // Two clocks that differ a little, a date to come, and no date at all.
    for date in ["Fri, 15 Jan 2027 07:59:00 GMT", "Fri, 15 Jan 2027 09:00:00 GMT", "yesterday", "Fri, 15 Jan 9999 09:00:00 GMT"] {
        assert_eq!(written(date, moment()), None, "{date}");
    }
}

#[test]
fn hops_are_counted_down_and_end() {
    let text = Text { plain: "x".into(), ..Text::default() };
    let mut tired = alice_to_bob(text.clone());
    tired.hops = 0;
    assert!(matches!(to_request(&tired, &text, &hub(), up_to(100)), Err(Refusal::Loop)));
    tired.hops = 200;
    assert!(sent(&tired).contains("\r\nMax-Forwards: 70\r\n"));
    tired.hops = 3;
    assert_eq!(read_back(Bytes::from(sent(&tired))).hops, 2);
}

#[test]
fn case_25_too_large_is_refused() {
    let text = Text { plain: "x".repeat(101).as_str().into(), ..Text::default() };
    assert!(matches!(to_request(&alice_to_bob(text.clone()), &text, &hub(), up_to(100)), Err(Refusal::TooLarge)));
    assert!(to_request(&alice_to_bob(text.clone()), &text, &hub(), up_to(101)).is_ok());
}

#[test]
fn a_notice_says_when_and_why_and_never_what() {
    let failed = alice_to_bob(Text { plain: "secret".into(), ..Text::default() });
    let notice = failed.failure(MessageId(9), Refusal::NoSuchUser, moment()).unwrap();
    let Body::Failure(failure) = &notice.body else { panic!() };
    let wire = |more| String::from_utf8(encoded(to_notice(&notice, failure, more, &hub()).unwrap()).to_vec()).unwrap();
    assert!(wire(0).starts_with("MESSAGE sip:alice@a.example SIP/2.0\r\n"));
    assert!(wire(0).contains("\r\nFrom: <sip:bob@b.example>;tag="));
    assert!(wire(0).ends_with(
        "\r\n\r\nYour message of 2027-01-15 08:00:00 UTC was not delivered. The recipient's server knows no such user."
    ));
    assert!(wire(1).ends_with(" One more message was not delivered either."));
    assert!(wire(7).ends_with(" 7 more messages were not delivered either."));
    assert!(!wire(0).contains("secret"));
    let late = Failure { of: None, ..failure.clone() };
    let late = String::from_utf8(encoded(to_notice(&notice, &late, 0, &hub()).unwrap()).to_vec()).unwrap();
    assert!(late.contains("\r\n\r\nYour message was not delivered."));
}

#[test]
fn machines_are_told_nothing() {
    for (user, wanted) in [("msilo", false), ("MAILER-DAEMON", false), ("noreply+1", false), ("no-reply", false), ("bob", true)] {
        let person = Address::new(user, Domain::parse("b.example").unwrap()).unwrap();
        assert_eq!(takes_notices(&person), wanted, "{user}");
    }
}

proptest! {
    #[test]
    fn any_text_and_any_address_survive_or_are_refused(
        from in "\\PC{1,30}", to in "\\PC{1,30}", words in any::<String>(), subject in proptest::option::of("\\PC{1,30}"),
    ) {
        let domain = Domain::parse("b.example").unwrap();
        let (Ok(from), Ok(to)) = (Address::new(&from, domain.clone()), Address::new(&to, domain)) else { return Ok(()) };
        let text = Text { plain: words.as_str().into(), subject: subject.as_deref().map(Plain::new), ..Text::default() };
        let before = envelope(from, to, text.clone());
        let Ok(Some(request)) = to_request(&before, &text, &hub(), up_to(65_536)) else { return Ok(()) };
        let after = read_back(encoded(request));
        prop_assert_eq!((after.from.user(), after.to.user()), (before.from.user(), before.to.user()));
        let Body::Text(back) = after.body else { panic!() };
        let sent = if text.plain.is_empty() { text.subject.clone().unwrap() } else { text.plain.clone() };
        prop_assert_eq!(back.plain, sent);
        prop_assert_eq!(back.subject.map(|s| s.as_str().to_owned()), subject.map(|s| s.trim_matches([' ', '\t']).to_owned()).filter(|s| !s.is_empty()));
    }

    #[test]
    fn case_17_any_formatted_text_survives(
        pieces in prop::collection::vec(("[ -~\t\n\u{a0}\u{1f600}]{0,12}|(?s).{0,8}", any::<bool>(), any::<bool>()), 1..12),
    ) {
        let spans = pieces.iter().map(|(text, bold, italic)| {
            let style = Style { bold: *bold, italic: *italic, ..Style::default() };
            Span::Words(Words { text: Plain::new(text), style })
        });
        let rich = Rich::new(spans).unwrap();
        let text = Text { plain: rich.to_plain(), rich: Some(rich.clone()), ..Text::default() };
        let sent = alice_to_bob(text.clone());
        let how = Manner { html: true, ..up_to(65_536) };
        let Ok(Some(request)) = to_request(&sent, &text, &hub(), how) else {
            prop_assert!(text.plain.is_empty());
            return Ok(());
        };
        let Body::Text(back) = read_back(encoded(request)).body else { panic!() };
        prop_assert_eq!(&back.plain, &text.plain);
        // What looks like plain text is let be.
        let says_more = rich.is_formatted() || interchange_rich_text::has_marks(text.plain.as_str());
        prop_assert_eq!(back.rich, says_more.then_some(rich));
    }

    #[test]
    fn abuse_29_nothing_from_outside_begins_a_header(subject in any::<String>(), language in any::<String>()) {
        let text = Text { plain: "x".into(), subject: Some(subject.as_str().into()), language: Some(language.as_str().into()), ..Text::default() };
        if let Ok(Some(request)) = to_request(&alice_to_bob(text.clone()), &text, &hub(), up_to(65_536)) {
            let wire = encoded(request);
            let head = wire.split(|byte| *byte == b'\n').count();
            // Start line, twelve headers at most, the empty line, the body.
            prop_assert!(head <= 15);
        }
    }
}
