//! A running platform: its sockets, its loop, and the supervisor that builds the adapter anew after a panic.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use interchange_adapter::Adapter;
use interchange_model::{Down, Health, LinkId, PlatformName, Up};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::accounts::AccountQuestion;
use crate::broker::Broker;
use crate::dial::DIALS_AT_ONCE;
use crate::listen::{Gate, Limits, Listener, OpenSocket, bind};
use crate::observe::Observation;
use crate::reach::Reach;
use crate::resolve::Resolver;
use crate::run::{Ended, run, said};
use crate::shared::Shared;
use crate::stats::DriverStats;
use crate::tls::Tls;

/// How long the supervisor waits after a panic when the adapter had lived for longer than this; doubled with each panic that
/// comes sooner, up to the second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long an adapter must live for the pause to be short again.
const CALM: Duration = Duration::from_secs(60);

/// What a platform runs with.
#[derive(Debug)]
pub struct Setup {
    /// The platform, for logs.
    pub name: PlatformName,
    /// Where to listen; may be empty.
    pub listeners: Vec<Listener>,
    /// The hub's certificates and authorities; one for all platforms.
    pub tls: Tls,
    /// For names; one for all platforms.
    pub resolver: Resolver,
    /// Which addresses may be dialled.
    pub reach: Reach,
    /// How many connections may come in.
    pub limits: Limits,
    /// To the broker. Bounded: 1,024 is a good size.
    pub up: mpsc::Sender<Up>,
    /// Who is told what adapters notice about links: some hundreds are a good size. What it has no room for is lost.
    pub observer: Option<mpsc::Sender<Observation>>,
    /// Who knows the people that sign in at the hub. Absent, or without room: the adapter is told at once that nobody could be asked.
    pub accounts: Option<mpsc::Sender<AccountQuestion>>,
    /// From the broker; the adapter gets `Down::Links` before anything else. Bounded. When it is closed, the platform stops.
    pub down: mpsc::Receiver<Down>,
}

/// A listener and the address it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// As it was asked for.
    pub listener: Listener,
    /// As it is: with the port that the system chose for port 0.
    pub address: SocketAddr,
}

/// A platform that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's socket could not be opened.
    #[error("cannot listen on {} {}: {source}", listener.transport.label(), listener.address)]
    Listen {
        /// Which.
        listener: Listener,
        /// Why not.
        source: io::Error,
    },
}

/// A running platform. Dropping it stops it, without waiting.
///
/// It stops by itself when the broker hangs up. A panic in the adapter ends all its connections; then the links are reported as
/// `Connecting` to the broker, so that what was leased returns, the broker's open answers are waited for, since the new adapter
/// may give the same tokens again, and the adapter is built anew. Pauses between panics that follow each other double from
/// 250 ms to 60 s.
#[derive(Debug)]
pub struct Driver {
    bound: Vec<Bound>,
    stats: Arc<DriverStats>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    supervisor: JoinHandle<()>,
}

impl Driver {
    /// Opens the listeners and starts the platform's task. `build` makes the adapter, now and after each panic; give each a
    /// seed of its own. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`], when a listener cannot be opened; then nothing was started.
    pub fn start<B>(setup: Setup, build: B) -> Result<Self, StartError>
    where
        B: FnMut() -> Box<dyn Adapter> + Send + 'static,
    {
        let mut sockets = Vec::new();
        let mut bound = Vec::new();
        for listener in setup.listeners {
            let (socket, address) = bind(&listener).map_err(|source| StartError::Listen { listener, source })?;
            tracing::info!(platform = %setup.name, transport = listener.transport.label(), %address, "listening");
            sockets.push(socket);
            bound.push(Bound { listener, address });
        }
        let stats = Arc::new(DriverStats::default());
        let shared = Arc::new(Shared {
            name: setup.name,
            tls: setup.tls,
            resolver: setup.resolver,
            reach: setup.reach,
            gate: Gate::new(&setup.limits),
            limits: setup.limits,
            stats: stats.clone(),
            dials: Semaphore::new(DIALS_AT_ONCE),
            tasks: TaskTracker::new(),
            accepted: Default::default(),
            observer: setup.observer,
            accounts: setup.accounts,
        });
        let broker = Broker {
            up: setup.up,
            down: setup.down,
            pending: VecDeque::new(),
            links: None,
            unanswered: 0,
            hushed: Default::default(),
            gone: false,
        };
        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(supervise(broker, build, sockets, shared, stop.clone()));
        Ok(Self { bound, stats, _stop_on_drop: stop.clone().drop_guard(), stop, supervisor })
    }

    /// The listeners and the addresses they have, in the order in which they were given.
    #[must_use]
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// What is counted.
    #[must_use]
    pub fn stats(&self) -> &Arc<DriverStats> {
        &self.stats
    }

    /// Tells the platform to stop: no more connections are accepted, the adapter says goodbye to its peers, and what is still
    /// open after 5 s is closed. The broker must go on taking words meanwhile. Returns at once; see [`Self::stopped`].
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the platform has stopped: at most 9 s after [`Self::stop`]. Safe to drop and call again.
    pub async fn stopped(&mut self) {
        if !self.supervisor.is_finished() {
            // An error: the supervisor itself panicked, which the panic hook has reported.
            let _ = (&mut self.supervisor).await;
        }
    }
}

/// Runs the adapter, and again after each panic.
async fn supervise<B>(
    mut broker: Broker,
    mut build: B,
    mut sockets: Vec<OpenSocket>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) where
    B: FnMut() -> Box<dyn Adapter> + Send + 'static,
{
    let mut pause = SHORTEST_PAUSE;
    loop {
        let started = Instant::now();
        let ended = match catch_unwind(AssertUnwindSafe(&mut build)) {
            Ok(adapter) => run(&mut broker, adapter, &mut sockets, &shared, &stop).await,
            Err(panic) => Ended::Panicked(said(&*panic)),
        };
        let why = match ended {
            Ended::Stopped => break,
            Ended::Panicked(why) => why,
        };
        shared.stats.count_restart();
        pause = if started.elapsed() >= CALM { SHORTEST_PAUSE } else { pause };
        tracing::error!(
            platform = %shared.name, why, again_in_ms = pause.as_millis(),
            "the adapter panicked: its connections are closed and it is built anew; this is a fault in the hub, please report it"
        );
        if !settle(&mut broker, pause, &shared.name, &stop).await {
            break;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    shared.tasks.close();
    let _ = timeout(Duration::from_secs(4), shared.tasks.wait()).await;
    tracing::info!(platform = %shared.name, "stopped");
}

/// Between two adapters: gives the broker its leases back, and hears it out. `false`: stop instead.
async fn settle(broker: &mut Broker, pause: Duration, name: &PlatformName, stop: &CancellationToken) -> bool {
    // What the former adapter wanted to say: submissions were not acknowledged to anybody, settlements are repeated.
    broker.pending.clear();
    let links: Vec<LinkId> = match &broker.links {
        Some(Down::Links { links, .. }) => links.iter().map(|link| link.id.clone()).collect(),
        _ => Vec::new(),
    };
    broker.hushed = links.iter().cloned().collect();
    let connecting = |link| Up::Health { link, health: Health::Connecting };
    broker.pending.extend(links.into_iter().map(connecting));

    let until = Instant::now() + pause;
    let mut reminder = interval(Duration::from_secs(10));
    reminder.reset();
    loop {
        let paused = Instant::now() < until;
        if broker.pending.is_empty() && broker.unanswered == 0 && !paused {
            return true;
        }
        let heard = tokio::select! {
            () = stop.cancelled() => return false,
            permit = broker.up.reserve(), if !broker.pending.is_empty() => match (permit, broker.pending.pop_front()) {
                (Ok(permit), Some(word)) => {
                    permit.send(word);
                    None
                }
                _ => return false,
            },
            word = broker.down.recv() => match word {
                Some(word) => Some(word),
                None => return false,
            },
            () = sleep_until(until), if paused => None,
            _ = reminder.tick() => {
                tracing::warn!(platform = %name, answers = broker.unanswered, "waiting for the broker before the adapter is built anew");
                None
            }
        };
        // A delivery needs no answer: the link's health has returned it.
        if let Some(word) = heard {
            broker.note(&word);
        }
    }
}
