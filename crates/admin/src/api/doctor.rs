//! The link doctor: what is wrong with a link, and what to do about it on the product at its other end.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use interchange_guide::{Product, remedy};
use interchange_model::{Fault, LinkId, to_millis};
use interchange_registry::Actor;
use serde::Serialize;

use super::read::{ForProduct, told};
use super::{Api, Problem};
use crate::{Finding, Observed, Verdict};

/// All that was found.
#[derive(Debug, Serialize)]
pub(super) struct Examination {
    link: String,
    /// The product that the remedies are for.
    product: Product,
    /// When, in seconds since 1970.
    at: u64,
    /// The worst of all results.
    verdict: Verdict,
    findings: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    finding: Finding,
    /// What to do about it.
    fix: Option<String>,
}

pub(super) async fn examine<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    Path(link): Path<String>,
    product: Result<Query<ForProduct>, QueryRejection>,
) -> Result<Json<Examination>, Problem> {
    let id = LinkId::from(link.as_str());
    // A link of a platform that no product speaks is the hub's own.
    let (product, facts) = told(&api, &actor, &link, product).await?;
    let _turn = api.examinations.try_acquire().map_err(|_| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many links are being examined now: try again in a minute")
    })?;
    let found = api.observed.examine(id).await;
    let found = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "the link is gone"))?;
    let verdict = found.iter().map(|finding| finding.result).max().unwrap_or(Verdict::Unknown);
    let fix = |fault: Fault| remedy(fault, product, &facts);
    let findings = found.into_iter().map(|finding| Shown { fix: finding.fault.map(fix), finding }).collect();
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(Json(Examination { link, product, at, verdict, findings }))
}

/// What the last regular probe has found.
#[derive(Debug, Serialize)]
pub(super) struct LastProbe {
    link: String,
    /// When, in milliseconds since 1970; none: there was none yet.
    at: Option<u64>,
    /// How long the answer took.
    milliseconds: Option<u64>,
    fault: Option<Fault>,
    says: Option<String>,
    fix: Option<String>,
    /// When there last was an answer, in milliseconds since 1970.
    last_answer: Option<u64>,
}

pub(super) async fn last<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    Path(link): Path<String>,
    product: Result<Query<ForProduct>, QueryRejection>,
) -> Result<Json<LastProbe>, Problem> {
    let (product, facts) = told(&api, &actor, &link, product).await?;
    let probe = api.observed.probes().remove(&LinkId::from(link.as_str()));
    let trouble = probe.as_ref().and_then(|probe| probe.result.as_ref().err());
    Ok(Json(LastProbe {
        at: probe.as_ref().map(|probe| to_millis(probe.at)),
        milliseconds: probe
            .as_ref()
            .and_then(|probe| probe.result.as_ref().ok())
            .and_then(|took| took.as_millis().try_into().ok()),
        fault: trouble.map(|trouble| trouble.fault),
        says: trouble.map(|trouble| trouble.text.clone()),
        fix: trouble.map(|trouble| remedy(trouble.fault, product, &facts)),
        last_answer: probe.as_ref().and_then(|probe| probe.last_answer).map(to_millis),
        link,
    }))
}
