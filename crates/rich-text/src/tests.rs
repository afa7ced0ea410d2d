use interchange_model::{Block, BlockKind, Colour, Hyperlink, Plain, Rich, Span, Style, Words};
use proptest::prelude::*;
use quick_xml::events::Event;

use super::*;

fn plain(html: &str) -> String {
    from_html(html).plain.as_str().to_owned()
}

fn rich(html: &str) -> Rich {
    from_html(html).rich.unwrap()
}

/// One paragraph of these.
fn paragraph(words: &[(&str, Style)]) -> Rich {
    Rich::new(words.iter().map(|(text, style)| Span::Words(Words { text: Plain::new(text), style: style.clone() }))).unwrap()
}

fn none() -> Style {
    Style::default()
}

fn bold() -> Style {
    Style { bold: true, ..none() }
}

fn italic() -> Style {
    Style { italic: true, ..none() }
}

fn coloured(red: u8, green: u8, blue: u8) -> Style {
    Style { colour: Some(Colour([red, green, blue])), ..none() }
}

#[test]
fn case_16_scripts_and_mark_up_are_gone() {
    for (html, words) in [
        ("<b>x</b><script>y</script>", "x"),
        ("<style>p{}</style>x<SCRIPT src='a'>\"</b>\"</sCript >z", "xz"),
        ("<html><head><title>t</title></head><body>x</body></html>", "x"),
        ("<head>odd<meta charset=utf-8></head>x", "x"),
        ("<head>never closed", "never closed"),
        ("<script>never closed", ""),
        ("<script>a</scripts>b</script>c", "c"),
        ("a<!-- <b> --!>-->b", "ab"),
        ("a<!-->b<!--->c", "abc"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<div>one</div><div><br></div><div>two<br></div>three", "one\n\ntwo\nthree"),
        ("  a \r\n  b\t<i> c</i> ", "a b c"),
        ("<pre>a\n  b</pre>c", "a\n  b\nc"),
        ("<pre>\r\na\r\n\tb\r\n</pre>c", "a\n\tb\nc"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
        ("<ol><li>a<li>b<ul><li>c</ul><li><p>d</p><p>e</p></ol>f", "1. a\n2. b\n- c\n3. d\n   e\nf"),
        ("<ol start=7><li>a</li><li value='9'>b</li><li>c</li></ol>", "7. a\n9. b\n10. c"),
        ("a<blockquote>b<blockquote>c</blockquote></blockquote>d", "a\n> b\n> > c\nd"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</table>", "a b\nc"),
        ("<img src=x.png alt='a  cat'>", "a cat"),
        ("<img src='https://a.example/x.png'>", "https://a.example/x.png"),
        ("<img src='data:image/png;base64,AAAA'>", ""),
        ("&lt;b&gt; &amp;amp; &#x1F600;&#65; &nope; &#0; &", "<b> &amp; \u{1F600}A &nope; \u{fffd} &"),
        ("&#150; a&nbsp;&nbsp;b", "– a  b"),
        ("1 < 2 <3", "1 < 2 <3"),
        ("<a title='>'>x</a>", "x"),
        ("<?xml version='1.0'?><!DOCTYPE html>x", "x"),
        ("<", "<"),
        ("</", ""),
        ("<a", ""),
    ] {
        assert_eq!(plain(html), words, "{html}");
    }
}

#[test]
fn abuse_31_links_show_where_they_lead() {
    for (html, words) in [
        ("<a href=\"https://b.example/x?a=1&amp;b=2\">here</a>.", "here (https://b.example/x?a=1&b=2)."),
        ("<a href='http://b.example/'>b.example</a>", "b.example"),
        ("<a href=https://b.example>https://b.example</a>", "https://b.example"),
        ("<a class=x href=mailto:a@b>mail</a>", "mail (mailto:a@b)"),
        ("<a href='javascript:alert(1)'>x</a>", "x"),
        ("<a href='JavaScript:alert(1)'>x</a>", "x"),
        ("<a href='java&#10;script:alert(1)'>x</a>", "x"),
        ("<a href='file:///etc/passwd'>x</a>", "x"),
        ("<a href='data:text/html,x'>x</a>", "x"),
        ("<a href='https://evil.example/'>https://bank.example/</a>", "https://bank.example/ (https://evil.example/)"),
        ("<a href='https://a.example/'>x", "x (https://a.example/)"),
        ("see <a href='https://a.example/'></a>", "see https://a.example/"),
        ("see <a href='https://a.example/'> </a>!", "see https://a.example/!"),
    ] {
        assert_eq!(plain(html), words, "{html}");
    }
}

#[test]
fn abuse_31_words_of_a_link_are_not_multiplied_by_it() {
    let html = format!("<a href='https://a.example/{}'>{}", "x".repeat(2_000), "<li>x".repeat(10_000));
    let reading = from_html(&html);
    assert!(reading.plain.as_str().len() < html.len() * 2, "{}", reading.plain.as_str().len());
    assert_eq!(reading.rich, None);
    // Nor by the marks before each line.
    let lines = format!("{}<ol start=4294967295><li><pre>{}", "<blockquote>".repeat(20), "\n".repeat(10_000));
    let marked = from_html(&format!("{lines}x")).plain;
    assert!((100_000..lines.len() * 20).contains(&marked.as_str().len()), "{}", marked.as_str().len());
}

#[test]
fn styles_are_read_in_every_spelling() {
    let underlined = Style { underline: true, ..none() };
    let struck = Style { strike: true, ..none() };
    let monospace = Style { monospace: true, ..none() };
    for (html, style) in [
        ("<b>x</b>", bold()),
        ("<STRONG>x", bold()),
        ("<span style='font-weight: 700'>x</span>", bold()),
        ("<p style=\"FONT-WEIGHT:Bold !important;margin:0\">x</p>", bold()),
        ("<h1>x</h1>", bold()),
        ("<em>x</em>", italic()),
        ("<body style='font-style:italic'><div>x", italic()),
        ("<u>x</u>", underlined.clone()),
        ("<span style='text-decoration:underline'>x</span>", underlined.clone()),
        ("<del>x</del>", struck.clone()),
        ("<span style='text-decoration: line-through'>x</span>", struck),
        ("<tt>x</tt>", monospace),
        ("<font face=Arial color=red>x</font>", coloured(255, 0, 0)),
        ("<font color='#0a0'>x</font>", coloured(0, 170, 0)),
        ("<span style='color:rgb(1, 2,999)'>x</span>", coloured(1, 2, 255)),
        ("<b><span style='font-weight:normal'>x</span></b>", none()),
        ("<u><span style='text-decoration:none'>x</span></u>", none()),
        ("<span style='color:expression(alert(1));background:url(javascript:x)'>x</span>", none()),
        ("<blink onclick='x'>x</blink>", none()),
    ] {
        assert_eq!(rich(html), paragraph(&[("x", style)]), "{html}");
    }
}

#[test]
fn tags_in_disorder_end_where_they_say() {
    let both = Style { italic: true, ..bold() };
    assert_eq!(rich("<b>a<i>b</b>c</i>d"), paragraph(&[("a", bold()), ("b", both), ("c", italic()), ("d", none())]));
    assert_eq!(rich("</b>a</i></p>"), paragraph(&[("a", none())]));
    assert_eq!(rich("<b>a </b> b<i> c</i>"), paragraph(&[("a ", bold()), ("b", none()), (" c", italic())]));
    // A paragraph ends the one before, and its style.
    assert_eq!(rich("<p style='font-weight:bold'>a<p>b"), paragraph(&[("a", bold()), ("\nb", none())]));
    let deep = format!("{}x{}y", "<b>".repeat(10_000), "</b>".repeat(10_000));
    assert_eq!(rich(&deep), paragraph(&[("x", bold()), ("y", none())]));
    let quotes = format!("{}x", "<blockquote><ul>".repeat(10_000));
    assert_eq!(plain(&quotes), "> > > > > > > > x");
}

#[test]
fn in_xml_an_empty_element_has_ended() {
    let reading = from_xhtml(
        "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>a<b/>b<script/>c<br/>d</p></body></html>",
    );
    assert_eq!((reading.plain.as_str(), reading.rich.unwrap().is_formatted()), ("abc\nd", false));
    assert_eq!(rich("a<b/>b"), paragraph(&[("a", none()), ("b", bold())]));
}

#[test]
fn case_16_it_is_written_for_both() {
    let link = Style { link: Hyperlink::parse("https://a.example/?a&b"), ..bold() };
    let all = Style { underline: true, strike: true, monospace: true, colour: Some(Colour([1, 2, 3])), ..italic() };
    let spans = [
        Span::Words(Words { text: "  <a> b".into(), style: none() }),
        Span::Words(Words { text: "l".into(), style: link }),
        Span::Break,
        Span::Words(Words { text: "\"all\"".into(), style: all }),
        Span::Block(Block { quote: 1, kind: BlockKind::Numbered(3) }),
        Span::Words(Words { text: "three".into(), style: none() }),
        Span::Block(Block { quote: 1, kind: BlockKind::Numbered(4) }),
        Span::Block(Block { quote: 0, kind: BlockKind::Preformatted }),
        Span::Words(Words { text: " x  y".into(), style: none() }),
    ];
    let rich = Rich::new(spans).unwrap();
    assert_eq!(
        to_html(&rich),
        "<html><body><p>&#160;&#160;&lt;a&gt; b<a href=\"https://a.example/?a&amp;b\"><b>l</b></a><br/>\
         <i><u><s><code><span style=\"color: #010203\">&quot;all&quot;</span></code></s></u></i></p>\
         <blockquote><ol start=\"3\"><li>three</li><li><br/></li></ol></blockquote><pre> x  y</pre></body></html>"
    );
    assert_eq!(
        to_xhtml(&rich),
        "<html xmlns=\"http://jabber.org/protocol/xhtml-im\"><body xmlns=\"http://www.w3.org/1999/xhtml\"><p>&#160;&#160;&lt;a&gt; b\
         <a href=\"https://a.example/?a&amp;b\"><strong>l</strong></a><br/>\
         <em><code><span style=\"text-decoration: underline line-through; color: #010203\">&quot;all&quot;</span></code></em></p>\
         <blockquote><ol start=\"3\"><li>three</li><li><br/></li></ol></blockquote><pre> x  y</pre></body></html>"
    );
}

#[test]
fn what_says_no_more_than_the_words_is_let_be() {
    for (html, is_kept) in [("<p>hello</p>", false), ("a<br>b", false), ("2*3*4", true), ("<b>x</b>", true), ("<ul><li>x", true)]
    {
        assert_eq!(from_html(html).beyond_plain().is_some(), is_kept, "{html}");
    }
}

/// Any formatted text.
fn any_rich() -> impl Strategy<Value = Rich> {
    let link = prop::option::weighted(0.2, "(https://a\\.example/|mailto:)[a-z&<>\"'#;*é-]{1,8}");
    let colour = prop::option::weighted(0.2, any::<[u8; 3]>());
    let style = (any::<[bool; 5]>(), colour, link).prop_map(|([bold, italic, underline, strike, monospace], colour, link)| {
        let link = link.and_then(|link| Hyperlink::parse(&link));
        Style { bold, italic, underline, strike, monospace, colour: colour.map(Colour), link }
    });
    let kind = prop_oneof![
        Just(BlockKind::Paragraph),
        Just(BlockKind::Preformatted),
        Just(BlockKind::Bullet),
        (0..4u32).prop_map(BlockKind::Numbered),
        any::<u32>().prop_map(BlockKind::Numbered),
    ];
    let text = prop_oneof!["[ \t\n\u{a0}a<&]{0,6}", ".{0,8}", any::<String>()];
    let span = prop_oneof![
        2 => (0..3u8, kind).prop_map(|(quote, kind)| Span::Block(Block { quote, kind })),
        1 => Just(Span::Break),
        6 => (text, prop_oneof![Just(none()), style])
            .prop_map(|(text, style)| Span::Words(Words { text: Plain::new(&text), style })),
    ];
    prop::collection::vec(span, 0..24).prop_map(|spans| Rich::new(spans).unwrap())
}

/// What every reading of anything must be.
fn is_sound(reading: &Reading, input: &str) -> Result<(), TestCaseError> {
    prop_assert!(reading.plain.as_str().len() <= input.len() * 20 + 64);
    prop_assert!(!reading.plain.as_str().contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
    let Some(rich) = &reading.rich else { return Ok(()) };
    prop_assert_eq!(&rich.to_plain(), &reading.plain);
    for out in [to_html(rich), to_xhtml(rich)] {
        let low = out.to_ascii_lowercase();
        prop_assert!(!low.contains("href=\"javascript:") && !low.contains("<script"), "{}", out);
        prop_assert!(!out.contains(|c: char| c.is_control() && c != '\t'));
        is_well_formed(&out)?;
    }
    Ok(())
}

fn is_well_formed(out: &str) -> Result<(), TestCaseError> {
    let mut reader = quick_xml::Reader::from_str(out);
    let mut depth = 0;
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                depth += 1;
                for attribute in tag.attributes() {
                    prop_assert!(attribute.is_ok(), "{}", out);
                }
            }
            Ok(Event::End(_)) => depth -= 1,
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(error) => return Err(TestCaseError::fail(format!("{error}: {out}"))),
        }
    }
    prop_assert_eq!(depth, 0, "{}", out);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_written_is_read_as_the_same(rich in any_rich()) {
        let html = to_html(&rich);
        prop_assert_eq!(from_html(&html).rich, Some(rich.clone()), "{}", html);
        prop_assert_eq!(from_html(&html).plain, rich.to_plain());
        let xhtml = to_xhtml(&rich);
        prop_assert_eq!(from_xhtml(&xhtml).rich, Some(rich), "{}", xhtml);
        is_well_formed(&html)?;
        is_well_formed(&xhtml)?;
    }

    #[test]
    fn abuse_31_anything_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        is_sound(&from_html(&text), &text)?;
        is_sound(&from_xhtml(&text), &text)?;
    }

    #[test]
    fn abuse_31_tag_soup_is_read(
        pieces in prop::collection::vec(prop_oneof![
            "</?(b|i|u|s|a|p|li|ul|ol|pre|br|blockquote|code|span|font|table|td|tr|script|style|head|body|img|h1|div)/?>",
            "<a href=['\"]?(javascript:|https://a\\.example/|data:|&#106;avascript:)[a-z&;\"'>]{0,6}",
            "<(span|p|font|img) (style|color|alt|src)=['\"]?[a-z:;#0-9 -]{0,20}['\"]?>",
            "[<>&;#\"'= /!x-]{0,6}",
            "&(#x?[0-9a-f]{1,6}|nbsp|lt|amp);?",
            any::<String>(),
        ], 0..30)
    ) {
        let soup = pieces.concat();
        is_sound(&from_html(&soup), &soup)?;
        is_sound(&from_xhtml(&soup), &soup)?;
    }

    #[test]
    fn escaped_text_comes_back(text in "[a-z<>&\"']{1,40}") {
        let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        prop_assert_eq!(plain(&html), text);
    }
}
