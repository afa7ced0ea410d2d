//! Formatted text in XMPP: XHTML-IM (XEP-0071) from clients that write it, and to links that want it.

use crate::common::{Hub, link};
use interchange_adapter::ConnId;
use interchange_model::{Address, Body, Colour, Envelope, Hyperlink, Plain, Relation, Rich, Span, Style, Text, Up, Words};

const XHTML_IM: &str = r#"{"xhtml_im":true}"#;

fn hub(settings: &str) -> Hub {
    Hub::new(&[link("acme", &["a.example"], settings), link("globex", &["c.example"], settings)], &["b.example"])
}

/// What a chat message from Alice with this inside becomes.
fn submitted(hub: &mut Hub, conn: ConnId, inside: &str) -> Envelope {
    hub.told();
    hub.receive(conn, &format!("<message from='alice@a.example/x' to='bob@b.example' type='chat' id='m1'>{inside}</message>"));
    assert_eq!(hub.closed(conn), None, "{inside}");
    let told = hub.told();
    let [Up::Submit { envelope, .. }] = &told[..] else { panic!("{inside}: {told:?}") };
    (**envelope).clone()
}

fn said(inside: &str) -> Text {
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    let Body::Text(text) = submitted(&mut hub, conn, inside).body else { panic!("{inside}") };
    text
}

/// What Alice's server hears of a text of Bob's, who is on another platform.
fn told(settings: &str, text: Text) -> String {
    let mut hub = hub(settings);
    let envelope = crate::common::text("bob@b.example", "alice@a.example", "");
    hub.deliver("acme", 1, Envelope { origin: "sip".into(), body: Body::Text(text), ..envelope });
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    heard.split("<iq ").next().unwrap().to_owned()
}

fn html(inside: &str) -> String {
    format!("<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>{inside}</body></html>")
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

fn bold_x(more: &str) -> Text {
    let spans = [span("x", bold()), span(more, Style::default())];
    Text { plain: Plain::new(&format!("x{more}")), rich: Some(rich(&spans)), ..Text::default() }
}

#[test]
fn case_16_xhtml_im_is_read_beside_the_body() {
    let text = said(&format!(
        "<body>plain</body>{}",
        html("<p>a <strong>b</strong><br/><span style='color: #f00'>c</span><script>alert(1)</script></p>")
    ));
    let red = Style { colour: Some(Colour([255, 0, 0])), ..Style::default() };
    let look = rich(&[span("a ", Style::default()), span("b", bold()), Span::Break, span("c", red)]);
    assert_eq!((text.plain.as_str(), text.rich), ("plain", Some(look)));
    // With prefixes of its own, and references that are gone when it is read.
    let text = said(
        "<body>x</body><h:html xmlns:h='http://jabber.org/protocol/xhtml-im'><b:body xmlns:b='http://www.w3.org/1999/xhtml'>\
         <b:em>&lt;b&gt;&#160;&#160;x</b:em></b:body></h:html>",
    );
    let italic = Style { italic: true, ..Style::default() };
    assert_eq!(text.rich, Some(rich(&[span("<b>  x", italic)])));
    // Without a look of its own it says nothing more.
    assert_eq!(said(&format!("<body>x</body>{}", html("<p>x</p>"))).rich, None);
    // In another namespace it is something else.
    assert_eq!(
        said("<body>x</body><html xmlns='urn:x'><body xmlns='http://www.w3.org/1999/xhtml'><b>y</b></body></html>").rich,
        None
    );
    // Without a body its words are the body.
    let text = said(&html("<p>a</p><ul><li>b</li></ul>"));
    assert_eq!((text.plain.as_str(), text.rich.is_some()), ("a\n- b", true));
}

#[test]
fn case_21_it_is_in_the_language_of_the_body() {
    let look = "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml' xml:lang='de'><b>hallo</b></body>\
        <body xmlns='http://www.w3.org/1999/xhtml' xml:lang='en'><b>hello</b></body></html>";
    let text = said(&format!("<body xml:lang='en'>hello</body><body xml:lang='de'>hallo</body>{look}"));
    assert_eq!((text.plain.as_str(), text.rich), ("hello", Some(rich(&[span("hello", bold())]))));
    let text = said(&format!("<body xml:lang='cs'>ahoj</body><body xml:lang='de'>hallo</body>{look}"));
    assert_eq!((text.plain.as_str(), text.rich), ("ahoj", None));
}

#[test]
fn abuse_31_nothing_harmful_is_carried() {
    let inside = html(
        "<p onclick='x()'><a href='javascript:alert(1)'>a</a><a href='https://a.example/'>b</a>\
         <iframe src='https://evil.example/'>c</iframe><img src='data:x' alt='d'/><style>e</style></p>",
    );
    let text = said(&format!("<body>x</body>{inside}"));
    let style = Style { link: Hyperlink::parse("https://a.example/"), ..Style::default() };
    assert_eq!(text.rich, Some(rich(&[span("a", Style::default()), span("b", style), span("d", Style::default())])));
    // Deep and long.
    let deep = format!("{}x{}", "<b>".repeat(50), "</b>".repeat(50));
    assert_eq!(said(&format!("<body>x</body>{}", html(&deep))).rich, Some(rich(&[span("x", bold())])));
    let long = "<b>x</b><i>y</i>".repeat(2_000);
    let text = said(&format!("<body>x</body>{}", html(&long)));
    assert_eq!((text.plain.as_str(), text.rich), ("x", None));
}

#[test]
fn case_27_beside_encrypted_words_nothing_is_read() {
    let text = said(&format!("<body>encrypted</body>{}<encryption xmlns='urn:xmpp:eme:0'/>", html("<b>secret</b>")));
    assert_eq!((text.plain.as_str(), text.rich, text.encrypted), ("encrypted", None, true));
}

#[test]
fn case_16_it_goes_out_plain_unless_the_link_asks() {
    let heard = told("{}", bold_x(" y"));
    assert!(heard.contains("<body>x y</body>") && !heard.contains("xhtml") && !heard.contains("unstyled"), "{heard}");
    let heard = told(XHTML_IM, bold_x(" <y>"));
    assert!(
        heard.contains(
            "<body>x &lt;y&gt;</body><html xmlns=\"http://jabber.org/protocol/xhtml-im\"><body xmlns=\"http://www.w3.org/1999/xhtml\">\
             <p><strong>x</strong> &lt;y&gt;</p></body></html>"
        ),
        "{heard}"
    );
    let heard = told(XHTML_IM, Text { plain: "x".into(), ..Text::default() });
    assert!(!heard.contains("xhtml"), "{heard}");
}

#[test]
fn what_only_looks_like_marks_is_said_to_be_none() {
    const UNSTYLED: &str = "<unstyled xmlns='urn:xmpp:styling:0'/>";
    for (more, is_unstyled) in [(" 2*3", true), ("_", true), ("~", true), ("`", true), (" > y", false)] {
        assert_eq!(told("{}", bold_x(more)).contains(UNSTYLED), is_unstyled, "{more}");
    }
    // Where no formatting was told, a person may have meant them.
    assert!(!told("{}", Text { plain: "*x*".into(), ..Text::default() }).contains(UNSTYLED));
}

#[test]
fn words_that_say_more_than_the_formatted_text_go_alone() {
    let files = vec![interchange_model::SharedFile { url: "https://a.example/x".into(), description: None }];
    let heard = told(XHTML_IM, Text { files, ..bold_x("") });
    assert!(heard.contains("<body>x\nhttps://a.example/x</body>") && !heard.contains("xhtml"), "{heard}");
}

#[test]
fn abuse_33_formatting_is_never_a_reason_to_refuse_words() {
    let words = "x".repeat(8_000);
    let look = rich(&[span(&words, bold())]);
    let text = Text { plain: words.as_str().into(), rich: Some(look), ..Text::default() };
    let heard = told(r#"{"xhtml_im":true,"max_stanza":10000}"#, text.clone());
    assert!(heard.contains(&format!("<body>{words}</body>")) && !heard.contains("xhtml"));
    assert!(told(XHTML_IM, text).contains("xhtml"));
}

#[test]
fn between_xmpp_servers_it_is_passed_on_as_it_is() {
    let inside = html("<p class='q'><span style='font-family: serif'>*x*</span></p>");
    for settings in ["{}", XHTML_IM] {
        let mut hub = hub(settings);
        let conn = hub.authenticated("a.example", "b.example");
        let envelope = submitted(&mut hub, conn, &format!("<body>*x*</body>{inside}"));
        assert!(matches!(&envelope.body, Body::Text(Text { relation: None::<Relation>, rich: Some(_), .. })), "{envelope:?}");
        hub.deliver("globex", 1, Envelope { to: Address::parse("carol@c.example").unwrap(), ..envelope });
        let out = hub.answer_dial("a.example", "c.example");
        let heard = hub.heard(out);
        assert!(heard.contains(&format!("<body>*x*</body>{inside}</message>")), "{heard}");
    }
}
