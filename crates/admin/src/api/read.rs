//! What is registered, as each user may see it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use interchange_model::{Health, Link};
use interchange_registry::{Actor, AuditRow, INVITATION_LASTS, PartnershipState, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Api, Problem};
use crate::Observed;

type Shown = Result<Json<Vec<Value>>, Problem>;

pub(super) async fn members<O: Observed>(State(api): State<Arc<Api<O>>>, Extension(actor): Extension<Actor>) -> Shown {
    let (_, directory) = api.members.directory();
    let declared = api.members.declared().members.iter().map(|id| (id, id.as_str(), true));
    let registered = directory.members.iter().map(|(id, member)| (id, member.name.as_str(), false));
    let seen = declared.chain(registered).filter(|(id, ..)| actor.role.sees(id));
    Ok(Json(seen.map(|(id, name, declared)| json!({"member": id, "name": name, "declared": declared})).collect()))
}

pub(super) async fn domains<O: Observed>(State(api): State<Arc<Api<O>>>, Extension(actor): Extension<Actor>) -> Shown {
    let (_, directory) = api.members.directory();
    let declared = api.members.declared().links.iter().filter(|link| actor.role.sees(&link.member));
    let declared = declared.flat_map(|link| {
        let of_link = link.domains.iter();
        of_link.map(|domain| json!({"domain": domain, "member": link.member, "declared": true, "proof": null, "txt": null}))
    });
    let registered = directory.domains.iter().filter(|(_, entry)| actor.role.sees(&entry.member)).map(|(domain, entry)| {
        json!({
            "domain": domain,
            "member": entry.member,
            "declared": false,
            "proof": entry.proof,
            "txt": {"name": entry.challenge.record_name(domain), "value": entry.challenge.record_value()},
        })
    });
    Ok(Json(declared.chain(registered).collect()))
}

#[derive(Serialize)]
struct LinkShown<'a> {
    link: &'a str,
    member: &'a str,
    platform: &'a str,
    domains: &'a [interchange_model::Domain],
    pace: interchange_model::Pace,
    settings: &'a interchange_model::Settings,
    declared: bool,
    state: &'static str,
    why: Option<String>,
}

pub(super) async fn links<O: Observed>(State(api): State<Arc<Api<O>>>, Extension(actor): Extension<Actor>) -> Shown {
    let registry = api.members.watch().borrow().clone();
    let health = api.observed.links();
    let declared = &api.members.declared().links;
    let show = |link: &Link| {
        let health = health.get(&link.id).unwrap_or(&Health::Connecting);
        let why = match health {
            Health::Retrying { why } | Health::Broken { why } => Some(why.clone()),
            Health::Connecting | Health::Up => None,
        };
        serde_json::to_value(LinkShown {
            link: link.id.as_str(),
            member: link.member.as_str(),
            platform: link.platform.as_str(),
            domains: &link.domains,
            pace: link.pace,
            settings: &link.settings,
            declared: declared.iter().any(|known| known.id == link.id),
            state: health.label(),
            why,
        })
        .unwrap_or_default()
    };
    Ok(Json(registry.all_links().iter().filter(|link| actor.role.sees(&link.member)).map(show).collect()))
}

pub(super) async fn partnerships<O: Observed>(State(api): State<Arc<Api<O>>>, Extension(actor): Extension<Actor>) -> Shown {
    let (_, directory) = api.members.directory();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let declared = api.members.declared().partnerships.iter();
    let declared = declared.filter(|(one, other)| actor.role.sees(one) || actor.role.sees(other)).map(
        |(one, other)| json!({"members": [one, other], "state": "agreed", "invited_by": null, "since": null, "expires": null, "declared": true}),
    );
    let registered = directory.partnerships.iter().filter(|(pair, _)| pair.members().into_iter().any(|of| actor.role.sees(of)));
    let registered = registered.map(|(pair, partnership)| {
        let invited = partnership.state == PartnershipState::Invited;
        let state = match partnership.state {
            PartnershipState::Agreed => "agreed",
            PartnershipState::Invited if partnership.is_void(now) => "expired",
            PartnershipState::Invited => "invited",
        };
        json!({
            "members": pair.members(),
            "state": state,
            "invited_by": partnership.invited_by,
            "since": partnership.since,
            "expires": invited.then(|| partnership.since + INVITATION_LASTS),
            "declared": false,
        })
    });
    Ok(Json(declared.chain(registered).collect()))
}

/// What is the hub's own, and no member's.
fn of_the_hub(actor: &Actor) -> Result<(), Problem> {
    match &actor.role {
        Role::Operator | Role::Auditor => Ok(()),
        role => {
            Err(Problem::new(StatusCode::FORBIDDEN, format!("only operators and auditors see this; {} is {role}", actor.name)))
        }
    }
}

pub(super) async fn users<O: Observed>(State(api): State<Arc<Api<O>>>, Extension(actor): Extension<Actor>) -> Shown {
    of_the_hub(&actor)?;
    let (_, directory) = api.members.directory();
    let shown = directory.users.iter().map(|(name, user)| {
        let mut shown = serde_json::to_value(&user.role).unwrap_or_default();
        shown["user"] = name.as_str().into();
        shown
    });
    Ok(Json(shown.collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    until: Option<u64>,
    #[serde(default = "a_page")]
    limit: u32,
}

const fn a_page() -> u32 {
    100
}

pub(super) async fn audit<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<AuditRow>>, Problem> {
    of_the_hub(&actor)?;
    let Query(Which { until, limit }) = which.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    Ok(Json(api.members.audit(until, limit).await?))
}
