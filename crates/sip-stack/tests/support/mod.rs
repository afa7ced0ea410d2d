//! One layer in virtual time, and messages for it.

// Each test file uses its own part of this
#![allow(dead_code)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_codec::{
    Host, Limits, Message, Method, NameAddr, Request, RequestBuilder, Response, Transport, Uri, Via, decode_datagram,
};
use sip_stack::{Action, ClientId, Flow, FlowId, PeerId, ServerId, Settings, TransactionLayer};

pub(crate) const UDP: Flow = Flow { id: FlowId(1), peer: PeerId(1), reliable: false, source: None };
pub(crate) const TLS: Flow = Flow { id: FlowId(2), peer: PeerId(1), reliable: true, source: None };

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A layer with its clock and what it has said, each with the milliseconds since the start.
pub(crate) struct Bench {
    pub(crate) layer: TransactionLayer,
    start: Instant,
    now: Instant,
    out: Vec<Action>,
    pub(crate) said: Vec<(u64, Action)>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let start = Instant::now();
        Self { layer: TransactionLayer::new(settings, 42), start, now: start, out: Vec::new(), said: Vec::new() }
    }

    fn note(&mut self) {
        let at = u64::try_from((self.now - self.start).as_millis()).unwrap();
        self.said.extend(self.out.drain(..).map(|action| (at, action)));
    }

    /// Lets time pass, stopping at each deadline.
    pub(crate) fn run_to(&mut self, milliseconds: u64) {
        let end = self.start + ms(milliseconds);
        while let Some(due) = self.layer.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.layer.tick(self.now, &mut self.out);
            self.note();
        }
        self.now = end;
    }

    pub(crate) fn receive(&mut self, flow: Flow, message: impl Into<Message>) {
        self.layer.receive(self.now, flow, message.into(), &mut self.out);
        self.note();
    }

    pub(crate) fn send(&mut self, method: Method, flow: Flow) -> ClientId {
        let client = self.layer.send_request(self.now, draft(method), our_via(flow), flow, &mut self.out).unwrap();
        self.note();
        client
    }

    pub(crate) fn respond(
        &mut self,
        server: ServerId,
        response: &Response,
    ) -> Result<sip_stack::Delivery, sip_stack::RespondError> {
        let result = self.layer.respond(self.now, server, response, &mut self.out);
        self.note();
        result
    }

    pub(crate) fn reroute(&mut self, server: ServerId, flow: Flow) {
        self.layer.reroute(server, flow, &mut self.out).unwrap();
        self.note();
    }

    pub(crate) fn cancel(&mut self, client: ClientId) -> Result<(), sip_stack::SendError> {
        let result = self.layer.cancel(self.now, client, &mut self.out);
        self.note();
        result
    }

    pub(crate) fn close(&mut self, flow: FlowId) {
        self.layer.flow_closed(self.now, flow, &mut self.out);
        self.note();
    }

    /// All that was said since the last call, in short.
    pub(crate) fn told(&mut self) -> Vec<String> {
        self.said.drain(..).map(|(at, action)| format!("{at} {}", brief(&action))).collect()
    }

    /// The one request told since the last call.
    pub(crate) fn delivered(&mut self) -> (ServerId, Request) {
        let mut found: Vec<_> = self
            .said
            .drain(..)
            .filter_map(|(_, action)| match action {
                Action::Request { server, request, .. } => Some((server, *request)),
                _ => None,
            })
            .collect();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    /// The last message transmitted since the last call.
    pub(crate) fn transmitted(&mut self) -> Message {
        let bytes = self.said.drain(..).rev().find_map(|(_, action)| match action {
            Action::Transmit { bytes, .. } => Some(bytes),
            _ => None,
        });
        decode(bytes.expect("something was transmitted"))
    }

    pub(crate) fn sent_request(&mut self) -> Request {
        match self.transmitted() {
            Message::Request(request) => request,
            Message::Response(response) => panic!("{response:?}"),
        }
    }
}

pub(crate) fn brief(action: &Action) -> String {
    match action {
        Action::Transmit { flow, bytes } => match decode(bytes.clone()) {
            Message::Request(request) => format!("{}> {}", flow.0, request.method()),
            Message::Response(response) => format!("{}> {} {}", flow.0, response.status(), response.cseq().method),
        },
        Action::Request { request, merged_with, .. } => {
            format!("request {}{}", request.method(), if merged_with.is_some() { " merged" } else { "" })
        }
        Action::Ack { server, .. } => format!("ack{}", if server.is_some() { "" } else { " of nothing" }),
        Action::Cancelled { .. } => "cancelled".into(),
        Action::Response { response, .. } => format!("response {}", response.status()),
        Action::TimedOut { .. } => "timed out".into(),
        Action::TransportFailed { .. } => "transport failed".into(),
        Action::NotAcknowledged { .. } => "not acknowledged".into(),
    }
}

pub(crate) fn decode(bytes: Bytes) -> Message {
    decode_datagram(bytes, &Limits::default()).expect("what the layer sends can be read")
}

pub(crate) fn host(text: &str) -> Host {
    Host::new(text).unwrap()
}

pub(crate) fn our_via(flow: Flow) -> Via {
    Via::new(if flow.reliable { Transport::Tls } else { Transport::Udp }, host("hub.example"), Some(5061))
}

pub(crate) fn draft(method: Method) -> RequestBuilder {
    let address = |user: &str, domain: &str| NameAddr::new(Uri::sip_user(user, host(domain)).unwrap());
    Request::builder(method, Uri::sip_user("bob", host("b.example")).unwrap())
        .from(address("alice", "a.example").with_tag("f1").unwrap())
        .to(address("bob", "b.example"))
        .call_id("call-1")
        .unwrap()
        .cseq(1)
}

/// A request as a peer sends it.
pub(crate) fn from_peer(method: Method, branch: &str) -> Request {
    draft(method).via(Via::new(Transport::Udp, host("peer.example"), None).with_branch(branch).unwrap()).build().unwrap()
}

/// The ACK of a 2xx: a branch of its own, the tag of the 2xx.
pub(crate) fn ack_of_2xx(branch: &str, tag: &str) -> Request {
    let to = NameAddr::new(Uri::sip_user("bob", host("b.example")).unwrap()).with_tag(tag).unwrap();
    draft(Method::Ack)
        .to(to)
        .via(Via::new(Transport::Udp, host("peer.example"), None).with_branch(branch).unwrap())
        .build()
        .unwrap()
}

pub(crate) fn answer(request: &Request, status: u16) -> Response {
    Response::to_request(request, status, Some("t1"), None).unwrap()
}
