//! What a restart of the hub must not lose of a session: the user's next message comes in it, and answers reach the same window.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use interchange_adapter::{Now, Output};
use interchange_model::{Address, LinkId, Up};
use ocs_codec::session::MediaWord;
use serde::{Deserialize, Serialize};
use sip_adapter::presence::Engine as _;
use sip_stack::{Dialog, Parts};

use super::refresh::Timer;
use super::{RESERVE, Session, Stage};
use crate::Ocs;
use crate::timers::Alarm;

/// One session. The form is a contract with what an older version has written.
#[derive(Serialize, Deserialize)]
struct Kept {
    ours: Address,
    theirs: Address,
    html: bool,
    #[serde(default)]
    reports: bool,
    /// The client is of 2005.
    #[serde(default)]
    old: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timer: Option<KeptTimer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<String>,
    /// Seconds since 1970.
    used: u64,
    call_id: String,
    sequence: u32,
    local: String,
    remote: String,
    remote_sequence: Option<u32>,
    target: String,
    routes: Vec<String>,
}

/// Its timer.
#[derive(Serialize, Deserialize)]
struct KeptTimer {
    seconds: u32,
    ours: bool,
    update: bool,
    /// When the session is over, seconds since 1970.
    end: u64,
}

const PREFIX: &str = "session ";

impl Ocs {
    /// Keeps a session as it is now.
    pub(crate) fn keep_session(&mut self, now: Now, number: u64) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        let Some(parts) = session.dialog().map(Dialog::parts) else { return };
        session.reserved = parts.local_sequence + RESERVE;
        let kept = Kept {
            ours: session.pair.0.clone(),
            theirs: session.pair.1.clone(),
            html: session.html,
            reports: session.reports,
            old: session.word == MediaWord::MsMessage,
            timer: session.timer.map(|timer| KeptTimer {
                seconds: timer.seconds,
                ours: timer.is_ours,
                update: timer.by_update,
                end: seconds(now.wall + timer.left(now.instant)),
            }),
            window: self.sessions.windows.get(&session.pair).cloned(),
            used: seconds(now.wall),
            call_id: parts.call_id,
            sequence: session.reserved,
            local: parts.local,
            remote: parts.remote,
            remote_sequence: parts.remote_sequence,
            target: parts.target,
            routes: parts.routes,
        };
        let (link, value) = (session.link, serde_json::to_vec(&kept).ok());
        self.remember_session(link, number, value);
    }

    /// A session is over.
    pub(crate) fn forget_session(&mut self, link: u64, number: u64) {
        self.remember_session(link, number, None);
    }

    fn remember_session(&mut self, link: u64, number: u64, value: Option<Vec<u8>>) {
        if let Some(link) = self.links.get(&link).map(|link| link.id.clone()) {
            let key = format!("{PREFIX}{number:016x}").into();
            self.out.push(Output::Broker(Up::Remember { link, key, value }));
        }
    }

    /// What was kept for a link, when the hub, or the adapter, has begun anew. Entries that cannot be understood are forgotten.
    pub(crate) fn remembered(&mut self, now: Now, link: &LinkId, entries: &[(Arc<str>, Vec<u8>)]) {
        let Some(number) = self.names.get(link).copied() else { return };
        for (entry, value) in entries {
            let done = match entry.strip_prefix(PREFIX) {
                Some(digits) => {
                    u64::from_str_radix(digits, 16).ok().and_then(|key| self.restore_session(now, number, key, value))
                }
                None if entry.starts_with(crate::parts::ENTRY) => self.restore_parts(now, entry, value),
                None => self.restore_presence(now, link, entry, value),
            };
            if done.is_none() {
                self.out.push(Output::Broker(Up::Remember { link: link.clone(), key: entry.clone(), value: None }));
            }
        }
        self.dialogs_known(now, number);
    }

    fn restore_session(&mut self, now: Now, link: u64, number: u64, value: &[u8]) -> Option<()> {
        let kept: Kept = serde_json::from_slice(value).ok()?;
        let pair = (kept.ours, kept.theirs);
        // Another was begun since.
        if self.sessions.by_pair.contains_key(&(link, pair.clone())) {
            return None;
        }
        let parts = Parts {
            call_id: kept.call_id.clone(),
            local: kept.local,
            remote: kept.remote,
            local_sequence: kept.sequence,
            remote_sequence: kept.remote_sequence,
            target: kept.target,
            routes: kept.routes,
        };
        let dialog = Dialog::of_parts(&parts).ok()?;
        // A session that was over meanwhile is forgotten.
        let timer = match &kept.timer {
            Some(timer) => {
                let left = at(timer.end).duration_since(now.wall).ok()?;
                Some(Timer::restored(now.instant, timer.seconds, timer.ours, timer.update, left)?)
            }
            None => None,
        };
        let age = now.wall.duration_since(at(kept.used)).unwrap_or_default();
        let session = Session {
            link,
            pair: pair.clone(),
            call_id: kept.call_id,
            stage: Stage::Up(Box::new(dialog)),
            html: kept.html,
            reports: kept.reports,
            word: if kept.old { MediaWord::MsMessage } else { MediaWord::Message },
            timer,
            // It may have been used since it was kept: it is not ended before its time, counted from now on.
            used: now.instant.checked_sub(age.min(Duration::from_secs(60))).unwrap_or(now.instant),
            waiting: None,
            writing: None,
            reserved: kept.sequence,
            alarm: Alarm::default(),
        };
        if let Some(window) = kept.window {
            self.sessions.remember_window(&pair, window);
        }
        self.sessions.add(number, session);
        self.arm_session(number);
        Some(())
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}
