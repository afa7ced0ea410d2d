//! message/cpim (RFC 3862): a message with headers of its own around a MIME body.

use interchange_model::{Address, Plain};
use sip_codec::Uri;

use super::{BodyFault, Words, header, header_block, mime_type, read_part};
use crate::address;

/// The words inside. Its From must be the sender that the link has proved; the other headers say nothing that counts,
/// except Require, which asks for what we do not know.
pub(super) fn read(body: &[u8], from: &Address, depth: u8) -> Result<Words, BodyFault> {
    let (headers, rest) = header_block(body).ok_or(BodyFault::Malformed)?;
    // RFC 3862 §2.3: the encapsulated MIME object has headers of its own.
    let (mime, content) = header_block(rest).ok_or(BodyFault::Malformed)?;
    // RFC 3862 §4.6
    if header(&headers, "Require").is_some() {
        return Err(BodyFault::Media);
    }
    // Every From: a second one would speak to whoever reads the last.
    for (_, value) in headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("From")) {
        let inner = sender(value).ok_or(BodyFault::Malformed)?;
        if inner != *from {
            return Err(BodyFault::Spoofed);
        }
    }
    let mut words = read_part(&mime_type(&mime)?, content, from, depth + 1)?;
    words.subject = header(&headers, "Subject").map(|text| Plain::new(&unescape(without_language(text))));
    Ok(words)
}

/// The address in `Name <im:user@domain>`.
fn sender(value: &str) -> Option<Address> {
    let (_, uri) = value.rsplit_once('<')?;
    let uri = Uri::parse(uri.strip_suffix('>')?.trim().as_bytes()).ok()?;
    address::from_sender_uri(&uri).ok().map(|party| party.address)
}

/// A Subject may begin with its language: `;lang=fr Objet` (RFC 3862 §4.5).
fn without_language(text: &str) -> &str {
    match text.strip_prefix(';') {
        Some(parameter) => parameter.split_once(' ').map_or("", |(_, subject)| subject.trim_start()),
        None => text,
    }
}

/// RFC 3862 §2.3.1: `\\`, `\"`, `\'`, `\b`, `\t`, `\n`, `\r` and `\uXXXX`. Anything else stands as it is.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = after.chars();
        rest = match chars.next() {
            Some('u') => match after.get(1..5).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32) {
                Some(c) => {
                    plain.push(c);
                    after.get(5..).unwrap_or_default()
                }
                None => {
                    plain.push('\u{fffd}');
                    chars.as_str()
                }
            },
            Some(c @ ('\\' | '"' | '\'')) => {
                plain.push(c);
                chars.as_str()
            }
            // A line, since it goes where a line is expected.
            Some('b' | 't' | 'n' | 'r') => {
                plain.push(' ');
                chars.as_str()
            }
            _ => {
                plain.push('\\');
                after
            }
        };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::super::tests::text;
    use super::*;

    const MEDIA: &str = "message/cpim";

    #[test]
    fn text_inside_is_read() {
        let body = "From: Bob <im:bob@b.example>\r\nTo: <im:alice@a.example>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n";
        assert_eq!(text(MEDIA, body), Ok(Some("hello\n".to_owned())));
        let prefixed = "x.From: y\nNS: x <urn:x>\nFrom: <sip:Bob@B.example>\n\nContent-type: text/html\n\n<i>hello</i>";
        assert_eq!(text(MEDIA, prefixed), Ok(Some("hello".to_owned())));
    }

    #[test]
    fn abuse_6_another_sender_inside_is_a_spoof() {
        for from in
            ["<im:eve@b.example>", "bob <im:bob@b.example.evil.example>", "<im:bob@b.example>\r\nFrom: <im:eve@b.example>"]
        {
            let body = format!("From: {from}\r\n\r\nContent-Type: text/plain\r\n\r\nhello");
            assert_eq!(text(MEDIA, body), Err(BodyFault::Spoofed), "{from}");
        }
        let nested = "--x\r\nContent-Type: message/cpim\r\n\r\nFrom: <im:eve@b.example>\r\n\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--";
        assert_eq!(text("multipart/mixed;boundary=x", nested), Err(BodyFault::Spoofed));
    }

    #[test]
    fn what_is_not_simple_is_refused() {
        for (body, fault) in [
            ("From: <im:bob@b.example>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n<imdn/>", BodyFault::Media),
            ("From: <im:bob@b.example>\r\nRequire: x.y\r\n\r\nContent-Type: text/plain\r\n\r\nhello", BodyFault::Media),
            ("From: bob\r\n\r\nContent-Type: text/plain\r\n\r\nhello", BodyFault::Malformed),
            ("From: <im:bob@b.example>\r\n\r\nhello", BodyFault::Malformed),
            ("hello", BodyFault::Malformed),
            ("", BodyFault::Malformed),
        ] {
            if !body.is_empty() {
                assert_eq!(text(MEDIA, body), Err(fault), "{body}");
            }
        }
    }

    #[test]
    fn escapes_in_a_subject() {
        for (escaped, plain) in [
            ("lunch", "lunch"),
            (r"a\\b\'\u00e9\n.", "a\\b'é ."),
            (r"\ud800x\u12", "\u{fffd}d800x\u{fffd}12"),
            (r"end\", "end\\"),
            (r"\é", "\\é"),
        ] {
            assert_eq!(unescape(escaped), plain);
        }
        assert_eq!(without_language(";lang=fr Objet"), "Objet");
    }
}
