//! One link: the connection it sends on, whether that works, and what waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{CloseReason, ConnId, Now, Output};
use interchange_model::{
    DeliveryId, Domain, Envelope, Fault, Health, Link as Provisioned, LinkId, MessageId, Outcome, Trouble, Up,
};
use rand::RngExt;
use sip_adapter::link::{AVOIDED, LinkState, Lost, OWN_FLOWS, Stage, Wake, Way};
use sip_adapter::presence::{Engine as _, Presences};
use sip_codec::{RequestBuilder, Response};
use sip_stack::{ClientId, FlowId};

use crate::attempts::Attempts;
use crate::checks::welcome;
use crate::notices::Notices;
use crate::outbox::Outbox;
use crate::settings::{Dial, IdentityRule, LinkSettings};
use crate::timers::{Alarm, Sleeper};
use crate::{Asked, Sip, translate};

/// Between two OPTIONS on a link whose people are watched: with ten seconds for the answer, a server that has gone silent is missed within 22.
const WATCHED_OPTIONS: Duration = Duration::from_secs(12);
/// Connections opened by the peer that are kept in mind for our requests.
const CANDIDATES: usize = 8;

/// A link and what it does.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) domains: Vec<Domain>,
    pub(crate) settings: LinkSettings,
    pub(crate) state: LinkState,
    pub(crate) alarm: Alarm,
    pub(crate) outbox: Outbox<Delivery>,
    /// Connections that the peer opened and on which our requests may go; newest last.
    candidates: Vec<ConnId>,
    /// When the peer last answered anything.
    pub(crate) heard: Option<Instant>,
    pub(crate) notices: Notices,
    pub(crate) attempts: Attempts,
    /// Submissions that the broker has not answered.
    pub(crate) unanswered: usize,
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
    pub(crate) fn new(link: &Provisioned, settings: LinkSettings) -> Self {
        Self {
            id: link.id.clone(),
            domains: link.domains.clone(),
            settings,
            state: LinkState::default(),
            alarm: Alarm::default(),
            outbox: Outbox::default(),
            candidates: Vec::new(),
            heard: None,
            notices: Notices::default(),
            attempts: Attempts::default(),
            unanswered: 0,
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
    pub(crate) fn way(&self) -> Option<Way> {
        self.state.way()
    }

    /// Whether a connection carries, or may come to carry, our requests.
    pub(crate) fn uses(&self, conn: ConnId) -> bool {
        self.state.conn() == Some(conn) || self.candidates.contains(&conn)
    }
}

impl Sip {
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

    /// Our dial came through: it must lead to whom we wanted.
    pub(crate) fn dialled(&mut self, now: Now, number: u64, conn: ConnId) {
        match self.why_not(number, conn) {
            None => match self.avoided_until(now, number, conn) {
                // There is no other server: this one's pause is kept.
                Some(until) => {
                    if let Some(link) = self.links.get_mut(&number) {
                        link.state.stage = Stage::Paused { conn, until };
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
        if let Some(link) = self.links.get_mut(&number).filter(|link| link.settings.host.is_none()) {
            link.state.avoid(server, until, asked);
        }
    }

    /// Until when the server at the other end has asked to be left alone.
    fn avoided_until(&self, now: Now, number: u64, conn: ConnId) -> Option<Instant> {
        self.links.get(&number)?.state.asked_until(now.instant, self.conns.get(&conn)?.via.peer())
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
        if link.state.is_waiting() {
            self.probe(now, number, conn);
        } else if never && link.state.ask_by(now.instant) {
            // A peer that comes again has perhaps lost the connection that we still hold.
            self.arm_link(number);
        }
    }

    /// Asks over a connection whether the peer lives; with any final answer the link is up.
    fn probe(&mut self, now: Now, number: u64, conn: ConnId) {
        let flow = FlowId(OWN_FLOWS | self.number());
        let Some(known) = self.conns.get(&conn) else { return };
        let way = Way { conn, flow: known.flow_as(flow) };
        self.flows.insert(flow, conn);
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
        let (call, tag) = (format!("{:032x}", self.random.random::<u128>()), self.layer.new_tag());
        let link = self.links.get(&number)?;
        let known = self.conns.get(&way.conn)?;
        let request = translate::to_options(&self.hub, self.domain.as_str(), link.domains.first()?.as_str(), &call, &tag).ok()?;
        let via = self.hub.via(known.via.transport()).ok()?;
        let client = self.layer.send_request(now.instant, request, via, way.flow, &mut self.actions).ok()?;
        self.clients.insert(client, Asked::Options { link: number });
        Some(client)
    }

    /// An OPTIONS was answered: whatever the answer, the peer lives.
    pub(crate) fn probed(&mut self, now: Now, number: u64, client: ClientId, response: &Response) {
        let ping = self.next_ping(now);
        let Some(link) = self.links.get_mut(&number).filter(|link| link.state.awaits(client)) else { return };
        let interval = Some(link.options_interval(&self.presence));
        if let Some(way) = link.state.answered(now.instant, interval) {
            link.state.up(now.instant, way, interval, ping);
            let id = link.id.clone();
            self.tell(number, Health::Up);
            self.presence_up(now, &id);
        }
        self.arm_link(number);
        self.checked(number, &welcome(response));
    }

    /// People of a link are watched: it is asked in time whether it lives.
    pub(crate) fn ask_in_time(&mut self, now: Now, id: &LinkId) {
        let Some(number) = self.names.get(id).copied() else { return };
        let Some(link) = self.links.get_mut(&number) else { return };
        let latest = now.instant + link.options_interval(&self.presence);
        if link.state.ask_by(latest) {
            self.arm_link(number);
        }
    }

    /// A keep-alive was answered.
    pub(crate) fn ponged(&mut self, number: u64, conn: ConnId) {
        if self.links.get_mut(&number).is_some_and(|link| link.state.ponged(conn)) {
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
        let why = match link.state.lost(conn) {
            Lost::Nothing => return,
            Lost::Paused => return self.arm_link(number),
            Lost::Down { opening: true } => {
                let server = link.settings.host.clone().unwrap_or_else(|| link.server_name());
                format!("{server} cannot be reached: {detail}")
            }
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
        let old = link.state.conn();
        let others = link.candidates.iter().any(|candidate| Some(*candidate) != old);
        link.state.down(now.instant, broken, spread, link.settings.dial == Dial::Always || others);
        self.arm_link(number);
        if let Some(flow) = flow {
            self.end_flow(now, flow);
        }
        self.tell(number, health);
        self.checked(number, &Err(trouble));
    }

    /// The peer wants no more requests for so many seconds (RFC 3261 §21.5.4), and has said so about `message`.
    pub(crate) fn pause(&mut self, now: Now, number: u64, seconds: u32, message: MessageId) {
        self.settle_all(number);
        let Some(link) = self.links.get_mut(&number) else { return };
        link.attempts.refused(message);
        let (flow, current) = (link.state.flow(), link.state.conn());
        let others = link.settings.host.is_none() && !self.stopped && current.is_some_and(ConnId::is_dialled);
        let pause = link.state.pause(now.instant, seconds);
        self.arm_link(number);
        if let Some(flow) = flow {
            self.end_flow(now, flow);
        }
        let why = format!("the server asked for a pause of {} s (503 with Retry-After)", pause.as_secs());
        self.checked(number, &Err(Trouble::new(Fault::Throttled, why.clone())));
        self.tell(number, Health::Retrying { why });
        // Case 44: the next of the SRV records meanwhile.
        if let Some(conn) = current.filter(|_| others) {
            self.avoid(number, conn, now.instant + pause, true);
            if let Some(link) = self.links.get_mut(&number) {
                link.state.stage = Stage::Waiting { until: None };
            }
            self.dial(now, number);
            self.close(now, conn, CloseReason::Finished, "another server is tried");
        }
    }

    /// Gives up all requests of a way.
    pub(crate) fn end_flow(&mut self, now: Now, flow: FlowId) {
        self.flows.remove(&flow);
        self.layer.flow_closed(now.instant, flow, &mut self.actions);
    }

    /// Tells the broker how a link is, if that is news.
    pub(crate) fn tell(&mut self, number: u64, health: Health) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.state.is_news(&health) {
            self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health }));
        }
    }

    /// An OPTIONS came to nothing.
    pub(crate) fn probe_failed(&mut self, now: Now, number: u64, client: ClientId) {
        if self.links.get(&number).is_some_and(|link| link.state.awaits(client)) {
            self.silent(now, number, "the server did not answer OPTIONS");
        }
    }

    /// The peer says nothing: its connection is as good as gone.
    pub(crate) fn silent(&mut self, now: Now, number: u64, why: &str) {
        let Some(conn) = self.links.get(&number).and_then(|link| link.state.conn()) else { return };
        self.avoid(number, conn, now.instant + AVOIDED, false);
        self.down(now, number, Trouble::new(Fault::Silent, why), false);
        self.close(now, conn, CloseReason::TimedOut, why);
    }

    pub(crate) fn wake_link(&mut self, now: Now, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.alarm.rang();
        match link.state.wake(now.instant) {
            Wake::Retry => self.try_again(now, number),
            Wake::Silent => self.silent(now, number, "the server did not answer OPTIONS"),
            Wake::Probe(conn) => self.probe(now, number, conn),
            Wake::Beat => self.keep_alive(now, number),
            Wake::Sleep => self.arm_link(number),
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
                link.state.stage = Stage::Waiting { until: None };
                self.arm_link(number);
            }
        }
    }

    pub(crate) fn keep_alive(&mut self, now: Now, number: u64) {
        let ping = self.next_ping(now);
        let Some(link) = self.links.get_mut(&number) else { return };
        let has_ponged = link.way().and_then(|way| self.conns.get(&way.conn)).is_some_and(|conn| conn.ponged);
        match link.state.beat(now.instant, has_ponged, ping) {
            Err(what) => return self.silent(now, number, &format!("the server did not answer {what}")),
            Ok(None) => return,
            Ok(Some(beat)) => {
                if beat.ping {
                    self.out.push(Output::Send { conn: beat.way.conn, bytes: bytes::Bytes::from_static(b"\r\n\r\n") });
                }
                if beat.options {
                    let client = self.options(now, number, beat.way);
                    if let Some(link) = self.links.get_mut(&number) {
                        let interval = Some(link.options_interval(&self.presence));
                        link.state.asked(now.instant, client, interval);
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
