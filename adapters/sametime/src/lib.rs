//! The Sametime adapter: a community server of the Virtual Places protocol, for clients that sign in at the hub.
//!
//! Elsewhere a member's people sign in at the member's own server, and the hub speaks with that. Here the hub is the server: clients built on
//! libmeanwhile (Pidgin and others) sign in with a name and password that the member's directory judges ([`Output::Authenticate`]), and are people of
//! the link's domains as any other platform's: messages, typing, presence, a contact list that is kept for them. Left out: conferences, places, file
//! transfer, the vendor's directory and server-to-server protocols.
//!
//! Reading order: [`codec`] (bytes and messages), [`cipher`], `session` (what is known of a connection), `login` (handshake to login), `channels` (what
//! a client opens), `inbound` and `outbound` (the two ways of a message), `watching` and `watched` (presence, the two sides of it), `services` (names
//! and storage). This file hands inputs on.

mod channels;
pub mod cipher;
pub mod codec;
mod conversation;
pub mod ids;
mod inbound;
mod limits;
mod link;
mod login;
mod outbound;
mod person;
pub mod reason;
mod services;
mod session;
mod settings;
mod timers;
pub mod translate;
mod watched;
mod watching;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use interchange_adapter::{Adapter, Alarm, Build, CloseReason, ConnId, Input, Now, Output, Platform};
use interchange_model::{
    Address, DeliveryId, Domain, Down, Health, LinkId, Outcome, Plain, Refusal, Settings, SettingsError, Token, Up,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::codec::Message;
use crate::link::{Link, Memory};
use crate::outbound::Delivering;
use crate::person::Person;
use crate::services::LookUp;
use crate::session::{Conn, Session, State};
pub use crate::settings::{BusyAs, LinkSettings, Offline, PlatformSettings};
use crate::timers::{Sleeper, Timers};

/// The platform `sametime`.
pub const PLATFORM: Platform = Platform { name: "sametime", build, check_link, target: |_, _| None };

fn check_link(settings: &Settings) -> Result<(), SettingsError> {
    LinkSettings::read(settings).map(|_| ())
}

fn build(build: Build<'_>) -> Result<Box<dyn Adapter>, SettingsError> {
    build.settings.read::<PlatformSettings>()?;
    Ok(Box::new(Sametime {
        hub: build.hub.clone(),
        random: StdRng::seed_from_u64(build.seed),
        out: Vec::new(),
        touched: BTreeSet::new(),
        timers: Timers::default(),
        presence_alarm: Alarm::default(),
        conns: HashMap::new(),
        links: HashMap::new(),
        domains: HashMap::new(),
        hosted: Arc::default(),
        people: HashMap::new(),
        watchers: 0,
        deliveries: HashMap::new(),
        submitted: HashMap::new(),
        lookups: HashMap::new(),
        planned: VecDeque::new(),
        fetches: VecDeque::new(),
        fetched: None,
        last_number: 0,
        started: None,
        stopped: false,
    }))
}

/// What waits for the broker's answer to a submission.
enum Submitted {
    /// Somebody's text.
    Text { conn: ConnId, to: Address },
    /// A contact is asked.
    Ask { person: Address, contact: Address },
    /// It is done when the answer is safe.
    Settles { link: LinkId, delivery: DeliveryId },
    /// Nothing.
    Other,
}

/// The machine. Its methods are in the files by subject; each may push onto `out`.
struct Sametime {
    hub: Domain,
    random: StdRng,
    /// What this call of `handle` will say.
    out: Vec<Output>,
    /// Connections whose timers, and probes, must be seen to at the end of it.
    touched: BTreeSet<ConnId>,
    timers: Timers,
    presence_alarm: Alarm,
    conns: HashMap<ConnId, Conn>,
    links: HashMap<LinkId, Link>,
    domains: HashMap<Domain, LinkId>,
    hosted: Arc<HashSet<Domain>>,
    people: HashMap<Address, Person>,
    /// Entries of all `watchers`.
    watchers: usize,
    deliveries: HashMap<u64, Delivering>,
    submitted: HashMap<Token, Submitted>,
    lookups: HashMap<u64, LookUp>,
    /// Whose state is to be told again, and when.
    planned: VecDeque<(Instant, Address)>,
    /// Who wants to see whom, and nobody was asked yet.
    fetches: VecDeque<(Address, Address)>,
    /// When the last turn of these was.
    fetched: Option<Instant>,
    last_number: u64,
    /// When it first heard of links.
    started: Option<Instant>,
    stopped: bool,
}

impl Adapter for Sametime {
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        std::mem::swap(out, &mut self.out);
        match input {
            Input::Opened { conn, via } => self.opened(now, conn, &via),
            Input::Secured { conn, .. } => self.secured(conn),
            Input::Received { conn, bytes } => self.received(now, conn, &bytes),
            Input::Closed { conn, .. } => self.gone(now, conn),
            Input::Tick => self.tick(now),
            Input::Authenticated { conn, result } => self.authenticated(now, conn, result),
            Input::Found { query, result, .. } => self.found(now, query, result),
            Input::Broker(down) => self.broker(now, down),
            Input::Stop => self.stop(now),
        }
        for conn in std::mem::take(&mut self.touched) {
            self.probe(now, conn);
            if let Some(known) = self.conns.get_mut(&conn) {
                let deadline = known.deadline();
                self.timers.set(&mut known.alarm, Sleeper::Conn(conn), deadline);
            }
        }
        self.arm_presence(now);
        std::mem::swap(out, &mut self.out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }
}

impl Sametime {
    fn broker(&mut self, now: Now, down: Down) {
        match down {
            Down::Links { links, hosted } => self.links_changed(now, &links, hosted),
            Down::Submitted { token, result } => self.submitted(now, token, result),
            Down::Deliver { link, delivery, envelope } => self.deliver(now, &link, delivery, &envelope),
            Down::Told { envelope, .. } => self.told(now, &envelope),
            Down::Remembered { link, entries } => {
                if let Some(known) = self.links.get_mut(&link) {
                    known.memory.recalled(entries);
                    self.judge_waiting(&link);
                }
            }
            Down::Notice { link, text } => self.notice(&link, &text),
            // The hub itself is the server of these people: there is nobody else to be asked.
            Down::Check { link, from, to } => self.out.push(Output::Checked { link, from, to, result: Ok(()) }),
            // The protocol has no receipts; and clients are at this hub or not at all.
            Down::Delivered { .. } | Down::Relayed { .. } => {}
        }
    }

    fn submitted(&mut self, now: Now, token: Token, result: Result<(), Refusal>) {
        match self.submitted.remove(&token) {
            Some(Submitted::Text { conn, to }) => self.text_submitted(now, conn, &to, result),
            Some(Submitted::Ask { person, contact }) => self.asked(&person, &contact, result),
            Some(Submitted::Settles { link, delivery }) => {
                self.settle(link, delivery, result.map_or_else(Outcome::Refused, |()| Outcome::Delivered));
            }
            Some(Submitted::Other) | None => {}
        }
    }

    fn tick(&mut self, now: Now) {
        while let Some(sleeper) = self.timers.due(now.instant) {
            match sleeper {
                Sleeper::Conn(conn) => self.wake_conn(now, conn),
                Sleeper::Presence => {
                    self.presence_alarm.rang();
                    self.wake_presence(now);
                }
            }
        }
    }

    fn links_changed(&mut self, now: Now, links: &[interchange_model::Link], hosted: Arc<HashSet<Domain>>) {
        self.started.get_or_insert(now.instant);
        let mut before = std::mem::take(&mut self.links);
        self.domains.clear();
        for link in links {
            let settings = match LinkSettings::read(&link.settings) {
                Ok(settings) => settings,
                Err(error) => {
                    self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health: error.health() }));
                    continue;
                }
            };
            let memory = match before.remove(&link.id) {
                Some(known) => known.memory,
                None => {
                    self.out.push(Output::Broker(Up::Recall { link: link.id.clone() }));
                    self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health: Health::Up }));
                    Memory::default()
                }
            };
            self.domains.extend(link.domains.iter().map(|domain| (domain.clone(), link.id.clone())));
            let known = Link { id: link.id.clone(), domains: link.domains.clone(), settings, memory };
            self.links.insert(link.id.clone(), known);
        }
        self.hosted = hosted;
        // Whoever is of no link any more, or of another, must sign in again.
        let lost = |conn: &Conn| match &conn.state {
            State::In(session) => self.domains.get(session.person.domain()) != Some(&session.link),
            State::Judging(attempt) => self.domains.get(&attempt.domain) != Some(&attempt.link),
            State::Redirected(redirected) => self.domains.get(&redirected.attempt.domain) != Some(&redirected.attempt.link),
            _ => false,
        };
        let mut lost: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| lost(conn)).map(|(id, _)| *id).collect();
        lost.sort_unstable();
        for conn in lost {
            self.end(now, conn, reason::RESTRICTED, CloseReason::Shutdown);
        }
        let domains = &self.domains;
        self.people.retain(|address, person| domains.get(address.domain()) == Some(&person.link));
        self.watchers = self.people.values().map(|person| person.watchers.len()).sum();
        self.plan_new_contacts();
    }

    /// Says goodbye in a way that has clients come back by themselves.
    fn stop(&mut self, now: Now) {
        self.stopped = true;
        // What is in flight goes back to its place, and comes again.
        for (_, delivering) in std::mem::take(&mut self.deliveries) {
            self.settle(delivering.link, delivering.delivery, Outcome::LinkDown);
        }
        let mut conns: Vec<ConnId> = self.conns.keys().copied().collect();
        conns.sort_unstable();
        for conn in conns {
            self.end(now, conn, reason::NOT_RESPONDING, CloseReason::Shutdown);
        }
    }

    fn settle(&mut self, link: LinkId, delivery: DeliveryId, outcome: Outcome) {
        self.out.push(Output::Broker(Up::Settle { link, delivery, outcome }));
    }

    fn submit(&mut self, envelope: interchange_model::Envelope, then: Submitted) {
        let token = Token(self.number());
        self.submitted.insert(token, then);
        let link = envelope.origin.clone();
        self.out.push(Output::Broker(Up::Submit { token, link, envelope: Arc::new(envelope) }));
    }

    /// Shows words of the operator to everybody of a link who is signed in: as the administrator's, whom the protocol has for that.
    fn notice(&mut self, link: &LinkId, text: &Plain) {
        let of_link = |conn: &Conn| matches!(&conn.state, State::In(session) if session.link == *link);
        let mut conns: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| of_link(conn)).map(|(id, _)| *id).collect();
        conns.sort_unstable();
        for conn in conns {
            send(&mut self.out, conn, &Message::new(0, codec::Body::Admin { text: text.as_str().into() }));
        }
    }

    fn note(&mut self, conn: ConnId, text: &str) {
        self.out.push(Output::Note { conn, about: None, text: text.chars().take(300).collect() });
    }

    /// An envelope of somebody here.
    fn envelope(
        &mut self,
        now: Now,
        from: &Address,
        to: &Address,
        body: interchange_model::Body,
    ) -> Option<interchange_model::Envelope> {
        let origin = self.domains.get(from.domain())?.clone();
        let id = interchange_model::MessageId::new(now.wall, self.random.random());
        Some(interchange_model::Envelope::new(id, origin, (from.clone(), to.clone()), now.wall, body))
    }

    /// A number that was never given before.
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// The session on a connection, if somebody has signed in.
fn session_of(conns: &mut HashMap<ConnId, Conn>, conn: ConnId) -> Option<&mut Session> {
    conns.get_mut(&conn).and_then(Conn::session)
}

/// Sends a message to a client.
fn send(out: &mut Vec<Output>, conn: ConnId, message: &Message) {
    out.push(Output::Send { conn, bytes: message.encode().into() });
}
