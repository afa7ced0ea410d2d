//! `interchange serve`: puts the pieces together, runs them, and takes them down in good order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use interchange_accounts::Accounts;
use interchange_adapter::{Build, Platform};
use interchange_admin::Admin;
use interchange_broker::{Broker, Kept, Trace, TraceEvent};
use interchange_driver::{Bound, Driver, Limits, Listener, Reach, Resolver, Roots, Setup, Tls};
use interchange_model::{PlatformName, Settings};
use interchange_registry::{Members, Registry, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};

use crate::accounts;
use crate::bus::OpenBus;
use crate::certificates::{CertificateFiles, Certificates};
use crate::config::Config;
use crate::doctor::{Doctor, Surroundings};
use crate::history::History;
use crate::observe::{Hub, Lookup};
use crate::platforms::PLATFORMS;
use crate::registered;
use crate::secret;

/// Words that may wait between an adapter and the broker, each way. A full line makes the driver stop reading sockets.
const WORDS: usize = 1024;

/// How often the ends of certificates and the age of revocation lists are looked at.
const LOOK: Duration = Duration::from_secs(24 * 60 * 60);

/// A hub that runs.
pub struct Running {
    drivers: Vec<Driver>,
    broker: Broker,
    bus: Arc<OpenBus>,
    store: Store,
    /// Takes up what other nodes change.
    follower: JoinHandle<()>,
    members: Arc<Members>,
    /// Judges who signs in at the hub.
    accounts: Accounts,
    resolver: Resolver,
    reach: Reach,
    /// Take notes of links and probe them; they end with this.
    _watchers: tokio::task::JoinSet<()>,
    trace: Trace,
    certificates: Certificates,
    /// Metrics and health for the operator, where they are wanted.
    pub admin: Option<Admin>,
    /// Every listening socket with the address it really has, by platform.
    pub bound: Vec<(&'static str, Bound)>,
}

/// Reads what the configuration names, without starting anything. Returns warnings.
///
/// # Errors
/// When a certificate or key cannot be used, or two links claim one domain.
pub fn check_files(config: &Config) -> anyhow::Result<Vec<String>> {
    let (_, warnings) = Certificates::new(CertificateFiles::read(config)?, SystemTime::now())?;
    Registry::new(registered::declared(config))?;
    // Nothing is called: the names are looked up when they are needed.
    let tls = Tls::new(Vec::new(), 0, Roots::none())?;
    accounts::directories(config, &tls, &Resolver::with_name_servers(&[])?, &Reach::public())?;
    Ok(config.warnings.iter().cloned().chain(warnings).collect())
}

/// Runs the hub until SIGTERM or SIGINT. At SIGHUP it reads its certificates, and the directories of
/// people, again, as the file at `path` names them then.
///
/// # Errors
/// When something that it needs is not there; nothing is left running then.
pub async fn run(config: Config, path: &Path) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut running = start(&config).await?;
    // Where systemd waits for it; elsewhere nothing happens.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut look = interval_at(Instant::now() + LOOK, LOOK);
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => running.reload(path).await,
            _ = look.tick() => warn(&running.certificates.look(SystemTime::now())),
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Starts bus, broker and a driver for each platform.
///
/// # Errors
/// When something that it needs is not there.
pub async fn start(config: &Config) -> anyhow::Result<Running> {
    let (certificates, warnings) = Certificates::new(CertificateFiles::read(config)?, SystemTime::now())?;
    warn(&config.warnings);
    warn(&warnings);
    create_data_directory(config)?;
    let secret = secret::load_or_create(&config.data_directory)?;
    let bus = Arc::new(OpenBus::open(config).await?);
    let store = Store::open_with(&config.data_directory, &config.store.database()?).await?;
    let members = Arc::new(registered::open(config, store.clone()).await?);
    let kept = Kept::load(store.clone()).await?;
    let resolver = match config.name_servers.as_slice() {
        [] => Resolver::system().context("the system's name servers are not known")?,
        servers => Resolver::with_name_servers(servers)?,
    };
    let reach = Reach::public_and(config.allow_targets.clone());

    let (up, from_adapters) = mpsc::channel(WORDS);
    let (observer, sights) = mpsc::channel(WORDS);
    let directories = accounts::directories(config, &certificates.tls(), &resolver, &reach)?;
    let accounts = Accounts::start(members.clone(), directories);
    let mut drivers = Vec::new();
    let mut bound = Vec::new();
    let mut to_adapters: HashMap<PlatformName, mpsc::Sender<_>> = HashMap::new();
    for platform in PLATFORMS {
        let settings = config.platforms.get(platform.name).cloned().unwrap_or_default();
        let listeners: Vec<Listener> = config
            .listeners
            .iter()
            .filter(|listener| listener.platform == platform.name)
            .map(|listener| Listener { address: listener.address, transport: listener.transport })
            .collect();
        let (to_adapter, down) = mpsc::channel(WORDS);
        let setup = Setup {
            name: platform.name(),
            listeners,
            tls: certificates.tls(),
            resolver: resolver.clone(),
            reach: reach.clone(),
            limits: Limits::default(),
            up: up.clone(),
            observer: Some(observer.clone()),
            accounts: Some(accounts.questions()),
            down,
        };
        let hub = config.domain.clone();
        let build = move || build(platform, &settings, &hub, secret);
        let driver = Driver::start(setup, build).with_context(|| format!("the {} platform cannot start", platform.name))?;
        bound.extend(driver.bound().iter().map(|bound| (platform.name, *bound)));
        to_adapters.insert(platform.name(), to_adapter);
        drivers.push(driver);
    }
    let trace = Trace::new(secret);
    let broker = bus.start_broker(members.watch(), to_adapters.clone(), from_adapters, trace.clone(), kept, config.limits);
    let doctor = Doctor::new(Surroundings {
        hub: config.domain.clone(),
        listening: PLATFORMS.iter().map(Platform::name).filter(|name| listens(config, name)).collect(),
        certificates: certificates.shown(),
        platforms: to_adapters,
        registry: members.watch(),
        health: broker.health(),
        resolver: resolver.clone(),
        reach: reach.clone(),
        bus: bus.clone(),
    });
    let mut watchers = tokio::task::JoinSet::new();
    watchers.spawn(doctor.clone().follow(sights, trace.subscribe()));
    if let Some(every) = config.canary {
        watchers.spawn(doctor.clone().probe_all(every));
    }
    let admin = match config.admin {
        Some(address) => {
            let stats =
                drivers.iter().zip(PLATFORMS).map(|(driver, platform)| (platform.name(), driver.stats().clone())).collect();
            let history = History::default();
            let lookup = Lookup {
                resolver: resolver.clone(),
                reach: reach.clone(),
                port: config.authority_port,
                tls: certificates.tls(),
                https_port: config.https_port,
            };
            let hub = Hub::new(
                trace.metrics(),
                bus.clone(),
                stats,
                broker.health(),
                certificates.ends(),
                lookup,
                (history.clone(), doctor, members.clone()),
            )?;
            tokio::spawn(history.follow(trace.subscribe()));
            registered::first_operator(config, &members).await?;
            let admin = Admin::start(address, Arc::new(hub), Some((members.clone(), registered::about(config)))).await;
            Some(admin.with_context(|| format!("metrics and health cannot be served at {address}"))?)
        }
        None => None,
    };
    let followed = members.clone();
    let follower = tokio::spawn(async move { followed.follow().await });
    Ok(Running {
        drivers,
        broker,
        bus,
        store,
        follower,
        members,
        accounts,
        resolver,
        reach,
        _watchers: watchers,
        trace,
        certificates,
        admin,
        bound,
    })
}

/// Whether peers of a platform can come to the hub.
fn listens(config: &Config, platform: &PlatformName) -> bool {
    config.listeners.iter().any(|listener| listener.platform == platform.as_str())
}

fn build(
    platform: &interchange_adapter::Platform,
    settings: &Settings,
    hub: &interchange_model::Domain,
    secret: [u8; 32],
) -> Box<dyn interchange_adapter::Adapter> {
    let build = Build { settings, hub, secret, seed: rand::random() };
    (platform.build)(build).expect("the configuration was checked with the same settings")
}

impl Running {
    /// What happens to messages from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<TraceEvent> {
        self.trace.subscribe()
    }

    /// Reads certificates and directories of people again, and takes all of them into use or none. Where directories may be, the hub knows since it started.
    async fn reload(&mut self, path: &Path) {
        let (tls, resolver, reach) = (self.certificates.tls(), self.resolver.clone(), self.reach.clone());
        let read = move |config: &Config| accounts::directories(config, &tls, &resolver, &reach);
        if let Some(directories) = self.certificates.reload(path, read).await {
            self.members.set_directories(directories.iter().map(|(member, ..)| member.clone()).collect());
            self.accounts.replace_directories(directories);
        }
    }

    /// Takes no more, lets what is in flight come to its end, and says goodbye to every peer.
    pub async fn stop(mut self) {
        // What is registered is not changed any more while the rest comes to its end.
        self.admin = None;
        self.follower.abort();
        self.broker.stop().await;
        for driver in &mut self.drivers {
            driver.stop();
        }
        for driver in &mut self.drivers {
            driver.stopped().await;
        }
        self.store.close().await;
        if let Err(error) = self.bus.close().await {
            // Nothing is lost: what was accepted is on disk, and the next start reads it.
            tracing::warn!(%error, "the bus did not close in good order");
        }
    }
}

/// Makes the data directory if it is not there; only its owner may read it.
pub(crate) fn create_data_directory(config: &Config) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_directory)
        .with_context(|| format!("cannot make the data directory {}", config.data_directory.display()))
}
