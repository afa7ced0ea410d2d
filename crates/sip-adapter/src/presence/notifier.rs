//! The notifier: dialogs that the member's own people begin, to see people of other platforms.

use std::time::{Duration, Instant};

use interchange_adapter::Now;
use interchange_model::{Body, Envelope, LinkId, Presence, Refusal, Token, Watch};
use sip_codec::{Method, Name, Request, RequestBuilder, Response, Unencodable};
use sip_model::address;
use sip_model::outbox::Pair;
use sip_stack::{ClientId, Dialog, Refused};

use super::subscriber::of_fault;
use super::{
    Asked, Dialect, EXPIRES, Key, MOST_DIALOGS, MOST_OF_ONE, NOTIFY_PACE, Plan, Presences, kept, new_key, read_event, submit,
    tell, with,
};
use crate::{Open, Refusing, Tools};

/// How long a state that was asked for once is waited for.
const FETCHED_WITHIN: Duration = Duration::from_secs(3);
/// How a subscription ends whose watcher may not see (RFC 6665 §4.1.3).
const REJECTED: &str = "rejected";
/// When a NOTIFY that could not be taken is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// One dialog.
pub(super) struct Notifier<M> {
    pub(super) link: LinkId,
    /// Watcher and presentity.
    pub(super) pair: Pair,
    pub(super) dialog: Dialog,
    /// How the watcher wants to be told.
    pub(super) manner: M,
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
pub(super) struct Pending<M> {
    open: Open,
    key: Key,
    notifier: Box<Notifier<M>>,
    tag: String,
    expires: u32,
}

impl<M> Notifier<M> {
    pub(super) fn new(link: LinkId, pair: Pair, dialog: Dialog, manner: M, expires: Instant) -> Self {
        Self {
            link,
            pair,
            dialog,
            manner,
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

impl<D: Dialect> Presences<D> {
    pub(super) fn add_notifier(&mut self, key: Key, notifier: Notifier<D::Manner>) {
        *self.counts.entry(notifier.pair.0.clone()).or_default() += 1;
        self.watched.entry(notifier.pair.clone()).or_default().dialogs.push(key);
        self.called(&notifier.dialog.parts().call_id, key);
        self.notifiers.insert(key, notifier);
    }

    /// Its link.
    fn remove_notifier(&mut self, key: Key) -> Option<LinkId> {
        let notifier = self.notifiers.remove(&key)?;
        self.not_called(&notifier.dialog.parts().call_id, key);
        if let Some(watched) = self.watched.get_mut(&notifier.pair) {
            watched.dialogs.retain(|other| *other != key);
            if watched.dialogs.is_empty() {
                self.watched.remove(&notifier.pair);
            }
        }
        if let Some(count) = self.counts.get_mut(&notifier.pair.0) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&notifier.pair.0);
            }
        }
        Some(notifier.link)
    }

    fn dialogs_of(&self, pair: &Pair) -> Vec<Key> {
        self.watched.get(pair).map(|watched| watched.dialogs.clone()).unwrap_or_default()
    }
}

/// What a SUBSCRIBE asks for.
struct Wanted<M> {
    link: LinkId,
    pair: Pair,
    manner: M,
    expires: u32,
}

/// A SUBSCRIBE came.
pub(super) fn take_subscribe<D: Dialect>(host: &mut D, now: Now, open: Open) {
    let done = match open.request.to().tag() {
        Some(_) => resubscribe(host, now, &open),
        None => match read(host, &open) {
            Ok(wanted) => return begin(host, now, open, wanted),
            Err(why) => Err(why),
        },
    };
    if let Err(why) = done {
        host.answer_refusing(now, &open, why);
    }
}

fn read<D: Dialect>(host: &mut D, open: &Open) -> Result<Wanted<D::Manner>, Refusing> {
    let request = &open.request;
    read_event(request)?;
    let manner = D::read_manner(request, None)?;
    let expires = read_expires::<D>(request)?;
    let to = address::from_uri(request.uri()).map_err(Refusing::Address)?;
    let (link, from) = host.sender(open)?;
    let is_stopped = host.is_stopped();
    let presences = host.presences();
    let count = presences.counts.get(&from).copied().unwrap_or_default();
    if is_stopped || presences.dialogs() >= MOST_DIALOGS || count >= MOST_OF_ONE {
        return Err(Refusing::Why(Refusal::Overloaded));
    }
    Ok(Wanted { link, pair: (from, to.address), manner, expires })
}

fn begin<D: Dialect>(host: &mut D, now: Now, open: Open, wanted: Wanted<D::Manner>) {
    let tag = host.tools().layer.new_tag();
    let Ok(dialog) = Dialog::of_request(&open.request, &tag) else {
        return host.answer_refusing(now, &open, Refusing::Rules(Refused::because(400, "Malformed Contact or Record-Route")));
    };
    let Wanted { link, pair, manner, expires } = wanted;
    let key = new_key(host);
    let until = now.instant + Duration::from_secs(expires.into());
    let notifier = Notifier::new(link.clone(), pair.clone(), dialog, manner, until);
    if expires == 0 {
        // A look at the state, once (RFC 6665 §4.4.3): nobody is asked for it who has not agreed.
        grant(host, now, &open, &link, key, Some(&tag), 0);
        let notifier = Notifier { ends: Some("timeout"), is_active: true, changed: true, ..notifier };
        host.presences().add_notifier(key, notifier);
        tell(host, now, &link, &pair.0, &pair.1, Body::Watch(Watch::Fetch));
        return host.presences().plan(now.instant + FETCHED_WITHIN, Plan::Notify(key));
    }
    let token = submit(host, now, &link, &pair.0, &pair.1, Watch::Ask);
    host.presences().pending.insert(token, Pending { open, key, notifier: Box::new(notifier), tag, expires });
}

/// The broker has taken what a SUBSCRIBE asks for, or refuses it. Whether the token was one of these.
pub(super) fn submitted<D: Dialect>(host: &mut D, now: Now, token: Token, result: Result<(), Refusal>) -> bool {
    let Some(pending) = host.presences().pending.remove(&token) else { return false };
    let Pending { open, key, notifier, tag, expires } = pending;
    if let Err(why) = result {
        host.answer_refusing(now, &open, Refusing::Why(why));
        return true;
    }
    grant(host, now, &open, &notifier.link, key, Some(&tag), expires);
    let until = notifier.expires;
    let presences = host.presences();
    // The broker may have answered already that this watcher may see.
    let others = presences.dialogs_of(&notifier.pair);
    let is_active = others.iter().filter_map(|key| presences.notifiers.get(key)).any(|other| other.is_active);
    presences.add_notifier(key, Notifier { is_active, changed: true, ..*notifier });
    presences.plan(until, Plan::Expire(key));
    // RFC 6665 §4.2.1.2: at once, whatever there is to say.
    notify(host, now, key);
    kept::keep_notifier(host, now, key);
    true
}

fn remove<D: Dialect>(host: &mut D, key: Key) {
    if let Some(link) = host.presences().remove_notifier(key) {
        kept::forget(host, link, key);
    }
}

/// A SUBSCRIBE inside a dialog: it goes on, or ends.
fn resubscribe<D: Dialect>(host: &mut D, now: Now, open: &Open) -> Result<(), Refusing> {
    let request = &open.request;
    let has = |presences: &Presences<D>, key: Key| {
        presences.notifiers.get(&key).is_some_and(|notifier| {
            notifier.dialog.has(request) && notifier.ends.is_none() && D::is_for(request, key, Some(&notifier.pair.0))
        })
    };
    let key = host.presences().dialog_of(request, has).ok_or(481_u16)?;
    let link = host.presences().notifiers.get(&key).map(|notifier| notifier.link.clone()).ok_or(481_u16)?;
    if !host.is_of(open.conn, &link) {
        return Err(Refusing::from(481));
    }
    let presences = host.presences();
    let notifier = presences.notifiers.get_mut(&key).ok_or(481_u16)?;
    read_event(request)?;
    let manner = D::read_manner(request, Some(&notifier.manner))?;
    let expires = read_expires::<D>(request)?;
    match notifier.dialog.take(request) {
        Err(fault) if D::TERMS.is_ordered => return Err(of_fault(fault)),
        _ => {}
    }
    notifier.manner = manner;
    notifier.expires = now.instant + Duration::from_secs(expires.into());
    notifier.changed = true;
    // What it answers is told at once.
    notifier.sent = None;
    let until = notifier.expires;
    if expires == 0 {
        notifier.ends = Some("timeout");
    }
    grant(host, now, open, &link, key, None, expires);
    if expires > 0 {
        host.presences().plan(until, Plan::Expire(key));
        kept::keep_notifier(host, now, key);
    }
    notify(host, now, key);
    Ok(())
}

/// 200, with what makes or refreshes the dialog.
fn grant<D: Dialect>(host: &mut D, now: Now, open: &Open, link: &LinkId, key: Key, tag: Option<&str>, expires: u32) {
    if let Ok(response) = host.granted(open, link, key, tag, expires) {
        let Tools { layer, actions, .. } = host.tools();
        let _ = layer.respond(now.instant, open.server, &response, actions);
    }
}

/// The presentity lets the watcher see.
pub(super) fn allowed<D: Dialect>(host: &mut D, now: Now, envelope: &Envelope) {
    for key in host.presences().dialogs_of(&(envelope.to.clone(), envelope.from.clone())) {
        let Some(notifier) = host.presences().notifiers.get_mut(&key) else { continue };
        if std::mem::replace(&mut notifier.is_active, true) {
            continue;
        }
        if D::TERMS.has_pending {
            notifier.changed = true;
            // The end of being pending is told at once.
            notifier.sent = None;
            notify(host, now, key);
        }
        kept::keep_notifier(host, now, key);
    }
}

/// The presentity does not.
pub(super) fn refused<D: Dialect>(host: &mut D, now: Now, envelope: &Envelope) {
    let pair = (envelope.to.clone(), envelope.from.clone());
    if let Some(watched) = host.presences().watched.get_mut(&pair) {
        watched.state = None;
    }
    for key in host.presences().dialogs_of(&pair) {
        let Some(notifier) = host.presences().notifiers.get_mut(&key) else { continue };
        // Whoever only looked once is told nothing, in good time.
        if notifier.ends.is_none() {
            notifier.ends = Some(REJECTED);
        }
        notifier.is_active = false;
        notifier.changed = true;
        notifier.sent = None;
        notify(host, now, key);
    }
}

/// The state of a presentity, as a watcher may see it.
pub(super) fn state<D: Dialect>(host: &mut D, now: Now, envelope: &Envelope, presence: &Presence) {
    let pair = (envelope.to.clone(), envelope.from.clone());
    let Some(watched) = host.presences().watched.get_mut(&pair) else { return };
    watched.state = Some(presence.clone());
    for key in host.presences().dialogs_of(&pair) {
        let presences = host.presences();
        let Some(notifier) = presences.notifiers.get_mut(&key) else { continue };
        // Only of whom it is told is it told: so a dialog from before a restart, or begun a moment ago, may see.
        let begins = !std::mem::replace(&mut notifier.is_active, true);
        notifier.changed = true;
        match notifier.sent.map(|sent| sent + NOTIFY_PACE).filter(|at| *at > now.instant && !begins) {
            Some(at) => presences.plan(at, Plan::Notify(key)),
            None => notify(host, now, key),
        }
    }
}

/// Sends a NOTIFY, if there is something to say and it may be said now.
pub(super) fn notify<D: Dialect>(host: &mut D, now: Now, key: Key) {
    // One at a time (RFC 6665 §4.2.2); what has changed since goes with the next.
    let Some(notifier) = host.presences().notifiers.get(&key).filter(|notifier| notifier.has_news()) else { return };
    let link = notifier.link.clone();
    if !host.is_up(&link) {
        return;
    }
    if let Err(at) = host.pace(now, &link) {
        return host.presences().plan(at, Plan::Notify(key));
    }
    let Ok(request) = build(host, now, &link, key) else { return remove(host, key) };
    let sent = host.send(now, &link, request, Asked::Notify(key));
    let Some(notifier) = host.presences().notifiers.get_mut(&key) else { return };
    notifier.asked = sent;
    notifier.changed = sent.is_none();
    notifier.sent = Some(now.instant);
    if notifier.dialog.local_sequence() >= notifier.reserved && notifier.ends.is_none() {
        kept::keep_notifier(host, now, key);
    }
}

fn build<D: Dialect>(host: &mut D, now: Now, link: &LinkId, key: Key) -> Result<RequestBuilder, Unencodable> {
    let presences = host.presences();
    let notifier = presences.notifiers.get_mut(&key).ok_or(Unencodable::Empty("a dialog"))?;
    let nobody = Presence::default();
    let state = match presences.watched.get(&notifier.pair).and_then(|watched| watched.state.as_ref()) {
        _ if notifier.ends == Some(REJECTED) && D::TERMS.hides_at_end => Some(&nobody),
        state => state.filter(|_| notifier.is_active),
    };
    let body = D::write(&notifier.manner, &notifier.pair.1, state, now)?;
    let left = notifier.expires.saturating_duration_since(now.instant).as_secs();
    let how = match notifier.ends {
        Some(reason) => format!("terminated;reason={reason}"),
        None if notifier.is_active || !D::TERMS.has_pending => format!("active;expires={left}"),
        None => format!("pending;expires={left}"),
    };
    let request = notifier.dialog.request(Method::Notify)?;
    let request = with(request, &[(Name::Event, D::event(&notifier.manner)), (Name::SubscriptionState, &how)])?;
    let request = host.sign(request, link, key, false)?;
    Ok(match body {
        Some((media, content)) => request.body(media, content),
        None => request,
    })
}

/// The answer to a NOTIFY; `None`: there was none.
pub(super) fn answered<D: Dialect>(host: &mut D, now: Now, key: Key, response: Option<&Response>) {
    let Some(link) = host.presences().notifiers.get(&key).map(|notifier| notifier.link.clone()) else { return };
    let is_up = host.is_up(&link);
    let presences = host.presences();
    let Some(notifier) = presences.notifiers.get_mut(&key) else { return };
    notifier.asked = None;
    let status = response.map_or(408, Response::status);
    let has_retry = response.is_some_and(|response| response.headers().retry_after().is_ok_and(|retry| retry.is_some()));
    match status {
        200..=299 if notifier.ends.is_some() && !notifier.changed => remove(host, key),
        200..=299 => {
            if notifier.changed {
                let at = notifier.sent.map_or(now.instant, |sent| sent + NOTIFY_PACE);
                presences.plan(at, Plan::Notify(key));
            }
        }
        480 | 503 if has_retry => {
            notifier.changed = true;
            presences.plan(now.instant + AGAIN_AFTER, Plan::Notify(key));
        }
        // The connection went with the request: it is said again when the link is up.
        408 if !is_up => notifier.changed = true,
        // RFC 6665 §4.2.2: the watcher has no such dialog, or does not answer.
        _ => remove(host, key),
    }
}

/// A dialog was not refreshed in time.
pub(super) fn expire<D: Dialect>(host: &mut D, now: Now, key: Key) {
    let Some(notifier) = host.presences().notifiers.get_mut(&key) else { return };
    if notifier.expires > now.instant || notifier.ends.is_some() {
        return;
    }
    notifier.ends = Some("timeout");
    notifier.changed = true;
    let link = notifier.link.clone();
    if host.is_up(&link) { notify(host, now, key) } else { remove(host, key) }
}

/// Seconds for which a subscription is granted.
fn read_expires<D: Dialect>(request: &Request) -> Result<u32, Refusing> {
    let malformed = |_| Refusing::Rules(Refused::because(400, "Malformed Expires"));
    let asked = request.headers().expires().map_err(malformed)?.unwrap_or(EXPIRES);
    let least = D::TERMS.least_expires;
    if (1..least).contains(&asked) && D::TERMS.refuses_brief {
        return Err(Refusing::Rules(Refused::of(423).with(Name::MinExpires, &least.to_string())));
    }
    Ok(if asked == 0 { 0 } else { asked.clamp(least, EXPIRES) })
}
