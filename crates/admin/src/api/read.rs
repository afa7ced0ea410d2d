//! What is registered, as each user may see it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use interchange_guide::{Facts, Guide, MemberCertificate, Product, Trust};
use interchange_model::{Address, Domain, Health, Link, LinkId};
use interchange_registry::{Actor, AuditRow, Challenge, INVITATION_LASTS, PartnershipState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Api, Problem};
use crate::{Asked, Observed, TraceRow, WaitingQueue};

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
        of_link.map(
            |domain| json!({"domain": domain, "member": link.member, "declared": true, "proof": null, "txt": null, "url": null}),
        )
    });
    let registered = directory.domains.iter().filter(|(_, entry)| actor.role.sees(&entry.member)).map(|(domain, entry)| {
        json!({
            "domain": domain,
            "member": entry.member,
            "declared": false,
            "proof": entry.proof,
            "txt": {"name": entry.challenge.record_name(domain), "value": entry.challenge.record_value()},
            "url": format!("https://{domain}{}", Challenge::FILE_PATH),
        })
    });
    Ok(Json(declared.chain(registered).collect()))
}

#[derive(Serialize)]
struct LinkShown<'a> {
    link: &'a str,
    member: &'a str,
    platform: &'a str,
    domains: &'a [Domain],
    pace: interchange_model::Pace,
    settings: &'a interchange_model::Settings,
    declared: bool,
    state: &'static str,
    why: Option<&'a str>,
}

pub(super) async fn links<O: Observed>(State(api): State<Arc<Api<O>>>, Extension(actor): Extension<Actor>) -> Shown {
    let registry = api.members.watch().borrow().clone();
    let health = api.observed.links();
    let declared = &api.members.declared().links;
    let show = |link: &Link| {
        let health = health.get(&link.id).unwrap_or(&Health::Connecting);
        serde_json::to_value(LinkShown {
            link: link.id.as_str(),
            member: link.member.as_str(),
            platform: link.platform.as_str(),
            domains: &link.domains,
            pace: link.pace,
            settings: &link.settings,
            declared: declared.iter().any(|known| known.id == link.id),
            state: health.label(),
            why: health.why(),
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

pub(super) async fn barriers<O: Observed>(State(api): State<Arc<Api<O>>>, Extension(actor): Extension<Actor>) -> Shown {
    let (_, directory) = api.members.directory();
    let seen = directory.barriers.iter();
    let seen = seen
        .filter(|(_, barrier)| actor.role.sees_all() || barrier.member.as_ref().is_some_and(|member| actor.role.sees(member)));
    let show = |(name, barrier): (&String, &interchange_registry::BarrierEntry)| json!({"barrier": name, "member": barrier.member, "between": barrier.between, "reason": barrier.reason});
    Ok(Json(seen.map(show).collect()))
}

pub(super) async fn queues<O: Observed>(State(api): State<Arc<Api<O>>>, Extension(actor): Extension<Actor>) -> Shown {
    let queues = api.observed.queues().await.map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))?;
    let registry = api.members.watch().borrow().clone();
    // What waits for a link that is no more is the operator's to see.
    let sees =
        |queue: &&WaitingQueue| registry.link(&queue.link).map_or(actor.role.sees_all(), |link| actor.role.sees(&link.member));
    Ok(Json(queues.iter().filter(sees).map(|queue| json!(queue)).collect()))
}

/// What is the hub's own, and no member's.
fn of_the_hub(actor: &Actor) -> Result<(), Problem> {
    if actor.role.sees_all() {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, format!("only operators and auditors see this; {} is {}", actor.name, actor.role)))
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
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Vec<AuditRow>>, Problem> {
    of_the_hub(&actor)?;
    let Query(Which { until, limit }) = which.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    Ok(Json(api.members.audit(until, limit).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForProduct {
    product: Option<String>,
}

pub(super) async fn guide<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    Path(link): Path<String>,
    product: Result<Query<ForProduct>, QueryRejection>,
) -> Result<Json<Guide>, Problem> {
    let (product, facts) = told(&api, &actor, &link, product).await?;
    Ok(Json(interchange_guide::guide(product, &facts)))
}

/// The product that is asked about, and the facts of the link: what a guide, or a remedy, is made of.
pub(super) async fn told<O: Observed>(
    api: &Api<O>,
    actor: &Actor,
    link: &str,
    product: Result<Query<ForProduct>, QueryRejection>,
) -> Result<(Product, Facts), Problem> {
    let Query(ForProduct { product }) = product.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let registry = api.members.watch().borrow().clone();
    let found = registry.link(&link.into()).filter(|link| actor.role.sees(&link.member)).cloned();
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("there is no link `{}`", link.escape_debug()));
    let link = found.ok_or_else(none)?;
    let fitting = || Product::ALL.into_iter().filter(|product| product.platform() == Some(link.platform.as_str()));
    let product = match product {
        Some(name) => name.parse::<Product>().ok().filter(|product| fitting().any(|fits| fits == *product)),
        // By what the records of its domain speak for; else the last, which is the one for all others.
        None => {
            let answers = match link.domains.first() {
                Some(domain) => api.observed.services(domain.clone()).await,
                None => Vec::new(),
            };
            let guesses = interchange_guide::guess(&answers);
            let guessed = guesses.iter().map(|guess| guess.product).find(|product| fitting().any(|fits| fits == *product));
            guessed.or_else(|| fitting().next_back())
        }
    };
    let product = product.ok_or_else(|| {
        let known: Vec<_> = fitting().map(Product::label).collect();
        let detail = format!("there is no guide for this product over {}: there are {}", link.platform, known.join(", "));
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    })?;
    let host = link.settings.0.get("host").and_then(Value::as_str);
    let facts = Facts {
        hub_domain: registry.hub().clone(),
        link: link.id.clone(),
        member_domains: link.domains.clone(),
        member_host: host.filter(|host| host.parse::<std::net::IpAddr>().is_err()).and_then(|host| Domain::parse(host).ok()),
        listeners: api.about.listeners.clone(),
        member_certificate: match api.about.trust {
            Trust::Own { .. } => MemberCertificate::FromHub,
            Trust::Public => MemberCertificate::Own,
        },
        trust: api.about.trust.clone(),
        partners: registry.partner_domains(&link.id),
    };
    Ok((product, facts))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichMessages {
    id: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

pub(super) async fn trace<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    which: Result<Query<WhichMessages>, QueryRejection>,
) -> Result<Json<Vec<TraceRow>>, Problem> {
    let wrong = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query(which) = which.map_err(|error| wrong(&error.body_text()))?;
    let address = |text: &str| Address::parse(text).map_err(|_| wrong("`from` and `to` are addresses: alice@acme.example"));
    let asked = match (which.id, which.from, which.to) {
        (Some(id), None, None) => Asked::Id(id.parse().map_err(|_| wrong("an id has 32 hexadecimal digits"))?),
        (None, Some(from), Some(to)) => Asked::Pair(address(&from)?, address(&to)?),
        _ => return Err(wrong("ask by `id`, or by `from` and `to`")),
    };
    let registry = api.members.watch().borrow().clone();
    let sees = |link: &LinkId| registry.link(link).is_some_and(|link| actor.role.sees(&link.member));
    let mut rows = api.observed.trace(&asked);
    rows.retain(|row| actor.role.sees_all() || sees(&row.link_in) || row.link_out.as_ref().is_some_and(sees));
    Ok(Json(rows))
}
