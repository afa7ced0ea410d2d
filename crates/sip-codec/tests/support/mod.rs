//! Reads the vectors: text with LF line ends and a few marks, so that they can be read and edited.

// Each test file uses its own part of this
#![allow(dead_code)]

use bytes::Bytes;
use sip_codec::{Limits, Message, Rejected, Request, Response, decode_datagram};

/// `tests/vectors/{name}.sip` as it goes on the wire: comment lines at the top cut, LF as CR LF, `<<hex 00ff>>` as bytes,
/// `<<repeat 3 text>>` as repeated text (`%0a` in it a line end), `<<length>>` as the size of the body.
pub(crate) fn vector(name: &str) -> Bytes {
    let path = format!("{}/tests/vectors/{name}.sip", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    wire(&text)
}

pub(crate) fn wire(text: &str) -> Bytes {
    let text: String = text.lines().skip_while(|line| line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let (head, body) = text.split_once("\n\n").expect("an empty line after the headers");
    let body = expand(body, 0);
    let mut message = expand(head, body.len());
    message.extend_from_slice(b"\r\n\r\n");
    message.extend_from_slice(&body);
    message.into()
}

fn expand(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in text.split("<<").enumerate() {
        let (mark, plain) = if index == 0 { ("", part) } else { part.split_once(">>").expect("a closed mark") };
        if let Some(digits) = mark.strip_prefix("hex ") {
            bytes.extend(
                digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()),
            );
        } else if let Some((count, repeated)) = mark.strip_prefix("repeat ").and_then(|rest| rest.split_once(' ')) {
            bytes.extend_from_slice(repeated.replace("%0a", "\r\n").repeat(count.parse().unwrap()).as_bytes());
        } else if mark == "length" {
            bytes.extend_from_slice(length.to_string().as_bytes());
        }
        bytes.extend_from_slice(plain.replace('\n', "\r\n").as_bytes());
    }
    bytes
}

pub(crate) fn decode(bytes: Bytes) -> Result<Message, Rejected> {
    decode_datagram(bytes, &Limits::default())
}

pub(crate) fn request(bytes: Bytes) -> Request {
    match decode(bytes) {
        Ok(Message::Request(request)) => request,
        other => panic!("no request: {other:?}"),
    }
}

pub(crate) fn response(bytes: Bytes) -> Response {
    match decode(bytes) {
        Ok(Message::Response(response)) => response,
        other => panic!("no response: {other:?}"),
    }
}

/// A plain MESSAGE with these additional header lines (each ended by CR LF) and body.
pub(crate) fn message(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "MESSAGE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\nFrom: <sip:alice@a.example>;tag=1\r\n\
         To: <sip:bob@b.example>\r\nCall-ID: c1\r\nCSeq: 1 MESSAGE\r\n{headers}\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
