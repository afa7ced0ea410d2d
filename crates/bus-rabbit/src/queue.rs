//! One opened queue: a channel and a consumer of its own, records taken apart into envelopes, acknowledgements gathered.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use interchange_bus::{BusError, Lease, Queue, Verdict};
use interchange_model::{DeliveryId, Envelope, MessageId, QueueId};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, Consumer};
use tokio::time::Instant;

use crate::connections::ReadingChannel;
use crate::publisher::{AGAIN_HEADER, RECORD_HEADER};
use crate::{QUARANTINE, Shared, locked, queue_name, record, unavailable};

/// Records that RabbitMQ hands one reader before it has acknowledged any.
pub const PREFETCH: u16 = 1024;

/// How long an acknowledgement waits for others to travel with.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(5);
/// How many go at once.
const ACKNOWLEDGEMENTS: usize = 32;

/// Records of a queue that are remembered, to notice those that were published twice after a break: more than can be under way.
const REMEMBERED: usize = 1024;

/// In quarantine: the queue that it comes from.
pub(crate) const QUEUE_HEADER: &str = "interchange-queue";
/// In quarantine: why.
const REASON_HEADER: &str = "interchange-reason";

/// One queue, whether it is open or not.
#[derive(Debug)]
pub(crate) struct Line {
    queue: QueueId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// It has a reader in this process.
    taken: bool,
    /// The records read last, to notice one that comes again.
    recent: VecDeque<i64>,
    /// Settled envelopes of records that were given back with others not settled.
    settled: HashSet<MessageId>,
    acknowledgements: Option<Arc<Acknowledgements>>,
    /// Envelopes of the present reader's records that are not settled.
    unsettled: u64,
}

impl Line {
    pub(crate) fn new(queue: QueueId) -> Self {
        Self { queue, state: Mutex::default() }
    }

    pub(crate) fn unsettled(&self) -> u64 {
        locked(&self.state).unsettled
    }

    /// Returns once RabbitMQ has seen every acknowledgement of the present reader.
    pub(crate) async fn flush(&self) -> Result<(), BusError> {
        let acknowledgements = locked(&self.state).acknowledgements.clone();
        match acknowledgements {
            Some(acknowledgements) => acknowledgements.flush().await,
            None => Ok(()),
        }
    }
}

/// Acknowledgements of one channel on their way.
#[derive(Debug)]
struct Acknowledgements {
    channel: ReadingChannel,
    /// Delivery tags, and whether a task will send them.
    waiting: Mutex<(Vec<u64>, bool)>,
}

impl Acknowledgements {
    fn add(self: &Arc<Self>, tag: u64) {
        let (due, alarm) = {
            let mut waiting = locked(&self.waiting);
            waiting.0.push(tag);
            (waiting.0.len() >= ACKNOWLEDGEMENTS, !std::mem::replace(&mut waiting.1, true))
        };
        if due {
            let all = self.clone();
            tokio::spawn(async move { all.send().await });
        } else if alarm {
            let all = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(ACKNOWLEDGE_WITHIN).await;
                all.send().await
            });
        }
    }

    /// Sends what waits. An error: the channel is broken, and what it had is handed out again.
    async fn send(&self) -> Result<(), lapin::Error> {
        let tags = {
            let mut waiting = locked(&self.waiting);
            waiting.1 = false;
            std::mem::take(&mut waiting.0)
        };
        let sending = tags.into_iter().map(|tag| self.channel.channel.basic_ack(tag, BasicAckOptions::default()));
        futures_util::future::try_join_all(sending).await.map(drop)
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.send().await.map_err(unavailable)?;
        // RabbitMQ answers in order: what was sent before this question has been dealt with.
        self.channel.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(unavailable)
    }
}

/// A record that this reader holds.
#[derive(Debug)]
struct Open {
    /// Envelopes not settled yet.
    left: usize,
    settled: Vec<MessageId>,
    /// RabbitMQ has handed it out since then at the earliest.
    since: Instant,
}

/// An open queue of a [`RabbitBus`](crate::RabbitBus).
#[derive(Debug)]
pub struct RabbitQueue {
    line: Arc<Line>,
    shared: Arc<Shared>,
    /// There until it is dropped.
    consumer: Option<Consumer>,
    acknowledgements: Arc<Acknowledgements>,
    /// By delivery tag.
    records: BTreeMap<u64, Open>,
    /// The rest of the record in hand.
    ready: VecDeque<(u64, Arc<Envelope>, bool)>,
    /// When nothing was left to be read: what is read now was handed out since.
    empty: Instant,
    leases: HashMap<DeliveryId, (u64, Arc<Envelope>)>,
}

impl RabbitQueue {
    pub(crate) async fn open(line: Arc<Line>, shared: Arc<Shared>) -> Result<Self, BusError> {
        if std::mem::replace(&mut locked(&line.state).taken, true) {
            return Err(BusError::Taken);
        }
        match Self::consume(&line, &shared).await {
            Ok((acknowledgements, consumer)) => {
                locked(&line.state).acknowledgements = Some(acknowledgements.clone());
                let (records, ready, leases) = Default::default();
                let empty = Instant::now();
                Ok(Self { line, shared, consumer: Some(consumer), acknowledgements, records, ready, empty, leases })
            }
            Err(error) => {
                locked(&line.state).taken = false;
                Err(error)
            }
        }
    }

    async fn consume(line: &Line, shared: &Shared) -> Result<(Arc<Acknowledgements>, Consumer), BusError> {
        let channel = shared.connections.channel().await?;
        channel.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(unavailable)?;
        let name = queue_name(&line.queue);
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.channel.basic_consume(name.into(), "".into(), options, arguments).await.map_err(unavailable)?;
        Ok((Arc::new(Acknowledgements { channel, waiting: Mutex::default() }), consumer))
    }

    /// Takes a record apart. One that was read before is acknowledged and forgotten, one that is none goes to quarantine.
    fn take(&mut self, delivery: Delivery) {
        let tag = delivery.delivery_tag;
        let headers = delivery.properties.headers().as_ref();
        let header = |name: &str| headers.and_then(|headers| headers.inner().get(name));
        let number = match header(RECORD_HEADER) {
            Some(AMQPValue::LongLongInt(number)) => Some(*number),
            _ => None,
        };
        let again = matches!(header(AGAIN_HEADER), Some(AMQPValue::Boolean(true)));
        let envelopes = match record::read(&delivery.data) {
            Ok(envelopes) => envelopes,
            Err(why) => {
                tracing::error!(
                    queue = self.line.queue.name(),
                    why,
                    "a record on the bus cannot be understood; it goes to quarantine"
                );
                let (shared, name) = (self.shared.clone(), queue_name(&self.line.queue));
                let acknowledgements = self.acknowledgements.clone();
                tokio::spawn(async move {
                    match quarantine(&shared, &name, &why, &delivery.data).await {
                        Ok(()) => acknowledgements.add(tag),
                        // It stays where it is, and is looked at again by the next reader.
                        Err(error) => tracing::error!(%error, "a bad record cannot be put in quarantine"),
                    }
                });
                return;
            }
        };
        let mut state = locked(&self.line.state);
        if let Some(number) = number {
            // A record that was given back is handed out again; one published again is dropped.
            if again && !delivery.redelivered && state.recent.contains(&number) {
                drop(state);
                self.acknowledgements.add(tag);
                return;
            }
            if !delivery.redelivered {
                state.recent.push_back(number);
                if state.recent.len() > REMEMBERED {
                    state.recent.pop_front();
                }
            }
        }
        let mut open = Open { left: 0, settled: Vec::new(), since: self.empty };
        for envelope in envelopes {
            if state.settled.remove(&envelope.id) {
                open.settled.push(envelope.id);
            } else {
                open.left += 1;
                self.ready.push_back((tag, envelope, delivery.redelivered));
            }
        }
        state.unsettled += open.left as u64;
        drop(state);
        if open.left == 0 {
            self.acknowledgements.add(tag);
        } else {
            self.records.insert(tag, open);
        }
    }

    fn lease(&mut self) -> Option<Lease> {
        let (tag, envelope, redelivered) = self.ready.pop_front()?;
        let delivery = DeliveryId(self.shared.deliveries.fetch_add(1, Relaxed) + 1);
        self.leases.insert(delivery, (tag, envelope.clone()));
        Some(Lease { delivery, envelope, redelivered })
    }
}

impl Queue for RabbitQueue {
    async fn next(&mut self) -> Result<Lease, BusError> {
        loop {
            if let Some(lease) = self.lease() {
                return Ok(lease);
            }
            let Some(consumer) = &mut self.consumer else {
                return Err(BusError::Unavailable("the queue is closed".to_owned()));
            };
            let read = match consumer.next().now_or_never() {
                Some(read) => read,
                None => {
                    self.empty = Instant::now();
                    // The only wait: what it brings is kept before anything else can happen.
                    let read = consumer.next().await;
                    self.empty = Instant::now();
                    read
                }
            };
            match read {
                Some(Ok(delivery)) => self.take(delivery),
                Some(Err(error)) => return Err(unavailable(error)),
                None => return Err(BusError::Unavailable("RabbitMQ has ended the reading of the queue".to_owned())),
            }
        }
    }

    async fn settle(&mut self, delivery: DeliveryId, verdict: Verdict) -> Result<(), BusError> {
        let (tag, envelope) = self.leases.get(&delivery).cloned().ok_or(BusError::NotLeased)?;
        if let Verdict::Dead { why } = verdict {
            let json = serde_json::to_vec(&*envelope).map_err(unavailable)?;
            quarantine(&self.shared, &queue_name(&self.line.queue), &why, &json).await?;
        }
        self.leases.remove(&delivery);
        let mut state = locked(&self.line.state);
        state.unsettled = state.unsettled.saturating_sub(1);
        drop(state);
        let Some(open) = self.records.get_mut(&tag) else { return Ok(()) };
        open.left -= 1;
        open.settled.push(envelope.id);
        if open.left == 0 {
            self.records.remove(&tag);
            self.acknowledgements.add(tag);
        }
        Ok(())
    }

    fn begun(&self) -> usize {
        self.ready.len()
    }

    fn renew_at(&self) -> Option<Instant> {
        // Tags rise with time.
        self.records.first_key_value().map(|(_, open)| open.since + self.shared.renew_after)
    }
}

impl Drop for RabbitQueue {
    fn drop(&mut self) {
        let acknowledgements = self.acknowledgements.clone();
        {
            let mut state = locked(&self.line.state);
            state.taken = false;
            state.unsettled = 0;
            state.acknowledgements = None;
            // What is settled of a record that goes back is not to be handed out again by this process.
            state.settled.extend(self.records.values().flat_map(|open| open.settled.iter().copied()));
        }
        // Outside of a runtime the connection is about to end as well.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let consumer = self.consumer.take();
            let closing = runtime.spawn(async move {
                let _ = acknowledgements.send().await;
                let _ = acknowledgements.channel.channel.close(200, "OK".into()).await;
                // Not before: cancelling alone would leave with the channel what is not acknowledged.
                drop(consumer);
            });
            let mut all = locked(&self.shared.closing);
            all.retain(|task| !task.is_finished());
            all.push(closing);
        }
    }
}

/// Stores a copy in quarantine, and waits until it is there.
async fn quarantine(shared: &Shared, queue: &str, why: &str, payload: &[u8]) -> Result<(), BusError> {
    let open = shared.connections.channel().await?;
    open.channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(unavailable)?;
    let mut headers = FieldTable::default();
    headers.insert(QUEUE_HEADER.into(), AMQPValue::LongString(queue.into()));
    headers.insert(REASON_HEADER.into(), AMQPValue::LongString(why.into()));
    let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let publishing =
        open.channel.basic_publish("".into(), QUARANTINE.into(), options, payload, properties).await.map_err(unavailable)?;
    match publishing.await.map_err(unavailable)? {
        Confirmation::Ack(None) => Ok(()),
        _ => Err(BusError::Unavailable(format!(
            "RabbitMQ has no queue {QUARANTINE}, or does not take more: run `interchange bus setup`"
        ))),
    }
}
