//! The subscriber: a dialog with the presentity's server for each watcher of another platform.

use std::time::{Duration, Instant};

use interchange_adapter::{ConnId, Now};
use interchange_model::{Body, Envelope, LinkId, Presence, Watch};
use rand::RngExt;
use sip_codec::{Method, Name, NameAddr, Request, RequestBuilder, Response, Unencodable};
use sip_model::address;
use sip_model::outbox::Pair;
use sip_stack::{ClientId, Dialog, DialogFault};

use super::{Asked, Dialect, EXPIRES, Key, MOST_DIALOGS, Plan, Presences, Seen, kept, new_key, read_event, submit, tell, with};
use crate::Refusing;

/// The first pause after a failure; each one twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// Before somebody who was there once and is not known any more is asked about again.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Timer N (RFC 6665 §4.1.2.4): so long after a 2xx a NOTIFY must have come.
const NOTIFIED_WITHIN: Duration = Duration::from_secs(32);
/// The longest subscription that a Min-Expires may ask for, in seconds.
const MOST_EXPIRES: u32 = 86_400;

/// One watch of somebody of another platform.
pub(super) struct Subscription<S> {
    pub(super) link: LinkId,
    /// Watcher and presentity.
    pub(super) pair: Pair,
    pub(super) call_id: String,
    /// Our tag.
    pub(super) tag: String,
    /// The last CSeq number before there is a dialog.
    pub(super) sequence: u32,
    /// As many CSeq numbers may be used before it is kept anew.
    pub(super) reserved: u32,
    pub(super) dialog: Option<Dialog>,
    /// The presentity's server shows us the state.
    pub(super) is_allowed: bool,
    seen: S,
    asked: Option<ClientId>,
    /// Seconds to be asked for.
    expires: u32,
    failures: u32,
    /// A NOTIFY came since the last SUBSCRIBE.
    was_notified: bool,
    /// When the next SUBSCRIBE goes out.
    next: Option<Instant>,
    /// The watcher wants no more: this was the last SUBSCRIBE.
    ends: bool,
}

impl<S: Seen> Subscription<S> {
    pub(super) fn new(link: LinkId, pair: Pair, call_id: String, tag: String) -> Self {
        Self {
            link,
            pair,
            call_id,
            tag,
            sequence: 0,
            reserved: 0,
            dialog: None,
            is_allowed: false,
            seen: S::default(),
            asked: None,
            expires: EXPIRES,
            failures: 0,
            was_notified: false,
            next: None,
            ends: false,
        }
    }

    /// Nothing is under way or planned.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_none() && self.next.is_none()
    }

    /// The last CSeq number that was used.
    pub(super) fn used(&self) -> u32 {
        self.dialog.as_ref().map_or(self.sequence, Dialog::local_sequence)
    }

    fn has(&self, request: &Request) -> bool {
        match &self.dialog {
            Some(dialog) => dialog.has(request),
            // RFC 6665 §4.4.1: a NOTIFY may come before the answer.
            None => request.call_id() == self.call_id && request.to().tag() == Some(&self.tag),
        }
    }
}

impl<D: Dialect> Presences<D> {
    pub(super) fn add_subscription(&mut self, key: Key, subscription: Subscription<D::Seen>) {
        *self.watching.entry(subscription.link.clone()).or_default() += 1;
        self.called(&subscription.call_id, key);
        self.by_pair.insert(subscription.pair.clone(), key);
        self.subscriptions.insert(key, subscription);
    }

    fn remove_subscription(&mut self, key: Key) -> Option<Subscription<D::Seen>> {
        let subscription = self.subscriptions.remove(&key)?;
        if let Some(count) = self.watching.get_mut(&subscription.link) {
            *count = count.saturating_sub(1);
        }
        self.not_called(&subscription.call_id, key);
        if self.by_pair.get(&subscription.pair) == Some(&key) {
            self.by_pair.remove(&subscription.pair);
        }
        Some(subscription)
    }
}

/// A watcher asks.
pub(super) fn watch<D: Dialect>(host: &mut D, now: Now, link: &LinkId, envelope: &Envelope) {
    let pair = (envelope.from.clone(), envelope.to.clone());
    let presences = host.presences();
    let Some(key) = presences.by_pair.get(&pair).copied() else { return begin(host, now, link, pair, false) };
    if presences.subscriptions.get(&key).is_some_and(|subscription| subscription.is_allowed) {
        submit(host, now, link, &pair.1, &pair.0, Watch::Allow);
    }
    plan(host, now, key, now.instant);
}

fn begin<D: Dialect>(host: &mut D, now: Now, link: &LinkId, pair: Pair, is_allowed: bool) {
    if !host.may_address(link, &pair.1) || host.presences().dialogs() >= MOST_DIALOGS {
        return tell(host, now, link, &pair.1, &pair.0, Body::Presence(Presence::unknown()));
    }
    let key = new_key(host);
    let (call_id, tag) = (host.new_call_id(), host.tools().layer.new_tag());
    let mut subscription = Subscription::new(link.clone(), pair, call_id, tag);
    subscription.is_allowed = is_allowed;
    host.presences().add_subscription(key, subscription);
    host.attend(now, link);
    kept::keep_subscription(host, now, key);
    plan(host, now, key, now.instant);
}

/// A watcher wants no more.
pub(super) fn unwatch<D: Dialect>(host: &mut D, now: Now, envelope: &Envelope) {
    let pair = (envelope.from.clone(), envelope.to.clone());
    let presences = host.presences();
    let Some(key) = presences.by_pair.remove(&pair) else { return };
    let Some(subscription) = presences.subscriptions.get_mut(&key) else { return };
    subscription.ends = true;
    let link = subscription.link.clone();
    kept::forget(host, link, key);
    plan(host, now, key, now.instant);
}

/// A watcher asks for the state.
pub(super) fn fetch<D: Dialect>(host: &mut D, now: Now, link: &LinkId, envelope: &Envelope) {
    let pair = (envelope.from.clone(), envelope.to.clone());
    match host.presences().by_pair.get(&pair).copied() {
        // The broker knows of a watch that was granted, and we do not: perhaps another hub had it.
        None => begin(host, now, link, pair, true),
        // Whatever is known here may be old: the server tells at each SUBSCRIBE (RFC 6665 §4.2.1.2).
        Some(key) => plan(host, now, key, now.instant),
    }
}

/// Plans the next SUBSCRIBE, in its turn among those of the link.
pub(super) fn plan<D: Dialect>(host: &mut D, now: Now, key: Key, mut at: Instant) {
    let Some(link) = host.presences().subscriptions.get(&key).map(|subscription| subscription.link.clone()) else { return };
    let step = host.step(&link);
    let presences = host.presences();
    let turn = presences.next_subscribe.entry(link).or_insert(now.instant);
    if at <= now.instant {
        at = (*turn).max(now.instant);
        *turn = at + step;
    }
    if let Some(subscription) = presences.subscriptions.get_mut(&key) {
        subscription.next = Some(at);
    }
    presences.plan(at, Plan::Subscribe(key));
}

/// Sends a SUBSCRIBE whose time has come.
pub(super) fn subscribe<D: Dialect>(host: &mut D, now: Now, key: Key) {
    let presences = host.presences();
    let Some(subscription) = presences.subscriptions.get_mut(&key) else { return };
    // Another time was planned since, or one is under way.
    if subscription.next.is_none_or(|at| at > now.instant) || subscription.asked.is_some() {
        return;
    }
    subscription.next = None;
    if subscription.ends && subscription.dialog.is_none() {
        presences.remove_subscription(key);
        return;
    }
    let link = subscription.link.clone();
    // It is sent when the link is up.
    if !host.is_up(&link) {
        return;
    }
    let Ok(request) = build(host, &link, key) else { return };
    let sent = host.send(now, &link, request, Asked::Subscribe(key));
    let Some(subscription) = host.presences().subscriptions.get_mut(&key) else { return };
    subscription.asked = sent;
    subscription.was_notified = false;
    if subscription.used() >= subscription.reserved && !subscription.ends {
        kept::keep_subscription(host, now, key);
    }
}

fn build<D: Dialect>(host: &mut D, link: &LinkId, key: Key) -> Result<RequestBuilder, Unencodable> {
    let subscription = host.presences().subscriptions.get_mut(&key).ok_or(Unencodable::Empty("a subscription"))?;
    let expires = if subscription.ends { 0 } else { subscription.expires };
    let begins = subscription.dialog.is_none();
    let request = match &mut subscription.dialog {
        Some(dialog) => dialog.request(Method::Subscribe)?,
        None => {
            subscription.sequence += 1;
            let to = address::to_uri(&subscription.pair.1)?;
            Request::builder(Method::Subscribe, to.clone())
                .from(NameAddr::new(address::to_uri(&subscription.pair.0)?).with_tag(&subscription.tag)?)
                .to(NameAddr::new(to))
                .call_id(&subscription.call_id)?
                .cseq(subscription.sequence)
        }
    };
    let headers = [(Name::Event, "presence"), (Name::Accept, D::TERMS.accept), (Name::Expires, &expires.to_string())];
    host.sign(with(request, &headers)?, link, key, begins)
}

/// The answer to a SUBSCRIBE; `None`: there was none.
pub(super) fn answered<D: Dialect>(host: &mut D, now: Now, key: Key, response: Option<&Response>) {
    let presences = host.presences();
    let Some(subscription) = presences.subscriptions.get_mut(&key) else { return };
    subscription.asked = None;
    if subscription.ends {
        presences.remove_subscription(key);
        return;
    }
    let status = response.map_or(408, Response::status);
    match (status, response) {
        (200..=299, Some(response)) => granted(host, now, key, response),
        // The peer has lost the dialog: a new one, and the watcher sees no change.
        (481, _) if subscription.dialog.is_some() => {
            renew(host, key);
            plan(host, now, key, now.instant);
        }
        (423, Some(response)) if subscription.expires < MOST_EXPIRES => {
            let least = response.headers().min_expires().ok().flatten().unwrap_or(MOST_EXPIRES);
            subscription.expires = least.clamp(subscription.expires + 1, MOST_EXPIRES);
            plan(host, now, key, now.instant);
        }
        // RFC 8048 §5.2.2; and a server that does not do presence at all.
        (status, _) if D::TERMS.refused_by.contains(&status) => refused_by_presentity(host, now, key),
        (404 | 410 | 484 | 485 | 604, _) if !subscription.is_allowed => refused_by_presentity(host, now, key),
        (404 | 410 | 484 | 485 | 604, _) => {
            subscription.seen = D::Seen::default();
            renew(host, key);
            is_now(host, now, key, Presence::default());
            plan(host, now, key, now.instant + A_DAY);
        }
        _ => {
            let pause = FIRST_PAUSE.saturating_mul(1 << subscription.failures.min(6)).min(LONGEST_PAUSE);
            subscription.failures += 1;
            let spread = host.tools().random.random_range(D::TERMS.spread);
            is_now(host, now, key, Presence::unknown());
            plan(host, now, key, now.instant + pause.mul_f64(spread));
        }
    }
}

fn granted<D: Dialect>(host: &mut D, now: Now, key: Key, response: &Response) {
    let Some(subscription) = host.presences().subscriptions.get_mut(&key) else { return };
    subscription.failures = 0;
    match &mut subscription.dialog {
        Some(dialog) if response.cseq().number <= subscription.sequence => dialog.confirmed(response),
        Some(dialog) => dialog.answered(response),
        None => subscription.dialog = Dialog::of_response(response).ok(),
    }
    if let Some(document) = D::read_answer(response, &subscription.pair.1) {
        let is_whole = !std::mem::replace(&mut subscription.was_notified, true);
        is_active(host, now, key, Some(document), is_whole, None);
    }
    let Some(subscription) = host.presences().subscriptions.get_mut(&key) else { return };
    let granted = response.headers().expires().ok().flatten().unwrap_or(subscription.expires);
    let granted = granted.clamp(60, subscription.expires.max(60));
    let was_notified = subscription.was_notified;
    let refresh = refresh_after(host, granted);
    let at = now.instant + if was_notified { refresh } else { refresh.min(NOTIFIED_WITHIN) };
    plan(host, now, key, at);
    kept::keep_subscription(host, now, key);
}

/// RFC 6665 §4.1.2.2: well before the end, and not all at once.
fn refresh_after<D: Dialect>(host: &mut D, granted: u32) -> Duration {
    let margin = f64::from(granted / 10).min(60.0) * host.tools().random.random_range(1.0..2.0);
    Duration::from_secs_f64((f64::from(granted) - margin).max(30.0))
}

/// A new Call-ID and tag for a dialog that is to be begun anew.
fn renew<D: Dialect>(host: &mut D, key: Key) {
    let (call_id, tag) = (host.new_call_id(), host.tools().layer.new_tag());
    let presences = host.presences();
    let Some(subscription) = presences.subscriptions.get_mut(&key) else { return };
    let old = std::mem::replace(&mut subscription.call_id, call_id.clone());
    (subscription.tag, subscription.sequence, subscription.dialog) = (tag, 0, None);
    presences.not_called(&old, key);
    presences.called(&call_id, key);
}

/// The presentity, or the server, does not let the watcher see.
fn refused_by_presentity<D: Dialect>(host: &mut D, now: Now, key: Key) {
    let Some(subscription) = host.presences().remove_subscription(key) else { return };
    let (watcher, presentity) = &subscription.pair;
    submit(host, now, &subscription.link, presentity, watcher, Watch::Refuse);
    kept::forget(host, subscription.link, key);
}

/// Tells the watcher a state. Also what is no news to us: the broker may have begun anew.
fn is_now<D: Dialect>(host: &mut D, now: Now, key: Key, presence: Presence) {
    let Some(subscription) = host.presences().subscriptions.get(&key) else { return };
    if !subscription.is_allowed || subscription.ends {
        return;
    }
    let (link, (watcher, presentity)) = (subscription.link.clone(), subscription.pair.clone());
    tell(host, now, &link, &presentity, &watcher, Body::Presence(presence));
}

/// A NOTIFY came.
pub(super) fn take_notify<D: Dialect>(host: &mut D, now: Now, conn: ConnId, request: &Request) -> Result<(), Refusing> {
    let has = |presences: &Presences<D>, key: Key| {
        presences.subscriptions.get(&key).is_some_and(|one| one.has(request) && D::is_for(request, key, None))
    };
    let key = host.presences().dialog_of(request, has).ok_or(481_u16)?;
    let link = host.presences().subscriptions.get(&key).map(|one| one.link.clone()).ok_or(481_u16)?;
    // Of this link's peer only (abuse case 1).
    if !host.is_of(conn, &link) {
        return Err(Refusing::from(481));
    }
    let subscription = host.presences().subscriptions.get_mut(&key).ok_or(481_u16)?;
    read_event(request)?;
    // RFC 6665 §4.1.3
    let state = request.headers().first(Name::SubscriptionState).map(|state| state.text().into_owned()).ok_or(400_u16)?;
    match &mut subscription.dialog {
        Some(dialog) => dialog.take(request).map_err(of_fault)?,
        None => {
            let dialog = Dialog::of_request(request, &subscription.tag).map_err(of_fault)?;
            subscription.dialog = Some(dialog.after(subscription.sequence));
        }
    }
    let is_whole = !std::mem::replace(&mut subscription.was_notified, true);
    let document = if request.body().is_empty() {
        None
    } else {
        let media = request.headers().content_type().map_err(|_| 400_u16)?.ok_or(400_u16)?;
        Some(D::read(&media, request.body(), &subscription.pair.1)?)
    };
    let (word, parameters) = state.split_once(';').unwrap_or((&state, ""));
    match word.trim().to_ascii_lowercase().as_str() {
        "active" => is_active(host, now, key, document, is_whole, parameter(parameters, "expires")),
        "terminated" => is_terminated(host, now, key, document, parameters),
        // Pending, and what nobody has heard of: nothing is known yet, whatever stands in the body.
        _ => {}
    }
    Ok(())
}

type Document<D> = <<D as Dialect>::Seen as Seen>::Document;

fn is_active<D: Dialect>(host: &mut D, now: Now, key: Key, seen: Option<Document<D>>, is_whole: bool, expires: Option<u32>) {
    let Some(subscription) = host.presences().subscriptions.get_mut(&key) else { return };
    subscription.seen.update(seen, is_whole);
    let presence = subscription.seen.presence();
    if !std::mem::replace(&mut subscription.is_allowed, true) {
        let (link, (watcher, presentity)) = (subscription.link.clone(), subscription.pair.clone());
        submit(host, now, &link, &presentity, &watcher, Watch::Allow);
    }
    is_now(host, now, key, presence);
    kept::keep_subscription(host, now, key);
    // RFC 6665 §4.1.3: this is how long it really is.
    if let Some(expires) = expires.filter(|expires| *expires > 0) {
        let refresh = refresh_after(host, expires.max(60));
        if host.presences().subscriptions.get(&key).is_some_and(|subscription| subscription.asked.is_none()) {
            plan(host, now, key, now.instant + refresh);
        }
    }
}

fn is_terminated<D: Dialect>(host: &mut D, now: Now, key: Key, document: Option<Document<D>>, parameters: &str) {
    let presences = host.presences();
    let Some(subscription) = presences.subscriptions.get_mut(&key) else { return };
    if subscription.ends {
        presences.remove_subscription(key);
        return;
    }
    let is_allowed = subscription.is_allowed;
    let is_said = document.is_some();
    subscription.seen.update(document, true);
    let presence = subscription.seen.presence();
    renew(host, key);
    let reason = value(parameters, "reason").unwrap_or_default().to_ascii_lowercase();
    let retry = parameter(parameters, "retry-after").map(|seconds| Duration::from_secs(seconds.min(MOST_EXPIRES).into()));
    let pause = match reason.as_str() {
        "rejected" => return refused_by_presentity(host, now, key),
        "noresource" if !is_allowed => return refused_by_presentity(host, now, key),
        "noresource" => {
            is_now(host, now, key, Presence::default());
            A_DAY
        }
        "deactivated" | "timeout" => Duration::ZERO,
        "probation" => retry.unwrap_or(Duration::from_secs(300)),
        "giveup" => retry.unwrap_or(LONGEST_PAUSE),
        // RFC 6665 §4.1.3: nothing will change.
        "invariant" => {
            if is_said {
                is_now(host, now, key, presence);
            }
            A_DAY
        }
        _ => retry.unwrap_or(FIRST_PAUSE),
    };
    plan(host, now, key, now.instant + pause);
}

pub(super) fn of_fault(fault: DialogFault) -> Refusing {
    Refusing::from(match fault {
        DialogFault::OutOfOrder => 500,
        DialogFault::Tag | DialogFault::Address => 400,
    })
}

fn value<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut all = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    all.find(|(known, _)| known.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn parameter(parameters: &str, name: &str) -> Option<u32> {
    value(parameters, name)?.parse().ok()
}
