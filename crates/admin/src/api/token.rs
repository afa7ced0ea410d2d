//! Who asks: bearer tokens (RFC 6750), stored as argon2id hashes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use interchange_registry::{Actor, Directory};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::problem::Problem;

/// The longest token that is looked at, in bytes: a name of 64, a dot and 43.
const LONGEST: usize = 128;

/// How many hashes are computed at once: each takes 19 MiB and tens of milliseconds, so guessing cannot take the machine.
const HASHES: usize = 1;
/// How many requests may wait for that.
const WAITING: usize = 32;

/// A token for a user, `NAME.SECRET` with 256 random bits, and its hash (argon2id, PHC string). Takes tens of milliseconds.
///
/// # Panics
/// Never: the parameters are the library's defaults.
#[must_use]
pub fn new_token(user: &str) -> (String, String) {
    let token = format!("{user}.{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let hash = Argon2::default().hash_password(token.as_bytes()).expect("the default parameters are right");
    (token, hash.to_string())
}

/// Finds out whose a token is.
#[derive(Debug)]
pub(crate) struct Tokens {
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// By the hash in the directory, the digest of the token that was found right for it: as many as there are users.
    right: Mutex<HashMap<String, [u8; 32]>>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { hashing: Arc::new(Semaphore::new(HASHES)), waiting: Arc::new(Semaphore::new(WAITING)), right: Mutex::default() }
    }
}

impl Tokens {
    /// A new token and its hash.
    pub(crate) async fn make(&self, user: &str) -> (String, String) {
        let user = user.to_owned();
        let _turn = self.hashing.clone().acquire_owned().await;
        tokio::task::spawn_blocking(move || new_token(&user)).await.expect("hashing does not panic")
    }

    /// The user whose token a request has.
    ///
    /// # Errors
    /// 401 without any detail of what is wrong; 503 when too many ask at once.
    pub(crate) async fn check(&self, headers: &HeaderMap, directory: &Directory) -> Result<Actor, Problem> {
        let denied = || Problem::new(StatusCode::UNAUTHORIZED, "send a valid token: Authorization: Bearer NAME.SECRET");
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(denied()) };
        let token = value.to_str().ok().and_then(|value| value.split_once(' '));
        let token = token.filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token.len() <= LONGEST);
        let Some((_, token)) = token else { return Err(denied()) };
        let Some((name, _)) = token.split_once('.') else { return Err(denied()) };
        // That a name is unknown can be told by the time of the answer: names are no secret, the 256 bits are.
        let Some(user) = directory.users.get(name) else { return Err(denied()) };
        let actor = Actor { name: name.to_owned(), role: user.role.clone() };
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if self.right().get(&user.token_hash) == Some(&digest) {
            return Ok(actor);
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many ask at once: try again in a second"));
        };
        let _turn = self.hashing.clone().acquire_owned().await;
        let (hash, token) = (user.token_hash.clone(), token.to_owned());
        let verify = move || {
            let right =
                PasswordHash::new(&hash).is_ok_and(|hash| Argon2::default().verify_password(token.as_bytes(), &hash).is_ok());
            (right, hash)
        };
        match tokio::task::spawn_blocking(verify).await {
            Ok((true, hash)) => {
                let mut right = self.right();
                right.retain(|hash, _| directory.users.values().any(|user| user.token_hash == *hash));
                right.insert(hash, digest);
                Ok(actor)
            }
            _ => {
                tracing::warn!(user = name, "a wrong token for the API");
                Err(denied())
            }
        }
    }

    fn right(&self) -> std::sync::MutexGuard<'_, HashMap<String, [u8; 32]>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
