//! message/cpim (RFC 3862): a message with headers of its own around a MIME body.

use interchange_model::{Address, Plain, Wants};
use simple_codec::cpim::{Cpim, uri};
use simple_codec::imdn::CPIM_NAMESPACE;
use sip_codec::Uri;

use super::{BodyFault, Said, mime_type, read_content};
use crate::{address, native_id};

/// What is said inside. Its From must be the sender that the link has proved; of the other headers those count that ask for receipts, and
/// Require, which asks for what we do not know.
pub(super) fn read(body: &[u8], from: &Address, depth: u8) -> Result<Said, BodyFault> {
    let message = Cpim::read(body).map_err(|_| BodyFault::Malformed)?;
    // RFC 3862 §4.6
    if message.all("Require").next().is_some() {
        return Err(BodyFault::Media);
    }
    // Every From: a second one would speak to whoever reads the last (abuse case 6).
    for value in message.all("From") {
        let inner = Uri::parse(uri(value).as_bytes()).ok().and_then(|uri| address::from_sender_uri(&uri).ok());
        if inner.ok_or(BodyFault::Malformed)?.address != *from {
            return Err(BodyFault::Spoofed);
        }
    }
    let said = read_content(&mime_type(&message.content_headers)?, &message.content, from, depth + 1)?;
    let Said::Words(mut words) = said else { return Ok(said) };
    words.subject = message.subject().map(|(text, _)| Plain::new(&text));
    words.message_id = message
        .of(CPIM_NAMESPACE, "Message-ID")
        .next()
        .filter(|id| (1..=native_id::LONGEST).contains(&id.len()))
        .map(str::to_owned);
    if words.message_id.is_some() {
        // RFC 5438 §6.2: a list.
        let asked: Vec<&str> =
            message.of(CPIM_NAMESPACE, "Disposition-Notification").flat_map(|list| list.split(',')).map(str::trim).collect();
        let asks = |name: &str| asked.iter().any(|word| word.eq_ignore_ascii_case(name));
        words.wants_failure = asks("negative-delivery");
        words.wants = Wants { delivered: asks("positive-delivery"), displayed: asks("display") };
    }
    Ok(Said::Words(words))
}

#[cfg(test)]
mod tests {
    use sip_codec::ContentType;

    use super::super::tests::{bob, text};
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
            ("From: <im:bob@b.example>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n<imdn/>", BodyFault::Malformed),
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
    fn case_38_receipts_that_are_asked_for() {
        let asking = |list: &str| {
            let body = format!(
                "From: <im:bob@b.example>\r\nTo: <im:alice@a.example>\r\nNS: q <urn:ietf:params:imdn>\r\nq.Message-ID: abc\r\nq.Disposition-Notification: {list}\r\nSubject: Lunch\r\n\r\nContent-Type: text/plain\r\n\r\nhello"
            );
            match super::super::read(Some(&ContentType::new("message", "cpim").unwrap()), body.as_bytes(), &bob()) {
                Ok(Some(Said::Words(words))) => words,
                other => panic!("{other:?}"),
            }
        };
        let words = asking("positive-delivery, Display");
        assert_eq!((words.message_id.as_deref(), words.wants), (Some("abc"), Wants { delivered: true, displayed: true }));
        assert_eq!(words.subject, Some(Plain::new("Lunch")));
        let words = asking("negative-delivery");
        assert_eq!((words.wants, words.wants_failure), (Wants::default(), true));
        assert!(!asking("positive-delivery").wants_failure);
    }

    #[test]
    fn a_receipt_inside_is_read() {
        let inside = "<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>m</message-id><datetime/><delivery-notification><status><delivered/></status></delivery-notification></imdn>";
        let body = format!("From: <im:bob@b.example>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n{inside}");
        let said = super::super::read(Some(&ContentType::new("message", "cpim").unwrap()), body.as_bytes(), &bob());
        assert!(matches!(said, Ok(Some(Said::Receipt(imdn))) if imdn.message_id == "m"));
    }
}
