//! Requests and responses. One that exists has every mandatory header once, and parsed.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::error::Unencodable;
use crate::fields::{CSeq, ContentType};
use crate::header::{Headers, Name, Value};
use crate::lex;
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::uri::Uri;
use crate::via::Via;

/// A SIP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Asks.
    Request(Request),
    /// Answers.
    Response(Response),
}

impl Message {
    /// All headers but Content-Length, in order.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => request.headers(),
            Self::Response(response) => response.headers(),
        }
    }

    /// The body, which may be any bytes.
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Request(request) => request.body(),
            Self::Response(response) => response.body(),
        }
    }
}

/// The mandatory headers of every message, read once. The lines they came from stay in the headers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Core {
    pub(crate) via: Via,
    pub(crate) from: NameAddr,
    pub(crate) to: NameAddr,
    pub(crate) call_id: Box<str>,
    pub(crate) cseq: CSeq,
}

/// A request. Received ones come from the decoders, own ones from [`Request::builder`].
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) core: Core,
    pub(crate) max_forwards: Option<u8>,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

/// A response. Received ones come from the decoders, own ones from [`Response::to_request`].
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) reason: Bytes,
    pub(crate) core: Core,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

macro_rules! common {
    () => {
        /// The top Via.
        pub fn via(&self) -> &Via {
            &self.core.via
        }

        /// From.
        pub fn from(&self) -> &NameAddr {
            &self.core.from
        }

        /// To.
        pub fn to(&self) -> &NameAddr {
            &self.core.to
        }

        /// Call-ID; compared case-sensitively.
        pub fn call_id(&self) -> &str {
            &self.core.call_id
        }

        /// CSeq.
        pub fn cseq(&self) -> &CSeq {
            &self.core.cseq
        }

        /// All headers but Content-Length, in order, those with typed values included.
        pub fn headers(&self) -> &Headers {
            &self.headers
        }

        /// The body, which may be any bytes.
        pub fn body(&self) -> &Bytes {
            &self.body
        }

        /// How many Via values there are; a response to us has one.
        pub fn via_count(&self) -> usize {
            self.headers.elements(Name::Via).count()
        }
    };
}

impl Request {
    common!();

    /// The method; always that of CSeq.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The Request-URI, of any scheme; never with `?headers`.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Max-Forwards, which old senders leave out.
    pub fn max_forwards(&self) -> Option<u8> {
        self.max_forwards
    }
}

impl Response {
    common!();

    /// The status code, 100 to 699.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether it ends its transaction: 200 and above.
    pub fn is_final(&self) -> bool {
        self.status >= 200
    }

    /// The reason phrase; bytes that are not UTF-8 show as U+FFFD.
    pub fn reason(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.reason)
    }

    /// With another reason phrase.
    pub fn with_reason(mut self, reason: &str) -> Result<Self, Unencodable> {
        lex::refuse_controls(reason.as_bytes(), "a reason phrase")?;
        self.reason = Bytes::copy_from_slice(reason.as_bytes());
        Ok(self)
    }

    /// With one more header. Those with typed values of their own, and Content-Type, are refused.
    pub fn with_header(mut self, name: Name, value: Value) -> Result<Self, Unencodable> {
        if name.is_managed() {
            return Err(Unencodable::Managed(name));
        }
        self.headers.push(name, value);
        Ok(self)
    }

    /// With a header this crate need not know.
    pub fn with_named_header(mut self, name: &str, value: Value) -> Result<Self, Unencodable> {
        self.headers.push_named(name, value)?;
        Ok(self)
    }

    /// With all Record-Route values of the request, byte for byte and in order (RFC 3261 §12.1.1).
    pub fn with_record_route_of(mut self, request: &Request) -> Self {
        for value in request.headers.all(Name::RecordRoute) {
            self.headers.push(Name::RecordRoute, value.clone());
        }
        self
    }

    /// With this body in place of any other.
    pub fn with_body(mut self, media: &ContentType, body: impl Into<Bytes>) -> Self {
        self.headers.remove(Name::ContentType);
        self.headers.push(Name::ContentType, media.into());
        self.body = body.into();
        self
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// Shows no address and no text, so that it may be logged.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Request({} {:?}, CSeq {}, {} headers, {} body bytes)",
            self.method,
            self.uri,
            self.core.cseq,
            self.headers.len(),
            self.body.len()
        )
    }
}

/// Shows no address and no text, so that it may be logged.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Response({}, CSeq {}, {} headers, {} body bytes)",
            self.status,
            self.core.cseq,
            self.headers.len(),
            self.body.len()
        )
    }
}
