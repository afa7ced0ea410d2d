//! What a client may do at most, and how often. An honest one stays far below each of these.

use std::time::{Duration, Instant};

/// Bytes of a frame before login, and after (abuse case 21).
pub(crate) const FRAME_BEFORE: usize = 16 * 1024;
pub(crate) const FRAME_AFTER: usize = 256 * 1024;
/// So many bytes of a frame count as one message.
pub(crate) const COUNTED: usize = 2_048;
/// To be signed in (abuse case 23), for a frame to be whole once it has begun, and for an answer of the client.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A client that was silent so long is asked whether it lives.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// After a start, those who were here before it are waited for so long: Pidgin comes back after 8 to 60 s.
pub(crate) const RETURN: Duration = Duration::from_secs(60);
/// Bytes of a login name.
pub(crate) const NAME: usize = 255;
/// Channels to the server's services, of one connection.
pub(crate) const SERVICES: usize = 16;
/// Conversations of one connection; of more, the one that was longest silent is closed.
pub(crate) const CONVERSATIONS: usize = 256;
/// Messages that wait for one conversation to be opened.
pub(crate) const WAITING: usize = 256;
/// Contacts that one connection is told of.
pub(crate) const CONTACTS: usize = 2_000;
/// Names of one question, and questions of one connection that are open.
pub(crate) const NAMES: usize = 32;
pub(crate) const QUESTIONS: usize = 8;
/// Texts of one connection that the broker has not answered.
pub(crate) const SUBMISSIONS: usize = 256;
/// Bytes of a text put together from parts.
pub(crate) const TEXT: usize = 128 * 1024;
/// Bytes of one string of text towards a client, which has at most 65,535.
pub(crate) const PIECE: usize = 60_000;
/// Values that one person keeps here, their bytes, and all bytes of a link.
pub(crate) const KEPT_KEYS: usize = 32;
pub(crate) const KEPT_VALUE: usize = 64 * 1024;
pub(crate) const KEPT_OF_ONE: usize = 256 * 1024;
pub(crate) const KEPT_OF_LINK: usize = 64 * 1024 * 1024;
/// People of other platforms who see somebody here, in all.
pub(crate) const WATCHERS: usize = 200_000;
/// People in a list of who may see somebody.
pub(crate) const PRIVACY: usize = 1_000;
/// How long a lasting refusal is remembered, so that the next conversation with the same person is refused at once; and of how many.
pub(crate) const REFUSED_FOR: Duration = Duration::from_secs(60);
pub(crate) const REFUSED: usize = 256;
/// Contacts whose turn to be asked for has not come, of all people; more are not asked for before their next sign-on.
pub(crate) const PLANNED: usize = 200_000;
/// Between two tellings of one person's state.
pub(crate) const STATUS_PACE: Duration = Duration::from_secs(1);
/// States that are asked for in one turn, and between two turns: 500 a second.
pub(crate) const FETCHES: usize = 10;
pub(crate) const FETCH_PACE: Duration = Duration::from_millis(20);

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    tokens: f64,
    since: Instant,
    per_second: f64,
    burst: f64,
}

impl Bucket {
    /// All messages of a connection, a large one counting as one for each 2 KiB: 200 KiB a second. A person's client says some hundred at sign-on and a few
    /// a minute then.
    pub(crate) fn messages(now: Instant) -> Self {
        Self { tokens: 2_000.0, since: now, per_second: 100.0, burst: 2_000.0 }
    }

    /// Answers to the question whether a service is there, and new channels.
    pub(crate) fn channels(now: Instant) -> Self {
        Self { tokens: 60.0, since: now, per_second: 5.0, burst: 60.0 }
    }

    /// Whether one more may be.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_many(now, 1)
    }

    /// Whether so many more may be.
    pub(crate) fn take_many(&mut self, now: Instant, many: u16) -> bool {
        let many = f64::from(many);
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.since = now;
        let may = self.tokens >= many;
        if may {
            self.tokens -= many;
        }
        may
    }
}
