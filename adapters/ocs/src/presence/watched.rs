//! The notifier: dialogs that the member's own people begin, to see people of other platforms.

use std::time::{Duration, Instant};

use interchange_adapter::Now;
use interchange_model::{Address, Body, Envelope, LinkId, Presence, Refusal, Token, Watch};
use ocs_codec::presence::Form;
use sip_codec::{ContentType, Method, Name, Request, RequestBuilder, Response, Unencodable, Value};
use sip_model::address;
use sip_model::outbox::Pair;
use sip_stack::{ClientId, Dialog};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::state::to_document;
use super::{EXPIRES, Key, MOST_DIALOGS, MOST_OF_ONE, NOTIFY_PACE, Plan, is_presence, with};
use crate::diagnostics::{Carriage, Diagnosis, of_refusal};
use crate::inbound::{Open, of_address};
use crate::{Asked, Ocs};

/// How long a state that was asked for once is waited for.
const FETCHED_WITHIN: Duration = Duration::from_secs(3);
/// When a NOTIFY that could not be taken is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The shortest subscription that is granted, in seconds.
const MIN_EXPIRES: u32 = 60;

/// One dialog.
pub(super) struct Notifier {
    pub(super) link: LinkId,
    /// Watcher and presentity.
    pub(super) pair: Pair,
    pub(super) dialog: Dialog,
    pub(super) form: Form,
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
    pub(super) fn new(link: LinkId, pair: Pair, dialog: Dialog, form: Form, expires: Instant) -> Self {
        Self {
            link,
            pair,
            dialog,
            form,
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

impl Ocs {
    /// A SUBSCRIBE came. A list of categories in its body says nothing that matters.
    pub(crate) fn take_subscribe(&mut self, now: Now, number: u64, from: &Address, open: Open) {
        let done = match open.request.to().tag() {
            Some(_) => self.resubscribe(now, from, &open),
            None => match self.read_subscribe(number, from, &open) {
                Ok((link, pair, form, expires)) => {
                    self.begin_notifier(now, open, link, pair, form, expires);
                    return self.arm_presence();
                }
                Err(diagnosis) => Err(diagnosis),
            },
        };
        if let Err(diagnosis) = done {
            self.refuse(now, &open, &diagnosis);
        }
        self.arm_presence();
    }

    fn read_subscribe(&mut self, number: u64, from: &Address, open: &Open) -> Result<(LinkId, Pair, Form, u32), Diagnosis> {
        let request = &open.request;
        read_event(request)?;
        let form = read_accept(request)?.unwrap_or(Form::Pidf);
        let expires = read_expires(request)?;
        let to = address::from_uri(request.uri()).map_err(of_address)?.address;
        let link = self.links.get(&number).map(|link| link.id.clone()).ok_or(Diagnosis::of(403))?;
        let count = self.presence.counts.get(from).copied().unwrap_or_default();
        if self.stopped || self.presence.dialogs() >= MOST_DIALOGS || count >= MOST_OF_ONE {
            return Err(of_refusal(Refusal::Overloaded, Carriage::Page));
        }
        Ok((link, (from.clone(), to), form, expires))
    }

    fn begin_notifier(&mut self, now: Now, open: Open, link: LinkId, pair: Pair, form: Form, expires: u32) {
        let tag = self.layer.new_tag();
        let Ok(dialog) = Dialog::of_request(&open.request, &tag) else {
            return self.refuse(now, &open, &Diagnosis::because(400, "Malformed Contact or Record-Route"));
        };
        let key = self.new_key();
        let until = now.instant + Duration::from_secs(expires.into());
        let notifier = Notifier::new(link.clone(), pair.clone(), dialog, form, until);
        if expires == 0 {
            // A look at the state, once (RFC 6665 §4.4.3): nobody is asked for it who has not agreed.
            self.answer_subscribe(now, &open, &tag, 0);
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
            Err(why) => self.refuse(now, &open, &of_refusal(why, Carriage::Page)),
            Ok(()) => {
                self.answer_subscribe(now, &open, &tag, expires);
                let until = notifier.expires;
                // The broker may have answered already that this watcher may see.
                let is_active = self.presence.watched.get(&notifier.pair).is_some_and(|watched| {
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
        self.presence.called(&notifier.dialog.parts().call_id, key);
        self.presence.notifiers.insert(key, notifier);
    }

    fn remove_notifier(&mut self, key: Key) {
        let Some(notifier) = self.presence.notifiers.remove(&key) else { return };
        self.presence.not_called(&notifier.dialog.parts().call_id, key);
        if let Some(watched) = self.presence.watched.get_mut(&notifier.pair) {
            watched.dialogs.retain(|other| *other != key);
            if watched.dialogs.is_empty() {
                self.presence.watched.remove(&notifier.pair);
            }
        }
        if let Some(count) = self.presence.counts.get_mut(&notifier.pair.0) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.presence.counts.remove(&notifier.pair.0);
            }
        }
        self.forget_dialog(notifier.link, key);
    }

    /// A SUBSCRIBE inside a dialog: it goes on, or ends. It carries no Record-Route, and the dialog keeps its own.
    fn resubscribe(&mut self, now: Now, from: &Address, open: &Open) -> Result<(), Diagnosis> {
        let request = &open.request;
        let keys = self.presence.by_call.get(request.call_id()).cloned().unwrap_or_default();
        let is_it = |key: &Key| {
            let notifier = self.presence.notifiers.get(key);
            notifier.is_some_and(|one| one.dialog.has(request) && one.pair.0 == *from && one.ends.is_none())
        };
        let key = keys.into_iter().find(is_it).ok_or(Diagnosis::of(481))?;
        read_event(request)?;
        let form = read_accept(request)?;
        let expires = read_expires(request)?;
        let notifier = self.presence.notifiers.get_mut(&key).ok_or(Diagnosis::of(481))?;
        let _ = notifier.dialog.take(request);
        notifier.form = form.unwrap_or(notifier.form);
        notifier.expires = now.instant + Duration::from_secs(expires.into());
        notifier.changed = true;
        // What it answers is told at once.
        notifier.sent = None;
        if expires == 0 {
            notifier.ends = Some("timeout");
        }
        let until = notifier.expires;
        self.answer_subscribe(now, open, "", expires);
        if expires > 0 {
            self.presence.plan(until, Plan::Expire(key));
            self.keep_notifier(now, key);
        }
        self.notify(now, key);
        Ok(())
    }

    /// 200, with what makes or refreshes the dialog.
    fn answer_subscribe(&mut self, now: Now, open: &Open, tag: &str, expires: u32) {
        let answer = |ocs: &Self| -> Result<Response, Unencodable> {
            let tag = if tag.is_empty() { None } else { Some(tag) };
            let state = format!("active;expires={expires}");
            Response::to_request(&open.request, 200, tag, None)?
                .with_header(Name::Contact, ocs.hub.contact()?)?
                .with_header(Name::Event, Value::new("presence")?)?
                .with_header(Name::Expires, Value::from(expires))?
                .with_header(Name::SubscriptionState, Value::new(&state)?)?
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
    pub(crate) fn watched_state(&mut self, now: Now, envelope: &Envelope, presence: &Presence) {
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

    /// Sends a NOTIFY, if there is something to say and it may be said now. Never BENOTIFY, so that a watcher who is gone is noticed.
    pub(super) fn notify(&mut self, now: Now, key: Key) {
        let Some(notifier) = self.presence.notifiers.get_mut(&key) else { return };
        // One at a time (RFC 6665 §4.2.2); what has changed since goes with the next.
        if !notifier.has_news() {
            return;
        }
        let link = notifier.link.clone();
        if !self.is_link_up(&link) {
            return;
        }
        let known = self.names.get(&link).and_then(|number| self.links.get_mut(number));
        if let Some(Err(at)) = known.map(|link| link.pace.take(now.instant, 1)) {
            return self.presence.plan(at, Plan::Notify(key));
        }
        let Ok(request) = self.build_notify(now, key) else { return self.remove_notifier(key) };
        let sent = self.send_presence(now, &link, request, Asked::Notify { key });
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
        let notifier = self.presence.notifiers.get_mut(&key).ok_or(missing)?;
        let known = self.presence.watched.get(&notifier.pair).and_then(|watched| watched.state.as_ref());
        let uri = address::to_uri(&notifier.pair.1)?.to_string();
        // Whoever may no longer see is shown nobody there: a client keeps the state that the last document does not name.
        let nobody = Presence::default();
        let known = if notifier.ends == Some("rejected") { Some(&nobody) } else { known.filter(|_| notifier.is_active) };
        let document = to_document(uri, known);
        let left = notifier.expires.saturating_duration_since(now.instant).as_secs();
        let how = match notifier.ends {
            Some(reason) => format!("terminated;reason={reason}"),
            // There is no such thing as a pending one in this dialect: whoever may not see yet sees that nothing is known.
            None => format!("active;expires={left}"),
        };
        let (kind, subtype) = notifier.form.media_type();
        let published = OffsetDateTime::from(now.wall).format(&Rfc3339).unwrap_or_default();
        let content = notifier.form.write(&document, &published);
        let request = notifier.dialog.request(Method::Notify)?;
        let request = with(request, &[(Name::Event, "presence"), (Name::SubscriptionState, &how)])?;
        let request = self.hub.signed(request, &format!("{:016x}", key.0))?;
        Ok(request.body(ContentType::new(kind, subtype)?, content))
    }

    /// The answer to a NOTIFY; `None`: there was none.
    pub(super) fn notified(&mut self, now: Now, key: Key, response: Option<&Response>) {
        let is_up = self.presence.notifiers.get(&key).is_some_and(|notifier| self.is_link_up(&notifier.link));
        let Some(notifier) = self.presence.notifiers.get_mut(&key) else { return };
        notifier.asked = None;
        let status = response.map_or(408, Response::status);
        let has_retry = response.is_some_and(|response| response.headers().retry_after().is_ok_and(|retry| retry.is_some()));
        match status {
            200..=299 if notifier.ends.is_some() && !notifier.changed => self.remove_notifier(key),
            200..=299 => {
                if notifier.changed {
                    let at = notifier.sent.map_or(now.instant, |sent| sent + NOTIFY_PACE);
                    self.presence.plan(at, Plan::Notify(key));
                }
            }
            480 | 503 if has_retry => {
                notifier.changed = true;
                self.presence.plan(now.instant + AGAIN_AFTER, Plan::Notify(key));
            }
            // The connection went with the request: it is said again when the link is up.
            408 if !is_up => notifier.changed = true,
            // RFC 6665 §4.2.2: the watcher has no such dialog, or does not answer.
            _ => self.remove_notifier(key),
        }
    }

    /// A dialog was not refreshed in time.
    pub(super) fn expire(&mut self, now: Now, key: Key) {
        let Some(notifier) = self.presence.notifiers.get_mut(&key) else { return };
        if notifier.expires > now.instant || notifier.ends.is_some() {
            return;
        }
        notifier.ends = Some("timeout");
        notifier.changed = true;
        let link = notifier.link.clone();
        if self.is_link_up(&link) { self.notify(now, key) } else { self.remove_notifier(key) }
    }
}

fn read_event(request: &Request) -> Result<(), Diagnosis> {
    let event = request.headers().first(Name::Event).map(|event| event.text().into_owned()).unwrap_or_default();
    if is_presence(&event) { Ok(()) } else { Err(Diagnosis::of(489).with(Name::AllowEvents, "presence")) }
}

/// The best form that is accepted; `None`: nothing is said.
fn read_accept(request: &Request) -> Result<Option<Form>, Diagnosis> {
    let accepted: Vec<_> = request.headers().tokens(Name::Accept).collect();
    let form = Form::choose(accepted.iter().map(AsRef::as_ref));
    let refused = || {
        let known: Vec<String> =
            Form::ALL.iter().map(|form| format!("{}/{}", form.media_type().0, form.media_type().1)).collect();
        Diagnosis::of(406).with(Name::Accept, &known.join(", "))
    };
    if form.is_none() && !accepted.is_empty() { Err(refused()) } else { Ok(form) }
}

/// Seconds for which a subscription is granted.
fn read_expires(request: &Request) -> Result<u32, Diagnosis> {
    let asked = request.headers().expires().map_err(|_| Diagnosis::because(400, "Malformed Expires"))?.unwrap_or(EXPIRES);
    Ok(if asked == 0 { 0 } else { asked.clamp(MIN_EXPIRES, EXPIRES) })
}
