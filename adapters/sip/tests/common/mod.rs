//! One adapter with the test as its driver, its broker and its peers, in virtual time.

#![allow(dead_code, unused_imports)]

use std::sync::Arc;

use interchange_adapter::{ConnId, Input, TlsPeer, TlsRole, Transport, Via};
use interchange_model::{Envelope, Link};
pub(crate) use interchange_testkit::adapter::{certificate, domain, proof, settings, start, text, words};
pub(crate) use interchange_testkit::sip::Wire;

pub(crate) fn link(id: &str, domains: &[&str], json: &str) -> Link {
    interchange_testkit::adapter::link("sip", id, domains, json)
}

/// The usual link: `b.example` over TLS at a host of its own.
pub(crate) const LB: &str = r#"{"host":"sip.b.example"}"#;
/// The same over UDP.
pub(crate) const LB_UDP: &str = r#"{"host":"192.0.2.20","transport":"udp","addresses":["192.0.2.20"]}"#;

/// A server behind which somebody uses datagrams.
pub(crate) const SMALL: &str = r#"{"host":"sip.b.example","max_message":1300}"#;

pub(crate) fn hello(number: u64) -> Envelope {
    text(number, "alice@a.example", "bob@b.example", "hello")
}

/// A MESSAGE of Bob to Alice as his server would send it. `{}` in `more` stands for nothing; it is further header lines.
pub(crate) struct Sip {
    pub(crate) uri: &'static str,
    pub(crate) from: &'static str,
    pub(crate) branch: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) transport: &'static str,
    pub(crate) more: String,
    pub(crate) media: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Sip {
    pub(crate) fn message(number: u32, body: &str) -> Self {
        Self {
            uri: "sip:alice@a.example",
            from: "<sip:bob@b.example>",
            branch: format!("z9hG4bKpeer{number}"),
            call_id: format!("call{number}@phone"),
            cseq: 1,
            transport: "TLS",
            more: String::new(),
            media: "text/plain",
            body: body.as_bytes().to_vec(),
        }
    }

    pub(crate) fn more(mut self, lines: &str) -> Self {
        self.more = lines.to_owned();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.method("MESSAGE")
    }

    pub(crate) fn method(&self, method: &str) -> Vec<u8> {
        let media = if self.media.is_empty() { String::new() } else { format!("Content-Type: {}\r\n", self.media) };
        let mut bytes = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{} sip.b.example;branch={}\r\nMax-Forwards: 68\r\nFrom: {};tag=bobtag\r\nTo: <{}>\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n{}{media}Content-Length: {}\r\n\r\n",
            self.uri,
            self.transport,
            self.branch,
            self.from,
            self.uri,
            self.call_id,
            self.cseq,
            self.more,
            self.body.len(),
        )
        .into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// One hub's adapter.
pub(crate) struct Hub(interchange_testkit::sip::Hub);

impl std::ops::Deref for Hub {
    type Target = interchange_testkit::sip::Hub;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Hub {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Hub {
    pub(crate) fn new(links: &[Link]) -> Self {
        Self::with("{}", links)
    }

    pub(crate) fn with(platform: &str, links: &[Link]) -> Self {
        Self::named("hub.example", 7, platform, links)
    }

    /// A hub of this name, with a secret of its own.
    pub(crate) fn named(name: &str, secret: u8, platform: &str, links: &[Link]) -> Self {
        let mut this = Self(interchange_testkit::sip::Hub::new(interchange_sip::PLATFORM, name, secret, platform, "a.example"));
        this.links(links);
        this
    }

    /// A hub whose one link is up, and that link's connection.
    pub(crate) fn up(json: &str) -> (Self, ConnId) {
        let mut hub = Self::new(&[link("lb", &["b.example"], json)]);
        let conn = hub.bring_up("sip.b.example");
        (hub, conn)
    }

    /// A peer connects; with a certificate where it is TLS.
    pub(crate) fn accept(&mut self, transport: Transport, peer: &str, shown: Option<TlsPeer>) -> ConnId {
        self.accept_from(transport, peer, shown)
    }

    /// The usual peer over TLS.
    pub(crate) fn accept_b(&mut self) -> ConnId {
        self.accept(Transport::Tls, "192.0.2.20:40000", Some(proof("b.example")))
    }

    /// The dial that is wanted comes through, as far as TLS.
    pub(crate) fn open_dial(&mut self, server_name: &str, shown: TlsPeer) -> ConnId {
        let (conn, _, role) = self.dial_through(shown);
        if let Some(role) = role {
            assert!(
                matches!(role, TlsRole::Client { server_name: name, .. } if name == server_name || server_name == "sip.b.example")
            );
        }
        conn
    }

    /// A dial comes through to this server of `b.example`, as far as TLS.
    pub(crate) fn open_at(&mut self, conn: ConnId, server: &str) {
        let (local, peer) = ("192.0.2.1:33333".parse().unwrap(), server.parse().unwrap());
        self.input(Input::Opened { conn, via: Via::Dialled { transport: Transport::Tls, local, peer } });
        self.handshakes.clear();
        self.input(Input::Secured { conn, peer: proof("b.example") });
    }

    /// Dial, TLS, OPTIONS answered.
    pub(crate) fn bring_up(&mut self, _host: &str) -> ConnId {
        let conn = self.open_dial("b.example", proof("b.example"));
        self.probed(conn, "b.example");
        conn
    }

    /// Sends a request and wants one answer with this status and nothing submitted.
    pub(crate) fn refuse(&mut self, conn: ConnId, bytes: &[u8], status: u16) -> Wire {
        self.receive(conn, bytes);
        let answer = self.one(conn);
        assert_eq!(answer.status(), status, "{answer:?}");
        assert!(self.submitted().is_empty());
        answer
    }

    /// Sends a request that is submitted and stored, and wants this text.
    pub(crate) fn take(&mut self, conn: ConnId, bytes: &[u8]) -> Arc<Envelope> {
        self.receive(conn, bytes);
        let envelope = self.store_one();
        assert_eq!(self.one(conn).status(), 200);
        envelope
    }
}
