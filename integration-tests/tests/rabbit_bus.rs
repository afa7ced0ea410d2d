//! The bus on a real RabbitMQ keeps the contract of every bus, and more where RabbitMQ is killed, blocked or set up without rights.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use interchange_bus::conformance::{Storage, envelope, queue};
use interchange_bus::{Bus, BusError, Queue, Transient, Verdict, conformance_suite};
use interchange_bus_rabbit::{CONSUMER_TIMEOUT, Condition, Options, QueueLimits, RabbitBus, setup};
use interchange_integration_tests::rabbitmq::RabbitMq;

/// One node for the conformance suite, with a virtual host for each function.
fn shared_node() -> &'static RabbitMq {
    static NODE: OnceLock<RabbitMq> = OnceLock::new();
    NODE.get_or_init(RabbitMq::start)
}

struct VirtualHost {
    url: String,
}

impl VirtualHost {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let node = shared_node();
        let name = format!("conformance{}", NEXT.fetch_add(1, Ordering::Relaxed));
        node.control(&["add_vhost", &name]);
        node.control(&["set_permissions", "--vhost", &name, "interchange", ".*", ".*", ".*"]);
        let url = node.url();
        let (server, _) = url.rsplit_once('/').expect("the address ends with the virtual host");
        Self { url: format!("{server}/{name}") }
    }

    async fn bus(&self, bytes: u64) -> RabbitBus {
        open(&self.url, Some(QueueLimits { bytes })).await
    }
}

fn options(url: &str, declare: Option<QueueLimits>) -> Options {
    Options { urls: vec![url.to_owned()], password: None, authorities: None, consumer_timeout: CONSUMER_TIMEOUT, declare }
}

async fn open(url: &str, declare: Option<QueueLimits>) -> RabbitBus {
    RabbitBus::open(options(url, declare)).await.expect("RabbitMQ is there")
}

impl Storage for VirtualHost {
    type Bus = RabbitBus;

    async fn open(&self) -> RabbitBus {
        self.bus(QueueLimits::default().bytes).await
    }

    async fn open_small(&self) -> RabbitBus {
        self.bus(100_000).await
    }

    fn one_by_one(&self) -> bool {
        false
    }
}

conformance_suite!(tests: VirtualHost::new());

fn batch(numbers: std::ops::Range<u64>) -> Vec<(interchange_model::QueueId, std::sync::Arc<interchange_model::Envelope>)> {
    numbers.map(|number| (queue("a"), envelope(number))).collect()
}

/// While RabbitMQ is away nothing is accepted, soon; when it is back, all that was accepted is there, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_survives_a_killed_broker_and_nothing_is_accepted_without_one() {
    let mut node = RabbitMq::start();
    let bus = open(&node.url(), Some(QueueLimits::default())).await;
    bus.publish(batch(0..100)).await.unwrap();
    node.kill();
    let asked = Instant::now();
    let refused = bus.publish(batch(1000..1010)).await.unwrap_err();
    assert!(matches!(refused.error, BusError::Unavailable(_)), "{refused:?}");
    assert!(asked.elapsed() < Duration::from_secs(7), "{:?}", asked.elapsed());
    let asked = Instant::now();
    let refused = bus.publish(batch(1000..1010)).await.unwrap_err();
    assert!(matches!(refused.error, BusError::Unavailable(_)), "{refused:?}");
    assert!(asked.elapsed() < Duration::from_millis(1500), "known to be away: {:?}", asked.elapsed());
    node.start_again();
    let back = Instant::now();
    while bus.publish(batch(100..101)).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(20), "it is not noticed that RabbitMQ is back");
    }
    println!("accepting again {:?} after RabbitMQ greets", back.elapsed());
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&100) {
        let lease = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap().unwrap();
        seen.push(u64::try_from(lease.envelope.id.0).unwrap());
        reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
    seen.dedup();
    assert_eq!(seen, (0..=100).collect::<Vec<_>>());
}

/// A hub needs no right to declare queues; without the set-up it says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_with_few_rights_works_once_everything_is_set_up() {
    let node = RabbitMq::start();
    node.add_user("node", "secret", "^interchange\\.transient\\..*", "^(interchange\\..*|amq\\.default)$", "^interchange\\..*");
    let url = node.url_of("node", "secret");
    let bus = open(&url, None).await;
    assert_eq!(bus.missing(&[queue("a")]).await.unwrap(), [queue("a")]);
    let refused = bus.publish(batch(0..1)).await.unwrap_err();
    assert!(refused.to_string().contains("interchange bus setup"), "{refused}");
    let administrator = options(&node.url(), None);
    for _ in 0..2 {
        setup(&administrator, QueueLimits::default(), &[queue("a"), queue("b")], |_| {}).await.unwrap();
    }
    assert_eq!(bus.missing(&[queue("a"), queue("b")]).await.unwrap(), []);
    bus.publish(batch(0..40)).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    for number in 0..40 {
        assert_eq!(reader.next().await.unwrap().envelope.id.0, number);
    }
}

/// A blocked RabbitMQ is told from an absent one; deliveries go on, and messages are taken again once it is unblocked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_broker_accepts_nothing_and_still_delivers() {
    let node = RabbitMq::start();
    let bus = open(&node.url(), Some(QueueLimits::default())).await;
    bus.publish(batch(0..50)).await.unwrap();
    node.raise_memory_alarm();
    // RabbitMQ blocks a connection when it next publishes.
    let refused = bus.publish(batch(1000..1001)).await.unwrap_err();
    assert!(matches!(refused.error, BusError::Unavailable(_)), "{refused:?}");
    assert!(matches!(&*bus.condition().borrow(), Condition::Blocked { .. }));
    let asked = Instant::now();
    bus.publish(batch(1000..1001)).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(1), "known to be blocked");
    let mut reader = bus.open(&queue("a")).await.unwrap();
    for number in 0..50 {
        let lease = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap().unwrap();
        assert_eq!(lease.envelope.id.0, number);
        reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
    node.clear_memory_alarm();
    let cleared = Instant::now();
    while bus.publish(batch(50..51)).await.is_err() {
        assert!(cleared.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Two hubs: one reads a queue, the other takes over, in order, when the first is gone; and words pass between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_hub_takes_over_a_queue_in_order() {
    let node = RabbitMq::start();
    setup(&options(&node.url(), None), QueueLimits::default(), &[queue("a")], |_| {}).await.unwrap();
    let (first, second) = (open(&node.url(), None).await, open(&node.url(), None).await);
    let mut told = second.told().unwrap();
    let word = Transient { link: "a".into(), key: None, payload: b"hello".to_vec() };
    let heard = async {
        loop {
            first.tell(word.clone());
            if let Ok(Some(heard)) = tokio::time::timeout(Duration::from_millis(200), told.recv()).await {
                break heard;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap(), word);
    for number in 0..100 {
        first.publish(batch(number..number + 1)).await.unwrap();
    }
    let mut reading = first.open(&queue("a")).await.unwrap();
    for number in 0..10 {
        assert_eq!(reading.next().await.unwrap().envelope.id.0, number);
    }
    let mut waiting = second.open(&queue("a")).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(500), waiting.next()).await.is_err(), "one hub at a time");
    drop(reading);
    drop(first);
    for number in 0..100 {
        let lease = tokio::time::timeout(Duration::from_secs(15), waiting.next()).await.unwrap().unwrap();
        assert_eq!(lease.envelope.id.0, number);
        waiting.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
}
