//! Who asks: bearer tokens (RFC 6750), stored as argon2id hashes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use interchange_credentials::Hashing;
use interchange_registry::{Actor, Directory};
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// The longest token that is looked at, in bytes: a name of 64, a dot and 43.
const LONGEST: usize = 128;

/// How many requests may wait for a hash: guessing cannot take the machine.
const WAITING: usize = 32;

/// A token for a user, `NAME.SECRET` with 256 random bits, and its hash (argon2id, PHC string). Takes tens of milliseconds.
#[must_use]
pub fn new_token(user: &str) -> (String, String) {
    let token = random_token(user);
    let hash = interchange_credentials::hash(token.as_bytes());
    (token, hash)
}

fn random_token(user: &str) -> String {
    format!("{user}.{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// Finds out whose a token is, and makes the hashes of what is kept.
#[derive(Debug)]
pub(crate) struct Tokens {
    hashing: Hashing,
    /// By the hash in the directory, the digest of the token that was found right for it: as many as there are users.
    right: Mutex<HashMap<String, [u8; 32]>>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { hashing: Hashing::new(WAITING), right: Mutex::default() }
    }
}

impl Tokens {
    /// A new token and its hash.
    pub(crate) async fn make(&self, user: &str) -> (String, String) {
        let token = random_token(user);
        let hash = self.hash(token.clone()).await;
        (token, hash)
    }

    /// The hash of what somebody who was let in wants kept.
    pub(crate) async fn hash(&self, secret: String) -> String {
        self.hashing.hash(secret).await
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
        let hash = &user.token_hash;
        match self.hashing.verify(token.to_owned(), Some(hash.clone())).await {
            Err(busy) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, busy.to_string())),
            Ok(true) => {
                let mut right = self.right();
                right.retain(|hash, _| directory.users.values().any(|user| user.token_hash == *hash));
                right.insert(hash.clone(), digest);
                Ok(actor)
            }
            Ok(false) => {
                tracing::warn!(user = name, "a wrong token for the API");
                Err(denied())
            }
        }
    }

    fn right(&self) -> std::sync::MutexGuard<'_, HashMap<String, [u8; 32]>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
