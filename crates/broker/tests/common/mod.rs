//! A hub without platforms: a fake bus, a small community, and a script in the place of each adapter.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use interchange_broker::{Broker, Kept, Limits, Trace};
use interchange_bus::Bus;
use interchange_model::{
    Address, Body, DeliveryId, Domain, Down, Envelope, Health, Link, LinkId, MessageId, Outcome, Pace, PlatformName, QueueId,
    Refusal, Settings, Text, Token, Up,
};
use interchange_registry::{Community, Parts, Registry};
use interchange_testkit::bus::{FakeBus, FakeStorage};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// acme and initech on the platform `left`, globex and umbrella on `right`; everybody may write to everybody.
pub struct World {
    pub bus: Arc<FakeBus>,
    pub broker: Option<Broker>,
    pub registry: watch::Sender<Arc<Registry>>,
    pub trace: Trace,
    pub left: Platform,
    pub right: Platform,
}

/// What an adapter hears and says.
pub struct Platform {
    pub down: mpsc::Receiver<Down>,
    pub up: mpsc::Sender<Up>,
}

pub fn link(id: &str, platform: &'static str) -> Link {
    Link {
        id: id.into(),
        member: id.into(),
        platform: PlatformName::from_static(platform),
        domains: vec![Domain::parse(&format!("{id}.example")).unwrap()],
        pace: Pace { in_flight: 4, ..Pace::default() },
        settings: Settings::default(),
    }
}

pub fn links() -> Vec<Link> {
    vec![link("acme", "left"), link("initech", "left"), link("globex", "right"), link("umbrella", "right")]
}

pub fn registry(links: Vec<Link>) -> Arc<Registry> {
    let members = links.iter().map(|link| link.member.clone()).collect();
    let hub = Domain::parse("hub.example").unwrap();
    Arc::new(
        Registry::new(Parts {
            hub,
            members,
            links,
            partnerships: Vec::new(),
            community: Community::Open,
            barriers: Vec::new(),
            accounts: Default::default(),
            directories: Default::default(),
        })
        .unwrap(),
    )
}

impl World {
    /// A community on a new bus, after everybody has heard of their links.
    pub async fn new() -> Self {
        Self::on(FakeStorage::new(), links(), 64).await
    }

    /// A community on storage that may hold something, with channels of this capacity.
    pub async fn on(storage: FakeStorage, links: Vec<Link>, capacity: usize) -> Self {
        // The same words again and again are what most tests send.
        Self::limited(storage, links, capacity, Limits::none()).await
    }

    /// The same, with limits.
    pub async fn limited(storage: FakeStorage, links: Vec<Link>, capacity: usize, limits: Limits) -> Self {
        let bus = Arc::new(FakeBus::on(storage));
        let (registry, snapshots) = watch::channel(registry(links));
        let (up, inbox) = mpsc::channel(capacity);
        let (left, left_down) = mpsc::channel(capacity);
        let (right, right_down) = mpsc::channel(capacity);
        let platforms = [(PlatformName::from_static("left"), left), (PlatformName::from_static("right"), right)].into();
        let trace = Trace::new([7; 32]);
        let broker = Broker::start(bus.clone(), snapshots, platforms, inbox, trace.clone(), Kept::volatile(), limits);
        let mut world = Self {
            bus,
            broker: Some(broker),
            registry,
            trace,
            left: Platform { down: left_down, up: up.clone() },
            right: Platform { down: right_down, up },
        };
        for platform in [&mut world.left, &mut world.right] {
            let first = platform.hear().await;
            assert!(matches!(first, Down::Links { .. }), "the first word is {first:?}");
        }
        world
    }

    /// Has two messages from acme delivered to globex: from then on it is handed as many as its pace allows.
    pub async fn warm_up(&mut self) {
        for number in [9001, 9002] {
            self.left.submitted(number, "acme", "globex").await.unwrap();
            let (_, delivery, _) = self.right.delivery().await;
            self.right.settle("globex", delivery, Outcome::Delivered).await;
            assert!(matches!(self.left.hear().await, Down::Delivered { .. }));
        }
    }

    pub async fn depth(&self, link: &str) -> u64 {
        self.bus.depth(&QueueId::Link(link.into())).await.unwrap()
    }

    /// Waits until a queue has this depth.
    pub async fn until_depth(&self, link: &str, depth: u64) {
        for _ in 0..1000 {
            if self.depth(link).await == depth {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the queue of {link} has depth {}, not {depth}", self.depth(link).await);
    }
}

impl Platform {
    /// The next word, which must come soon.
    pub async fn hear(&mut self) -> Down {
        timeout(Duration::from_secs(300), self.down.recv()).await.expect("a word comes").expect("the broker lives")
    }

    /// The next delivery's link, id and the message's number.
    pub async fn delivery(&mut self) -> (LinkId, DeliveryId, u64) {
        match self.hear().await {
            Down::Deliver { link, delivery, envelope } => (link, delivery, u64::try_from(envelope.id.0).unwrap()),
            other => panic!("not a delivery: {other:?}"),
        }
    }

    /// The next delivery, if one comes soon.
    pub async fn delivery_or_quiet(&mut self) -> Option<(LinkId, DeliveryId, u64)> {
        timeout(Duration::from_millis(200), self.delivery()).await.ok()
    }

    /// The next delivery, whatever its id is.
    pub async fn delivery_of_any(&mut self) -> (LinkId, DeliveryId, Arc<Envelope>) {
        match self.hear().await {
            Down::Deliver { link, delivery, envelope } => (link, delivery, envelope),
            other => panic!("not a delivery: {other:?}"),
        }
    }

    /// Nothing comes.
    pub async fn quiet(&mut self) {
        let word = timeout(Duration::from_millis(200), self.down.recv()).await;
        assert!(word.is_err(), "silence was due, and this came: {word:?}");
    }

    pub async fn say(&self, word: Up) {
        timeout(Duration::from_secs(30), self.up.send(word)).await.expect("the broker listens").expect("the broker lives");
    }

    pub async fn health(&self, link: &str, health: Health) {
        self.say(Up::Health { link: link.into(), health }).await;
    }

    pub async fn up(&self, link: &str) {
        self.health(link, Health::Up).await;
    }

    pub async fn down(&self, link: &str) {
        self.health(link, Health::Retrying { why: "the test says so".to_owned() }).await;
    }

    pub async fn settle(&self, link: &str, delivery: DeliveryId, outcome: Outcome) {
        self.say(Up::Settle { link: link.into(), delivery, outcome }).await;
    }

    pub async fn submit(&self, number: u64, from: &str, to: &str) {
        let envelope = envelope(number, from, to);
        self.say(Up::Submit { token: Token(number), link: envelope.origin.clone(), envelope }).await;
    }

    /// Submits and waits for the answer.
    pub async fn submitted(&mut self, number: u64, from: &str, to: &str) -> Result<(), Refusal> {
        self.submit(number, from, to).await;
        match self.hear().await {
            Down::Submitted { token, result } if token == Token(number) => result,
            other => panic!("not the answer to {number}: {other:?}"),
        }
    }
}

/// A text from one link's user to another's; the number is its id.
pub fn envelope(number: u64, from: &str, to: &str) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: MessageId(number.into()),
        origin: from.into(),
        from: Address::parse(&format!("sender.{from}@{from}.example")).unwrap(),
        from_device: None,
        to: Address::parse(&format!("recipient.{to}@{to}.example")).unwrap(),
        to_device: None,
        native_id: Some(format!("native-{number}").into()),
        accepted: SystemTime::now(),
        hops: Envelope::FULL_HOPS,
        native: None,
        body: Body::Text(Text { plain: "BODY-MARK".into(), ..Text::default() }),
    })
}
