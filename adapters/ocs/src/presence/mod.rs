//! Presence (docs/presence.md): the hub subscribes for watchers of other platforms, and notifies the member's own people.
//!
//! `watching` is the subscriber, `watched` the notifier; `state` turns documents and canonical presence into one another, `kept` is what a restart of
//! the hub must not lose. This file holds what the two sides share: their tables, the plan of what is due, and the way of a request.

mod kept;
mod state;
mod watched;
mod watching;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{Now, Output};
use interchange_model::{Address, Body, Envelope, LinkId, MessageId, Token, Up, Watch};
use rand::RngExt;
use sip_codec::{Name, RequestBuilder, Response, Unencodable, Value};
use sip_model::outbox::Pair;
use sip_stack::ClientId;

use self::watched::{Notifier, Pending, Watched};
use self::watching::Subscription;
use crate::timers::{Alarm, Sleeper};
use crate::{Asked, Ocs};

/// Dialogs of all links, and of one watcher.
const MOST_DIALOGS: usize = 100_000;
const MOST_OF_ONE: usize = 1_000;
/// Between two SUBSCRIBEs on one link; an edge that does not list the hub gets no more than its pace allows.
const SUBSCRIBE_STEP: Duration = Duration::from_millis(20);
const UNLISTED_STEP: Duration = Duration::from_millis(200);
/// How long a subscription is asked for, and granted at most; Microsoft's servers ask for up to eight hours.
const EXPIRES: u32 = 3_600;
/// Between two NOTIFYs of one dialog (RFC 3856 §6.10).
const NOTIFY_PACE: Duration = Duration::from_secs(5);

/// A dialog of ours: random, so that it is another after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u64);

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
    by_pair: HashMap<Pair, Key>,
    notifiers: HashMap<Key, Notifier>,
    /// Both kinds of dialog, by Call-ID.
    by_call: HashMap<String, Vec<Key>>,
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
}

impl Ocs {
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
        let has_news = |notifier: &Notifier| notifier.link == link && notifier.has_news();
        let unsaid: Vec<Key> = self.presence.notifiers.iter().filter(|(_, one)| has_news(one)).map(|(key, _)| *key).collect();
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

    /// The final answer to a request of presence; `None`: there was none, or the connection went.
    pub(crate) fn presence_answered(&mut self, now: Now, asked: Asked, response: Option<&Response>) {
        match asked {
            Asked::Subscribe { key } => self.subscribed(now, key, response),
            Asked::Notify { key } => self.notified(now, key, response),
            _ => {}
        }
        self.arm_presence();
    }

    fn is_link_up(&self, link: &LinkId) -> bool {
        self.names.get(link).and_then(|number| self.links.get(number)).is_some_and(|link| link.way().is_some())
    }

    /// Sends a request on a link; `None`: the link is not up.
    fn send_presence(&mut self, now: Now, link: &LinkId, request: RequestBuilder, asked: Asked) -> Option<ClientId> {
        let way = self.links.get(self.names.get(link)?)?.way()?;
        let client = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions).ok()?;
        self.clients.insert(client, asked);
        Some(client)
    }

    fn new_key(&mut self) -> Key {
        Key(self.random.random())
    }

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

/// Whether the value of an Event header is our package, in any case: real servers do not ask.
fn is_presence(event: &str) -> bool {
    event.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("presence")
}
