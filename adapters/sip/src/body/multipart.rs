//! multipart/alternative, /mixed and /related (RFC 2046 §5.1): the first part that can be read.

use interchange_model::Address;
use simple_codec::mime::{Parts, header, header_block};
use sip_codec::ContentType;

use super::{BodyFault, Words, mime_type, read_part};

/// More parts than this are not looked at.
const MAX_PARTS: usize = 32;

/// The first part with words: plain text before anything that must be turned into it. What is an alternative to that says how it looks.
pub(super) fn read(content_type: &ContentType, body: &[u8], from: &Address, depth: u8) -> Result<Words, BodyFault> {
    // RFC 2046 §5.1.1: 1 to 70 bytes.
    let boundary = content_type.param("boundary").filter(|text| (1..=70).contains(&text.len())).ok_or(BodyFault::Malformed)?;
    let is_alternative = content_type.is("multipart", "alternative");
    let mut best: Option<Words> = None;
    let mut second_best: Option<Words> = None;
    let mut fault = BodyFault::Media;
    for part in Parts::new(body, boundary.as_bytes()).take(MAX_PARTS) {
        // Without an empty line all of the part would be header: nothing to read.
        let Some((headers, content)) = header_block(part) else { continue };
        if header(&headers, "Content-Disposition").is_some_and(|value| value.to_ascii_lowercase().starts_with("attachment")) {
            continue;
        }
        let read = mime_type(&headers).and_then(|media| {
            let words = read_part(&media, content, from, depth + 1)?;
            Ok((media.is("text", "plain"), words))
        });
        match read {
            Ok((_, words)) if words.plain.is_empty() => {}
            // Beside it another part may stand for it; in any other multipart they are different things.
            Ok((true, words)) if is_alternative => best = best.or(Some(words)),
            Ok((true, words)) => return Ok(words),
            Ok((false, words)) => second_best = second_best.or(Some(words)),
            // One spoofed part spoils the whole; any other fault only its part.
            Err(BodyFault::Spoofed) => return Err(BodyFault::Spoofed),
            Err(BodyFault::Charset) => fault = BodyFault::Charset,
            Err(_) => {}
        }
    }
    match (best, second_best) {
        (Some(best), other) => Ok(Words { rich: other.and_then(|other| other.rich), ..best }),
        (None, other) => other.ok_or(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::text;
    use super::*;

    fn some(text: &str) -> Result<Option<String>, BodyFault> {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn case_17_plain_is_taken_wherever_it_stands() {
        let plain_first = "preamble\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x\r\ncontent-type: text/html\r\n\r\n<b>no</b>\r\n--x--\r\nepilogue";
        assert_eq!(text("multipart/alternative;boundary=x", plain_first), some("hello"));
        let html_first =
            "--x\r\nContent-Type: text/html\r\n\r\n<b>no</b>\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello\r\nyou\r\n--x--";
        assert_eq!(text("multipart/mixed;boundary=\"x\"", html_first), some("hello\nyou"));
        let unknown = "--x\r\nContent-Type: application/pdf\r\n\r\nPDF\r\n--x\r\nContent-Type: text/plain;charset=iso-8859-1\r\n\r\nhello\r\n--x--";
        assert_eq!(text("multipart/mixed;boundary=x", unknown), some("hello"));
        let html_only = "--x\nContent-Type: text/html\n\n<p>a</p><p>b</p>\n--x--";
        assert_eq!(text("multipart/mixed;boundary=x", html_only), some("a\nb"));
        // Type and boundary are forgiven where they are missing.
        assert_eq!(text("multipart/mixed;boundary=x", "--x\r\n\r\nhello"), some("hello"));
    }

    #[test]
    fn nothing_to_read_is_refused() {
        for body in [
            "--x\r\nContent-Type: application/pdf\r\n\r\nPDF\r\n--x--",
            "--x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n--x--",
            "--x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nfile\r\n--x--",
            "--x--",
            "no boundary at all",
            "--xy\r\n\r\nhello\r\n--xy--",
        ] {
            assert_eq!(text("multipart/mixed;boundary=x", body), Err(BodyFault::Media), "{body}");
        }
        let charset = "--x\r\nContent-Type: text/plain;charset=klingon\r\n\r\nx\r\n--x--";
        assert_eq!(text("multipart/mixed;boundary=x", charset), Err(BodyFault::Charset));
        assert_eq!(text("multipart/mixed", "x"), Err(BodyFault::Malformed));
        let long = "y".repeat(71);
        assert_eq!(text(&format!("multipart/mixed;boundary={long}"), "x"), Err(BodyFault::Malformed));
    }

    /// `levels` multiparts around one text.
    fn nested(levels: usize) -> String {
        let mut body = "Content-Type: text/plain\r\n\r\ndeep".to_owned();
        for level in 1..levels {
            body = format!("Content-Type: multipart/mixed;boundary=b{level}\r\n\r\n--b{level}\r\n{body}\r\n--b{level}--");
        }
        format!("--b{levels}\r\n{body}\r\n--b{levels}--")
    }

    #[test]
    fn abuse_14_nesting_ends_at_four_levels() {
        assert_eq!(text("multipart/mixed;boundary=b3", nested(3)), some("deep"));
        assert_eq!(text("multipart/mixed;boundary=b4", nested(4)), Err(BodyFault::Media));
        assert_eq!(text("multipart/mixed;boundary=b1000", nested(1000)), Err(BodyFault::Media));
    }

    #[test]
    fn abuse_14_parts_are_counted() {
        let many = "--x\r\nContent-Type: a/b\r\n\r\n\r\n".repeat(40) + "--x\r\n\r\nlate\r\n--x--";
        assert_eq!(text("multipart/mixed;boundary=x", many), Err(BodyFault::Media));
    }
}
