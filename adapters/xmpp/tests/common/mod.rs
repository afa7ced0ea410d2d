//! One adapter with the test as its driver, its broker and its peers, in virtual time.

#![allow(dead_code, unused_imports)]

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use interchange_adapter::{
    About, Adapter, Build, CloseReason, ConnId, Input, Now, Output, Target, TlsPeer, TlsRole, Transport, Via,
};
use interchange_model::{
    DeliveryId, Device, Domain, Down, Envelope, Fault, Health, Link, LinkId, MessageId, Outcome, Refusal, Token, Up,
};

pub(crate) use interchange_testkit::adapter::{certificate, domain, proof, settings, start};

pub(crate) fn link(id: &str, domains: &[&str], json: &str) -> Link {
    interchange_testkit::adapter::link("xmpp", id, domains, json)
}

/// Those of a hub built with seed 1.
pub(crate) fn references() -> interchange_adapter::References {
    interchange_adapter::References::new(&[1; 32])
}

pub(crate) fn text(from: &str, to: &str, words: &str) -> Envelope {
    let id = MessageId(u128::from(words.len() as u64) << 64 | 7);
    Envelope { id, origin: "sip".into(), ..interchange_testkit::adapter::text(0, from, to, words) }
}

/// One hub's adapter.
pub(crate) struct Hub {
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) now: Now,
    /// What it wants done and the test has not looked at.
    pub(crate) out: VecDeque<Output>,
    accepted: u64,
    /// Answer every submission at once.
    pub(crate) durable: bool,
    /// All it told the broker.
    pub(crate) told: Vec<Up>,
    /// All it told the operator.
    pub(crate) notes: Vec<String>,
}

impl Hub {
    pub(crate) fn new(links: &[Link], hosted: &[&str]) -> Self {
        Self::with("{}", 1, links, hosted)
    }

    pub(crate) fn with(platform: &str, seed: u64, links: &[Link], hosted: &[&str]) -> Self {
        let hub = domain("hub.example");
        let secret = [u8::try_from(seed & 0xff).unwrap(); 32];
        let adapter =
            (interchange_xmpp::PLATFORM.build)(Build { settings: &settings(platform), hub: &hub, secret, seed }).unwrap();
        let mut this =
            Self { adapter, now: start(), out: VecDeque::new(), accepted: 0, durable: true, told: Vec::new(), notes: Vec::new() };
        this.links(links, hosted);
        this
    }

    pub(crate) fn links(&mut self, links: &[Link], hosted: &[&str]) {
        let mut hosted: HashSet<Domain> = hosted.iter().map(|text| domain(text)).collect();
        hosted.extend(links.iter().flat_map(|link| link.domains.clone()));
        self.input(Input::Broker(Down::Links { links: links.to_vec().into(), hosted: Arc::new(hosted) }));
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.adapter.handle(self.now, input, &mut out);
            for output in out {
                match output {
                    Output::Broker(up) => {
                        if let Up::Submit { token, .. } = &up
                            && self.durable
                        {
                            inputs.push_back(Input::Broker(Down::Submitted { token: *token, result: Ok(()) }));
                        }
                        self.told.push(up);
                    }
                    // The driver answers a wish to close.
                    Output::Close { conn, why } => {
                        inputs.push_back(Input::Closed { conn, why, detail: String::new() });
                        self.out.push_back(Output::Close { conn, why });
                    }
                    // That a peer has proved itself is no news in a test.
                    Output::Note { about: Some(About { sign: Ok(()), .. }), .. } => {}
                    Output::Note { text, .. } => self.notes.push(text),
                    other => self.out.push_back(other),
                }
            }
        }
    }

    /// Lets time pass, waking the adapter when it wants.
    pub(crate) fn after(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(deadline) = self.adapter.deadline().filter(|deadline| *deadline <= end.instant) {
            let step = deadline.saturating_duration_since(self.now.instant);
            self.now = self.now.after(step);
            self.input(Input::Tick);
        }
        self.now = end;
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        self.after(Duration::from_secs(seconds));
    }

    /// A peer connects.
    pub(crate) fn accept(&mut self, transport: Transport) -> ConnId {
        self.accepted += 1;
        let conn = ConnId::accepted(self.accepted);
        let (local, peer) = ("192.0.2.1:5269".parse().unwrap(), "198.51.100.7:40000".parse().unwrap());
        self.input(Input::Opened { conn, via: Via::Accepted { transport, local, peer } });
        conn
    }

    pub(crate) fn receive(&mut self, conn: ConnId, text: &str) {
        self.input(Input::Received { conn, bytes: text.to_owned().into() });
    }

    /// A peer says something; what it is told.
    pub(crate) fn say(&mut self, conn: ConnId, text: &str) -> String {
        self.receive(conn, text);
        self.heard(conn)
    }

    /// All bytes for a connection that the test has not looked at.
    pub(crate) fn heard(&mut self, conn: ConnId) -> String {
        let mut heard = Vec::new();
        self.out.retain(|output| match output {
            Output::Send { conn: to, bytes } if *to == conn => {
                heard.extend_from_slice(bytes);
                false
            }
            _ => true,
        });
        String::from_utf8(heard).unwrap()
    }

    /// The next dial, and where to.
    pub(crate) fn dialled(&mut self) -> Option<(ConnId, Target)> {
        let at = self.out.iter().position(|output| matches!(output, Output::Dial { .. }))?;
        let Some(Output::Dial { conn, to, .. }) = self.out.remove(at) else { unreachable!() };
        Some((conn, to))
    }

    pub(crate) fn wants_tls(&mut self, conn: ConnId) -> Option<TlsRole> {
        let at = self.out.iter().position(|output| matches!(output, Output::StartTls { conn: on, .. } if *on == conn))?;
        let Some(Output::StartTls { role, .. }) = self.out.remove(at) else { unreachable!() };
        Some(role)
    }

    pub(crate) fn closed(&mut self, conn: ConnId) -> Option<CloseReason> {
        let at = self.out.iter().position(|output| matches!(output, Output::Close { conn: on, .. } if *on == conn))?;
        let Some(Output::Close { why, .. }) = self.out.remove(at) else { unreachable!() };
        Some(why)
    }

    pub(crate) fn connected(&mut self, conn: ConnId) {
        let (local, peer) = ("192.0.2.1:50000".parse().unwrap(), "198.51.100.7:5269".parse().unwrap());
        self.input(Input::Opened { conn, via: Via::Dialled { transport: Transport::Tcp, local, peer } });
    }

    pub(crate) fn secured(&mut self, conn: ConnId, peer: TlsPeer) {
        self.input(Input::Secured { conn, peer });
    }

    pub(crate) fn lost(&mut self, conn: ConnId, why: CloseReason, detail: &str) {
        self.input(Input::Closed { conn, why, detail: detail.to_owned() });
    }

    pub(crate) fn deliver(&mut self, link: &str, number: u64, envelope: Envelope) {
        self.input(Input::Broker(Down::Deliver {
            link: link.into(),
            delivery: DeliveryId(number),
            envelope: Arc::new(envelope),
        }));
    }

    pub(crate) fn submitted(&mut self, token: Token, result: Result<(), Refusal>) {
        self.input(Input::Broker(Down::Submitted { token, result }));
    }

    pub(crate) fn told(&mut self) -> Vec<Up> {
        std::mem::take(&mut self.told)
    }

    /// What was submitted, with the tokens.
    pub(crate) fn submissions(&mut self) -> Vec<(Token, Arc<Envelope>)> {
        let told = self.told();
        told.into_iter()
            .filter_map(|up| match up {
                Up::Submit { token, envelope, .. } => Some((token, envelope)),
                _ => None,
            })
            .collect()
    }

    /// What was settled, in order.
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

    /// The answers to questions whether a link works: for which domain, and what.
    pub(crate) fn checked(&mut self) -> Vec<(String, Result<(), Fault>)> {
        let mut checked = Vec::new();
        self.out.retain(|output| match output {
            Output::Checked { from, result, .. } => {
                checked.push((from.to_string(), result.clone().map_err(|trouble| trouble.fault)));
                false
            }
            _ => true,
        });
        checked
    }

    /// The last health told of a link.
    pub(crate) fn health(&mut self, id: &str) -> Option<Health> {
        let mut last = None;
        let id: LinkId = id.into();
        self.told.retain(|up| match up {
            Up::Health { link, health } if *link == id => {
                last = Some(health.clone());
                false
            }
            _ => true,
        });
        last
    }

    /// A partner's stream through STARTTLS, up to the features after TLS, which are returned.
    pub(crate) fn encrypted(&mut self, from: &str, to: &str, peer: TlsPeer) -> (ConnId, String) {
        let conn = self.accept(Transport::Tcp);
        let features = self.say(conn, &header(from, to));
        assert!(features.contains("<starttls"), "{features}");
        let proceed = self.say(conn, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        assert_eq!(proceed, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        assert!(matches!(self.wants_tls(conn), Some(TlsRole::Server { .. })));
        self.secured(conn, peer);
        let features = self.say(conn, &header(from, to));
        (conn, features)
    }

    /// A partner's stream that has proved itself by its certificate.
    pub(crate) fn authenticated(&mut self, from: &str, to: &str) -> ConnId {
        let (conn, features) = self.encrypted(from, to, proof(from));
        assert!(features.contains("<mechanism>EXTERNAL</mechanism>"), "{features}");
        let success = self.say(conn, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
        assert_eq!(success, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        let features = self.say(conn, &header(from, to));
        assert!(features.contains("<sm xmlns='urn:xmpp:sm:3'/>"), "{features}");
        conn
    }

    /// Answers a dial of the adapter as a partner that takes EXTERNAL.
    pub(crate) fn answer_dial(&mut self, own: &str, partner: &str) -> ConnId {
        self.answer_dial_with(own, partner, "<stream:features/>")
    }

    /// The same as one that offers these features in the end.
    pub(crate) fn answer_dial_with(&mut self, own: &str, partner: &str, features: &str) -> ConnId {
        let (conn, _) = self.dialled().expect("a dial");
        self.connected(conn);
        assert!(self.heard(conn).contains(&format!("to='{partner}'")));
        self.receive(conn, &answer_header(partner, own, "s1"));
        let starttls = self.say(
            conn,
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>",
        );
        assert!(starttls.contains("<starttls"), "{starttls}");
        self.receive(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        assert!(matches!(self.wants_tls(conn), Some(TlsRole::Client { .. })));
        self.secured(conn, proof(partner));
        self.heard(conn);
        self.receive(conn, &answer_header(partner, own, "s2"));
        let auth = self.say(
            conn,
            "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>",
        );
        assert!(auth.contains("<auth"), "{auth}");
        self.receive(conn, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        self.heard(conn);
        self.receive(conn, &answer_header(partner, own, "s3"));
        self.receive(conn, features);
        conn
    }
}

pub(crate) fn header(from: &str, to: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='{from}' to='{to}' version='1.0'>"
    )
}

pub(crate) fn answer_header(from: &str, to: &str, id: &str) -> String {
    header(from, to).replace(" version='1.0'>", &format!(" id='{id}' version='1.0'>"))
}

/// The value of the first attribute of that name after the first `after`.
pub(crate) fn attribute(text: &str, after: &str, name: &str) -> String {
    let rest = &text[text.find(after).unwrap_or_else(|| panic!("no {after} in {text}"))..];
    let rest = &rest[rest.find(&format!(" {name}='")).unwrap_or_else(|| panic!("no {name} in {rest}")) + name.len() + 3..];
    rest[..rest.find('\'').unwrap()].to_owned()
}

pub(crate) fn device(text: &str) -> Option<Device> {
    Device::new(text)
}

/// A message of Bob's to Alice that is known by its number.
pub(crate) fn numbered(number: u64) -> Envelope {
    Envelope { id: MessageId(number.into()), ..text("bob@b.example", "alice@a.example", &format!("words {number}")) }
}

/// Answers the last ping of what was heard, over the partner's own stream.
#[track_caller]
pub(crate) fn pong(hub: &mut Hub, inbound: ConnId, heard: &str) {
    let ping = &heard[heard.rfind("<iq ").unwrap_or_else(|| panic!("no ping in {heard}"))..];
    let (from, to, id) = (attribute(ping, "<iq", "from"), attribute(ping, "<iq", "to"), attribute(ping, "<iq", "id"));
    hub.receive(inbound, &format!("<iq from='{to}' to='{from}' type='result' id='{id}'/>"));
}
