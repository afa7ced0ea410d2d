//! One link: the connection to the edge that the hub's own requests go on, whether that works, and what waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{CloseReason, ConnId, Now, Output};
use interchange_model::{
    DeliveryId, Domain, Envelope, Fault, Health, Link as Provisioned, LinkId, MessageId, Outcome, Trouble, Up,
};
use rand::RngExt;
use sip_adapter::Host as _;
pub(crate) use sip_adapter::link::Way;
use sip_adapter::link::{AVOIDED, LinkState, Lost, OWN_FLOWS, Stage, Wake};
use sip_adapter::presence::Engine as _;
use sip_codec::{Method, NameAddr, Request, Response, Uri, Value};
use sip_model::notices::Notices;
use sip_model::outbox::{Outbox, Pair};
use sip_stack::{ClientId, FlowId};

use crate::checks::welcome;
use crate::inbound::Open;
use crate::pace::Pace;
use crate::settings::LinkSettings;
use crate::timers::{Alarm, Sleeper};
use crate::{Asked, Ocs};

/// A link and what it does.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) domains: Vec<Domain>,
    pub(crate) settings: LinkSettings,
    pub(crate) state: LinkState,
    pub(crate) alarm: Alarm,
    pub(crate) outbox: Outbox<Delivery>,
    pub(crate) pace: Pace,
    pub(crate) pace_alarm: Alarm,
    /// That the limit on addresses was met was said.
    pub(crate) said_full: bool,
    /// When the edge last answered anything.
    pub(crate) heard: Option<Instant>,
    pub(crate) notices: Notices,
    /// Submissions that the broker has not answered.
    pub(crate) unanswered: usize,
    /// Requests in dialogs that came before it was known which dialogs there are; `None`: that is known.
    pub(crate) early: Option<Vec<Open>>,
}

/// A text on its way to one of the member's people.
pub(crate) struct Delivery {
    pub(crate) id: DeliveryId,
    pub(crate) message: MessageId,
    pub(crate) pair: Pair,
    pub(crate) parts: crate::parts::Parts,
    /// How the sender is called.
    pub(crate) display_name: Option<Arc<str>>,
    pub(crate) hops: u8,
    /// It tells of a failure, so its own failure is told to nobody.
    pub(crate) is_notice: bool,
    /// As the broker has handed it over.
    pub(crate) envelope: Arc<Envelope>,
    /// The message that it tells of, and the code by which a report says why that has failed.
    pub(crate) report: Option<(MessageId, u16)>,
    /// A session that the other side had lost was begun again for it.
    pub(crate) is_second: bool,
}

impl Link {
    pub(crate) fn new(link: &Provisioned, settings: LinkSettings) -> Self {
        Self {
            id: link.id.clone(),
            domains: link.domains.clone(),
            pace: Pace::new(settings.rate(), settings.listed),
            pace_alarm: Alarm::default(),
            said_full: false,
            settings,
            state: LinkState::default(),
            alarm: Alarm::default(),
            outbox: Outbox::default(),
            heard: None,
            notices: Notices::default(),
            unanswered: 0,
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
        self.state.way()
    }

    /// Whether a connection carries our requests.
    pub(crate) fn uses(&self, conn: ConnId) -> bool {
        self.state.conn() == Some(conn)
    }

    /// Whether requests are under way on it.
    pub(crate) fn is_busy(&self) -> bool {
        !self.outbox.is_empty()
    }
}

impl Ocs {
    pub(crate) fn dial(&mut self, now: Now, number: u64) {
        let conn = ConnId::dialled(self.number());
        let Some(link) = self.links.get_mut(&number) else { return };
        let Some(domain) = link.domains.first() else { return };
        let avoid = link.state.avoided(now.instant);
        self.out.push(Output::Dial { conn, to: link.settings.target(domain), avoid });
        link.state.stage = Stage::Opening { conn };
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
        if let Some(link) = self.links.get_mut(&number).filter(|link| link.settings.edge.is_none()) {
            link.state.avoid(server, now.instant + AVOIDED, false);
        }
    }

    /// Asks over a connection whether the edge lives; with any final answer the link is up. Where it is never asked, a proven edge is enough.
    fn probe(&mut self, now: Now, number: u64, conn: ConnId) {
        let flow = FlowId(OWN_FLOWS | self.number());
        let Some(known) = self.conns.get(&conn) else { return };
        let way = Way { conn, flow: known.flow_as(flow) };
        self.flows.insert(flow, conn);
        if self.links.get(&number).is_some_and(|link| link.settings.options_interval().is_none()) {
            return self.came_up(now, number, way);
        }
        match self.options(now, number, way) {
            Some(client) => {
                if let Some(link) = self.links.get_mut(&number) {
                    link.state.probing(now.instant, way, client);
                }
                self.arm_link(number);
            }
            None => {
                self.down(now, number, Trouble::new(Fault::Disconnected, "no request can be sent now"), false);
                self.close(now, conn, CloseReason::Limit, "no request can be sent now");
            }
        }
    }

    fn options(&mut self, now: Now, number: u64, way: Way) -> Option<ClientId> {
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
        Some(client)
    }

    fn came_up(&mut self, now: Now, number: u64, way: Way) {
        let ping = self.next_ping(now);
        let Some(link) = self.links.get_mut(&number) else { return };
        link.state.up(now.instant, way, link.settings.options_interval(), ping);
        self.note_proved(way.conn, number);
        self.tell(number, Health::Up);
        self.arm_link(number);
        if let Some(id) = self.links.get(&number).map(|link| link.id.clone()) {
            self.presence_up(now, &id);
        }
    }

    /// An OPTIONS was answered: whatever the answer, the edge lives.
    pub(crate) fn probed(&mut self, now: Now, number: u64, client: ClientId, response: &Response) {
        let Some(link) = self.links.get_mut(&number).filter(|link| link.state.awaits(client)) else { return };
        if let Some(way) = link.state.answered(now.instant, link.settings.options_interval()) {
            self.came_up(now, number, way);
        }
        self.arm_link(number);
        self.checked(number, &welcome(response));
    }

    /// A keep-alive was answered.
    pub(crate) fn ponged(&mut self, number: u64, conn: ConnId) {
        if self.links.get_mut(&number).is_some_and(|link| link.state.ponged(conn)) {
            self.arm_link(number);
        }
    }

    /// RFC 5626 §4.4.1: between 95 and 120 s.
    fn next_ping(&mut self, now: Now) -> Instant {
        now.instant + Duration::from_millis(self.random.random_range(95_000..=120_000))
    }

    /// The connection that the link uses is gone.
    pub(crate) fn lost(&mut self, now: Now, number: u64, conn: ConnId, reason: CloseReason, detail: &str) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let why = match link.state.lost(conn) {
            Lost::Nothing => return,
            Lost::Paused => return self.arm_link(number),
            Lost::Down { opening: true } => format!("{} cannot be reached: {detail}", link.server_name()),
            Lost::Down { opening: false } => format!("the connection was lost: {detail}"),
        };
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
        let flow = link.state.flow();
        link.state.down(now.instant, broken, spread, true);
        self.arm_link(number);
        if let Some(flow) = flow {
            self.end_flow(now, flow);
        }
        self.tell(number, health);
        self.checked(number, &Err(trouble));
    }

    /// The edge wants no more requests for so many seconds (RFC 3261 §21.5.4): it throttles the hub, and the operator sees that.
    pub(crate) fn pause(&mut self, now: Now, number: u64, seconds: u32) {
        self.settle_all(number);
        let Some(link) = self.links.get_mut(&number) else { return };
        let flow = link.state.flow();
        let pause = link.state.pause(now.instant, seconds);
        if let Some(conn) = link.state.conn() {
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
        self.checked(number, &Err(Trouble::new(Fault::Throttled, why.clone())));
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
    pub(crate) fn end_flow(&mut self, now: Now, flow: FlowId) {
        self.flows.remove(&flow);
        self.layer.flow_closed(now.instant, flow, &mut self.actions);
    }

    /// Tells the broker how a link is, if that is news.
    fn tell(&mut self, number: u64, health: Health) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.state.is_news(&health) {
            self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health }));
        }
    }

    /// An OPTIONS came to nothing.
    pub(crate) fn probe_failed(&mut self, now: Now, number: u64, client: ClientId) {
        if self.links.get(&number).is_some_and(|link| link.state.awaits(client)) {
            self.silent(now, number, "the edge did not answer OPTIONS");
        }
    }

    /// The edge says nothing: its connection is as good as gone.
    pub(crate) fn silent(&mut self, now: Now, number: u64, why: &str) {
        let Some(conn) = self.links.get(&number).and_then(|link| link.state.conn()) else { return };
        self.avoid(now, number, conn);
        self.down(now, number, Trouble::new(Fault::Silent, why), false);
        self.close(now, conn, CloseReason::TimedOut, why);
    }

    pub(crate) fn wake_link(&mut self, now: Now, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.alarm.rang();
        match link.state.wake(now.instant) {
            Wake::Retry => self.try_again(now, number),
            Wake::Silent => self.silent(now, number, "the edge did not answer OPTIONS"),
            Wake::Probe(conn) => self.probe(now, number, conn),
            Wake::Beat => self.keep_alive(now, number),
            Wake::Sleep => self.arm_link(number),
        }
    }

    /// After a pause.
    pub(crate) fn try_again(&mut self, now: Now, number: u64) {
        if !self.stopped {
            return self.dial(now, number);
        }
        if let Some(link) = self.links.get_mut(&number) {
            link.state.stage = Stage::Waiting { until: None };
        }
        self.arm_link(number);
    }

    pub(crate) fn keep_alive(&mut self, now: Now, number: u64) {
        let ping = self.next_ping(now);
        let Some(link) = self.links.get_mut(&number) else { return };
        let has_ponged = link.way().and_then(|way| self.conns.get(&way.conn)).is_some_and(|conn| conn.ponged);
        match link.state.beat(now.instant, has_ponged, ping) {
            Err(what) => return self.silent(now, number, &format!("the edge did not answer {what}")),
            Ok(None) => return,
            Ok(Some(beat)) => {
                if beat.ping {
                    self.out.push(Output::Send { conn: beat.way.conn, bytes: bytes::Bytes::from_static(b"\r\n\r\n") });
                }
                if beat.options {
                    let client = self.options(now, number, beat.way);
                    if let Some(link) = self.links.get_mut(&number) {
                        link.state.asked(now.instant, client, link.settings.options_interval());
                    }
                }
            }
        }
        self.arm_link(number);
    }

    fn arm_link(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            let deadline = link.state.deadline();
            self.timers.set(&mut link.alarm, Sleeper::Link(number), deadline);
        }
    }
}
