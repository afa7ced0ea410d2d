//! A link's name may be any text; nothing of it may leave the comment or the string that it stands in.

mod common;

use std::collections::HashMap;

use interchange_guide::{Facts, FileName, Guide, Language, Product, guide};
use proptest::prelude::*;

/// A guide's snippets without comments and with the PowerShell remark taken out: what remains must not depend on the name.
fn effective(guide: &Guide) -> Vec<String> {
    let comments: HashMap<Language, &str> = HashMap::from([
        (Language::Lua, "--"),
        (Language::Erlang, "%"),
        (Language::Yaml, "#"),
        (Language::Kamailio, "# "),
        (Language::Ini, "#"),
        (Language::Dnsmasq, "#"),
        (Language::Zone, ";"),
        (Language::Shell, "#"),
        (Language::PowerShell, "#"),
    ]);
    guide
        .steps
        .iter()
        .filter_map(|step| step.snippet.as_ref())
        .map(|snippet| {
            let comment = comments.get(&snippet.language).copied();
            snippet
                .content
                .split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
                .filter(|line| comment.is_none_or(|comment| !line.starts_with(comment)))
                .map(|line| line.split(" -Comment '").next().unwrap_or_default())
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect()
}

fn with_link(text: &str) -> Facts {
    Facts { link: text.into(), ..common::own() }
}

fn assert_harmless(name: &str) {
    for product in Product::ALL {
        let calm = guide(product, &with_link("calm"));
        let hostile = guide(product, &with_link(name));
        assert_eq!(effective(&hostile), effective(&calm), "{product}: {name:?}");
        assert_eq!(hostile.title.lines().count(), 1, "{product}: {name:?}");
        for text in [hostile.to_string(), hostile.to_markdown()] {
            assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{product}: {name:?}");
        }
        // As many lines in the terminal and as many fences as for any other name.
        assert_eq!(hostile.to_string().lines().count(), calm.to_string().lines().count(), "{product}: {name:?}");
        let fences = |text: &str| text.lines().filter(|line| line.starts_with("```")).count();
        assert_eq!(fences(&hostile.to_markdown()), fences(&calm.to_markdown()), "{product}: {name:?}");
    }
}

#[test]
fn names_that_try() {
    for name in [
        "\"; os.execute(\"rm -rf /\") --",
        "x\nmodules_enabled = {}",
        "x\r\n!KAMAILIO",
        "```\n# out of the fence",
        "````",
        "'; Remove-CsAllowedDomain -Identity a; '",
        "\u{2019}; Remove-CsAllowedDomain -Identity a; \u{2018}",
        "\u{1b}[2J\u{1b}[H",
        "--]] x",
        "#!define X",
        "\u{202e}elpmaxe",
        "\u{2028}x: y",
        "$(reboot)",
        "",
    ] {
        assert_harmless(name);
    }
}

/// A reader of PowerShell's single-quoted strings: what the remark says, and that nothing stands after it.
#[test]
fn a_remark_ends_where_the_line_ends() {
    for name in ["o'clock", "\u{2018}\u{2019}\u{201a}\u{201b}'", "'; iex x #"] {
        let guide = guide(Product::Lync, &with_link(name));
        let snippet = guide.steps.iter().filter_map(|step| step.snippet.as_ref()).next_back().unwrap();
        let line = snippet.content.lines().last().unwrap();
        let remark = line.split_once(" -Comment '").unwrap().1;
        let mut characters = remark.chars();
        let mut value = String::new();
        let quote = |character: char| matches!(character, '\'' | '\u{2018}'..='\u{201b}');
        while let Some(character) = characters.next() {
            if !quote(character) {
                value.push(character);
            } else if let Some(second) = characters.next() {
                assert!(quote(second), "{line}");
                value.push(second);
            }
        }
        assert_eq!(value, format!("Interchange, link {name}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_name_of_a_link_leaves_its_place(name in any::<String>()) {
        assert_harmless(&name);
    }

    #[test]
    fn no_name_of_a_link_made_of_markup_leaves_its_place(name in "[\"'`\\\\{}\\[\\]\n\r#;%$<>*_ a-]{0,40}") {
        assert_harmless(&name);
    }

    #[test]
    fn a_host_name_that_is_no_host_name_is_refused(text in "[a-z\"'\\\\\n ;{},:#`$(){}.-]{1,30}") {
        // What gets through the two narrow types holds nothing that any of the files gives a meaning to.
        if let Ok(domain) = interchange_model::Domain::parse(&text) {
            prop_assert!(domain.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'-')));
        }
        if let Ok(name) = FileName::parse(&text) {
            prop_assert!(name.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'-')));
        }
    }
}
