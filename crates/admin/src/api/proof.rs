//! Whether a domain is its member's: asked of the domain's own name servers.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use interchange_model::Domain;
use interchange_registry::{Actor, Change, Role};
use serde::Serialize;

use super::{Api, Problem};
use crate::{NameServer, Observed};

/// What was found.
#[derive(Serialize)]
pub(super) struct Checked {
    /// Whether every server that answered has the record, and one did.
    proven: bool,
    /// In a sentence, with what to do.
    because: String,
    name: String,
    value: String,
    servers: Vec<NameServer>,
}

pub(super) async fn check<O: Observed>(
    State(api): State<Arc<Api<O>>>,
    Extension(actor): Extension<Actor>,
    Path(domain): Path<String>,
) -> Result<Json<Checked>, Problem> {
    let (_, directory) = api.members.directory();
    let parsed = Domain::parse(&domain).ok();
    let entry = parsed.as_ref().and_then(|domain| directory.domains.get(domain)).filter(|entry| actor.role.sees(&entry.member));
    let (Some(domain), Some(entry)) = (parsed.as_ref(), entry) else {
        let detail = format!("there is no domain `{}` to be proven: add it first", domain.escape_debug());
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    if !actor.role.acts_for(&entry.member) {
        return Err(Problem::new(StatusCode::FORBIDDEN, format!("{} is {} and may not have it checked", actor.name, actor.role)));
    }
    let Ok(_turn) = api.checks.try_acquire() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "others are being checked: try again in some seconds"));
    };
    let (name, value) = (entry.challenge.record_name(domain), entry.challenge.record_value());
    let (servers, proven, because) = match api.observed.texts(domain.clone(), name.clone()).await {
        Err(why) => (Vec::new(), false, why),
        Ok(servers) => {
            let (proven, because) = judge(&servers, &value);
            (servers, proven, because)
        }
    };
    if proven {
        // The hub itself has seen it, on behalf of whoever asked.
        let hub = Actor { name: actor.name, role: Role::Operator };
        let change = Change::ProveDomain { domain: domain.clone(), challenge: entry.challenge.clone() };
        api.members.apply(&hub, &change, 0).await?;
    }
    Ok(Json(Checked { proven, because, name, value, servers }))
}

/// A server that lags would, asked tomorrow, prove nothing: all that answer must have it.
fn judge(servers: &[NameServer], value: &str) -> (bool, String) {
    let has = |server: &&NameServer| server.texts.iter().any(|text| text == value);
    let answered = servers.iter().filter(|server| server.why.is_none());
    let with = answered.clone().filter(has).count();
    match (with, answered.count()) {
        (_, 0) => (false, "none of the domain's name servers answered: see why of each, and check again".to_owned()),
        (0, _) if servers.iter().any(|server| !server.texts.is_empty()) => {
            (false, "the record is there with another text: paste the value as it is, without anything around it".to_owned())
        }
        (0, _) => (
            false,
            "no name server of the domain has the record yet: add it as a TXT record, save the zone, and check again".to_owned(),
        ),
        (with, all) if with < all => {
            (false, format!("{with} of {all} name servers have it: wait until the others have copied the zone, and check again"))
        }
        (_, all) => (true, format!("all {all} name servers that answered have the record")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(texts: &[&str], why: Option<&str>) -> NameServer {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        NameServer { server: "ns.acme.example".to_owned(), address: None, texts, why: why.map(str::to_owned) }
    }

    #[test]
    fn every_server_that_answers_must_have_it() {
        let (has, lacks, wrong, mute) =
            (server(&["x", "right"], None), server(&[], None), server(&["right "], None), server(&[], Some("no")));
        for (servers, proven, says) in [
            (vec![has.clone()], true, "all 1 name servers"),
            (vec![has.clone(), has.clone(), mute.clone()], true, "all 2 name servers"),
            (vec![has.clone(), lacks.clone()], false, "1 of 2"),
            (vec![lacks.clone(), mute.clone()], false, "add it as a TXT record"),
            (vec![wrong.clone()], false, "another text"),
            (vec![has.clone(), wrong], false, "1 of 2"),
            (vec![mute], false, "none of the domain's name servers answered"),
            (vec![], false, "none of the domain's name servers answered"),
        ] {
            let (is, because) = judge(&servers, "right");
            assert!(is == proven && because.contains(says), "{because}");
        }
    }
}
