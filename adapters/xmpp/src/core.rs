//! What all streams share, and the pairs of domains between which the hub delivers.
//!
//! Incoming streams are kept apart from this, so that one of them can use all of it while it handles its input.

mod checks;
mod deliveries;
mod doubt;
mod told;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use interchange_adapter::{CloseReason, ConnId, Now, References};
use interchange_model::{
    Address, DeliveryId, Domain, Envelope, Fault, Health, LinkId, MessageId, Outcome, Refusal, SettingsError, Token, Trouble, Up,
};

use crate::directory::{Directory, LinkInfo};
use crate::link::LinkState;
use crate::pair::{Delivery, Pair, PairKey, Stream};
use crate::settings::PlatformSettings;
use crate::sink::Sink;
use crate::stream::dialback::{Answer, Keys};
use crate::stream::outbound::{Failure, Outbound};
use crate::timers::{Sleeper, Timers};

/// How long a peer that has refused one of our domains is not asked again for it.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A submission that the broker has not answered.
#[derive(Debug)]
pub(crate) struct Submission {
    /// The stream it came on.
    pub(crate) conn: ConnId,
    /// Its place among the stanzas of that stream.
    pub(crate) place: u64,
    /// For the error, should it be refused.
    pub(crate) envelope: Arc<Envelope>,
}

/// What an incoming stream is told about a key that it was given.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The stream.
    pub(crate) conn: ConnId,
    /// The pair that the key was for.
    pub(crate) pair: PairKey,
    /// What the authoritative server says.
    pub(crate) answer: Answer,
}

/// An error that a peer sent for a stanza of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounce<'a> {
    /// The stanza's id.
    pub(crate) id: &'a str,
    /// For whom the stanza was; `None` when the error comes from the domain itself.
    pub(crate) from: Option<&'a Address>,
    /// Who had sent it.
    pub(crate) to: &'a Address,
    /// What the error means.
    pub(crate) why: Refusal,
}

/// Between two questions on a stream by which presence is known, and how long its answer may take.
const ATTENDED_PING: Duration = Duration::from_secs(12);
const ATTENDED_ANSWER: Duration = Duration::from_secs(8);

/// Shared state. See the module.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: PlatformSettings,
    pub(crate) directory: Directory,
    pub(crate) timers: Timers,
    pub(crate) keys: Keys,
    /// Ids of messages that come from other platforms.
    pub(crate) references: References,
    /// In which language people of other platforms write.
    languages: HashMap<Address, Arc<str>>,
    pub(crate) submissions: HashMap<Token, Submission>,
    /// Incoming connections that are not authenticated yet, by address.
    pub(crate) unproven: HashMap<IpAddr, u32>,
    pub(crate) outbound: HashMap<ConnId, Outbound>,
    /// To be told to incoming streams at the end of the call.
    pub(crate) verdicts: Vec<Verdict>,
    /// Pairs that are being asked about, and the link of each.
    checks: HashMap<PairKey, LinkId>,
    /// Streams of peers that take our stanzas for a pair (XEP-0288), the newest of each.
    lent: HashMap<PairKey, ConnId>,
    /// Of these, such as do not answer: to be closed at the end of the call.
    pub(crate) silent: Vec<ConnId>,
    pairs: HashMap<PairKey, Pair>,
    links: HashMap<LinkId, LinkState>,
    seed: u64,
    random: u64,
    unguessable: u64,
    tokens: u64,
    dialled: u64,
}

impl Core {
    pub(crate) fn new(settings: PlatformSettings, secret: &[u8], seed: u64) -> Self {
        Self {
            settings,
            directory: Directory::default(),
            timers: Timers::default(),
            keys: Keys::new(secret),
            references: References::new(secret),
            languages: HashMap::new(),
            submissions: HashMap::new(),
            unproven: HashMap::new(),
            outbound: HashMap::new(),
            verdicts: Vec::new(),
            checks: HashMap::new(),
            lent: HashMap::new(),
            silent: Vec::new(),
            pairs: HashMap::new(),
            links: HashMap::new(),
            seed,
            random: seed,
            unguessable: 0,
            tokens: 0,
            dialled: 0,
        }
    }

    /// A number that differs each time and repeats with the seed: for jitter and message ids, not for secrets. SplitMix64.
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A new message id.
    pub(crate) fn message_id(&mut self, now: Now) -> MessageId {
        MessageId::new(now.wall, u128::from(self.random()) << 64 | u128::from(self.random()))
    }

    /// A text that nobody can guess (RFC 6120 §4.7.3).
    pub(crate) fn unguessable(&mut self) -> String {
        self.unguessable += 1;
        self.keys.unguessable(self.seed, self.unguessable)
    }

    /// Submits an envelope that came on a stream.
    pub(crate) fn submit(&mut self, sink: &mut Sink<'_>, conn: ConnId, place: u64, envelope: Envelope) {
        self.tokens += 1;
        let (token, envelope) = (Token(self.tokens), Arc::new(envelope));
        self.submissions.insert(token, Submission { conn, place, envelope: envelope.clone() });
        sink.broker(Up::Submit { token, link: envelope.origin.clone(), envelope });
    }

    // Links.

    /// The broker told all links: those that are gone or changed are closed, the others stay as they are.
    pub(crate) fn links_changed(
        &mut self,
        now: Now,
        sink: &mut Sink<'_>,
        directory: Directory,
        unusable: Vec<(LinkId, SettingsError)>,
    ) {
        let old = std::mem::replace(&mut self.directory, directory);
        for link in old.links() {
            let same = self.directory.link(&link.id).is_some_and(|new| Arc::ptr_eq(new, link));
            if !same {
                self.forget_link(sink, &link.id);
            }
        }
        self.links.retain(|id, _| self.directory.link(id).is_some());
        let infos: Vec<Arc<LinkInfo>> = self.directory.links().cloned().collect();
        for info in infos {
            let id = info.id.clone();
            let state = self.links.entry(id.clone()).or_insert_with(|| LinkState::new(info));
            sink.broker(Up::Health { link: id, health: state.health.clone() });
        }
        for (link, error) in unusable {
            sink.broker(Up::Health { link, health: error.health() });
        }
        // One of our own domains may be gone; what is under way for it has no sender any more.
        let gone: Vec<PairKey> = self.pairs.keys().filter(|key| !self.directory.hosts(&key.own)).cloned().collect();
        for key in gone {
            self.close_pair(now, sink, &key, Outcome::Refused(Refusal::NotAllowed));
        }
    }

    fn forget_link(&mut self, sink: &mut Sink<'_>, id: &LinkId) {
        let Some(mut state) = self.links.remove(id) else { return };
        self.timers.clear(&mut state.alarm, || Sleeper::Link(id.clone()));
        self.checks.retain(|_, link| link != id);
        self.lent.retain(|key, _| !state.info.domains.contains(&key.partner));
        let mut open = self.take_all(sink, &state);
        open.sort_by_key(|delivery| delivery.order);
        for delivery in open {
            settle(sink, id, delivery.id, Outcome::LinkDown);
        }
        for key in &state.pairs {
            if let Some(mut pair) = self.pairs.remove(key) {
                self.timers.clear(&mut pair.alarm, || Sleeper::Pair(key.clone()));
            }
        }
        let conns: Vec<ConnId> =
            self.outbound.iter().filter(|(_, stream)| stream.link.id == *id).map(|(conn, _)| *conn).collect();
        for conn in conns {
            if let Some(mut stream) = self.outbound.remove(&conn) {
                stream.shut(self, sink, CloseReason::Shutdown);
            }
        }
    }

    /// Every delivery of a link that is not settled, from all its pairs.
    fn take_all(&mut self, sink: &mut Sink<'_>, state: &LinkState) -> Vec<Delivery> {
        let mut open = Vec::new();
        for key in &state.pairs {
            if let Some(pair) = self.pairs.get_mut(key) {
                for delivery in pair.take_handled() {
                    settle(sink, &pair.link, delivery.id, Outcome::Delivered);
                }
                // Somebody asks about this one by itself.
                let asked = self.checks.contains_key(key) && matches!(pair.stream, Stream::Ready { .. });
                open.extend(pair.take_all(asked));
            }
        }
        open
    }

    // What becomes of outgoing streams.

    /// A stream takes stanzas now; `managed`: with stream management, if the peer is asked.
    pub(crate) fn ready(
        &mut self,
        now: Now,
        sink: &mut Sink<'_>,
        key: &PairKey,
        (conn, managed): (ConnId, bool),
        max_stanza: usize,
    ) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        if managed {
            sink.write(conn).extend_from_slice(b"<enable xmlns='urn:xmpp:sm:3'/>");
        }
        pair.begin(managed);
        pair.stream = Stream::Ready { conn, max_stanza };
        pair.used = now.instant;
        pair.sent = now.instant;
        self.pump(now, sink, key);
        self.set_pair_alarm(key);
    }

    /// A peer takes our stanzas for a pair on a stream of its own (XEP-0288). One of ours that stands, or is on its way, is used on.
    pub(crate) fn lend(&mut self, now: Now, sink: &mut Sink<'_>, link: &Arc<LinkInfo>, key: &PairKey, conn: ConnId) {
        if self.lent.insert(key.clone(), conn) == Some(conn) {
            return;
        }
        let up = self.links.get(&link.id).is_some_and(|state| state.health.is_up());
        let pair = self.pair(now, &link.id, key);
        if pair.stream != Stream::None {
            return;
        }
        // A link that is down is found to be up by the answer to a ping.
        pair.probing |= !up;
        if !pair.is_quiet() || pair.probing {
            self.pump(now, sink, key);
        } else {
            self.set_pair_alarm(key);
        }
    }

    /// A peer's stream is gone, and with it the way for whatever went out on it.
    pub(crate) fn lender_gone(&mut self, now: Now, sink: &mut Sink<'_>, conn: ConnId, detail: &str) {
        let keys: Vec<PairKey> = self.lent.iter().filter(|(_, lent)| **lent == conn).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.lent.remove(&key);
            let why = if detail.is_empty() { "the peer's stream is gone" } else { detail };
            let why = Trouble::new(Fault::Disconnected, format!("{}: {why}", key.partner));
            self.failed(now, sink, &key, conn, Failure::Away(why));
        }
    }

    /// A stream of a pair is gone.
    pub(crate) fn failed(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey, conn: ConnId, failure: Failure) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let was_ready = match pair.stream {
            Stream::Ready { conn: ours, .. } if ours == conn => true,
            Stream::Opening(ours) if ours == conn => false,
            _ => return,
        };
        pair.stream = Stream::None;
        let link = pair.link.clone();
        // We cannot reach the peer, and need not: it is here.
        if !was_ready && self.lent.contains_key(key) {
            return self.pump(now, sink, key);
        }
        let Some(pair) = self.pairs.get_mut(key) else { return };
        for delivery in pair.take_handled() {
            settle(sink, &link, delivery.id, Outcome::Delivered);
        }
        let is_quiet = pair.is_quiet() && !pair.probing;
        if !(was_ready && is_quiet) && self.is_of_the_pair(now, sink, (&link, key, conn), was_ready, &failure) {
            return;
        }
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let may_be_of_a_pair = doubt::may_be_of_a_pair(&failure).is_some();
        match failure {
            Failure::Refused(why, trouble) => {
                pair.refused = Some((now.instant + REFUSED_FOR, why));
                pair.probing = false;
                for delivery in pair.take_all(false) {
                    settle(sink, &link, delivery.id, Outcome::Refused(why));
                }
                // The server is there and talks to us, if not for this domain.
                self.link_up(sink, &link);
                self.set_pair_alarm(key);
                self.checked(sink, key, Err(trouble));
            }
            // Somebody's presence is known by this stream: whether the peer is still there is found out now.
            _ if was_ready && is_quiet && pair.is_attended(now.instant) => {
                pair.probing = true;
                self.pump(now, sink, key);
            }
            // Nothing was lost, and the next message finds out whether the peer is still there.
            _ if was_ready && is_quiet => self.set_pair_alarm(key),
            Failure::Closed => {
                let why = format!("{} closed the stream while messages were under way", key.partner);
                self.link_down(now, sink, &link, key, Trouble::new(Fault::Disconnected, why), false);
            }
            Failure::Away(why) => self.link_down(now, sink, &link, key, why, false),
            Failure::Misconfigured(why) => self.link_down(now, sink, &link, key, why, true),
        }
        if may_be_of_a_pair && self.links.get(&link).is_some_and(|state| !state.health.is_up()) {
            self.ask_others(now, sink, &link, key);
        }
    }

    /// `broken`: a person must act.
    fn link_down(&mut self, now: Now, sink: &mut Sink<'_>, link: &LinkId, key: &PairKey, trouble: Trouble, broken: bool) {
        let Some(mut state) = self.links.remove(link) else { return };
        if let Some(pair) = self.pairs.get_mut(key) {
            pair.doubtful |= trouble.fault == Fault::NoWayBack;
        }
        let why = trouble.text.clone();
        let health = if broken { Health::Broken { why } } else { Health::Retrying { why } };
        let mut open = self.take_all(sink, &state);
        open.sort_by_key(|delivery| delivery.order);
        for delivery in open {
            settle(sink, link, delivery.id, Outcome::LinkDown);
        }
        let jitter = self.random();
        // While another pair's failure is being looked into, this one's changes nothing.
        if state.health.is_up() || state.probe.as_ref().is_none_or(|probe| probe == key) {
            // What a person must mend is tried again at the slowest.
            let at = state.fell(now.instant, key.clone(), broken, jitter);
            self.timers.set_by(&mut state.alarm, || Sleeper::Link(link.clone()), at);
            if state.health != health {
                state.health = health.clone();
                sink.broker(Up::Health { link: link.clone(), health });
            }
        }
        // What was only asked about is not tried again by itself.
        if state.probe.as_ref() != Some(key)
            && let Some(pair) = self.pairs.get_mut(key)
        {
            pair.probing = false;
        }
        self.links.insert(link.clone(), state);
        self.set_pair_alarm(key);
        self.checked(sink, key, Err(trouble));
    }

    fn link_up(&mut self, sink: &mut Sink<'_>, link: &LinkId) {
        let Some(state) = self.links.get_mut(link) else { return };
        if state.health.is_up() {
            return;
        }
        state.rose();
        self.timers.clear(&mut state.alarm, || Sleeper::Link(link.clone()));
        sink.broker(Up::Health { link: link.clone(), health: Health::Up });
    }

    /// The peer has proved itself on a stream of its own, so it is alive: a link that waits to dial again need not wait long.
    pub(crate) fn seen_alive(&mut self, now: Now, link: &LinkId) {
        let Some(state) = self.links.get_mut(link) else { return };
        if let Some(at) = state.hasten(now.instant) {
            self.timers.set_by(&mut state.alarm, || Sleeper::Link(link.clone()), at);
        }
    }

    // Time.

    /// A link's time to dial again has come.
    pub(crate) fn wake_link(&mut self, now: Now, sink: &mut Sink<'_>, link: &LinkId) {
        let Some(state) = self.links.get_mut(link) else { return };
        state.alarm.rang();
        match state.wake(now.instant) {
            Ok(Some(key)) => {
                let pair = self.pair(now, link, &key);
                pair.probing = true;
                pair.refused = None;
                // Answers that wait for other pairs are sent on this occasion.
                let mut keys: Vec<PairKey> = self.links.get(link).into_iter().flat_map(|state| &state.pairs).cloned().collect();
                keys.retain(|other| *other == key || self.pairs.get(other).is_some_and(|pair| !pair.waiting.is_empty()));
                for key in keys {
                    self.pump(now, sink, &key);
                }
            }
            Ok(None) => {}
            Err(at) => self.timers.set_by(&mut state.alarm, || Sleeper::Link(link.clone()), at),
        }
    }

    /// A pair's time has come: to ping, to say something, to close, or to give up a ping.
    pub(crate) fn wake_pair(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        pair.alarm.rang();
        if pair.refused.is_some_and(|(until, _)| until <= now.instant) {
            pair.refused = None;
        }
        if let Stream::Ready { conn, .. } = pair.stream {
            if pair.ping_deadline().is_some_and(|deadline| deadline <= now.instant) {
                let within =
                    if pair.has_attention() { ATTENDED_ANSWER.min(self.settings.answer()) } else { self.settings.answer() };
                let why = format!(
                    "{} did not answer a ping from {} within {} s: it takes our stanzas, and its way back to the hub does not work",
                    key.partner,
                    key.own,
                    within.as_secs()
                );
                if let Some(mut stream) = self.outbound.remove(&conn) {
                    stream.shut(self, sink, CloseReason::TimedOut);
                } else {
                    self.lent.retain(|_, lent| *lent != conn);
                    self.silent.push(conn);
                }
                return self.failed(now, sink, key, conn, Failure::Away(Trouble::new(Fault::NoWayBack, why)));
            }
            let pair = self.pairs.get_mut(key).expect("it was there a moment ago");
            let attended = pair.is_attended(now.instant);
            if pair.is_quiet() && !attended && now.instant.saturating_duration_since(pair.used) >= self.settings.idle() {
                pair.stream = Stream::None;
                if let Some(mut stream) = self.outbound.remove(&conn) {
                    stream.finish(now, self, sink);
                    self.outbound.insert(conn, stream);
                }
            } else if now.instant.saturating_duration_since(pair.sent) >= self.settings.keepalive() {
                // RFC 6120 §4.6.1
                sink.write(conn).extend_from_slice(b" ");
                pair.sent = now.instant;
            }
            self.pump_ping(now, sink, key);
        }
        self.set_pair_alarm(key);
    }

    /// Pings for what is under way, and a stream that has carried nothing for long, so that a dead connection is noticed.
    fn pump_ping(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let Stream::Ready { conn, .. } = pair.stream else { return };
        let since = now.instant.saturating_duration_since(pair.pinged_at().unwrap_or(pair.used).max(pair.used));
        if pair.needs_ping(now.instant) || (pair.ping_deadline().is_none() && since >= ping_after(pair, &self.settings)) {
            self.ping(now, sink, key, conn);
        }
    }

    fn set_pair_alarm(&mut self, key: &PairKey) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let at = match pair.stream {
            Stream::Ready { .. } => {
                let idle = pair.used + self.settings.idle();
                let keepalive = pair.sent + self.settings.keepalive();
                let ping = pair.pinged_at().unwrap_or(pair.used).max(pair.used) + ping_after(pair, &self.settings);
                let soonest = keepalive.min(ping).min(if pair.is_quiet() && !pair.has_attention() { idle } else { ping });
                let soonest = pair.ping_at().map_or(soonest, |at| soonest.min(at));
                Some(pair.ping_deadline().map_or(soonest, |deadline| deadline.min(keepalive)))
            }
            Stream::Opening(_) => None,
            Stream::None => pair.refused.map(|(until, _)| until),
        };
        if let Some(at) = at {
            return self.timers.set_by(&mut pair.alarm, || Sleeper::Pair(key.clone()), at);
        }
        if pair.stream == Stream::None && pair.is_quiet() && !pair.probing && !pair.doubtful {
            let link = pair.link.clone();
            self.timers.clear(&mut pair.alarm, || Sleeper::Pair(key.clone()));
            self.pairs.remove(key);
            if let Some(state) = self.links.get_mut(&link) {
                state.pairs.remove(key);
            }
        }
    }

    fn close_pair(&mut self, now: Now, sink: &mut Sink<'_>, key: &PairKey, outcome: Outcome) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        pair.doubtful = false;
        for delivery in pair.take_all(false) {
            settle(sink, &pair.link, delivery.id, outcome);
        }
        let stream = std::mem::replace(&mut pair.stream, Stream::None);
        if let Stream::Ready { conn, .. } | Stream::Opening(conn) = stream
            && let Some(mut stream) = self.outbound.remove(&conn)
        {
            stream.finish(now, self, sink);
            self.outbound.insert(conn, stream);
        }
        self.set_pair_alarm(key);
    }

    /// The hub stops: what is not settled goes back, and every peer is told.
    pub(crate) fn stop(&mut self, sink: &mut Sink<'_>) {
        let ids: Vec<LinkId> = self.links.keys().cloned().collect();
        for id in ids {
            self.forget_link(sink, &id);
        }
    }
}

/// Tells the broker what became of a delivery.
fn settle(sink: &mut Sink<'_>, link: &LinkId, delivery: DeliveryId, outcome: Outcome) {
    sink.broker(Up::Settle { link: link.clone(), delivery, outcome });
}

/// After how long a stream is asked for an answer though nothing was delivered. One by which presence is known sooner: a server that is
/// gone must be noticed before its people are believed to be here for long.
fn ping_after(pair: &Pair, settings: &PlatformSettings) -> Duration {
    if pair.has_attention() { settings.ping().min(ATTENDED_PING) } else { settings.ping() }
}

/// Bytes that `write` appends.
pub(crate) fn bytes_of(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    write(&mut out);
    out.freeze()
}

/// One of our domains and one of a peer's.
pub(crate) fn pair_key(own: &Domain, partner: &Domain) -> PairKey {
    PairKey { own: own.clone(), partner: partner.clone() }
}
