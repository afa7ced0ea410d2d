use super::*;
use proptest::prelude::*;

const OPEN: &str =
    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='b.example' version='1.0'>";

/// Frames as text, then the error if there is one, from bytes given in these pieces.
fn read(limit: usize, pieces: &[&[u8]]) -> Vec<String> {
    let mut codec = Codec::new(limit);
    let mut document = Document::default();
    let mut seen = Vec::new();
    for piece in pieces {
        codec.push(&Bytes::copy_from_slice(piece));
        loop {
            match codec.next(&mut document) {
                Ok(None) => break,
                Ok(Some(Frame::Close)) => {
                    seen.push("close".to_owned());
                    return seen;
                }
                Ok(Some(frame)) => seen.push(format!("{frame:?} {}", show(document.root().unwrap()))),
                Err(malformed) => {
                    seen.push(format!("{malformed:?}"));
                    return seen;
                }
            }
        }
    }
    seen
}

/// An element in a form that names every part.
fn show(element: Element<'_>) -> String {
    let mut shown = format!("{:?}:{}", element.namespace(), element.name());
    for name in ["a", "b", "from", "to", "version"] {
        if let Some(value) = element.attribute(name) {
            shown.push_str(&format!(" {name}={value:?}"));
        }
    }
    let text = element.text();
    if !text.is_empty() {
        shown.push_str(&format!(" {text:?}"));
    }
    let children: Vec<String> = element.children().map(show).collect();
    if !children.is_empty() {
        shown.push_str(&format!(" [{}]", children.join(", ")));
    }
    shown
}

/// What one child of the stream is read as.
fn child(xml: &[u8]) -> String {
    let seen = read(100_000, &[OPEN.as_bytes(), xml]);
    seen.get(1).cloned().unwrap_or_else(|| "more".to_owned())
}

#[test]
fn elements_mean_what_xml_says() {
    for (xml, want) in [
        ("<a/>", "Element Server:a"),
        ("<a  />", "Element Server:a"),
        ("<a></a  >", "Element Server:a"),
        ("<a a='1' b = \"2\"/>", "Element Server:a a=\"1\" b=\"2\""),
        ("<a a='/>'/>", "Element Server:a a=\"/>\""),
        ("<a a='\"' b=\"'\"/>", "Element Server:a a=\"\\\"\" b=\"'\""),
        ("<a>x<b>y</b>z</a>", "Element Server:a \"xz\" [Server:b \"y\"]"),
        ("<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x1F600;</a>", "Element Server:a \"<>&\\\"'A\u{1f600}\""),
        ("<a><![CDATA[<b>]]&gt;]]></a>", "Element Server:a \"<b>]]&gt;\""),
        ("<a><![CDATA[]]]]><![CDATA[>]]></a>", "Element Server:a \"]]>\""),
        ("<a>x\r\ny\rz</a>", "Element Server:a \"x\\ny\\nz\""),
        ("<a>x&#13;y</a>", "Element Server:a \"x\\ry\""),
        ("<a a='x\ty\r\nz&#10;'/>", "Element Server:a a=\"x y z\\n\""),
        ("<a xmlns='urn:xmpp:ping'><b xmlns=''/></a>", "Element Ping:a [None:b]"),
        ("<p:a xmlns:p='urn:xmpp:ping' p:a='1' a='2'/>", "Element Ping:a a=\"2\""),
        ("<stream:error/>", "Element Stream:error"),
        ("<a xmlns='urn:other'/>", "Element Other:a"),
        ("<a xml:lang='de'/>", "Element Server:a"),
        ("<\u{e9}l\u{e9}ment/>", "Element Server:\u{e9}l\u{e9}ment"),
        (" \n\t <a/>", "Element Server:a"),
        ("<a", "more"),
        ("<a>", "more"),
        ("<a><b></b>", "more"),
    ] {
        assert_eq!(child(xml.as_bytes()), want, "{xml}");
    }
}

#[test]
fn what_quick_xml_leaves_to_us_is_refused() {
    for (xml, want) in [
        // Cases 13 and 16.
        ("<!DOCTYPE a>", "Restricted"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "Restricted"),
        ("<a><!-- x --></a>", "Restricted"),
        ("<!-- x --><a/>", "Restricted"),
        ("<a><?php ?></a>", "Restricted"),
        ("<?xml version='1.0'?>", "Restricted"),
        ("<a><?xml version='1.0'?></a>", "Restricted"),
        ("<a>&x;</a>", "Restricted"),
        ("<a a='&x;'/>", "Restricted"),
        ("<p:a/>", "Prefix"),
        ("<a p:b='1'/>", "Prefix"),
        ("<a a='1' a='2'/>", "NotWellFormed"),
        ("<a xmlns:p='u' xmlns:q='u' p:a='1' q:a='2'/>", "NotWellFormed"),
        ("<a xmlns='u' xmlns='v'/>", "NotWellFormed"),
        ("<a xmlns:p=''/>", "NotWellFormed"),
        ("<a xmlns:xmlns='u'/>", "NotWellFormed"),
        ("<a xmlns:xml='u'/>", "NotWellFormed"),
        ("<xmlns:a/>", "NotWellFormed"),
        ("<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", "NotWellFormed"),
        ("<a>\u{8}</a>", "NotWellFormed"),
        ("<a>\u{0}</a>", "NotWellFormed"),
        ("<a>\u{ffff}</a>", "NotWellFormed"),
        ("<a a='\u{1}'/>", "NotWellFormed"),
        ("<a>&#0;</a>", "NotWellFormed"),
        ("<a>&#8;</a>", "NotWellFormed"),
        ("<a>&#xD800;</a>", "NotWellFormed"),
        ("<a>&#xFFFE;</a>", "NotWellFormed"),
        ("<a>&#x110000;</a>", "NotWellFormed"),
        ("<a>&#+65;</a>", "NotWellFormed"),
        ("<a>&#;</a>", "NotWellFormed"),
        ("<a>& </a>", "NotWellFormed"),
        ("<a>]]></a>", "NotWellFormed"),
        ("<a a='<'/>", "NotWellFormed"),
        ("<a a='1'b='2'/>", "NotWellFormed"),
        ("<a a=1/>", "NotWellFormed"),
        ("<a a/>", "NotWellFormed"),
        ("<a:b:c/>", "NotWellFormed"),
        ("<:a/>", "NotWellFormed"),
        ("<1/>", "NotWellFormed"),
        ("<a 1='1'/>", "NotWellFormed"),
        ("< a/>", "NotWellFormed"),
        ("<a></b>", "NotWellFormed"),
        ("<a><b></a></b>", "NotWellFormed"),
        ("<>", "NotWellFormed"),
        ("</stream>", "NotWellFormed"),
        ("x<a/>", "Text"),
        ("&amp;<a/>", "Text"),
        ("<![CDATA[x]]>", "Text"),
    ] {
        let seen = child(xml.as_bytes());
        assert!(seen.starts_with(want), "{xml}: {seen}");
    }
    for bytes in [&b"<a>\xff</a>"[..], b"<a>\xc0\x80</a>", b"<a>\xed\xa0\x80</a>", b"<a>\xf4\x90\x80\x80</a>", b"<\xff/>"] {
        assert_eq!(child(bytes), "Encoding", "{bytes:?}");
    }
}

#[test]
fn the_beginning_of_a_stream_is_as_strict() {
    for (xml, want) in [
        (OPEN.to_owned(), "Open Stream:stream to=\"b.example\" version=\"1.0\""),
        (format!("<?xml version='1.0' encoding='utf-8'?>\n{OPEN}"), "Open Stream:stream to=\"b.example\" version=\"1.0\""),
        (format!("\n{OPEN}"), "Open Stream:stream to=\"b.example\" version=\"1.0\""),
        ("<?xml version='1.0' encoding='utf-16'?>".to_owned(), "Encoding"),
        ("<?xml version='2.0'?>".to_owned(), "NotWellFormed(\"XML declaration\")"),
        (" <?xml version='1.0'?>".to_owned(), "Restricted(\"processing instructions\")"),
        ("<?xml-stylesheet x='1'?>".to_owned(), "Restricted(\"processing instructions\")"),
        ("<!DOCTYPE stream>".to_owned(), "Restricted(\"declarations\")"),
        ("</stream:stream>".to_owned(), "NotWellFormed(\"a closing tag first\")"),
        ("<stream:stream/>".to_owned(), "NotWellFormed(\"an empty stream\")"),
        ("<stream:stream>".to_owned(), "Prefix"),
        ("hello".to_owned(), "Text"),
        ("GET / HTTP/1.1".to_owned(), "Text"),
    ] {
        assert_eq!(read(10_000, &[xml.as_bytes()])[0], want, "{xml}");
    }
}

#[test]
fn nothing_comes_after_the_closing_tag() {
    let mut codec = Codec::new(10_000);
    let mut document = Document::default();
    codec.push(&format!("{OPEN}</stream:stream ><a/>").into());
    assert_eq!(codec.next(&mut document), Ok(Some(Frame::Open)));
    assert_eq!(codec.next(&mut document), Ok(Some(Frame::Close)));
    assert!(codec.next(&mut document).is_err());
}

#[test]
fn abuse_14_depth_attributes_and_names_have_limits() {
    let deep = |levels: usize| [vec!["<a>"; levels].concat(), vec!["</a>"; levels].concat()].concat();
    assert!(child(deep(MAX_DEPTH).as_bytes()).starts_with("Element"));
    assert!(child(deep(MAX_DEPTH + 1).as_bytes()).starts_with("TooMany"));
    // A bomb is refused before its end comes.
    assert!(child("<a>".repeat(10_000).as_bytes()).starts_with("TooMany"));
    let wide = |count: usize| format!("<a {}/>", (0..count).map(|n| format!("a{n}='' ")).collect::<String>());
    assert!(child(wide(MAX_ATTRIBUTES).as_bytes()).starts_with("Element"));
    assert!(child(wide(MAX_ATTRIBUTES + 1).as_bytes()).starts_with("TooMany"));
    let spaces = |count: usize| format!("<a {}/>", (0..count).map(|n| format!("xmlns:a{n}='u' ")).collect::<String>());
    assert!(child(spaces(MAX_DECLARATIONS).as_bytes()).starts_with("Element"));
    assert!(child(spaces(MAX_DECLARATIONS + 1).as_bytes()).starts_with("TooMany"));
    let named = |length: usize| format!("<{}/>", "a".repeat(length));
    assert!(child(named(MAX_NAME).as_bytes()).starts_with("Element"));
    assert!(child(named(MAX_NAME + 1).as_bytes()).starts_with("TooMany"));
    assert!(child(format!("<a {}=''/>", "a".repeat(MAX_NAME + 1)).as_bytes()).starts_with("TooMany"));
}

#[test]
fn test_11_abuse_15_an_element_too_large_is_refused_while_it_comes() {
    let fits = format!("<a>{}</a>", "x".repeat(10_000 - 7));
    assert_eq!(fits.len(), 10_000);
    assert!(read(10_000, &[OPEN.as_bytes(), fits.as_bytes()])[1].starts_with("Element"));
    let large = format!("<a>{}</a>", "x".repeat(10_000 - 6));
    assert_eq!(read(10_000, &[OPEN.as_bytes(), large.as_bytes()])[1], "TooLarge(10000)");
    let mut codec = Codec::new(10_000);
    let mut document = Document::default();
    codec.push(&format!("{OPEN}<a>").into());
    assert_eq!(codec.next(&mut document), Ok(Some(Frame::Open)));
    let mut sent = 3;
    while codec.next(&mut document) == Ok(None) {
        codec.push(&Bytes::from_static(b"xxxxxxxxxx"));
        sent += 10;
        assert!(sent <= 10_020);
    }
    assert_eq!(codec.next(&mut document), Err(Malformed::TooLarge(10_000)));
    assert_eq!(codec.held(), 0);
    // White space between elements is no element.
    assert!(read(10_000, &[OPEN.as_bytes(), " ".repeat(50_000).as_bytes(), b"<a/>"])[1].starts_with("Element"));
}

#[test]
fn test_21_one_byte_reads_give_the_same() {
    let whole = format!(
        "<?xml version='1.0'?>{OPEN} <a a='>/'>x<![CDATA[]>]]>&amp;<b/></a>\n<c xmlns='urn:xmpp:ping' /></stream:stream>"
    );
    let pieces: Vec<&[u8]> = whole.as_bytes().chunks(1).collect();
    let want = read(10_000, &[whole.as_bytes()]);
    assert_eq!(want.len(), 4, "{want:?}");
    assert_eq!(read(10_000, &pieces), want);
}

/// XML with errors in it now and then.
fn pieces_of_xml() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<a>"),
        Just("</a>"),
        Just("<b x='1'/>"),
        Just("<c y=\">\" >"),
        Just("</c>"),
        Just("text"),
        Just("&amp;"),
        Just("é😀"),
        Just("<![CDATA[ ]>]] ]]>"),
        Just("<![CDATA["),
        Just("]]>"),
        Just("<!-- -->"),
        Just("<?x?>"),
        Just("<p:a/>"),
        Just("'"),
        Just("<"),
        Just(">"),
        Just("/"),
        Just("</stream:stream>"),
        Just(" "),
        Just("<d xmlns:p='u' p:x=''><p:e/></d>"),
        Just("<a xmlns='u'>"),
        Just("\u{0}"),
        Just("&#x41;"),
        Just("="),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same(xml in pieces_of_xml(), cuts in proptest::collection::vec(1usize..40, 1..20)) {
        let whole = format!("{OPEN}{xml}").into_bytes();
        let mut pieces = Vec::new();
        let mut rest = &whole[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let want = read(10_000, &[&whole]);
        prop_assert_eq!(read(10_000, &pieces), want);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(100, &[&bytes]);
        read(100, &[OPEN.as_bytes(), &bytes]);
    }

    #[test]
    fn abuse_30_any_text_survives_writing_and_reading(text in any::<String>()) {
        let mut out = BytesMut::new();
        out.extend_from_slice(b"<a");
        push_attribute(&mut out, "a", &text);
        out.extend_from_slice(b">");
        push_text(&mut out, &text);
        out.extend_from_slice(b"</a>");
        let mut codec = Codec::new(1_000_000);
        let mut document = Document::default();
        codec.push(&OPEN.into());
        codec.push(&out.freeze());
        prop_assert_eq!(codec.next(&mut document), Ok(Some(Frame::Open)));
        prop_assert_eq!(codec.next(&mut document), Ok(Some(Frame::Element)));
        let root = document.root().unwrap();
        let legal = |c| !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
        let want: String = text.chars().map(|c| if legal(c) { c } else { '\u{fffd}' }).collect();
        prop_assert_eq!(root.attribute("a"), Some(&*want));
        prop_assert_eq!(&*root.text(), &*want);
    }
}
