//! What people and programs show to be let in: tokens of the API, passwords of accounts. Kept as argon2id hashes (RFC 9106) in PHC strings.
//!
//! A hash takes 19 MiB and tens of milliseconds, and whoever guesses makes the hub compute one. So a [`Hashing`] computes one at a time, and lets
//! no more than a number wait for it. Whose a secret is, and what is done about guessing, is not known here.

use std::sync::{Arc, OnceLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params};
use tokio::sync::Semaphore;

/// The most that a hash from outside may ask for: memory in KiB, passes, lanes. Above the 46 MiB of the costliest usual parameters (OWASP).
const MOST_MEMORY: u32 = 64 * 1024;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 4;

/// The hash (argon2id, PHC string) of a secret. Takes tens of milliseconds; see [`Hashing::hash`].
///
/// # Panics
/// Never: the parameters are the library's defaults.
#[must_use]
pub fn hash(secret: &[u8]) -> String {
    Argon2::default().hash_password(secret).expect("the default parameters are right").to_string()
}

/// That a text is a hash which [`Hashing::verify`] will look at.
///
/// # Errors
/// What is wrong with it; the text itself is not in it.
pub fn check(hash: &str) -> Result<(), &'static str> {
    let parsed = PasswordHash::new(hash).map_err(|_| "it is no hash in a PHC string: $argon2id$v=19$m=...")?;
    if Algorithm::new(parsed.algorithm) != Ok(Algorithm::Argon2id) {
        return Err("its algorithm is not argon2id");
    }
    let params = Params::try_from(&parsed).map_err(|_| "its parameters are not those of argon2id")?;
    if params.m_cost() > MOST_MEMORY || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
        return Err("it takes more than 64 MiB, 10 passes or 4 lanes");
    }
    match (&parsed.salt, &parsed.hash) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err("it has no salt, or no hash"),
    }
}

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many ask at once: try again in a second")]
pub struct Busy;

/// Computes hashes, one at a time. Clones share the turn.
#[derive(Debug, Clone)]
pub struct Hashing {
    turn: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Hashing {
    /// With room for so many who wait.
    #[must_use]
    pub fn new(waiting: usize) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), waiting: Arc::new(Semaphore::new(waiting)) }
    }

    /// A new hash. Whoever makes one has been let in, so it waits however many others do.
    pub async fn hash(&self, secret: String) -> String {
        self.one(move || hash(secret.as_bytes())).await
    }

    /// Whether a secret is the one of a hash; of none, it takes the same time and is not.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn verify(&self, secret: String, hash: Option<String>) -> Result<bool, Busy> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        Ok(self.one(move || verify(&secret, hash.as_deref())).await)
    }

    /// Dropped, it goes on to its end, and with it the turn: hashes that nobody waits for any more take processors too.
    async fn one<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = self.turn.clone().acquire_owned().await;
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        working.await.expect("hashing does not panic")
    }
}

fn verify(secret: &str, hash: Option<&str>) -> bool {
    /// The hash of something that nobody knows, of the usual cost.
    static NOBODY: OnceLock<String> = OnceLock::new();
    let known = hash.filter(|hash| check(hash).is_ok());
    let hash = known.unwrap_or_else(|| NOBODY.get_or_init(|| crate::hash(&std::array::from_fn::<u8, 32, _>(|_| 0))));
    let right = PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok());
    right && known.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_fits_its_own_hash_only() {
        let hashing = Hashing::new(4);
        let hash = hashing.hash("correct horse".into()).await;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(check(&hash), Ok(()));
        assert_ne!(hash, hashing.hash("correct horse".into()).await, "each has a salt of its own");
        assert_eq!(hashing.verify("correct horse".into(), Some(hash.clone())).await, Ok(true));
        for wrong in ["correct horsf", "Correct horse", "", "correct horse "] {
            assert_eq!(hashing.verify(wrong.into(), Some(hash.clone())).await, Ok(false), "{wrong}");
        }
        assert_eq!(hashing.verify(String::from_utf8(vec![0; 32]).unwrap(), None).await, Ok(false), "nobody has no secret");
    }

    #[test]
    fn hashes_that_are_not_looked_at() {
        let good = hash(b"x");
        for (hash, why) in [
            ("", "PHC"),
            ("5f4dcc3b5aa765d61d8327deb882cf99", "PHC"),
            (&good.replace("argon2id", "argon2i"), "argon2id"),
            (&good.replace("m=19456", "m=4194304"), "64 MiB"),
            (&good.replace("t=2", "t=100000"), "10 passes"),
            (good.rsplit_once('$').unwrap().0, "no salt, or no hash"),
        ] {
            assert!(check(hash).unwrap_err().contains(why), "{hash}: {:?}", check(hash));
            assert!(!verify("x", Some(hash)), "{hash}");
        }
        assert!(verify("x", Some(&good)));
    }

    #[test]
    fn abuse_37_somebody_who_is_unknown_costs_the_time_of_a_wrong_secret() {
        /// Processor time of this thread in nanoseconds, from Linux's scheduler: a machine that is busy otherwise changes nothing.
        fn processor() -> u64 {
            let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            told.split(' ').next().unwrap().parse().unwrap()
        }
        let known = hash(b"x");
        verify("warm", None);
        let time = |hash: Option<&str>| {
            let tries = (0..5).map(|_| {
                let begun = processor();
                assert!(!verify("wrong", hash));
                processor() - begun
            });
            tries.min().unwrap()
        };
        let (wrong, unknown) = (time(Some(&known)), time(None));
        assert!(wrong < unknown * 2 && unknown < wrong * 2, "{wrong} {unknown}");
        assert!(unknown > 1_000_000, "{unknown}");
    }

    #[tokio::test]
    async fn abuse_37_no_more_wait_than_there_is_room_for() {
        let hashing = Hashing::new(2);
        let guess = || {
            let hashing = hashing.clone();
            tokio::spawn(async move { hashing.verify("guess".into(), None).await })
        };
        let guesses: Vec<_> = (0..8).map(|_| guess()).collect();
        let mut busy = 0;
        for guess in guesses {
            busy += u32::from(guess.await.unwrap() == Err(Busy));
        }
        assert_eq!(busy, 6);
        // And there is room again; who was let in is not turned away.
        assert_eq!(hashing.verify("guess".into(), None).await, Ok(false));
    }
}
