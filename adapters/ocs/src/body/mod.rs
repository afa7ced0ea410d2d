//! Bodies of messages: what comes becomes words, typing or nothing; what goes becomes plain text with a font, or HTML.

use encoding_rs::Encoding;
use interchange_model::{BlockKind, Colour, Plain, Rich, RichBuilder, Span, Style, Text};
use interchange_rich_text::{from_html, to_html};
use ocs_codec::font::Font;
use ocs_codec::rtf;
use simple_codec::composing::Composing;
use simple_codec::mime::{Parts, header, header_block};
use sip_codec::ContentType;
use sip_model::words::words_of;

use crate::settings::MAX_TEXT;

/// What we say that we take in a session.
pub(crate) const ACCEPT: [&str; 6] =
    ["text/plain", "text/html", "text/rtf", "multipart/alternative", "application/im-iscomposing+xml", "application/ms-imdn+xml"];

/// How deep bodies may be nested in one another, and how many parts of one are looked at.
const MAX_DEPTH: u8 = 4;
const MAX_PARTS: usize = 32;

/// What a body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Words, and how they look.
    Words(Plain, Option<Rich>),
    /// Whether somebody writes.
    Typing(bool),
    /// Nothing that a person is to see.
    Nothing,
}

/// Why a body is not carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    /// There is a body, and nothing says what it is.
    #[error("Missing Content-Type")]
    NoType,
    /// No text in it that we can read.
    #[error("Unsupported Media Type")]
    Media,
    /// Not what its type says that it is.
    #[error("Malformed body")]
    Malformed,
    /// More than is taken.
    #[error("Body too large")]
    TooLarge,
}

/// What a body says.
///
/// # Errors
/// [`BodyFault`].
pub(crate) fn read(media: Option<&ContentType>, body: &[u8]) -> Result<Said, BodyFault> {
    if body.is_empty() {
        return Ok(Said::Nothing);
    }
    let media = media.ok_or(BodyFault::NoType)?;
    match (media.kind(), media.subtype()) {
        simple_codec::composing::MEDIA_TYPE => {
            Composing::read(body).map(|read| Said::Typing(read.is_active)).map_err(|_| BodyFault::Malformed)
        }
        // Reports of servers about members of a conference: nobody here is in one.
        ("application", "ms-imdn+xml") => Ok(Said::Nothing),
        _ => {
            let (plain, rich) = read_part(media, body, 1)?;
            if plain.as_str().len() > MAX_TEXT {
                return Err(BodyFault::TooLarge);
            }
            Ok(if plain.is_empty() { Said::Nothing } else { Said::Words(plain, rich) })
        }
    }
}

type Words = (Plain, Option<Rich>);

fn read_part(media: &ContentType, body: &[u8], depth: u8) -> Result<Words, BodyFault> {
    match (media.kind(), media.subtype()) {
        ("text", "plain") => {
            let text = decode(media, body);
            let font = media.param("msgr").and_then(Font::read);
            Ok((Plain::new(&text), font.and_then(|font| look(&text, &font))))
        }
        ("text", "html") => {
            let reading = from_html(&decode(media, body));
            Ok((reading.plain.clone(), reading.beyond_plain()))
        }
        ("text", "rtf") | ("application", "rtf") => {
            rtf::read(body).map(|text| (Plain::new(text.trim_end_matches('\n')), None)).ok_or(BodyFault::Malformed)
        }
        ("multipart", "alternative" | "mixed" | "related") if depth < MAX_DEPTH => read_parts(media, body, depth),
        _ => Err(BodyFault::Media),
    }
}

/// The first part with plain words; what is an alternative to that says how it looks.
fn read_parts(media: &ContentType, body: &[u8], depth: u8) -> Result<Words, BodyFault> {
    let boundary = media.param("boundary").filter(|text| (1..=70).contains(&text.len())).ok_or(BodyFault::Malformed)?;
    let mut plain: Option<Words> = None;
    let mut other: Option<Words> = None;
    for part in Parts::new(body, boundary.as_bytes()).take(MAX_PARTS) {
        let Some((headers, content)) = header_block(part) else { continue };
        let encoding = header(&headers, "Content-Transfer-Encoding").unwrap_or("binary");
        if !["7bit", "8bit", "binary"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain)) {
            continue;
        }
        let of_part = match header(&headers, "Content-Type") {
            Some(value) => ContentType::parse(value.as_bytes()).ok(),
            // RFC 2045 §5.2.
            None => ContentType::new("text", "plain").ok(),
        };
        let Some(of_part) = of_part else { continue };
        // Clients end their parts with one line end more than belongs to the boundary.
        let content = content.strip_suffix(b"\n").map_or(content, |content| content.strip_suffix(b"\r").unwrap_or(content));
        match read_part(&of_part, content, depth + 1) {
            Ok((words, _)) if words.is_empty() => {}
            Ok(words) if of_part.is("text", "plain") => plain = plain.or(Some(words)),
            Ok(words) => other = other.or(Some(words)),
            Err(_) => {}
        }
    }
    let is_alternative = media.is("multipart", "alternative");
    match (plain, other) {
        (Some((plain, rich)), other) if is_alternative => Ok((plain, other.and_then(|(_, rich)| rich).or(rich))),
        (Some(plain), _) => Ok(plain),
        (None, other) => other.ok_or(BodyFault::Media),
    }
}

/// Bytes to text: by the `charset` parameter; without one, or with one that nobody knows, UTF-8, or Windows-1252 where it cannot be that.
fn decode(media: &ContentType, body: &[u8]) -> String {
    let named = media.charset().and_then(|label| Encoding::for_label_no_replacement(label.as_bytes()));
    match named {
        Some(utf_8) if utf_8 == encoding_rs::UTF_8 => utf_8.decode_without_bom_handling(body).0.into_owned(),
        Some(other) => other.decode(body).0.into_owned(),
        None => match std::str::from_utf8(body) {
            Ok(text) => text.to_owned(),
            Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(body).0.into_owned(),
        },
    }
}

/// A text all of whose words look alike; `None` where they look like any others.
fn look(text: &str, font: &Font) -> Option<Rich> {
    let style = Style {
        bold: font.bold,
        italic: font.italic,
        underline: font.underline,
        strike: font.strike,
        colour: (font.colour != [0; 3]).then_some(Colour(font.colour)),
        ..Style::default()
    };
    if style.is_none() {
        return None;
    }
    let mut rich = RichBuilder::default();
    rich.words(text, &style);
    rich.finish().ok()
}

/// A text as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The words, with CR LF at line ends.
    plain: String,
    /// The parameter `msgr`.
    font: Option<String>,
    html: Option<String>,
}

impl Outgoing {
    /// The words of a text, and how they look. `None`: it says nothing.
    pub(crate) fn of(text: &Text) -> Option<Self> {
        let words = words_of(text);
        if words.is_empty() {
            return None;
        }
        let is_whole = *words == *text.plain.as_str();
        let subject = text.subject.as_ref().filter(|subject| !subject.is_empty() && *words != *subject.as_str());
        let rich = text.rich.as_ref().filter(|_| is_whole && subject.is_none());
        let font = rich.and_then(one_look).map(|font| font.write());
        let html = rich.filter(|rich| font.is_none() && is_simple(rich)).map(to_html).filter(|html| html.len() <= MAX_TEXT);
        // There is no header for it in a session.
        let words = match subject {
            Some(subject) => format!("{}\n{words}", subject.as_str()),
            None => words.into_owned(),
        };
        Some(Self { plain: words.replace('\n', "\r\n"), font, html })
    }

    /// Words of the hub's own.
    pub(crate) fn plain(words: &str) -> Self {
        Self { plain: words.replace('\n', "\r\n"), font: None, html: None }
    }

    /// Bytes of the words.
    pub(crate) fn size(&self) -> usize {
        self.plain.len()
    }

    /// The same in messages of at most so many bytes each; `None`: it is too large for that.
    pub(crate) fn parts(&self, most: usize) -> Option<Vec<Self>> {
        let parts = sip_model::parts::numbered(&self.plain.replace("\r\n", "\n"), most)?;
        Some(parts.iter().map(|words| Self { font: self.font.clone(), ..Self::plain(words) }).collect())
    }

    /// Without the form that the other side has refused.
    pub(crate) fn without_html(&mut self) -> bool {
        self.html.take().is_some()
    }

    /// Type and content for a client; `html`: it takes that.
    pub(crate) fn write(&self, html: bool) -> Result<(ContentType, String), sip_codec::Unencodable> {
        if let Some(page) = self.html.as_ref().filter(|_| html) {
            return Ok((ContentType::new("text", "html")?.with_param("charset", "UTF-8")?, page.clone()));
        }
        let media = ContentType::new("text", "plain")?.with_param("charset", "UTF-8")?;
        let media = match &self.font {
            Some(font) => media.with_param("msgr", font)?,
            None => media,
        };
        Ok((media, self.plain.clone()))
    }
}

/// The font of a text all of whose words look alike, and unlike plain ones.
fn one_look(rich: &Rich) -> Option<Font> {
    let mut found: Option<&Style> = None;
    for span in rich.spans() {
        match span {
            Span::Block(block) if block.quote > 0 || block.kind != BlockKind::Paragraph => return None,
            Span::Block(_) | Span::Break => {}
            Span::Words(words) => {
                if found.is_some_and(|style| *style != words.style) {
                    return None;
                }
                found = Some(&words.style);
            }
        }
    }
    let style = found.filter(|style| !style.is_none() && style.link.is_none() && !style.monospace)?;
    Some(Font {
        name: "Segoe UI".to_owned(),
        bold: style.bold,
        italic: style.italic,
        underline: style.underline,
        strike: style.strike,
        colour: style.colour.map_or([0; 3], |colour| colour.0),
        right_to_left: false,
    })
}

/// Whether clients can show all of it: paragraphs of heavy, slanted, underlined, struck, coloured words and links.
fn is_simple(rich: &Rich) -> bool {
    rich.is_formatted()
        && rich.spans().iter().all(|span| match span {
            Span::Block(block) => block.quote == 0 && block.kind == BlockKind::Paragraph,
            Span::Break => true,
            Span::Words(words) => !words.style.monospace,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(media: &str, body: impl AsRef<[u8]>) -> Result<Said, BodyFault> {
        read(Some(&ContentType::parse(media.as_bytes()).unwrap()), body.as_ref())
    }

    fn words(media: &str, body: impl AsRef<[u8]>) -> (String, bool) {
        match said(media, body).unwrap() {
            Said::Words(plain, rich) => (plain.as_str().to_owned(), rich.is_some()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_clients_write_is_read() {
        assert_eq!(words("text/plain; charset=UTF-8", "h\u{e9}\r\nyou"), ("h\u{e9}\nyou".to_owned(), false));
        assert_eq!(words("text/plain", b"caf\xe9"), ("caf\u{e9}".to_owned(), false));
        assert_eq!(
            words("text/html; charset=UTF-8", "<html><body><b>bold</b> &amp; <i>it</i></body></html>"),
            ("bold & it".to_owned(), true)
        );
        assert_eq!(
            words("text/rtf", r"{\rtf1\ansi{\fonttbl\f0\fswiss Segoe UI;}\f0 rich \b bold\b0}"),
            ("rich bold".to_owned(), false)
        );
        let alternative = "--bbb\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\nalt plain\r\n\r\n--bbb\r\nContent-Type: text/html; charset=UTF-8\r\n\r\n<b>alt html</b>\r\n\r\n--bbb--\r\n";
        assert_eq!(words("multipart/alternative;boundary=bbb", alternative), ("alt plain".to_owned(), true));
        assert_eq!(said("application/ms-imdn+xml", "<imdn/>"), Ok(Said::Nothing));
        let composing = "<?xml version=\"1.0\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>";
        assert_eq!(said("application/im-iscomposing+xml", composing), Ok(Said::Typing(true)));
    }

    #[test]
    fn what_nobody_can_read_is_refused() {
        for media in ["message/cpim", "text/x-msmsgsinvite", "image/gif", "application/x-ms-ink", "application/octet-stream"] {
            assert_eq!(said(media, "x"), Err(BodyFault::Media), "{media}");
        }
        assert_eq!(said("text/rtf", "x"), Err(BodyFault::Malformed));
        assert_eq!(read(None, b"x"), Err(BodyFault::NoType));
        assert_eq!(read(None, b""), Ok(Said::Nothing));
        assert_eq!(said("text/plain", "x".repeat(MAX_TEXT + 1)), Err(BodyFault::TooLarge));
    }

    #[test]
    fn a_font_is_the_look_of_all_words_both_ways() {
        let bold = Font { bold: true, colour: [0xff, 0, 0], ..Font::default() };
        let Said::Words(plain, Some(rich)) = said(&format!("text/plain;msgr={}", bold.write()), "one\r\ntwo").unwrap() else {
            panic!()
        };
        let text = Text { plain, rich: Some(rich), ..Text::default() };
        let out = Outgoing::of(&text).unwrap();
        let (media, content) = out.write(true).unwrap();
        assert_eq!(content, "one\r\ntwo");
        let font = Font::read(media.param("msgr").unwrap()).unwrap();
        assert_eq!((font.bold, font.colour), (true, [0xff, 0, 0]));
        // One that looks like any other, or that nobody can read, is none.
        assert!(!words(&format!("text/plain;msgr={}", Font::default().write()), "x").1);
        assert!(!words("text/plain;msgr=!!", "x").1);
    }

    #[test]
    fn several_looks_are_html_for_whoever_takes_it() {
        let reading = from_html("<b>a</b> and <i>b</i>");
        let text = Text { plain: reading.plain.clone(), rich: reading.rich, ..Text::default() };
        let out = Outgoing::of(&text).unwrap();
        assert!(out.write(true).unwrap().1.contains("<b>a</b>"));
        assert_eq!(out.write(false).unwrap().1, "a and b");
        // What clients cannot show goes as it is typed.
        let list = from_html("<ul><li>a</li><li>b</li></ul>");
        let text = Text { plain: list.plain.clone(), rich: list.rich, ..Text::default() };
        assert_eq!(Outgoing::of(&text).unwrap().write(true).unwrap().1, "- a\r\n- b");
    }
}
