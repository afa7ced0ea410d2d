//! What RabbitMQ does for a client that does nothing else: publish, confirm, consume, acknowledge, by lapin.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use interchange_integration_tests::load::{Faults, Measurement};
use interchange_integration_tests::processes::Usage;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The length of every body: an envelope with 200 bytes of text and all that goes with it.
pub(crate) const BODY_BYTES: usize = 500;

const PERSISTENT: u8 = 2;
const PREFETCH: u16 = 1_000;
/// Channels of many queues: each serves its share of them.
const CHANNELS: usize = 16;
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
/// A step of numbers that visits every queue before it returns to one; prime, so that it fits every count of queues here.
pub(crate) const STRIDE: usize = 7_919;

/// Queues of one kind, `raw.KIND.0` and on.
#[derive(Clone, Debug)]
pub(crate) struct Queues {
    /// The broker's name of the kind: `quorum` or `classic`.
    pub(crate) kind: &'static str,
    /// How many.
    pub(crate) count: usize,
}

impl Queues {
    fn name(&self, number: usize) -> String {
        format!("raw.{}.{}.{number}", self.kind, self.count)
    }

    fn channels(&self) -> usize {
        CHANNELS.min(self.count)
    }

    /// The numbers of the queues that a channel serves.
    fn of_channel(&self, channel: usize) -> impl Iterator<Item = usize> + use<> {
        (channel..self.count).step_by(self.channels())
    }
}

/// A connection of its own for each part, as a hub has.
pub(crate) async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.expect("the broker takes connections")
}

/// Declares the queues on several channels at once and says how long it took.
pub(crate) async fn declare(url: &str, queues: &Queues) -> Duration {
    let connection = connect(url).await;
    let began = Instant::now();
    let mut jobs = JoinSet::new();
    for number in 0..queues.channels() {
        let (channel, queues) = (channel(&connection).await, queues.clone());
        jobs.spawn(async move {
            for number in queues.of_channel(number) {
                let mut arguments = FieldTable::default();
                arguments.insert("x-queue-type".into(), AMQPValue::LongString(queues.kind.into()));
                let name = queues.name(number).into();
                channel.queue_declare(name, QueueDeclareOptions::durable(), arguments).await.expect("the user may declare");
            }
        });
    }
    jobs.join_all().await;
    began.elapsed()
}

async fn channel(connection: &Connection) -> Channel {
    connection.create_channel().await.expect("a connection has 2,047 channels")
}

/// Takes everything from the queues and acknowledges it.
pub(crate) struct Consumers {
    acknowledged: Arc<AtomicU64>,
    connection: Connection,
}

impl Consumers {
    /// Consumes from every queue.
    pub(crate) async fn start(url: &str, queues: &Queues) -> Self {
        let connection = connect(url).await;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut jobs = JoinSet::new();
        for number in 0..queues.channels() {
            let (channel, queues) = (channel(&connection).await, queues.clone());
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.expect("an open channel takes a prefetch");
            let (done, tags) = mpsc::unbounded_channel();
            tokio::spawn(acknowledge(channel.clone(), tags, acknowledged.clone()));
            jobs.spawn(async move {
                for number in queues.of_channel(number) {
                    let name = queues.name(number);
                    let options = BasicConsumeOptions::default();
                    let consumer =
                        channel.basic_consume(name.as_str().into(), name.as_str().into(), options, FieldTable::default());
                    let mut consumer = consumer.await.expect("the queue is declared");
                    let done = done.clone();
                    tokio::spawn(async move {
                        // The end of the connection ends it, with an error.
                        while let Some(Ok(delivery)) = consumer.next().await {
                            assert_eq!(delivery.data.len(), BODY_BYTES);
                            if done.send(delivery.delivery_tag).is_err() {
                                return;
                            }
                        }
                    });
                }
            });
        }
        jobs.join_all().await;
        Self { acknowledged, connection }
    }

    /// Ends them: as long as they are there, they take their turn.
    pub(crate) async fn stop(self) {
        self.connection.close(200, "done".into()).await.expect("an open connection closes");
    }

    /// Waits until so many are acknowledged.
    pub(crate) async fn wait_for(&self, count: u64) {
        let deadline = Instant::now() + ARRIVES_WITHIN;
        while self.acknowledged.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "{} of {count} arrived", self.acknowledged.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Acknowledges up to the first tag that is missing, as many at once as there are: consumers of one channel run beside each other.
async fn acknowledge(channel: Channel, mut tags: mpsc::UnboundedReceiver<u64>, acknowledged: Arc<AtomicU64>) {
    let mut next = 1;
    let mut ahead = BTreeSet::new();
    while let Some(tag) = tags.recv().await {
        ahead.insert(tag);
        while let Ok(tag) = tags.try_recv() {
            ahead.insert(tag);
        }
        let before = next;
        while ahead.remove(&next) {
            next += 1;
        }
        if next > before && channel.basic_ack(next - 1, BasicAckOptions { multiple: true }).await.is_ok() {
            acknowledged.fetch_add(next - before, Ordering::Relaxed);
        }
    }
}

/// Publishes on one channel with a limit of what is unconfirmed.
pub(crate) struct Publisher {
    channel: Channel,
    names: Vec<String>,
    published: u64,
    _connection: Connection,
}

impl Publisher {
    /// Opens a channel with confirms.
    pub(crate) async fn start(url: &str, queues: &Queues) -> Self {
        let connection = connect(url).await;
        let channel = channel(&connection).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("an open channel takes confirms");
        Self {
            channel,
            names: (0..queues.count).map(|number| queues.name(number)).collect(),
            published: 0,
            _connection: connection,
        }
    }

    /// Publishes so many to all queues in turn; returns the times from publish to confirm, sorted.
    pub(crate) async fn publish(&mut self, messages: u64, window: usize) -> Vec<Duration> {
        let body = [b'x'; BODY_BYTES];
        let mut waiting = VecDeque::new();
        let mut times = Vec::new();
        for _ in 0..messages {
            let queue = (self.published as usize).wrapping_mul(STRIDE) % self.names.len();
            let (name, began) = (self.names[queue].as_str().into(), Instant::now());
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let confirm = self.channel.basic_publish("".into(), name, BasicPublishOptions::default(), &body, properties);
            waiting.push_back((began, confirm.await.expect("an open channel takes messages")));
            self.published += 1;
            while waiting.len() >= window
                && let Some((began, confirm)) = waiting.pop_front()
            {
                assert!(confirm.await.expect("the broker confirms").is_ack(), "the broker refuses");
                times.push(began.elapsed());
            }
        }
        for (began, confirm) in waiting {
            assert!(confirm.await.expect("the broker confirms").is_ack(), "the broker refuses");
            times.push(began.elapsed());
        }
        times.sort_unstable();
        times
    }
}

/// The median of some runs after a warm-up; what is measured is the broker, the generator is this process, the latency that of confirms.
pub(crate) async fn measure(
    publisher: &mut Publisher,
    consumers: &Consumers,
    window: usize,
    messages: u64,
    runs: usize,
    broker: &dyn Fn() -> Usage,
) -> Measurement {
    // Twice over every queue at least: the first message of a channel to a quorum queue costs the broker a millisecond.
    publisher.publish((messages / 5).max(2 * publisher.names.len() as u64), window).await;
    consumers.wait_for(publisher.published).await;
    let run = async || {
        let times = publisher.publish(messages, window).await;
        consumers.wait_for(publisher.published).await;
        times
    };
    median_of_runs(runs, messages, broker, run).await
}

/// The median of some runs by messages a second. A run ends when all of its messages are acknowledged, and tells its latencies, sorted.
pub(crate) async fn median_of_runs(
    runs: usize,
    messages: u64,
    broker: &dyn Fn() -> Usage,
    mut run: impl AsyncFnMut() -> Vec<Duration>,
) -> Measurement {
    let mut measurements = Vec::new();
    for _ in 0..runs {
        let (before, own_before, began) = (broker(), Usage::of_this_process(), Instant::now());
        let times = run().await;
        let seconds = began.elapsed().as_secs_f64();
        let after = broker();
        let thousands = messages as f64 / 1e3;
        measurements.push(Measurement {
            rate: messages as f64 / seconds,
            system_seconds: after.processor_seconds_since(&before) / thousands,
            beside_seconds: Vec::new(),
            generator_seconds: Usage::of_this_process().processor_seconds_since(&own_before) / thousands,
            resident_bytes: after.resident_bytes,
            p50: times[times.len() / 2],
            p99: times[times.len() * 99 / 100],
            faults: Faults::default(),
        });
    }
    measurements.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    measurements.swap_remove(runs / 2)
}
