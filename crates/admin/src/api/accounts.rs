//! Accounts: people who sign in at the hub. Passwords come in and never go out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use interchange_model::{DisplayName, MemberId};
use interchange_registry::{AccountEntry, Actor, Change};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Changed, Problem, body};
use crate::Observed;

/// Shorter passwords are guessed (NIST SP 800-63B §5.1.1.1); longer ones, in bytes, are not hashed.
const SHORTEST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 1024;

/// Who may sign in at the hub, as each user may see it; nothing of their passwords.
pub(super) async fn list<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<Vec<Value>>, Problem> {
    let (_, directory) = api.members.directory();
    let declared = api.members.declared().accounts.iter().map(|(id, entry)| (id, entry, true));
    let registered = directory.accounts.iter().map(|(id, entry)| (id, entry, false));
    let seen = declared.chain(registered).filter(|((member, _), ..)| actor.role.sees(member));
    let show = |((member, _), entry, declared): (&(MemberId, String), &AccountEntry, bool)| json!({"member": member, "user": entry.user, "display_name": entry.display_name, "declared": declared});
    Ok(Json(seen.map(show).collect()))
}

/// Not to be shown in any way: no `Debug`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    member: MemberId,
    user: String,
    display_name: Option<String>,
    password: Option<String>,
    is_new: Option<bool>,
}

/// Makes an account or changes it; what is not given stays.
pub(super) async fn set<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Changed>, Problem> {
    let (NewAccount { member, user, display_name, password, is_new }, _) = body(&headers, bytes)?;
    // Hashing takes a processor for a while: not for somebody who may not.
    if !actor.role.acts_for(&member) {
        let detail = format!("{} is {} and may change nothing for `{}`", actor.name, actor.role, member.as_str().escape_debug());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let password_hash = match password {
        None => None,
        Some(password) => {
            if password.chars().count() < SHORTEST_PASSWORD || password.len() > LONGEST_PASSWORD {
                let detail =
                    format!("a password has at least {SHORTEST_PASSWORD} characters, and at most {LONGEST_PASSWORD} bytes");
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
            }
            Some(api.tokens.hash(password).await)
        }
    };
    let display_name = display_name.as_deref().and_then(DisplayName::new);
    let change = Change::SetAccount { member, user, display_name, password_hash, is_new };
    let version = api.members.apply(&actor, &change, rand::random()).await?;
    Ok(Json(Changed { version }))
}
