//! What Prosody and ejabberd have in common for a test: one domain, its users, its ports, and how it trusts others.

use std::fmt;
use std::net::SocketAddr;

use crate::certificates::{Authority, Identity, Leaf};
use crate::dns::NameServer;
use crate::ports::ReservedPort;
use crate::processes::{Program, Usage};

/// The password of every user of every test server.
pub const PASSWORD: &str = "correct horse";

/// The ports of one XMPP server, reserved before the name server that announces them starts.
#[derive(Debug)]
pub struct XmppPorts {
    /// For clients.
    pub client: ReservedPort,
    /// For other servers.
    pub server: ReservedPort,
}

impl XmppPorts {
    /// Reserves both.
    pub fn reserve() -> Self {
        Self { client: ReservedPort::any(), server: ReservedPort::any() }
    }
}

/// How a server proves and checks domains. TLS is required in all cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerAuthentication {
    /// SASL EXTERNAL with certificates of the trusted authority; no dialback module is loaded.
    Certificates,
    /// Certificates, and dialback where they do not suffice.
    CertificatesOrDialback,
    /// Dialback alone: no authority is trusted, so that no certificate is ever valid.
    Dialback,
}

/// How to start an XMPP server.
#[derive(Debug)]
pub struct XmppServerSettings {
    /// Its only domain.
    pub domain: String,
    /// Local parts; the password of each is [`PASSWORD`].
    pub users: Vec<String>,
    /// Where it listens.
    pub ports: XmppPorts,
    /// What it presents as server and as client.
    pub identity: Identity,
    /// Certificate (PEM) of the authority it trusts for other servers.
    pub trusted_authority: String,
    /// How other servers prove themselves to it.
    pub authentication: ServerAuthentication,
    /// Where it asks for names: a port of 127.0.0.1.
    pub name_server: u16,
    /// Whether it takes answers on the streams that it opens (XEP-0288); Prosody only.
    pub bidi: bool,
    /// Whether it logs in detail; a measured server must not.
    pub verbose: bool,
}

impl XmppServerSettings {
    /// A server with a good certificate of `authority`, which it also trusts, and certificate authentication.
    pub fn new(domain: &str, users: &[&str], ports: XmppPorts, authority: &Authority, names: &NameServer) -> Self {
        Self {
            domain: domain.to_owned(),
            users: users.iter().map(|&user| user.to_owned()).collect(),
            ports,
            identity: authority.issue(&Leaf::xmpp(domain)),
            trusted_authority: authority.certificate().to_owned(),
            authentication: ServerAuthentication::Certificates,
            name_server: names.port(),
            bidi: false,
            verbose: true,
        }
    }
}

/// A running XMPP server.
pub struct XmppServer {
    pub(crate) domain: String,
    pub(crate) ports: XmppPorts,
    pub(crate) program: Program,
}

impl XmppServer {
    /// Its domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Where clients connect, in plain TCP.
    pub fn client_address(&self) -> SocketAddr {
        self.ports.client.address()
    }

    /// Where other servers connect.
    pub fn server_address(&self) -> SocketAddr {
        self.ports.server.address()
    }

    /// `user` at its domain.
    pub fn address_of(&self, user: &str) -> String {
        format!("{user}@{}", self.domain)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.program.output()
    }

    /// What its processes have used.
    pub fn usage(&self) -> Usage {
        self.program.usage()
    }
}

impl fmt::Debug for XmppServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("XmppServer").field("domain", &self.domain).field("ports", &self.ports).finish()
    }
}
