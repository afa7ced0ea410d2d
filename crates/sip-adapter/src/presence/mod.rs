//! Presence by subscriptions (docs/presence.md; RFC 6665, RFC 3856), for every kind of SIP: the hub subscribes for watchers of other platforms, and
//! notifies the member's own people.
//!
//! `subscriber` and `notifier` are the two sides, `kept` is what a restart of the hub must not lose, `dialect` what a platform does its own way. This
//! file holds what the sides share: their tables, the plan of what is due, and [`Engine`], by which an adapter hands on what concerns presence.

mod dialect;
mod kept;
mod notifier;
mod subscriber;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{ConnId, Now, Output};
use interchange_model::{Address, Body, Envelope, LinkId, MessageId, Presence, Refusal, Token, Up, Watch};
use rand::RngExt;
use sip_codec::{Name, Request, RequestBuilder, Response, Unencodable, Value};
use sip_model::outbox::Pair;

pub use self::dialect::{Dialect, KeptManner, Seen, Terms};
use self::notifier::{Notifier, Pending, Watched};
use self::subscriber::Subscription;
use crate::{Open, Refusing};

/// Dialogs of all links.
const MOST_DIALOGS: usize = 100_000;
/// Dialogs of one watcher.
const MOST_OF_ONE: usize = 1_000;
/// Between two SUBSCRIBEs on one link: 50 a second.
const SUBSCRIBE_STEP: Duration = Duration::from_millis(20);
/// How long a subscription is asked for, and granted at most, in seconds.
const EXPIRES: u32 = 3_600;
/// Between two NOTIFYs of one dialog (RFC 3856 §6.10).
const NOTIFY_PACE: Duration = Duration::from_secs(5);

/// A dialog of ours: random, so that it is another after a restart. Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A request of presence that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To see somebody.
    Subscribe(Key),
    /// What somebody sees.
    Notify(Key),
}

/// What is due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Plan {
    /// A SUBSCRIBE.
    Subscribe(Key),
    /// A NOTIFY.
    Notify(Key),
    /// The watcher has not refreshed.
    Expire(Key),
}

/// All of presence.
pub struct Presences<D: Dialect> {
    subscriptions: HashMap<Key, Subscription<D::Seen>>,
    /// How many there are on each link.
    watching: HashMap<LinkId, usize>,
    by_pair: HashMap<Pair, Key>,
    notifiers: HashMap<Key, Notifier<D::Manner>>,
    /// Both kinds of dialog, by Call-ID.
    by_call: HashMap<String, Vec<Key>>,
    watched: HashMap<Pair, Watched>,
    /// Dialogs that each of the member's people has begun.
    counts: HashMap<Address, usize>,
    /// SUBSCRIBEs that the broker has not answered.
    pending: HashMap<Token, Pending<D::Manner>>,
    plans: BTreeMap<(Instant, u64), Plan>,
    last_plan: u64,
    /// When the next SUBSCRIBE may go out on each link.
    next_subscribe: HashMap<LinkId, Instant>,
}

impl<D: Dialect> Default for Presences<D> {
    fn default() -> Self {
        Self {
            subscriptions: HashMap::new(),
            watching: HashMap::new(),
            by_pair: HashMap::new(),
            notifiers: HashMap::new(),
            by_call: HashMap::new(),
            watched: HashMap::new(),
            counts: HashMap::new(),
            pending: HashMap::new(),
            plans: BTreeMap::new(),
            last_plan: 0,
            next_subscribe: HashMap::new(),
        }
    }
}

impl<D: Dialect> Presences<D> {
    /// Whether somebody over a link is watched.
    #[must_use]
    pub fn is_watched(&self, link: &LinkId) -> bool {
        self.watching.get(link).is_some_and(|count| *count > 0)
    }

    fn plan(&mut self, at: Instant, plan: Plan) {
        self.last_plan += 1;
        self.plans.insert((at, self.last_plan), plan);
    }

    fn dialogs(&self) -> usize {
        self.subscriptions.len() + self.notifiers.len() + self.pending.len()
    }

    fn called(&mut self, call_id: &str, key: Key) {
        self.by_call.entry(call_id.to_owned()).or_default().push(key);
    }

    fn not_called(&mut self, call_id: &str, key: Key) {
        if let Some(keys) = self.by_call.get_mut(call_id) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_call.remove(call_id);
            }
        }
    }

    /// The dialog of which a request is, among those that `has` says.
    fn dialog_of(&self, request: &Request, has: impl Fn(&Self, Key) -> bool) -> Option<Key> {
        let keys = self.by_call.get(request.call_id())?;
        keys.iter().copied().find(|key| has(self, *key))
    }
}

/// By which an adapter hands on what concerns presence.
pub trait Engine: Dialect {
    /// A SUBSCRIBE came.
    fn take_subscribe(&mut self, now: Now, open: Open) {
        notifier::take_subscribe(self, now, open);
        self.arm_presence();
    }

    /// A NOTIFY came.
    fn take_notify(&mut self, now: Now, open: &Open) {
        match subscriber::take_notify(self, now, open.conn, &open.request) {
            Ok(()) => self.answer_ok(now, open),
            Err(why) => self.answer_refusing(now, open, why),
        }
        self.arm_presence();
    }

    /// A BENOTIFY came: a NOTIFY that is never answered.
    fn take_benotify(&mut self, now: Now, conn: ConnId, request: &Request) {
        let _ = subscriber::take_notify(self, now, conn, request);
        self.arm_presence();
    }

    /// The broker has taken what a SUBSCRIBE asks for, or refuses it. Whether the token was one of these.
    fn watch_submitted(&mut self, now: Now, token: Token, result: Result<(), Refusal>) -> bool {
        let is_one = notifier::submitted(self, now, token, result);
        self.arm_presence();
        is_one
    }

    /// The broker hands over what is asked or said of a watch.
    fn deliver_watch(&mut self, now: Now, link: &LinkId, envelope: &Envelope, watch: Watch) {
        match watch {
            Watch::Ask => subscriber::watch(self, now, link, envelope),
            Watch::Stop => subscriber::unwatch(self, now, envelope),
            Watch::Allow => notifier::allowed(self, now, envelope),
            Watch::Refuse => notifier::refused(self, now, envelope),
            // It is told, and never delivered.
            Watch::Fetch => {}
        }
        self.arm_presence();
    }

    /// The state of a presentity, as a watcher may see it.
    fn watched_state(&mut self, now: Now, envelope: &Envelope, presence: &Presence) {
        notifier::state(self, now, envelope, presence);
        self.arm_presence();
    }

    /// A watcher asks for the state.
    fn fetch(&mut self, now: Now, link: &LinkId, envelope: &Envelope) {
        subscriber::fetch(self, now, link, envelope);
        self.arm_presence();
    }

    /// A link is up: what could not be sent is.
    fn presence_up(&mut self, now: Now, link: &LinkId) {
        let of_link = |one: &Subscription<_>| one.link == *link && one.is_idle();
        let idle: Vec<Key> = self.presences().subscriptions.iter().filter(|(_, one)| of_link(one)).map(|(key, _)| *key).collect();
        for key in idle {
            subscriber::plan(self, now, key, now.instant);
        }
        let has_news = |one: &Notifier<_>| one.link == *link && one.has_news();
        let presences = self.presences();
        let unsaid: Vec<Key> = presences.notifiers.iter().filter(|(_, one)| has_news(one)).map(|(key, _)| *key).collect();
        for (step, key) in (0..).zip(unsaid) {
            presences.plan(now.instant + SUBSCRIBE_STEP * step, Plan::Notify(key));
        }
        self.arm_presence();
    }

    /// Something of presence is due.
    fn wake_presence(&mut self, now: Now) {
        while let Some(entry) = self.presences().plans.first_entry()
            && entry.key().0 <= now.instant
        {
            match entry.remove() {
                Plan::Subscribe(key) => subscriber::subscribe(self, now, key),
                Plan::Notify(key) => notifier::notify(self, now, key),
                Plan::Expire(key) => notifier::expire(self, now, key),
            }
        }
        self.arm_presence();
    }

    /// The final answer to a request of presence; `None`: there was none, or the connection went.
    fn presence_answered(&mut self, now: Now, asked: Asked, response: Option<&Response>) {
        match asked {
            Asked::Subscribe(key) => subscriber::answered(self, now, key, response),
            Asked::Notify(key) => notifier::answered(self, now, key, response),
        }
        self.arm_presence();
    }

    /// One entry of what was kept for a link, when the hub, or the adapter, has begun anew. `None`: it is of no use, and to be forgotten.
    fn restore_presence(&mut self, now: Now, link: &LinkId, entry: &Arc<str>, value: &[u8]) -> Option<()> {
        let restored = kept::restore(self, now, link, entry, value);
        self.arm_presence();
        restored
    }

    /// Has itself woken when something is due.
    fn arm_presence(&mut self) {
        let next = self.presences().plans.first_key_value().map(|((at, _), _)| *at);
        self.arm(next);
    }
}

impl<D: Dialect> Engine for D {}

fn new_key<D: Dialect>(host: &mut D) -> Key {
    Key(host.tools().random.random())
}

fn envelope<D: Dialect>(host: &mut D, now: Now, link: &LinkId, from: &Address, to: &Address, body: Body) -> Arc<Envelope> {
    let id = MessageId::new(now.wall, host.tools().random.random());
    Arc::new(Envelope::new(id, link.clone(), (from.clone(), to.clone()), now.wall, body))
}

/// Submits what one of the member's people asks or says of a watch. What becomes of it matters only for a SUBSCRIBE that waits.
fn submit<D: Dialect>(host: &mut D, now: Now, link: &LinkId, from: &Address, to: &Address, watch: Watch) -> Token {
    let envelope = envelope(host, now, link, from, to, Body::Watch(watch));
    let token = host.new_token();
    host.tools().out.push(Output::Broker(Up::Submit { token, link: link.clone(), envelope }));
    token
}

fn tell<D: Dialect>(host: &mut D, now: Now, link: &LinkId, from: &Address, to: &Address, body: Body) {
    let envelope = envelope(host, now, link, from, to, body);
    host.tools().out.push(Output::Broker(Up::Tell { link: link.clone(), envelope }));
}

/// Adds headers to a request.
fn with(request: RequestBuilder, headers: &[(Name, &str)]) -> Result<RequestBuilder, Unencodable> {
    headers.iter().try_fold(request, |request, (name, value)| request.header(*name, Value::new(value)?))
}

/// The value of Event, if it is our package, in any case: real servers do not ask.
fn read_event(request: &Request) -> Result<(), Refusing> {
    let event = request.headers().first(Name::Event).map(|event| event.text().into_owned()).unwrap_or_default();
    if event.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("presence") {
        return Ok(());
    }
    Err(Refusing::Rules(sip_stack::Refused::of(489).with(Name::AllowEvents, "presence")))
}
