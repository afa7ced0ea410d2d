//! `/api/v1`: who is linked and with whom, read and changed while the hub runs.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/members` | members |
//! | `GET /api/v1/domains` | domains, each with what to show in DNS to prove it |
//! | `POST /api/v1/domains/DOMAIN/check` | asks the domain's authoritative servers for the proof: what each says, and whether it is proven now |
//! | `GET /api/v1/links` | links with their state |
//! | `GET /api/v1/links/LINK/guide?product=P` | what to do on the link's other side, for a product: steps with the names filled in |
//! | `POST /api/v1/links/LINK/doctor?product=P` | examines the link and tries it, up to a minute: what was found, each fault with what to do about it on the product |
//! | `GET /api/v1/links/LINK/doctor` | what the last regular probe of the link has found |
//! | `GET /api/v1/partnerships` | invitations and partnerships |
//! | `GET /api/v1/queues` | what waits for each link |
//! | `GET /api/v1/trace?id=ID`, `?from=A&to=B` | what became of a message, or of what went between two people |
//! | `GET /api/v1/barriers` | information barriers |
//! | `GET /api/v1/users` | who may use this; no tokens. Operators and auditors |
//! | `GET /api/v1/accounts` | who may sign in at the hub; nothing of their passwords |
//! | `POST /api/v1/accounts` | `{"member": "acme", "user": "alice", "display_name": "Alice Adams", "password": "…"}`: makes an account, or changes what is given: `{"version": 7}` |
//! | `POST /api/v1/notices` | `{"link": "acme", "text": "…"}`: shows words to everybody of the link who is signed in at the hub: `{"version": 7}`. Operators |
//! | `GET /api/v1/audit?until=V&limit=N` | who changed what, the newest first, 1,000 at most. Operators and auditors |
//! | `GET /api/v1/openapi.json` | the document of all this (OpenAPI 3.1); needs no token |
//! | `POST /api/v1/changes` | makes one [`Change`]: `{"version": 7}` |
//! | `POST /api/v1/users` | `{"user": "eve", "role": "auditor"}`: lets somebody use this, or gives them a new token: `{"token": "…"}`, shown once |
//!
//! A change may have an `Idempotency-Key`: sent again with it, it is answered as before and not made again.
//!
//! Every request has `Authorization: Bearer TOKEN`; a member's administrator sees what is theirs. Errors are `application/problem+json`
//! (RFC 9457), with a `detail` that says what to do. A body is JSON, at most 64 KiB, read after the token was found right.

mod accounts;
mod doctor;
mod notices;
mod openapi;
mod problem;
mod proof;
mod read;
mod repeats;
mod token;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use interchange_guide::{Listeners, Trust};
use interchange_registry::{Actor, Change, Members, Role};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::Observed;
use problem::Problem;
pub(crate) use proof::recheck;
use repeats::Fate;
pub(crate) use repeats::Repeats;
pub(crate) use token::Tokens;
pub use token::new_token;

/// The longest body, in bytes.
const LONGEST_BODY: usize = 64 * 1024;

/// How many proofs are looked up at once: each asks servers that its domain names.
pub(crate) const CHECKS: usize = 4;

/// How many links are examined at once.
pub(crate) const EXAMINATIONS: usize = 8;

/// What a member's administrator must know of the hub to link a server with it.
#[derive(Debug, Clone)]
pub struct About {
    /// Where the hub takes connections.
    pub listeners: Listeners,
    /// Which authority signed the certificates that it shows.
    pub trust: Trust,
}

/// What the handlers know.
pub(crate) struct Api<O> {
    pub(crate) members: Arc<Members>,
    pub(crate) about: About,
    pub(crate) tokens: Tokens,
    pub(crate) checks: Semaphore,
    pub(crate) examinations: Semaphore,
    pub(crate) repeats: Repeats,
    pub(crate) observed: Arc<O>,
}

/// The routes, all behind the check of the token.
pub(crate) fn routes<O: Observed>(api: Arc<Api<O>>) -> Router {
    Router::new()
        .route("/api/v1/members", get(read::members::<O>))
        .route("/api/v1/domains", get(read::domains::<O>))
        .route("/api/v1/domains/{domain}/check", post(proof::check::<O>))
        .route("/api/v1/links", get(read::links::<O>))
        .route("/api/v1/links/{link}/guide", get(read::guide::<O>))
        .route("/api/v1/links/{link}/doctor", get(doctor::last::<O>).post(doctor::examine::<O>))
        .route("/api/v1/partnerships", get(read::partnerships::<O>))
        .route("/api/v1/queues", get(read::queues::<O>))
        .route("/api/v1/trace", get(read::trace::<O>))
        .route("/api/v1/barriers", get(read::barriers::<O>))
        .route("/api/v1/users", get(read::users::<O>).post(set_user::<O>))
        .route("/api/v1/accounts", get(accounts::list::<O>).post(accounts::set::<O>))
        .route("/api/v1/notices", post(notices::send::<O>))
        .route("/api/v1/audit", get(read::audit::<O>))
        .route("/api/v1/changes", post(change::<O>))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such path: see /api/v1 in docs/operating.md"))
        .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method"))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        // Outermost, so that nobody without a token learns even which paths there are.
        .layer(from_fn_with_state(api.clone(), authenticate::<O>))
        // After the layer, so it needs no token.
        .route("/api/v1/openapi.json", get(openapi::document))
        .with_state(api)
}

async fn authenticate<O: Observed>(State(api): State<Arc<Api<O>>>, mut request: Request, next: Next) -> Response {
    let (_, directory) = api.members.directory();
    let mut response = match api.tokens.check(request.headers(), &directory).await {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A body that says that it is JSON and is; what comes from a form of another site does not.
fn body<T: for<'de> Deserialize<'de>>(headers: &HeaderMap, bytes: Result<Bytes, BytesRejection>) -> Result<(T, Bytes), Problem> {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media.split(';').next().unwrap_or_default().trim() != "application/json" {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json, and its Content-Type say so",
        ));
    }
    let bytes = bytes.map_err(|error| Problem::new(error.status(), format!("a body has at most {LONGEST_BODY} bytes")))?;
    let read = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not what is wanted: {error}")))?;
    Ok((read, bytes))
}

#[derive(Serialize)]
struct Changed {
    version: u64,
}

async fn change<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Changed>, Problem> {
    let (change, bytes): (Change, Bytes) = body(&headers, bytes)?;
    let turn = match api.repeats.look(&actor.name, &headers, &bytes).await? {
        Fate::Again(version) => return Ok(Json(Changed { version })),
        Fate::New(turn) => Some(turn),
        Fate::Plain => None,
    };
    let version = api.members.apply(&actor, &change, rand::random()).await?;
    if let Some(turn) = turn {
        turn.note(version);
    }
    Ok(Json(Changed { version }))
}

#[derive(Deserialize)]
struct NewUser {
    user: String,
    #[serde(flatten)]
    role: Role,
}

#[derive(Serialize)]
struct Token {
    user: String,
    token: String,
}

async fn set_user<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Token>), Problem> {
    let (NewUser { user, role }, _) = body(&headers, bytes)?;
    // Hashing takes a processor for a while: not for somebody who may not.
    if actor.role != Role::Operator {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("only an operator may set-user; {} is {}", actor.name, actor.role),
        ));
    }
    let (token, token_hash) = api.tokens.make(&user).await;
    api.members.apply(&actor, &Change::SetUser { user: user.clone(), role, token_hash }, rand::random()).await?;
    Ok((StatusCode::CREATED, Json(Token { user, token })))
}
