//! One task for each link: while the link is up its queue is open, and at most `pace.in_flight` envelopes are handed over and not settled.
//!
//! A link that is down is not a failed message. Its queue is closed, which puts everything unsettled back in its old place,
//! and opened again when the link is up: order holds, and nothing is requeued one by one. While the link is down, the queue is opened
//! for a moment when its oldest message is due to expire, and what is too old is given up.
//!
//! What may be handed over when is decided in `board.rs`; which message a link dies of, in `suspects.rs`.

mod board;
mod suspects;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use interchange_bus::{Bus, BusError, Lease, Queue, Verdict};
use interchange_model::{Address, Body, DeliveryId, Down, Envelope, LinkId, Outcome, Pace, QueueId};
use interchange_registry::Registry;
use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::board::{Board, Leased};
use crate::Platforms;
use crate::bounce::bounce;
use crate::clock::HubClock;
use crate::step::step;
use crate::trace::{Stage, Trace};

/// Words that may wait for a link's task. A little more than may be in flight, so that settlements never wait behind a busy task.
pub(crate) const WORDS: usize = 1024 + 16;

/// Words taken in one turn.
const BATCH: usize = 64;

/// How long after a failure of the bus it is asked again: first, and at most, each time twice as long.
const BUS_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_BUS_PAUSE: Duration = Duration::from_secs(2);

/// How long after a returned delivery the queue is opened again, while the link still says that it is up.
const RETURN_PAUSE: Duration = Duration::from_millis(500);

/// How long after a link went down its queue is first looked through for what is too old; at random, so that many links do not do it at once.
const FIRST_SWEEP: std::ops::Range<Duration> = Duration::from_secs(5)..Duration::from_secs(20);

/// How long the queue of a link that is down is read without anything coming: then it is empty, or another hub has it.
const SWEEP_PATIENCE: Duration = Duration::from_secs(1);

/// A little after a message is too old, so that it is when it is looked at.
const SWEEP_AFTER: Duration = Duration::from_millis(10);

/// How long a queue that is to be opened anew waits for what is in flight, at most: longer than an adapter waits for an answer.
const RENEW_PATIENCE: Duration = Duration::from_secs(45);

/// How long a returned delivery waits for the others in flight to be settled, since closing the queue returns them too.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);

/// What a link's task is told.
#[derive(Debug)]
pub(crate) enum Word {
    Settle {
        delivery: DeliveryId,
        outcome: Outcome,
    },
    /// Whether the link takes messages.
    Health {
        up: bool,
    },
    Pace(Pace),
    /// Somebody is here now for whom something may wait.
    Here(Address),
    /// Hand nothing more over, and end when all is settled.
    Stop,
}

/// What a link's task needs from outside.
pub(crate) struct Surroundings<B> {
    pub(crate) bus: Arc<B>,
    pub(crate) registry: watch::Receiver<Arc<Registry>>,
    pub(crate) platforms: Platforms,
    pub(crate) trace: Trace,
}

/// One link's task.
pub(crate) struct Delivery<B: Bus> {
    link: LinkId,
    pace: Pace,
    /// To the link's own platform.
    down: mpsc::Sender<Down>,
    around: Surroundings<B>,
    up: bool,
    stopping: bool,
    clock: HubClock,
    /// Open while the link is up, and in a sweep.
    queue: Option<B::Queue>,
    /// When the queue is to be opened, if the link is up then.
    open_at: Option<Instant>,
    bus_pause: Duration,
    /// What is held of the queue.
    board: Board,
    /// A delivery came back while the link says that it is up, or the queue is to be opened anew: nothing is handed over, and until this time the rest is
    /// waited for.
    returned: Option<Instant>,
    /// When the failures are tried again.
    bounce_at: Option<Instant>,
    /// While the link is down: when the queue is looked through for what is too old.
    sweep_at: Option<Instant>,
    /// The queue is being looked through.
    sweep: Option<Sweep>,
}

/// A look through the queue of a link that is down.
struct Sweep {
    /// When it ends, if nothing comes.
    until: Instant,
    /// The oldest that is not too old was found: how long it has left.
    left: Option<Duration>,
}

impl<B: Bus> Delivery<B> {
    pub(crate) fn new(link: LinkId, pace: Pace, down: mpsc::Sender<Down>, around: Surroundings<B>) -> Self {
        Self {
            link,
            pace,
            down,
            clock: around.trace.clock(),
            around,
            up: false,
            stopping: false,
            queue: None,
            open_at: None,
            bus_pause: BUS_PAUSE,
            board: Board::new(pace),
            returned: None,
            bounce_at: None,
            sweep_at: Some(Instant::now() + first_sweep(pace)),
            sweep: None,
        }
    }

    /// Runs until it is told to stop and all is settled, or nobody speaks to it any more.
    pub(crate) async fn run(mut self, mut words: mpsc::Receiver<Word>) {
        let mut heard = VecDeque::with_capacity(BATCH);
        while !(self.stopping && self.is_idle()) {
            let leasing = self.queue.as_ref().is_some_and(|queue| {
                // At a stop, the rest of what the bus can only take back whole.
                let found = self.sweep.as_ref().is_some_and(|sweep| sweep.left.is_some());
                self.board.wants_more() && !found && (!self.stopping || queue.begun() > 0)
            });
            let sweep = self.sweep.as_ref().map(|sweep| sweep.until);
            let wake =
                [self.open_at, self.returned, self.bounce_at, self.board.deadline(), self.sweep_at, sweep, self.renew_at()];
            let wake = wake.into_iter().flatten().min();
            // Words first: they are what makes room.
            tokio::select! {
                biased;
                word = words.recv() => match word {
                    Some(word) => heard.push_back(word),
                    None => break,
                },
                lease = next::<B>(&mut self.queue), if leasing => match lease {
                    Ok(lease) => self.take(lease),
                    Err(error) => self.bus_failed(&error),
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            while heard.len() < BATCH
                && let Ok(word) = words.try_recv()
            {
                heard.push_back(word);
            }
            for word in heard.drain(..) {
                self.hear(word).await;
            }
            self.act().await;
        }
        self.close();
    }

    /// When the queue is to be opened anew, unless it is about to be closed in any case.
    fn renew_at(&self) -> Option<Instant> {
        let at = self.queue.as_ref().and_then(Queue::renew_at);
        at.filter(|_| self.returned.is_none() && self.sweep.is_none())
    }

    fn is_idle(&self) -> bool {
        self.board.is_idle() && self.queue.as_ref().is_none_or(|queue| !self.up || queue.begun() == 0)
    }

    /// Does what the time, or the words just heard, have made due.
    async fn act(&mut self) {
        let now = Instant::now();
        let due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if due(self.board.deadline()) {
            self.board.wake(now);
        }
        if due(self.renew_at()) {
            tracing::debug!(link = %self.link, "something of the link's queue has waited for long: the queue is opened anew before the bus takes it back");
            self.board.rest();
            self.returned = Some(now + RENEW_PATIENCE);
        }
        self.hand_over(now).await;
        let sweep_over = self.sweep.as_ref().is_some_and(|sweep| sweep.left.is_some() || sweep.until <= now);
        // A sweep gathers.
        let gathering = self.sweep.is_some() && !sweep_over && self.bounce_at.is_none() && self.board.wants_more();
        if !self.board.refused.is_empty() && !gathering && self.bounce_at.is_none_or(|at| at <= now) {
            self.bounce().await;
        }
        if self.returned.is_some() && (self.board.is_idle() || due(self.returned)) {
            self.close();
            self.open_at = Some(now + RETURN_PAUSE);
        }
        if sweep_over && let Some(sweep) = &mut self.sweep {
            if self.board.refused.is_empty() {
                // Without an oldest nothing waits, or another hub sees to it: what comes later is too old later.
                let left = sweep.left.unwrap_or(self.pace.time_to_live());
                self.end_sweep(left);
            } else {
                sweep.until = now + SWEEP_PATIENCE;
            }
        }
        if due(self.sweep_at) {
            self.sweep().await;
        }
        if due(self.open_at) {
            self.open().await;
        }
    }

    async fn hear(&mut self, word: Word) {
        match word {
            Word::Settle { delivery, outcome } => self.settle(delivery, outcome).await,
            Word::Health { up: true } => {
                self.up = true;
                self.sweep_at = None;
                // What was returned while it was up has waited for just this.
                if self.returned.is_some() || self.sweep.is_some() {
                    self.close();
                }
                if self.queue.is_none() {
                    self.open_at = Some(Instant::now());
                }
            }
            Word::Health { up: false } => {
                if self.up {
                    self.sweep_at = Some(Instant::now() + first_sweep(self.pace));
                }
                self.up = false;
                if self.sweep.is_none() {
                    self.close();
                }
            }
            Word::Pace(pace) => {
                self.pace = pace;
                self.board.set_pace(pace);
                if self.sweep_at.is_some() {
                    self.sweep_at = Some(Instant::now() + first_sweep(pace));
                }
            }
            Word::Here(person) => self.board.hurry(Instant::now(), &person),
            Word::Stop => self.stopping = true,
        }
    }

    /// Opens the queue.
    async fn open(&mut self) {
        self.open_at = None;
        if !self.up || self.stopping || self.queue.is_some() {
            return;
        }
        match self.around.bus.open(&QueueId::Link(self.link.clone())).await {
            Ok(queue) => {
                self.bus_pause = BUS_PAUSE;
                self.queue = Some(queue);
            }
            Err(error) => self.bus_failed(&error),
        }
    }

    /// Closes the queue: what is in flight goes back to its old place.
    fn close(&mut self) {
        self.queue = None;
        self.open_at = None;
        self.returned = None;
        self.bounce_at = None;
        self.sweep = None;
        for envelope in self.board.close(Instant::now()) {
            self.around.trace.record(Stage::Returned, &envelope, Some(&self.link));
        }
    }

    fn bus_failed(&mut self, error: &BusError) {
        tracing::warn!(link = %self.link, %error, again_in_ms = self.bus_pause.as_millis(), "the link's queue cannot be read; it is tried again");
        if self.sweep.is_some() {
            return self.end_sweep(LONGEST_BUS_PAUSE);
        }
        self.close();
        self.open_at = Some(Instant::now() + self.bus_pause);
        self.bus_pause = (self.bus_pause * 2).min(LONGEST_BUS_PAUSE);
    }

    /// Opens the queue of a link that is down, to give up what is too old.
    async fn sweep(&mut self) {
        self.sweep_at = None;
        if self.up || self.stopping || self.queue.is_some() {
            return;
        }
        match self.around.bus.open(&QueueId::Link(self.link.clone())).await {
            Ok(queue) => {
                self.queue = Some(queue);
                self.sweep = Some(Sweep { until: Instant::now() + SWEEP_PATIENCE, left: None });
            }
            Err(error) => {
                tracing::debug!(link = %self.link, %error, "the link's queue cannot be looked through; it is tried again");
                self.sweep_at = Some(Instant::now() + LONGEST_BUS_PAUSE);
            }
        }
    }

    /// Closes the queue of a link that is down; it is looked through again after `pause`.
    fn end_sweep(&mut self, pause: Duration) {
        self.close();
        self.sweep_at = Some(Instant::now() + pause + SWEEP_AFTER);
    }

    /// Takes the next of the queue.
    fn take(&mut self, lease: Lease) {
        step!("taken");
        let now = Instant::now();
        let Lease { delivery, envelope, .. } = lease;
        let left = self.pace.time_to_live().saturating_sub(self.clock.since(envelope.accepted));
        if let Some(sweep) = &mut self.sweep {
            if !left.is_zero() {
                // The oldest is not too old, so none is.
                sweep.left = Some(left);
                return;
            }
            sweep.until = now + SWEEP_PATIENCE;
        }
        let leased = Leased { delivery, envelope: envelope.clone(), expires: now + left };
        if let Some(why) = self.board.take(now, leased) {
            self.around.trace.record(Stage::Deferred(why), &envelope, Some(&self.link));
        }
    }

    /// Hands over what may go.
    async fn hand_over(&mut self, now: Instant) {
        while self.up
            && let Some((delivery, envelope)) = self.board.next(now)
        {
            {
                let _span = tracing::debug_span!("deliver", id = %envelope.id).entered();
                self.around.trace.record(Stage::Sent, &envelope, Some(&self.link));
            }
            if self.down.send(Down::Deliver { link: self.link.clone(), delivery, envelope }).await.is_err() {
                // The platform has ended. It never comes back in this run.
                self.up = false;
                self.close();
                return;
            }
            step!("sent", late);
        }
    }

    /// What became of a delivery. One that is not in flight belongs to a queue that was closed since.
    async fn settle(&mut self, delivery: DeliveryId, outcome: Outcome) {
        let Some((envelope, again)) = self.board.settle(Instant::now(), delivery, outcome) else { return };
        if outcome == Outcome::Delivered {
            step!("peer-acked");
            self.done(delivery, Verdict::Done).await;
            step!("bus-acked", late);
            self.around.trace.record(Stage::Delivered, &envelope, Some(&self.link));
            self.hint(&envelope).await;
        } else if let Some(why) = again {
            self.around.trace.record(Stage::Deferred(why), &envelope, Some(&self.link));
        }
        if self.board.is_returned() {
            self.returned.get_or_insert_with(|| Instant::now() + RETURN_PATIENCE);
        }
    }

    async fn done(&mut self, delivery: DeliveryId, verdict: Verdict) {
        if let Some(queue) = &mut self.queue
            && let Err(error) = queue.settle(delivery, verdict).await
        {
            tracing::warn!(link = %self.link, %error, "a delivery could not be settled; it may come twice");
        }
    }

    /// Tells the submitting link's adapter that its envelope has arrived, as far as that is easy.
    async fn hint(&mut self, envelope: &Envelope) {
        if !matches!(envelope.body, Body::Text(_)) {
            return;
        }
        let platform = self.around.registry.borrow().link(&envelope.origin).map(|link| link.platform.clone());
        let down = platform.and_then(|platform| self.around.platforms.get(&platform));
        if let Some(down) = down {
            // An error: the platform has ended, and needs no hint.
            let _ = down.send(Down::Delivered { link: envelope.origin.clone(), id: envelope.id }).await;
        }
    }

    /// Tells the senders of what was given up, then settles it. What the bus does not take is tried again.
    async fn bounce(&mut self) {
        let registry = self.around.registry.borrow().clone();
        let refused = self.board.take_refused();
        let (told, untold) = bounce(refused, &self.link, &*self.around.bus, &registry, &self.around.trace).await;
        for refused in told {
            let verdict = match refused.dead {
                Some(why) => {
                    tracing::error!(link = %self.link, id = %refused.envelope.id, why, "a message is put in quarantine, and its sender is told");
                    Verdict::Dead { why }
                }
                None => Verdict::Done,
            };
            self.done(refused.delivery, verdict).await;
        }
        self.board.refused = untold;
        self.bounce_at = (!self.board.refused.is_empty()).then(|| Instant::now() + self.bus_pause);
    }
}

/// When the queue of a link that went down is first looked through.
fn first_sweep(pace: Pace) -> Duration {
    rand::rng().random_range(FIRST_SWEEP).min(pace.time_to_live() + SWEEP_AFTER)
}

/// The next lease of a queue that is open.
async fn next<B: Bus>(queue: &mut Option<B::Queue>) -> Result<Lease, BusError> {
    match queue {
        Some(queue) => queue.next().await,
        None => std::future::pending().await,
    }
}
