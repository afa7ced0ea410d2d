//! Sessions: INVITE, and MSRP for what is said in them (RFC 4975, RFC 6135; mapped to chat as RFC 7573 says).
//!
//! `invite` begins and ends them, `media` has their connections, `words` turns their messages into envelopes and back. This file holds the
//! table, and what a session does as time passes. A session lives in this process only: after a restart of the hub its connection is gone,
//! the client sees that, and begins another; what was accepted in it is on the bus.

mod invite;
mod media;
mod words;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{ConnId, Now};
use interchange_model::{Address, DisplayName, Envelope, MessageId, Outcome, Refusal, Token};
use msrp_stack::sdp::Media;
use msrp_stack::{Event, FailureReport};
use sip_stack::{ClientId, Dialog, ServerId};

pub(crate) use self::media::{Carrier, OPENING};
use crate::Sip;
use crate::outbox::{Pair, Place};
use crate::settings::MediaHosts;
use crate::timers::{Alarm, Sleeper};

/// Sessions of all links, and of one of the member's people (shared/protocols/sip.md §7).
const MOST: usize = 20_000;
const MOST_OF_ONE: usize = 100;
/// Bytes of half received messages in all sessions; beyond them no new one is begun to be put together.
const MOST_HELD: u64 = 256 * 1024 * 1024;
/// A session in which nothing is said is ended.
const IDLE: Duration = Duration::from_secs(600);
/// How long a connection may take to come, and an INVITE of ours to be answered, before what waits goes as single messages.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// How long a session outlives its connection: the client may connect again.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Messages of one session of which reports may still be due.
const MOST_GIVEN: usize = 1_000;
/// How long nobody offers a session to whoever has refused one: by their kind of client, and for any other reason.
const DECLINED: Duration = Duration::from_secs(24 * 60 * 60);
const DECLINED_NOW: Duration = Duration::from_secs(60);
/// People who are remembered for that.
const MOST_DECLINED: usize = 50_000;

/// All of them.
pub(crate) struct Sessions {
    hosts: MediaHosts,
    all: BTreeMap<u64, Conversation>,
    /// By the name in our path.
    by_name: HashMap<String, u64>,
    by_call: HashMap<String, u64>,
    /// The newest of each link and pair, from ours to the member's.
    by_pair: HashMap<(u64, Pair), u64>,
    of_one: HashMap<Address, usize>,
    /// In which session a message came whose end may be reported.
    by_message: HashMap<MessageId, u64>,
    /// Bytes of half received messages.
    held: u64,
    /// INVITEs that wait for an ACK.
    answered: HashMap<ServerId, u64>,
    /// Connections of ours to a client.
    dials: HashMap<ConnId, u64>,
    /// Messages that the broker has not answered.
    submitted: HashMap<Token, Submitted>,
    declined: HashMap<(u64, Address), Instant>,
    /// For names of sessions' transactions, another for each.
    seed: u64,
}

/// A message of a session, with the broker.
struct Submitted {
    session: u64,
    link: u64,
    key: u64,
    given: Option<Given>,
}

/// A message of the member's people whose end may be reported.
struct Given {
    message: MessageId,
    message_id: String,
    size: u64,
    success_report: bool,
    failure_report: FailureReport,
}

/// One session.
struct Conversation {
    link: u64,
    /// Somebody of another platform.
    ours: Address,
    /// One of the member's people.
    theirs: Address,
    /// What they call themselves, from the INVITE.
    display_name: Option<DisplayName>,
    call_id: String,
    dialog: Option<Dialog>,
    stage: Stage,
    /// What the client said of itself; none while our INVITE is not answered.
    media: Option<Media>,
    msrp: msrp_stack::Session,
    carrier: Option<ConnId>,
    /// When something was last said in it.
    used: Instant,
    /// Deliveries that wait for it.
    pending: VecDeque<(Place, Arc<Envelope>)>,
    /// Deliveries under way in it.
    sending: HashMap<msrp_stack::Token, Sent>,
    /// Envelopes whose arrival is to be reported, by Message-ID.
    wanted: HashMap<String, Arc<Envelope>>,
    given: VecDeque<Given>,
    next_token: u64,
    alarm: Alarm,
}

struct Sent {
    place: Option<Place>,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Our INVITE has no final answer.
    Inviting { client: ClientId, until: Instant },
    /// It stands; the connection is to come until then.
    Connecting { until: Instant },
    /// Messages flow.
    Up,
    /// The connection is gone; the client may come again until then.
    Lost { until: Instant },
}

impl Sessions {
    pub(crate) fn new(hosts: MediaHosts, seed: u64) -> Self {
        Self {
            hosts,
            all: BTreeMap::new(),
            by_name: HashMap::new(),
            by_call: HashMap::new(),
            by_pair: HashMap::new(),
            of_one: HashMap::new(),
            by_message: HashMap::new(),
            held: 0,
            answered: HashMap::new(),
            dials: HashMap::new(),
            submitted: HashMap::new(),
            declined: HashMap::new(),
            seed,
        }
    }

    fn add(&mut self, number: u64, session: Conversation) {
        if let Some(name) = session.msrp.local().session() {
            self.by_name.insert(name.to_owned(), number);
        }
        self.by_call.insert(session.call_id.clone(), number);
        self.by_pair.insert((session.link, (session.ours.clone(), session.theirs.clone())), number);
        *self.of_one.entry(session.theirs.clone()).or_default() += 1;
        self.all.insert(number, session);
    }

    fn take(&mut self, number: u64) -> Option<Conversation> {
        let session = self.all.remove(&number)?;
        if let Some(name) = session.msrp.local().session() {
            self.by_name.remove(name);
        }
        self.by_call.remove(&session.call_id);
        let pair = (session.link, (session.ours.clone(), session.theirs.clone()));
        if self.by_pair.get(&pair) == Some(&number) {
            self.by_pair.remove(&pair);
        }
        if let Some(count) = self.of_one.get_mut(&session.theirs) {
            *count -= 1;
            if *count == 0 {
                self.of_one.remove(&session.theirs);
            }
        }
        for given in &session.given {
            self.by_message.remove(&given.message);
        }
        self.held = self.held.saturating_sub(session.msrp.held());
        self.answered.retain(|_, session| *session != number);
        self.dials.retain(|_, session| *session != number);
        Some(session)
    }

    fn is_declined(&self, now: Now, link: u64, person: &Address) -> bool {
        self.declined.get(&(link, person.clone())).is_some_and(|until| now.instant < *until)
    }

    fn decline(&mut self, now: Now, link: u64, person: &Address, time: Duration) {
        if self.declined.len() >= MOST_DECLINED {
            self.declined.retain(|_, until| now.instant < *until);
        }
        if self.declined.len() < MOST_DECLINED {
            self.declined.insert((link, person.clone()), now.instant + time);
        }
    }

    /// Lets a session's MSRP side do something, and keeps count of what it holds.
    fn with_msrp(&mut self, number: u64, work: impl FnOnce(&mut msrp_stack::Session)) {
        if let Some(session) = self.all.get_mut(&number) {
            let before = session.msrp.held();
            work(&mut session.msrp);
            self.held = (self.held + session.msrp.held()).saturating_sub(before);
        }
    }

    /// A message that may be reported on; of too many the oldest is forgotten.
    fn give(&mut self, number: u64, given: Given) {
        let Some(session) = self.all.get_mut(&number) else { return };
        if session.given.len() >= MOST_GIVEN
            && let Some(oldest) = session.given.pop_front()
        {
            self.by_message.remove(&oldest.message);
        }
        self.by_message.insert(given.message, number);
        session.given.push_back(given);
    }

    /// A dial of ours is for a session.
    pub(crate) fn dialled(&self, conn: ConnId) -> Option<u64> {
        self.dials.get(&conn).copied()
    }
}

impl Conversation {
    fn deadline(&self) -> Instant {
        let stage = match self.stage {
            Stage::Inviting { until, .. } | Stage::Connecting { until } | Stage::Lost { until } => until,
            Stage::Up => self.used + IDLE,
        };
        self.msrp.deadline().map_or(stage, |chunk| chunk.min(stage))
    }
}

impl Sip {
    fn arm_session(&mut self, number: u64) {
        if let Some(session) = self.sessions.all.get_mut(&number) {
            let deadline = session.deadline();
            self.timers.set(&mut session.alarm, Sleeper::Session(number), Some(deadline));
        }
    }

    /// Time has passed for a session.
    pub(crate) fn wake_session(&mut self, now: Now, number: u64) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        session.alarm.rang();
        let mut events = Vec::new();
        self.sessions.with_msrp(number, |msrp| msrp.tick(now.instant, &mut events));
        let Some(session) = self.sessions.all.get(&number) else { return };
        let stage = session.stage;
        let idle = now.instant >= session.used + IDLE && !session.msrp.is_busy();
        self.session_events(now, number, events);
        match stage {
            Stage::Inviting { client, until } if now.instant >= until => {
                let _ = self.layer.cancel(now.instant, client, &mut self.actions);
                self.invite_failed(now, number, None);
            }
            Stage::Connecting { until } | Stage::Lost { until } if now.instant >= until => self.end_session(now, number, true),
            Stage::Up if idle => self.end_session(now, number, true),
            _ => {
                if stage == Stage::Up
                    && let Some(session) = self.sessions.all.get_mut(&number)
                    && now.instant >= session.used + IDLE
                {
                    // Something is under way: looked at again when that has had its time.
                    session.used = now.instant;
                }
                self.arm_session(number);
            }
        }
    }

    /// A session is over. What waits for it goes as single messages; of what was under way in it, nobody knows whether it has arrived.
    fn end_session(&mut self, now: Now, number: u64, bye: bool) {
        let Some(mut session) = self.sessions.take(number) else { return };
        self.timers.set(&mut session.alarm, Sleeper::Session(number), None);
        if bye {
            self.send_bye(now, &mut session);
        }
        if let Some(conn) = session.carrier {
            self.unbind(now, conn, number);
        }
        // The broker keeps it for the next start.
        let unsure = if self.stopped { Outcome::LinkDown } else { Outcome::Refused(Refusal::TimedOut) };
        for (_, sent) in session.sending.drain() {
            if let Some(place) = sent.place {
                self.finish(session.link, place, unsure);
            }
        }
        for (place, _) in std::mem::take(&mut session.pending) {
            if self.stopped {
                self.finish(session.link, place, Outcome::LinkDown);
            } else {
                self.send_page(now, session.link, place);
            }
        }
        self.send_waiting(now, session.link);
    }

    /// The hub stops: clients are told, and begin anew with the next one.
    pub(crate) fn stop_sessions(&mut self, now: Now) {
        for number in self.sessions.all.keys().copied().collect::<Vec<u64>>() {
            self.end_session(now, number, true);
        }
    }

    /// A link is no more.
    pub(crate) fn end_sessions_of(&mut self, now: Now, link: u64) {
        let of_link = |session: &Conversation| session.link == link;
        let gone: Vec<u64> = self.sessions.all.iter().filter(|(_, one)| of_link(one)).map(|(number, _)| *number).collect();
        for number in gone {
            self.end_session(now, number, true);
        }
    }

    /// Does what the MSRP side of a session wants.
    fn session_events(&mut self, now: Now, number: u64, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Transmit(bytes) => self.transmit(number, bytes),
                Event::Received(complete) => self.take_words(now, number, complete),
                Event::Sent(token) => self.words_sent(now, number, token),
                Event::Failed(token, status) => self.words_failed(now, number, token, status),
                Event::Reported(message_id, status) => self.words_reported(now, number, &message_id, status),
            }
        }
        self.arm_session(number);
    }
}
