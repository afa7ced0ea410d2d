use super::*;
use proptest::prelude::*;

fn link(text: &str) -> Option<Hyperlink> {
    Some(Hyperlink::parse(text).unwrap_or_else(|| panic!("{text}")))
}

fn words(text: &str, style: Style) -> Span {
    Span::Words(Words { text: text.into(), style })
}

fn plain(text: &str) -> Span {
    words(text, Style::default())
}

fn block(quote: u8, kind: BlockKind) -> Span {
    Span::Block(Block { quote, kind })
}

fn bold() -> Style {
    Style { bold: true, ..Style::default() }
}

#[test]
fn there_is_one_form() {
    let paragraph = block(0, BlockKind::Paragraph);
    let rich = Rich::new([plain("a"), plain("b\r\nc"), words("d\u{a0}\u{0}\u{85}\t", bold()), words("", bold())]).unwrap();
    assert_eq!(rich.spans(), [paragraph.clone(), plain("ab"), Span::Break, plain("c"), words("d \u{fffd}\u{fffd}\t", bold())]);
    let two = Rich::new([paragraph.clone(), plain("a"), paragraph.clone(), plain("b")]).unwrap();
    assert_eq!(two, Rich::new([plain("a"), Span::Break, plain("b")]).unwrap());
    let monospace = Style { monospace: true, ..Style::default() };
    let preformatted = block(0, BlockKind::Preformatted);
    let both = Rich::new([preformatted.clone(), words("a", monospace.clone()), words("b", monospace), plain("c")]).unwrap();
    assert_eq!(both, Rich::new([preformatted, plain("abc")]).unwrap());
    assert_eq!(Rich::new([block(200, BlockKind::Bullet)]).unwrap().spans(), [block(8, BlockKind::Bullet)]);
    assert_eq!(Rich::new([]).unwrap().to_plain(), Plain::default());
}

#[test]
fn abuse_31_it_has_limits() {
    let alternating = |count: usize| (0..count).map(|at| words("x", if at % 2 == 0 { bold() } else { Style::default() }));
    assert!(Rich::new(alternating(Rich::MOST_SPANS - 1)).is_ok());
    assert_eq!(Rich::new(alternating(Rich::MOST_SPANS)), Err(RichError::Spans));
    assert!(Rich::new([plain(&"x".repeat(Rich::MOST_BYTES))]).is_ok());
    assert_eq!(Rich::new([plain(&"x".repeat(Rich::MOST_BYTES + 1))]), Err(RichError::Bytes));
    let far = link(&format!("https://a.example/{}", "x".repeat(2_000)));
    let links = (0..40).map(|at| words("x", Style { bold: at % 2 == 0, link: far.clone(), ..Style::default() }));
    assert_eq!(Rich::new(links), Err(RichError::Bytes));
    // The words are whole all the same.
    let mut builder = RichBuilder::default();
    builder.words(&"x".repeat(Rich::MOST_BYTES + 1), &bold());
    let (text, rich) = builder.finish_both();
    assert_eq!((text.as_str().len(), rich), (Rich::MOST_BYTES + 1, Err(RichError::Bytes)));
}

#[test]
fn abuse_31_links_lead_only_to_what_is_harmless() {
    for good in
        ["https://a.example/?a=<b>&'\"", "HTTP://a.example", "mailto:a@b.example", "sip:a@b.example", "xmpp:a@b.example?message"]
    {
        assert_eq!(Hyperlink::parse(good).map(|link| link.as_str().to_owned()).as_deref(), Some(good));
    }
    for bad in [
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        " javascript:x",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "https:",
        "//a.example",
        "a.example",
        "",
        ":x",
        "https://a.example/a b",
        "https://a.example/\u{202e}fdp.exe",
        "https://a.example/\u{85}",
        "https://a.example/\u{ffff}",
    ] {
        assert_eq!(Hyperlink::parse(bad), None, "{bad:?}");
    }
    let long = |bytes: usize| format!("https://{}", "a".repeat(bytes - 8));
    assert!(Hyperlink::parse(&long(2_048)).is_some() && Hyperlink::parse(&long(2_049)).is_none());
    assert_eq!(format!("{:?}", Hyperlink::parse("https://secret.example")), "Some(Hyperlink(<22 bytes of text>))");
}

#[test]
fn it_is_typed_as_people_type() {
    let see = |text: &str, to: &str| words(text, Style { link: link(to), ..Style::default() });
    let of = |spans: &[Span]| Rich::new(spans.iter().cloned()).unwrap().to_plain().as_str().to_owned();
    assert_eq!(of(&[see("here", "https://a.example/x"), plain(".")]), "here (https://a.example/x).");
    assert_eq!(of(&[see("a.example", "http://a.example/")]), "a.example");
    assert_eq!(
        of(&[see("https://bank.example/evil.example", "https://evil.example")]),
        "https://bank.example/evil.example (https://evil.example)"
    );
    assert_eq!(of(&[see("a@b.example", "mailto:a@b.example")]), "a@b.example");
    // Part of it is bold, and it goes over two lines.
    let strong = words("b", Style { bold: true, link: link("https://x.example"), ..Style::default() });
    assert_eq!(
        of(&[see("a", "https://x.example"), strong, Span::Break, see("c", "https://x.example")]),
        "ab\nc (https://x.example)"
    );
    assert_eq!(
        of(&[
            plain("list"),
            block(0, BlockKind::Bullet),
            plain("a"),
            Span::Break,
            plain("more"),
            block(0, BlockKind::Numbered(10)),
            plain("b\nc"),
            block(2, BlockKind::Paragraph),
            plain("said\n\nbefore"),
            block(1, BlockKind::Bullet),
            plain("x"),
            block(0, BlockKind::Preformatted),
            plain("  y\n"),
        ]),
        "list\n- a\n  more\n10. b\n    c\n> > said\n> >\n> > before\n> - x\n  y"
    );
}

#[test]
fn it_is_stored_and_what_is_stored_is_checked() {
    let style = Style { colour: Some(Colour([255, 0, 16])), link: link("https://a.example"), ..bold() };
    let rich = Rich::new([block(1, BlockKind::Numbered(3)), words("a", style), Span::Break, plain("b")]).unwrap();
    let json = serde_json::to_string(&rich).unwrap();
    assert_eq!(
        json,
        r##"[{"block":{"quote":1,"kind":{"numbered":3}}},{"words":{"text":"a","style":{"bold":true,"colour":"#ff0010","link":"https://a.example"}}},"break",{"words":{"text":"b"}}]"##
    );
    assert_eq!(serde_json::from_str::<Rich>(&json).unwrap(), rich);
    assert_eq!(serde_json::from_str::<Rich>(r#"[{"words":{"text":"a\u0000b"}}]"#).unwrap().to_plain().as_str(), "a\u{fffd}b");
    for bad in [
        r#"[{"words":{"text":"a","style":{"link":"javascript:x"}}}]"#,
        r##"[{"words":{"text":"a","style":{"colour":"#12345é"}}}]"##,
        r#"[{"script":"x"}]"#,
    ] {
        assert!(serde_json::from_str::<Rich>(bad).is_err(), "{bad}");
    }
    let many = format!("[{}]", ["\"break\""; 2_000].join(","));
    assert!(serde_json::from_str::<Rich>(&many).is_err());
}

#[test]
fn a_record_whose_formatting_cannot_be_read_keeps_its_words() {
    let record = |rich: &str| serde_json::from_str::<crate::Text>(&format!(r#"{{"plain":"x","kind":"chat"{rich}}}"#)).unwrap();
    for (rich, is_read) in [
        ("", false),
        (r#","rich":null"#, false),
        (r#","rich":[{"words":{"text":"x"}}]"#, true),
        (r#","rich":[{"table":{"rows":[1,{"a":"b"}]}}]"#, false),
        (r#","rich":[{"words":{"text":"x","style":{"link":"javascript:x"}}}]"#, false),
        (r#","rich":{"new":true}"#, false),
    ] {
        let text = record(rich);
        assert_eq!((text.plain.as_str(), text.rich.is_some()), ("x", is_read), "{rich}");
        assert_eq!(serde_json::from_str::<crate::Text>(&serde_json::to_string(&text).unwrap()).unwrap(), text);
    }
}

proptest! {
    #[test]
    fn whatever_is_put_in_can_be_carried(pieces in prop::collection::vec((any::<String>(), any::<bool>(), 0..5u8), 0..20)) {
        let mut builder = RichBuilder::default();
        for (text, bold, what) in &pieces {
            match what {
                0 => builder.block(Block { quote: *what, kind: BlockKind::Bullet }),
                1 => builder.line_break(),
                _ => builder.words(text, &Style { bold: *bold, ..Style::default() }),
            }
        }
        let rich = builder.finish().unwrap();
        for span in rich.spans() {
            let Span::Words(words) = span else { continue };
            prop_assert!(!words.text.is_empty());
            let odd = |c: char| c != '\t' && c.is_control() || c == '\u{a0}';
            prop_assert!(!words.text.as_str().contains(odd));
        }
        prop_assert_eq!(&Rich::new(rich.spans().iter().cloned()).unwrap(), &rich);
        let json = serde_json::to_string(&rich).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rich>(&json).unwrap(), rich);
    }
}
