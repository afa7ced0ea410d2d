//! Several adapters wired to one another, with TLS that proves what it is told to.

use std::collections::HashMap;
use std::time::Duration;

use interchange_adapter::{CloseReason, ConnId, Identity, Input, Output, Target, TlsPeer, TlsRole, Transport};

use crate::common::{Hub, proof};

/// One end of a wire.
type End = (usize, ConnId);

/// Hubs by the host names under which they are dialled.
pub(crate) struct Net {
    pub(crate) hubs: Vec<Hub>,
    hosts: HashMap<String, usize>,
    wires: HashMap<End, End>,
    handshakes: HashMap<End, TlsRole>,
    /// What a hub proves when it shows this domain's certificate.
    pub(crate) prove: fn(&str) -> TlsPeer,
    /// A host that cannot be reached.
    pub(crate) cut: Option<usize>,
    pub(crate) dials: usize,
}

impl Net {
    pub(crate) fn new(hubs: Vec<(&str, Hub)>) -> Self {
        let hosts = hubs.iter().enumerate().map(|(at, (name, _))| ((*name).to_owned(), at)).collect();
        Self {
            hubs: hubs.into_iter().map(|(_, hub)| hub).collect(),
            hosts,
            wires: HashMap::new(),
            handshakes: HashMap::new(),
            prove: proof,
            cut: None,
            dials: 0,
        }
    }

    /// Carries everything until all is still.
    pub(crate) fn settle(&mut self) {
        while self.step() {}
    }

    /// Carries one thing; whether there was any.
    pub(crate) fn step(&mut self) -> bool {
        let next = (0..self.hubs.len()).find_map(|at| self.hubs[at].out.pop_front().map(|output| (at, output)));
        let any = next.is_some();
        if let Some((at, output)) = next {
            self.carry(at, output);
        }
        any
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds * 4 {
            for hub in &mut self.hubs {
                hub.after(Duration::from_millis(250));
            }
            self.settle();
        }
    }

    /// Every connection breaks.
    pub(crate) fn break_all(&mut self) {
        let ends: Vec<End> = self.wires.drain().map(|(end, _)| end).collect();
        self.handshakes.clear();
        for (at, conn) in ends {
            self.hubs[at].lost(conn, CloseReason::Broken, "the connection broke");
        }
    }

    fn carry(&mut self, at: usize, output: Output) {
        match output {
            Output::Dial { conn, to, .. } => {
                self.dials += 1;
                let Target::Host { host, .. } = to else { panic!("only hosts here") };
                let other = self.hosts.get(&host).copied();
                let Some(other) = other.filter(|other| self.cut != Some(*other)) else {
                    return self.hubs[at].lost(conn, CloseReason::Unreachable, "nobody listens there");
                };
                let theirs = self.hubs[other].accept(Transport::Tcp);
                self.wires.insert((at, conn), (other, theirs));
                self.wires.insert((other, theirs), (at, conn));
                self.hubs[at].connected(conn);
            }
            Output::Send { conn, bytes } => {
                if let Some((other, theirs)) = self.wires.get(&(at, conn)).copied() {
                    self.hubs[other].input(Input::Received { conn: theirs, bytes });
                }
            }
            Output::Close { conn, .. } => {
                if let Some((other, theirs)) = self.wires.remove(&(at, conn)) {
                    self.wires.remove(&(other, theirs));
                    self.hubs[other].lost(theirs, CloseReason::PeerClosed, "the peer closed");
                }
            }
            Output::StartTls { conn, role } => {
                let Some(theirs) = self.wires.get(&(at, conn)).copied() else { return };
                let Some(other) = self.handshakes.remove(&theirs) else {
                    self.handshakes.insert((at, conn), role);
                    return;
                };
                let (shown, seen) = (self.shown(&role), self.shown(&other));
                self.hubs[theirs.0].secured(theirs.1, shown);
                self.hubs[at].secured(conn, seen);
            }
            Output::Authenticate { .. } | Output::LookUp { .. } => unreachable!("nobody signs in at the hub over XMPP"),
            Output::Broker(_) | Output::Note { .. } | Output::Checked { .. } => {}
        }
    }

    fn shown(&self, role: &TlsRole) -> TlsPeer {
        match role {
            TlsRole::Server { identity: Identity::Domain(domain), .. }
            | TlsRole::Client { identity: Identity::Domain(domain), .. } => (self.prove)(domain.as_str()),
            _ => TlsPeer::default(),
        }
    }
}
