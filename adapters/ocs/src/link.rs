//! One link: the connection to the edge that the hub's own requests go on, whether that works, and what waits for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{CloseReason, ConnId, Now, Outage, Output};
use interchange_model::{
    DeliveryId, Domain, Envelope, Fault, Health, Link as Provisioned, LinkId, MessageId, Outcome, SettingsError, Trouble, Up,
};
use rand::RngExt;
use sip_adapter::Host as _;
use sip_adapter::presence::Engine as _;
use sip_codec::{Method, NameAddr, Request, Response, Uri, Value};
use sip_model::notices::Notices;
use sip_model::outbox::{Outbox, Pair};
use sip_stack::{ClientId, Flow, FlowId};

use crate::inbound::Open;
use crate::pace::Pace;
use crate::settings::LinkSettings;
use crate::timers::{Alarm, Sleeper};
use crate::{Asked, Ocs};

/// How long an OPTIONS may stay unanswered.
const SILENCE: Duration = Duration::from_secs(10);
/// Pause before a link that is broken is tried again.
const BROKEN_PAUSE: Duration = Duration::from_secs(60);
/// The longest time for which Retry-After is obeyed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a server of the SRV records that was of no use is tried after the others.
const AVOIDED: Duration = Duration::from_secs(60);
/// Servers that are avoided at one time.
const MOST_AVOIDED: usize = 16;

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
    pub(crate) pace: Pace,
    pub(crate) pace_alarm: Alarm,
    /// That the limit on addresses was met was said.
    pub(crate) said_full: bool,
    /// Servers of the SRV records that are of no use now (RFC 3263 §4.3).
    avoided: Vec<(SocketAddr, Instant)>,
    /// When the edge last answered anything.
    pub(crate) heard: Option<Instant>,
    pub(crate) notices: Notices,
    /// Submissions that the broker has not answered.
    pub(crate) unanswered: usize,
    /// For which domains of the hub and of the link somebody asks whether it works.
    pub(crate) checks: Vec<(Domain, Domain)>,
    /// Requests in dialogs that came before it was known which dialogs there are; `None`: that is known.
    pub(crate) early: Option<Vec<Open>>,
}

/// What a link is doing. A line each, as one would draw it.
pub(crate) enum State {
    /// There is no connection. Dials at `until`.
    Waiting { until: Option<Instant> },
    /// Our dial, with its TLS handshake.
    Opening { conn: ConnId },
    /// The connection stands and leads to the edge; the first OPTIONS is out.
    Probing { way: Way, probe: Probe },
    /// Messages flow.
    Up(Active),
    /// The edge asked for a pause (503 with Retry-After).
    Paused { conn: ConnId, until: Instant },
}

/// The way our requests take.
#[derive(Clone, Copy)]
pub(crate) struct Way {
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
    pub(crate) way: Way,
    probe: Option<Probe>,
    pub(crate) next_options: Option<Instant>,
    next_ping: Instant,
    /// When the answer to it is overdue.
    pong_until: Option<Instant>,
}

/// A text on its way to one of the member's people.
pub(crate) struct Delivery {
    pub(crate) id: DeliveryId,
    pub(crate) message: MessageId,
    pub(crate) pair: Pair,
    pub(crate) words: crate::body::Outgoing,
    /// How the sender is called.
    pub(crate) display_name: Option<Arc<str>>,
    pub(crate) hops: u8,
    /// It tells of a failure, so its own failure is told to nobody.
    pub(crate) is_notice: bool,
    /// What a 200 is a receipt for.
    pub(crate) receipt: Option<Arc<Envelope>>,
    /// A session that the other side had lost was begun again for it.
    pub(crate) is_second: bool,
}

impl Link {
    fn new(link: &Provisioned, settings: LinkSettings) -> Self {
        Self {
            id: link.id.clone(),
            domains: link.domains.clone(),
            pace: Pace::new(settings.rate(), settings.listed),
            pace_alarm: Alarm::default(),
            said_full: false,
            settings,
            told: Health::Connecting,
            state: State::Waiting { until: None },
            alarm: Alarm::default(),
            outage: Outage::default(),
            outbox: Outbox::default(),
            avoided: Vec::new(),
            heard: None,
            notices: Notices::default(),
            unanswered: 0,
            checks: Vec::new(),
            early: Some(Vec::new()),
        }
    }

    /// The name in the edge's certificate that is hoped for.
    pub(crate) fn server_name(&self) -> String {
        let domain = || self.domains.first().map_or_else(String::new, Domain::to_string);
        self.settings.edge.clone().unwrap_or_else(domain)
    }

    /// The way our requests take now, where messages may go.
    pub(crate) fn way(&self) -> Option<Way> {
        match &self.state {
            State::Up(active) => Some(active.way),
            _ => None,
        }
    }

    /// Whether a connection carries our requests.
    pub(crate) fn uses(&self, conn: ConnId) -> bool {
        self.current() == Some(conn)
    }

    /// Whether requests are under way on it.
    pub(crate) fn is_busy(&self) -> bool {
        !self.outbox.is_empty()
    }

    fn current(&self) -> Option<ConnId> {
        match &self.state {
            State::Waiting { .. } => None,
            State::Opening { conn } | State::Paused { conn, .. } => Some(*conn),
            State::Probing { way, .. } => Some(way.conn),
            State::Up(active) => Some(active.way.conn),
        }
    }

    fn flow(&self) -> Option<FlowId> {
        match &self.state {
            State::Probing { way, .. } => Some(way.flow.id),
            State::Up(active) => Some(active.way.flow.id),
            _ => None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until } => *until,
            State::Opening { .. } => None,
            State::Probing { probe, .. } => Some(probe.until),
            State::Up(active) => {
                let options = active.probe.map(|probe| probe.until).or(active.next_options);
                [options, Some(active.next_ping), active.pong_until].into_iter().flatten().min()
            }
            State::Paused { until, .. } => Some(*until),
        }
    }
}

impl Ocs {
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
                    let place = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path) };
                    let why = format!("the settings cannot be used: {place}{error}");
                    self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health: Health::Broken { why } }));
                }
            }
        }
        self.judge_all(now);
        for number in begun {
            let Some(link) = self.links.get(&number) else { continue };
            self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health: Health::Connecting }));
            self.out.push(Output::Broker(Up::Recall { link: link.id.clone() }));
            self.dial(now, number);
        }
    }

    /// Looks again whose connections are whose. A connection that has lost its last link is closed.
    fn judge_all(&mut self, now: Now) {
        let mut conns: Vec<ConnId> = self.conns.keys().copied().collect();
        conns.sort_unstable();
        for conn in conns {
            let before = self.conns.get(&conn).is_some_and(|known| !known.links.is_empty());
            self.judge(conn);
            if before && self.conns.get(&conn).is_some_and(|known| known.links.is_empty()) {
                self.close(now, conn, CloseReason::Refused, "the link was removed or changed");
            }
        }
    }

    fn end_link(&mut self, now: Now, number: u64) {
        self.end_sessions_of(now, number);
        self.settle_all(number);
        let Some(mut link) = self.links.remove(&number) else { return };
        self.names.remove(&link.id);
        self.timers.set(&mut link.alarm, Sleeper::Link(number), None);
        self.timers.set(&mut link.pace_alarm, Sleeper::Pace(number), None);
        if let Some(flow) = link.flow() {
            self.end_flow(now, flow);
        }
        if let Some(conn) = link.current() {
            self.close(now, conn, CloseReason::Shutdown, "the link was removed or changed");
        }
    }

    fn dial(&mut self, now: Now, number: u64) {
        let conn = ConnId::dialled(self.number());
        let Some(link) = self.links.get_mut(&number) else { return };
        let Some(domain) = link.domains.first() else { return };
        link.avoided.retain(|(_, until)| now.instant < *until);
        let avoid = link.avoided.iter().map(|(server, _)| *server).collect();
        self.out.push(Output::Dial { conn, to: link.settings.target(domain), avoid });
        link.state = State::Opening { conn };
        self.dials.insert(conn, number);
        self.arm_link(number);
    }

    /// Our dial came through: it must lead to the edge we wanted.
    pub(crate) fn dialled(&mut self, now: Now, number: u64, conn: ConnId) {
        match self.why_not(number, conn) {
            None => self.probe(now, number, conn),
            Some(why) => {
                self.avoid(now, number, conn);
                self.down(now, number, why, true);
                self.close(now, conn, CloseReason::Refused, "the peer did not prove who it is");
            }
        }
    }

    /// Where the edge is found by SRV records, another of them is tried before this one for a while.
    fn avoid(&mut self, now: Now, number: u64, conn: ConnId) {
        let Some(server) = self.conns.get(&conn).map(|known| known.via.peer()) else { return };
        let Some(link) = self.links.get_mut(&number).filter(|link| link.settings.edge.is_none()) else { return };
        link.avoided.retain(|(known, _)| *known != server);
        if link.avoided.len() >= MOST_AVOIDED {
            link.avoided.remove(0);
        }
        link.avoided.push((server, now.instant + AVOIDED));
    }

    /// Asks over a connection whether the edge lives; with any final answer the link is up. Where it is never asked, a proven edge is enough.
    fn probe(&mut self, now: Now, number: u64, conn: ConnId) {
        let flow = FlowId(OWN_FLOWS | self.number());
        let Some(known) = self.conns.get(&conn) else { return };
        let way = Way { conn, flow: known.flow_as(flow) };
        self.flows.insert(flow, conn);
        if self.links.get(&number).is_some_and(|link| link.settings.options_interval().is_none()) {
            return self.is_up(now, number, way);
        }
        match self.options(now, number, way) {
            Some(probe) => {
                if let Some(link) = self.links.get_mut(&number) {
                    link.state = State::Probing { way, probe };
                }
                self.arm_link(number);
            }
            None => {
                self.down(now, number, Trouble::new(Fault::Disconnected, "no request can be sent now"), false);
                self.close(now, conn, CloseReason::Limit, "no request can be sent now");
            }
        }
    }

    fn options(&mut self, now: Now, number: u64, way: Way) -> Option<Probe> {
        let (call, tag) = (self.new_call_id(), self.layer.new_tag());
        let link = self.links.get(&number)?;
        let to = Uri::sip(sip_codec::Host::new(link.domains.first()?.as_str()).ok()?);
        let from = Uri::sip(sip_codec::Host::new(self.domain.as_str()).ok()?);
        let request = Request::builder(Method::Options, to.clone())
            .from(NameAddr::new(from).with_tag(&tag).ok()?)
            .to(NameAddr::new(to))
            .call_id(&call)
            .ok()?
            .cseq(1)
            .header(sip_codec::Name::Contact, self.hub.contact().ok()?)
            .ok()?
            .header(sip_codec::Name::Accept, Value::new("application/sdp").ok()?)
            .ok()?;
        let client = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions).ok()?;
        self.clients.insert(client, Asked::Options { link: number });
        Some(Probe { client, until: now.instant + SILENCE })
    }

    fn is_up(&mut self, now: Now, number: u64, way: Way) {
        let ping = self.next_ping(now);
        let Some(link) = self.links.get_mut(&number) else { return };
        let next_options = link.settings.options_interval().map(|interval| now.instant + interval);
        link.state = State::Up(Active { way, probe: None, next_options, next_ping: ping, pong_until: None });
        link.outage.over();
        self.note_proved(way.conn, number);
        self.tell(number, Health::Up);
        self.arm_link(number);
        if let Some(id) = self.links.get(&number).map(|link| link.id.clone()) {
            self.presence_up(now, &id);
        }
    }

    /// An OPTIONS was answered: whatever the answer, the edge lives.
    pub(crate) fn probed(&mut self, now: Now, number: u64, client: ClientId, response: &Response) {
        let Some(link) = self.links.get_mut(&number) else { return };
        match &mut link.state {
            State::Probing { way, probe } if probe.client == client => {
                let way = *way;
                self.is_up(now, number, way);
            }
            State::Up(active) if active.probe.is_some_and(|probe| probe.client == client) => {
                active.probe = None;
                active.next_options = link.settings.options_interval().map(|interval| now.instant + interval);
            }
            _ => return,
        }
        self.arm_link(number);
        self.checked(number, crate::checks::welcome(response));
    }

    /// A keep-alive was answered.
    pub(crate) fn ponged(&mut self, number: u64, conn: ConnId) {
        if let Some(Link { state: State::Up(active), .. }) = self.links.get_mut(&number)
            && active.way.conn == conn
        {
            active.pong_until = None;
            self.arm_link(number);
        }
    }

    /// RFC 5626 §4.4.1: between 95 and 120 s.
    fn next_ping(&mut self, now: Now) -> Instant {
        now.instant + Duration::from_millis(self.random.random_range(95_000..=120_000))
    }

    /// The connection that the link uses is gone.
    pub(crate) fn lost(&mut self, now: Now, number: u64, reason: CloseReason, detail: &str) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if let State::Paused { until, .. } = link.state {
            link.state = State::Waiting { until: Some(until) };
            return self.arm_link(number);
        }
        let opening = matches!(link.state, State::Opening { .. });
        let edge = link.server_name();
        let why =
            if opening { format!("{edge} cannot be reached: {detail}") } else { format!("the connection was lost: {detail}") };
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
        let pause = if broken { BROKEN_PAUSE } else { link.outage.pause(now.instant, spread) };
        link.state = State::Waiting { until: Some(now.instant + pause) };
        self.arm_link(number);
        if let Some(flow) = flow {
            self.end_flow(now, flow);
        }
        self.tell(number, health);
        self.checked(number, Err(trouble));
    }

    /// The edge wants no more requests for so many seconds (RFC 3261 §21.5.4): it throttles the hub, and the operator sees that.
    pub(crate) fn pause(&mut self, now: Now, number: u64, seconds: u32) {
        let pause = Duration::from_secs(seconds.into()).min(LONGEST_PAUSE);
        self.settle_all(number);
        let Some(link) = self.links.get_mut(&number) else { return };
        let flow = link.flow();
        if let Some(conn) = link.current() {
            link.state = State::Paused { conn, until: now.instant + pause };
            let about = Some(interchange_adapter::About { link: link.id.clone(), sign: Err(Fault::Throttled) });
            let hint = if link.settings.listed { "" } else { "; on its Allow list the hub would have no such limit" };
            let text = format!("the edge of link {} throttles the hub (503, Retry-After {seconds}){hint}", link.id);
            self.out.push(Output::Note { conn, about, text });
            self.arm_link(number);
        }
        if let Some(flow) = flow {
            self.end_flow(now, flow);
        }
        let why = format!("the edge throttles the hub: it asked for a pause of {} s (503 with Retry-After)", pause.as_secs());
        self.checked(number, Err(Trouble::new(Fault::Throttled, why.clone())));
        self.tell(number, Health::Retrying { why });
    }

    pub(crate) fn settle_all(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        for (delivery, _) in link.outbox.drain() {
            let outcome = Outcome::LinkDown;
            self.out.push(Output::Broker(Up::Settle { link: link.id.clone(), delivery: delivery.id, outcome }));
        }
        self.forget_waiting(number);
    }

    /// Gives up all requests of a way.
    fn end_flow(&mut self, now: Now, flow: FlowId) {
        self.flows.remove(&flow);
        self.layer.flow_closed(now.instant, flow, &mut self.actions);
    }

    /// Tells the broker how a link is, if that is news.
    fn tell(&mut self, number: u64, health: Health) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.told != health {
            link.told = health.clone();
            self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health }));
        }
    }

    /// An OPTIONS came to nothing.
    pub(crate) fn probe_failed(&mut self, now: Now, number: u64, client: ClientId) {
        let current = match self.links.get(&number).map(|link| &link.state) {
            Some(State::Probing { probe, .. }) => Some(*probe),
            Some(State::Up(active)) => active.probe,
            _ => None,
        };
        if current.is_some_and(|probe| probe.client == client) {
            self.silent(now, number, "the edge did not answer OPTIONS");
        }
    }

    /// The edge says nothing: its connection is as good as gone.
    pub(crate) fn silent(&mut self, now: Now, number: u64, why: &str) {
        let Some(conn) = self.links.get(&number).and_then(Link::current) else { return };
        self.avoid(now, number, conn);
        self.down(now, number, Trouble::new(Fault::Silent, why), false);
        self.close(now, conn, CloseReason::TimedOut, why);
    }

    pub(crate) fn wake_link(&mut self, now: Now, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.alarm.rang();
        match &link.state {
            State::Waiting { until: Some(until) } if now.instant >= *until => self.try_again(now, number),
            State::Probing { probe, .. } if now.instant >= probe.until => {
                self.silent(now, number, "the edge did not answer OPTIONS");
            }
            State::Paused { conn, until } if now.instant >= *until => {
                let conn = *conn;
                self.probe(now, number, conn);
            }
            State::Up(_) => self.keep_alive(now, number),
            _ => self.arm_link(number),
        }
    }

    /// After a pause.
    pub(crate) fn try_again(&mut self, now: Now, number: u64) {
        if !self.stopped {
            return self.dial(now, number);
        }
        if let Some(link) = self.links.get_mut(&number) {
            link.state = State::Waiting { until: None };
        }
        self.arm_link(number);
    }

    pub(crate) fn keep_alive(&mut self, now: Now, number: u64) {
        let ping = self.next_ping(now);
        let Some(Link { state: State::Up(active), settings, .. }) = self.links.get_mut(&number) else { return };
        let way = active.way;
        if active.probe.is_some_and(|probe| now.instant >= probe.until) {
            return self.silent(now, number, "the edge did not answer OPTIONS");
        }
        if active.pong_until.is_some_and(|until| now.instant >= until) {
            return self.silent(now, number, "the edge did not answer a keep-alive");
        }
        if now.instant >= active.next_ping {
            active.next_ping = ping;
            // Many never answer: silence says something only about those that do.
            if self.conns.get(&way.conn).is_some_and(|conn| conn.ponged) {
                active.pong_until = Some(now.instant + SILENCE);
            }
            self.out.push(Output::Send { conn: way.conn, bytes: bytes::Bytes::from_static(b"\r\n\r\n") });
        }
        if active.probe.is_none() && active.next_options.is_some_and(|at| now.instant >= at) {
            active.next_options = settings.options_interval().map(|interval| now.instant + interval);
            let probe = self.options(now, number, way);
            if let Some(Link { state: State::Up(active), .. }) = self.links.get_mut(&number) {
                active.probe = probe;
            }
        }
        self.arm_link(number);
    }

    fn arm_link(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            let deadline = link.deadline();
            self.timers.set(&mut link.alarm, Sleeper::Link(number), deadline);
        }
    }

    /// The hub stops: what has not gone out goes back, what is out may still be answered. Sessions stay: they are remembered, and a hub that begins
    /// anew goes on with them.
    pub(crate) fn stop_links(&mut self) {
        for link in self.links.values_mut() {
            for delivery in link.outbox.drain_waiting() {
                let outcome = Outcome::LinkDown;
                self.out.push(Output::Broker(Up::Settle { link: link.id.clone(), delivery: delivery.id, outcome }));
            }
        }
    }
}

/// Flows of links' own requests have this bit, which no connection's number has.
const OWN_FLOWS: u64 = 1 << 62;

/// The settings of a link that can work.
fn usable(link: &Provisioned) -> Result<LinkSettings, SettingsError> {
    if link.domains.is_empty() {
        return Err(SettingsError::new("", "the link has no domain"));
    }
    LinkSettings::read(&link.settings)
}
