//! Requests that come again: the `Idempotency-Key` of a change is remembered with its answer, so that a client that did not hear it may ask again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::problem::Problem;

/// The longest key, in bytes.
const LONGEST: usize = 255;
/// The most keys that are remembered; the oldest go first.
const MOST: usize = 10_000;
/// For how long.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// What was answered, by user and key. Of this node, and until it is restarted: afterwards a change that was made is refused as one that is there already.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    answers: HashMap<(String, String), Answered>,
    order: VecDeque<(Instant, (String, String))>,
}

#[derive(Debug, Clone)]
struct Answered {
    body: [u8; 32],
    version: u64,
}

/// The turn of a request with a key: others with keys wait for it.
pub(crate) struct Turn<'a> {
    known: MutexGuard<'a, Known>,
    key: (String, String),
    body: [u8; 32],
}

/// What is to be done with a request.
pub(crate) enum Fate<'a> {
    /// It has no key.
    Plain,
    /// It is new, and its answer is to be noted.
    New(Turn<'a>),
    /// It came before, and this was its answer.
    Again(u64),
}

impl Repeats {
    /// Looks at a request of a user.
    ///
    /// # Errors
    /// For a key that is too long or not printable, and for one that came with another body.
    pub(crate) async fn look(&self, user: &str, headers: &HeaderMap, body: &[u8]) -> Result<Fate<'_>, Problem> {
        let Some(key) = headers.get("idempotency-key") else { return Ok(Fate::Plain) };
        let key = key.to_str().ok().filter(|key| (1..=LONGEST).contains(&key.len()));
        let Some(key) = key else {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                format!("an Idempotency-Key has 1 to {LONGEST} printable characters"),
            ));
        };
        let (key, body) = ((user.to_owned(), key.to_owned()), Sha256::digest(body).into());
        let known = self.known.lock().await;
        match known.answers.get(&key) {
            Some(answered) if answered.body == body => Ok(Fate::Again(answered.version)),
            Some(_) => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key came with another body: make a new key for each change",
            )),
            None => Ok(Fate::New(Turn { known, key, body })),
        }
    }
}

impl Turn<'_> {
    /// Notes the answer of a change that was made. What was refused may be tried again under its key.
    pub(crate) fn note(mut self, version: u64) {
        let now = Instant::now();
        let known = &mut *self.known;
        while let Some((at, _)) = known.order.front()
            && (known.order.len() >= MOST || now.duration_since(*at) > KEPT)
        {
            if let Some((_, key)) = known.order.pop_front() {
                known.answers.remove(&key);
            }
        }
        known.order.push_back((now, self.key.clone()));
        known.answers.insert(self.key, Answered { body: self.body, version });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(key: &str) -> HeaderMap {
        [("idempotency-key".parse().unwrap(), key.parse().unwrap())].into_iter().collect()
    }

    async fn make(repeats: &Repeats, user: &str, key: &str, body: &str, version: u64) -> Option<u64> {
        match repeats.look(user, &headers(key), body.as_bytes()).await {
            Ok(Fate::New(turn)) => {
                turn.note(version);
                Some(version)
            }
            Ok(Fate::Again(version)) => Some(version),
            Ok(Fate::Plain) => unreachable!("it has a key"),
            Err(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_again_is_answered_as_before() {
        let repeats = Repeats::default();
        assert_eq!(make(&repeats, "eve", "k", "{}", 1).await, Some(1));
        assert_eq!(make(&repeats, "eve", "k", "{}", 2).await, Some(1));
        assert_eq!(make(&repeats, "eve", "k", "{ }", 3).await, None, "another body");
        assert_eq!(make(&repeats, "mallory", "k", "{}", 4).await, Some(4), "each user has keys of their own");
        // What was not noted is new.
        assert!(matches!(repeats.look("eve", &headers("r"), b"{}").await, Ok(Fate::New(_))));
        assert_eq!(make(&repeats, "eve", "r", "{ }", 5).await, Some(5));
        for wrong in ["", &"k".repeat(256)] {
            assert!(repeats.look("eve", &headers(wrong), b"").await.is_err());
        }
        assert!(matches!(repeats.look("eve", &HeaderMap::new(), b"").await, Ok(Fate::Plain)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_are_forgotten() {
        let repeats = Repeats::default();
        assert_eq!(make(&repeats, "eve", "old", "{}", 1).await, Some(1));
        for number in 0..MOST {
            make(&repeats, "eve", &number.to_string(), "{}", 2).await;
        }
        assert_eq!(repeats.known.lock().await.answers.len(), MOST);
        assert_eq!(make(&repeats, "eve", "old", "{}", 3).await, Some(3));
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        make(&repeats, "eve", "new", "{}", 4).await;
        assert_eq!(repeats.known.lock().await.answers.len(), 1);
    }
}
