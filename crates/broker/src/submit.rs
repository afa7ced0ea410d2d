//! Taking in: what all platforms say, in one task. It routes, publishes in batches, answers, and hands settlements to the links' tasks.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::task::Poll;

use interchange_bus::{Bus, Transient, Unpublished, Waiting};
use interchange_model::{Body, Down, Envelope, Health, Link, LinkId, Pace, PlatformName, QueueId, Refusal, Token, Up};
use interchange_registry::{Note, Registry, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use crate::deliver::{Delivery, Surroundings, WORDS, Word};
use crate::duplicates::{Duplicates, Fingerprint, Known};
use crate::guards::Guards;
use crate::step::step;
use crate::told;
use crate::trace::{Stage, Trace};
use crate::watches::{Action, Decision, Moment, Watches};
use crate::{Kept, Limits, Platforms, STOP_LIMIT};

/// Submissions of one batch.
const BATCH: usize = 256;

/// Submissions that may wait while a batch is on its way to the store. Beyond it nothing more is taken in, drivers notice,
/// and peers are read no further.
const WAITING: usize = 1024;

/// The task that takes in.
pub(crate) struct Intake<B: Bus> {
    bus: Arc<B>,
    registry: watch::Receiver<Arc<Registry>>,
    /// The registry by which everything is decided until the next is taken up.
    snapshot: Arc<Registry>,
    platforms: Platforms,
    trace: Trace,
    health: watch::Sender<BTreeMap<LinkId, Health>>,
    links: HashMap<LinkId, Running>,
    /// Tasks of links that are no more and for which something waits: they tell its senders when it is too old.
    gone: HashMap<LinkId, mpsc::Sender<Word>>,
    tasks: JoinSet<()>,
    /// Where each link's submissions are answered. Links that are gone stay in it: a submission may still be under way.
    answers: HashMap<LinkId, mpsc::Sender<Down>>,
    /// Routed, and not yet on their way to the store.
    waiting: VecDeque<Submission>,
    duplicates: Duplicates<Submission>,
    guards: Guards,
    store: Store,
    watches: Watches,
}

/// A link with a task.
struct Running {
    platform: PlatformName,
    pace: Pace,
    words: mpsc::Sender<Word>,
}

/// A submission that is allowed.
struct Submission {
    /// Who waits for the answer, and under which token; `None`: the broker itself has made it.
    answer: Option<(Token, mpsc::Sender<Down>)>,
    envelope: Arc<Envelope>,
    /// The link it leaves over.
    out: LinkId,
    /// By which a repeat of it is known.
    fingerprint: Option<Fingerprint>,
}

impl<B: Bus> Intake<B> {
    pub(crate) fn new(
        bus: Arc<B>,
        mut registry: watch::Receiver<Arc<Registry>>,
        platforms: Platforms,
        trace: Trace,
        health: watch::Sender<BTreeMap<LinkId, Health>>,
        kept: Kept,
        limits: Limits,
    ) -> Self {
        let snapshot = registry.borrow_and_update().clone();
        Self {
            bus,
            registry,
            snapshot,
            platforms,
            trace,
            health,
            links: HashMap::new(),
            gone: HashMap::new(),
            tasks: JoinSet::new(),
            answers: HashMap::new(),
            waiting: VecDeque::new(),
            duplicates: Duplicates::new(),
            guards: Guards::new(limits),
            store: kept.store,
            watches: Watches::new(kept.watches),
        }
    }

    /// Runs until it is told to stop, or no platform is left; then `until` says when what is left is given up.
    pub(crate) async fn run(mut self, mut up: mpsc::Receiver<Up>, mut stopping: watch::Receiver<bool>) {
        self.take_up_registry().await;
        // Links may have gone while the hub did not run.
        self.see_to_what_is_gone().await;
        let mut told = self.bus.told();
        let mut words = Vec::with_capacity(BATCH);
        let mut publishing = None;
        let mut until: Option<Instant> = None;
        let mut deaf = false;
        loop {
            if publishing.is_none() && !self.waiting.is_empty() {
                let batch = self.waiting.drain(..self.waiting.len().min(BATCH)).collect();
                publishing = Some(Box::pin(publish(self.bus.clone(), self.store.clone(), batch)));
            }
            let wake = self.watches.deadline();
            if until.is_some() && self.tasks.is_empty() && publishing.is_none() {
                break;
            }
            tokio::select! {
                biased;
                (batch, result) = published(&mut publishing), if publishing.is_some() => {
                    publishing = None;
                    self.answer(batch, &result).await;
                }
                Ok(()) = self.registry.changed(), if until.is_none() => {
                    self.snapshot = self.registry.borrow_and_update().clone();
                    self.take_up_registry().await;
                }
                _ = stopping.changed(), if until.is_none() => {
                    until = Some(Instant::now() + STOP_LIMIT);
                    for words in self.links.values().map(|link| &link.words).chain(self.gone.values()) {
                        let _ = words.send(Word::Stop).await;
                    }
                }
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        tracing::error!(%error, "a link's task panicked: nothing is delivered to that link until the hub is restarted");
                    }
                }
                word = heard(&mut told), if told.is_some() => match word {
                    Some(word) => self.relay(word),
                    None => told = None,
                },
                taken = up.recv_many(&mut words, BATCH), if !deaf && self.waiting.len() < WAITING => {
                    if taken == 0 {
                        // No platform is left. The links' tasks hear what was said to them before, and end.
                        deaf = true;
                        until.get_or_insert_with(|| Instant::now() + STOP_LIMIT);
                        self.links.clear();
                        self.gone.clear();
                    }
                    for word in words.drain(..) {
                        self.take(word).await;
                    }
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() && until.is_none() => {
                    let now = self.moment();
                    self.watches.wake(now, &self.snapshot);
                    self.act().await;
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    tracing::warn!(links = self.tasks.len(), "some links did not settle what is in flight; it is handed over again after the start");
                    self.tasks.abort_all();
                    until = Some(Instant::now() + STOP_LIMIT);
                }
            }
        }
        // What was said before the end is heard and answered.
        while let Ok(word) = up.try_recv() {
            self.take(word).await;
        }
        if let Some(publishing) = publishing {
            let (batch, result) = publishing.await;
            self.answer(batch, &result).await;
        }
        while !self.waiting.is_empty() {
            let batch = self.waiting.drain(..self.waiting.len().min(BATCH)).collect();
            let (batch, result) = publish(self.bus.clone(), self.store.clone(), batch).await;
            self.answer(batch, &result).await;
        }
        self.tasks.shutdown().await;
        if let Err(error) = self.bus.flush().await {
            tracing::warn!(%error, "the last settlements could not be stored; those envelopes may come twice");
        }
    }

    /// Makes the links' tasks those of the present registry, and tells the platforms.
    async fn take_up_registry(&mut self) {
        let snapshot = self.snapshot.clone();
        // A link that moved to another platform is another link.
        let before = self.links.len();
        self.links.retain(|id, running| snapshot.link(id).is_some_and(|link| link.platform == running.platform));
        self.gone.retain(|id, _| snapshot.link(id).is_none());
        if self.links.len() < before {
            self.see_to_what_is_gone().await;
        }
        for link in snapshot.all_links() {
            match self.links.get_mut(&link.id) {
                Some(running) if running.pace == link.pace => {}
                Some(running) => {
                    running.pace = link.pace;
                    let _ = running.words.send(Word::Pace(link.pace)).await;
                }
                None => self.start(link),
            }
        }
        let known: HashSet<&LinkId> = self.links.keys().collect();
        self.health.send_modify(|health| {
            health.retain(|link, _| known.contains(link));
            for link in known {
                health.entry(link.clone()).or_insert(Health::Connecting);
            }
        });
        self.guards.retain(|link| snapshot.link(link).is_some());
        let now = self.moment();
        self.watches.links(now, &snapshot);
        for (platform, down) in self.platforms.iter() {
            let word = Down::Links { links: snapshot.links(platform), hosted: snapshot.hosted() };
            if down.send(word).await.is_err() {
                tracing::warn!(%platform, "the platform has ended and cannot be told of its links");
            }
        }
    }

    /// What waits for links that are no more is kept as for links that are down: it is delivered when the link comes back, and its sender is told when it
    /// is too old.
    async fn see_to_what_is_gone(&mut self) {
        let waiting = match self.bus.waiting().await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::warn!(%error, "what waits for links that are no more is not known before the next start");
                return;
            }
        };
        for Waiting { queue: QueueId::Link(link), depth, .. } in waiting {
            if self.snapshot.link(&link).is_some() || self.gone.contains_key(&link) {
                continue;
            }
            tracing::warn!(%link, depth, "messages wait for a link that is no more: their senders are told when they are too old");
            let (words, inbox) = mpsc::channel(WORDS);
            // It is never up, so nothing is said to its platform.
            let (down, _) = mpsc::channel(1);
            self.tasks.spawn(Delivery::new(link.clone(), Pace::default(), down, self.surroundings()).run(inbox));
            self.gone.insert(link, words);
        }
    }

    fn surroundings(&self) -> Surroundings<B> {
        Surroundings {
            bus: self.bus.clone(),
            registry: self.registry.clone(),
            platforms: self.platforms.clone(),
            trace: self.trace.clone(),
        }
    }

    fn start(&mut self, link: &Link) {
        let Some(down) = self.platforms.get(&link.platform) else {
            tracing::error!(link = %link.id, platform = %link.platform, "this hub does not run the link's platform: messages for the link wait");
            return;
        };
        let (words, inbox) = mpsc::channel(WORDS);
        let around = self.surroundings();
        self.answers.insert(link.id.clone(), down.clone());
        self.tasks.spawn(Delivery::new(link.id.clone(), link.pace, down.clone(), around).run(inbox));
        let running = Running { platform: link.platform.clone(), pace: link.pace, words };
        self.links.insert(link.id.clone(), running);
    }

    /// Takes one word from a platform.
    async fn take(&mut self, word: Up) {
        match word {
            Up::Submit { token, link, envelope } => {
                let Some(answer) = self.answers.get(&link).cloned() else {
                    tracing::error!(%link, "a submission over a link that never was cannot be answered");
                    return;
                };
                step!("received");
                match self.submit(&link, &envelope) {
                    Ok(Some(out)) => {
                        let fingerprint = self.duplicates.fingerprint(&envelope);
                        self.accept(Submission { answer: Some((token, answer)), envelope, out, fingerprint }).await;
                        self.act().await;
                    }
                    // It is done, and goes no further.
                    Ok(None) => {
                        self.trace.record(Stage::Duplicate, &envelope, None);
                        let _ = answer.send(Down::Submitted { token, result: Ok(()) }).await;
                        self.act().await;
                    }
                    Err(why) => {
                        self.trace.record(Stage::Refused(why), &envelope, None);
                        let _ = answer.send(Down::Submitted { token, result: Err(why) }).await;
                    }
                }
            }
            Up::Settle { link, delivery, outcome } => self.tell(&link, Word::Settle { delivery, outcome }).await,
            Up::Health { link, health } => {
                if self.links.contains_key(&link) {
                    let up = health.is_up();
                    self.note_health(&link, health);
                    self.tell(&link, Word::Health { up }).await;
                    let now = self.moment();
                    self.watches.health(now, &self.snapshot, &link, up);
                    self.act().await;
                }
            }
            Up::Tell { link, envelope } => {
                if envelope.body.is_durable() || envelope.origin != link {
                    return;
                }
                let Ok(out) = self.snapshot.route(&link, &envelope).map(|out| out.id.clone()) else { return };
                let now = self.moment();
                self.watches.tell(now, &self.snapshot, &out, &envelope);
                self.act().await;
            }
            Up::Recall { link } => {
                let entries = match self.store.remembered(&link).await {
                    Ok(entries) => entries,
                    Err(error) => {
                        tracing::error!(%link, %error, "what was remembered for the link cannot be read; it is begun anew");
                        Vec::new()
                    }
                };
                if let Some(answer) = self.answers.get(&link) {
                    let _ = answer.send(Down::Remembered { link, entries }).await;
                }
            }
            Up::Remember { link, key, value } => self.store.write(Note::Remembered { link, name: key, value }),
            Up::Relay { link, payload } => self.bus.tell(told::relay(link, &payload)),
            Up::Here { link, person } => self.tell(&link, Word::Here(person)).await,
            Up::Refused { link, from, to, why } => self.trace.refused_by_adapter(link, from, to, why),
        }
    }

    /// Puts a submission in line for the store, unless it came before, or is too much.
    async fn accept(&mut self, submission: Submission) {
        let now = Instant::now();
        let known = submission.fingerprint.and_then(|fingerprint| self.duplicates.look(now, fingerprint));
        match known {
            None => match self.guards.admit(now, &submission.envelope, self.snapshot.hub()) {
                Ok(()) => self.waiting.push_back(submission),
                Err(why) => {
                    // It was not taken, so it is no repeat when it comes again; nobody waits for it yet.
                    drop(submission.fingerprint.map(|fingerprint| self.duplicates.conclude(fingerprint, false)));
                    reply(&self.trace, Stage::Refused(why), Err(why), submission).await;
                }
            },
            Some(Known::UnderWay(waiting)) => waiting.push(submission),
            Some(Known::Stored) => reply(&self.trace, Stage::Duplicate, Ok(()), submission).await,
        }
    }

    fn moment(&self) -> Moment {
        Moment { instant: Instant::now(), wall: self.trace.clock().now() }
    }

    /// Does what has come of a word about presence.
    async fn act(&mut self) {
        for change in self.watches.changes.drain(..) {
            self.store.write(change);
        }
        for action in std::mem::take(&mut self.watches.actions) {
            match action {
                Action::Publish(out, envelope) => {
                    let submission = Submission { answer: None, envelope: Arc::new(envelope), out, fingerprint: None };
                    self.waiting.push_back(submission);
                }
                Action::Tell(link, envelope) => self.pass_on(link, envelope),
            }
        }
    }

    /// Tells a link's peer, by this hub if the link is up here, else by whichever of the others has it. What cannot be told is let be.
    fn pass_on(&self, link: LinkId, envelope: Envelope) {
        let up = self.health.borrow().get(&link).is_some_and(Health::is_up);
        match self.answers.get(&link) {
            Some(down) if up => drop(down.try_send(Down::Told { link, envelope: Arc::new(envelope) })),
            _ => drop(told::envelope(link, &envelope).map(|word| self.bus.tell(word))),
        }
    }

    /// What another hub of the same bus says to a link's adapter. Best effort: a platform that does not keep up misses it.
    fn relay(&self, word: Transient) {
        let platform = self.snapshot.link(&word.link).and_then(|link| self.platforms.get(&link.platform));
        if let Some(down) = platform
            && let Some(word) = told::read(word)
        {
            let _ = down.try_send(word);
        }
    }

    /// Which link a submission leaves over; `None`: it needs go no further.
    fn submit(&mut self, via: &LinkId, envelope: &Envelope) -> Result<Option<LinkId>, Refusal> {
        let _span = tracing::debug_span!("submit", id = %envelope.id).entered();
        if envelope.origin != *via {
            return Err(Refusal::NotYours);
        }
        let _span = tracing::debug_span!("route", id = %envelope.id).entered();
        let out = self.snapshot.route(via, envelope)?.id.clone();
        match envelope.body {
            Body::Watch(watch) => {
                let now = self.moment();
                match self.watches.submit(now, &self.snapshot, envelope, watch) {
                    Decision::Forward => {}
                    Decision::Done => return Ok(None),
                    Decision::Refuse(why) => return Err(why),
                }
            }
            Body::Text(_) => self.watches.said(&envelope.from, &envelope.to),
            _ if !envelope.body.is_durable() => return Err(Refusal::Malformed),
            _ => {}
        }
        Ok(Some(out))
    }

    /// Says a word to a link's task. A link that is gone needs none: its queue is closed.
    async fn tell(&self, link: &LinkId, word: Word) {
        if let Some(running) = self.links.get(link) {
            let _ = running.words.send(word).await;
        }
    }

    fn note_health(&self, link: &LinkId, health: Health) {
        let changed = self.health.send_if_modified(|all| {
            let before = all.insert(link.clone(), health.clone());
            before.as_ref() != Some(&health)
        });
        if !changed {
            return;
        }
        match &health {
            Health::Up | Health::Connecting => tracing::info!(%link, health = health.label(), "link"),
            Health::Retrying { why } => tracing::warn!(%link, health = health.label(), why, "link"),
            Health::Broken { why } => tracing::error!(%link, health = health.label(), why, "link"),
        }
    }

    /// Tells the submitters of a batch what became of it.
    async fn answer(&mut self, batch: Vec<Submission>, result: &Result<(), Unpublished>) {
        step!("confirmed");
        if let Err(error) = result {
            tracing::warn!(%error, submissions = batch.len(), "submissions cannot be stored; their senders are asked to try again");
        }
        for (place, submission) in batch.into_iter().enumerate() {
            let refused = result.as_ref().is_err_and(|unpublished| unpublished.concerns(place));
            let result = if refused { Err(Refusal::Overloaded) } else { Ok(()) };
            let conclude = |fingerprint| self.duplicates.conclude(fingerprint, result.is_ok());
            let repeats = submission.fingerprint.map(conclude).unwrap_or_default();
            reply(&self.trace, result.map_or_else(Stage::Refused, |()| Stage::Accepted), result, submission).await;
            for repeat in repeats {
                reply(&self.trace, result.map_or_else(Stage::Refused, |()| Stage::Duplicate), result, repeat).await;
            }
            step!("answered", late);
        }
    }
}

/// Tells one submitter what became of a submission.
async fn reply(trace: &Trace, stage: Stage, result: Result<(), Refusal>, submission: Submission) {
    trace.record(stage, &submission.envelope, Some(&submission.out));
    if let Some((token, answer)) = submission.answer {
        // An error: the platform has ended, and nobody waits for the answer.
        let _ = answer.send(Down::Submitted { token, result }).await;
    }
}

/// Stores a batch.
async fn publish<B: Bus>(bus: Arc<B>, store: Store, batch: Vec<Submission>) -> (Vec<Submission>, Result<(), Unpublished>) {
    // A watch that somebody is asked about must be known when the answer comes.
    if batch.iter().any(|submission| matches!(submission.envelope.body, Body::Watch(_))) {
        store.flush().await;
    }
    let envelopes = batch.iter().map(|submission| (QueueId::Link(submission.out.clone()), submission.envelope.clone())).collect();
    let first = batch.first().map(|submission| tracing::field::display(submission.envelope.id));
    let span = tracing::debug_span!("publish", id = first, count = batch.len());
    let result = async {
        let mut publishing = std::pin::pin!(bus.publish(envelopes));
        // Polled once, it is handed to the bus; whether it is stored is not known yet.
        match std::future::poll_fn(|context| Poll::Ready(publishing.as_mut().poll(context))).await {
            Poll::Ready(result) => result,
            Poll::Pending => {
                step!("published");
                publishing.await
            }
        }
    };
    let result = result.instrument(span).await;
    (batch, result)
}

/// The next word of another hub.
async fn heard(told: &mut Option<mpsc::Receiver<Transient>>) -> Option<Transient> {
    match told {
        Some(told) => told.recv().await,
        None => std::future::pending().await,
    }
}

/// What became of the batch under way.
async fn published<F: Future + Unpin>(publishing: &mut Option<F>) -> F::Output {
    match publishing {
        Some(publishing) => publishing.await,
        None => std::future::pending().await,
    }
}
