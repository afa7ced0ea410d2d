//! Formatted text in SIP: HTML and multipart/alternative, in and out, and text/plain whenever that is not wanted.

use crate::common::{Hub, LB, LB_UDP, Sip, link, text, words};
use interchange_adapter::{Input, Transport};
use interchange_model::{
    Block, BlockKind, Body, Envelope, Hyperlink, Outcome, Refusal, Relation, Rich, Span, Style, Text, Wants, Words,
};

const LB_HTML: &str = r#"{"host":"sip.b.example","html":true}"#;

/// What a body is taken for.
fn taken(media: &'static str, body: &str) -> Envelope {
    let (mut hub, _) = Hub::up(LB);
    let conn = hub.accept_b();
    let envelope = hub.take(conn, &Sip { media, ..Sip::message(1, body) }.bytes());
    (*envelope).clone()
}

fn rich_of(envelope: &Envelope) -> Option<&Rich> {
    let Body::Text(text) = &envelope.body else { panic!("{envelope:?}") };
    text.rich.as_ref()
}

fn span(text: &str, style: Style) -> Span {
    Span::Words(Words { text: text.into(), style })
}

fn bold() -> Style {
    Style { bold: true, ..Style::default() }
}

fn rich(spans: &[Span]) -> Rich {
    Rich::new(spans.iter().cloned()).unwrap()
}

/// "x *y*", where `x` is bold.
fn bold_x() -> Text {
    Text { plain: "x *y*".into(), rich: Some(rich(&[span("x", bold()), span(" *y*", Style::default())])), ..Text::default() }
}

fn from_alice(text: Text) -> Envelope {
    Envelope { body: Body::Text(text), ..text_of_nothing() }
}

fn text_of_nothing() -> Envelope {
    text(1, "alice@a.example", "bob@b.example", "")
}

#[test]
fn case_16_html_alone_is_words_and_how_they_look() {
    let envelope = taken("text/html", "<b>x</b><script>y</script>");
    assert_eq!((words(&envelope), rich_of(&envelope)), ("x", Some(&rich(&[span("x", bold())]))));
    // What looks like plain text is that, and nothing more.
    let envelope = taken("text/html;charset=utf-8", "<html><body><p>hello<br>you</p></body></html>");
    assert_eq!((words(&envelope), rich_of(&envelope)), ("hello\nyou", None));
    assert!(rich_of(&taken("text/html", "2*3*4")).is_some());
    assert_eq!(rich_of(&taken("text/plain", "<b>x</b>")), None);
}

#[test]
fn case_17_of_alternatives_one_is_the_words_and_the_other_their_look() {
    let plain = "--x\r\nContent-Type: text/plain\r\n\r\nfrom plain\r\n";
    let html = "--x\r\nContent-Type: text/html\r\n\r\n<p>from <b>html</b></p>\r\n";
    let look = rich(&[span("from ", Style::default()), span("html", bold())]);
    for body in [format!("{plain}{html}--x--"), format!("{html}{plain}--x--")] {
        let envelope = taken("multipart/alternative;boundary=x", &body);
        assert_eq!((words(&envelope), rich_of(&envelope)), ("from plain", Some(&look)), "{body}");
        // In a multipart/mixed they are different things.
        let envelope = taken("multipart/mixed;boundary=x", &body);
        assert_eq!((words(&envelope), rich_of(&envelope)), ("from plain", None), "{body}");
    }
    let related = "--x\r\nContent-Type: multipart/related;boundary=y\r\n\r\n--y\r\nContent-Type: text/html\r\n\r\n<p>from <b>html</b></p>\r\n\
        --y\r\nContent-Type: image/png\r\n\r\nPNG\r\n--y--\r\n";
    let envelope = taken("multipart/alternative;boundary=x", &format!("{plain}{related}--x--"));
    assert_eq!((words(&envelope), rich_of(&envelope)), ("from plain", Some(&look)));
    let envelope = taken("multipart/alternative;boundary=x", &format!("{html}--x--"));
    assert_eq!((words(&envelope), rich_of(&envelope)), ("from html", Some(&look)));
    let unknown = "--x\r\nContent-Type: application/pdf\r\n\r\nPDF\r\n";
    assert_eq!(words(&taken("multipart/mixed;boundary=x", &format!("{unknown}{plain}--x--"))), "from plain");
}

#[test]
fn abuse_31_only_what_is_harmless_comes_through() {
    let envelope = taken(
        "text/html",
        "<a href='javascript:alert(1)' onclick='x()'>a</a><iframe src='https://evil.example'>b</iframe>\
         <img src='https://a.example/track.gif' onerror='x()'><a href='https://a.example/'>c</a><object data='x'>d</object>",
    );
    assert_eq!(words(&envelope), "ahttps://a.example/track.gifc (https://a.example/)d");
    let style = Style { link: Hyperlink::parse("https://a.example/"), ..Style::default() };
    let look = rich(&[span("ahttps://a.example/track.gif", Style::default()), span("c", style), span("d", Style::default())]);
    assert_eq!(rich_of(&envelope), Some(&look));
}

#[test]
fn abuse_33_words_are_whole_where_the_formatting_is_too_much() {
    let many = "<b>x</b><i>y</i>".repeat(2_000);
    let envelope = taken("text/html", &many);
    assert_eq!((words(&envelope).len(), rich_of(&envelope)), (4_000, None));
    // Marks that would make it longer than a message may be.
    let (mut hub, _) = Hub::up(LB);
    let conn = hub.accept_b();
    let long = format!("{}{}", "<blockquote>".repeat(8), "x<br>".repeat(12_000));
    hub.refuse(conn, &Sip { media: "text/html", ..Sip::message(2, &long) }.bytes(), 413);
}

#[test]
fn it_goes_out_plain_unless_the_link_asks() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, from_alice(bold_x()));
    let wire = hub.one(conn);
    assert_eq!((wire.header("Content-Type"), wire.body.as_str()), ("text/plain;charset=UTF-8", "x *y*"));
}

#[test]
fn case_17_a_link_that_asks_for_html_gets_both() {
    let (mut hub, conn) = Hub::up(LB_HTML);
    let envelope = from_alice(bold_x());
    hub.deliver(1, envelope.clone());
    let wire = hub.one(conn);
    let boundary = format!("part-{}", envelope.id);
    assert_eq!(wire.header("Content-Type"), format!("multipart/alternative;boundary={boundary}"));
    assert_eq!(
        wire.body,
        format!(
            "--{boundary}\r\nContent-Type: text/plain;charset=UTF-8\r\n\r\nx *y*\r\n\
             --{boundary}\r\nContent-Type: text/html;charset=UTF-8\r\n\r\n<html><body><p><b>x</b> *y*</p></body></html>\r\n--{boundary}--\r\n"
        )
    );
    hub.receive(conn, wire.answer(200, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    // Nothing to show: plain.
    hub.deliver(2, text(2, "alice@a.example", "bob@b.example", "hello"));
    assert_eq!(hub.one(conn).header("Content-Type"), "text/plain;charset=UTF-8");
}

#[test]
fn what_goes_out_comes_in_as_the_same() {
    let item = Span::Block(Block { quote: 1, kind: BlockKind::Numbered(3) });
    let look = rich(&[span("  a\tb ", bold()), Span::Break, item, span("c\u{1F600} <&>", Style::default())]);
    let sent = Text { plain: "a b\n> 3. c\u{1F600} <&>".into(), rich: Some(look.clone()), ..Text::default() };
    let (mut hub, conn) = Hub::up(LB_HTML);
    hub.sends.clear();
    hub.deliver(1, from_alice(sent.clone()));
    let links = [link("la", &["a.example"], r#"{"host":"sip.a.example"}"#), link("lc", &["b.example"], LB)];
    let mut other = Hub::named("other.example", 9, "{}", &links);
    let inbound = other.accept(Transport::Tls, "192.0.2.20:40000", Some(crate::common::proof("a.example")));
    for (on, bytes) in hub.sends.clone() {
        assert_eq!(on, conn);
        other.input(Input::Received { conn: inbound, bytes });
    }
    let (_, envelope) = other.one_submitted();
    assert_eq!((words(&envelope), rich_of(&envelope)), (sent.plain.as_str(), Some(&look)));
}

#[test]
fn a_peer_that_refuses_html_is_sent_plain_text() {
    for status in [415, 406, 488] {
        let (mut hub, conn) = Hub::up(LB_HTML);
        hub.deliver(1, from_alice(bold_x()));
        hub.deliver(2, text(2, "alice@a.example", "bob@b.example", "after"));
        let formatted = hub.one(conn);
        hub.receive(conn, formatted.answer(status, "Accept: text/plain\r\n"));
        // At once, as a request of its own, and before what follows.
        let plain = hub.one(conn);
        assert_eq!((plain.header("Content-Type"), plain.body.as_str()), ("text/plain;charset=UTF-8", "x *y*"));
        assert_eq!((formatted.header("CSeq"), plain.header("CSeq")), ("1 MESSAGE", "2 MESSAGE"));
        assert_eq!(formatted.header("Call-ID"), plain.header("Call-ID"));
        assert_ne!(formatted.branch(), plain.branch());
        assert!(hub.settled().is_empty());
        hub.receive(conn, plain.answer(200, ""));
        assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
        assert_eq!(hub.one(conn).body, "after");
    }
}

#[test]
fn a_peer_that_refuses_plain_text_as_well_is_not_asked_again() {
    let (mut hub, conn) = Hub::up(LB_HTML);
    hub.deliver(1, from_alice(bold_x()));
    for _ in 0..2 {
        let wire = hub.one(conn);
        hub.receive(conn, wire.answer(415, ""));
    }
    assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::Unsupported))]);
    assert!(hub.wire(conn).is_empty());
    // Plain at once: once.
    hub.deliver(2, text(2, "alice@a.example", "bob@b.example", "hello"));
    let wire = hub.one(conn);
    hub.receive(conn, wire.answer(415, ""));
    assert_eq!(hub.settled(), [(2, Outcome::Refused(Refusal::Unsupported))]);
}

#[test]
fn abuse_33_formatting_is_never_a_reason_to_refuse_words() {
    // A link that takes no more than the words.
    let (mut hub, conn) = Hub::up(r#"{"host":"sip.b.example","html":true,"max_message":1000}"#);
    let long = "x".repeat(900);
    let look = rich(&[span(&long, bold())]);
    hub.deliver(1, from_alice(Text { plain: long.as_str().into(), rich: Some(look), ..Text::default() }));
    let wire = hub.one(conn);
    assert_eq!((wire.header("Content-Type"), wire.body.len()), ("text/plain;charset=UTF-8", 900));
    // A datagram that would be too long.
    let udp = LB_UDP.replace('}', r#","html":true}"#);
    let mut hub = Hub::new(&[link("lb", &["b.example"], &udp)]);
    let conn = hub.bring_up("192.0.2.20");
    let long = "x".repeat(400);
    for (words, media) in [(long.as_str(), "text/plain"), ("x", "multipart/alternative")] {
        let look = rich(&[span(words, bold())]);
        hub.deliver(1, from_alice(Text { plain: words.into(), rich: Some(look), ..Text::default() }));
        let wire = hub.wire(conn).pop().unwrap();
        assert!(wire.header("Content-Type").starts_with(media), "{wire:?}");
        hub.receive(conn, wire.answer(200, ""));
    }
}

#[test]
fn words_that_say_more_than_the_formatted_text_go_alone() {
    let (mut hub, conn) = Hub::up(LB_HTML);
    hub.deliver(1, from_alice(Text { relation: Some(Relation::Correction), ..bold_x() }));
    let wire = hub.one(conn);
    assert_eq!((wire.header("Content-Type"), wire.body.as_str()), ("text/plain;charset=UTF-8", "* x *y*"));
}

#[test]
fn where_receipts_are_asked_for_both_are_in_the_cpim() {
    let (mut hub, conn) = Hub::up(r#"{"host":"sip.b.example","html":true,"imdn":true}"#);
    let wants = Wants { delivered: true, displayed: false };
    let envelope = from_alice(Text { wants, ..bold_x() });
    hub.deliver(1, envelope.clone());
    let wire = hub.one(conn);
    assert_eq!(wire.header("Content-Type"), "message/cpim");
    let inner = format!("\r\n\r\nContent-Type: multipart/alternative;boundary=part-{}\r\n\r\n--part-", envelope.id);
    assert!(wire.body.contains(&inner) && wire.body.contains("<b>x</b>"), "{}", wire.body);
}
