//! One adapter with the test as its driver, its broker and its edge, in virtual time.

#![allow(dead_code, unused_imports)]

pub(crate) mod alice;
pub(crate) mod transcript;

use std::collections::BTreeMap;
use std::sync::Arc;

use interchange_adapter::{ConnId, Input, Target, TlsPeer, TlsRole, Transport};
use interchange_model::{Down, Envelope, Health, Link, Up};
pub(crate) use interchange_testkit::adapter::{certificate, domain, proof, settings, start, text, words};
pub(crate) use interchange_testkit::sip::Wire;

pub(crate) fn link(id: &str, domains: &[&str], json: &str) -> Link {
    interchange_testkit::adapter::link("ocs", id, domains, json)
}

/// The usual link: `contoso.example` behind its edge, which lists the hub.
pub(crate) const EDGE: &str = r#"{"edge":"sip.contoso.example","listed":true}"#;

pub(crate) fn hello(number: u64) -> Envelope {
    text(number, "bob@fabrikam.example", "alice@contoso.example", "hello")
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
        let hub = interchange_testkit::sip::Hub::new(interchange_ocs::PLATFORM, name, secret, platform, "fabrikam.example");
        let mut this = Self(hub.keeping_apart());
        this.links(links);
        this
    }

    /// A hub whose one link is up, and that link's connection, and one that the edge has made.
    pub(crate) fn up(json: &str) -> (Self, ConnId, ConnId) {
        let mut hub = Self::with(r#"{"contact_host":"sip.fabrikam.example"}"#, &[link("lb", &["contoso.example"], json)]);
        hub.remember(&[]);
        let own = hub.bring_up();
        let edge = hub.accept_edge();
        (hub, own, edge)
    }

    /// What was kept for the link comes back.
    pub(crate) fn remember(&mut self, entries: &[(Arc<str>, Vec<u8>)]) {
        self.input(Input::Broker(Down::Remembered { link: "lb".into(), entries: entries.to_vec() }));
    }

    /// What is kept for the link, by name.
    pub(crate) fn kept(&self) -> Vec<(Arc<str>, Vec<u8>)> {
        let mut kept: BTreeMap<Arc<str>, Vec<u8>> = BTreeMap::new();
        for (key, value) in &self.remembered {
            match value {
                Some(value) => kept.insert(key.clone(), value.clone()),
                None => kept.remove(key),
            };
        }
        kept.into_iter().collect()
    }

    /// A peer connects, and shows this.
    pub(crate) fn accept(&mut self, shown: TlsPeer) -> ConnId {
        self.accept_from(Transport::Tls, "192.0.2.20:40000", Some(shown))
    }

    /// The edge connects.
    pub(crate) fn accept_edge(&mut self) -> ConnId {
        let conn = self.accept(proof("sip.contoso.example"));
        self.notes.clear();
        conn
    }

    /// The dial that is wanted comes through, as far as TLS.
    pub(crate) fn open_dial(&mut self, shown: TlsPeer) -> ConnId {
        let (conn, to, role) = self.dial_through(shown);
        assert!(matches!(to, Target::Host { port: 5061, transport: Transport::Tls, .. } | Target::Srv { .. }));
        assert!(matches!(role, Some(TlsRole::Client { .. })));
        conn
    }

    /// Dial, TLS, OPTIONS answered.
    pub(crate) fn bring_up(&mut self) -> ConnId {
        let conn = self.open_dial(proof("sip.contoso.example"));
        self.probed(conn, "contoso.example");
        self.notes.clear();
        conn
    }

    /// Lets time pass with an edge that answers OPTIONS and keep-alives; what else was sent.
    pub(crate) fn live(&mut self, conn: ConnId, seconds: u64) -> Vec<Wire> {
        let mut others = Vec::new();
        for _ in 0..seconds {
            self.seconds(1);
            for wire in self.wire(conn) {
                match wire.method() {
                    "OPTIONS" => self.receive(conn, wire.answer(200, "")),
                    "PING" => self.receive(conn, "\r\n"),
                    _ => others.push(wire),
                }
            }
        }
        others
    }

    pub(crate) fn tell(&mut self, envelope: Envelope) {
        self.input(Input::Broker(Down::Told { link: "lb".into(), envelope: Arc::new(envelope) }));
    }

    /// What was told of the member's people since the last look.
    pub(crate) fn telling(&mut self) -> Vec<Arc<Envelope>> {
        let mut telling = Vec::new();
        self.told.retain(|up| match up {
            Up::Tell { envelope, .. } => {
                telling.push(envelope.clone());
                false
            }
            _ => true,
        });
        telling
    }
}
