//! One link: the connection it sends on, whether that works, and what waits for it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{CloseReason, ConnId, Now, Outage, Output};
use interchange_model::{
    DeliveryId, Domain, Envelope, Fault, Health, Link as Provisioned, LinkId, MessageId, Outcome, SettingsError, Trouble, Up,
};
use rand::RngExt;
use sip_adapter::presence::{Engine as _, Presences};
use sip_codec::{RequestBuilder, Response};
use sip_stack::{ClientId, Flow, FlowId};

use crate::attempts::Attempts;
use crate::checks::welcome;
use crate::notices::Notices;
use crate::outbox::Outbox;
use crate::settings::{Dial, IdentityRule, LinkSettings};
use crate::timers::{Alarm, Sleeper};
use crate::{Asked, Sip, translate};

/// How long an OPTIONS may stay unanswered on a stream; over UDP it has its 32 s of retransmissions (RFC 3261 §17.1.2.2).
const STREAM_SILENCE: Duration = Duration::from_secs(10);
/// Pause before a link that is broken is tried again.
const BROKEN_PAUSE: Duration = Duration::from_secs(60);
/// The longest time for which Retry-After is obeyed (shared/protocols/sip.md §3).
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a server that did not answer, or was not who it should be, is tried after the others of the SRV records.
const AVOIDED: Duration = Duration::from_secs(60);
/// Servers that are avoided at one time.
const MOST_AVOIDED: usize = 16;
/// Between two OPTIONS on a link whose people are watched: with ten seconds for the answer, a server that has gone silent is missed within 22.
const WATCHED_OPTIONS: Duration = Duration::from_secs(12);
/// Connections opened by the peer that are kept in mind for our requests.
const CANDIDATES: usize = 8;

/// A link and what it does.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) domains: Vec<Domain>,
    pub(crate) settings: LinkSettings,
    /// What the broker was told last.
    told: Health,
    pub(crate) state: State,
    alarm: Alarm,
    outage: Outage,
    pub(crate) outbox: Outbox<Delivery>,
    /// Connections that the peer opened and on which our requests may go; newest last.
    candidates: Vec<ConnId>,
    /// Servers of the SRV records that are of no use now (RFC 3263 §4.3).
    avoided: Vec<Avoided>,
    /// When the peer last answered anything.
    pub(crate) heard: Option<Instant>,
    pub(crate) notices: Notices,
    pub(crate) attempts: Attempts,
    /// Submissions that the broker has not answered.
    pub(crate) unanswered: usize,
    /// For which domains of the hub and of the link somebody asks whether it works.
    pub(crate) checks: Vec<(Domain, Domain)>,
}

/// What a link is doing. A line each, as one would draw it.
pub(crate) enum State {
    /// There is no connection to send on. Dials at `until`; `None`: the peer must come.
    Waiting { until: Option<Instant> },
    /// Our dial, with its TLS handshake.
    Opening { conn: ConnId },
    /// The connection stands and belongs to the link; the first OPTIONS is out.
    Probing { session: Session, probe: Probe },
    /// Messages flow.
    Up(Active),
    /// The peer asked for a pause (503 with Retry-After).
    Paused { conn: ConnId, until: Instant },
}

/// A server that others of the SRV records are tried before.
struct Avoided {
    server: SocketAddr,
    until: Instant,
    /// It has asked for that, so it is sent nothing before.
    asked: bool,
}

/// The way our requests take.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    /// A flow of its own, so that all requests of this link can be given up without the connection.
    pub(crate) flow: Flow,
}

/// An OPTIONS that is out.
#[derive(Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) client: ClientId,
    until: Instant,
}

/// A link that works.
pub(crate) struct Active {
    pub(crate) session: Session,
    probe: Option<Probe>,
    pub(crate) next_options: Instant,
    /// When to send CR LF CR LF; never on UDP.
    next_ping: Option<Instant>,
    /// When the answer to it is overdue.
    pong_until: Option<Instant>,
}

/// A message on its way to the peer.
pub(crate) struct Delivery {
    pub(crate) id: DeliveryId,
    pub(crate) message: MessageId,
    /// Each taken when it is sent: one, or the parts of a text that are left.
    pub(crate) requests: VecDeque<Box<RequestBuilder>>,
    /// Parts that have arrived, of how many; 0 of 1 for what is not in parts.
    pub(crate) parts: (usize, usize),
    /// What becomes of it where there is no request, and no session takes it.
    pub(crate) otherwise: Outcome,
    /// Words, which may also go in a session.
    pub(crate) words: Option<Arc<Envelope>>,
    /// The same without its formatting, for a peer that does not take that.
    pub(crate) plain: Option<Box<RequestBuilder>>,
    /// It tells of a failure or is a receipt, so its own failure is told to nobody.
    pub(crate) is_notice: bool,
    /// What a 200 is a receipt for.
    pub(crate) receipt: Option<Arc<Envelope>>,
}

impl Link {
    fn new(link: &Provisioned, settings: LinkSettings) -> Self {
        Self {
            id: link.id.clone(),
            domains: link.domains.clone(),
            settings,
            told: Health::Connecting,
            state: State::Waiting { until: None },
            alarm: Alarm::default(),
            outage: Outage::default(),
            outbox: Outbox::default(),
            candidates: Vec::new(),
            avoided: Vec::new(),
            heard: None,
            notices: Notices::default(),
            attempts: Attempts::default(),
            unanswered: 0,
            checks: Vec::new(),
        }
    }

    /// The name in the peer's certificate that is hoped for.
    pub(crate) fn server_name(&self) -> String {
        let domain = self.domains.first().map_or_else(String::new, Domain::to_string);
        match (&self.settings.identity, &self.settings.host) {
            (IdentityRule::Host, Some(host)) => host.clone(),
            _ => domain,
        }
    }

    /// Between two OPTIONS. While presence of its people is believed, a server that is gone must be noticed before that is old.
    fn options_interval(&self, presences: &Presences<Sip>) -> Duration {
        let set = self.settings.options_interval();
        if presences.is_watched(&self.id) { set.min(WATCHED_OPTIONS) } else { set }
    }

    /// The way our requests take now, where messages may go.
    pub(crate) fn session(&self) -> Option<Session> {
        match &self.state {
            State::Up(active) => Some(active.session),
            _ => None,
        }
    }

    /// Whether a connection carries, or may come to carry, our requests.
    pub(crate) fn uses(&self, conn: ConnId) -> bool {
        self.current() == Some(conn) || self.candidates.contains(&conn)
    }

    fn current(&self) -> Option<ConnId> {
        match &self.state {
            State::Waiting { .. } => None,
            State::Opening { conn } | State::Paused { conn, .. } => Some(*conn),
            State::Probing { session, .. } => Some(session.conn),
            State::Up(active) => Some(active.session.conn),
        }
    }

    fn flow(&self) -> Option<FlowId> {
        match &self.state {
            State::Probing { session, .. } => Some(session.flow.id),
            State::Up(active) => Some(active.session.flow.id),
            _ => None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until } => *until,
            State::Opening { .. } => None,
            State::Probing { probe, .. } => Some(probe.until),
            State::Up(active) => {
                let options = active.probe.map_or(active.next_options, |probe| probe.until);
                [Some(options), active.next_ping, active.pong_until].into_iter().flatten().min()
            }
            State::Paused { until, .. } => Some(*until),
        }
    }
}

impl Sip {
    /// Takes the whole set of links: what is gone is closed, what is new is begun, what changed is both.
    pub(crate) fn links_changed(&mut self, now: Now, links: &[Provisioned]) {
        let same = |old: &Link, new: &Provisioned| {
            old.id == new.id && old.domains == new.domains && LinkSettings::read(&new.settings).as_ref() == Ok(&old.settings)
        };
        let gone: Vec<u64> =
            self.links.iter().filter(|(_, old)| !links.iter().any(|new| same(old, new))).map(|(number, _)| *number).collect();
        for number in gone {
            self.end_link(now, number);
        }
        let mut begun = Vec::new();
        for link in links {
            if self.names.contains_key(&link.id) {
                continue;
            }
            match usable(link) {
                Ok(settings) => {
                    let number = self.number();
                    self.names.insert(link.id.clone(), number);
                    self.links.insert(number, Link::new(link, settings));
                    begun.push(number);
                }
                Err(error) => {
                    let why = format!(
                        "the settings cannot be used: {}{error}",
                        if error.path.is_empty() { String::new() } else { format!("{}: ", error.path) }
                    );
                    self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health: Health::Broken { why } }));
                }
            }
        }
        self.judge_all(now);
        for number in begun {
            self.begin_link(now, number);
        }
    }

    /// Looks again whose connections are whose. A connection that has lost its last link is closed.
    fn judge_all(&mut self, now: Now) {
        let mut conns: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| conn.is_ready()).map(|(conn, _)| *conn).collect();
        conns.sort_unstable();
        for conn in conns {
            let before = self.conns.get(&conn).map(|known| known.links.clone()).unwrap_or_default();
            self.judge(conn);
            if !before.is_empty() && self.conns.get(&conn).is_some_and(|known| known.links.is_empty()) {
                self.close(now, conn, CloseReason::Refused, "the link was removed or changed");
            }
        }
    }

    fn begin_link(&mut self, now: Now, number: u64) {
        let Some(link) = self.links.get(&number) else { return };
        self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health: Health::Connecting }));
        self.out.push(Output::Broker(Up::Recall { link: link.id.clone() }));
        // The peer may be here already.
        let mut here: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.links.contains(&number)).map(|(conn, _)| *conn).collect();
        here.sort_unstable();
        for conn in here {
            self.consider(now, number, conn);
        }
        if matches!(
            self.links.get(&number),
            Some(Link { state: State::Waiting { .. }, settings: LinkSettings { dial: Dial::Always, .. }, .. })
        ) {
            self.dial(now, number);
        }
    }

    fn end_link(&mut self, now: Now, number: u64) {
        self.end_sessions_of(now, number);
        self.settle_all(number);
        let Some(mut link) = self.links.remove(&number) else { return };
        self.names.remove(&link.id);
        self.timers.set(&mut link.alarm, Sleeper::Link(number), None);
        if let Some(flow) = link.flow() {
            self.end_flow(now, flow);
        }
        if let Some(conn) = link.current().filter(|conn| conn.is_dialled()) {
            self.close(now, conn, CloseReason::Shutdown, "the link was removed or changed");
        }
    }

    fn dial(&mut self, now: Now, number: u64) {
        let conn = ConnId::dialled(self.number());
        let Some(link) = self.links.get_mut(&number) else { return };
        let Some(domain) = link.domains.first() else { return };
        link.avoided.retain(|avoided| now.instant < avoided.until);
        let avoid = link.avoided.iter().map(|avoided| avoided.server).collect();
        self.out.push(Output::Dial { conn, to: link.settings.target(domain), avoid });
        link.state = State::Opening { conn };
        self.dials.insert(conn, number);
        self.arm_link(number);
    }

    /// Our dial came through: it must lead to whom we wanted.
    pub(crate) fn dialled(&mut self, now: Now, number: u64, conn: ConnId) {
        match self.why_not(number, conn) {
            None => match self.avoided_until(now, number, conn) {
                // There is no other server: this one's pause is kept.
                Some(until) => {
                    if let Some(link) = self.links.get_mut(&number) {
                        link.state = State::Paused { conn, until };
                    }
                    self.arm_link(number);
                }
                None => self.probe(now, number, conn),
            },
            Some(why) => {
                self.avoid(number, conn, now.instant + AVOIDED, false);
                self.down(now, number, why, true);
                self.close(now, conn, CloseReason::Refused, "the peer did not prove who it is");
            }
        }
    }

    /// Where a link's server is found by SRV records, another of them is tried before this one, until then.
    fn avoid(&mut self, number: u64, conn: ConnId, until: Instant, asked: bool) {
        let Some(server) = self.conns.get(&conn).filter(|_| conn.is_dialled()).map(|known| known.via.peer()) else { return };
        let Some(link) = self.links.get_mut(&number).filter(|link| link.settings.host.is_none()) else { return };
        link.avoided.retain(|avoided| avoided.server != server);
        if link.avoided.len() >= MOST_AVOIDED {
            link.avoided.remove(0);
        }
        link.avoided.push(Avoided { server, until, asked });
    }

    /// Until when the server at the other end has asked to be left alone.
    fn avoided_until(&self, now: Now, number: u64, conn: ConnId) -> Option<Instant> {
        let server = self.conns.get(&conn)?.via.peer();
        let avoided = &self.links.get(&number)?.avoided;
        let pausing = |avoided: &&Avoided| avoided.server == server && avoided.asked && now.instant < avoided.until;
        avoided.iter().find(pausing).map(|avoided| avoided.until)
    }

    /// A connection that the peer opened: our requests may go there if the peer offered that, or never take us otherwise
    /// (RFC 5923).
    pub(crate) fn consider(&mut self, now: Now, number: u64, conn: ConnId) {
        let Some(known) = self.conns.get(&conn) else { return };
        let alias = known.alias;
        let Some(link) = self.links.get_mut(&number) else { return };
        let never = link.settings.dial == Dial::Never;
        if conn.is_dialled() || !(alias || never) || link.candidates.contains(&conn) {
            return;
        }
        if link.candidates.len() >= CANDIDATES {
            link.candidates.remove(0);
        }
        link.candidates.push(conn);
        match &mut link.state {
            State::Waiting { .. } => self.probe(now, number, conn),
            // A peer that comes again has perhaps lost the connection that we still hold.
            State::Up(active) if never && active.probe.is_none() => {
                active.next_options = now.instant;
                self.arm_link(number);
            }
            _ => {}
        }
    }

    /// Asks over a connection whether the peer lives; with any final answer the link is up.
    fn probe(&mut self, now: Now, number: u64, conn: ConnId) {
        let flow = FlowId(SESSION_FLOWS | self.number());
        let Some(known) = self.conns.get(&conn) else { return };
        let session = Session { conn, flow: known.flow_as(flow) };
        self.flows.insert(flow, conn);
        match self.options(now, number, session) {
            Some(probe) => {
                if let Some(link) = self.links.get_mut(&number) {
                    link.state = State::Probing { session, probe };
                }
                self.arm_link(number);
            }
            None => {
                self.down(now, number, Trouble::new(Fault::Disconnected, "no request can be sent now"), false);
                self.close(now, conn, CloseReason::Limit, "no request can be sent now");
            }
        }
    }

    fn options(&mut self, now: Now, number: u64, session: Session) -> Option<Probe> {
        let (call, tag) = (format!("{:032x}", self.random.random::<u128>()), self.layer.new_tag());
        let link = self.links.get(&number)?;
        let known = self.conns.get(&session.conn)?;
        let request = translate::to_options(&self.hub, self.domain.as_str(), link.domains.first()?.as_str(), &call, &tag).ok()?;
        let via = self.hub.via(known.via.transport()).ok()?;
        let client = self.layer.send_request(now.instant, request, via, session.flow, &mut self.actions).ok()?;
        self.clients.insert(client, Asked::Options { link: number });
        let patience = if known.is_stream() { STREAM_SILENCE } else { Duration::from_secs(33) };
        Some(Probe { client, until: now.instant + patience })
    }

    /// An OPTIONS was answered: whatever the answer, the peer lives.
    pub(crate) fn probed(&mut self, now: Now, number: u64, client: ClientId, response: &Response) {
        let ping = self.next_ping(now);
        let Some(link) = self.links.get_mut(&number) else { return };
        let next_options = now.instant + link.options_interval(&self.presence);
        match &mut link.state {
            State::Probing { session, probe } if probe.client == client => {
                let next_ping = session.flow.reliable.then_some(ping);
                link.state = State::Up(Active { session: *session, probe: None, next_options, next_ping, pong_until: None });
                link.outage.over();
                let id = link.id.clone();
                self.tell(number, Health::Up);
                self.presence_up(now, &id);
            }
            State::Up(active) if active.probe.is_some_and(|probe| probe.client == client) => {
                active.probe = None;
                active.next_options = next_options;
            }
            _ => return,
        }
        self.arm_link(number);
        self.checked(number, welcome(response));
    }

    /// People of a link are watched: it is asked in time whether it lives.
    pub(crate) fn ask_in_time(&mut self, now: Now, id: &LinkId) {
        let Some(number) = self.names.get(id).copied() else { return };
        let Some(link) = self.links.get_mut(&number) else { return };
        let latest = now.instant + link.options_interval(&self.presence);
        if let State::Up(active) = &mut link.state
            && active.next_options > latest
        {
            active.next_options = latest;
            self.arm_link(number);
        }
    }

    /// A keep-alive was answered.
    pub(crate) fn ponged(&mut self, number: u64, conn: ConnId) {
        if let Some(Link { state: State::Up(active), .. }) = self.links.get_mut(&number)
            && active.session.conn == conn
        {
            active.pong_until = None;
            self.arm_link(number);
        }
    }

    /// RFC 5626 §4.4.1: between 95 and 120 s where the peer names no time of its own.
    fn next_ping(&mut self, now: Now) -> Instant {
        now.instant + Duration::from_millis(self.random.random_range(95_000..=120_000))
    }

    /// A connection that the link uses, or might, is gone.
    pub(crate) fn lost(&mut self, now: Now, number: u64, conn: ConnId, reason: CloseReason, detail: &str) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.candidates.retain(|candidate| *candidate != conn);
        if link.current() != Some(conn) {
            return;
        }
        if let State::Paused { until, .. } = link.state {
            link.state = State::Waiting { until: Some(until) };
            self.arm_link(number);
            return;
        }
        let opening = matches!(link.state, State::Opening { .. });
        let server = link.settings.host.clone().unwrap_or_else(|| link.server_name());
        let why =
            if opening { format!("{server} cannot be reached: {detail}") } else { format!("the connection was lost: {detail}") };
        self.down(now, number, Trouble::new(reason.into(), why), false);
    }

    /// The link takes nothing any more: all that was handed to it goes back, in order, and it is tried again later.
    /// `broken`: a person must act.
    pub(crate) fn down(&mut self, now: Now, number: u64, trouble: Trouble, broken: bool) {
        let why = trouble.text.clone();
        let health = if broken { Health::Broken { why } } else { Health::Retrying { why } };
        let spread = self.random.random_range(0.0..=1.0);
        self.settle_all(number);
        let Some(link) = self.links.get_mut(&number) else { return };
        let flow = link.flow();
        let pause = match &health {
            Health::Broken { .. } => BROKEN_PAUSE,
            _ => link.outage.pause(now.instant, spread),
        };
        let old = link.current();
        let dials = link.settings.dial == Dial::Always;
        let others = link.candidates.iter().any(|candidate| Some(*candidate) != old);
        link.state = State::Waiting { until: (dials || others).then_some(now.instant + pause) };
        self.arm_link(number);
        if let Some(flow) = flow {
            self.end_flow(now, flow);
        }
        self.tell(number, health);
        self.checked(number, Err(trouble));
    }

    /// The peer wants no more requests for so many seconds (RFC 3261 §21.5.4), and has said so about `message`.
    pub(crate) fn pause(&mut self, now: Now, number: u64, seconds: u32, message: MessageId) {
        let pause = Duration::from_secs(seconds.into()).min(LONGEST_PAUSE);
        self.settle_all(number);
        let Some(link) = self.links.get_mut(&number) else { return };
        link.attempts.refused(message);
        let flow = link.flow();
        let current = link.current();
        let others = link.settings.host.is_none() && !self.stopped && current.is_some_and(ConnId::is_dialled);
        if let Some(conn) = current {
            link.state = State::Paused { conn, until: now.instant + pause };
            self.arm_link(number);
        }
        if let Some(flow) = flow {
            self.end_flow(now, flow);
        }
        let why = format!("the server asked for a pause of {} s (503 with Retry-After)", pause.as_secs());
        self.checked(number, Err(Trouble::new(Fault::Throttled, why.clone())));
        self.tell(number, Health::Retrying { why });
        // Case 44: the next of the SRV records meanwhile.
        if let Some(conn) = current.filter(|_| others) {
            self.avoid(number, conn, now.instant + pause, true);
            if let Some(link) = self.links.get_mut(&number) {
                link.state = State::Waiting { until: None };
            }
            self.dial(now, number);
            self.close(now, conn, CloseReason::Finished, "another server is tried");
        }
    }

    fn settle_all(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        for (delivery, was_open) in link.outbox.drain() {
            if was_open {
                link.attempts.unanswered(delivery.message);
            }
            self.out.push(Output::Broker(Up::Settle {
                link: link.id.clone(),
                delivery: delivery.id,
                outcome: Outcome::LinkDown,
            }));
        }
    }

    /// Gives up all requests of a session.
    fn end_flow(&mut self, now: Now, flow: FlowId) {
        self.flows.remove(&flow);
        self.layer.flow_closed(now.instant, flow, &mut self.actions);
    }

    /// Tells the broker how a link is, if that is news.
    pub(crate) fn tell(&mut self, number: u64, health: Health) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.told != health {
            link.told = health.clone();
            self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health }));
        }
    }

    /// An OPTIONS came to nothing.
    pub(crate) fn probe_failed(&mut self, now: Now, number: u64, client: ClientId) {
        let Some(link) = self.links.get(&number) else { return };
        let current = match &link.state {
            State::Probing { probe, .. } => Some(*probe),
            State::Up(active) => active.probe,
            _ => None,
        };
        if current.is_some_and(|probe| probe.client == client) {
            self.silent(now, number, "the server did not answer OPTIONS");
        }
    }

    /// The peer says nothing: its connection is as good as gone.
    pub(crate) fn silent(&mut self, now: Now, number: u64, why: &str) {
        let Some(conn) = self.links.get(&number).and_then(Link::current) else { return };
        self.avoid(number, conn, now.instant + AVOIDED, false);
        self.down(now, number, Trouble::new(Fault::Silent, why), false);
        self.close(now, conn, CloseReason::TimedOut, why);
    }

    pub(crate) fn wake_link(&mut self, now: Now, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.alarm.rang();
        match &link.state {
            State::Waiting { until: Some(until) } if now.instant >= *until => self.try_again(now, number),
            State::Probing { probe, .. } if now.instant >= probe.until => {
                self.silent(now, number, "the server did not answer OPTIONS");
            }
            State::Paused { conn, until } if now.instant >= *until => {
                let conn = *conn;
                self.probe(now, number, conn);
            }
            State::Up(_) => self.keep_alive(now, number),
            _ => self.arm_link(number),
        }
    }

    /// After a pause: over what the peer has opened since, else by a dial.
    pub(crate) fn try_again(&mut self, now: Now, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let newest = link.candidates.last().copied().filter(|conn| self.conns.contains_key(conn));
        let dials = link.settings.dial == Dial::Always && !self.stopped;
        match newest {
            Some(conn) => self.probe(now, number, conn),
            None if dials => self.dial(now, number),
            None => {
                link.state = State::Waiting { until: None };
                self.arm_link(number);
            }
        }
    }

    pub(crate) fn keep_alive(&mut self, now: Now, number: u64) {
        let ping = self.next_ping(now);
        let Some(Link { state: State::Up(active), .. }) = self.links.get_mut(&number) else { return };
        let session = active.session;
        if active.probe.is_some_and(|probe| now.instant >= probe.until) {
            return self.silent(now, number, "the server did not answer OPTIONS");
        }
        if active.pong_until.is_some_and(|until| now.instant >= until) {
            return self.silent(now, number, "the server did not answer a keep-alive");
        }
        if active.next_ping.is_some_and(|next| now.instant >= next) {
            active.next_ping = Some(ping);
            // Many never answer: silence says something only about those that do.
            if self.conns.get(&session.conn).is_some_and(|conn| conn.ponged) {
                active.pong_until = Some(now.instant + STREAM_SILENCE);
            }
            self.out.push(Output::Send { conn: session.conn, bytes: bytes::Bytes::from_static(b"\r\n\r\n") });
        }
        if active.probe.is_none() && now.instant >= active.next_options {
            let probe = self.options(now, number, session);
            let Some(interval) = self.links.get(&number).map(|link| link.options_interval(&self.presence)) else { return };
            let Some(Link { state: State::Up(active), .. }) = self.links.get_mut(&number) else { return };
            active.probe = probe;
            active.next_options = now.instant + interval;
        }
        self.arm_link(number);
    }

    fn arm_link(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            let deadline = link.deadline();
            self.timers.set(&mut link.alarm, Sleeper::Link(number), deadline);
        }
    }

    /// The hub stops: what has not gone out goes back, what is out may still be answered.
    pub(crate) fn stop_links(&mut self) {
        let numbers: Vec<u64> = self.links.keys().copied().collect();
        for number in numbers {
            let Some(link) = self.links.get_mut(&number) else { continue };
            for delivery in link.outbox.drain_waiting() {
                self.out.push(Output::Broker(Up::Settle {
                    link: link.id.clone(),
                    delivery: delivery.id,
                    outcome: Outcome::LinkDown,
                }));
            }
        }
    }
}

/// Flows that are sessions have this bit, which no connection's number has.
const SESSION_FLOWS: u64 = 1 << 62;

/// The settings of a link that can work.
fn usable(link: &Provisioned) -> Result<LinkSettings, SettingsError> {
    if link.domains.is_empty() {
        return Err(SettingsError::new("", "the link has no domain"));
    }
    LinkSettings::read(&link.settings)
}
