//! Random operations, closings and kills against a model that is a list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use interchange_bus::conformance::{envelope, queue};
use interchange_bus::{Bus, Queue, Verdict};
use interchange_bus_embedded::{EmbeddedBus, EmbeddedQueue, Options};
use interchange_model::DeliveryId;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::timeout;

const QUEUES: usize = 3;

#[derive(Debug, Clone)]
enum Operation {
    Publish { queues: Vec<usize> },
    Next { queue: usize, count: usize },
    Settle { queue: usize, pick: usize, dead: bool },
    CloseQueue { queue: usize },
    Flush,
    Restart,
    Kill,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => prop::collection::vec(0..QUEUES, 1..90).prop_map(|queues| Operation::Publish { queues }),
        8 => (0..QUEUES, 1..40usize).prop_map(|(queue, count)| Operation::Next { queue, count }),
        12 => (0..QUEUES, any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(queue, pick, dead)| Operation::Settle { queue, pick, dead }),
        2 => (0..QUEUES).prop_map(|queue| Operation::CloseQueue { queue }),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Restart),
        2 => Just(Operation::Kill),
    ]
}

/// What should be in one queue.
#[derive(Debug, Default)]
struct Line {
    /// Not settled, in order.
    stored: Vec<u64>,
    /// Settled and not flushed: a kill may bring them back.
    settled: Vec<u64>,
    dead: u64,
    /// Settled as dead and not flushed.
    dying: u64,
    /// How many of `stored` were leased, in the order of leasing, with their ids.
    leased: Vec<(DeliveryId, u64)>,
    /// The last leased by the present reader.
    position: Option<u64>,
}

struct World {
    directory: TempDir,
    bus: Option<Arc<EmbeddedBus>>,
    readers: HashMap<usize, EmbeddedQueue>,
    lines: Vec<Line>,
    published: u64,
}

impl World {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let bus = Some(open(&directory).await);
        Self { directory, bus, readers: HashMap::new(), lines: (0..QUEUES).map(|_| Line::default()).collect(), published: 0 }
    }

    fn bus(&self) -> Arc<EmbeddedBus> {
        self.bus.clone().unwrap()
    }

    async fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Publish { queues } => {
                let mut batch = Vec::new();
                for index in queues {
                    self.published += 1;
                    batch.push((queue(&index.to_string()), envelope(self.published)));
                    self.lines[*index].stored.push(self.published);
                }
                self.bus().publish(batch).await.unwrap();
            }
            Operation::Next { queue: index, count } => {
                if !self.readers.contains_key(index) {
                    let reader = self.bus().open(&queue(&index.to_string())).await.unwrap();
                    self.readers.insert(*index, reader);
                }
                let (line, reader) = (&mut self.lines[*index], self.readers.get_mut(index).unwrap());
                for _ in 0..*count {
                    let Some(wanted) = line.stored.iter().copied().find(|number| Some(*number) > line.position) else { break };
                    let lease = timeout(Duration::from_secs(20), reader.next()).await.expect("it comes").unwrap();
                    assert_eq!(lease.envelope.id.0, u128::from(wanted));
                    line.position = Some(wanted);
                    line.leased.push((lease.delivery, wanted));
                }
            }
            Operation::Settle { queue: index, pick, dead } => {
                let line = &mut self.lines[*index];
                if line.leased.is_empty() {
                    return;
                }
                let (delivery, number) = line.leased.remove(pick % line.leased.len());
                let verdict = if *dead { Verdict::Dead { why: "the model says so".to_owned() } } else { Verdict::Done };
                line.dying += u64::from(*dead);
                self.readers.get_mut(index).unwrap().settle(delivery, verdict).await.unwrap();
                line.stored.retain(|stored| *stored != number);
                line.settled.push(number);
            }
            Operation::CloseQueue { queue } => {
                self.readers.remove(queue);
                self.lines[*queue].close();
            }
            Operation::Flush => {
                self.bus().flush().await.unwrap();
                self.lines.iter_mut().for_each(Line::flushed);
            }
            Operation::Restart => {
                self.bus().close().await.unwrap();
                self.reopen().await;
                self.lines.iter_mut().for_each(Line::flushed);
                self.check().await;
            }
            Operation::Kill => {
                self.reopen().await;
                for index in 0..QUEUES {
                    self.observe(index).await;
                }
            }
        }
    }

    async fn reopen(&mut self) {
        self.readers.clear();
        self.bus = None;
        self.bus = Some(open(&self.directory).await);
        self.lines.iter_mut().for_each(Line::close);
    }

    /// All is exactly as the model has it.
    async fn check(&self) {
        for (index, line) in self.lines.iter().enumerate() {
            let name = queue(&index.to_string());
            assert_eq!(self.bus().depth(&name).await.unwrap(), line.stored.len() as u64);
            assert_eq!(self.bus().quarantined(&name).await.unwrap(), line.dead);
        }
    }

    /// After a kill: all that was not settled is there, in order; of the rest, what was settled and not flushed may be there.
    async fn observe(&mut self, index: usize) {
        let name = queue(&index.to_string());
        let depth = self.bus().depth(&name).await.unwrap();
        let mut found = Vec::new();
        let mut reader = self.bus().open(&name).await.unwrap();
        for _ in 0..depth {
            let lease = timeout(Duration::from_secs(20), reader.next()).await.expect("it comes").unwrap();
            found.push(u64::try_from(lease.envelope.id.0).unwrap());
        }
        let line = &mut self.lines[index];
        assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
        for number in &line.stored {
            assert!(found.binary_search(number).is_ok(), "{number} is lost");
        }
        for number in &found {
            assert!(line.stored.contains(number) || line.settled.contains(number), "{number} came back");
        }
        line.stored = found;
        line.settled.clear();
        let dead = self.bus.as_ref().unwrap().quarantined(&name).await.unwrap();
        assert!((line.dead..=line.dead + line.dying).contains(&dead));
        (line.dead, line.dying) = (dead, 0);
    }
}

impl Line {
    fn close(&mut self) {
        self.leased.clear();
        self.position = None;
    }

    fn flushed(&mut self) {
        self.settled.clear();
        self.dead += std::mem::take(&mut self.dying);
    }
}

async fn open(directory: &TempDir) -> Arc<EmbeddedBus> {
    Arc::new(EmbeddedBus::open(directory.path(), Options::default()).await.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_doubled_or_reordered(operations in prop::collection::vec(operation(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for operation in &operations {
                world.apply(operation).await;
            }
            world.apply(&Operation::Flush).await;
            world.check().await;
        });
    }
}
