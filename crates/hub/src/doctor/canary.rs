//! The canary: every link's server is asked for an answer, again and again, so that a link that nobody uses is found broken before somebody does.

use std::time::{Duration, SystemTime};

use interchange_admin::Probe;
use interchange_model::{Fault, Health, Link, Trouble};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Doctor, lock};
use crate::platforms::is_linkable;

impl Doctor {
    /// Asks every link's server once in `every`, each at a moment of its own, for ever. A link that is known to be down is not asked: its adapter tries it
    /// again, at its own pace.
    pub(crate) async fn probe_all(self, every: Duration) {
        let mut rounds = interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first at once is not wanted: links come up first.
        rounds.tick().await;
        loop {
            rounds.tick().await;
            let links = self.0.around.registry.borrow().all_links().to_vec();
            lock(&self.0.probes).retain(|id, _| links.iter().any(|link| link.id == *id));
            let links: Vec<Link> = links.into_iter().filter(|link| is_linkable(&link.platform)).collect();
            let step = every.checked_div(2 * u32::try_from(links.len()).unwrap_or(u32::MAX)).unwrap_or_default();
            let mut probes = JoinSet::new();
            for (place, link) in (0u32..).zip(links) {
                let doctor = self.clone();
                probes.spawn(async move {
                    sleep(step.saturating_mul(place)).await;
                    doctor.probe(&link).await;
                });
            }
            while probes.join_next().await.is_some() {}
        }
    }

    /// Asks one, and keeps what came of it.
    async fn probe(&self, link: &Link) {
        let health = self.0.around.health.borrow().get(&link.id).cloned().unwrap_or(Health::Connecting);
        let result = match (&health, link.domains.first()) {
            (Health::Up, Some(domain)) => self.ask(link, &self.0.around.hub, domain).await,
            // It waits for its server, as it was told to, or has only just begun.
            (Health::Connecting, _) | (_, None) => return,
            (Health::Retrying { why } | Health::Broken { why }, _) => Err(Trouble::new(Fault::Disconnected, why.clone())),
        };
        let at = SystemTime::now();
        let mut probes = lock(&self.0.probes);
        let before = probes.get(&link.id).and_then(|probe| probe.last_answer);
        let last_answer = if result.is_ok() { Some(at) } else { before };
        if let (Err(trouble), true) = (&result, probes.get(&link.id).is_none_or(|probe| probe.result.is_ok())) {
            tracing::warn!(link = %link.id, fault = %trouble.fault, "the canary has no answer: {trouble}");
        }
        probes.insert(link.id.clone(), Probe { at, result, last_answer });
    }
}
