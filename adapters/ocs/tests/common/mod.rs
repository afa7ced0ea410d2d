//! One adapter with the test as its driver, its broker and its peers, in virtual time. The peers' side is plain strings,
//! so that it does not share a mistake with our encoder.

#![allow(dead_code)]

pub(crate) mod alice;
pub(crate) mod transcript;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use interchange_adapter::{
    Adapter, Build, ChainFault, CloseReason, ConnId, Input, Now, Output, PeerCertificate, PeerName, Target, TlsPeer, TlsRole,
    Transport, Via,
};
use interchange_model::{
    Address, Body, DeliveryId, Domain, Down, Envelope, Health, Link, MessageId, Outcome, Pace, PlatformName, Refusal, Settings,
    Text, Token, Trouble, Up,
};

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn settings(json: &str) -> Settings {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn link(id: &str, domains: &[&str], json: &str) -> Link {
    Link {
        id: id.into(),
        member: "member".into(),
        platform: PlatformName::from_static("ocs"),
        domains: domains.iter().map(|text| domain(text)).collect(),
        pace: Pace::default(),
        settings: settings(json),
    }
}

/// The usual link: `contoso.example` behind its edge, which lists the hub.
pub(crate) const EDGE: &str = r#"{"edge":"sip.contoso.example","listed":true}"#;

pub(crate) fn text(number: u64, from: &str, to: &str, words: &str) -> Envelope {
    Envelope {
        id: MessageId::new(start().wall, u128::from(number) << 4 | 0xabcd),
        origin: "la".into(),
        from: Address::parse(from).unwrap(),
        from_device: None,
        to: Address::parse(to).unwrap(),
        to_device: None,
        native_id: None,
        accepted: start().wall,
        hops: 70,
        native: None,
        body: Body::Text(Text { plain: words.into(), ..Text::default() }),
    }
}

pub(crate) fn hello(number: u64) -> Envelope {
    text(number, "bob@fabrikam.example", "alice@contoso.example", "hello")
}

pub(crate) fn certificate(names: &[&str], chain: Result<(), ChainFault>) -> TlsPeer {
    let names = names.iter().map(|name| PeerName::Dns((*name).to_owned())).collect();
    let certificate = PeerCertificate { chain, names, key_sha256: [1; 32], fingerprint: [2; 32], subject: "CN=test".to_owned() };
    TlsPeer { certificate: Some(certificate), ..TlsPeer::default() }
}

pub(crate) fn proof(name: &str) -> TlsPeer {
    certificate(&[name], Ok(()))
}

pub(crate) fn start() -> Now {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let wall: SystemTime = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Now { instant: *START.get_or_init(Instant::now), wall }
}

/// A message as it is on the wire, taken apart by its line ends only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Wire {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn status(&self) -> u16 {
        self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap()
    }

    pub(crate) fn branch(&self) -> &str {
        self.header("Via").split("branch=").nth(1).unwrap().split(';').next().unwrap()
    }

    /// An answer as a proxy would give it.
    pub(crate) fn answer(&self, status: u16, more: &str) -> String {
        let to = self.header("To");
        let tag = if to.contains(";tag=") { "" } else { ";tag=peer" };
        format!(
            "SIP/2.0 {status} Whatever\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
            self.header("Via"),
            self.header("From"),
            self.header("Call-ID"),
            self.header("CSeq"),
        )
    }
}

/// Takes whole messages off a byte string; keep-alives are told by their start line alone.
fn take_apart(bytes: &mut Vec<u8>) -> Vec<Wire> {
    let mut messages = Vec::new();
    loop {
        if bytes.is_empty() {
            return messages;
        }
        if bytes.starts_with(b"\r\n") {
            let end = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let keep_alive: Vec<u8> = bytes.drain(..end).collect();
            let start = if keep_alive.len() == 2 { "PONG" } else { "PING" };
            messages.push(Wire { start: start.into(), headers: Vec::new(), body: String::new() });
            continue;
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole header block") + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").or(line.split_once(':')).unwrap())
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let length: usize = headers.iter().find(|(name, _)| name == "Content-Length").unwrap().1.parse().unwrap();
        let body = String::from_utf8(bytes[end..end + length].to_vec()).unwrap();
        bytes.drain(..end + length);
        messages.push(Wire { start, headers, body });
    }
}

/// One hub's adapter.
pub(crate) struct Hub {
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) now: Now,
    wires: HashMap<ConnId, Vec<u8>>,
    /// Datagrams and stream pieces as they were sent, to count them.
    pub(crate) sends: Vec<(ConnId, Bytes)>,
    pub(crate) dials: Vec<(ConnId, Target)>,
    /// What the last dial tries last.
    pub(crate) avoided: Vec<SocketAddr>,
    pub(crate) handshakes: Vec<(ConnId, TlsRole)>,
    pub(crate) closed: Vec<(ConnId, CloseReason)>,
    pub(crate) notes: Vec<String>,
    /// Answers to questions whether a link works.
    pub(crate) checked: Vec<(Domain, Domain, Result<(), Trouble>)>,
    /// What the broker was told and the test has not looked at.
    pub(crate) told: Vec<Up>,
    /// What the adapter has said to remember, in order.
    pub(crate) remembered: Vec<(Arc<str>, Option<Vec<u8>>)>,
    accepted: u64,
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
        let hub = domain(name);
        let build = Build { settings: &settings(platform), hub: &hub, secret: [secret; 32], seed: 1 };
        let mut this = Self {
            adapter: (interchange_ocs::PLATFORM.build)(build).unwrap(),
            now: start(),
            wires: HashMap::new(),
            sends: Vec::new(),
            dials: Vec::new(),
            avoided: Vec::new(),
            handshakes: Vec::new(),
            closed: Vec::new(),
            notes: Vec::new(),
            checked: Vec::new(),
            told: Vec::new(),
            remembered: Vec::new(),
            accepted: 0,
        };
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
        let mut kept: std::collections::BTreeMap<Arc<str>, Vec<u8>> = std::collections::BTreeMap::new();
        for (key, value) in &self.remembered {
            match value {
                Some(value) => kept.insert(key.clone(), value.clone()),
                None => kept.remove(key),
            };
        }
        kept.into_iter().collect()
    }

    pub(crate) fn links(&mut self, links: &[Link]) {
        let mut hosted: HashSet<Domain> = HashSet::from([domain("fabrikam.example")]);
        hosted.extend(links.iter().flat_map(|link| link.domains.clone()));
        self.input(Input::Broker(Down::Links { links: links.to_vec().into(), hosted: Arc::new(hosted) }));
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.adapter.handle(self.now, input, &mut out);
        let mut closing = Vec::new();
        for output in out {
            match output {
                Output::Broker(Up::Remember { key, value, .. }) => self.remembered.push((key, value)),
                Output::Broker(up) => self.told.push(up),
                Output::Send { conn, bytes } => {
                    assert!(!self.closed.iter().any(|(closed, _)| *closed == conn), "sent to {conn} which is closed");
                    self.wires.entry(conn).or_default().extend_from_slice(&bytes);
                    self.sends.push((conn, bytes));
                }
                Output::Dial { conn, to, avoid } => {
                    self.avoided = avoid;
                    self.dials.push((conn, to));
                }
                Output::StartTls { conn, role } => self.handshakes.push((conn, role)),
                Output::Close { conn, why } => {
                    self.closed.push((conn, why));
                    closing.push((conn, why));
                }
                Output::Note { text, .. } => self.notes.push(text),
                Output::Checked { from, to, result, .. } => self.checked.push((from, to, result)),
                Output::Authenticate { .. } | Output::LookUp { .. } => unreachable!("nobody signs in at the hub by an edge"),
            }
        }
        for (conn, why) in closing {
            self.input(Input::Closed { conn, why, detail: "as asked".into() });
        }
    }

    /// Lets time pass; every deadline on the way is kept.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        let mut last = None;
        while let Some(deadline) = self.adapter.deadline().filter(|deadline| *deadline <= end) {
            assert_ne!(
                last.replace((deadline, self.told.len(), self.sends.len())),
                Some((deadline, self.told.len(), self.sends.len())),
                "a tick without effect"
            );
            let step = deadline.saturating_duration_since(self.now.instant);
            self.now = self.now.after(step);
            self.input(Input::Tick);
        }
        self.now = self.now.after(end.saturating_duration_since(self.now.instant));
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// A peer connects, and shows this.
    pub(crate) fn accept(&mut self, shown: TlsPeer) -> ConnId {
        self.accepted += 1;
        let conn = ConnId::accepted(self.accepted);
        let (local, peer): (SocketAddr, SocketAddr) = ("192.0.2.1:5061".parse().unwrap(), "192.0.2.20:40000".parse().unwrap());
        self.input(Input::Opened { conn, via: Via::Accepted { transport: Transport::Tls, local, peer } });
        let (known, role) = self.handshakes.pop().expect("a handshake");
        assert!(known == conn && matches!(role, TlsRole::Server { .. }));
        self.input(Input::Secured { conn, peer: shown });
        conn
    }

    /// The edge connects.
    pub(crate) fn accept_edge(&mut self) -> ConnId {
        let conn = self.accept(proof("sip.contoso.example"));
        self.notes.clear();
        conn
    }

    /// The dial that is wanted comes through, as far as TLS.
    pub(crate) fn open_dial(&mut self, shown: TlsPeer) -> ConnId {
        let (conn, to) = self.dials.remove(0);
        assert!(matches!(to, Target::Host { port: 5061, transport: Transport::Tls, .. } | Target::Srv { .. }));
        let (local, peer) = ("192.0.2.1:33333".parse().unwrap(), "192.0.2.20:5061".parse().unwrap());
        self.input(Input::Opened { conn, via: Via::Dialled { transport: Transport::Tls, local, peer } });
        let (known, role) = self.handshakes.pop().expect("a handshake");
        assert!(known == conn && matches!(role, TlsRole::Client { .. }));
        self.input(Input::Secured { conn, peer: shown });
        conn
    }

    /// Dial, TLS, OPTIONS answered.
    pub(crate) fn bring_up(&mut self) -> ConnId {
        let conn = self.open_dial(proof("sip.contoso.example"));
        let options = self.one(conn);
        assert_eq!(options.start, "OPTIONS sip:contoso.example SIP/2.0");
        self.receive(conn, options.answer(200, ""));
        assert_eq!(self.health(), Some(Health::Up));
        self.told.clear();
        self.notes.clear();
        conn
    }

    pub(crate) fn receive(&mut self, conn: ConnId, bytes: impl AsRef<[u8]>) {
        self.input(Input::Received { conn, bytes: Bytes::copy_from_slice(bytes.as_ref()) });
    }

    pub(crate) fn lose(&mut self, conn: ConnId) {
        self.input(Input::Closed { conn, why: CloseReason::PeerClosed, detail: "the peer closed it".into() });
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

    /// What was sent on a connection since the last look.
    pub(crate) fn wire(&mut self, conn: ConnId) -> Vec<Wire> {
        self.wires.get_mut(&conn).map(take_apart).unwrap_or_default()
    }

    /// The same, where it is exactly one.
    #[track_caller]
    pub(crate) fn one(&mut self, conn: ConnId) -> Wire {
        let mut all = self.wire(conn);
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    pub(crate) fn deliver(&mut self, number: u64, envelope: Envelope) {
        let envelope = Arc::new(envelope);
        self.input(Input::Broker(Down::Deliver { link: "lb".into(), delivery: DeliveryId(number), envelope }));
    }

    /// What was submitted since the last look; everything else that was told is kept.
    pub(crate) fn submitted(&mut self) -> Vec<(Token, Arc<Envelope>)> {
        let mut submitted = Vec::new();
        self.told.retain(|up| match up {
            Up::Submit { token, envelope, link } => {
                assert_eq!(*link, envelope.origin);
                submitted.push((*token, envelope.clone()));
                false
            }
            _ => true,
        });
        submitted
    }

    #[track_caller]
    pub(crate) fn one_submitted(&mut self) -> (Token, Arc<Envelope>) {
        let mut all = self.submitted();
        assert_eq!(all.len(), 1, "{all:?} {:?}", self.told);
        all.remove(0)
    }

    pub(crate) fn store(&mut self, token: Token, result: Result<(), Refusal>) {
        self.input(Input::Broker(Down::Submitted { token, result }));
    }

    pub(crate) fn settled(&mut self) -> Vec<(u64, Outcome)> {
        let mut settled = Vec::new();
        self.told.retain(|up| match up {
            Up::Settle { delivery, outcome, .. } => {
                settled.push((delivery.0, *outcome));
                false
            }
            _ => true,
        });
        settled
    }

    pub(crate) fn refused(&mut self) -> Vec<Refusal> {
        let mut refused = Vec::new();
        self.told.retain(|up| match up {
            Up::Refused { why, .. } => {
                refused.push(*why);
                false
            }
            _ => true,
        });
        refused
    }

    /// The last health that was told.
    pub(crate) fn health(&self) -> Option<Health> {
        self.told.iter().rev().find_map(|up| match up {
            Up::Health { health, .. } => Some(health.clone()),
            _ => None,
        })
    }

    /// A request is stored and delivered; its envelope.
    pub(crate) fn store_one(&mut self) -> Arc<Envelope> {
        let (token, envelope) = self.one_submitted();
        self.store(token, Ok(()));
        self.input(Input::Broker(Down::Delivered { link: envelope.origin.clone(), id: envelope.id }));
        envelope
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

pub(crate) fn words(envelope: &Envelope) -> &str {
    match &envelope.body {
        Body::Text(text) => text.plain.as_str(),
        other => panic!("{other:?}"),
    }
}
