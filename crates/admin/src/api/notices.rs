//! Notices: words of the operator for people who are signed in at the hub.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use interchange_model::{LinkId, Plain};
use interchange_registry::{Actor, Role};
use serde::Deserialize;
use serde_json::json;

use super::{Api, Changed, Problem, body};
use crate::Observed;

/// In bytes; more is read by nobody.
const LONGEST: usize = 4_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewNotice {
    link: LinkId,
    text: String,
}

/// Shows a notice to everybody of a link who is signed in now. It is in the audit log before anybody sees it.
pub(super) async fn send<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Changed>, Problem> {
    let (NewNotice { link, text }, _) = body(&headers, bytes)?;
    if actor.role != Role::Operator {
        let detail = format!("{} is {}: only an operator of the hub sends notices", actor.name, actor.role);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let text = Plain::new(text.trim());
    if text.is_empty() || text.as_str().len() > LONGEST {
        let detail = format!("a notice has a text of 1 to {LONGEST} bytes");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let registry = api.members.watch().borrow().clone();
    let Some(known) = registry.link(&link) else {
        let detail = format!("there is no link `{}`: GET /api/v1/links shows them", link.as_str().escape_debug());
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    if !api.observed.hosts_people(&known.platform) {
        let detail =
            format!("the people of link `{link}` are signed in at their own server: its administrator can tell them something");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let recorded = api.members.record(&actor, "send-notice", ("notice", link.as_str()), &json!({"text": text.as_str()})).await;
    let version = recorded.map_err(|error| {
        tracing::error!(%error, "a notice cannot be recorded, and is not sent");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the hub's database fails: nobody was told; its log says why")
    })?;
    tracing::info!(version, actor = actor.name, %link, "a notice is shown to who is signed in");
    if !api.observed.notify(known.platform.clone(), link, text).await {
        let detail = "the platform of the link has stopped: nobody was told";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    Ok(Json(Changed { version }))
}
