//! Messages to bytes: long names, one space behind the colon, CR LF, computed Content-Length.

use bytes::{BufMut, Bytes, BytesMut};

use crate::header::{Headers, Name};
use crate::message::{Message, Request, Response};

impl Message {
    /// The message as sent.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Request(request) => request.encode(),
            Self::Response(response) => response.encode(),
        }
    }
}

impl Request {
    /// The message as sent.
    pub fn encode(&self) -> Bytes {
        let uri = self.uri().to_string();
        let mut out = BytesMut::with_capacity(64 + uri.len() + size(self.headers()) + self.body().len());
        for part in [self.method().as_str(), " ", &uri, " SIP/2.0\r\n"] {
            out.put_slice(part.as_bytes());
        }
        finish(out, self.headers(), self.body())
    }
}

impl Response {
    /// The message as sent.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.reason.len() + size(self.headers()) + self.body().len());
        put_status_line(&mut out, self.status(), &self.reason);
        finish(out, self.headers(), self.body())
    }
}

pub(crate) fn put_status_line(out: &mut BytesMut, status: u16, reason: &[u8]) {
    out.put_slice(format!("SIP/2.0 {status} ").as_bytes());
    out.put_slice(reason);
    out.put_slice(b"\r\n");
}

pub(crate) fn put_header(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn finish(mut out: BytesMut, headers: &Headers, body: &Bytes) -> Bytes {
    for header in headers.iter() {
        put_header(&mut out, header.sent_name(), header.value().as_bytes());
    }
    // RFC 3261 §18.3: needed on a stream, harmless elsewhere
    put_header(&mut out, Name::ContentLength.as_str(), body.len().to_string().as_bytes());
    out.put_slice(b"\r\n");
    out.put_slice(body);
    out.freeze()
}

fn size(headers: &Headers) -> usize {
    headers.iter().map(|header| header.sent_name().len() + header.value().as_bytes().len() + 4).sum()
}
