//! Making requests of our own, and responses to those of others.

use std::fmt;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::Unencodable;
use crate::fields::{CSeq, ContentType};
use crate::header::{Headers, Name, Value};
use crate::lex;
use crate::message::{Core, Request, Response};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::status::reason_phrase;
use crate::uri::Uri;
use crate::via::{self, Via};

/// A request in the making. A clone of it with another Via is the same request for another try (RFC 3263 §4.3).
#[derive(Clone)]
pub struct RequestBuilder {
    method: Method,
    uri: Uri,
    vias: Vec<Via>,
    from: Option<NameAddr>,
    to: Option<NameAddr>,
    call_id: Option<Box<str>>,
    cseq: Option<u32>,
    max_forwards: u8,
    headers: Headers,
    content_type: Option<ContentType>,
    body: Bytes,
}

impl RequestBuilder {
    /// From; mandatory.
    pub fn from(mut self, from: NameAddr) -> Self {
        self.from = Some(from);
        self
    }

    /// To; mandatory.
    pub fn to(mut self, to: NameAddr) -> Self {
        self.to = Some(to);
        self
    }

    /// Call-ID; mandatory, printable ASCII without white space.
    pub fn call_id(mut self, call_id: &str) -> Result<Self, Unencodable> {
        if call_id.is_empty() {
            return Err(Unencodable::Empty("a Call-ID"));
        }
        if let Some(byte) = call_id.bytes().find(|byte| !byte.is_ascii_graphic()) {
            return Err(Unencodable::Byte(byte, "a Call-ID"));
        }
        self.call_id = Some(call_id.into());
        Ok(self)
    }

    /// The number of CSeq; mandatory, below 2³¹.
    pub fn cseq(mut self, number: u32) -> Self {
        self.cseq = Some(number);
        self
    }

    /// Max-Forwards; 70 if not given.
    pub fn max_forwards(mut self, hops: u8) -> Self {
        self.max_forwards = hops;
        self
    }

    /// The only Via, in place of any other; mandatory.
    pub fn via(mut self, via: Via) -> Self {
        self.vias = vec![via];
        self
    }

    /// One more header at the end. Those with a setter here, and Content-Length, are refused.
    pub fn header(mut self, name: Name, value: Value) -> Result<Self, Unencodable> {
        if name.is_managed() {
            return Err(Unencodable::Managed(name));
        }
        self.headers.push(name, value);
        Ok(self)
    }

    /// One more header that this crate need not know.
    pub fn named_header(mut self, name: &str, value: Value) -> Result<Self, Unencodable> {
        self.headers.push_named(name, value)?;
        Ok(self)
    }

    /// The body with its type; none if not given.
    pub fn body(mut self, media: ContentType, body: impl Into<Bytes>) -> Self {
        self.content_type = Some(media);
        self.body = body.into();
        self
    }

    /// The method it was begun with.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The request, if nothing mandatory is missing.
    pub fn build(self) -> Result<Request, Unencodable> {
        let from = self.from.ok_or(Unencodable::Missing("From"))?;
        let to = self.to.ok_or(Unencodable::Missing("To"))?;
        let call_id = self.call_id.ok_or(Unencodable::Missing("Call-ID"))?;
        let number = self.cseq.ok_or(Unencodable::Missing("CSeq"))?;
        if number > CSeq::MAX {
            return Err(Unencodable::Range(number.into(), "CSeq"));
        }
        // RFC 3261 §19.1.1: header components are not allowed in a Request-URI
        if self.uri.headers().is_some() {
            return Err(Unencodable::Byte(b'?', "a Request-URI"));
        }
        let cseq = CSeq { number, method: self.method.clone() };
        let mut headers = Headers::with_capacity(8 + self.headers.len());
        for via in &self.vias {
            headers.push(Name::Via, via.into());
        }
        headers.push(Name::MaxForwards, u32::from(self.max_forwards).into());
        headers.push(Name::From, (&from).into());
        headers.push(Name::To, (&to).into());
        headers.push(Name::CallId, Value::checked(call_id.to_string()));
        headers.push(Name::CSeq, Value::checked(cseq.to_string()));
        headers.extend(&self.headers);
        if let Some(media) = &self.content_type {
            headers.push(Name::ContentType, media.into());
        }
        let via = self.vias.into_iter().next().ok_or(Unencodable::Missing("Via"))?;
        let core = Core { via, from, to, call_id, cseq };
        Ok(Request { method: self.method, uri: self.uri, core, max_forwards: Some(self.max_forwards), headers, body: self.body })
    }
}

/// Shows no address and no text, so that it may be logged.
impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBuilder({} {:?}, CSeq {:?}, {} body bytes)", self.method, self.uri, self.cseq, self.body.len())
    }
}

impl Request {
    /// Begins a request of our own.
    pub fn builder(method: Method, uri: Uri) -> RequestBuilder {
        RequestBuilder {
            method,
            uri,
            vias: Vec::new(),
            from: None,
            to: None,
            call_id: None,
            cseq: None,
            max_forwards: 70,
            headers: Headers::default(),
            content_type: None,
            body: Bytes::new(),
        }
    }

    /// The CANCEL for this INVITE (RFC 3261 §9.1): same Request-URI, top Via, From, To, Call-ID, CSeq number, Route.
    pub fn to_cancel(&self) -> Request {
        self.hop_by_hop(Method::Cancel, Name::To, self.headers().first(Name::To), self.to().clone())
    }

    /// The ACK for a final response other than 2xx (RFC 3261 §17.1.1.3): as the CANCEL, but with the To of the response.
    /// The ACK of a 2xx is a request of its own in the dialog.
    pub fn to_ack(&self, response: &Response) -> Request {
        self.hop_by_hop(Method::Ack, Name::To, response.headers().first(Name::To), response.to().clone())
    }

    fn hop_by_hop(&self, method: Method, to_name: Name, to_value: Option<&Value>, to: NameAddr) -> Request {
        let cseq = CSeq { number: self.cseq().number, method: method.clone() };
        let mut headers = Headers::with_capacity(8);
        if let Some(top) = self.headers().elements(Name::Via).next() {
            headers.push(Name::Via, Value::checked(top.to_vec()));
        }
        headers.push(Name::MaxForwards, 70.into());
        for name in [Name::From, Name::CallId, Name::Route] {
            for value in self.headers().all(name) {
                headers.push(name, value.clone());
            }
        }
        headers.push(to_name, to_value.cloned().unwrap_or_else(|| (&to).into()));
        headers.push(Name::CSeq, Value::checked(cseq.to_string()));
        let core = Core { via: self.via().clone(), from: self.from().clone(), to, call_id: self.call_id().into(), cseq };
        Request { method, uri: self.uri().clone(), core, max_forwards: Some(70), headers, body: Bytes::new() }
    }
}

impl Response {
    /// An answer (RFC 3261 §8.2.6.2): Via list, From, To, Call-ID and CSeq byte for byte.
    ///
    /// `to_tag` is added to a To without tag, except for 100; give the same one each time. `source` is where the request
    /// came from: `received`, and `rport` if it was asked for, go on the top Via (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn to_request(
        request: &Request,
        status: u16,
        to_tag: Option<&str>,
        source: Option<SocketAddr>,
    ) -> Result<Self, Unencodable> {
        if !(100..=699).contains(&status) {
            return Err(Unencodable::Range(status.into(), "a status code"));
        }
        let mut core = request.core.clone();
        let mut headers = Headers::with_capacity(request.headers().len() + 4);
        for (index, value) in request.headers().all(Name::Via).enumerate() {
            let stamped = source.filter(|_| index == 0).map(|source| stamp_top(value, source));
            headers.push(Name::Via, stamped.unwrap_or_else(|| value.clone()));
        }
        if source.is_some()
            && let Some(Ok(via)) = headers.vias().next()
        {
            core.via = via;
        }
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            let Some(value) = request.headers().first(name) else { continue };
            match to_tag {
                // RFC 3261 §8.2.6.2: a tag on every answer but 100
                Some(tag) if name == Name::To && core.to.tag().is_none() && status > 100 => {
                    core.to = core.to.with_tag(tag)?;
                    headers.push(name, append_tag(value, tag));
                }
                _ => headers.push(name, value.clone()),
            }
        }
        // RFC 3261 §8.2.6.1
        if status == 100
            && let Some(timestamp) = request.headers().first(Name::Timestamp)
        {
            headers.push(Name::Timestamp, timestamp.clone());
        }
        let reason = Bytes::from_static(reason_phrase(status).as_bytes());
        Ok(Self { status, reason, core, headers, body: Bytes::new() })
    }
}

/// The first element of a Via line stamped, the others as they are.
pub(crate) fn stamp_top(value: &Value, source: SocketAddr) -> Value {
    let bytes = value.as_bytes();
    let top = lex::split(bytes, b',').next().unwrap_or_default();
    let mut stamped = BytesMut::from(via::stamp(top, source).as_slice());
    stamped.put_slice(bytes.get(top.len()..).unwrap_or_default());
    Value::checked(stamped)
}

/// `tag` must be a token.
pub(crate) fn append_tag(to: &Value, tag: &str) -> Value {
    let mut tagged = BytesMut::with_capacity(to.as_bytes().len() + 5 + tag.len());
    tagged.put_slice(to.as_bytes());
    tagged.put_slice(b";tag=");
    tagged.put_slice(tag.as_bytes());
    Value::checked(tagged)
}
