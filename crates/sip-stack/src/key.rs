//! Which messages belong together (RFC 3261 §17.1.3, §17.2.3, §8.2.2.2).

use sip_codec::{Method, Name, Request, Response, Via};

use crate::layer::PeerId;

/// Finds a server transaction. Keys of one peer never equal those of another, so that no one can draw out or cancel
/// what someone else sent.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerKey {
    peer: PeerId,
    method: Method,
    text: Box<[u8]>,
}

impl ServerKey {
    /// The key of the transaction this request begins or repeats.
    pub(crate) fn of(peer: PeerId, request: &Request) -> Self {
        Self::with_method(peer, request, request.method().clone())
    }

    /// The key that the request of this method had, if the given ACK or CANCEL belongs to it.
    pub(crate) fn with_method(peer: PeerId, request: &Request, method: Method) -> Self {
        // RFC 3261 §17.2.3: an ACK matches its INVITE
        let method = if method == Method::Ack { Method::Invite } else { method };
        let via = request.via();
        let text = match unique_part(via) {
            Some(branch) => {
                let port = via.port().map(|port| port.to_string()).unwrap_or_default();
                join([branch.as_bytes(), via.host().as_str().to_ascii_lowercase().as_bytes(), port.as_bytes()])
            }
            None => old_text(request, &method),
        };
        Self { peer, method, text }
    }
}

/// What follows the cookie; the cookie itself is compared in any case, the rest exactly.
pub(crate) fn unique_part(via: &Via) -> Option<&str> {
    via.branch().filter(|_| via.has_unique_branch()).and_then(|branch| branch.get(Via::COOKIE.len()..))
}

/// RFC 3261 §17.2.3 for peers of RFC 2543: Request-URI, tags, Call-ID, CSeq number and top Via. The To tag is left out for
/// INVITE, since its ACK carries the one we gave.
fn old_text(request: &Request, method: &Method) -> Box<[u8]> {
    let to_tag = if *method == Method::Invite { "" } else { request.to().tag().unwrap_or_default() };
    join([
        b"rfc2543",
        request.uri().to_string().as_bytes(),
        request.from().tag().unwrap_or_default().as_bytes(),
        to_tag.as_bytes(),
        request.call_id().as_bytes(),
        request.cseq().number.to_string().as_bytes(),
        request.headers().elements(Name::Via).next().unwrap_or_default(),
    ])
}

/// Unambiguous, as long as no part but the last holds a line feed, which none can.
fn join<const N: usize>(parts: [&[u8]; N]) -> Box<[u8]> {
    parts.join(&b'\n').into()
}

/// Finds the request that a merged one repeats on another way, and the INVITE of an ACK for a 2xx.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct CallKey {
    peer: PeerId,
    method: Method,
    number: u32,
    call_id: Box<str>,
    from_tag: Option<Box<str>>,
}

impl CallKey {
    pub(crate) fn of(peer: PeerId, request: &Request) -> Self {
        let method = if *request.method() == Method::Ack { Method::Invite } else { request.method().clone() };
        Self {
            peer,
            method,
            number: request.cseq().number,
            call_id: request.call_id().into(),
            from_tag: request.from().tag().map(Into::into),
        }
    }
}

/// Finds a client transaction (RFC 3261 §17.1.3): our branch, and the method, since a CANCEL shares its INVITE's branch.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey {
    peer: PeerId,
    branch: Box<str>,
    method: Method,
}

impl ClientKey {
    pub(crate) fn of_request(peer: PeerId, request: &Request) -> Option<Self> {
        Some(Self { peer, branch: unique_part(request.via())?.into(), method: request.method().clone() })
    }

    pub(crate) fn of_response(peer: PeerId, response: &Response) -> Option<Self> {
        Some(Self { peer, branch: unique_part(response.via())?.into(), method: response.cseq().method.clone() })
    }
}
