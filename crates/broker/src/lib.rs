//! Submit, route, deliver, bounce and trace: the only place that decides where a message goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use interchange_bus::{Bus, Lease, Queue, Verdict};
use interchange_model::{
    DeliveryId, Down, Envelope, Health, LinkId, MessageId, Outcome, PlatformName, QueueId, Refusal, Token, Up,
};
use interchange_registry::Registry;
use tokio::sync::{mpsc, watch};

/// What happened to a message.
#[derive(Debug, Clone)]
pub struct TraceEvent {
    /// Which.
    pub id: MessageId,
    /// accepted, refused, delivered, failed.
    pub stage: &'static str,
    /// From.
    pub from: interchange_model::Address,
    /// To.
    pub to: interchange_model::Address,
    /// Kind.
    pub kind: interchange_model::Kind,
    /// Why.
    pub refusal: Option<Refusal>,
    /// Since accepted.
    pub took: Duration,
}

/// Trace.
#[derive(Debug, Clone)]
pub struct Trace {
    events: tokio::sync::broadcast::Sender<TraceEvent>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { events: tokio::sync::broadcast::channel(1024).0 }
    }
}

/// Subscriber.
pub struct TraceEvents(tokio::sync::broadcast::Receiver<TraceEvent>);

impl TraceEvents {
    /// Next.
    pub async fn next(&mut self) -> Option<TraceEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Trace {
    /// Subscribe.
    pub fn subscribe(&self) -> TraceEvents {
        TraceEvents(self.events.subscribe())
    }
    fn record(&self, stage: &'static str, envelope: &Envelope, link: Option<&LinkId>, refusal: Option<Refusal>) {
        let took = SystemTime::now().duration_since(envelope.accepted).unwrap_or_default();
        let _ = self.events.send(TraceEvent { id: envelope.id, stage, from: envelope.from.clone(), to: envelope.to.clone(), kind: envelope.body.kind(), refusal, took });
        tracing::info!(target: "trace", id = %envelope.id, stage, origin = %envelope.origin, link = link.map_or("", |l| l.as_str()),
            from_domain = %envelope.from.domain(), to_domain = %envelope.to.domain(), refusal = refusal.map_or("", Refusal::label), milliseconds = took.as_millis() as u64);
    }
}

/// Broker.
pub struct Broker {
    task: tokio::task::JoinHandle<()>,
}

enum ToLink {
    Health(Health),
    Settle(DeliveryId, Outcome),
}

impl Broker {
    /// Starts.
    pub fn start<B: Bus>(
        bus: B,
        registry: watch::Receiver<Arc<Registry>>,
        platforms: HashMap<PlatformName, mpsc::Sender<Down>>,
        up: mpsc::Receiver<Up>,
        trace: Trace,
        _secret: [u8; 32],
    ) -> Self {
        Self { task: tokio::spawn(run(Arc::new(bus), registry, Arc::new(platforms), up, trace)) }
    }

    /// Stops.
    pub async fn stop(&mut self, _within: Duration) {
        self.task.abort();
    }
}

async fn run<B: Bus>(
    bus: Arc<B>,
    registry: watch::Receiver<Arc<Registry>>,
    platforms: Arc<HashMap<PlatformName, mpsc::Sender<Down>>>,
    mut up: mpsc::Receiver<Up>,
    trace: Trace,
) {
    let registry = registry.borrow().clone();
    let mut links = HashMap::new();
    for link in registry.all_links() {
        let (sender, receiver) = mpsc::channel(1024);
        links.insert(link.id.clone(), sender);
        tokio::spawn(deliver(Arc::clone(&bus), Arc::clone(link), Arc::clone(&registry), Arc::clone(&platforms), receiver, trace.clone()));
    }
    for (name, down) in platforms.iter() {
        let _ = down.send(Down::Links { links: registry.links(name), hosted: registry.hosted() }).await;
    }
    let mut words = Vec::new();
    while up.recv_many(&mut words, 256).await > 0 {
        let mut batch = Vec::new();
        let mut tokens: Vec<(PlatformName, Token, Arc<Envelope>, LinkId)> = Vec::new();
        for word in words.drain(..) {
            match word {
                Up::Submit { token, link, envelope } => {
                    let Some(platform) = registry.link(&link).map(|link| link.platform.clone()) else { continue };
                    match registry.route(&link, &envelope) {
                        Ok(to) => {
                            batch.push((QueueId::Link(to.id.clone()), Arc::clone(&envelope)));
                            tokens.push((platform, token, envelope, to.id.clone()));
                        }
                        Err(why) => {
                            trace.record("refused", &envelope, None, Some(why));
                            let _ = platforms[&platform].send(Down::Submitted { token, result: Err(why) }).await;
                        }
                    }
                }
                Up::Settle { link, delivery, outcome } => {
                    if let Some(task) = links.get(&link) {
                        let _ = task.send(ToLink::Settle(delivery, outcome)).await;
                    }
                }
                Up::Health { link, health } => {
                    tracing::info!(%link, ?health, "link");
                    if let Some(task) = links.get(&link) {
                        let _ = task.send(ToLink::Health(health)).await;
                    }
                }
                Up::Refused { link, from, to, why } => tracing::info!(target: "trace", %link, from_domain = %from.domain(), to_domain = %to.domain(), refusal = why.label()),
            }
        }
        if !batch.is_empty() {
            let result = bus.publish(batch).await.map_err(|_| Refusal::Overloaded);
            for (platform, token, envelope, to) in tokens {
                trace.record("accepted", &envelope, Some(&to), result.err());
                let _ = platforms[&platform].send(Down::Submitted { token, result }).await;
            }
        }
    }
}

async fn deliver<B: Bus>(
    bus: Arc<B>,
    link: Arc<interchange_model::Link>,
    registry: Arc<Registry>,
    platforms: Arc<HashMap<PlatformName, mpsc::Sender<Down>>>,
    mut words: mpsc::Receiver<ToLink>,
    trace: Trace,
) {
    let mut queue: Option<B::Queue> = None;
    let mut open: HashMap<DeliveryId, Arc<Envelope>> = HashMap::new();
    let down = platforms[&link.platform].clone();
    loop {
        let may_take = queue.is_some() && open.len() < usize::from(link.pace.in_flight);
        tokio::select! {
            biased;
            word = words.recv() => match word {
                None => return,
                Some(ToLink::Health(health)) => {
                    if health.is_up() && queue.is_none() {
                        queue = bus.open(&QueueId::Link(link.id.clone())).await.ok();
                    } else if !health.is_up() {
                        queue = None;
                        open.clear();
                    }
                }
                Some(ToLink::Settle(delivery, outcome)) => {
                    let Some(envelope) = open.remove(&delivery) else { continue };
                    match outcome {
                        Outcome::Delivered => {
                            trace.record("delivered", &envelope, Some(&link.id), None);
                            if let Some(queue) = &mut queue { let _ = queue.settle(delivery, Verdict::Done).await; }
                            if let Some(origin) = registry.link(&envelope.origin) {
                                let _ = platforms[&origin.platform].send(Down::Delivered { link: origin.id.clone(), id: envelope.id }).await;
                            }
                        }
                        Outcome::Refused(why) => {
                            trace.record("failed", &envelope, Some(&link.id), Some(why));
                            let now = SystemTime::now();
                            let id = MessageId::new(now, uuid::Uuid::new_v4().as_u128());
                            if let (Some(failure), Some(origin)) = (envelope.failure(id, why, now), registry.link(&envelope.origin)) {
                                let _ = bus.publish(vec![(QueueId::Link(origin.id.clone()), Arc::new(failure))]).await;
                            }
                            if let Some(queue) = &mut queue { let _ = queue.settle(delivery, Verdict::Done).await; }
                        }
                        Outcome::LinkDown => {}
                    }
                }
            },
            lease = next(&mut queue), if may_take => {
                if let Ok(Lease { delivery, envelope, .. }) = lease {
                    open.insert(delivery, Arc::clone(&envelope));
                    let _ = down.send(Down::Deliver { link: link.id.clone(), delivery, envelope }).await;
                }
            }
        }
    }
}

async fn next<Q: Queue>(queue: &mut Option<Q>) -> Result<Lease, interchange_bus::BusError> {
    match queue {
        Some(queue) => queue.next().await,
        None => std::future::pending().await,
    }
}
