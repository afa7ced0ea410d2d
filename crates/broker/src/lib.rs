//! Submit, route, deliver, bounce, trace: the only place that decides where a message goes.
//!
//! Adapters say [`Up`], the broker says [`Down`], through bounded channels; between the two lies the bus. One task takes
//! in what all platforms say (`submit.rs`): it routes submissions against the present registry, drops repeats (`duplicates.rs`), refuses what is too much (`guards/`), publishes the
//! rest in batches, and answers when they are durable. What is not stored, presence and typing, it passes on at once or lets be (`watches/`). One task for each link (`deliver/`) reads that link's queue while the link is up and hands
//! over as many envelopes as may be in flight. What a peer refuses for now is tried again; what it refuses
//! for good, or is too old, goes back to its sender as a failure
//! (`bounce.rs`), published before the refused envelope is settled. Every stage leaves a trace (`trace.rs`).
//!
//! **Why it cannot stall.** The broker waits for the bus, which depends on nobody, and for room in a platform's `Down` channel,
//! which a driver empties whatever else it waits for. It never waits for a platform to say something. No lock is held while it waits.
//!
//! What a platform's bytes look like, how links are configured and where envelopes are stored is not known here.

mod bounce;
mod clock;
mod deliver;
mod duplicates;
mod guards;
mod metrics;
mod step;
mod submit;
mod told;
mod trace;
mod watches;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use interchange_bus::Bus;
use interchange_model::{Down, Health, LinkId, PlatformName, Up};
use interchange_registry::{Registry, Store, WatchRow};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use guards::{Limits, REPEATED_WITHIN, Rate};
pub use metrics::Metrics;
pub use trace::{Stage, Trace, TraceEvent};

/// How long a stop waits for what is in flight to be settled.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The ways to the platforms.
pub(crate) type Platforms = Arc<HashMap<PlatformName, mpsc::Sender<Down>>>;

/// What the broker keeps over a restart, beside the messages on the bus.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where changes are written.
    pub store: Store,
    /// The watches that were in it when the hub started.
    pub watches: Vec<WatchRow>,
}

impl Kept {
    /// What a store holds.
    ///
    /// # Errors
    /// As [`Store::watches`].
    pub async fn load(store: Store) -> Result<Self, interchange_registry::StoreError> {
        Ok(Self { watches: store.watches().await?, store })
    }

    /// Nothing, and nothing is kept: for tests.
    #[must_use]
    pub fn volatile() -> Self {
        Self { store: Store::volatile(), watches: Vec::new() }
    }
}

/// A running broker. Dropping it ends it at once: what is in flight is handed over again after the next start.
#[derive(Debug)]
pub struct Broker {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    health: watch::Receiver<BTreeMap<LinkId, Health>>,
}

impl Broker {
    /// Starts the broker, inside a tokio runtime. The first word that each platform hears is [`Down::Links`]; it is repeated, whole, whenever
    /// the registry changes. What waits on the bus for a link is handed over when the link says [`Health::Up`].
    ///
    /// What a link, or a sender, submits beyond `limits` is refused.
    ///
    /// `platforms` has one sender for each platform that has an adapter, and `up` hears them all. Links of other platforms get
    /// nothing; what is sent to them waits on the bus.
    pub fn start<B: Bus>(
        bus: Arc<B>,
        registry: watch::Receiver<Arc<Registry>>,
        platforms: HashMap<PlatformName, mpsc::Sender<Down>>,
        up: mpsc::Receiver<Up>,
        trace: Trace,
        kept: Kept,
        limits: Limits,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (health_sender, health) = watch::channel(BTreeMap::new());
        let intake = submit::Intake::new(bus, registry, Arc::new(platforms), trace, health_sender, kept, limits);
        Self { task: tokio::spawn(intake.run(up, stopping)), stop, health }
    }

    /// How each link is, as its adapter last said; links of which nothing was heard are [`Health::Connecting`].
    #[must_use]
    pub fn health(&self) -> watch::Receiver<BTreeMap<LinkId, Health>> {
        self.health.clone()
    }

    /// Stops in order: hands nothing more over, waits up to [`STOP_LIMIT`] for what is in flight to be settled, and stores what was
    /// settled. Submissions that come meanwhile are stored and answered as always, so that a restart refuses nobody. To be called
    /// before the platforms are stopped; they notice that the broker is gone.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        // An error: it has panicked, which the panic hook has reported.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}
