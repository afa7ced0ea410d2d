//! The bus that the configuration names: the only place that knows both kinds.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use interchange_broker::{Broker, Kept, Limits, Trace};
use interchange_bus::Bus as _;
use interchange_bus_embedded::EmbeddedBus;
use interchange_bus_rabbit::{CONSUMER_TIMEOUT, Options, QueueLimits, RabbitBus};
use interchange_model::{Down, PlatformName, QueueId, Up};
use interchange_registry::Registry;
use tokio::sync::{mpsc, watch};

use crate::config::{BusSettings, Config, RabbitSettings};
use crate::secret;

/// An open bus.
pub(crate) enum OpenBus {
    Embedded(Arc<EmbeddedBus>),
    RabbitMq(Arc<RabbitBus>),
}

impl OpenBus {
    /// Opens the bus.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        match &config.bus {
            BusSettings::Embedded => {
                let options = interchange_bus_embedded::Options::default();
                let bus = EmbeddedBus::open(&config.data_directory, options).await.context("the bus cannot be opened")?;
                Ok(Self::Embedded(Arc::new(bus)))
            }
            BusSettings::RabbitMq(settings) => {
                let bus = RabbitBus::open(options(settings)?).await.context("the bus cannot be opened")?;
                let queues = queues(config);
                let missing = bus.missing(&queues).await.context("the queues on RabbitMQ cannot be looked at")?;
                if let Some(first) = missing.first() {
                    bail!(
                        "RabbitMQ lacks {} of {} queues ({} and so on): run `interchange bus setup`, as a user who may declare them",
                        missing.len(),
                        queues.len(),
                        first.name()
                    );
                }
                Ok(Self::RabbitMq(Arc::new(bus)))
            }
        }
    }

    /// Starts the broker on it.
    pub(crate) fn start_broker(
        &self,
        registry: watch::Receiver<Arc<Registry>>,
        platforms: HashMap<PlatformName, mpsc::Sender<Down>>,
        up: mpsc::Receiver<Up>,
        trace: Trace,
        kept: Kept,
        limits: Limits,
    ) -> Broker {
        match self {
            Self::Embedded(bus) => Broker::start(bus.clone(), registry, platforms, up, trace, kept, limits),
            Self::RabbitMq(bus) => Broker::start(bus.clone(), registry, platforms, up, trace, kept, limits),
        }
    }

    /// What waits on it, by queue.
    pub(crate) async fn waiting(&self) -> Result<Vec<interchange_bus::Waiting>, interchange_bus::BusError> {
        match self {
            Self::Embedded(bus) => bus.waiting().await,
            Self::RabbitMq(bus) => bus.waiting().await,
        }
    }

    pub(crate) async fn close(&self) -> Result<(), interchange_bus::BusError> {
        match self {
            Self::Embedded(bus) => bus.close().await,
            Self::RabbitMq(bus) => bus.close().await,
        }
    }
}

fn options(settings: &RabbitSettings) -> anyhow::Result<Options> {
    let password = settings.password_file.as_deref().map(secret::read_password).transpose()?;
    let authorities = settings
        .authority
        .as_ref()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display())))
        .transpose()?;
    let consumer_timeout = settings.consumer_timeout_seconds.map_or(CONSUMER_TIMEOUT, Duration::from_secs);
    Ok(Options { urls: settings.urls.clone(), password, authorities, consumer_timeout, declare: None })
}

fn queues(config: &Config) -> Vec<QueueId> {
    config.links.iter().map(|link| QueueId::Link(link.id.clone())).collect()
}

/// How long a new quorum queue may not survive the loss of its only node: RabbitMQ 3.10 writes the names of new ones to disk up to 3 s late, and
/// brings one back empty and without a leader when it was killed before.
const NAMES_WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// `interchange bus setup`: declares what the hub needs on RabbitMQ, and waits until it would survive a crash, if `wait` is set. May be
/// repeated at any time.
///
/// # Errors
/// When the bus is not RabbitMQ, or RabbitMQ refuses.
pub async fn setup(config: &Config, administrator: Option<String>, wait: bool) -> anyhow::Result<()> {
    let BusSettings::RabbitMq(settings) = &config.bus else {
        println!("the bus is embedded: there is nothing to set up");
        return Ok(());
    };
    let mut options = options(settings)?;
    if let Some(url) = administrator {
        options.urls = vec![url];
        options.password = None;
    }
    let limits = settings.queue_bytes.map_or_else(QueueLimits::default, |bytes| QueueLimits { bytes });
    let queues = queues(config);
    let watched = std::io::stderr().is_terminal();
    let progress = |done: usize| {
        if watched {
            eprint!("\r{done} of {} queues", queues.len());
            let _ = std::io::stderr().flush();
        }
    };
    interchange_bus_rabbit::setup(&options, limits, &queues, progress).await?;
    if watched {
        eprintln!();
    }
    if wait {
        if watched {
            eprintln!("waiting {} s until RabbitMQ has written them to disk", NAMES_WRITTEN_WITHIN.as_secs());
        }
        tokio::time::sleep(NAMES_WRITTEN_WITHIN).await;
    }
    println!("RabbitMQ is set up: {} queues, one for each link and one for quarantine, and an exchange", queues.len() + 1);
    Ok(())
}
