//! Bodies of incoming messages: whatever holds readable words becomes plain text; typing and receipts are read; the rest is refused.

mod cpim;
mod multipart;

use encoding_rs::Encoding;
use interchange_model::{Address, Plain, Rich, Wants};
use interchange_rich_text::from_html;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
use simple_codec::composing::Composing;
use simple_codec::imdn::Imdn;
use simple_codec::mime::{Line, header};
use sip_codec::{ContentType, Name, Request};

use crate::settings::MAX_TEXT;

/// What was readable in a body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Words {
    pub(crate) plain: Plain,
    /// The same with its formatting, where it came with some.
    pub(crate) rich: Option<Rich>,
    /// Only message/cpim has one of its own.
    pub(crate) subject: Option<Plain>,
    /// The name by which receipts will call it (RFC 5438 §6.3).
    pub(crate) message_id: Option<String>,
    /// Whether it is to be told that the message failed (RFC 5438 negative-delivery).
    pub(crate) wants_failure: bool,
    /// The receipts that are asked for.
    pub(crate) wants: Wants,
}

/// What a body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Words.
    Words(Words),
    /// Whether somebody writes.
    Composing(Composing),
    /// What became of a message.
    Receipt(Imdn),
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
    /// A charset that we do not know.
    #[error("Unsupported charset")]
    Charset,
    /// The sender named inside is not the one outside.
    #[error("From of the CPIM body differs from the request's")]
    Spoofed,
    /// Not what its type says that it is.
    #[error("Malformed body")]
    Malformed,
    /// More than is taken, once it is unpacked.
    #[error("Body too large")]
    TooLarge,
}

/// The content of a request's body. Linphone compresses what is long enough, receipts and typing above all.
///
/// # Errors
/// [`BodyFault::Malformed`], [`BodyFault::TooLarge`]: never more than `most` bytes are made of it (abuse case 26).
pub(crate) fn unpacked(request: &Request, most: usize) -> Result<std::borrow::Cow<'_, [u8]>, BodyFault> {
    // What else there may be, the checks before this have refused.
    if !request.headers().has_token(Name::ContentEncoding, DEFLATE) {
        return Ok(request.body().as_ref().into());
    }
    // RFC 9110 §8.4.1.2: in the zlib format.
    match decompress_to_vec_zlib_with_limit(request.body(), most) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if error.status == TINFLStatus::HasMoreOutput => Err(BodyFault::TooLarge),
        Err(_) => Err(BodyFault::Malformed),
    }
}

/// The encoding that is taken.
pub(crate) const DEFLATE: &str = "deflate";

/// How deep bodies may be nested in one another; the outermost is level 1.
const MAX_DEPTH: u8 = 4;

/// What a body says. `None`: nothing, which is no message and no fault either.
///
/// # Errors
/// [`BodyFault`].
pub(crate) fn read(content_type: Option<&ContentType>, body: &[u8], from: &Address) -> Result<Option<Said>, BodyFault> {
    if body.is_empty() {
        return Ok(None);
    }
    let content_type = content_type.ok_or(BodyFault::NoType)?;
    let said = match (content_type.kind(), content_type.subtype()) {
        ("message", "cpim") => cpim::read(body, from, 1)?,
        _ => read_content(content_type, body, from, 1)?,
    };
    Ok(Some(said).filter(|said| !matches!(said, Said::Words(words) if words.plain.is_empty())))
}

/// What stands by itself or in a message/cpim.
fn read_content(content_type: &ContentType, body: &[u8], from: &Address, depth: u8) -> Result<Said, BodyFault> {
    match (content_type.kind(), content_type.subtype()) {
        simple_codec::composing::MEDIA_TYPE => Composing::read(body).map(Said::Composing).map_err(|_| BodyFault::Malformed),
        simple_codec::imdn::MEDIA_TYPE => Imdn::read(body).map(Said::Receipt).map_err(|_| BodyFault::Malformed),
        _ => read_part(content_type, body, from, depth).map(Said::Words),
    }
}

fn read_part(content_type: &ContentType, body: &[u8], from: &Address, depth: u8) -> Result<Words, BodyFault> {
    match (content_type.kind(), content_type.subtype()) {
        ("text", "plain") => Ok(Words { plain: Plain::new(&decode(content_type, body)?), ..Words::default() }),
        ("text", "html") => html_words(&decode(content_type, body)?),
        ("multipart", "alternative" | "mixed" | "related") if depth < MAX_DEPTH => {
            multipart::read(content_type, body, from, depth)
        }
        ("message", "cpim") if depth < MAX_DEPTH => match cpim::read(body, from, depth)? {
            Said::Words(words) => Ok(words),
            Said::Composing(_) | Said::Receipt(_) => Err(BodyFault::Media),
        },
        _ => Err(BodyFault::Media),
    }
}

/// The words of HTML, and how they look.
fn html_words(html: &str) -> Result<Words, BodyFault> {
    let reading = from_html(html);
    let plain = reading.plain.clone();
    // Marks of lists and quotations may make it longer than the body was.
    if plain.as_str().len() > MAX_TEXT {
        return Err(BodyFault::TooLarge);
    }
    Ok(Words { plain, rich: reading.beyond_plain(), ..Words::default() })
}

/// Bytes to text by the `charset` parameter, UTF-8 without one (RFC 3261 §7.4.1). What is no text in that charset becomes
/// U+FFFD, once, here.
fn decode(content_type: &ContentType, body: &[u8]) -> Result<String, BodyFault> {
    let encoding = match content_type.charset() {
        None => encoding_rs::UTF_8,
        // Labels as browsers know them; none of them decodes to more than three bytes for one.
        Some(label) => Encoding::for_label_no_replacement(label.as_bytes()).ok_or(BodyFault::Charset)?,
    };
    // In UTF-8 U+FEFF is a character of the text as any other, for nothing there has an order of bytes to be told; in UTF-16 it tells it.
    let (words, _) = match encoding {
        utf_8 if utf_8 == encoding_rs::UTF_8 => utf_8.decode_without_bom_handling(body),
        other => {
            let (words, _, faults) = other.decode(body);
            (words, faults)
        }
    };
    Ok(words.into_owned())
}

/// What MIME says of a body: its type, and whether its bytes are the content themselves.
fn mime_type(headers: &[Line]) -> Result<ContentType, BodyFault> {
    let encoded = header(headers, "Content-Transfer-Encoding")
        .is_some_and(|encoding| !["7bit", "8bit", "binary"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain)));
    if encoded || header(headers, "Content-Encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(BodyFault::Media);
    }
    match header(headers, "Content-Type") {
        Some(value) => ContentType::parse(value.as_bytes()).map_err(|_| BodyFault::Malformed),
        // RFC 2045 §5.2: plain text where nothing is said.
        None => ContentType::new("text", "plain").map_err(|_| BodyFault::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn bob() -> Address {
        Address::parse("bob@b.example").unwrap()
    }

    pub(super) fn text(media: &str, body: impl AsRef<[u8]>) -> Result<Option<String>, BodyFault> {
        let media = ContentType::parse(media.as_bytes()).unwrap();
        let said = read(Some(&media), body.as_ref(), &bob())?;
        Ok(said.map(|said| match said {
            Said::Words(words) => words.plain.as_str().to_owned(),
            other => format!("{other:?}"),
        }))
    }

    fn some(text: &str) -> Result<Option<String>, BodyFault> {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn case_14_what_xml_cannot_carry_is_replaced() {
        assert_eq!(text("text/plain", b"a\0b\x08c\xffd"), some("a\u{fffd}b\u{fffd}c\u{fffd}d"));
    }

    #[test]
    fn case_15_charsets() {
        assert_eq!(text("text/plain;charset=iso-8859-1", b"\xe9"), some("é"));
        assert_eq!(text("TEXT/Plain ; charset=\"UTF-8\"", "é"), some("é"));
        assert_eq!(text("text/plain;charset=utf-16", b"\xff\xfeh\0i\0"), some("hi"));
        for unknown in ["klingon", "utf-7", "iso-2022-kr", "", "utf-32"] {
            assert_eq!(text(&format!("text/plain;charset=\"{unknown}\""), "x"), Err(BodyFault::Charset), "{unknown}");
        }
    }

    #[test]
    fn case_18_what_is_no_text_is_refused() {
        for media in ["application/pdf", "image/png", "text/rtf", "text/calendar"] {
            assert_eq!(text(media, "x"), Err(BodyFault::Media), "{media}");
        }
        // Case 36.
        for media in ["application/im-iscomposing+xml", "message/imdn+xml"] {
            assert_eq!(text(media, "x"), Err(BodyFault::Malformed), "{media}");
        }
        assert_eq!(read(None, b"x", &bob()), Err(BodyFault::NoType));
        assert_eq!(read(None, b"", &bob()), Ok(None));
        assert_eq!(text("text/html", "<br><script>x</script>"), Ok(None));
    }

    #[test]
    fn case_24_line_ends() {
        assert_eq!(text("text/plain", "a\r\nb\nc\rd"), some("a\nb\nc\nd"));
    }
}
