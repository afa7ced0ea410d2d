use super::*;
use crate::codec::{Codec, Document, Frame};
use interchange_model::{Address, Device, Domain, MessageId, Rich, Span, Style, Words};
use proptest::prelude::*;
use std::time::UNIX_EPOCH;

/// A stanza as a peer's codec would read it.
fn parsed(stanza: &str) -> Document {
    let mut codec = Codec::new(1_000_000);
    let mut document = Document::default();
    codec.push(
        &format!("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>{stanza}")
            .into(),
    );
    assert_eq!(codec.next(&mut document), Ok(Some(Frame::Open)));
    assert_eq!(codec.next(&mut document), Ok(Some(Frame::Element)), "{stanza}");
    document
}

fn content(stanza: &str) -> Content {
    to_content(parsed(stanza).root().unwrap(), None, None)
}

fn words(stanza: &str) -> Text {
    match content(stanza) {
        Content::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn envelope(body: Body) -> Envelope {
    Envelope {
        id: MessageId(7),
        origin: "sip".into(),
        from: Address::parse("o'malley@b.example").unwrap(),
        from_device: Device::new("phone"),
        to: Address::parse("alice@a.example").unwrap(),
        to_device: None,
        native_id: None,
        accepted: at(1_000_000),
        hops: 70,
        native: None,
        body,
    }
}

fn written_as(envelope: &Envelope, how: Outgoing<'_>) -> String {
    let mut out = BytesMut::new();
    push_message(&mut out, envelope, how);
    String::from_utf8(out.to_vec()).unwrap()
}

const NOW: Outgoing<'static> = Outgoing { id: Some("m1"), with_device: false, wall: UNIX_EPOCH, xhtml_im: false };

#[test]
fn a_text_is_written_with_all_it_has() {
    let text = Text {
        plain: "<hi>\n& bye".into(),
        subject: Some("Lunch".into()),
        language: Some("en-GB".into()),
        conversation: Some("t&1".into()),
        kind: TextKind::Chat,
        written: Some(at(1_000_000) + Duration::from_millis(5)),
        ..Text::default()
    };
    assert_eq!(
        written_as(&envelope(Body::Text(text)), NOW),
        r"<message from='o\27malley@b.example' to='alice@a.example' id='m1' type='chat' xml:lang='en-GB'><subject>Lunch</subject><body>&lt;hi&gt;
&amp; bye</body><thread>t&amp;1</thread><delay xmlns='urn:xmpp:delay' from='b.example' stamp='1970-01-12T13:46:40.005Z'/><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    );
}

#[test]
fn devices_are_named_where_xmpp_knows_them() {
    let to_device =
        Envelope { to_device: Device::new("lap'top"), ..envelope(Body::Text(Text { plain: "x".into(), ..Text::default() })) };
    let how = Outgoing { with_device: true, ..NOW };
    assert!(
        written_as(&to_device, how)
            .starts_with(r"<message from='o\27malley@b.example/phone' to='alice@a.example/lap&apos;top' id='m1' type='chat'>")
    );
}

#[test]
fn kinds_and_types_are_each_others() {
    for (kind, attribute) in [(TextKind::Chat, " type='chat'"), (TextKind::Single, ""), (TextKind::Headline, " type='headline'")]
    {
        let text = Text { plain: "x".into(), kind, ..Text::default() };
        let stanza = written_as(&envelope(Body::Text(text.clone())), NOW);
        assert!(stanza.contains(&format!(" id='m1'{attribute}>")), "{stanza}");
        assert_eq!(words(&stanza), text);
    }
    assert_eq!(words("<message type='invented'><body>x</body></message>").kind, TextKind::Single);
    assert_eq!(content("<message type='groupchat'><body>x</body></message>"), Content::Room);
}

#[test]
fn a_message_that_lay_long_says_so() {
    let text = envelope(Body::Text(Text { plain: "x".into(), ..Text::default() }));
    let after = |seconds: u64| written_as(&text, Outgoing { wall: at(1_000_000 + seconds), ..NOW });
    assert!(!after(60).contains("delay"));
    assert!(after(61).contains("<delay xmlns='urn:xmpp:delay' from='b.example' stamp='1970-01-12T13:46:40Z'/>"));
}

#[test]
fn a_failure_is_an_error_with_the_id_of_what_failed_and_nothing_of_its_text() {
    let failure = interchange_model::Failure {
        of: Some(MessageId(3)),
        native_id: Some("m9".into()),
        why: Refusal::NoSuchUser,
        detail: None,
    };
    assert_eq!(
        written_as(&envelope(Body::Failure(failure)), Outgoing { id: Some("m9"), ..NOW }),
        r"<message from='o\27malley@b.example' to='alice@a.example' id='m9' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>The recipient&apos;s server knows no such user.</text></error></message>"
            .replace("&apos;", "'")
    );
}

#[test]
fn of_several_bodies_the_one_without_a_language_is_taken_else_the_first() {
    let text = words("<message xml:lang='fr'><body xml:lang='en'>hi</body><body>salut</body></message>");
    assert_eq!((text.plain.as_str(), text.language.as_deref()), ("salut", Some("fr")));
    let text = words("<message><body xml:lang='en'>hi</body><body xml:lang='de'>hallo</body></message>");
    assert_eq!((text.plain.as_str(), text.language.as_deref()), ("hi", Some("en")));
    let text = to_content(parsed("<message><body>x</body></message>").root().unwrap(), Some("cs"), None);
    assert!(matches!(text, Content::Text(text) if text.language.as_deref() == Some("cs")));
    assert_eq!(words("<message xml:lang='no such; tag'><body>x</body></message>").language, None);
}

#[test]
fn case_22_a_subject_alone_is_a_text_only_where_it_stands_by_itself() {
    assert_eq!(words("<message><subject>Lunch</subject></message>").plain.as_str(), "Lunch");
    assert_eq!(content("<message type='chat'><subject>Lunch</subject></message>"), Content::Nothing);
}

#[test]
fn what_is_not_for_a_person_is_dropped_without_a_word() {
    for inside in [
        "",
        "<body/>",
        "<store xmlns='urn:xmpp:hints'/>",
        "<received xmlns='urn:xmpp:receipts'/>",
        "<acknowledged xmlns='urn:xmpp:chat-markers:0' id='m1'/>",
        "<origin-id xmlns='urn:xmpp:sid:0' id='m1'/>",
    ] {
        assert_eq!(content(&format!("<message type='chat'>{inside}</message>")), Content::Nothing, "{inside}");
    }
}

#[test]
fn abuse_6_case_80_what_others_said_is_never_unwrapped() {
    for name in ["sent", "received"] {
        let carbon = format!(
            "<message><body>outer</body><{name} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='boss@c.example'><body>pay</body></message></forwarded></{name}></message>"
        );
        assert_eq!(content(&carbon), Content::Forged);
    }
    let forwarded = "<message><body>see</body><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:server'><body>pay</body></message></forwarded><nick xmlns='http://jabber.org/protocol/nick'>Boss</nick></message>";
    assert_eq!(words(forwarded).plain.as_str(), "see");
}

#[test]
fn abuse_35_delays_of_other_domains_say_nothing() {
    let stamp = |from: &str| {
        let message = format!(
            "<message from='alice@a.example/x'><body>x</body><delay xmlns='urn:xmpp:delay' {from} stamp='2002-09-10T23:08:25Z'/></message>"
        );
        words(&message).written
    };
    assert_eq!(stamp(""), Some(at(1_031_699_305)));
    assert_eq!(stamp("from='a.example'"), Some(at(1_031_699_305)));
    assert_eq!(stamp("from='alice@A.example/x'"), Some(at(1_031_699_305)));
    assert_eq!(stamp("from='c.example'"), None);
    let bad = words("<message><body>x</body><delay xmlns='urn:xmpp:delay' stamp='yesterday'/></message>");
    assert_eq!(bad.written, None);
}

#[test]
fn limits_of_size_refuse_and_never_cut() {
    let fits = "x".repeat(MAX_TEXT);
    assert_eq!(words(&format!("<message><body>{fits}</body></message>")).plain.as_str().len(), MAX_TEXT);
    assert_eq!(content(&format!("<message><body>{fits}x</body></message>")), Content::Refused(Refusal::TooLarge));
    let subject = "x".repeat(MAX_SUBJECT + 1);
    assert_eq!(
        content(&format!("<message><subject>{subject}</subject><body>x</body></message>")),
        Content::Refused(Refusal::TooLarge)
    );
    let thread = "x".repeat(MAX_ID + 1);
    assert_eq!(words(&format!("<message><thread>{thread}</thread><body>x</body></message>")).conversation, None);
}

#[test]
fn an_answer_repeats_addresses_and_id_and_nothing_else() {
    let document =
        parsed(r"<message from='alice@a.example/x' to='o\27malley@b.example' id='&lt;1&gt;'><body>secret</body></message>");
    let mut out = BytesMut::new();
    push_error(&mut out, document.root().unwrap(), StanzaError::SERVICE_UNAVAILABLE);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        r"<message from='o\27malley@b.example' to='alice@a.example/x' id='&lt;1&gt;' type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    );
}

fn user() -> impl Strategy<Value = Address> {
    (r"[^\p{Cc}]{1,60}", "[a-z]{1,10}").prop_filter_map("an address", |(user, name)| {
        let address = Address::new(&user, Domain::parse(&format!("{name}.example")).ok()?).ok()?;
        (crate::address::escape(address.user()).len() <= 1023).then_some(address)
    })
}

proptest! {
    #[test]
    fn abuse_29_any_text_and_any_address_survive(
        plain in "\\PC{0,80}|(?s).{1,80}", subject in proptest::option::of("(?s).{1,40}"), thread in proptest::option::of("[^\\p{Cc}]{1,40}"),
        from in user(), to in user(), device in proptest::option::of("[^\\p{Cc}\u{fffe}\u{ffff}]{1,30}"), kind in 0..3usize,
    ) {
        prop_assume!(!plain.is_empty());
        let text = Text {
            plain: Plain::new(&plain),
            subject: subject.map(|subject| Plain::new(&subject)),
            conversation: thread.map(Into::into),
            kind: [TextKind::Chat, TextKind::Single, TextKind::Headline][kind],
            ..Text::default()
        };
        let device = device.and_then(|text| Device::new(&text));
        let sent = Envelope { from: from.clone(), from_device: device.clone(), to: to.clone(), ..envelope(Body::Text(text.clone())) };
        let document = parsed(&written_as(&sent, Outgoing { with_device: true, ..NOW }));
        let stanza = document.root().unwrap();
        prop_assert_eq!(to_content(stanza, None, None), Content::Text(text));
        let read = Jid::parse(stanza.attribute("from").unwrap(), &[]).unwrap();
        let person = read.person().unwrap();
        prop_assert_eq!(person.user(), from.user());
        prop_assert_eq!((person, read.device()), (from, device));
        let read = Jid::parse(stanza.attribute("to").unwrap(), &[]).unwrap();
        prop_assert_eq!(read.person(), Some(to));
    }

    #[test]
    fn case_16_any_formatted_text_survives(
        pieces in prop::collection::vec(("[ -~\n\u{a0}\u{1f600}]{0,12}|(?s)[^\t]{0,8}", any::<bool>(), any::<bool>()), 1..12),
    ) {
        let spans = pieces.iter().map(|(text, bold, strike)| {
            let style = Style { bold: *bold, strike: *strike, ..Style::default() };
            Span::Words(Words { text: Plain::new(text), style })
        });
        let rich = Rich::new(spans).unwrap();
        prop_assume!(!rich.to_plain().is_empty());
        let text = Text { plain: rich.to_plain(), rich: Some(rich.clone()), ..Text::default() };
        let document = parsed(&written_as(&envelope(Body::Text(text.clone())), Outgoing { xhtml_im: true, ..NOW }));
        let Content::Text(back) = to_content(document.root().unwrap(), None, None) else { panic!() };
        prop_assert_eq!(&back.plain, &text.plain);
        // What looks like plain text is let be.
        let says_more = rich.is_formatted() || interchange_rich_text::has_marks(text.plain.as_str());
        prop_assert_eq!(back.rich, says_more.then_some(rich));
    }
}
