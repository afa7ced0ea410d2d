//! The SIP/SIMPLE adapter: page-mode messages (RFC 3428) between the hub and its members' SIP servers, over TLS, and over
//! TCP or UDP where a link says so.
//!
//! It is a user agent on both sides and never a proxy: every transaction ends here, and what goes on is made anew from the
//! envelope. Presence (RFC 6665, 3856), typing (RFC 3994), receipts (RFC 5438) and sessions (INVITE with MSRP, RFC 4975) beside them.
//! Left out: registration, and publication of presence, which are between people and their own server.
//!
//! Reading order: [`LinkSettings`], `translate` (MESSAGE and envelope), `conn` (whose connection is it), `inbound` and
//! `outbound` (the two ways of a message), `presence` (subscriber and notifier), `sessions`, `link` (whether it works). This file hands
//! inputs on.

mod attempts;
mod body;
mod checks;
mod conn;
mod host;
mod identity;
mod inbound;
mod link;
mod links;
mod native_id;
mod outbound;
mod parts;
mod presence;
mod sessions;
mod settings;
mod timers;
mod translate;
mod typing;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use interchange_adapter::{Adapter, Build, CloseReason, ConnId, Input, Now, Output, Platform, References, Target};
use interchange_model::{Domain, Down, LinkId, Settings, SettingsError};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};
use sip_adapter::presence::{Asked as AskedOfPresence, Engine as _, Presences};
use sip_model::{address, notices, outbox, refusals, seen};
use sip_stack::{Action, ClientId, FlowId, TransactionLayer};

use crate::conn::Conn;
use crate::inbound::Desk;
use crate::link::Link;
use crate::outbox::Place;
use crate::sessions::Sessions;
pub use crate::settings::{Dial, IdentityRule, LinkSettings, LinkTransport, PlatformSettings, SessionPolicy};
use crate::timers::{Alarm, Sleeper, Timers};
use crate::translate::Hub;
use crate::typing::TypingStates;
pub use interchange_adapter::Network;

/// The platform `sip`.
pub const PLATFORM: Platform = Platform { name: "sip", build, check_link, target };

fn check_link(settings: &Settings) -> Result<(), SettingsError> {
    LinkSettings::read(settings).map(|_| ())
}

fn target(settings: &Settings, domain: &Domain) -> Option<Target> {
    let settings = LinkSettings::read(settings).ok()?;
    (settings.dial == Dial::Always).then(|| settings.target(domain))
}

fn build(build: Build<'_>) -> Result<Box<dyn Adapter>, SettingsError> {
    let platform = PlatformSettings::read(build.settings)?;
    let sent_by = platform.sent_by(build.hub)?;
    let media = platform.media(&sent_by);
    // One way: whoever sees the mark learns nothing of the secret.
    let mark = Sha256::new().chain_update(b"sip trace mark\0").chain_update(build.secret).finalize();
    let mark = mark.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(Box::new(Sip {
        domain: build.hub.clone(),
        hub: Hub { sent_by, mark, references: References::new(&build.secret) },
        random: StdRng::seed_from_u64(build.seed),
        // Another seed than that of the ids, which peers see.
        layer: TransactionLayer::new(layer_settings(), build.seed.rotate_left(32) ^ 0x5349_5000),
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
        desk: Desk::new(),
        presence: Presences::default(),
        presence_alarm: Alarm::default(),
        typing: TypingStates::default(),
        sessions: Sessions::new(media, build.seed.rotate_left(16)),
        last_number: 0,
        stopped: false,
    }))
}

/// An answer on a stream is kept for four seconds only, so that the room for transactions is enough for 25,000 requests a
/// second of one peer; a message repeated later than that is known by what it says.
fn layer_settings() -> sip_stack::Settings {
    let timers = sip_stack::Timers { reliable_linger: Duration::from_secs(4), ..sip_stack::Timers::default() };
    sip_stack::Settings { timers, ..sip_stack::Settings::default() }
}

/// The machine. Its methods are in the files by subject; each may push onto `out`, `actions` and `closing`, and
/// [`Adapter::handle`] sees to it that all of that leaves in order.
struct Sip {
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
    /// The connections of sessions. Any other flow has the number of its connection.
    flows: HashMap<FlowId, ConnId>,
    /// By number, in the order in which they came.
    links: BTreeMap<u64, Link>,
    names: HashMap<LinkId, u64>,
    clients: HashMap<ClientId, Asked>,
    desk: Desk,
    presence: Presences<Sip>,
    presence_alarm: Alarm,
    typing: TypingStates,
    sessions: Sessions,
    last_number: u64,
    stopped: bool,
}

/// A request of ours that is not answered.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// Whether the peer lives.
    Options { link: u64 },
    /// A message, or a notice.
    Message { link: u64, place: Place, sent: Instant },
    /// To see somebody, or what somebody sees.
    Presence(AskedOfPresence),
    /// Whether somebody writes.
    Typing,
    /// To begin a session.
    Invite { session: u64 },
    /// To end one: whatever the answer, it is over.
    Bye,
}

impl Asked {
    fn link(self) -> Option<u64> {
        match self {
            Asked::Options { link } | Asked::Message { link, .. } => Some(link),
            Asked::Presence(_) | Asked::Typing | Asked::Invite { .. } | Asked::Bye => None,
        }
    }
}

impl Adapter for Sip {
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        std::mem::swap(out, &mut self.out);
        match input {
            Input::Opened { conn, via } => self.opened(now, conn, via),
            Input::Received { conn, bytes } => self.received(now, conn, bytes),
            Input::Secured { conn, peer } => self.secured(now, conn, peer),
            Input::Closed { conn, why, detail } => self.gone(now, conn, why, &detail),
            Input::Tick => self.tick(now),
            Input::Broker(down) => self.broker(now, down),
            // Not asked for: people sign in at their own server.
            Input::Authenticated { .. } | Input::Found { .. } => {}
            Input::Stop => {
                self.stopped = true;
                self.stop_sessions(now);
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

impl Sip {
    fn broker(&mut self, now: Now, down: Down) {
        match down {
            // Whether a domain is hosted is the broker's question, which refuses and traces in one place.
            Down::Links { links, .. } => self.links_changed(now, &links),
            Down::Submitted { token, result } => {
                if !self.watch_submitted(now, token, result) && !self.session_submitted(now, token, result) {
                    self.submitted(now, token, result);
                }
            }
            Down::Deliver { link, delivery, envelope } => self.deliver(now, &link, delivery, &envelope),
            Down::Delivered { link, id } => self.delivered(now, &link, id),
            // SIP answers come back on the connection, or to the port, that the request went out on: to the hub that sent it.
            Down::Relayed { .. } => {}
            // People are signed in at the member's own server.
            Down::Notice { .. } => {}
            Down::Check { link, from, to } => self.check_link(now, link, from, to),
            Down::Told { link, envelope } => self.told(now, &link, &envelope),
            Down::Remembered { link, entries } => {
                let entries = self.remembered_parts(now, &link, entries);
                self.remembered(now, &link, &entries);
            }
        }
    }

    fn tick(&mut self, now: Now) {
        self.layer.tick(now.instant, &mut self.actions);
        self.run(now);
        while let Some(sleeper) = self.timers.due(now.instant) {
            match sleeper {
                Sleeper::Link(number) => self.wake_link(now, number),
                Sleeper::Conn(conn) => self.wake_conn(now, conn),
                Sleeper::Answer(token) => self.wake_answer(now, token),
                Sleeper::Presence => {
                    self.presence_alarm.rang();
                    self.wake_presence(now);
                }
                Sleeper::Typing => self.wake_typing(now),
                Sleeper::Session(session) => self.wake_session(now, session),
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
                    Action::TimedOut { client } => self.timed_out(now, client),
                    // Only we end a session's flow, and all that was under way on it was settled then.
                    Action::TransportFailed { client } => {
                        if let Some(asked) = self.clients.remove(&client) {
                            self.typing_answered(now, client, None);
                            match asked {
                                Asked::Presence(asked) => self.presence_answered(now, asked, None),
                                Asked::Invite { session } => self.invite_failed(now, session, None),
                                _ => {}
                            }
                        }
                    }
                    Action::Ack { server, .. } => self.acknowledged(server),
                    // Each was answered at once, so there is nothing left to take back.
                    Action::Cancelled { .. } => {}
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

    /// A number that was never given before: connections, links, sessions and submissions have theirs from here.
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
