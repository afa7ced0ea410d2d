//! The adapter for Microsoft's servers: Live Communications Server 2005, Office Communications Server 2007 (R2), Lync and Skype for Business, whose
//! Access Edge takes the hub for a federated partner's.
//!
//! It is a user agent on both sides and never a proxy: every transaction ends here, and what goes on is made anew from the envelope. People write in
//! sessions (INVITE with `m=message`, MESSAGE in the dialog), typing is INFO, presence is SUBSCRIBE and NOTIFY with documents of Microsoft's own.
//! Left out: conferences, files, speech and pictures, which are refused with a reason, and whatever is between a person and their own pool.
//!
//! Reading order: [`LinkSettings`], `identity` and `conn` (whose connection is it), `link` (whether it works), `inbound` and `desk` (what comes), `sessions`
//! and `outbound` (what goes), `presence`. This file hands inputs on.

mod body;
mod checks;
mod conn;
mod desk;
mod diagnostics;
mod host;
mod hub;
mod identity;
mod inbound;
mod link;
mod links;
mod outbound;
mod pace;
mod parts;
mod presence;
mod sessions;
mod settings;
mod timers;
mod typing;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use interchange_adapter::{Adapter, Build, CloseReason, ConnId, Input, Now, Output, Platform, Target};
use interchange_model::{Domain, Down, LinkId, Settings, SettingsError};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_adapter::presence::{Asked as AskedOfPresence, Engine as _, Presences};
use sip_model::outbox::Place;
use sip_stack::{Action, ClientId, FlowId, TransactionLayer};

use crate::conn::Conn;
use crate::desk::Desk;
use crate::hub::Hub;
use crate::link::Link;
use crate::parts::Arrived;
use crate::sessions::{Reports, Sessions};
pub use crate::settings::{FirstText, LinkSettings, PlatformSettings};
use crate::timers::{Alarm, Sleeper, Timers};
use crate::typing::Writers;

/// The platform `ocs`.
pub const PLATFORM: Platform = Platform { name: "ocs", build, check_link, target };

fn check_link(settings: &Settings) -> Result<(), SettingsError> {
    LinkSettings::read(settings).map(|_| ())
}

fn target(settings: &Settings, domain: &Domain) -> Option<Target> {
    LinkSettings::read(settings).ok().map(|settings| settings.target(domain))
}

fn build(build: Build<'_>) -> Result<Box<dyn Adapter>, SettingsError> {
    let platform = PlatformSettings::read(build.settings)?;
    Ok(Box::new(Ocs {
        domain: build.hub.clone(),
        hub: Hub::new(&platform, build.hub, build.secret)?,
        random: StdRng::seed_from_u64(build.seed),
        // Another seed than that of the ids, which peers see.
        layer: TransactionLayer::new(layer_settings(), build.seed.rotate_left(32) ^ 0x4f43_5300),
        actions: Vec::new(),
        out: Vec::new(),
        closing: Vec::new(),
        timers: Timers::default(),
        conns: HashMap::new(),
        dials: HashMap::new(),
        flows: HashMap::new(),
        links: BTreeMap::new(),
        names: HashMap::new(),
        clients: HashMap::new(),
        desk: Desk::default(),
        sessions: Sessions::default(),
        reports: Reports::default(),
        arrived: Arrived::default(),
        writers: Writers::default(),
        presence: Presences::default(),
        presence_alarm: Alarm::default(),
        last_number: 0,
        stopped: false,
    }))
}

/// An answer on a stream is kept for four seconds: a message repeated later than that is known by what it says.
fn layer_settings() -> sip_stack::Settings {
    let timers = sip_stack::Timers { reliable_linger: Duration::from_secs(4), ..sip_stack::Timers::default() };
    sip_stack::Settings { timers, ..sip_stack::Settings::default() }
}

/// The machine. Its methods are in the files by subject; each may push onto `out`, `actions` and `closing`, and
/// [`Adapter::handle`] sees to it that all of that leaves in order.
struct Ocs {
    domain: Domain,
    hub: Hub,
    random: StdRng,
    layer: TransactionLayer,
    /// What the transaction layer wants done.
    actions: Vec<Action>,
    /// What this call of `handle` will say.
    out: Vec<Output>,
    /// Connections to be closed at the end of it, after what is sent on them.
    closing: Vec<(ConnId, CloseReason)>,
    timers: Timers,
    conns: HashMap<ConnId, Conn>,
    /// Our dials, open or not, and the link of each.
    dials: HashMap<ConnId, u64>,
    /// The flows of links' own requests. Any other flow has the number of its connection.
    flows: HashMap<FlowId, ConnId>,
    /// By number, in the order in which they came.
    links: BTreeMap<u64, Link>,
    names: HashMap<LinkId, u64>,
    clients: HashMap<ClientId, Asked>,
    desk: Desk,
    sessions: Sessions,
    reports: Reports,
    arrived: Arrived,
    writers: Writers,
    presence: Presences<Ocs>,
    presence_alarm: Alarm,
    last_number: u64,
    stopped: bool,
}

/// A request of ours that is not answered.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// Whether the edge lives.
    Options { link: u64 },
    /// To begin a session.
    Invite { session: u64, link: u64, sent: Instant },
    /// A message in a session.
    Message { session: u64, link: u64, place: Place, sent: Instant },
    /// Whether somebody writes, or that a message has arrived.
    Typing { session: u64 },
    /// That a session goes on.
    Refresh { session: u64, link: u64 },
    /// To end a session: whatever the answer, it is over.
    Bye,
    /// To see somebody, or what somebody sees.
    Presence(AskedOfPresence),
}

impl Adapter for Ocs {
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        std::mem::swap(out, &mut self.out);
        match input {
            Input::Opened { conn, via } => self.opened(conn, via, now),
            Input::Received { conn, bytes } => self.received(now, conn, &bytes),
            Input::Secured { conn, peer } => self.secured(now, conn, peer),
            Input::Closed { conn, why, detail } => self.gone(now, conn, why, &detail),
            Input::Tick => self.tick(now),
            Input::Broker(down) => self.broker(now, down),
            // Nobody signs in here.
            Input::Authenticated { .. } | Input::Found { .. } => {}
            Input::Stop => {
                self.stopped = true;
                self.stop_links();
                self.stop_waiting(now);
            }
        }
        self.run(now);
        if self.stopped {
            self.close_idle(now);
            self.run(now);
        }
        self.out.extend(self.closing.drain(..).map(|(conn, why)| Output::Close { conn, why }));
        std::mem::swap(out, &mut self.out);
    }

    fn deadline(&self) -> Option<Instant> {
        [self.timers.next(), self.layer.deadline()].into_iter().flatten().min()
    }
}

impl Ocs {
    fn broker(&mut self, now: Now, down: Down) {
        match down {
            // Whether a domain is hosted is the broker's question, which refuses and traces in one place.
            Down::Links { links, .. } => self.links_changed(now, &links),
            Down::Submitted { token, result } => {
                if !self.watch_submitted(now, token, result) {
                    self.submitted(now, token, result);
                }
            }
            Down::Deliver { link, delivery, envelope } => self.deliver(now, &link, delivery, &envelope),
            Down::Delivered { link, id } => self.delivered(now, &link, id),
            // Answers come back on the connection that the request went out on: to the hub that sent it.
            Down::Relayed { .. } => {}
            // People are signed in at the member's own server.
            Down::Notice { .. } => {}
            Down::Check { link, from, to } => self.check_link(now, link, from, to),
            Down::Told { link, envelope } => self.told(now, &link, &envelope),
            Down::Remembered { link, entries } => self.remembered(now, &link, &entries),
        }
    }

    fn tick(&mut self, now: Now) {
        self.layer.tick(now.instant, &mut self.actions);
        self.run(now);
        while let Some(sleeper) = self.timers.due(now.instant) {
            match sleeper {
                Sleeper::Link(number) => self.wake_link(now, number),
                Sleeper::Pace(number) => self.wake_pace(now, number),
                Sleeper::Conn(conn) => self.wake_conn(now, conn),
                Sleeper::Answer(token) => self.wake_answer(now, token),
                Sleeper::Session(session) => self.wake_session(now, session),
                Sleeper::Writers => self.wake_writers(now),
                Sleeper::Presence => {
                    self.presence_alarm.rang();
                    self.wake_presence(now);
                }
            }
            self.run(now);
        }
    }

    /// Does what the transaction layer wants, and what follows from that.
    fn run(&mut self, now: Now) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Transmit { flow, bytes } => {
                        let conn = self.flows.get(&flow).copied().unwrap_or(ConnId::from_u64(flow.0));
                        self.out.push(Output::Send { conn, bytes });
                    }
                    // A merged request (RFC 3261 §8.2.2.2) is found by what it says, like any other repeat.
                    Action::Request { server, flow, request, .. } => self.requested(now, server, flow, request),
                    Action::Response { client, response } => self.responded(now, client, &response),
                    Action::TimedOut { client } => self.unanswered(now, client, true),
                    Action::TransportFailed { client } => self.unanswered(now, client, false),
                    Action::Ack { server, .. } => self.acknowledged(now, server),
                    Action::Cancelled { server } => self.cancelled(now, server),
                    Action::NotAcknowledged { server } => self.not_acknowledged(now, server),
                }
            }
        }
    }

    /// While the hub stops: connections on which nothing is awaited.
    fn close_idle(&mut self, now: Now) {
        let busy = |conn: &ConnId| self.desk.owes(*conn) || self.links.values().any(|link| link.is_busy() && link.uses(*conn));
        let mut idle: Vec<ConnId> = self.conns.keys().filter(|conn| !busy(conn)).copied().collect();
        idle.sort_unstable();
        for conn in idle {
            self.close(now, conn, CloseReason::Shutdown, "the hub stops");
        }
    }

    /// A number that was never given before: connections, links and submissions have theirs from here.
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
