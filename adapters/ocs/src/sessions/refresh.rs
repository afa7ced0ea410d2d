//! Session timers (RFC 4028): a session that nobody refreshes is over, so that neither side, nor the servers between, keeps the dialog of somebody who is
//! gone. A refresh is an UPDATE, or an INVITE in the session; it is no use of the session, which ends all the same when nothing is said in it.

use std::time::{Duration, Instant};

use interchange_adapter::Now;
use interchange_model::Address;
use ocs_codec::session::Session as Description;
use ocs_codec::timer::{Refresher, SessionExpires, read_minimum};
use rand::RngExt;
use sip_codec::{ContentType, Method, Name, Request, RequestBuilder, Response, Unencodable, Value};

use super::Stage;
use super::invite::{is_group, read_offer};
use crate::body::ACCEPT;
use crate::diagnostics::Diagnosis;
use crate::inbound::{ONLY_TWO, Open};
use crate::{Asked, Ocs};

/// Seconds that we ask for, as RFC 4028 §4 recommends.
pub(super) const INTERVAL: u32 = 1_800;
/// The fewest that anybody may ask for (RFC 4028 §5).
pub(super) const LEAST: u32 = 90;
/// The most that we agree to, or are driven to: a day.
pub(super) const MOST: u32 = 86_400;
/// Between two attempts at a refresh that has failed.
const AGAIN: Duration = Duration::from_secs(10);

/// What the two sides have agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    seconds: u32,
    /// It is for us to refresh.
    is_ours: bool,
    /// The other side knows session timers; else a server between has asked for one.
    is_known: bool,
}

/// The timer of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) seconds: u32,
    pub(super) is_ours: bool,
    /// The other side takes UPDATE, which needs no offer.
    pub(super) by_update: bool,
    /// The fewest seconds that somebody on the way takes.
    minimum: u32,
    /// When it was last refreshed.
    since: Instant,
    /// When the next refresh of ours is due.
    next: Instant,
    /// A refresh of ours is out.
    is_out: bool,
}

impl Timer {
    fn new(now: Instant, agreed: Agreed, by_update: bool, minimum: u32) -> Self {
        let Agreed { seconds, is_ours, .. } = agreed;
        // RFC 4028 §7.2: half of it is left for other attempts.
        let next = now + Duration::from_secs(u64::from(seconds) / 2);
        Self { seconds, is_ours, by_update, minimum, since: now, next, is_out: false }
    }

    /// A timer that was kept, of a session that is over in so long.
    pub(super) fn restored(now: Instant, seconds: u32, is_ours: bool, by_update: bool, left: Duration) -> Option<Self> {
        let seconds = seconds.clamp(LEAST, MOST);
        let passed = Duration::from_secs(seconds.into()).checked_sub(left)?;
        let agreed = Agreed { seconds, is_ours, is_known: true };
        let since = now.checked_sub(passed).unwrap_or(now);
        Some(Self { since, ..Self::new(now, agreed, by_update, LEAST) }).map(|timer| Self { next: now + AGAIN, ..timer })
    }

    /// How long the session lasts without another refresh.
    pub(super) fn left(&self, now: Instant) -> Duration {
        (self.since + Duration::from_secs(self.seconds.into())).saturating_duration_since(now)
    }

    /// When it is given up: a little before it is over (RFC 4028 §10).
    fn end(&self) -> Instant {
        self.since + Duration::from_secs((self.seconds - (self.seconds / 3).min(32)).into())
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Instant {
        if self.is_ours && !self.is_out { self.next.min(self.end()) } else { self.end() }
    }
}

/// What a request asks for, and what is answered (RFC 4028 §9); `None`: there is no timer.
pub(super) fn agree(request: &Request) -> Result<Option<Agreed>, Diagnosis> {
    let Some(value) = request.headers().first(Name::SessionExpires) else { return Ok(None) };
    let asked = SessionExpires::read(&value.text()).ok_or(Diagnosis::because(400, "Malformed Session-Expires"))?;
    let is_known = request.headers().has_token(Name::Supported, "timer") || request.headers().has_token(Name::Require, "timer");
    if asked.seconds < LEAST {
        // Whoever does not know timers would not understand the refusal, and has not asked for this one.
        return if is_known { Err(Diagnosis::of(422).with(Name::MinSe, &LEAST.to_string())) } else { Ok(None) };
    }
    let is_ours = !is_known || asked.refresher == Some(Refresher::Uas);
    Ok(Some(Agreed { seconds: asked.seconds.min(MOST), is_ours, is_known }))
}

/// The same in an answer.
pub(super) fn with_timer(response: Response, agreed: Option<Agreed>) -> Result<Response, Unencodable> {
    let Some(Agreed { seconds, is_ours, is_known }) = agreed else { return Ok(response) };
    let refresher = Some(if is_ours { Refresher::Uas } else { Refresher::Uac });
    let mut response = response.with_header(Name::SessionExpires, Value::new(&SessionExpires { seconds, refresher }.write())?)?;
    if is_known {
        response = response.with_header(Name::Supported, Value::new("timer")?)?;
    }
    if !is_ours {
        response = response.with_header(Name::Require, Value::new("timer")?)?;
    }
    Ok(response)
}

/// What a 2xx to a request of ours agrees to (RFC 4028 §7.2).
pub(super) fn agreed(response: &Response) -> Option<Agreed> {
    let value = SessionExpires::read(&response.headers().first(Name::SessionExpires)?.text())?;
    let is_ours = value.refresher != Some(Refresher::Uas);
    Some(Agreed { seconds: value.seconds.clamp(LEAST, MOST), is_ours, is_known: true })
}

/// What a request of ours asks for.
pub(super) fn asking(
    request: RequestBuilder,
    seconds: u32,
    minimum: u32,
    refresher: Option<Refresher>,
) -> Result<RequestBuilder, Unencodable> {
    request
        .header(Name::Supported, Value::new("timer")?)?
        .header(Name::SessionExpires, Value::new(&SessionExpires { seconds, refresher }.write())?)?
        .header(Name::MinSe, Value::new(&minimum.to_string())?)
}

/// The fewest seconds that whoever has refused a request takes, where we can ask for so many.
pub(super) fn minimum(response: &Response) -> Option<u32> {
    let minimum = read_minimum(&response.headers().first(Name::MinSe)?.text())?;
    (LEAST..=MOST).contains(&minimum).then_some(minimum)
}

impl Ocs {
    /// The timer of a session begins, or begins anew, or there is none.
    pub(super) fn set_timer(&mut self, now: Now, number: u64, agreed: Option<Agreed>, by_update: bool) {
        let Some(session) = self.sessions.get_mut(number) else { return };
        let minimum = session.timer.map_or(LEAST, |timer| timer.minimum);
        session.timer = agreed.map(|agreed| Timer::new(now.instant, agreed, by_update, minimum));
    }

    /// A re-INVITE or an UPDATE: a refresh, another offer, or an attempt at something that is not carried.
    pub(crate) fn take_refresh(&mut self, now: Now, from: &Address, open: &Open) {
        if let Err(diagnosis) = self.refreshed_by_peer(now, from, open) {
            self.refuse(now, open, &diagnosis);
        }
    }

    fn refreshed_by_peer(&mut self, now: Now, from: &Address, open: &Open) -> Result<(), Diagnosis> {
        let request = &open.request;
        let number = self.session_of(request, from).ok_or(Diagnosis::of(481))?;
        if is_group(request) {
            return Err(Diagnosis::because(488, ONLY_TWO));
        }
        let is_invite = *request.method() == Method::Invite;
        let offer = if is_invite || !request.body().is_empty() { Some(read_offer(request)?) } else { None };
        let agreed = agree(request)?;
        let by_update = request.headers().has_token(Name::Allow, "UPDATE");
        let session = self.sessions.get_mut(number).ok_or(Diagnosis::of(481))?;
        if is_invite && session.timer.is_some_and(|timer| timer.is_out && !timer.by_update) {
            // RFC 3261 §14.2: both have asked at once, and both ask again.
            return Err(Diagnosis::of(491));
        }
        if let Some(dialog) = session.dialog_mut() {
            let _ = dialog.take(request);
        }
        let by_update = by_update || session.timer.is_some_and(|timer| timer.by_update);
        if let Some(offer) = &offer {
            session.describe(offer);
        }
        let response = match &offer {
            Some(offer) => self.answer_offer(open, None, offer, false, agreed),
            None => self.answer_update(open, agreed),
        };
        let response = response.map_err(|_| Diagnosis::of(500))?;
        self.set_timer(now, number, agreed, by_update);
        let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        self.keep_session(now, number);
        self.arm_session(number);
        Ok(())
    }

    fn answer_update(&self, open: &Open, agreed: Option<Agreed>) -> Result<Response, Unencodable> {
        let response = Response::to_request(&open.request, 200, None, None)?
            .with_header(Name::Contact, self.hub.contact()?)?
            .with_header(Name::Server, Value::new("Interchange")?)?;
        with_timer(response, agreed)
    }

    /// A session's timer may have rung; `true`: it is over.
    pub(super) fn wake_timer(&mut self, now: Now, number: u64) -> bool {
        let Some(timer) = self.sessions.get_mut(number).and_then(|session| session.timer) else { return false };
        if now.instant >= timer.end() {
            self.end_session(now, number, true);
            return true;
        }
        if now.instant >= timer.due() {
            self.refresh(now, number);
        }
        false
    }

    fn timer_mut(&mut self, number: u64) -> Option<&mut Timer> {
        self.sessions.get_mut(number).and_then(|session| session.timer.as_mut())
    }

    /// Says that the session goes on.
    fn refresh(&mut self, now: Now, number: u64) {
        let Some(session) = self.sessions.get_mut(number) else { return };
        let (is_up, word) = (matches!(session.stage, Stage::Up(_)), session.word);
        let Some(timer) = &mut session.timer else { return };
        // Where it cannot be said now, it is tried again until it is too late.
        timer.next = now.instant + AGAIN;
        let Timer { seconds, minimum, by_update, .. } = *timer;
        let Some((link, way)) = self.way_of_session(number).filter(|_| is_up) else { return };
        if self.links.get_mut(&link).is_none_or(|link| link.pace.take(now.instant, 1).is_err()) {
            return;
        }
        let method = if by_update { Method::Update } else { Method::Invite };
        let Some(request) = self.session_request(now, number, method, &format!("{number:016x}")) else { return };
        let build = || -> Result<RequestBuilder, Unencodable> {
            let request = asking(request, seconds, minimum, Some(Refresher::Uac))?;
            if by_update {
                return Ok(request);
            }
            let offer = Description { word, accept: ACCEPT.map(str::to_owned).to_vec() };
            Ok(request.body(ContentType::new("application", "sdp")?, offer.write(None)))
        };
        let Ok(request) = build() else { return };
        if let Ok(client) = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions) {
            self.clients.insert(client, Asked::Refresh { session: number, link });
            if let Some(timer) = self.timer_mut(number) {
                timer.is_out = true;
            }
        }
    }

    /// The final answer to a refresh of ours.
    pub(crate) fn refreshed(&mut self, now: Now, number: u64, link: u64, response: &Response) {
        let code = response.status();
        let is_invite = response.cseq().method == Method::Invite;
        let again_soon = Duration::from_millis(self.random.random_range(2_100..=4_000));
        let Some(session) = self.sessions.get_mut(number) else { return };
        let Some(timer) = session.timer.as_mut() else { return };
        timer.is_out = false;
        match code {
            200..=299 => {
                let by_update = timer.by_update;
                if let Some(dialog) = session.dialog_mut() {
                    dialog.answered(response);
                }
                if let Some(dialog) = session.dialog().filter(|_| is_invite).cloned() {
                    self.acknowledge(link, &dialog, response.cseq().number);
                }
                // RFC 4028 §7.2: without the header there is no timer any more.
                self.set_timer(now, number, agreed(response), by_update);
                self.keep_session(now, number);
            }
            // RFC 4028 §10: the other side has no such session, or is not there.
            408 | 481 => return self.end_session(now, number, code != 481),
            422 => {
                if let Some(minimum) = minimum(response).filter(|minimum| *minimum > timer.seconds) {
                    (timer.minimum, timer.seconds) = (minimum, minimum);
                    self.refresh(now, number);
                }
            }
            // RFC 3261 §14.1: both have asked at once.
            491 => timer.next = now.instant + again_soon,
            _ if timer.by_update => {
                timer.by_update = false;
                self.refresh(now, number);
            }
            _ => {}
        }
        self.arm_session(number);
    }

    /// A refresh was not answered: in time, or before the connection went.
    pub(crate) fn not_refreshed(&mut self, now: Now, number: u64, timed_out: bool) {
        if timed_out {
            return self.end_session(now, number, true);
        }
        if let Some(timer) = self.timer_mut(number) {
            timer.is_out = false;
        }
        self.arm_session(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(seconds: u32, is_ours: bool) -> (Instant, Timer) {
        let now = Instant::now();
        (now, Timer::new(now, Agreed { seconds, is_ours, is_known: true }, true, LEAST))
    }

    #[test]
    fn a_refresh_is_due_at_half_time_and_the_end_a_little_before_it() {
        let (now, ours) = timer(1_800, true);
        assert_eq!((ours.due() - now, ours.end() - now), (Duration::from_secs(900), Duration::from_secs(1_768)));
        let (now, theirs) = timer(90, false);
        assert_eq!((theirs.due() - now, theirs.end() - now), (Duration::from_secs(60), Duration::from_secs(60)));
        let out = Timer { is_out: true, ..ours };
        assert_eq!(out.due(), out.end());
    }

    #[test]
    fn what_was_kept_is_over_when_it_would_have_been() {
        let now = Instant::now() + Duration::from_secs(100_000);
        let kept = Timer::restored(now, 1_800, true, false, Duration::from_secs(300)).unwrap();
        assert_eq!((kept.left(now), kept.due() - now), (Duration::from_secs(300), AGAIN));
        // What nobody can have agreed on.
        assert!(Timer::restored(now, 1_800, true, false, Duration::from_secs(1_801)).is_none());
        assert_eq!(Timer::restored(now, 0, true, false, Duration::from_secs(10)).unwrap().seconds, LEAST);
    }
}
