//! The notifier: dialogs that the member's own people begin, to see people of other platforms (shared/protocols/interworking.md §4.5).

use std::time::{Duration, Instant};

use interchange_adapter::Now;
use interchange_model::{Body, Envelope, LinkId, Presence, Refusal, Token, Watch};
use sip_codec::{ContentType, Method, Name, Request, RequestBuilder, Response, Unencodable, Value};
use sip_stack::{ClientId, Dialog, DialogFault};

use super::document::of_presence;
use super::watching::is_presence;
use super::{EXPIRES, Key, MIN_EXPIRES, MOST_DIALOGS, MOST_OF_ONE, NOTIFY_PACE, Plan, with};
use crate::inbound::Open;
use crate::outbox::Pair;
use crate::refusals;
use crate::{Asked, Sip, address};

/// How long a state that was asked for once is waited for.
const FETCHED_WITHIN: Duration = Duration::from_secs(3);
/// When a NOTIFY that could not be taken is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// One dialog.
pub(super) struct Notifier {
    pub(super) link: LinkId,
    /// Watcher and presentity.
    pub(super) pair: Pair,
    pub(super) dialog: Dialog,
    /// As the watcher wrote it, with its `id`.
    pub(super) event: String,
    pub(super) expires: Instant,
    /// The watcher may see.
    pub(super) is_active: bool,
    /// As many CSeq numbers may be used before it is kept anew.
    pub(super) reserved: u32,
    asked: Option<ClientId>,
    sent: Option<Instant>,
    /// There is something to be said.
    changed: bool,
    /// The reason for which the next NOTIFY is the last.
    ends: Option<&'static str>,
}

/// What is known of a presentity, as one of the member's people may see it.
#[derive(Default)]
pub(super) struct Watched {
    dialogs: Vec<Key>,
    state: Option<Presence>,
}

/// A SUBSCRIBE that waits for the broker.
pub(super) struct Pending {
    open: Open,
    key: Key,
    notifier: Box<Notifier>,
    tag: String,
    expires: u32,
}

impl Notifier {
    pub(super) fn new(link: LinkId, pair: Pair, dialog: Dialog, event: String, expires: Instant) -> Self {
        Self {
            link,
            pair,
            dialog,
            event,
            expires,
            is_active: false,
            reserved: 0,
            asked: None,
            sent: None,
            changed: false,
            ends: None,
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.changed && self.asked.is_none()
    }
}

/// What a SUBSCRIBE asks for.
struct Wanted {
    link: LinkId,
    pair: Pair,
    event: String,
    expires: u32,
}

impl Sip {
    /// A SUBSCRIBE came.
    pub(crate) fn take_subscribe(&mut self, now: Now, open: Open) {
        let done = match open.request.to().tag() {
            Some(_) => self.resubscribe(now, &open),
            None => match self.read_subscribe(now, &open) {
                Ok(wanted) => {
                    self.begin_notifier(now, open, wanted);
                    return self.arm_presence();
                }
                Err(refused) => Err(refused),
            },
        };
        if let Err((status, headers)) = done {
            self.answer_with(now, &open, status, &headers);
        }
        self.arm_presence();
    }

    fn read_subscribe(&mut self, _now: Now, open: &Open) -> Result<Wanted, Refusing> {
        let request = &open.request;
        let event = read_event(request)?;
        let expires = read_expires(request)?;
        let bare = |status| (status, Vec::new());
        let to = address::from_uri(request.uri()).map_err(|_| bare(404))?;
        let from = address::from_sender_uri(request.from().uri()).map_err(|_| bare(403))?;
        // As with messages: From decides among the links of the connection.
        let links = self.conns.get(&open.conn).map(|conn| conn.links.as_slice()).unwrap_or_default();
        let owner =
            links.iter().filter_map(|number| self.links.get(number)).find(|link| link.domains.contains(from.address.domain()));
        let link = owner.map(|link| link.id.clone()).ok_or_else(|| bare(403))?;
        let count = self.presence.counts.get(&from.address).copied().unwrap_or_default();
        if self.stopped || self.presence.dialogs() >= MOST_DIALOGS || count >= MOST_OF_ONE {
            let status = refusals::to_status(Refusal::Overloaded);
            return Err((status.code, vec![(Name::RetryAfter, status.retry_after.unwrap_or(10).to_string())]));
        }
        Ok(Wanted { link, pair: (from.address, to.address), event, expires })
    }

    fn begin_notifier(&mut self, now: Now, open: Open, wanted: Wanted) {
        let tag = self.layer.new_tag();
        let dialog = match Dialog::of_request(&open.request, &tag) {
            Ok(dialog) => dialog,
            Err(_) => return self.answer_with(now, &open, 400, &[]),
        };
        let Wanted { link, pair, event, expires } = wanted;
        let key = self.new_key();
        let until = now.instant + Duration::from_secs(expires.into());
        let notifier = Notifier::new(link.clone(), pair.clone(), dialog, event, until);
        if expires == 0 {
            // A look at the state, once (RFC 6665 §4.4.3): nobody is asked for it who has not agreed.
            self.answer_subscribe(now, &open, &link, key, &tag, 0);
            self.add_notifier(key, Notifier { ends: Some("timeout"), is_active: true, changed: true, ..notifier });
            self.tell_presence(now, &link, &pair.0, &pair.1, Body::Watch(Watch::Fetch));
            return self.presence.plan(now.instant + FETCHED_WITHIN, Plan::Notify(key));
        }
        let token = self.submit_watch(now, &link, &pair.0, &pair.1, Watch::Ask);
        self.presence.pending.insert(token, Pending { open, key, notifier: Box::new(notifier), tag, expires });
    }

    /// The broker has taken what a SUBSCRIBE asks for, or refuses it. Whether the token was one of these.
    pub(crate) fn watch_submitted(&mut self, now: Now, token: Token, result: Result<(), Refusal>) -> bool {
        let Some(pending) = self.presence.pending.remove(&token) else { return false };
        let Pending { open, key, notifier, tag, expires } = pending;
        match result {
            Err(why) => {
                let status = refusals::to_status(why);
                let retry = status.retry_after.map(|seconds| (Name::RetryAfter, seconds.to_string()));
                self.answer_with(now, &open, status.code, &retry.into_iter().collect::<Vec<_>>());
            }
            Ok(()) => {
                let link = notifier.link.clone();
                self.answer_subscribe(now, &open, &link, key, &tag, expires);
                let until = notifier.expires;
                // The broker may have answered already that this watcher may see.
                let pair = notifier.pair.clone();
                let is_active = self.presence.watched.get(&pair).is_some_and(|watched| {
                    watched.dialogs.iter().filter_map(|key| self.presence.notifiers.get(key)).any(|other| other.is_active)
                });
                self.add_notifier(key, Notifier { is_active, changed: true, ..*notifier });
                self.presence.plan(until, Plan::Expire(key));
                // RFC 6665 §4.2.1.2: at once, whatever there is to say.
                self.notify(now, key);
                self.keep_notifier(now, key);
            }
        }
        self.arm_presence();
        true
    }

    pub(super) fn add_notifier(&mut self, key: Key, notifier: Notifier) {
        *self.presence.counts.entry(notifier.pair.0.clone()).or_default() += 1;
        self.presence.watched.entry(notifier.pair.clone()).or_default().dialogs.push(key);
        self.presence.notifiers.insert(key, notifier);
    }

    fn remove_notifier(&mut self, key: Key) {
        let Some(notifier) = self.presence.notifiers.remove(&key) else { return };
        if let Some(watched) = self.presence.watched.get_mut(&notifier.pair) {
            watched.dialogs.retain(|other| *other != key);
            if watched.dialogs.is_empty() {
                self.presence.watched.remove(&notifier.pair);
            }
        }
        if let Some(count) = self.presence.counts.get_mut(&notifier.pair.0) {
            *count -= 1;
            if *count == 0 {
                self.presence.counts.remove(&notifier.pair.0);
            }
        }
        self.forget_dialog(notifier.link, key);
    }

    /// A SUBSCRIBE inside a dialog: it goes on, or ends.
    fn resubscribe(&mut self, now: Now, open: &Open) -> Result<(), Refusing> {
        let request = &open.request;
        let bare = |status| (status, Vec::new());
        let key = request.uri().user().and_then(Key::of_user).ok_or_else(|| bare(481))?;
        let notifier = self.presence.notifiers.get_mut(&key).ok_or_else(|| bare(481))?;
        let number = self.names.get(&notifier.link).copied();
        let of_link = self.conns.get(&open.conn).is_some_and(|conn| number.is_some_and(|number| conn.links.contains(&number)));
        if !of_link || !notifier.dialog.has(request) || notifier.ends.is_some() {
            return Err(bare(481));
        }
        read_event(request)?;
        let expires = read_expires(request)?;
        notifier.dialog.take(request).map_err(|fault| match fault {
            DialogFault::OutOfOrder => bare(500),
            DialogFault::Tag | DialogFault::Address => bare(400),
        })?;
        notifier.expires = now.instant + Duration::from_secs(expires.into());
        notifier.changed = true;
        if expires == 0 {
            notifier.ends = Some("timeout");
        }
        let (link, until) = (notifier.link.clone(), notifier.expires);
        self.answer_subscribe(now, open, &link, key, "", expires);
        if expires > 0 {
            self.presence.plan(until, Plan::Expire(key));
            self.keep_notifier(now, key);
        }
        self.notify(now, key);
        Ok(())
    }

    /// 200, with what makes or refreshes the dialog.
    fn answer_subscribe(&mut self, now: Now, open: &Open, link: &LinkId, key: Key, tag: &str, expires: u32) {
        let answer = |sip: &Self| -> Result<Response, Unencodable> {
            let tag = if tag.is_empty() { None } else { Some(tag) };
            Response::to_request(&open.request, 200, tag, open.source)?
                .with_header(Name::Expires, Value::from(expires))?
                .with_header(Name::Contact, sip.contact(link, key)?)?
                .with_header(Name::Server, Value::new("Interchange")?)
                .map(|response| response.with_record_route_of(&open.request))
        };
        if let Ok(response) = answer(self) {
            let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        }
    }

    /// The presentity lets the watcher see.
    pub(super) fn allowed(&mut self, now: Now, envelope: &Envelope) {
        for key in self.dialogs_of(&(envelope.to.clone(), envelope.from.clone())) {
            let Some(notifier) = self.presence.notifiers.get_mut(&key) else { continue };
            if !notifier.is_active {
                notifier.is_active = true;
                notifier.changed = true;
                // The end of being pending is told at once.
                notifier.sent = None;
                self.notify(now, key);
                self.keep_notifier(now, key);
            }
        }
    }

    /// The presentity does not.
    pub(super) fn refused_watch(&mut self, now: Now, envelope: &Envelope) {
        let pair = (envelope.to.clone(), envelope.from.clone());
        if let Some(watched) = self.presence.watched.get_mut(&pair) {
            watched.state = None;
        }
        for key in self.dialogs_of(&pair) {
            let Some(notifier) = self.presence.notifiers.get_mut(&key) else { continue };
            // Whoever only looked once is told nothing, in good time.
            if notifier.ends.is_none() {
                notifier.ends = Some("rejected");
            }
            notifier.is_active = false;
            notifier.changed = true;
            notifier.sent = None;
            self.notify(now, key);
        }
    }

    /// The state of a presentity, as a watcher may see it.
    pub(super) fn watched_state(&mut self, now: Now, envelope: &Envelope, presence: &Presence) {
        let pair = (envelope.to.clone(), envelope.from.clone());
        let Some(watched) = self.presence.watched.get_mut(&pair) else { return };
        watched.state = Some(presence.clone());
        for key in self.dialogs_of(&pair) {
            let Some(notifier) = self.presence.notifiers.get_mut(&key) else { continue };
            // Only of whom it is told is it told: so a dialog from before a restart, or begun a moment ago, may see.
            let begins = !std::mem::replace(&mut notifier.is_active, true);
            notifier.changed = true;
            match notifier.sent.map(|sent| sent + NOTIFY_PACE).filter(|at| *at > now.instant && !begins) {
                Some(at) => self.presence.plan(at, Plan::Notify(key)),
                None => self.notify(now, key),
            }
        }
    }

    fn dialogs_of(&self, pair: &Pair) -> Vec<Key> {
        self.presence.watched.get(pair).map(|watched| watched.dialogs.clone()).unwrap_or_default()
    }

    /// Sends a NOTIFY, if there is something to say and it may be said now.
    pub(super) fn notify(&mut self, now: Now, key: Key) {
        let Some(notifier) = self.presence.notifiers.get_mut(&key) else { return };
        // One at a time (RFC 6665 §4.2.2); what has changed since goes with the next.
        if !notifier.has_news() {
            return;
        }
        let link = notifier.link.clone();
        let up = self.names.get(&link).and_then(|number| self.links.get(number)).is_some_and(|link| link.session().is_some());
        if !up {
            return;
        }
        let Ok(request) = self.build_notify(now, key) else { return self.remove_notifier(key) };
        let sent = self.send_told(now, &link, request, Asked::Notify { key });
        let Some(notifier) = self.presence.notifiers.get_mut(&key) else { return };
        notifier.asked = sent;
        notifier.changed = sent.is_none();
        notifier.sent = Some(now.instant);
        if notifier.dialog.local_sequence() >= notifier.reserved && notifier.ends.is_none() {
            self.keep_notifier(now, key);
        }
    }

    fn build_notify(&mut self, now: Now, key: Key) -> Result<RequestBuilder, Unencodable> {
        let missing = Unencodable::Empty("a dialog");
        let notifier = self.presence.notifiers.get(&key).ok_or(missing)?;
        let contact = self.contact(&notifier.link, key)?;
        let state = self.presence.watched.get(&notifier.pair).and_then(|watched| watched.state.clone());
        let notifier = self.presence.notifiers.get_mut(&key).ok_or(missing)?;
        let left = notifier.expires.saturating_duration_since(now.instant).as_secs();
        let how = match notifier.ends {
            Some(reason) => format!("terminated;reason={reason}"),
            None if notifier.is_active => format!("active;expires={left}"),
            None => format!("pending;expires={left}"),
        };
        let event = notifier.event.clone();
        let request = notifier.dialog.request(Method::Notify)?;
        let request = with(request, &[(Name::Event, &event), (Name::SubscriptionState, &how)])?.header(Name::Contact, contact)?;
        match state.filter(|state| notifier.is_active && !state.is_unknown) {
            Some(state) => {
                let presentity = &notifier.pair.1;
                let uri = address::to_uri(presentity)?.to_string();
                let document = of_presence(presentity, &uri, &state);
                Ok(request.body(ContentType::new("application", "pidf+xml")?, document.write()))
            }
            // Nothing may be seen, or nothing is known.
            None => Ok(request),
        }
    }

    /// The answer to a NOTIFY; `None`: there was none.
    pub(super) fn notified(&mut self, now: Now, key: Key, response: Option<&Response>) {
        let Some(notifier) = self.presence.notifiers.get_mut(&key) else { return };
        notifier.asked = None;
        let status = response.map_or(408, Response::status);
        let may_be_later = matches!(status, 480 | 503)
            && response.is_some_and(|response| response.headers().retry_after().is_ok_and(|retry| retry.is_some()));
        match status {
            200..=299 if notifier.ends.is_some() && !notifier.changed => self.remove_notifier(key),
            200..=299 => {
                if notifier.changed {
                    let at = notifier.sent.map_or(now.instant, |sent| sent + NOTIFY_PACE);
                    self.presence.plan(at, Plan::Notify(key));
                }
            }
            _ if may_be_later => {
                notifier.changed = true;
                self.presence.plan(now.instant + AGAIN_AFTER, Plan::Notify(key));
            }
            // The connection went with the request: it is said again when the link is up.
            408 if self.is_down(key) => {
                if let Some(notifier) = self.presence.notifiers.get_mut(&key) {
                    notifier.changed = true;
                }
            }
            // RFC 6665 §4.2.2: the watcher has no such dialog, or does not answer.
            _ => self.remove_notifier(key),
        }
    }

    fn is_down(&self, key: Key) -> bool {
        let link = self.presence.notifiers.get(&key).and_then(|notifier| self.names.get(&notifier.link));
        link.and_then(|number| self.links.get(number)).is_none_or(|link| link.session().is_none())
    }

    /// A dialog was not refreshed in time.
    pub(super) fn expire(&mut self, now: Now, key: Key) {
        let Some(notifier) = self.presence.notifiers.get_mut(&key) else { return };
        if notifier.expires > now.instant || notifier.ends.is_some() {
            return;
        }
        notifier.ends = Some("timeout");
        notifier.changed = true;
        if self.is_down(key) {
            return self.remove_notifier(key);
        }
        self.notify(now, key);
    }

    /// An answer without a body.
    pub(super) fn answer(&mut self, now: Now, open: &Open, status: u16) {
        let more = if status == 489 { vec![(Name::AllowEvents, "presence".to_owned())] } else { Vec::new() };
        self.answer_with(now, open, status, &more);
    }

    fn answer_with(&mut self, now: Now, open: &Open, status: u16, headers: &[(Name, String)]) {
        let tag = self.layer.new_tag();
        let answer = || -> Result<Response, Unencodable> {
            let response = Response::to_request(&open.request, status, Some(&tag), open.source)?
                .with_header(Name::Server, Value::new("Interchange")?)?;
            headers.iter().try_fold(response, |response, (name, value)| response.with_header(*name, Value::new(value)?))
        };
        if let Ok(response) = answer() {
            let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        }
    }
}

/// A status, and headers that must go with it.
type Refusing = (u16, Vec<(Name, String)>);

/// The value of Event, if it is one that we serve.
fn read_event(request: &Request) -> Result<String, Refusing> {
    let event = request.headers().first(Name::Event).map(|event| event.text().into_owned()).unwrap_or_default();
    if !is_presence(&event) {
        return Err((489, vec![(Name::AllowEvents, "presence".to_owned())]));
    }
    // RFC 3856 §6.7: PIDF, where nothing is said.
    let mut accepted = request.headers().tokens(Name::Accept).peekable();
    let fits = |media: &str| {
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(media.as_str(), "application/pidf+xml" | "application/*" | "*/*")
    };
    if accepted.peek().is_some() && !accepted.any(|media| fits(&media)) {
        return Err((406, vec![(Name::Accept, "application/pidf+xml".to_owned())]));
    }
    Ok(event)
}

/// Seconds for which a subscription is granted.
fn read_expires(request: &Request) -> Result<u32, Refusing> {
    let asked = request.headers().expires().map_err(|_| (400, Vec::new()))?.unwrap_or(EXPIRES);
    match asked {
        0 => Ok(0),
        1..MIN_EXPIRES => Err((423, vec![(Name::MinExpires, MIN_EXPIRES.to_string())])),
        asked => Ok(asked.min(EXPIRES)),
    }
}
