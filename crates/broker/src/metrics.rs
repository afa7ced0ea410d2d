//! What the broker counts: the one place where every message passes. Labels are links, and words of closed sets; never anything that a message says.

use std::time::Duration;

use interchange_model::{Kind, LinkId, Refusal};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::trace::Stage;

/// Upper bounds of the buckets of [`Metrics::seconds`].
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 3_600.0];

/// Counters of all messages since the start of the process. Cheap to clone; the clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    received: IntCounterVec,
    outcomes: IntCounterVec,
    seconds: HistogramVec,
}

impl Metrics {
    /// Counters that no registry shows: for tests.
    #[must_use]
    pub fn new() -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are sound")
        };
        let seconds = HistogramOpts::new(
            "interchange_delivery_seconds",
            "Time from the acceptance of a text until the recipient's server had it, by the link it left over.",
        );
        Self {
            received: counter(
                "interchange_messages_received_total",
                "What links submitted: `accepted` is stored, `duplicate` came before, `refused` was turned away for `reason`.",
                &["link", "kind", "result", "reason"],
            ),
            outcomes: counter(
                "interchange_deliveries_total",
                "What became of messages at the link they leave over: `sent` to its server, `delivered`, `deferred` (tried again), `failed` (its sender is told), `dropped` (nobody is told), `returned` (the link went away).",
                &["link", "kind", "result", "reason"],
            ),
            seconds: HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["link"]).expect("names and labels are sound"),
        }
    }

    /// Shows them in a registry.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.received.clone()))?;
        registry.register(Box::new(self.outcomes.clone()))?;
        registry.register(Box::new(self.seconds.clone()))
    }

    /// Counts a stage of a message of this kind, which came in over one link and leaves, where that is known, over another.
    pub(crate) fn count(&self, stage: Stage, kind: Option<Kind>, link_in: &LinkId, link_out: Option<&LinkId>) {
        let reason = stage.refusal().map_or("", Refusal::label);
        let (counter, link) = match stage {
            Stage::Accepted | Stage::Refused(_) | Stage::Duplicate => (&self.received, link_in),
            // What ends before any link was found for it ends where it came from.
            _ => (&self.outcomes, link_out.unwrap_or(link_in)),
        };
        let kind = kind.map_or("unknown", Kind::label);
        counter.with_label_values(&[link.as_str(), kind, stage.label(), reason]).inc();
    }

    /// Notes how long a text took that left over a link.
    pub(crate) fn time(&self, link: &LinkId, took: Duration) {
        self.seconds.with_label_values(&[link.as_str()]).observe(took.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_counted_at_the_link_where_it_happens() {
        let metrics = Metrics::new();
        let (acme, globex) = (LinkId::from("acme"), LinkId::from("globex"));
        metrics.count(Stage::Accepted, Some(Kind::Text), &acme, None);
        metrics.count(Stage::Delivered, Some(Kind::Text), &acme, Some(&globex));
        metrics.count(Stage::Refused(Refusal::NoSuchUser), None, &acme, None);
        let received = |labels: &[&str]| metrics.received.with_label_values(labels).get();
        assert_eq!(received(&["acme", "text", "accepted", ""]), 1);
        assert_eq!(received(&["acme", "unknown", "refused", "no-such-user"]), 1);
        assert_eq!(metrics.outcomes.with_label_values(&["globex", "text", "delivered", ""]).get(), 1);
        let registry = Registry::new();
        metrics.register(&registry).unwrap();
        assert!(metrics.register(&registry).is_err());
        assert!(registry.gather().iter().all(|family| !family.help().is_empty() && family.name().starts_with("interchange_")));
    }
}
