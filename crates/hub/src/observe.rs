//! What the operator's HTTP side shows: the counters of broker and drivers, and what is read at the moment of asking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use interchange_admin::{Asked, Finding, NameServer, Observed, Probe, TraceRow, WaitingQueue};
use interchange_broker::Metrics;
use interchange_driver::{AuthorityAnswer, DriverStats, Reach, Resolver, Tls, fetch};
use interchange_guide::{Service, SrvAnswer, SrvTarget};
use interchange_model::{Domain, Health, LinkId, Plain, PlatformName};
use interchange_registry::Members;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::bus::OpenBus;
use crate::doctor::Doctor;
use crate::history::History;
use crate::platforms::hosts_people;

/// How long the bus may take to say what waits: a scrape has ten seconds.
const BUS_ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Every state of a link, as [`Health::label`] names them.
const STATES: [&str; 4] = ["connecting", "up", "retrying", "broken"];

/// One running hub.
pub(crate) struct Hub {
    registry: Registry,
    bus: Arc<OpenBus>,
    drivers: Vec<(PlatformName, Arc<DriverStats>)>,
    health: watch::Receiver<BTreeMap<LinkId, Health>>,
    certificates: Vec<(String, SystemTime)>,
    lookup: Lookup,
    history: History,
    doctor: Doctor,
    members: Arc<Members>,
}

/// By what the proofs of domains are looked up.
pub(crate) struct Lookup {
    pub(crate) resolver: Resolver,
    pub(crate) reach: Reach,
    pub(crate) port: u16,
    pub(crate) tls: Tls,
    pub(crate) https_port: u16,
}

impl Hub {
    /// Counts from here on what `metrics` and the drivers count. `certificates`: each with its end.
    pub(crate) fn new(
        metrics: &Metrics,
        bus: Arc<OpenBus>,
        drivers: Vec<(PlatformName, Arc<DriverStats>)>,
        health: watch::Receiver<BTreeMap<LinkId, Health>>,
        certificates: Vec<(String, SystemTime)>,
        lookup: Lookup,
        (history, doctor, members): (History, Doctor, Arc<Members>),
    ) -> prometheus::Result<Self> {
        let registry = Registry::new();
        metrics.register(&registry)?;
        let build = Opts::new("interchange_build_info", "1, with the version of the program.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        registry.register(Box::new(build))?;
        let started = Gauge::new("interchange_start_time_seconds", "When the process started, in seconds since 1970.")?;
        started.set(seconds(SystemTime::now()));
        registry.register(Box::new(started))?;
        Ok(Self { registry, bus, drivers, health, certificates, lookup, history, doctor, members })
    }

    /// Connections and bytes, from the drivers' own counters.
    fn of_drivers(&self, families: &mut Vec<MetricFamily>) -> prometheus::Result<()> {
        let platform: &[&str] = &["platform"];
        let open = IntGaugeVec::new(Opts::new("interchange_connections", "Connections open now."), platform)?;
        let opened = counters(
            "interchange_connections_opened_total",
            "Connections that came about: `accepted`, or `dialled` by the hub.",
            &["platform", "direction"],
        )?;
        let closed = counters(
            "interchange_connections_closed_total",
            "Connections that ended, and dials that failed, by reason.",
            &["platform", "reason"],
        )?;
        let turned_away = counters(
            "interchange_connections_turned_away_total",
            "Connections closed at once because a limit on their number was reached.",
            platform,
        )?;
        let bytes = counters(
            "interchange_bytes_total",
            "Bytes read (`in`) and written (`out`), without TLS.",
            &["platform", "direction"],
        )?;
        let dropped = counters("interchange_datagrams_dropped_total", "Datagrams that could not be sent.", platform)?;
        let restarts = counters("interchange_adapter_restarts_total", "Adapters rebuilt after a panic.", platform)?;
        for (name, stats) in &self.drivers {
            let name = name.as_str();
            open.with_label_values(&[name]).set(i64::try_from(stats.open()).unwrap_or(i64::MAX));
            opened.with_label_values(&[name, "accepted"]).inc_by(stats.accepted());
            opened.with_label_values(&[name, "dialled"]).inc_by(stats.dialled());
            for (reason, count) in stats.all_closes() {
                closed.with_label_values(&[name, reason.label()]).inc_by(count);
            }
            turned_away.with_label_values(&[name]).inc_by(stats.turned_away());
            bytes.with_label_values(&[name, "in"]).inc_by(stats.bytes_in());
            bytes.with_label_values(&[name, "out"]).inc_by(stats.bytes_out());
            dropped.with_label_values(&[name]).inc_by(stats.datagrams_dropped());
            restarts.with_label_values(&[name]).inc_by(stats.restarts());
        }
        for counters in [opened, closed, turned_away, bytes, dropped, restarts] {
            families.extend(counters.collect());
        }
        families.extend(open.collect());
        Ok(())
    }

    fn of_links(&self, families: &mut Vec<MetricFamily>) -> prometheus::Result<()> {
        let state = IntGaugeVec::new(
            Opts::new("interchange_link_state", "1 for the state that a link is in, 0 for the others; it works when `up` is 1."),
            &["link", "state"],
        )?;
        for (link, health) in self.health.borrow().iter() {
            for label in STATES {
                state.with_label_values(&[link.as_str(), label]).set(i64::from(health.label() == label));
            }
        }
        families.extend(state.collect());
        Ok(())
    }

    /// What waits. A link in whose queue nothing waits has 0, so that its line does not end.
    async fn of_queues(&self, families: &mut Vec<MetricFamily>) -> prometheus::Result<()> {
        let up = IntGauge::new("interchange_bus_up", "Whether the bus says what waits on it.")?;
        let depth = IntGaugeVec::new(
            Opts::new("interchange_queue_messages", "Messages in a link's queue, those handed over and not settled included."),
            &["link"],
        )?;
        let age = GaugeVec::new(
            Opts::new(
                "interchange_queue_oldest_seconds",
                "Age of the oldest message in a link's queue; 0: nothing waits, or the bus cannot tell.",
            ),
            &["link"],
        )?;
        let waiting = timeout(BUS_ANSWERS_WITHIN, self.bus.waiting()).await;
        let waiting = waiting.ok().and_then(Result::ok);
        up.set(i64::from(waiting.is_some()));
        if let Some(waiting) = waiting {
            for link in self.health.borrow().keys() {
                depth.with_label_values(&[link.as_str()]).set(0);
                age.with_label_values(&[link.as_str()]).set(0.0);
            }
            let now = SystemTime::now();
            for queue in waiting {
                let interchange_model::QueueId::Link(link) = &queue.queue;
                depth.with_label_values(&[link.as_str()]).set(i64::try_from(queue.depth).unwrap_or(i64::MAX));
                let oldest = queue.oldest.and_then(|oldest| now.duration_since(oldest).ok()).unwrap_or_default();
                age.with_label_values(&[link.as_str()]).set(oldest.as_secs_f64());
            }
        }
        families.extend(up.collect());
        families.extend(depth.collect());
        families.extend(age.collect());
        Ok(())
    }

    fn of_store(&self, families: &mut Vec<MetricFamily>) -> prometheus::Result<()> {
        let up = IntGauge::new(
            "interchange_store_up",
            "Whether the database of what is registered answered at the last look. While it is 0 the hub goes by what it knew before.",
        )?;
        up.set(i64::from(self.members.is_current()));
        families.extend(up.collect());
        Ok(())
    }

    /// What the canary has found.
    fn of_probes(&self, families: &mut Vec<MetricFamily>) -> prometheus::Result<()> {
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["link"]);
        let answered = gauge(
            "interchange_canary_up",
            "Whether the last regular probe of a link was answered by its server: both directions work when it is 1.",
        )?;
        let took = gauge("interchange_canary_seconds", "How long the answer to the last probe that was answered took.")?;
        let last = gauge(
            "interchange_canary_last_answer_timestamp_seconds",
            "When a probe of a link was last answered, in seconds since 1970.",
        )?;
        for (link, probe) in self.doctor.probes() {
            answered.with_label_values(&[link.as_str()]).set(if probe.result.is_ok() { 1.0 } else { 0.0 });
            if let Ok(time) = probe.result {
                took.with_label_values(&[link.as_str()]).set(time.as_secs_f64());
            }
            if let Some(at) = probe.last_answer {
                last.with_label_values(&[link.as_str()]).set(seconds(at));
            }
        }
        for gauges in [answered, took, last] {
            families.extend(gauges.collect());
        }
        Ok(())
    }

    fn of_certificates(&self, families: &mut Vec<MetricFamily>) -> prometheus::Result<()> {
        let ends = GaugeVec::new(
            Opts::new(
                "interchange_certificate_not_after_seconds",
                "End of a certificate that the hub shows, in seconds since 1970, by its file.",
            ),
            &["file"],
        )?;
        for (file, end) in &self.certificates {
            ends.with_label_values(&[file.as_str()]).set(seconds(*end));
        }
        families.extend(ends.collect());
        Ok(())
    }
}

impl Observed for Hub {
    async fn metrics(&self) -> Vec<MetricFamily> {
        let mut families = self.registry.gather();
        let done = self
            .of_drivers(&mut families)
            .and_then(|()| self.of_links(&mut families))
            .and_then(|()| self.of_store(&mut families))
            .and_then(|()| self.of_probes(&mut families))
            .and_then(|()| self.of_certificates(&mut families));
        if let Err(error) = done.and(self.of_queues(&mut families).await) {
            // Names and labels are written here, so this is a fault of this file.
            tracing::error!(%error, "a metric cannot be made");
        }
        families.retain(|family| !family.get_metric().is_empty());
        families
    }

    async fn obstacles(&self) -> Vec<String> {
        match timeout(BUS_ANSWERS_WITHIN, self.bus.waiting()).await {
            Ok(Ok(_)) => Vec::new(),
            Ok(Err(error)) => vec![format!("no message can be stored: {error}")],
            Err(_) => vec![format!("no message can be stored: the bus did not answer within {} s", BUS_ANSWERS_WITHIN.as_secs())],
        }
    }

    fn trace(&self, asked: &Asked) -> Vec<TraceRow> {
        self.history.find(asked)
    }

    async fn queues(&self) -> Result<Vec<WaitingQueue>, String> {
        let waiting = timeout(BUS_ANSWERS_WITHIN, self.bus.waiting()).await;
        let waiting = waiting.map_err(|_| format!("the bus did not answer within {} s", BUS_ANSWERS_WITHIN.as_secs()))?;
        let waiting = waiting.map_err(|error| format!("the bus does not say what waits: {error}"))?;
        let shown = |queue: interchange_bus::Waiting| {
            let interchange_model::QueueId::Link(link) = queue.queue;
            let oldest = queue.oldest.and_then(|oldest| oldest.duration_since(SystemTime::UNIX_EPOCH).ok());
            WaitingQueue { link, waiting: queue.depth, oldest: oldest.map(|oldest| oldest.as_secs()) }
        };
        Ok(waiting.into_iter().map(shown).collect())
    }

    async fn texts(&self, domain: Domain, name: String) -> Result<Vec<NameServer>, String> {
        let Lookup { resolver, reach, port, .. } = &self.lookup;
        let answers = resolver.authoritative_texts(&domain, &name, reach, *port).await?;
        let shown = |answer: AuthorityAnswer| {
            let (texts, why) = answer.texts.map_or_else(|why| (Vec::new(), Some(why)), |texts| (texts, None));
            NameServer { server: answer.server, address: answer.address, texts, why }
        };
        Ok(answers.into_iter().map(shown).collect())
    }

    async fn file(&self, domain: Domain, path: &'static str) -> Result<String, String> {
        let Lookup { resolver, reach, tls, https_port, .. } = &self.lookup;
        fetch(tls, resolver, reach, (&domain, *https_port), path).await
    }

    async fn services(&self, domain: Domain) -> Vec<SrvAnswer> {
        let mut answers = Vec::new();
        for service in Service::ALL {
            let records = self.lookup.resolver.service_records(&format!("{service}.{domain}")).await;
            let targets = records.into_iter().map(|(host, port)| SrvTarget { host, port }).collect();
            answers.push(SrvAnswer { service, targets });
        }
        answers
    }

    async fn examine(&self, link: LinkId) -> Option<Vec<Finding>> {
        self.doctor.examine(&link).await
    }

    fn probes(&self) -> BTreeMap<LinkId, Probe> {
        self.doctor.probes()
    }

    fn hosts_people(&self, platform: &PlatformName) -> bool {
        hosts_people(platform)
    }

    async fn notify(&self, platform: PlatformName, link: LinkId, text: Plain) -> bool {
        self.doctor.notify(&platform, link, text).await
    }

    fn links(&self) -> BTreeMap<LinkId, Health> {
        self.health.borrow().clone()
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
