//! What became of each message: one structured log event for each stage, and the same as values for those who subscribe.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use interchange_model::{Address, Body, Envelope, Kind, LinkId, MessageId, Refusal};
use sha2::Sha256;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::clock::HubClock;
use crate::guards::probing::Probing;
use crate::metrics::Metrics;

/// Events that a subscriber may lag behind; a slower one loses the oldest, and is told how many.
const EVENTS: usize = 4096;

/// Where stages are recorded. Cheap to clone.
///
/// Each stage is an event of `tracing` at level info with the target `trace`: the message's id, stage, links, domains, kind, size,
/// refusal, and milliseconds since it was accepted. The part of an address before the `@` is shown only as a keyed hash, so
/// that one person's messages can be found by who holds the key, and a log gives nobody away. Never a text or a subject.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Keyed, ready to be copied.
    hash: Hmac<Sha256>,
    events: broadcast::Sender<TraceEvent>,
    clock: HubClock,
    metrics: Metrics,
    probing: Arc<Mutex<Probing>>,
}

/// What has happened to a message. In one run a message has one `Accepted`, `Duplicate` or `Refused`, and one end: `Delivered`, `Failed` or
/// `Dropped`; `Sent`, `Deferred` and `Returned` may repeat. `Sent` may come a moment before `Accepted`: two tasks hear of a commit at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is stored, and its sender's server was told so.
    Accepted,
    /// It was turned away at once, and its sender's server was told why.
    Refused(Refusal),
    /// It came before, and its sender's server was told what it was told then. This copy goes no further.
    Duplicate,
    /// It was handed to the recipient's link.
    Sent,
    /// The recipient's server cannot have it now, or an earlier message of the conversation: it is tried again.
    Deferred(Refusal),
    /// The recipient's server has it.
    Delivered,
    /// The recipient's server cannot have it; a failure is on its way to the sender.
    Failed(Refusal),
    /// The recipient's server cannot have it, and nobody is told: it is itself a failure or wants no answer, or
    /// its sender's link is gone.
    Dropped(Refusal),
    /// The recipient's link went away before it was settled: it is back in its old place.
    Returned,
}

impl Stage {
    /// The stable label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Stage::Accepted => "accepted",
            Stage::Refused(_) => "refused",
            Stage::Duplicate => "duplicate",
            Stage::Sent => "sent",
            Stage::Deferred(_) => "deferred",
            Stage::Delivered => "delivered",
            Stage::Failed(_) => "failed",
            Stage::Dropped(_) => "dropped",
            Stage::Returned => "returned",
        }
    }

    /// Why, where something was refused.
    #[must_use]
    pub const fn refusal(self) -> Option<Refusal> {
        match self {
            Stage::Refused(why) | Stage::Deferred(why) | Stage::Failed(why) | Stage::Dropped(why) => Some(why),
            Stage::Accepted | Stage::Duplicate | Stage::Sent | Stage::Delivered | Stage::Returned => None,
        }
    }
}

/// One stage of one message. Unlike the log it carries whole addresses: it never leaves the process by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEvent {
    /// When, by the hub's clock.
    pub at: SystemTime,
    /// What happened.
    pub stage: Stage,
    /// Which message; `None` for one that an adapter turned away before it had an id.
    pub id: Option<MessageId>,
    /// For a failure: the message that failed.
    pub of: Option<MessageId>,
    /// The link it came in over; for a failure made by the hub, the one that the failed message came in over.
    pub link_in: LinkId,
    /// The link it leaves over, once that is known.
    pub link_out: Option<LinkId>,
    /// The sender.
    pub from: Address,
    /// The recipient.
    pub to: Address,
    /// What kind of message, if that is known.
    pub kind: Option<Kind>,
    /// Bytes of text.
    pub size: usize,
    /// Since it was accepted, by the hub's clock.
    pub elapsed: Duration,
}

impl Trace {
    /// A trace whose hashes are keyed with `key`, which is to be the same after a restart. Its clock starts now: it agrees with the system's clock, and does
    /// not follow it when that jumps.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        let hash = Hmac::new_from_slice(&key).expect("HMAC takes keys of every length");
        let (events, clock) = (broadcast::Sender::new(EVENTS), HubClock::start());
        Self { hash, events, clock, metrics: Metrics::new(), probing: Arc::default() }
    }

    /// What is counted of all stages.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The clock of everything that happens to messages in this run.
    pub(crate) fn clock(&self) -> HubClock {
        self.clock
    }

    /// All stages from now on, as values. Lossy for who does not keep up.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<TraceEvent> {
        self.events.subscribe()
    }

    /// The hash that stands for a user in the log: 16 hexadecimal digits of HMAC-SHA256 over the comparison form of the user text.
    #[must_use]
    pub fn user_hash(&self, address: &Address) -> String {
        let mut hash = self.hash.clone();
        hash.update(address.user_key().as_bytes());
        let mut text = String::with_capacity(16);
        for byte in &hash.finalize().into_bytes()[..8] {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Records a stage of an envelope.
    pub(crate) fn record(&self, stage: Stage, envelope: &Envelope, link_out: Option<&LinkId>) {
        if matches!(envelope.body, Body::Text(_)) {
            self.note_recipient(&envelope.origin, stage);
        }
        self.metrics.count(stage, Some(envelope.body.kind()), &envelope.origin, link_out);
        let at = self.clock.now();
        if stage == Stage::Delivered
            && matches!(envelope.body, Body::Text(_))
            && let Some(link) = link_out
        {
            self.metrics.time(link, at.duration_since(envelope.accepted).unwrap_or_default());
        }
        let logged = tracing::enabled!(target: "trace", tracing::Level::INFO);
        if !logged && self.events.receiver_count() == 0 {
            return;
        }
        self.say(TraceEvent {
            at,
            stage,
            id: Some(envelope.id),
            of: match &envelope.body {
                Body::Failure(failure) => failure.of,
                Body::Receipt(receipt) => receipt.of,
                _ => None,
            },
            link_in: envelope.origin.clone(),
            link_out: link_out.cloned(),
            from: envelope.from.clone(),
            to: envelope.to.clone(),
            kind: Some(envelope.body.kind()),
            size: envelope.body.size(),
            elapsed: at.duration_since(envelope.accepted).unwrap_or_default(),
        });
    }

    /// Counts recipients that do not exist, and tells the operator of a link with many.
    fn note_recipient(&self, link: &LinkId, stage: Stage) {
        // Whoever panicked with it in hand left counts that are good enough.
        let mut probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((unknown, texts)) = probing.note(Instant::now(), link, stage) {
            tracing::warn!(
                %link,
                unknown,
                texts,
                "many recipients of the link's people do not exist: somebody looks for addresses there, or works from an old list"
            );
        }
    }

    /// Records what an adapter turned away by itself.
    pub(crate) fn refused_by_adapter(&self, link: LinkId, from: Address, to: Address, why: Refusal) {
        self.note_recipient(&link, Stage::Refused(why));
        self.metrics.count(Stage::Refused(why), None, &link, None);
        self.say(TraceEvent {
            at: self.clock.now(),
            stage: Stage::Refused(why),
            id: None,
            of: None,
            link_in: link,
            link_out: None,
            from,
            to,
            kind: None,
            size: 0,
            elapsed: Duration::ZERO,
        });
    }

    fn say(&self, event: TraceEvent) {
        if tracing::enabled!(target: "trace", tracing::Level::INFO) {
            tracing::info!(
                target: "trace",
                id = event.id.map(tracing::field::display),
                of = event.of.map(tracing::field::display),
                stage = event.stage.label(),
                refusal = event.stage.refusal().map(Refusal::label),
                link_in = %event.link_in,
                link_out = event.link_out.as_ref().map(tracing::field::display),
                from_domain = %event.from.domain(),
                to_domain = %event.to.domain(),
                from_user = self.user_hash(&event.from),
                to_user = self.user_hash(&event.to),
                kind = event.kind.map(Kind::label),
                size = event.size,
                ms = event.elapsed.as_secs_f64() * 1e3,
            );
        }
        // An error only says that nobody listens.
        let _ = self.events.send(event);
    }
}
