//! Everything about one link, looked at now.

use std::time::{Duration, SystemTime};

use interchange_admin::{Finding, Verdict};
use interchange_driver::{Survey, survey};
use interchange_model::{Domain, Fault, Health, Link, LinkId, Trouble};
use interchange_registry::Registry;
use tokio::task::JoinSet;

use super::notes::{Notes, Ways};
use super::{Doctor, ago};
use crate::platforms::platform;

/// Partners' domains, and domains of the link's own, that are looked at; of more, these are a sample.
const MOST_PARTNERS: usize = 16;
const MOST_DOMAINS: usize = 16;
/// What waits for longer than this is a backlog.
const BACKLOG_AFTER: Duration = Duration::from_secs(60);

/// What was asked of the link's server, for one of its domains.
struct Asked {
    from: Domain,
    to: Domain,
    result: Result<Duration, Trouble>,
}

impl Doctor {
    /// All findings, in the order in which a message would meet what they are about; `None` for a link that there is not.
    pub(crate) async fn examine(&self, id: &LinkId) -> Option<Vec<Finding>> {
        let registry = self.0.around.registry.borrow().clone();
        let link = registry.link(id)?.clone();
        let mut findings = Vec::new();
        self.own_side(&link, &mut findings);
        let way = self.way_there(&link, &mut findings).await;
        // What came before the question does not say how it is now.
        let begun = SystemTime::now();
        let asked = self.ask_all(&link, &registry).await;
        self.answers(&link, way, &asked, &mut findings);
        let notes = self.notes(id);
        way_back(&notes, begun, &asked, &mut findings);
        traffic(&notes, &mut findings);
        self.queue(&link, &mut findings).await;
        if registry.partner_domains(id).is_empty() {
            let why = Trouble::new(Fault::NoPartner, format!("{} has no partner on this hub", link.member));
            findings.push(Finding::trouble("partners", link.member.to_string(), Verdict::Warning, why));
        }
        Some(findings)
    }

    /// What the hub itself shows and offers.
    fn own_side(&self, link: &Link, findings: &mut Vec<Finding>) {
        let around = &self.0.around;
        if let Err(error) = platform(&link.platform).map_or(Ok(()), |platform| (platform.check_link)(&link.settings)) {
            let why = Trouble::new(Fault::Settings, error.to_string());
            findings.push(Finding::trouble("settings", link.id.to_string(), Verdict::Failed, why));
        }
        if !around.listening.contains(&link.platform) {
            let why = Trouble::new(Fault::NoListener, format!("the hub has no listener for {}", link.platform));
            findings.push(Finding::trouble("listener", link.platform.to_string(), Verdict::Failed, why));
        }
        let subject = around.hub.to_string();
        let now = SystemTime::now();
        // As the driver chooses: one that names the domain, else the first.
        let shown = around.certificates.iter().find(|shown| shown.stands_for(&around.hub));
        findings.push(match (shown, around.certificates.first()) {
            (Some(shown), _) if shown.valid_until() < now || shown.valid_from() > now => {
                let why = shown.warnings(now).first().map_or_else(String::new, ToString::to_string);
                Finding::trouble(
                    "certificate",
                    subject,
                    Verdict::Failed,
                    Trouble::new(Fault::OwnCertificateTime, format!("the hub's own: {why}")),
                )
            }
            (Some(shown), _) => {
                let left = shown.valid_until().duration_since(now).unwrap_or_default().as_secs() / 86_400;
                Finding::good("certificate", subject, format!("the hub shows one that is good for {left} days"))
            }
            (None, Some(_)) => {
                let why = format!("no certificate of the hub names {}", around.hub);
                Finding::trouble("certificate", subject, Verdict::Failed, Trouble::new(Fault::OwnCertificateName, why))
            }
            (None, None) => {
                let why = "the hub has no certificate, so it can prove itself to nobody";
                Finding::trouble("certificate", subject, Verdict::Warning, Trouble::new(Fault::OwnCertificateName, why))
            }
        });
    }

    /// Where the link's servers are, and whether somebody listens there. Whether the hub can get to at least one; `None`: it does not connect by itself.
    async fn way_there(&self, link: &Link, findings: &mut Vec<Finding>) -> Option<bool> {
        let platform = platform(&link.platform)?;
        let mut looked: Vec<(interchange_adapter::Target, Survey)> = Vec::new();
        let mut leads = None;
        for domain in link.domains.iter().take(MOST_DOMAINS) {
            let Some(target) = (platform.target)(&link.settings, domain) else { continue };
            if looked.iter().any(|(known, _)| *known == target) {
                continue;
            }
            let found = survey(&self.0.around.resolver, &self.0.around.reach, &target).await;
            leads = Some(leads.unwrap_or(false) || found.leads_somewhere());
            describe(domain, &found, findings);
            looked.push((target, found));
        }
        leads
    }

    /// Asks the link's server, for the hub and for partners, all at once.
    async fn ask_all(&self, link: &Link, registry: &Registry) -> Vec<Asked> {
        let hub = &self.0.around.hub;
        let partners = registry.partner_domains(&link.id);
        let mut questions: Vec<(Domain, Domain)> =
            link.domains.iter().take(MOST_DOMAINS).map(|to| (hub.clone(), to.clone())).collect();
        if let Some(first) = link.domains.first() {
            let partners = partners.into_iter().filter(|partner| partner != hub);
            questions.extend(partners.take(MOST_PARTNERS).map(|from| (from, first.clone())));
        }
        let mut asked = JoinSet::new();
        for (place, (from, to)) in questions.into_iter().enumerate() {
            let (doctor, link) = (self.clone(), link.clone());
            asked.spawn(async move {
                let result = doctor.ask(&link, &from, &to).await;
                (place, Asked { from, to, result })
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_unstable_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, asked)| asked).collect()
    }

    fn answers(&self, link: &Link, way: Option<bool>, asked: &[Asked], findings: &mut Vec<Finding>) {
        let hub = &self.0.around.hub;
        let of_hub = |asked: &&Asked| asked.from == *hub;
        for Asked { from, to, result } in asked.iter().filter(of_hub) {
            findings.push(match result {
                Ok(took) => {
                    let how = "connected, secured, authenticated";
                    let says = format!("{how}: {to} answered {from} within {} ms", took.as_millis());
                    Finding::good("answer", format!("{from} → {to}"), says)
                }
                // The reason was given above, and more exactly.
                Err(trouble) if way == Some(false) => Finding {
                    check: "answer",
                    subject: format!("{from} → {to}"),
                    result: Verdict::Unknown,
                    fault: None,
                    says: format!("not known, since nobody can be connected to: {trouble}"),
                },
                Err(trouble) => Finding::trouble("answer", format!("{from} → {to}"), Verdict::Failed, trouble.clone()),
            });
        }
        // The same trouble again says nothing new.
        let troubles: Vec<&Trouble> = asked.iter().filter(of_hub).filter_map(|asked| asked.result.as_ref().err()).collect();
        let partners = || asked.iter().filter(|asked| asked.from != *hub);
        let (mut good, mut same) = (0, 0);
        for Asked { from, to, result } in partners() {
            match result {
                Ok(_) => good += 1,
                Err(trouble) if troubles.iter().any(|known| known.fault == trouble.fault) => same += 1,
                Err(trouble) => {
                    let subject = format!("{from} → {to}");
                    findings.push(Finding::trouble("answer", subject, Verdict::Failed, trouble.clone()));
                }
            }
        }
        if good > 0 && same == 0 {
            let says = format!("{good} partners' domains are answered too");
            findings.push(Finding::good("answer", "partners", says));
        }
        if let Some(health @ (Health::Retrying { .. } | Health::Broken { .. })) = self.0.around.health.borrow().get(&link.id)
            && troubles.is_empty()
        {
            let says = format!("the link is {}: {}", health.label(), health.why().unwrap_or_default());
            let subject = link.id.to_string();
            findings.push(Finding { check: "state", subject, result: Verdict::Warning, fault: None, says });
        }
    }

    async fn queue(&self, link: &Link, findings: &mut Vec<Finding>) {
        let waiting = self.0.around.bus.waiting().await.unwrap_or_default();
        let is_of_link = |waiting: &&interchange_bus::Waiting| {
            let interchange_model::QueueId::Link(id) = &waiting.queue;
            *id == link.id
        };
        let waiting = waiting.iter().find(is_of_link);
        let age = waiting.and_then(|waiting| waiting.oldest).and_then(|oldest| SystemTime::now().duration_since(oldest).ok());
        let count = waiting.map_or(0, |waiting| waiting.depth);
        let subject = link.id.to_string();
        findings.push(match age {
            Some(age) if count > 0 && age > BACKLOG_AFTER => {
                let why = format!("{count} messages wait, the oldest for {} s", age.as_secs());
                Finding::trouble("queue", subject, Verdict::Warning, Trouble::new(Fault::Backlog, why))
            }
            _ => Finding::good("queue", subject, format!("{count} messages wait; at most {} are in flight", link.pace.in_flight)),
        });
    }
}

/// Every place and address.
fn describe(domain: &Domain, found: &Survey, findings: &mut Vec<Finding>) {
    // One dead address of several is met by some connections only.
    let bad = if found.leads_somewhere() { Verdict::Warning } else { Verdict::Failed };
    let places = match &found.places {
        Ok(places) => places,
        Err(trouble) => {
            return findings.push(Finding::trouble("dns", domain.to_string(), Verdict::Failed, trouble.clone()));
        }
    };
    for place in places {
        let named = format!("{} port {}", place.host.escape_debug(), place.port);
        match &place.addresses {
            Err(trouble) => findings.push(Finding::trouble("dns", domain.to_string(), bad, trouble.clone())),
            Ok(addresses) => {
                let by = found.service.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
                let listed: Vec<String> = addresses.iter().map(|(address, _)| address.ip().to_string()).collect();
                let says = format!("{named}{by}: {}", listed.join(", "));
                findings.push(Finding::good("dns", domain.to_string(), says));
                for (address, result) in addresses {
                    findings.push(match result {
                        Ok(took) => {
                            let says = format!("a connection stands within {} ms", took.as_millis());
                            Finding::good("connection", address.to_string(), says)
                        }
                        Err(trouble) => Finding::trouble("connection", address.to_string(), bad, trouble.clone()),
                    });
                }
            }
        }
    }
}

/// Whether the link's server comes to the hub, and proves itself there.
fn way_back(notes: &Notes, begun: SystemTime, asked: &[Asked], findings: &mut Vec<Finding>) {
    let subject = "to the hub";
    let answered = asked.iter().any(|asked| asked.result.is_ok());
    let turned_away = notes.turned_away.as_ref().filter(|(at, _)| notes.proved.is_none_or(|proved| proved < *at));
    findings.push(match (turned_away, notes.proved) {
        (Some((at, trouble)), _) => {
            // One that came while it was asked is the reason why there is no answer.
            let result = if *at >= begun || !answered { Verdict::Failed } else { Verdict::Warning };
            let says = format!("their server came {} and was turned away: {trouble}", ago(*at));
            Finding::trouble("way back", subject, result, Trouble::new(trouble.fault, says))
        }
        (None, Some(proved)) => {
            Finding::good("way back", subject, format!("their server came {} and proved itself", ago(proved)))
        }
        (None, None) => {
            let says = "their server has not come to the hub since it started".to_owned();
            let result = if answered { Verdict::Unknown } else { Verdict::Warning };
            Finding::trouble("way back", subject, result, Trouble::new(Fault::NothingCame, says))
        }
    });
}

/// What has gone both ways, as people wrote it.
fn traffic(notes: &Notes, findings: &mut Vec<Finding>) {
    let said = |ways: &Ways| {
        let when = |at: Option<SystemTime>| at.map_or_else(|| "not since the hub started".to_owned(), ago);
        format!("last from their people: {}; last to them: {}", when(ways.came), when(ways.went))
    };
    if let Some((count, why)) = notes.refusals(SystemTime::now()) {
        let says = format!("{count} messages were not taken in the last ten minutes; the last: {}", why.sentence());
        findings.push(Finding::trouble(
            "messages",
            "to their people",
            Verdict::Warning,
            Trouble::new(Fault::MessagesRefused, says),
        ));
    }
    for (check, ways) in [("messages", &notes.messages), ("presence", &notes.presence)] {
        let result = if ways.came.is_some() && ways.went.is_some() { Verdict::Ok } else { Verdict::Unknown };
        findings.push(Finding { check, subject: "both ways".to_owned(), result, fault: None, says: said(ways) });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;

    fn asked(result: Answer) -> Vec<Asked> {
        let domain = |text: &str| Domain::parse(text).unwrap();
        vec![Asked { from: domain("hub.example"), to: domain("acme.example"), result: result.map(|()| Duration::ZERO) }]
    }

    #[test]
    fn the_way_back_is_judged_by_what_came_last() {
        let now = SystemTime::now();
        let judged = |proved: Option<SystemTime>, away: Option<SystemTime>, result: Answer| {
            let turned_away = away.map(|at| (at, Trouble::new(Fault::CertificateExpired, "expired")));
            let mut notes = Notes::default();
            (notes.proved, notes.turned_away) = (proved, turned_away);
            let mut findings = Vec::new();
            way_back(&notes, now, &asked(result), &mut findings);
            (findings[0].result, findings[0].fault)
        };
        let (before, after) = (now - Duration::from_secs(9), now + Duration::from_secs(1));
        let back = || Err(Trouble::new(Fault::NoWayBack, "why"));
        assert_eq!(judged(Some(after), Some(before), Ok(())), (Verdict::Ok, None));
        assert_eq!(judged(Some(before), Some(after), back()), (Verdict::Failed, Some(Fault::CertificateExpired)));
        assert_eq!(judged(None, Some(before), back()), (Verdict::Failed, Some(Fault::CertificateExpired)));
        assert_eq!(judged(None, Some(before), Ok(())), (Verdict::Warning, Some(Fault::CertificateExpired)));
        assert_eq!(judged(None, None, back()), (Verdict::Warning, Some(Fault::NothingCame)));
        assert_eq!(judged(None, None, Ok(())), (Verdict::Unknown, Some(Fault::NothingCame)));
    }
}
