//! Whether a domain is its member's: asked of the domain's own name servers, and else of its web server.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use interchange_model::Domain;
use interchange_registry::{Actor, Challenge, Change, Proof, ProofKind, Role};
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
    /// Where the web server may show the value instead.
    url: String,
    /// What was found there, in a sentence; absent where the record was enough.
    file: Option<String>,
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
    let (servers, mut proven, mut because) = match api.observed.texts(domain.clone(), name.clone()).await {
        Err(why) => (Vec::new(), false, why),
        Ok(servers) => {
            let (proven, because) = judge(&servers, &value);
            (servers, proven, because)
        }
    };
    let url = format!("https://{domain}{}", Challenge::FILE_PATH);
    let (mut kind, mut file) = (ProofKind::Dns, None);
    if !proven {
        file = Some(match api.observed.file(domain.clone(), Challenge::FILE_PATH).await {
            Ok(text) if text.trim() == value => {
                (proven, kind, because) = (true, ProofKind::Https, format!("{url} has the value"));
                "it has the value".to_owned()
            }
            Ok(_) => "it has another text: put the value there, and nothing else".to_owned(),
            Err(why) => why,
        });
    }
    if proven {
        // The hub itself has seen it, on behalf of whoever asked.
        let hub = Actor { name: actor.name, role: Role::Operator };
        let change = Change::ProveDomain { domain: domain.clone(), challenge: entry.challenge.clone(), kind };
        api.members.apply(&hub, &change, 0).await?;
    }
    Ok(Json(Checked { proven, because, name, value, servers, url, file }))
}

/// Between two looks at the proofs that are in DNS.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks once a day whether what proved a domain is still there, the first time an hour after the start. What is gone is said in the log and changes nothing by
/// itself: a zone that is broken for a day must not cut a firm off.
pub(crate) async fn recheck<O: Observed>(api: Arc<Api<O>>) {
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    loop {
        for (domain, because) in lapsed(&api).await {
            tracing::warn!(%domain, because, "the record that proved a domain is not there any more: ask its member whether it is still theirs");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The domains whose record is gone, with what was found. A domain whose servers say nothing is none of them.
async fn lapsed<O: Observed>(api: &Api<O>) -> Vec<(Domain, String)> {
    let (_, directory) = api.members.directory();
    let mut lapsed = Vec::new();
    let seen = |proof: &Proof| proof.kind != ProofKind::Vouched;
    for (domain, entry) in directory.domains.iter().filter(|(_, entry)| entry.proof.as_ref().is_some_and(seen)) {
        if entry.proof.as_ref().is_some_and(|proof| proof.kind == ProofKind::Https) {
            // A web server that does not answer says nothing; one that shows something else does.
            if let Ok(text) = api.observed.file(domain.clone(), Challenge::FILE_PATH).await
                && text.trim() != entry.challenge.record_value()
            {
                lapsed.push((domain.clone(), "the file at its web server has another text".to_owned()));
            }
            continue;
        }
        let Ok(servers) = api.observed.texts(domain.clone(), entry.challenge.record_name(domain)).await else { continue };
        let value = entry.challenge.record_value();
        let answered = servers.iter().filter(|server| server.why.is_none()).count();
        if answered > 0 && !servers.iter().any(|server| server.texts.contains(&value)) {
            lapsed.push((domain.clone(), judge(&servers, &value).1));
        }
    }
    lapsed
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
    use std::collections::BTreeMap;

    use interchange_model::{Health, LinkId};
    use interchange_registry::{Community, Members, Parts, Store};

    use super::super::{About, Repeats, Tokens};
    use super::*;

    fn server(texts: &[&str], why: Option<&str>) -> NameServer {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        NameServer { server: "ns.acme.example".to_owned(), address: None, texts, why: why.map(str::to_owned) }
    }

    /// Every domain's servers say this.
    struct Says(Result<Vec<NameServer>, String>);

    impl Observed for Says {
        async fn metrics(&self) -> Vec<prometheus::proto::MetricFamily> {
            Vec::new()
        }
        async fn obstacles(&self) -> Vec<String> {
            Vec::new()
        }
        fn trace(&self, _: &crate::Asked) -> Vec<crate::TraceRow> {
            Vec::new()
        }
        async fn queues(&self) -> Result<Vec<crate::WaitingQueue>, String> {
            Ok(Vec::new())
        }
        async fn texts(&self, _: Domain, _: String) -> Result<Vec<NameServer>, String> {
            self.0.clone()
        }
        async fn file(&self, _: Domain, _: &'static str) -> Result<String, String> {
            Err("there is none".to_owned())
        }
        async fn services(&self, _: Domain) -> Vec<interchange_guide::SrvAnswer> {
            Vec::new()
        }
        async fn examine(&self, _: LinkId) -> Option<Vec<crate::Finding>> {
            None
        }
        fn probes(&self) -> BTreeMap<LinkId, crate::Probe> {
            BTreeMap::new()
        }
        fn hosts_people(&self, _: &interchange_model::PlatformName) -> bool {
            false
        }
        async fn notify(&self, _: interchange_model::PlatformName, _: LinkId, _: interchange_model::Plain) -> bool {
            false
        }
        fn links(&self) -> BTreeMap<LinkId, Health> {
            BTreeMap::new()
        }
    }

    #[tokio::test]
    async fn a_record_that_is_gone_is_noticed_and_a_server_that_is_mute_is_not_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let declared = Parts {
            hub: Domain::parse("hub.example").unwrap(),
            members: Vec::new(),
            links: Vec::new(),
            partnerships: Vec::new(),
            community: Community::Invitation,
            barriers: Vec::new(),
            accounts: Default::default(),
            directories: Default::default(),
        };
        let members = Arc::new(Members::open(store, declared, Box::new(|_| Ok(()))).await.unwrap());
        let by = Actor { name: "ops".to_owned(), role: Role::Operator };
        for change in [
            r#"{"change":"add-member","member":"acme","name":"Acme"}"#,
            r#"{"change":"add-domain","member":"acme","domain":"acme.example"}"#,
            r#"{"change":"add-domain","member":"acme","domain":"vouched.example"}"#,
            r#"{"change":"vouch-domain","domain":"vouched.example"}"#,
        ] {
            members.apply(&by, &serde_json::from_str(change).unwrap(), 7).await.unwrap();
        }
        let domain = Domain::parse("acme.example").unwrap();
        let challenge = members.directory().1.domains[&domain].challenge.clone();
        let value = challenge.record_value();
        members.apply(&by, &Change::ProveDomain { domain: domain.clone(), challenge, kind: ProofKind::Dns }, 7).await.unwrap();
        let lapsed = async |says| {
            let about = About {
                listeners: interchange_guide::Listeners::usual(Domain::parse("hub.example").unwrap()),
                trust: interchange_guide::Trust::Public,
            };
            let api = Api {
                members: members.clone(),
                about,
                tokens: Tokens::default(),
                checks: tokio::sync::Semaphore::new(1),
                examinations: tokio::sync::Semaphore::new(1),
                repeats: Repeats::default(),
                observed: Arc::new(Says(says)),
            };
            lapsed(&api).await.into_iter().map(|(domain, _)| domain).collect::<Vec<_>>()
        };
        let nothing = Vec::<Domain>::new();
        assert_eq!(lapsed(Ok(vec![server(&[&value], None), server(&[], None)])).await, nothing);
        assert_eq!(lapsed(Ok(vec![server(&[], Some("mute"))])).await, nothing);
        assert_eq!(lapsed(Err("no such zone".to_owned())).await, nothing);
        assert_eq!(lapsed(Ok(vec![server(&[], None), server(&["other"], None)])).await, [domain]);
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
