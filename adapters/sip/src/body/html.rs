//! HTML to plain text: a tokenizer that knows which elements break a line, which hold no words, and links.
//!
//! Nothing of the mark-up survives, so nothing of it has to be trusted. The work and the result are bounded by the input.

/// The words of a text in HTML.
pub(super) fn to_plain(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    while !rest.is_empty() {
        let Some((text, after)) = rest.split_once('<') else {
            page.text(rest);
            break;
        };
        page.text(text);
        rest = page.markup(after);
    }
    page.close_link();
    page.plain.truncate(page.plain.trim_end().len());
    page.plain
}

#[derive(Default)]
struct Page {
    plain: String,
    /// A blank is owed before the next word.
    space: bool,
    /// Inside `<pre>`, where blanks and line ends count.
    preformatted: bool,
    /// Where the text of the open link began, and what it leads to.
    link: Option<(usize, String)>,
}

impl Page {
    /// What follows a `<`: a comment, a tag, or text after all. Returns what comes behind it.
    fn markup<'a>(&mut self, after: &'a str) -> &'a str {
        if let Some(comment) = after.strip_prefix("!--") {
            return comment.split_once("-->").map_or("", |(_, rest)| rest);
        }
        let closing = after.starts_with('/');
        let name_start = usize::from(closing);
        let named = after.get(name_start..).unwrap_or_default();
        if !named.starts_with(|c: char| c.is_ascii_alphabetic()) {
            if after.starts_with(['!', '?', '/']) {
                return after.split_once('>').map_or("", |(_, rest)| rest);
            }
            // "1 < 2" is text.
            self.text("<");
            return after;
        }
        let name_end = named.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(named.len());
        let (name, attributes) = named.split_at(name_end);
        let name = name.to_ascii_lowercase();
        let end = tag_end(attributes);
        let (attributes, rest) = (attributes.get(..end).unwrap_or_default(), attributes.get(end + 1..).unwrap_or_default());
        self.tag(&name, closing, attributes);
        if !closing && matches!(name.as_str(), "script" | "style" | "title" | "template" | "noscript" | "iframe" | "textarea") {
            return after_end_of(&name, rest);
        }
        rest
    }

    fn tag(&mut self, name: &str, closing: bool, attributes: &str) {
        match name {
            "br" => self.line(),
            "a" => {
                self.close_link();
                if !closing && let Some(target) = attribute(attributes, "href").filter(|target| is_safe(target)) {
                    self.link = Some((self.plain.len(), target));
                }
            }
            "pre" => {
                self.block();
                self.preformatted = !closing;
            }
            "li" if !closing => {
                self.block();
                self.plain.push_str("- ");
            }
            "td" | "th" => self.space = true,
            "p" | "div" | "li" | "ul" | "ol" | "tr" | "table" | "blockquote" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "hr"
            | "section" | "article" | "header" | "footer" | "dl" | "dt" | "dd" | "body" => self.block(),
            _ => {}
        }
    }

    /// Words, with blanks put together as HTML does.
    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (c, length, literal) = match rest.strip_prefix('&').and_then(entity) {
                Some((c, length)) => (c, length + 1, true),
                None => (c, c.len_utf8(), false),
            };
            rest = rest.get(length..).unwrap_or_default();
            if self.preformatted && !literal {
                self.plain.push(c);
            } else if c.is_ascii_whitespace() && !literal {
                self.space = true;
            } else {
                self.owed_space();
                self.plain.push(c);
            }
        }
    }

    fn owed_space(&mut self) {
        if std::mem::take(&mut self.space) && !self.plain.is_empty() && !self.plain.ends_with([' ', '\n']) {
            self.plain.push(' ');
        }
    }

    fn line(&mut self) {
        self.space = false;
        self.plain.truncate(self.plain.trim_end_matches(' ').len());
        self.plain.push('\n');
    }

    /// A new line, unless one has begun.
    fn block(&mut self) {
        self.space = false;
        if !self.plain.is_empty() && !self.plain.ends_with('\n') {
            self.line();
        }
    }

    /// `text (target)`, once where both are the same.
    fn close_link(&mut self) {
        let Some((start, target)) = self.link.take() else { return };
        let shown = self.plain.get(start..).unwrap_or_default().trim();
        let bare = target.split_once(':').map_or("", |(_, rest)| rest.trim_start_matches('/').trim_end_matches('/'));
        if shown == target || shown.trim_end_matches('/').ends_with(bare) && !bare.is_empty() {
            return;
        }
        if shown.is_empty() {
            self.owed_space();
            self.plain.push_str(&target);
        } else {
            self.plain.push_str(&format!(" ({target})"));
        }
    }
}

/// Where the `>` of a tag is, outside quotes; the end of the text without one.
fn tag_end(attributes: &str) -> usize {
    let mut quote = None;
    for (position, byte) in attributes.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return position,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    attributes.len()
}

/// What stands behind `</name>`; nothing, if it never comes.
fn after_end_of<'a>(name: &str, text: &'a str) -> &'a str {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("</") {
        if after.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return after.split_once('>').map_or("", |(_, rest)| rest);
        }
        rest = after;
    }
    ""
}

/// The value of an attribute, in quotes or not, with its entities resolved.
fn attribute(attributes: &str, wanted: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=').map(str::trim_start) else {
            // No progress is possible on an empty name without a value, and there is none: `rest` began with neither.
            rest = after;
            continue;
        };
        let (value, after) =
            match value.strip_prefix('"').map(|text| (text, '"')).or(value.strip_prefix('\'').map(|text| (text, '\''))) {
                Some((text, quote)) => text.split_once(quote).unwrap_or((text, "")),
                None => value.split_at(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len())),
            };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(unescaped(value.trim()));
        }
        rest = after;
    }
}

fn unescaped(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        match entity(after) {
            Some((c, length)) => {
                plain.push(c);
                rest = after.get(length..).unwrap_or_default();
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// Links that may be shown: no scripts, no files, no data, and nothing that could break the line.
fn is_safe(target: &str) -> bool {
    let scheme = target.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    ["http", "https", "mailto", "sip", "xmpp"].contains(&scheme.as_str())
        && !target.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The character of an entity whose `&` is gone, and how many bytes of text it took.
fn entity(after: &str) -> Option<(char, usize)> {
    let end = after.bytes().take(10).position(|byte| byte == b';')?;
    let name = after.get(..end)?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "shy" => '\u{ad}',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "euro" => '€',
        "copy" => '©',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    };
    Some((c, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_16_scripts_and_mark_up_are_gone() {
        for (html, plain) in [
            ("<b>x</b><script>y</script>", "x"),
            ("<style>p{}</style>x<SCRIPT src='a'>\"</b>\"</sCript >z", "xz"),
            ("<html><head><title>t</title></head><body>x</body></html>", "x"),
            ("<script>never closed", ""),
            ("a<!-- <b> --!>-->b", "ab"),
            ("<p>one</p><p>two</p>", "one\ntwo"),
            ("one<br>two<br/>three", "one\ntwo\nthree"),
            ("  a \r\n  b\t<i> c</i> ", "a b c"),
            ("<pre>a\n  b</pre>c", "a\n  b\nc"),
            ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
            ("&lt;b&gt; &amp;amp; &#x1F600;&#65; &nope; &#0; &", "<b> &amp; \u{1F600}A &nope; \0 &"),
            ("1 < 2 <3", "1 < 2 <3"),
            ("<a title='>'>x</a>", "x"),
            ("<?xml version='1.0'?><!DOCTYPE html>x", "x"),
            ("<", "<"),
            ("</", ""),
            ("<a", ""),
        ] {
            assert_eq!(to_plain(html), plain, "{html}");
        }
    }

    #[test]
    fn abuse_31_links_show_where_they_lead() {
        for (html, plain) in [
            ("<a href=\"https://b.example/x?a=1&amp;b=2\">here</a>.", "here (https://b.example/x?a=1&b=2)."),
            ("<a href='http://b.example/'>b.example</a>", "b.example"),
            ("<a href=https://b.example>https://b.example</a>", "https://b.example"),
            ("<a class=x href=mailto:a@b>mail</a>", "mail (mailto:a@b)"),
            ("<a href='javascript:alert(1)'>x</a>", "x"),
            ("<a href='JavaScript:alert(1)'>x</a>", "x"),
            ("<a href='file:///etc/passwd'>x</a>", "x"),
            ("<a href='data:text/html,x'>x</a>", "x"),
            ("<a href='https://evil.example/'>https://bank.example/</a>", "https://bank.example/ (https://evil.example/)"),
            ("<a href='https://a.example/'>x", "x (https://a.example/)"),
            ("see <a href='https://a.example/'></a>", "see https://a.example/"),
        ] {
            assert_eq!(to_plain(html), plain, "{html}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(html in any::<String>()) {
            to_plain(&html);
        }

        #[test]
        fn tag_soup_leaves_no_more_than_came_in(html in "[<>a-z/!&;#\"'= p-]{0,80}") {
            prop_assert!(to_plain(&html).len() <= html.len() * 2 + 2);
        }

        #[test]
        fn escaped_text_comes_back(text in "[a-z<>&\"']{1,40}") {
            let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            prop_assert_eq!(to_plain(&html), text);
        }
    }
}
