//! The checks of RFC 3261 §8.2 that need no policy, in the order in which a server makes them.
//!
//! Syntax, CSeq and version are the codec's. Between [`Rules::check_request`] and [`Rules::check_content`] stands what only
//! the caller knows: whether this link may say this at all (before both), and whether the domain is served (between them).

use std::net::SocketAddr;

use sip_codec::{Host, Method, Name, Request, Response, Scheme, Unencodable, Value};

/// What a server understands.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Methods it serves; they make up `Allow`.
    pub methods: Vec<Method>,
    /// Methods it knows and does not serve: 405 in place of 501.
    pub known_methods: Vec<Method>,
    /// Option tags it meets in `Require`.
    pub extensions: Vec<String>,
    /// Option tags it meets in `Proxy-Require`, such as Microsoft's `ms-benotify`.
    pub proxy_extensions: Vec<String>,
    /// Media types it takes, as `type/subtype` in lower case; they make up `Accept`. Empty: any.
    pub accept: Vec<String>,
    /// Content encodings it takes, in lower case; they make up `Accept-Encoding`.
    pub encodings: Vec<String>,
    /// Its own hosts in Via: a request that has passed one has come round. Empty: not checked.
    pub own_hosts: Vec<Host>,
    /// Whether `sips` is taken in a Request-URI.
    pub accept_sips: bool,
}

/// Why a request is refused, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status to answer.
    pub status: u16,
    /// A phrase other than the usual one.
    pub reason: Option<&'static str>,
    /// Headers that must go with it, such as `Unsupported`.
    pub headers: Vec<(Name, Value)>,
}

impl Refused {
    /// A status, with its usual phrase.
    #[must_use]
    pub fn of(status: u16) -> Self {
        Self { status, reason: None, headers: Vec::new() }
    }

    /// A status, with a phrase of its own.
    #[must_use]
    pub fn because(status: u16, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..Self::of(status) }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: Name, list: &str) -> Self {
        // The list comes from our own settings or was read as a token; what cannot be sent is left out
        self.headers.extend(Value::new(list).ok().map(|value| (name, value)));
        self
    }

    /// The answer.
    pub fn to_response(&self, request: &Request, to_tag: &str, source: Option<SocketAddr>) -> Result<Response, Unencodable> {
        let mut response = Response::to_request(request, self.status, Some(to_tag), source)?;
        if let Some(reason) = self.reason {
            response = response.with_reason(reason)?;
        }
        for (name, value) in &self.headers {
            response = response.with_header(*name, value.clone())?;
        }
        Ok(response)
    }
}

impl Rules {
    /// `Allow` of these rules.
    pub fn allow(&self) -> String {
        self.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Hops (483), loop (482), method (501, 405) and scheme (416).
    pub fn check_request(&self, request: &Request) -> Result<(), Refused> {
        // RFC 3261 §16.3 step 3, for an element behind which the request would go on
        if request.max_forwards() == Some(0) {
            return Err(Refused::of(483));
        }
        // RFC 3261 §16.3 step 4
        if !self.own_hosts.is_empty() && request.headers().vias().flatten().any(|via| self.own_hosts.contains(via.host())) {
            return Err(Refused::of(482));
        }
        // RFC 3261 §8.2.1
        if !self.methods.contains(request.method()) {
            let known = self.known_methods.contains(request.method());
            return Err(Refused::of(if known { 405 } else { 501 }).with(Name::Allow, &self.allow()));
        }
        // RFC 3261 §8.2.2.1
        match request.uri().scheme() {
            Scheme::Sip => Ok(()),
            Scheme::Sips if self.accept_sips => Ok(()),
            // RFC 7247 §8: TLS cannot be promised beyond a gateway
            Scheme::Sips => Err(Refused { reason: Some("SIPS not available beyond this hub"), ..Refused::of(416) }),
            _ => Err(Refused::of(416)),
        }
    }

    /// Extensions (420) and the kind of body (415).
    pub fn check_content(&self, request: &Request) -> Result<(), Refused> {
        // RFC 3261 §8.2.2.3: ignored in CANCEL and ACK
        if !matches!(request.method(), Method::Cancel | Method::Ack) {
            let required = unsupported(request, Name::Require, &self.extensions);
            let proxied = unsupported(request, Name::ProxyRequire, &self.proxy_extensions);
            let unsupported: Vec<_> = required.into_iter().chain(proxied).collect();
            if !unsupported.is_empty() {
                return Err(Refused::of(420).with(Name::Unsupported, &unsupported.join(", ")));
            }
        }
        if request.body().is_empty() {
            return Ok(());
        }
        // RFC 3261 §8.2.3
        let known = |encoding: &str| {
            encoding.eq_ignore_ascii_case("identity") || self.encodings.iter().any(|known| encoding.eq_ignore_ascii_case(known))
        };
        if request.headers().tokens(Name::ContentEncoding).any(|encoding| !known(&encoding)) {
            let accepted: Vec<&str> = std::iter::once("identity").chain(self.encodings.iter().map(String::as_str)).collect();
            return Err(Refused::of(415).with(Name::AcceptEncoding, &accepted.join(", ")));
        }
        match request.headers().content_type() {
            Ok(Some(media)) if self.accept.is_empty() || self.accept.iter().any(|known| is_type(known, &media)) => Ok(()),
            Ok(Some(_)) => Err(Refused::of(415).with(Name::Accept, &self.accept.join(", "))),
            // RFC 3261 §20.15: a body must have one
            Ok(None) => Err(Refused::because(400, "Missing Content-Type")),
            Err(_) => Err(Refused::because(400, "Malformed Content-Type")),
        }
    }
}

fn is_type(known: &str, media: &sip_codec::ContentType) -> bool {
    known.split_once('/').is_some_and(|(kind, subtype)| media.is(kind, subtype))
}

fn unsupported(request: &Request, name: Name, known: &[String]) -> Vec<String> {
    let is_known = |tag: &str| known.iter().any(|known| known.eq_ignore_ascii_case(tag));
    request.headers().tokens(name).filter(|tag| !is_known(tag)).map(|tag| tag.into_owned()).collect()
}
