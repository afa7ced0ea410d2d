//! The subscriber: a dialog with the member's server for each watcher of another platform (shared/protocols/interworking.md §4.4).

use std::time::{Duration, Instant};

use interchange_adapter::Now;
use interchange_model::{Address, Body, Envelope, LinkId, Presence, Watch};
use rand::RngExt;
use simple_codec::pidf::Pidf;
use sip_codec::{Method, Name, NameAddr, Request, Response, Unencodable, Uri, Value};
use sip_stack::{ClientId, Dialog, DialogFault};

use super::document::to_presence;
use super::{EXPIRES, Key, MOST_DIALOGS, Plan, SUBSCRIBE_STEP, with};
use crate::inbound::Open;
use crate::outbox::Pair;
use crate::translate::TRACE;
use crate::{Asked, Sip, address};

/// The first pause after a failure; each one twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// Before somebody who was there once and is not known any more is asked about again.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Timer N (RFC 6665 §4.1.2.4): so long after a 2xx a NOTIFY must have come.
const NOTIFIED_WITHIN: Duration = Duration::from_secs(32);
/// The longest subscription that a Min-Expires may ask for.
const MOST_EXPIRES: u32 = 86_400;

/// One watch of somebody of another platform.
pub(super) struct Subscription {
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
    /// What the watcher was told last.
    known: Option<Presence>,
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

impl Subscription {
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
            known: None,
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

    fn has(&self, request: &Request) -> bool {
        match &self.dialog {
            Some(dialog) => dialog.has(request),
            // RFC 6665 §4.4.1: a NOTIFY may come before the answer.
            None => request.call_id() == self.call_id && request.to().tag() == Some(&self.tag),
        }
    }
}

impl Sip {
    /// A watcher asks.
    pub(super) fn watch(&mut self, now: Now, link: &LinkId, envelope: &Envelope) {
        let pair = (envelope.from.clone(), envelope.to.clone());
        if let Some(key) = self.presence.by_pair.get(&pair).copied() {
            let is_allowed = self.presence.subscriptions.get(&key).is_some_and(|subscription| subscription.is_allowed);
            if is_allowed {
                self.submit_watch(now, link, &pair.1, &pair.0, Watch::Allow);
            }
            return self.plan_subscribe(now, key, now.instant);
        }
        self.begin_subscription(now, link, pair, false);
    }

    fn begin_subscription(&mut self, now: Now, link: &LinkId, pair: Pair, is_allowed: bool) {
        if self.presence.dialogs() >= MOST_DIALOGS {
            return self.tell_presence(now, link, &pair.1, &pair.0, Body::Presence(Presence::unknown()));
        }
        let key = self.new_key();
        let call_id = format!("{:032x}@{}", self.random.random::<u128>(), self.hub.sent_by.host);
        let tag = self.layer.new_tag();
        let mut subscription = Subscription::new(link.clone(), pair.clone(), call_id, tag);
        subscription.is_allowed = is_allowed;
        self.presence.by_pair.insert(pair, key);
        self.presence.add_subscription(key, subscription);
        self.attend(now, link);
        self.keep_subscription(now, key);
        self.plan_subscribe(now, key, now.instant);
    }

    /// A watcher wants no more.
    pub(super) fn unwatch(&mut self, now: Now, envelope: &Envelope) {
        let pair = (envelope.from.clone(), envelope.to.clone());
        let Some(key) = self.presence.by_pair.remove(&pair) else { return };
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        subscription.ends = true;
        let link = subscription.link.clone();
        self.forget_dialog(link, key);
        self.plan_subscribe(now, key, now.instant);
    }

    /// A watcher asks for the state.
    pub(super) fn fetch(&mut self, now: Now, link: &LinkId, envelope: &Envelope) {
        let pair = (envelope.from.clone(), envelope.to.clone());
        let Some(key) = self.presence.by_pair.get(&pair).copied() else {
            // The broker knows of a watch that was granted, and we do not: perhaps another hub had it.
            return self.begin_subscription(now, link, pair, true);
        };
        // Whatever is known here may be old: the server tells, with a NOTIFY, at each SUBSCRIBE (RFC 6665 §4.2.1.2).
        self.plan_subscribe(now, key, now.instant);
    }

    /// Plans the next SUBSCRIBE, in its turn among those of the link.
    pub(super) fn plan_subscribe(&mut self, now: Now, key: Key, at: Instant) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        let turn = self.presence.next_subscribe.entry(subscription.link.clone()).or_insert(now.instant);
        let at = if at <= now.instant {
            let at = (*turn).max(now.instant);
            *turn = at + SUBSCRIBE_STEP;
            at
        } else {
            at
        };
        subscription.next = Some(at);
        self.presence.plan(at, Plan::Subscribe(key));
    }

    /// Sends a SUBSCRIBE whose time has come.
    pub(super) fn subscribe(&mut self, now: Now, key: Key) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        // Another time was planned since, or one is under way.
        if subscription.next.is_none_or(|at| at > now.instant) || subscription.asked.is_some() {
            return;
        }
        subscription.next = None;
        if subscription.ends && subscription.dialog.is_none() {
            self.presence.remove_subscription(key);
            return;
        }
        let link = subscription.link.clone();
        let up = self.names.get(&link).and_then(|number| self.links.get(number)).is_some_and(|link| link.session().is_some());
        // It is sent when the link is up.
        if !up {
            return;
        }
        let Ok(request) = self.build_subscribe(key) else { return };
        let sent = self.send_told(now, &link, request, Asked::Subscribe { key });
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        subscription.asked = sent;
        subscription.was_notified = false;
        let used = subscription.dialog.as_ref().map_or(subscription.sequence, Dialog::local_sequence);
        if used >= subscription.reserved && !subscription.ends {
            self.keep_subscription(now, key);
        }
    }

    fn build_subscribe(&mut self, key: Key) -> Result<sip_codec::RequestBuilder, Unencodable> {
        let link = self.presence.subscriptions.get(&key).map(|subscription| subscription.link.clone());
        let contact = self.contact(&link.ok_or(Unencodable::Empty("a subscription"))?, key)?;
        let mark = format!("{:016x};hub={}", key.0, self.hub.mark);
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else {
            return Err(Unencodable::Empty("a subscription"));
        };
        let expires = if subscription.ends { 0 } else { subscription.expires };
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
                    .named_header(TRACE, Value::new(&mark)?)?
            }
        };
        let request = with(
            request,
            &[(Name::Event, "presence"), (Name::Accept, "application/pidf+xml"), (Name::Expires, &expires.to_string())],
        )?;
        request.header(Name::Contact, contact)
    }

    /// The answer to a SUBSCRIBE; `None`: there was none.
    pub(super) fn subscribed(&mut self, now: Now, key: Key, response: Option<&Response>) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        subscription.asked = None;
        if subscription.ends {
            self.presence.remove_subscription(key);
            return;
        }
        let status = response.map_or(408, Response::status);
        match (status, response) {
            (200..=299, Some(response)) => {
                subscription.failures = 0;
                match &mut subscription.dialog {
                    Some(dialog) if response.cseq().number <= subscription.sequence => dialog.confirmed(response),
                    Some(dialog) => dialog.answered(response),
                    None => subscription.dialog = Dialog::of_response(response).ok(),
                }
                let granted = response.headers().expires().ok().flatten().unwrap_or(subscription.expires);
                let granted = granted.clamp(60, subscription.expires.max(60));
                let refresh = self.refresh_after(granted);
                let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
                let at = now.instant + if subscription.was_notified { refresh } else { refresh.min(NOTIFIED_WITHIN) };
                self.plan_subscribe(now, key, at);
                self.keep_subscription(now, key);
            }
            // The peer has lost the dialog: a new one, and the watcher sees no change.
            (481, _) if subscription.dialog.is_some() => {
                subscription.dialog = None;
                self.renew(key);
                self.plan_subscribe(now, key, now.instant);
            }
            (423, Some(response)) if subscription.expires < MOST_EXPIRES => {
                let least = response.headers().min_expires().ok().flatten().unwrap_or(MOST_EXPIRES);
                subscription.expires = least.clamp(subscription.expires + 1, MOST_EXPIRES);
                self.plan_subscribe(now, key, now.instant);
            }
            // RFC 8048 §5.2.2; and a server that does not do presence at all.
            (403 | 405 | 489 | 501 | 603 | 607, _) => self.refused_by_presentity(now, key),
            (404 | 410 | 484 | 485 | 604, _) if !subscription.is_allowed => self.refused_by_presentity(now, key),
            (404 | 410 | 484 | 485 | 604, _) => {
                subscription.dialog = None;
                self.renew(key);
                self.is_now(now, key, Presence::default());
                self.plan_subscribe(now, key, now.instant + A_DAY);
            }
            _ => {
                let pause = FIRST_PAUSE.saturating_mul(1 << subscription.failures.min(6)).min(LONGEST_PAUSE);
                subscription.failures += 1;
                let spread = self.random.random_range(0.8..1.2);
                self.is_now(now, key, Presence::unknown());
                self.plan_subscribe(now, key, now.instant + pause.mul_f64(spread));
            }
        }
    }

    /// RFC 6665 §4.1.2.2: well before the end, and not all at once.
    fn refresh_after(&mut self, granted: u32) -> Duration {
        let margin = f64::from(granted / 10).min(60.0) * self.random.random_range(1.0..2.0);
        Duration::from_secs_f64((f64::from(granted) - margin).max(30.0))
    }

    /// A new Call-ID and tag for a dialog that is to be begun anew.
    fn renew(&mut self, key: Key) {
        let call_id = format!("{:032x}@{}", self.random.random::<u128>(), self.hub.sent_by.host);
        let tag = self.layer.new_tag();
        if let Some(subscription) = self.presence.subscriptions.get_mut(&key) {
            (subscription.call_id, subscription.tag, subscription.sequence) = (call_id, tag, 0);
        }
    }

    /// The presentity, or the server, does not let the watcher see.
    fn refused_by_presentity(&mut self, now: Now, key: Key) {
        let Some(subscription) = self.presence.remove_subscription(key) else { return };
        self.presence.by_pair.remove(&subscription.pair);
        self.submit_watch(now, &subscription.link, &subscription.pair.1, &subscription.pair.0, Watch::Refuse);
        self.forget_dialog(subscription.link, key);
    }

    /// Tells the watcher a state, if that is news.
    fn is_now(&mut self, now: Now, key: Key, presence: Presence) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        if !subscription.is_allowed || subscription.ends {
            return;
        }
        subscription.known = Some(presence.clone());
        let (link, (watcher, presentity)) = (subscription.link.clone(), subscription.pair.clone());
        // Also what is no news to us: the broker may have begun anew.
        self.tell_presence(now, &link, &presentity, &watcher, Body::Presence(presence));
    }

    /// A NOTIFY came.
    pub(crate) fn take_notify(&mut self, now: Now, open: &Open) {
        let status = match self.read_notify(now, open) {
            Ok(()) => 200,
            Err(status) => status,
        };
        self.answer(now, open, status);
        self.arm_presence();
    }

    fn read_notify(&mut self, now: Now, open: &Open) -> Result<(), u16> {
        let request = &open.request;
        let key = request.uri().user().and_then(Key::of_user).ok_or(481_u16)?;
        let subscription = self.presence.subscriptions.get_mut(&key).ok_or(481_u16)?;
        // Of this link's peer only (abuse case 1).
        let number = self.names.get(&subscription.link).copied();
        let of_link = self.conns.get(&open.conn).is_some_and(|conn| number.is_some_and(|number| conn.links.contains(&number)));
        if !of_link || !subscription.has(request) {
            return Err(481);
        }
        let event = request.headers().first(Name::Event).map(|event| event.text().into_owned()).unwrap_or_default();
        if !is_presence(&event) {
            return Err(489);
        }
        // RFC 6665 §4.1.3
        let state = request.headers().first(Name::SubscriptionState).map(|state| state.text().into_owned()).ok_or(400_u16)?;
        match &mut subscription.dialog {
            Some(dialog) => dialog.take(request).map_err(of_fault)?,
            None => {
                subscription.dialog =
                    Some(Dialog::of_request(request, &subscription.tag).map_err(of_fault)?.after(subscription.sequence))
            }
        }
        subscription.was_notified = true;
        let presence = match request.body().is_empty() {
            true => None,
            false => Some(read_body(request, &subscription.pair.1)?),
        };
        let (word, parameters) = state.split_once(';').unwrap_or((&state, ""));
        match word.trim().to_ascii_lowercase().as_str() {
            "active" => self.is_active(now, key, presence, parameter(parameters, "expires")),
            "terminated" => self.is_terminated(now, key, presence, parameters),
            // Pending, and what nobody has heard of: nothing is known yet, whatever stands in the body.
            _ => {}
        }
        Ok(())
    }

    fn is_active(&mut self, now: Now, key: Key, presence: Option<Presence>, expires: Option<u32>) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        if !subscription.is_allowed {
            subscription.is_allowed = true;
            let (link, (watcher, presentity)) = (subscription.link.clone(), subscription.pair.clone());
            self.submit_watch(now, &link, &presentity, &watcher, Watch::Allow);
        }
        self.is_now(now, key, presence.unwrap_or_default());
        self.keep_subscription(now, key);
        // RFC 6665 §4.1.3: this is how long it really is.
        if let Some(expires) = expires.filter(|expires| *expires > 0) {
            let refresh = self.refresh_after(expires.max(60));
            let under_way = self.presence.subscriptions.get(&key).is_some_and(|subscription| subscription.asked.is_some());
            if !under_way {
                self.plan_subscribe(now, key, now.instant + refresh);
            }
        }
    }

    fn is_terminated(&mut self, now: Now, key: Key, presence: Option<Presence>, parameters: &str) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        if subscription.ends {
            self.presence.remove_subscription(key);
            return;
        }
        subscription.dialog = None;
        let is_allowed = subscription.is_allowed;
        self.renew(key);
        let reason = value(parameters, "reason").unwrap_or_default().to_ascii_lowercase();
        let retry = parameter(parameters, "retry-after").map(|seconds| Duration::from_secs(seconds.min(MOST_EXPIRES).into()));
        let pause = match reason.as_str() {
            "rejected" => return self.refused_by_presentity(now, key),
            "noresource" if !is_allowed => return self.refused_by_presentity(now, key),
            "noresource" => {
                self.is_now(now, key, Presence::default());
                A_DAY
            }
            "deactivated" | "timeout" => Duration::ZERO,
            "probation" => retry.unwrap_or(Duration::from_secs(300)),
            "giveup" => retry.unwrap_or(LONGEST_PAUSE),
            // RFC 6665 §4.1.3: nothing will change.
            "invariant" => {
                if let Some(presence) = presence {
                    self.is_now(now, key, presence);
                }
                A_DAY
            }
            _ => retry.unwrap_or(FIRST_PAUSE),
        };
        self.plan_subscribe(now, key, now.instant + pause);
    }
}

/// What a body says of the presentity, and of nobody else (abuse case 6).
fn read_body(request: &Request, presentity: &Address) -> Result<Presence, u16> {
    let media = request.headers().content_type().map_err(|_| 400_u16)?.ok_or(400_u16)?;
    if !media.is("application", "pidf+xml") {
        return Err(415);
    }
    let document = Pidf::read(request.body()).map_err(|_| 400_u16)?;
    let entity = Uri::parse(document.entity.as_bytes()).ok().and_then(|uri| address::from_sender_uri(&uri).ok());
    if entity.is_none_or(|party| party.address != *presentity) {
        return Err(403);
    }
    Ok(to_presence(&document))
}

const fn of_fault(fault: DialogFault) -> u16 {
    match fault {
        DialogFault::OutOfOrder => 500,
        DialogFault::Tag | DialogFault::Address => 400,
    }
}

/// Whether the value of an Event header is our package, in any case: real servers do not ask.
pub(super) fn is_presence(event: &str) -> bool {
    event.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("presence")
}

fn value<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut all = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    all.find(|(known, _)| known.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn parameter(parameters: &str, name: &str) -> Option<u32> {
    value(parameters, name)?.parse().ok()
}
