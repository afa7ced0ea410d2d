//! One task for each link: while the link is up its queue is open, and at most `pace.in_flight` envelopes are handed over and not settled.
//!
//! A link that is down is not a failed message. Its queue is closed, which puts everything unsettled back in its old place,
//! and opened again when the link is up: order holds, and nothing is requeued one by one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use interchange_bus::{Bus, BusError, Lease, Queue, Verdict};
use interchange_model::{Body, DeliveryId, Down, Envelope, LinkId, Outcome, Pace, QueueId};
use interchange_registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::Platforms;
use crate::bounce::{Refused, bounce};
use crate::trace::{Stage, Trace};

/// Words that may wait for a link's task. A little more than may be in flight, so that settlements never wait behind a busy task.
pub(crate) const WORDS: usize = 1024 + 16;

/// Words taken in one turn.
const BATCH: usize = 64;

/// How long after a failure of the bus it is asked again.
const BUS_PAUSE: Duration = Duration::from_secs(1);

/// How long after a returned delivery the queue is opened again, while the link still says that it is up.
const RETURN_PAUSE: Duration = Duration::from_millis(500);

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
    /// Open only while the link is up.
    queue: Option<B::Queue>,
    /// When the queue is to be opened, if the link is up then.
    open_at: Option<Instant>,
    in_flight: HashMap<DeliveryId, Arc<Envelope>>,
    /// A delivery came back while the link says that it is up: nothing is handed over, and until this time the rest is waited for.
    returned: Option<Instant>,
    /// Refused, and their failures not stored yet.
    refused: Vec<Refused>,
    /// When the failures are tried again.
    bounce_at: Option<Instant>,
}

impl<B: Bus> Delivery<B> {
    pub(crate) fn new(link: LinkId, pace: Pace, down: mpsc::Sender<Down>, around: Surroundings<B>) -> Self {
        Self {
            link,
            pace,
            down,
            around,
            up: false,
            stopping: false,
            queue: None,
            open_at: None,
            in_flight: HashMap::new(),
            returned: None,
            refused: Vec::new(),
            bounce_at: None,
        }
    }

    /// Runs until it is told to stop and all is settled, or nobody speaks to it any more.
    pub(crate) async fn run(mut self, mut words: mpsc::Receiver<Word>) {
        let mut heard = VecDeque::with_capacity(BATCH);
        while !(self.stopping && self.is_idle()) {
            let room = self.in_flight.len() + self.refused.len() < usize::from(self.pace.in_flight);
            let leasing = room && !self.stopping && self.returned.is_none();
            let wake = [self.open_at, self.returned, self.bounce_at].into_iter().flatten().min();
            // Words first: they are what makes room.
            tokio::select! {
                biased;
                word = words.recv() => match word {
                    Some(word) => heard.push_back(word),
                    None => break,
                },
                lease = next::<B>(&mut self.queue), if leasing && self.queue.is_some() => match lease {
                    Ok(lease) => self.deliver(lease).await,
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

    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.refused.is_empty()
    }

    /// Does what the time, or the words just heard, have made due.
    async fn act(&mut self) {
        let now = Instant::now();
        let due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if !self.refused.is_empty() && self.bounce_at.is_none_or(|at| at <= now) {
            self.bounce().await;
        }
        if self.returned.is_some() && (self.is_idle() || due(self.returned)) {
            self.close();
            self.open_at = Some(now + RETURN_PAUSE);
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
                // What was returned while it was up has waited for just this.
                if self.returned.is_some() {
                    self.close();
                }
                if self.queue.is_none() {
                    self.open_at = Some(Instant::now());
                }
            }
            Word::Health { up: false } => {
                self.up = false;
                self.close();
            }
            Word::Pace(pace) => self.pace = pace,
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
            Ok(queue) => self.queue = Some(queue),
            Err(error) => self.bus_failed(&error),
        }
    }

    /// Closes the queue: what is in flight goes back to its old place.
    fn close(&mut self) {
        self.queue = None;
        self.open_at = None;
        self.returned = None;
        self.bounce_at = None;
        let refused = self.refused.drain(..).map(|refused| refused.envelope);
        for envelope in self.in_flight.drain().map(|(_, envelope)| envelope).chain(refused) {
            self.around.trace.record(Stage::Returned, &envelope, Some(&self.link));
        }
    }

    fn bus_failed(&mut self, error: &BusError) {
        tracing::warn!(link = %self.link, %error, "the link's queue cannot be read; it is tried again");
        self.close();
        self.open_at = Some(Instant::now() + BUS_PAUSE);
    }

    /// Hands an envelope over.
    async fn deliver(&mut self, lease: Lease) {
        let Lease { delivery, envelope, .. } = lease;
        {
            let _span = tracing::debug_span!("deliver", id = %envelope.id).entered();
            self.in_flight.insert(delivery, envelope.clone());
            self.around.trace.record(Stage::Sent, &envelope, Some(&self.link));
        }
        if self.down.send(Down::Deliver { link: self.link.clone(), delivery, envelope }).await.is_err() {
            // The platform has ended. It never comes back in this run.
            self.up = false;
            self.close();
        }
    }

    /// What became of a delivery. One that is not in flight belongs to a queue that was closed since.
    async fn settle(&mut self, delivery: DeliveryId, outcome: Outcome) {
        let Some(envelope) = self.in_flight.remove(&delivery) else { return };
        match outcome {
            Outcome::Delivered => {
                self.done(delivery).await;
                self.around.trace.record(Stage::Delivered, &envelope, Some(&self.link));
                self.hint(&envelope).await;
            }
            Outcome::Refused(why) => self.refused.push(Refused { delivery, envelope, why }),
            Outcome::LinkDown => {
                self.around.trace.record(Stage::Returned, &envelope, Some(&self.link));
                self.returned.get_or_insert_with(|| Instant::now() + RETURN_PATIENCE);
            }
        }
    }

    async fn done(&mut self, delivery: DeliveryId) {
        if let Some(queue) = &mut self.queue
            && let Err(error) = queue.settle(delivery, Verdict::Done).await
        {
            tracing::warn!(link = %self.link, %error, "a delivery could not be settled; it may come twice");
        }
    }

    /// Tells the submitting link's adapter that its envelope has arrived, as far as that is easy.
    async fn hint(&mut self, envelope: &Envelope) {
        if matches!(envelope.body, Body::Failure(_)) {
            return;
        }
        let platform = self.around.registry.borrow().link(&envelope.origin).map(|link| link.platform.clone());
        let down = platform.and_then(|platform| self.around.platforms.get(&platform));
        if let Some(down) = down {
            // An error: the platform has ended, and needs no hint.
            let _ = down.send(Down::Delivered { link: envelope.origin.clone(), id: envelope.id }).await;
        }
    }

    /// Tells the senders of what was refused, then settles it. If the bus does not take it, later.
    async fn bounce(&mut self) {
        let registry = self.around.registry.borrow().clone();
        match bounce(&self.refused, &self.link, &*self.around.bus, &registry, &self.around.trace).await {
            Ok(()) => {
                self.bounce_at = None;
                for refused in std::mem::take(&mut self.refused) {
                    self.done(refused.delivery).await;
                }
            }
            Err(error) => {
                tracing::warn!(link = %self.link, %error, waiting = self.refused.len(), "failures cannot be stored; they are tried again");
                self.bounce_at = Some(Instant::now() + BUS_PAUSE);
            }
        }
    }
}

/// The next lease of a queue that is open.
async fn next<B: Bus>(queue: &mut Option<B::Queue>) -> Result<Lease, BusError> {
    match queue {
        Some(queue) => queue.next().await,
        None => std::future::pending().await,
    }
}
