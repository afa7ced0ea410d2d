//! Sessions: a dialog between one of the member's people and one of ours, in which messages go (INVITE with `m=message`).
//!
//! `invite` begins and ends them, `refresh` keeps their timers, `reports` tells what became of messages after their answers, `kept` is what a restart of
//! the hub must not lose. This file holds the table, what is said in a session, and what it does
//! as time passes. A session belongs to its dialog and not to a connection: it outlives those.

mod invite;
mod kept;
mod refresh;
mod reports;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use interchange_adapter::Now;
use interchange_model::{Address, Outcome, Refusal};
use ocs_codec::session::{MediaWord, Session as Description};
use sip_codec::{Method, Request, RequestBuilder};
use sip_model::outbox::{Pair, Place};
use sip_stack::{ClientId, Dialog, SendError, ServerId};

pub(crate) use self::invite::Wanted;
use self::refresh::Timer;
pub(crate) use self::reports::{Reports, is_report, status_of};
use crate::link::Way;
use crate::timers::{Alarm, Sleeper};
use crate::typing::Writing;
use crate::{Asked, Ocs};

/// Sessions of all links, and of one of the member's people.
const MOST: usize = 50_000;
const MOST_OF_ONE: usize = 1_000;
/// How long a client may ring: with several devices it holds its answer back for ten seconds, or until its user does something.
const RINGS: Duration = Duration::from_secs(70);
/// CSeq numbers that may be used before a dialog is kept anew: a restart leaves out as many at most, which RFC 3261 §12.2.1.1 allows.
const RESERVE: u32 = 50;
/// Conversations whose window at the client is remembered beyond a session.
const MOST_WINDOWS: usize = 20_000;

/// All of them.
#[derive(Default)]
pub(crate) struct Sessions {
    all: BTreeMap<u64, Session>,
    /// Clients use a Call-ID again for the session after one that has ended: it is no key by itself.
    by_call: HashMap<String, Vec<u64>>,
    /// The one of each link and pair, ours first.
    by_pair: HashMap<(u64, Pair), u64>,
    of_one: HashMap<Address, usize>,
    /// 2xx answers that wait for an ACK.
    answered: HashMap<ServerId, u64>,
    /// What the client has called the conversation.
    windows: HashMap<Pair, String>,
}

/// One session.
pub(crate) struct Session {
    link: u64,
    /// Ours and the member's.
    pair: Pair,
    call_id: String,
    stage: Stage,
    /// The client takes HTML.
    html: bool,
    /// The client takes reports of what became of a message.
    reports: bool,
    /// The word in the media line of its description.
    word: MediaWord,
    /// How long it lasts without a refresh, where that was agreed on.
    timer: Option<Timer>,
    /// When something was last said in it.
    used: Instant,
    /// What waits for it to stand.
    waiting: Option<Place>,
    /// That somebody of ours writes was told.
    pub(crate) writing: Option<Writing>,
    /// As many CSeq numbers may be used before it is kept anew.
    reserved: u32,
    alarm: Alarm,
}

/// What a session is doing.
enum Stage {
    /// Our INVITE is out.
    Inviting { client: ClientId, until: Instant, interval: u32 },
    /// We have answered theirs, and their ACK is to come.
    Answered(Box<Dialog>),
    /// It stands.
    Up(Box<Dialog>),
}

impl Session {
    fn dialog(&self) -> Option<&Dialog> {
        match &self.stage {
            Stage::Inviting { .. } => None,
            Stage::Answered(dialog) | Stage::Up(dialog) => Some(dialog),
        }
    }

    fn dialog_mut(&mut self) -> Option<&mut Dialog> {
        match &mut self.stage {
            Stage::Inviting { .. } => None,
            Stage::Answered(dialog) | Stage::Up(dialog) => Some(dialog),
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up(_))
    }

    /// What the client says that it takes.
    fn describe(&mut self, client: &Description) {
        self.html = client.accepts("text/html");
        self.reports = client.accepts("application/ms-imdn+xml");
        self.word = client.word;
    }
}

impl Sessions {
    fn add(&mut self, number: u64, session: Session) {
        self.by_call.entry(session.call_id.clone()).or_default().push(number);
        self.by_pair.insert((session.link, session.pair.clone()), number);
        *self.of_one.entry(session.pair.1.clone()).or_default() += 1;
        self.all.insert(number, session);
    }

    fn take(&mut self, number: u64) -> Option<Session> {
        let session = self.all.remove(&number)?;
        if let Some(numbers) = self.by_call.get_mut(&session.call_id) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_call.remove(&session.call_id);
            }
        }
        let place = (session.link, session.pair.clone());
        if self.by_pair.get(&place) == Some(&number) {
            self.by_pair.remove(&place);
        }
        if let Some(count) = self.of_one.get_mut(&session.pair.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_one.remove(&session.pair.1);
            }
        }
        Some(session)
    }

    /// The session of a pair, and whether it stands.
    pub(crate) fn state(&self, link: u64, pair: &Pair) -> Option<(u64, bool)> {
        let number = *self.by_pair.get(&(link, pair.clone()))?;
        Some((number, self.all.get(&number)?.is_up()))
    }

    /// The session of a pair, if it stands.
    pub(crate) fn standing(&mut self, link: u64, pair: &Pair) -> Option<(u64, &mut Session)> {
        let number = *self.by_pair.get(&(link, pair.clone()))?;
        Some((number, self.all.get_mut(&number).filter(|session| session.is_up())?))
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Session> {
        self.all.get_mut(&number)
    }

    /// An entry waits for a session to stand.
    pub(crate) fn wait(&mut self, number: u64, place: Place) {
        if let Some(session) = self.all.get_mut(&number) {
            session.waiting = Some(place);
        }
    }

    fn remember_window(&mut self, pair: &Pair, name: String) {
        if self.windows.len() >= MOST_WINDOWS && !self.windows.contains_key(pair) {
            // The hub has a name of its own for each, which is as good but for the open windows of these few.
            self.windows.clear();
        }
        self.windows.insert(pair.clone(), name);
    }
}

impl Ocs {
    /// The session to whose dialog a request belongs, which must be of the person that it is from.
    pub(crate) fn session_of(&self, request: &Request, from: &Address) -> Option<u64> {
        let numbers = self.sessions.by_call.get(request.call_id())?;
        numbers.iter().copied().find(|number| {
            let session = self.sessions.all.get(number);
            session.is_some_and(|session| session.pair.1 == *from && session.dialog().is_some_and(|dialog| dialog.has(request)))
        })
    }

    /// Something was said in a session: for whom.
    pub(crate) fn heard_in(&mut self, now: Now, number: u64, request: &Request) -> Option<Address> {
        let session = self.sessions.all.get_mut(&number)?;
        session.used = now.instant;
        if let Some(dialog) = session.dialog_mut() {
            // Where the client is now. Real ones begin to count anew in a session, so their order says nothing.
            let _ = dialog.take(request);
        }
        Some(session.pair.0.clone())
    }

    pub(crate) fn link_of_session(&self, number: u64) -> Option<u64> {
        self.sessions.all.get(&number).map(|session| session.link)
    }

    /// The way that requests of a session take now.
    pub(crate) fn way_of_session(&self, number: u64) -> Option<(u64, Way)> {
        let link = self.link_of_session(number)?;
        Some((link, self.links.get(&link)?.way()?))
    }

    /// The next request in a session's dialog.
    pub(crate) fn session_request(&mut self, now: Now, number: u64, method: Method, id: &str) -> Option<RequestBuilder> {
        let session = self.sessions.all.get_mut(&number)?;
        let reserved = session.reserved;
        let dialog = session.dialog_mut()?;
        let request = dialog.request(method).ok()?;
        if dialog.local_sequence() >= reserved {
            self.keep_session(now, number);
        }
        self.hub.signed(request, id).ok()
    }

    /// Sends an open entry in a session that stands.
    pub(crate) fn send_words(&mut self, now: Now, number: u64, place: Place) {
        let Some((link, way)) = self.way_of_session(number) else { return };
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        session.used = now.instant;
        // Words are the end of writing them, for the client too.
        session.writing = None;
        let (takes_html, takes_reports) = (session.html, session.reports);
        let Some(known) = self.links.get_mut(&link) else { return };
        let html = takes_html && known.settings.html;
        let Some(delivery) = known.outbox.get_mut(place) else { return };
        delivery.report = delivery.report.filter(|_| takes_reports);
        let (report, pair) = (delivery.report, delivery.pair.clone());
        let (id, hops, written) = (delivery.message.to_string(), delivery.hops, delivery.parts.current().write(html));
        let request = match report {
            Some((message, status)) => self.report_request(now, number, &pair, message, status),
            None => self
                .session_request(now, number, Method::Message, &id)
                .zip(written.ok())
                .map(|(request, (media, content))| request.max_forwards(hops).body(media, content)),
        };
        let Some(request) = request else { return self.finish(link, place, Outcome::Refused(Refusal::Unsupported)) };
        match self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions) {
            Ok(client) => {
                self.clients.insert(client, Asked::Message { session: number, link, place, sent: now.instant });
            }
            Err(SendError::TooMany) => self.silent(now, link, "too many requests are under way"),
            Err(_) => self.finish(link, place, Outcome::Refused(Refusal::Unsupported)),
        }
        self.arm_session(number);
    }

    /// Ends a session; `say`: by a BYE. What waits for it has another begun.
    pub(crate) fn end_session(&mut self, now: Now, number: u64, say: bool) {
        let Some(link) = self.link_of_session(number) else { return };
        if let Some(place) = self.drop_session(now, number, say) {
            if let Some(link) = self.links.get_mut(&link) {
                link.outbox.again(place);
            }
            self.send_waiting(now, link);
        }
    }

    /// The same without another: what waited for it.
    fn drop_session(&mut self, now: Now, number: u64, say: bool) -> Option<Place> {
        let way = self.way_of_session(number);
        if say && let Some((_, way)) = way {
            let id = format!("{number:016x}");
            if let Some(Stage::Inviting { client, .. }) = self.sessions.all.get(&number).map(|session| &session.stage) {
                let client = *client;
                let _ = self.layer.cancel(now.instant, client, &mut self.actions);
            } else if let Some(request) = self.session_request(now, number, Method::Bye, &id)
                && let Ok(client) = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions)
            {
                self.clients.insert(client, Asked::Bye);
            }
        }
        let mut session = self.sessions.take(number)?;
        self.timers.set(&mut session.alarm, Sleeper::Session(number), None);
        self.forget_session(session.link, number);
        session.waiting
    }

    /// A link is no more, and its sessions with it.
    pub(crate) fn end_sessions_of(&mut self, now: Now, link: u64) {
        let of_link = |(number, session): (&u64, &Session)| (session.link == link).then_some(*number);
        let numbers: Vec<u64> = self.sessions.all.iter().filter_map(of_link).collect();
        for number in numbers {
            let _ = self.drop_session(now, number, true);
        }
    }

    /// All that waited for a link's sessions was settled. Those that are not answered yet are given up with the connection.
    pub(crate) fn forget_waiting(&mut self, link: u64) {
        let mut given_up = Vec::new();
        for (number, session) in self.sessions.all.iter_mut().filter(|(_, session)| session.link == link) {
            session.waiting = None;
            session.writing = None;
            if matches!(session.stage, Stage::Inviting { .. }) {
                given_up.push(*number);
            }
        }
        for number in given_up {
            if let Some(mut session) = self.sessions.take(number) {
                self.timers.set(&mut session.alarm, Sleeper::Session(number), None);
            }
        }
    }

    pub(crate) fn wake_session(&mut self, now: Now, number: u64) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        session.alarm.rang();
        let idle = self.links.get(&session.link).map_or(Duration::ZERO, |link| link.settings.idle());
        match &session.stage {
            Stage::Inviting { until, .. } if now.instant >= *until => {
                let link = session.link;
                return self.invite_failed(now, number, link, Outcome::Refused(Refusal::Unavailable));
            }
            Stage::Answered(_) | Stage::Up(_) if now.instant >= session.used + idle => {
                return self.end_session(now, number, true);
            }
            _ => {}
        }
        if session.writing.is_some_and(|writing| now.instant >= writing.next) {
            self.repeat_typing(now, number);
        }
        if !self.wake_timer(now, number) {
            self.arm_session(number);
        }
    }

    pub(crate) fn arm_session(&mut self, number: u64) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        let idle = self.links.get(&session.link).map_or(Duration::ZERO, |link| link.settings.idle());
        let end = match &session.stage {
            Stage::Inviting { until, .. } => *until,
            Stage::Answered(_) | Stage::Up(_) => session.used + idle,
        };
        let writing = session.writing.map(|writing| writing.next);
        let timer = session.timer.map(|timer| timer.due());
        let at = [Some(end), writing, timer].into_iter().flatten().min();
        self.timers.set(&mut session.alarm, Sleeper::Session(number), at);
    }
}
