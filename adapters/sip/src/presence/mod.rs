//! Presence (docs/presence.md; RFC 6665, RFC 3856): the hub subscribes for watchers of other platforms, and notifies the member's own people.
//!
//! `watching` is the subscriber, `watched` the notifier; `document` turns PIDF and canonical presence into one another, `kept` is what a
//! restart of the hub must not lose. This file holds what the two sides share: their tables, the plan of what is due, and the way of a request.

mod document;
mod kept;
mod watched;
mod watching;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{Now, Output};
use interchange_model::{Address, Body, Envelope, LinkId, MessageId, Token, Up, Watch};
use rand::RngExt;
use sip_codec::{Name, NameAddr, RequestBuilder, Response, Unencodable, Uri, Value};

use self::watched::{Notifier, Pending, Watched};
use self::watching::Subscription;
use crate::link::Link;
use crate::outbox::Pair;
use crate::timers::{Alarm, Sleeper};
use crate::{Asked, Sip};

/// Dialogs of all links.
const MOST_DIALOGS: usize = 100_000;
/// Dialogs of one watcher.
const MOST_OF_ONE: usize = 1_000;
/// Between two SUBSCRIBEs on one link: 50 a second (shared/protocols/interworking.md §4.6).
const SUBSCRIBE_STEP: Duration = Duration::from_millis(20);
/// How long a subscription is asked for, and granted at most.
const EXPIRES: u32 = 3_600;
/// The shortest that is granted (RFC 6665 §4.2.1.1).
const MIN_EXPIRES: u32 = 300;
/// Between two OPTIONS on a link whose people are watched: with ten seconds for the answer, a server that has gone silent is missed within 22.
const WATCHED_OPTIONS: Duration = Duration::from_secs(12);
/// Between two NOTIFYs of one dialog (RFC 3856 §6.10).
const NOTIFY_PACE: Duration = Duration::from_secs(5);

/// The number of a dialog: random, and the user part of our Contact in it, so that the peer's requests find it also after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    fn user(self) -> String {
        format!("s-{:016x}", self.0)
    }

    fn of_user(user: &str) -> Option<Self> {
        let digits = user.strip_prefix("s-").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
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
#[derive(Default)]
pub(crate) struct Presences {
    subscriptions: HashMap<Key, Subscription>,
    /// How many there are on each link.
    watching: HashMap<LinkId, usize>,
    by_pair: HashMap<Pair, Key>,
    notifiers: HashMap<Key, Notifier>,
    watched: HashMap<Pair, Watched>,
    /// Dialogs that each of the member's people has begun.
    counts: HashMap<Address, usize>,
    /// SUBSCRIBEs that the broker has not answered.
    pending: HashMap<Token, Pending>,
    plans: BTreeMap<(Instant, u64), Plan>,
    last_plan: u64,
    alarm: Alarm,
    /// When the next SUBSCRIBE may go out on each link.
    next_subscribe: HashMap<LinkId, Instant>,
}

impl Presences {
    fn plan(&mut self, at: Instant, plan: Plan) {
        self.last_plan += 1;
        self.plans.insert((at, self.last_plan), plan);
    }

    fn add_subscription(&mut self, key: Key, subscription: Subscription) {
        *self.watching.entry(subscription.link.clone()).or_default() += 1;
        self.subscriptions.insert(key, subscription);
    }

    fn remove_subscription(&mut self, key: Key) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&key)?;
        if let Some(count) = self.watching.get_mut(&subscription.link) {
            *count -= 1;
        }
        Some(subscription)
    }

    fn dialogs(&self) -> usize {
        self.subscriptions.len() + self.notifiers.len() + self.pending.len()
    }

    /// Between two OPTIONS on a link. While presence of its people is believed, a server that is gone must be noticed before that is old.
    pub(crate) fn options_interval(&self, link: &Link) -> Duration {
        let set = link.settings.options_interval();
        let is_watched = self.watching.get(&link.id).is_some_and(|count| *count > 0);
        if is_watched { set.min(WATCHED_OPTIONS) } else { set }
    }
}

impl Sip {
    /// The broker tells what is not stored.
    pub(crate) fn told(&mut self, now: Now, link: &LinkId, envelope: &Arc<Envelope>) {
        match &envelope.body {
            Body::Presence(presence) => self.watched_state(now, envelope, presence),
            Body::Watch(Watch::Fetch) => self.fetch(now, link, envelope),
            Body::Typing(typing) => self.typing(now, link, envelope, typing),
            // Nothing else is told.
            _ => {}
        }
        self.arm_presence();
    }

    /// The broker hands over what is asked or said of a watch.
    pub(crate) fn deliver_watch(&mut self, now: Now, link: &LinkId, envelope: &Envelope, watch: Watch) {
        match watch {
            Watch::Ask => self.watch(now, link, envelope),
            Watch::Stop => self.unwatch(now, envelope),
            Watch::Allow => self.allowed(now, envelope),
            Watch::Refuse => self.refused_watch(now, envelope),
            // It is told, and never delivered.
            Watch::Fetch => {}
        }
        self.arm_presence();
    }

    /// A link is up: what could not be sent is.
    pub(crate) fn presence_up(&mut self, now: Now, number: u64) {
        let Some(link) = self.links.get(&number).map(|link| link.id.clone()) else { return };
        let of_link = |subscription: &Subscription| subscription.link == link && subscription.is_idle();
        let idle: Vec<Key> = self.presence.subscriptions.iter().filter(|(_, one)| of_link(one)).map(|(key, _)| *key).collect();
        for key in idle {
            self.plan_subscribe(now, key, now.instant);
        }
        let unsaid: Vec<Key> = self
            .presence
            .notifiers
            .iter()
            .filter(|(_, notifier)| notifier.link == link && notifier.has_news())
            .map(|(key, _)| *key)
            .collect();
        for (step, key) in (0..).zip(unsaid) {
            self.presence.plan(now.instant + SUBSCRIBE_STEP * step, Plan::Notify(key));
        }
        self.arm_presence();
    }

    /// Something of presence is due.
    pub(crate) fn wake_presence(&mut self, now: Now) {
        self.presence.alarm.rang();
        while let Some(entry) = self.presence.plans.first_entry()
            && entry.key().0 <= now.instant
        {
            match entry.remove() {
                Plan::Subscribe(key) => self.subscribe(now, key),
                Plan::Notify(key) => self.notify(now, key),
                Plan::Expire(key) => self.expire(now, key),
            }
        }
        self.arm_presence();
    }

    pub(crate) fn arm_presence(&mut self) {
        let next = self.presence.plans.first_key_value().map(|((at, _), _)| *at);
        self.timers.set(&mut self.presence.alarm, Sleeper::Presence, next);
    }

    /// The final answer to a request of presence.
    pub(crate) fn presence_answered(&mut self, now: Now, asked: Asked, response: &Response) {
        match asked {
            Asked::Subscribe { key } => self.subscribed(now, key, Some(response)),
            Asked::Notify { key } => self.notified(now, key, Some(response)),
            _ => {}
        }
        self.arm_presence();
    }

    /// No answer came, or the connection went.
    pub(crate) fn presence_unanswered(&mut self, now: Now, asked: Asked) {
        match asked {
            Asked::Subscribe { key } => self.subscribed(now, key, None),
            Asked::Notify { key } => self.notified(now, key, None),
            _ => {}
        }
        self.arm_presence();
    }

    /// Sends a request on a link; `None`: the link is not up.
    pub(crate) fn send_told(
        &mut self,
        now: Now,
        link: &LinkId,
        request: RequestBuilder,
        asked: Asked,
    ) -> Option<sip_stack::ClientId> {
        let session = self.links.get(self.names.get(link)?)?.session()?;
        let via = self.hub.via(self.conns.get(&session.conn)?.via.transport()).ok()?;
        let client = self.layer.send_request(now.instant, request, via, session.flow, &mut self.actions).ok()?;
        self.clients.insert(client, asked);
        Some(client)
    }

    /// Where we are in a dialog.
    fn contact(&self, link: &LinkId, key: Key) -> Result<Value, Unencodable> {
        self.contact_of(link, &key.user())
    }

    /// The same for a dialog whose requests come back to this user part.
    pub(crate) fn contact_of(&self, link: &LinkId, user: &str) -> Result<Value, Unencodable> {
        let mut uri = Uri::sip_user(user, self.hub.sent_by.host.clone())?;
        if let Some(port) = self.hub.sent_by.port {
            uri = uri.with_port(port);
        }
        let link = self.names.get(link).and_then(|number| self.links.get(number));
        let transport = link.map_or("tls", |link| link.settings.transport.name());
        Ok(Value::from(&NameAddr::new(uri.with_param("transport", Some(transport))?)))
    }

    fn new_key(&mut self) -> Key {
        Key(self.random.random())
    }

    /// An envelope of something of presence.
    fn presence_envelope(&mut self, now: Now, link: &LinkId, from: &Address, to: &Address, body: Body) -> Envelope {
        Envelope {
            id: MessageId::new(now.wall, self.random.random()),
            origin: link.clone(),
            from: from.clone(),
            from_device: None,
            to: to.clone(),
            to_device: None,
            native_id: None,
            accepted: now.wall,
            hops: Envelope::FULL_HOPS,
            native: None,
            body,
        }
    }

    /// Submits what one of the member's people asks or says of a watch. What becomes of it matters only for a SUBSCRIBE that waits.
    fn submit_watch(&mut self, now: Now, link: &LinkId, from: &Address, to: &Address, watch: Watch) -> Token {
        let envelope = Arc::new(self.presence_envelope(now, link, from, to, Body::Watch(watch)));
        let token = Token(self.number());
        self.out.push(Output::Broker(Up::Submit { token, link: link.clone(), envelope }));
        token
    }

    fn tell_presence(&mut self, now: Now, link: &LinkId, from: &Address, to: &Address, body: Body) {
        let envelope = Arc::new(self.presence_envelope(now, link, from, to, body));
        self.out.push(Output::Broker(Up::Tell { link: link.clone(), envelope }));
    }
}

/// Adds headers to a request.
fn with(request: RequestBuilder, headers: &[(Name, &str)]) -> Result<RequestBuilder, Unencodable> {
    headers.iter().try_fold(request, |request, (name, value)| request.header(*name, Value::new(value)?))
}
