//! The hub's own way through RabbitMQ and nothing else of the hub: what the broker's intake and one link's task do with the bus, in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use interchange_bus::conformance::sized;
use interchange_bus::{Bus as _, Queue as _, Verdict};
use interchange_bus_rabbit::{CONSUMER_TIMEOUT, Options, QueueLimits, RabbitBus, setup};
use interchange_integration_tests::load::Measurement;
use interchange_integration_tests::processes::Usage;
use interchange_model::QueueId;

use crate::raw::{BODY_BYTES, STRIDE, median_of_runs};

/// What the broker's intake publishes at once, at most, under load.
pub(crate) const BATCH: u64 = 256;
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// The bytes of text with which an envelope is as long on the bus as a body of the raw loop.
fn text_bytes() -> usize {
    let empty = serde_json::to_vec(&*sized(1_000_000, 0)).expect("an envelope has a JSON form").len();
    BODY_BYTES.saturating_sub(empty)
}

/// A bus whose every queue has a reader that settles everything at once.
pub(crate) struct Loop {
    bus: RabbitBus,
    queues: Vec<QueueId>,
    settled: Arc<AtomicU64>,
    published: u64,
    text_bytes: usize,
}

impl Loop {
    /// Declares so many queues, one for each of so many links, and opens them all.
    pub(crate) async fn start(url: &str, count: usize) -> Self {
        let declare = Some(QueueLimits::default());
        let options = Options {
            urls: vec![url.to_owned()],
            password: None,
            authorities: None,
            consumer_timeout: CONSUMER_TIMEOUT,
            declare,
        };
        let queues: Vec<QueueId> =
            (0..count).map(|number| QueueId::Link(format!("link-{number}-of-{count}").as_str().into())).collect();
        setup(&options, QueueLimits::default(), &queues, |_| ()).await.expect("the user may declare");
        let bus = RabbitBus::open(options).await.expect("the broker takes connections");
        let settled = Arc::new(AtomicU64::new(0));
        for queue in &queues {
            let (counter, mut reader) = (settled.clone(), bus.open(queue).await.expect("the queue is there"));
            tokio::spawn(async move {
                // The end of the bus ends it.
                while let Ok(lease) = reader.next().await {
                    if reader.settle(lease.delivery, Verdict::Done).await.is_ok() {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Self { bus, queues, settled, published: 0, text_bytes: text_bytes() }
    }

    /// Publishes so many, a batch after the other, and waits until all are settled; the times from publish to confirm, sorted.
    async fn publish(&mut self, messages: u64, batch: u64) -> Vec<Duration> {
        let mut times = Vec::new();
        let end = self.published + messages;
        while self.published < end {
            let last = end.min(self.published + batch);
            let some = (self.published..last).map(|number| {
                let queue = (number as usize).wrapping_mul(STRIDE) % self.queues.len();
                (self.queues[queue].clone(), sized(number, self.text_bytes))
            });
            let some = some.collect();
            let began = Instant::now();
            self.bus.publish(some).await.expect("the broker confirms");
            times.push(began.elapsed());
            self.published = last;
        }
        let deadline = Instant::now() + ARRIVES_WITHIN;
        while self.settled.load(Ordering::Relaxed) < end {
            assert!(Instant::now() < deadline, "{} of {end} arrived", self.settled.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        self.bus.flush().await.expect("the broker is there");
        times.sort_unstable();
        times
    }

    /// The median of some runs after a warm-up, as of the raw loop: what is measured is the broker, the generator is this process.
    pub(crate) async fn measure(&mut self, batch: u64, messages: u64, runs: usize, broker: &dyn Fn() -> Usage) -> Measurement {
        self.publish((messages / 5).max(2 * self.queues.len() as u64), batch).await;
        median_of_runs(runs, messages, broker, async || self.publish(messages, batch).await).await
    }

    pub(crate) async fn stop(self) {
        self.bus.close().await.expect("an open bus closes");
    }
}
