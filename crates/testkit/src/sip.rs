//! An adapter of a kind of SIP with the test around it. The peers' side is plain strings, so that it does not share a mistake with our encoder.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use interchange_adapter::{
    Adapter, Build, CloseReason, ConnId, Input, Now, Output, Platform, Target, TlsPeer, TlsRole, Transport, Via,
};
use interchange_model::{DeliveryId, Domain, Down, Envelope, Health, Link, Outcome, Refusal, Token, Trouble, Up};

use crate::adapter::{domain, settings, start};

/// A message as it is on the wire, taken apart by its line ends only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Its first line.
    pub start: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// What follows.
    pub body: String,
}

impl Wire {
    /// The value of the first header of that name, which is there.
    pub fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The same, if there is one.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The values of all of that name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The status of an answer; 0: it is none.
    pub fn status(&self) -> u16 {
        self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap()
    }

    /// The branch of the first Via.
    pub fn branch(&self) -> &str {
        self.header("Via").split("branch=").nth(1).unwrap().split(';').next().unwrap()
    }

    /// An answer as a proxy would give it.
    pub fn answer(&self, status: u16, more: &str) -> String {
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
pub struct Hub {
    /// Itself.
    pub adapter: Box<dyn Adapter>,
    /// What it believes the time to be.
    pub now: Now,
    wires: HashMap<ConnId, Vec<u8>>,
    /// Datagrams and stream pieces as they were sent, to count them.
    pub sends: Vec<(ConnId, Bytes)>,
    /// What was dialled and has not come through.
    pub dials: Vec<(ConnId, Target)>,
    /// What the last dial tries last.
    pub avoided: Vec<SocketAddr>,
    /// Handshakes that were begun and are not done.
    pub handshakes: Vec<(ConnId, TlsRole)>,
    /// What the adapter has closed.
    pub closed: Vec<(ConnId, CloseReason)>,
    /// What the operator was told.
    pub notes: Vec<String>,
    /// Answers to questions whether a link works.
    pub checked: Vec<(Domain, Domain, Result<(), Trouble>)>,
    /// What the broker was told and the test has not looked at.
    pub told: Vec<Up>,
    /// What the adapter has said to remember, in order, where that is kept apart from what the broker was told.
    pub remembered: Vec<(Arc<str>, Option<Vec<u8>>)>,
    keeps_apart: bool,
    hosted: Vec<Domain>,
    accepted: u64,
}

impl Hub {
    /// A hub of this name with its platform's settings, a secret of its own, and people of its own at `hosted`.
    pub fn new(platform: Platform, name: &str, secret: u8, json: &str, hosted: &str) -> Self {
        let hub = domain(name);
        let build = Build { settings: &settings(json), hub: &hub, secret: [secret; 32], seed: 1 };
        Self {
            adapter: (platform.build)(build).unwrap(),
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
            keeps_apart: false,
            hosted: vec![domain(hosted)],
            accepted: 0,
        }
    }

    /// The same, with what is remembered kept apart from what the broker is told.
    #[must_use]
    pub fn keeping_apart(self) -> Self {
        Self { keeps_apart: true, ..self }
    }

    /// Something happens.
    pub fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.adapter.handle(self.now, input, &mut out);
        let mut closing = Vec::new();
        for output in out {
            match output {
                Output::Broker(Up::Remember { key, value, .. }) if self.keeps_apart => self.remembered.push((key, value)),
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
                Output::Authenticate { .. } | Output::LookUp { .. } => unreachable!("nobody signs in at the hub over SIP"),
            }
        }
        for (conn, why) in closing {
            self.input(Input::Closed { conn, why, detail: "as asked".into() });
        }
    }

    /// The broker tells which links there are.
    pub fn links(&mut self, links: &[Link]) {
        let mut hosted: HashSet<Domain> = self.hosted.iter().cloned().collect();
        hosted.extend(links.iter().flat_map(|link| link.domains.clone()));
        self.input(Input::Broker(Down::Links { links: links.to_vec().into(), hosted: Arc::new(hosted) }));
    }

    /// Lets time pass; every deadline on the way is kept.
    pub fn pass(&mut self, time: Duration) {
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

    /// Lets so many seconds pass.
    pub fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// A peer says something.
    pub fn receive(&mut self, conn: ConnId, bytes: impl AsRef<[u8]>) {
        self.input(Input::Received { conn, bytes: Bytes::copy_from_slice(bytes.as_ref()) });
    }

    /// A peer closes its connection.
    pub fn lose(&mut self, conn: ConnId) {
        self.input(Input::Closed { conn, why: CloseReason::PeerClosed, detail: "the peer closed it".into() });
    }

    /// What was sent on a connection since the last look.
    pub fn wire(&mut self, conn: ConnId) -> Vec<Wire> {
        self.wires.get_mut(&conn).map(take_apart).unwrap_or_default()
    }

    /// The same, where it is exactly one.
    #[track_caller]
    pub fn one(&mut self, conn: ConnId) -> Wire {
        let mut all = self.wire(conn);
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// The broker hands an envelope over to the link `lb`.
    pub fn deliver(&mut self, number: u64, envelope: Envelope) {
        let envelope = Arc::new(envelope);
        self.input(Input::Broker(Down::Deliver { link: "lb".into(), delivery: DeliveryId(number), envelope }));
    }

    /// What was submitted since the last look; everything else that was told is kept.
    pub fn submitted(&mut self) -> Vec<(Token, Arc<Envelope>)> {
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

    /// The same, where it is exactly one.
    #[track_caller]
    pub fn one_submitted(&mut self) -> (Token, Arc<Envelope>) {
        let mut all = self.submitted();
        assert_eq!(all.len(), 1, "{all:?} {:?}", self.told);
        all.remove(0)
    }

    /// The broker has taken what was submitted, or refuses it.
    pub fn store(&mut self, token: Token, result: Result<(), Refusal>) {
        self.input(Input::Broker(Down::Submitted { token, result }));
    }

    /// What was settled since the last look.
    pub fn settled(&mut self) -> Vec<(u64, Outcome)> {
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

    /// What was refused since the last look.
    pub fn refused(&mut self) -> Vec<Refusal> {
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
    pub fn health(&self) -> Option<Health> {
        self.told.iter().rev().find_map(|up| match up {
            Up::Health { health, .. } => Some(health.clone()),
            _ => None,
        })
    }

    /// The same as bytes, where it is no SIP.
    pub fn raw(&mut self, conn: ConnId) -> String {
        String::from_utf8(std::mem::take(self.wires.entry(conn).or_default())).unwrap()
    }

    /// A peer connects; with a certificate where it is TLS.
    pub fn accept_from(&mut self, transport: Transport, peer: &str, shown: Option<TlsPeer>) -> ConnId {
        self.accepted += 1;
        let conn = ConnId::accepted(self.accepted);
        let (local, peer): (SocketAddr, SocketAddr) = ("192.0.2.1:5061".parse().unwrap(), peer.parse().unwrap());
        self.input(Input::Opened { conn, via: Via::Accepted { transport, local, peer } });
        if transport == Transport::Tls {
            let role = self.shake_hands(conn, shown.unwrap_or_default());
            assert!(matches!(role, TlsRole::Server { .. }));
        }
        conn
    }

    /// The dial that is wanted comes through, as far as TLS; where to, and as whom the hub shook hands.
    pub fn dial_through(&mut self, shown: TlsPeer) -> (ConnId, Target, Option<TlsRole>) {
        let (conn, to) = self.dials.remove(0);
        let transport = match to {
            Target::Host { transport, .. } | Target::Srv { transport, .. } => transport,
        };
        let (local, peer) = ("192.0.2.1:33333".parse().unwrap(), "192.0.2.20:5061".parse().unwrap());
        self.input(Input::Opened { conn, via: Via::Dialled { transport, local, peer } });
        let role = (transport == Transport::Tls).then(|| self.shake_hands(conn, shown));
        (conn, to, role)
    }

    fn shake_hands(&mut self, conn: ConnId, shown: TlsPeer) -> TlsRole {
        let (known, role) = self.handshakes.pop().expect("a handshake");
        assert_eq!(known, conn);
        self.input(Input::Secured { conn, peer: shown });
        role
    }

    /// The peer of a link with this domain answers the first OPTIONS: the link is up.
    pub fn probed(&mut self, conn: ConnId, domain: &str) {
        let options = self.one(conn);
        assert_eq!(options.start, format!("OPTIONS sip:{domain} SIP/2.0"));
        self.receive(conn, options.answer(200, ""));
        assert_eq!(self.health(), Some(Health::Up));
        self.told.clear();
    }

    /// A request is stored and delivered; its envelope.
    pub fn store_one(&mut self) -> Arc<Envelope> {
        let (token, envelope) = self.one_submitted();
        self.store(token, Ok(()));
        self.input(Input::Broker(Down::Delivered { link: envelope.origin.clone(), id: envelope.id }));
        envelope
    }
}
