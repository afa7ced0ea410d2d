//! Whether a link works, as a plain value: the connection that the hub's own requests go on, OPTIONS and keep-alives over it, pauses, servers that are
//! of no use now, and who has asked. The adapter does what it says is due.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use interchange_adapter::{ConnId, Outage, Output};
use interchange_model::{Domain, Fault, Health, LinkId, Trouble};
use sip_codec::Response;
use sip_stack::{ClientId, Flow, FlowId};

/// How long an OPTIONS, or a keep-alive, may stay unanswered on a stream.
const SILENCE: Duration = Duration::from_secs(10);
/// Over UDP an OPTIONS has its 32 s of retransmissions (RFC 3261 §17.1.2.2).
const DATAGRAM_SILENCE: Duration = Duration::from_secs(33);
/// Pause before a link that is broken is tried again.
const BROKEN_PAUSE: Duration = Duration::from_secs(60);
/// The longest time for which Retry-After is obeyed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a server that did not answer, or was not who it should be, is tried after the others of the SRV records.
pub const AVOIDED: Duration = Duration::from_secs(60);
/// Servers that are avoided at one time.
const MOST_AVOIDED: usize = 16;
/// Domains of a link that are asked about at one time; of more, the next is answered at once.
const MOST_CHECKS: usize = 64;
/// Flows of links' own requests have this bit, which no connection's number has.
pub const OWN_FLOWS: u64 = 1 << 62;

/// What a link is doing. A line each, as one would draw it.
pub enum Stage {
    /// There is no connection to send on. Tries again at `until`; `None`: the peer must come.
    Waiting {
        /// When.
        until: Option<Instant>,
    },
    /// Our dial, with its TLS handshake.
    Opening {
        /// Which.
        conn: ConnId,
    },
    /// The connection stands and belongs to the link; the first OPTIONS is out.
    Probing {
        /// By which way.
        way: Way,
        /// Itself.
        probe: Probe,
    },
    /// Messages flow.
    Up(Active),
    /// The peer asked for a pause (503 with Retry-After).
    Paused {
        /// The connection, which stays.
        conn: ConnId,
        /// Until when.
        until: Instant,
    },
}

/// The way our requests take.
#[derive(Clone, Copy)]
pub struct Way {
    /// The connection.
    pub conn: ConnId,
    /// A flow of its own, so that all requests of this link can be given up without the connection.
    pub flow: Flow,
}

/// An OPTIONS that is out.
#[derive(Clone, Copy)]
pub struct Probe {
    client: ClientId,
    until: Instant,
}

/// A link that works.
pub struct Active {
    way: Way,
    probe: Option<Probe>,
    next_options: Option<Instant>,
    /// When to send CR LF CR LF; never on UDP.
    next_ping: Option<Instant>,
    /// When the answer to it is overdue.
    pong_until: Option<Instant>,
}

/// A server that others of the SRV records are tried before (RFC 3263 §4.3).
struct Avoided {
    server: SocketAddr,
    until: Instant,
    /// It has asked for that, so it is sent nothing before.
    asked: bool,
}

/// What is to be done when a link is woken.
pub enum Wake {
    /// Nothing yet.
    Sleep,
    /// The pause is over: another try.
    Retry,
    /// The pause that the peer asked for is over: OPTIONS over this connection.
    Probe(ConnId),
    /// Nobody answers OPTIONS.
    Silent,
    /// It works: see [`LinkState::beat`].
    Beat,
}

/// What is to be sent on a link that works.
pub struct Beat {
    /// By which way.
    pub way: Way,
    /// A keep-alive.
    pub ping: bool,
    /// OPTIONS, and then [`LinkState::asked`].
    pub options: bool,
}

/// What the end of a connection is for a link.
pub enum Lost {
    /// Nothing: it was not the link's.
    Nothing,
    /// The pause goes on, and then there is another.
    Paused,
    /// The link is down.
    Down {
        /// It had never stood.
        opening: bool,
    },
}

/// What is to be done for somebody who asks whether a link works.
pub enum Check {
    /// What is under way tells.
    Wait,
    /// Another try, now.
    Retry,
    /// OPTIONS, now: see [`LinkState::beat`].
    Beat,
    /// It is known.
    Known(Result<(), Trouble>),
}

/// What a link is doing, and what was said of it.
pub struct LinkState {
    /// What it is doing.
    pub stage: Stage,
    /// What the broker was told last.
    told: Health,
    outage: Outage,
    avoided: Vec<Avoided>,
    /// For which domains of the hub and of the link somebody asks whether it works.
    checks: Vec<(Domain, Domain)>,
}

impl Default for LinkState {
    fn default() -> Self {
        Self {
            stage: Stage::Waiting { until: None },
            told: Health::Connecting,
            outage: Outage::default(),
            avoided: Vec::new(),
            checks: Vec::new(),
        }
    }
}

impl LinkState {
    /// The way our requests take now, where messages may go.
    #[must_use]
    pub fn way(&self) -> Option<Way> {
        match &self.stage {
            Stage::Up(active) => Some(active.way),
            _ => None,
        }
    }

    /// The connection that it has, or will have.
    #[must_use]
    pub fn conn(&self) -> Option<ConnId> {
        match &self.stage {
            Stage::Waiting { .. } => None,
            Stage::Opening { conn } | Stage::Paused { conn, .. } => Some(*conn),
            Stage::Probing { way, .. } => Some(way.conn),
            Stage::Up(active) => Some(active.way.conn),
        }
    }

    /// The flow of its requests.
    #[must_use]
    pub fn flow(&self) -> Option<FlowId> {
        match &self.stage {
            Stage::Probing { way, .. } => Some(way.flow.id),
            Stage::Up(active) => Some(active.way.flow.id),
            _ => None,
        }
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. })
    }

    /// When it is to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Waiting { until } => *until,
            Stage::Opening { .. } => None,
            Stage::Probing { probe, .. } => Some(probe.until),
            Stage::Up(active) => {
                let options = active.probe.map(|probe| probe.until).or(active.next_options);
                [options, active.next_ping, active.pong_until].into_iter().flatten().min()
            }
            Stage::Paused { until, .. } => Some(*until),
        }
    }

    /// What is due.
    #[must_use]
    pub fn wake(&self, now: Instant) -> Wake {
        match &self.stage {
            Stage::Waiting { until: Some(until) } if now >= *until => Wake::Retry,
            Stage::Probing { probe, .. } if now >= probe.until => Wake::Silent,
            Stage::Paused { conn, until } if now >= *until => Wake::Probe(*conn),
            Stage::Up(_) => Wake::Beat,
            _ => Wake::Sleep,
        }
    }

    /// The first OPTIONS over a connection is out.
    pub fn probing(&mut self, now: Instant, way: Way, client: ClientId) {
        self.stage = Stage::Probing { way, probe: probe(now, way, client) };
    }

    /// Messages may flow. `interval`: between two OPTIONS; `None`: the peer is never asked.
    pub fn up(&mut self, now: Instant, way: Way, interval: Option<Duration>, next_ping: Instant) {
        let next_options = interval.map(|interval| now + interval);
        let next_ping = way.flow.reliable.then_some(next_ping);
        self.stage = Stage::Up(Active { way, probe: None, next_options, next_ping, pong_until: None });
        self.outage.over();
    }

    /// Whether an OPTIONS is the one that is out.
    #[must_use]
    pub fn awaits(&self, client: ClientId) -> bool {
        match &self.stage {
            Stage::Probing { probe, .. } => probe.client == client,
            Stage::Up(active) => active.probe.is_some_and(|probe| probe.client == client),
            _ => false,
        }
    }

    /// What the way is of which the first OPTIONS was answered; of a later one, `None`, and the next is in `interval`.
    pub fn answered(&mut self, now: Instant, interval: Option<Duration>) -> Option<Way> {
        match &mut self.stage {
            Stage::Probing { way, .. } => Some(*way),
            Stage::Up(active) => {
                active.probe = None;
                active.next_options = interval.map(|interval| now + interval);
                None
            }
            _ => None,
        }
    }

    /// A keep-alive was answered on a connection. Whether it was this link's.
    pub fn ponged(&mut self, conn: ConnId) -> bool {
        match &mut self.stage {
            Stage::Up(active) if active.way.conn == conn => {
                active.pong_until = None;
                true
            }
            _ => false,
        }
    }

    /// The next OPTIONS goes out at `at` or before. Whether that is news.
    pub fn ask_by(&mut self, at: Instant) -> bool {
        match &mut self.stage {
            Stage::Up(active) if active.probe.is_none() && active.next_options.is_some_and(|next| next > at) => {
                active.next_options = Some(at);
                true
            }
            _ => false,
        }
    }

    /// What is to be sent now. `has_ponged`: the peer has answered keep-alives before; many never do, and of them silence says nothing.
    ///
    /// # Errors
    /// The peer is silent: what it did not answer. `Ok(None)`: the link does not work.
    pub fn beat(&mut self, now: Instant, has_ponged: bool, next_ping: Instant) -> Result<Option<Beat>, &'static str> {
        let Stage::Up(active) = &mut self.stage else { return Ok(None) };
        if active.probe.is_some_and(|probe| now >= probe.until) {
            return Err("OPTIONS");
        }
        if active.pong_until.is_some_and(|until| now >= until) {
            return Err("a keep-alive");
        }
        let ping = active.next_ping.is_some_and(|at| now >= at);
        if ping {
            active.next_ping = Some(next_ping);
            if has_ponged {
                active.pong_until = Some(now + SILENCE);
            }
        }
        let options = active.probe.is_none() && active.next_options.is_some_and(|at| now >= at);
        Ok(Some(Beat { way: active.way, ping, options }))
    }

    /// OPTIONS was sent on a link that works; `None`: it could not be.
    pub fn asked(&mut self, now: Instant, client: Option<ClientId>, interval: Option<Duration>) {
        if let Stage::Up(active) = &mut self.stage {
            active.probe = client.map(|client| probe(now, active.way, client));
            active.next_options = interval.map(|interval| now + interval);
        }
    }

    /// A connection is gone.
    pub fn lost(&mut self, conn: ConnId) -> Lost {
        if self.conn() != Some(conn) {
            return Lost::Nothing;
        }
        match self.stage {
            Stage::Paused { until, .. } => {
                self.stage = Stage::Waiting { until: Some(until) };
                Lost::Paused
            }
            Stage::Opening { .. } => Lost::Down { opening: true },
            _ => Lost::Down { opening: false },
        }
    }

    /// It takes nothing any more, and is tried again later, unless not `redials`. `broken`: a person must act. `spread`: 0 to 1, at random.
    pub fn down(&mut self, now: Instant, broken: bool, spread: f64, redials: bool) {
        let pause = if broken { BROKEN_PAUSE } else { self.outage.pause(now, spread) };
        self.stage = Stage::Waiting { until: redials.then_some(now + pause) };
    }

    /// The peer wants no more requests for so many seconds (RFC 3261 §21.5.4). How long it is left alone.
    pub fn pause(&mut self, now: Instant, seconds: u32) -> Duration {
        let pause = Duration::from_secs(seconds.into()).min(LONGEST_PAUSE);
        if let Some(conn) = self.conn() {
            self.stage = Stage::Paused { conn, until: now + pause };
        }
        pause
    }

    /// Whether a state is other than what the broker was told last; it is told now.
    pub fn is_news(&mut self, health: &Health) -> bool {
        let is_news = self.told != *health;
        if is_news {
            self.told = health.clone();
        }
        is_news
    }

    /// Where the peer is found by SRV records, others of them are tried before this server, until then. `asked`: by the server itself.
    pub fn avoid(&mut self, server: SocketAddr, until: Instant, asked: bool) {
        self.avoided.retain(|avoided| avoided.server != server);
        if self.avoided.len() >= MOST_AVOIDED {
            self.avoided.remove(0);
        }
        self.avoided.push(Avoided { server, until, asked });
    }

    /// The servers that are tried after the others now.
    pub fn avoided(&mut self, now: Instant) -> Vec<SocketAddr> {
        self.avoided.retain(|avoided| now < avoided.until);
        self.avoided.iter().map(|avoided| avoided.server).collect()
    }

    /// Until when a server has asked to be left alone.
    #[must_use]
    pub fn asked_until(&self, now: Instant, server: SocketAddr) -> Option<Instant> {
        let pausing = |avoided: &&Avoided| avoided.server == server && avoided.asked && now < avoided.until;
        self.avoided.iter().find(pausing).map(|avoided| avoided.until)
    }

    /// Somebody asks whether the link works, between these domains: a pause after a failure is not waited for; one that the peer, called so, has asked
    /// for is. What is to be done, and then [`checked`](Self::checked).
    ///
    /// # Errors
    /// Too many ask.
    pub fn check(&mut self, now: Instant, pair: (Domain, Domain), peer: &str) -> Result<Check, (Domain, Domain)> {
        if self.checks.len() >= MOST_CHECKS {
            return Err(pair);
        }
        self.checks.push(pair);
        Ok(match &mut self.stage {
            Stage::Waiting { .. } => Check::Retry,
            Stage::Opening { .. } | Stage::Probing { .. } => Check::Wait,
            // The peer is never asked: that the connection stands is all that is known.
            Stage::Up(Active { next_options: None, .. }) => Check::Known(Ok(())),
            Stage::Up(active) => {
                active.next_options = Some(now);
                Check::Beat
            }
            Stage::Paused { until, .. } => {
                let left = until.saturating_duration_since(now).as_secs();
                let why = format!("the {peer} asked for a pause (503 with Retry-After), of which {left} s are left");
                Check::Known(Err(Trouble::new(Fault::Throttled, why)))
            }
        })
    }

    /// It is known whether the link works: what is said to whoever has asked.
    pub fn checked(&mut self, link: &LinkId, result: &Result<(), Trouble>) -> Vec<Output> {
        let checks = std::mem::take(&mut self.checks).into_iter();
        checks.map(|(from, to)| Output::Checked { link: link.clone(), from, to, result: result.clone() }).collect()
    }
}

fn probe(now: Instant, way: Way, client: ClientId) -> Probe {
    Probe { client, until: now + if way.flow.reliable { SILENCE } else { DATAGRAM_SILENCE } }
}

/// What is said to somebody who asks of a link that is not there, or when too many ask.
#[must_use]
pub fn unchecked(link: LinkId, (from, to): (Domain, Domain), is_known: bool) -> Output {
    let why = match is_known {
        true => "too much is asked at once",
        false => "the hub does not use the link: its settings cannot be used, or it is new",
    };
    Output::Checked { link, from, to, result: Err(Trouble::new(Fault::Settings, why)) }
}

/// A Retry-After that asks for time, in seconds. Zero asks for none, and one that cannot be read for nothing.
#[must_use]
pub fn retry_after(response: &Response) -> Option<u32> {
    let retry = response.headers().retry_after().ok()??;
    (retry.seconds > 0).then_some(retry.seconds)
}

/// What an answer to OPTIONS says: any shows that the peer, called so, lives, and some that it does not want the hub, or not now.
///
/// # Errors
/// It wants a password, for which `wants_password` has the words, or a pause.
pub fn welcome(response: &Response, peer: &str, wants_password: impl Fn(u16) -> String) -> Result<(), Trouble> {
    match response.status() {
        503 if let Some(seconds) = retry_after(response) => {
            Err(Trouble::new(Fault::Throttled, format!("the {peer} asks for a pause of {seconds} s (503 with Retry-After)")))
        }
        status @ (401 | 407) => Err(Trouble::new(Fault::AuthenticationRefused, wants_password(status))),
        // 403 and 404 too: many refuse OPTIONS that are for nobody, and take messages.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
