//! The subscriber: a dialog with the member's pool for each watcher of another platform.

use std::time::{Duration, Instant};

use interchange_adapter::{ConnId, Now};
use interchange_model::{Address, Body, Envelope, LinkId, Presence, Watch};
use ocs_codec::presence::{Document, Form};
use rand::RngExt;
use simple_codec::mime::{Parts, header, header_block};
use sip_codec::{ContentType, Method, Name, NameAddr, Request, RequestBuilder, Response, Unencodable, Uri};
use sip_model::address;
use sip_model::outbox::Pair;
use sip_stack::{ClientId, Dialog, DialogFault};

use super::state::Seen;
use super::{EXPIRES, Key, MOST_DIALOGS, Plan, SUBSCRIBE_STEP, UNLISTED_STEP, is_presence, with};
use crate::diagnostics::Diagnosis;
use crate::inbound::Open;
use crate::{Asked, Ocs};

/// The first pause after a failure; each one twice as long, up to the longest. An edge notes who asks too often.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// Before somebody who was there once and is not known any more is asked about again.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Timer N (RFC 6665 §4.1.2.4): so long after a 2xx a document must have come.
const NOTIFIED_WITHIN: Duration = Duration::from_secs(32);
/// The longest subscription that a Min-Expires may ask for.
const MOST_EXPIRES: u32 = 86_400;
/// Parts of a document that are looked at.
const MOST_PARTS: usize = 16;

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
    seen: Seen,
    asked: Option<ClientId>,
    /// Seconds to be asked for.
    expires: u32,
    failures: u32,
    /// A document came since the last SUBSCRIBE.
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
            seen: Seen::default(),
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

impl Ocs {
    /// A watcher asks.
    pub(super) fn watch(&mut self, now: Now, link: &LinkId, envelope: &Envelope) {
        let pair = (envelope.from.clone(), envelope.to.clone());
        if let Some(key) = self.presence.by_pair.get(&pair).copied() {
            if self.presence.subscriptions.get(&key).is_some_and(|subscription| subscription.is_allowed) {
                self.submit_watch(now, link, &pair.1, &pair.0, Watch::Allow);
            }
            return self.plan_subscribe(now, key, now.instant);
        }
        self.begin_subscription(now, link, pair, false);
    }

    fn begin_subscription(&mut self, now: Now, link: &LinkId, pair: Pair, is_allowed: bool) {
        let number = self.names.get(link).copied();
        let is_one_too_many =
            number.and_then(|number| self.links.get_mut(&number)).is_some_and(|link| !link.pace.address(&pair.1));
        if is_one_too_many && let Some(number) = number {
            self.too_many_addresses(number);
        }
        if is_one_too_many || self.presence.dialogs() >= MOST_DIALOGS {
            return self.tell_presence(now, link, &pair.1, &pair.0, Body::Presence(Presence::unknown()));
        }
        let key = self.new_key();
        let (call_id, tag) = (self.new_call_id(), self.layer.new_tag());
        let mut subscription = Subscription::new(link.clone(), pair.clone(), call_id, tag);
        subscription.is_allowed = is_allowed;
        self.add_subscription(key, subscription);
        self.keep_subscription(now, key);
        self.plan_subscribe(now, key, now.instant);
    }

    pub(super) fn add_subscription(&mut self, key: Key, subscription: Subscription) {
        self.presence.called(&subscription.call_id, key);
        self.presence.by_pair.insert(subscription.pair.clone(), key);
        self.presence.subscriptions.insert(key, subscription);
    }

    fn remove_subscription(&mut self, key: Key) -> Option<Subscription> {
        let subscription = self.presence.subscriptions.remove(&key)?;
        self.presence.not_called(&subscription.call_id, key);
        if self.presence.by_pair.get(&subscription.pair) == Some(&key) {
            self.presence.by_pair.remove(&subscription.pair);
        }
        Some(subscription)
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
    pub(crate) fn fetch(&mut self, now: Now, link: &LinkId, envelope: &Envelope) {
        let pair = (envelope.from.clone(), envelope.to.clone());
        match self.presence.by_pair.get(&pair).copied() {
            // The broker knows of a watch that was granted, and we do not: perhaps another hub had it.
            None => self.begin_subscription(now, link, pair, true),
            // Whatever is known here may be old: the server tells at each SUBSCRIBE (RFC 6665 §4.2.1.2).
            Some(key) => self.plan_subscribe(now, key, now.instant),
        }
    }

    /// Plans the next SUBSCRIBE, in its turn among those of the link.
    pub(super) fn plan_subscribe(&mut self, now: Now, key: Key, at: Instant) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        let known = self.names.get(&subscription.link).and_then(|number| self.links.get(number));
        let step = if known.is_some_and(|link| link.settings.listed) { SUBSCRIBE_STEP } else { UNLISTED_STEP };
        let turn = self.presence.next_subscribe.entry(subscription.link.clone()).or_insert(now.instant);
        let at = if at <= now.instant {
            let at = (*turn).max(now.instant);
            *turn = at + step;
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
            self.remove_subscription(key);
            return;
        }
        let link = subscription.link.clone();
        // It is sent when the link is up.
        if !self.is_link_up(&link) {
            return;
        }
        let Ok(request) = self.build_subscribe(key) else { return };
        let sent = self.send_presence(now, &link, request, Asked::Subscribe { key });
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        subscription.asked = sent;
        subscription.was_notified = false;
        let used = subscription.dialog.as_ref().map_or(subscription.sequence, Dialog::local_sequence);
        if used >= subscription.reserved && !subscription.ends {
            self.keep_subscription(now, key);
        }
    }

    fn build_subscribe(&mut self, key: Key) -> Result<RequestBuilder, Unencodable> {
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
            }
        };
        // Neither BENOTIFY nor a document in the answer is offered; both are taken.
        let request = with(
            request,
            &[
                (Name::Event, "presence"),
                (Name::Accept, "application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/pidf+xml"),
                (Name::Expires, &expires.to_string()),
            ],
        )?;
        self.hub.signed(request, &format!("{:016x}", key.0))
    }

    /// The answer to a SUBSCRIBE; `None`: there was none.
    pub(super) fn subscribed(&mut self, now: Now, key: Key, response: Option<&Response>) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        subscription.asked = None;
        if subscription.ends {
            self.remove_subscription(key);
            return;
        }
        let status = response.map_or(408, Response::status);
        match (status, response) {
            (200..=299, Some(response)) => self.granted(now, key, response),
            // The peer has lost the dialog: a new one, and the watcher sees no change.
            (481, _) if subscription.dialog.is_some() => {
                self.renew(key);
                self.plan_subscribe(now, key, now.instant);
            }
            (423, Some(response)) if subscription.expires < MOST_EXPIRES => {
                let least = response.headers().min_expires().ok().flatten().unwrap_or(MOST_EXPIRES);
                subscription.expires = least.clamp(subscription.expires + 1, MOST_EXPIRES);
                self.plan_subscribe(now, key, now.instant);
            }
            (405 | 489 | 501 | 603, _) => self.refused_by_presentity(now, key),
            (404 | 410 | 484 | 485 | 604, _) if !subscription.is_allowed => self.refused_by_presentity(now, key),
            (404 | 410 | 484 | 485 | 604, _) => {
                self.renew(key);
                if let Some(subscription) = self.presence.subscriptions.get_mut(&key) {
                    subscription.seen = Seen::default();
                }
                self.is_now(now, key, Presence::default());
                self.plan_subscribe(now, key, now.instant + A_DAY);
            }
            // 403 may be the domain's as well as the person's, and be mended by an administrator: asked again, seldom.
            _ => {
                let pause = FIRST_PAUSE.saturating_mul(1 << subscription.failures.min(6)).min(LONGEST_PAUSE);
                subscription.failures += 1;
                let spread = self.random.random_range(1.0..1.2);
                self.is_now(now, key, Presence::unknown());
                self.plan_subscribe(now, key, now.instant + pause.mul_f64(spread));
            }
        }
    }

    fn granted(&mut self, now: Now, key: Key, response: &Response) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        subscription.failures = 0;
        match &mut subscription.dialog {
            Some(dialog) if response.cseq().number <= subscription.sequence => dialog.confirmed(response),
            Some(dialog) => dialog.answered(response),
            None => subscription.dialog = Dialog::of_response(response).ok(),
        }
        // The first document may ride in the answer.
        if !response.body().is_empty()
            && let Some(document) = read_document(response.headers().content_type().ok().flatten().as_ref(), response.body())
            && is_of(&document, &subscription.pair.1)
        {
            self.is_active(now, key, Some(document), None);
        }
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        let granted = response.headers().expires().ok().flatten().unwrap_or(subscription.expires);
        let granted = granted.clamp(60, subscription.expires.max(60));
        let was_notified = subscription.was_notified;
        let refresh = self.refresh_after(granted);
        let at = now.instant + if was_notified { refresh } else { refresh.min(NOTIFIED_WITHIN) };
        self.plan_subscribe(now, key, at);
        self.keep_subscription(now, key);
    }

    /// RFC 6665 §4.1.2.2: well before the end, and not all at once.
    fn refresh_after(&mut self, granted: u32) -> Duration {
        let margin = f64::from(granted / 10).min(60.0) * self.random.random_range(1.0..2.0);
        Duration::from_secs_f64((f64::from(granted) - margin).max(30.0))
    }

    /// A new Call-ID and tag for a dialog that is to be begun anew.
    fn renew(&mut self, key: Key) {
        let (call_id, tag) = (self.new_call_id(), self.layer.new_tag());
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        let old = std::mem::replace(&mut subscription.call_id, call_id.clone());
        (subscription.tag, subscription.sequence, subscription.dialog) = (tag, 0, None);
        self.presence.not_called(&old, key);
        self.presence.called(&call_id, key);
    }

    /// The presentity, or the server, does not let the watcher see.
    fn refused_by_presentity(&mut self, now: Now, key: Key) {
        let Some(subscription) = self.remove_subscription(key) else { return };
        self.submit_watch(now, &subscription.link, &subscription.pair.1, &subscription.pair.0, Watch::Refuse);
        self.forget_dialog(subscription.link, key);
    }

    /// Tells the watcher a state. Also what is no news to us: the broker may have begun anew.
    fn is_now(&mut self, now: Now, key: Key, presence: Presence) {
        let Some(subscription) = self.presence.subscriptions.get(&key) else { return };
        if !subscription.is_allowed || subscription.ends {
            return;
        }
        let (link, (watcher, presentity)) = (subscription.link.clone(), subscription.pair.clone());
        self.tell_presence(now, &link, &presentity, &watcher, Body::Presence(presence));
    }

    /// A NOTIFY came.
    pub(crate) fn take_notify(&mut self, now: Now, open: &Open) {
        match self.read_notify(now, open.conn, &open.request) {
            Ok(()) => self.accept(now, open),
            Err(489) => self.refuse(now, open, &Diagnosis::of(489).with(Name::AllowEvents, "presence")),
            Err(status) => self.refuse(now, open, &Diagnosis::of(status)),
        }
        self.arm_presence();
    }

    /// A BENOTIFY came: the same, and it is never answered.
    pub(crate) fn take_benotify(&mut self, now: Now, conn: ConnId, request: &Request) {
        let _ = self.read_notify(now, conn, request);
        self.arm_presence();
    }

    fn read_notify(&mut self, now: Now, conn: ConnId, request: &Request) -> Result<(), u16> {
        let keys = self.presence.by_call.get(request.call_id()).cloned().unwrap_or_default();
        let is_it = |key: &Key| self.presence.subscriptions.get(key).is_some_and(|one| one.has(request));
        let key = keys.into_iter().find(is_it).ok_or(481_u16)?;
        let subscription = self.presence.subscriptions.get_mut(&key).ok_or(481_u16)?;
        // Of this link's edge only (abuse case 1).
        let number = self.names.get(&subscription.link).copied();
        let of_link = self.conns.get(&conn).is_some_and(|conn| number.is_some_and(|number| conn.links.contains(&number)));
        if !of_link {
            return Err(481);
        }
        let event = request.headers().first(Name::Event).map(|event| event.text().into_owned()).unwrap_or_default();
        if !is_presence(&event) {
            return Err(489);
        }
        let state = request.headers().first(Name::SubscriptionState).map(|state| state.text().into_owned()).ok_or(400_u16)?;
        match &mut subscription.dialog {
            Some(dialog) => dialog.take(request).map_err(of_fault)?,
            None => {
                subscription.dialog =
                    Some(Dialog::of_request(request, &subscription.tag).map_err(of_fault)?.after(subscription.sequence));
            }
        }
        let document = if request.body().is_empty() {
            None
        } else {
            let media = request.headers().content_type().map_err(|_| 400_u16)?.ok_or(400_u16)?;
            let document = read_document(Some(&media), request.body()).ok_or(415_u16)?;
            // Of the presentity, and of nobody else (abuse case 6).
            if !is_of(&document, &subscription.pair.1) {
                return Err(403);
            }
            Some(document)
        };
        let (word, parameters) = state.split_once(';').unwrap_or((&state, ""));
        match word.trim().to_ascii_lowercase().as_str() {
            "active" => self.is_active(now, key, document, parameter(parameters, "expires")),
            "terminated" => self.is_terminated(now, key, document, parameters),
            // Pending, and what nobody has heard of: nothing is known yet, whatever stands in the body.
            _ => {
                if let Some(subscription) = self.presence.subscriptions.get_mut(&key) {
                    subscription.was_notified = true;
                }
            }
        }
        Ok(())
    }

    fn is_active(&mut self, now: Now, key: Key, document: Option<Document>, expires: Option<u32>) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        let is_whole = !std::mem::replace(&mut subscription.was_notified, true);
        if let Some(document) = document {
            subscription.seen.update(document, is_whole);
        }
        let presence = subscription.seen.to_presence();
        if !subscription.is_allowed {
            subscription.is_allowed = true;
            let (link, (watcher, presentity)) = (subscription.link.clone(), subscription.pair.clone());
            self.submit_watch(now, &link, &presentity, &watcher, Watch::Allow);
        }
        self.is_now(now, key, presence);
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

    fn is_terminated(&mut self, now: Now, key: Key, document: Option<Document>, parameters: &str) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        if subscription.ends {
            self.remove_subscription(key);
            return;
        }
        let is_allowed = subscription.is_allowed;
        if let Some(document) = document {
            subscription.seen.update(document, true);
        }
        let presence = subscription.seen.to_presence();
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
                self.is_now(now, key, presence);
                A_DAY
            }
            _ => retry.unwrap_or(FIRST_PAUSE),
        };
        self.plan_subscribe(now, key, now.instant + pause);
    }
}

/// The document in a body: itself, or the first that can be read of several parts, as servers send it with a list before it.
fn read_document(media: Option<&ContentType>, body: &[u8]) -> Option<Document> {
    let media = media?;
    if media.kind() != "multipart" {
        return Form::of_media(&format!("{}/{}", media.kind(), media.subtype()))?.read(body).ok();
    }
    let boundary = media.param("boundary").filter(|text| (1..=70).contains(&text.len()))?;
    Parts::new(body, boundary.as_bytes()).take(MOST_PARTS).find_map(|part| {
        let (headers, content) = header_block(part)?;
        Form::of_media(header(&headers, "Content-Type")?)?.read(content).ok()
    })
}

/// Whether a document is of a person.
fn is_of(document: &Document, person: &Address) -> bool {
    let uri = Uri::parse(document.uri.as_bytes()).ok();
    uri.and_then(|uri| address::from_sender_uri(&uri).ok()).is_some_and(|party| party.address == *person)
}

const fn of_fault(fault: DialogFault) -> u16 {
    match fault {
        DialogFault::OutOfOrder => 500,
        DialogFault::Tag | DialogFault::Address => 400,
    }
}

fn value<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut all = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    all.find(|(known, _)| known.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn parameter(parameters: &str, name: &str) -> Option<u32> {
    value(parameters, name)?.parse().ok()
}
