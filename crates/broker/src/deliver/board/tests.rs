//! A board, a queue and a peer with moods, by chance: nothing is lost, nothing is settled twice, conversations keep their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use interchange_model::{Address, Body, DeliveryId, Envelope, MessageId, Outcome, Pace, Refusal, Text};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::{Board, Leased};

const MESSAGES: u64 = 300;
const CONVERSATIONS: u64 = 6;
/// With a peer in a good mood everything is over in far fewer turns.
const TURNS: usize = 20_000;

struct World {
    board: Board,
    random: StdRng,
    now: Instant,
    most: usize,
    /// Not settled, in the order of the queue.
    queue: BTreeSet<u64>,
    /// All below have been leased since the queue was opened.
    leased: u64,
    deliveries: HashMap<DeliveryId, u64>,
    last_delivery: u64,
    /// By conversation: in flight, in the order in which they were handed over.
    in_flight: BTreeMap<u64, Vec<DeliveryId>>,
    expires: Vec<Instant>,
    arrived: Vec<u64>,
    told: Vec<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let most: u16 = random.random_range(1..=16);
        let now = Instant::now();
        let lives = |random: &mut StdRng| if random.random_bool(0.05) { random.random_range(0..20) } else { 1_000_000 };
        let expires = (0..MESSAGES).map(|_| now + Duration::from_secs(lives(&mut random))).collect();
        Self {
            board: Board::new(Pace { in_flight: most, ..Pace::default() }),
            random,
            now,
            most: most.into(),
            queue: (0..MESSAGES).collect(),
            leased: 0,
            deliveries: HashMap::new(),
            last_delivery: 0,
            in_flight: BTreeMap::new(),
            expires,
            arrived: Vec::new(),
            told: Vec::new(),
        }
    }

    fn flying(&self) -> usize {
        self.in_flight.values().map(Vec::len).sum()
    }

    fn lease(&mut self) {
        while self.board.wants_more()
            && let Some(&number) = self.queue.range(self.leased..).next()
        {
            self.leased = number + 1;
            self.last_delivery += 1;
            let delivery = DeliveryId(self.last_delivery);
            self.deliveries.insert(delivery, number);
            let expires = self.expires[number as usize];
            self.board.take(self.now, Leased { delivery, envelope: envelope(number).into(), expires });
        }
    }

    fn hand_over(&mut self) {
        while let Some((delivery, envelope)) = self.board.next(self.now) {
            let number = self.deliveries[&delivery];
            assert_eq!(envelope.id, MessageId(number.into()));
            assert!(self.queue.contains(&number), "{number} is settled and handed over again");
            let line = self.in_flight.entry(number % CONVERSATIONS).or_default();
            assert!(!line.contains(&delivery), "{number} is in flight twice");
            line.push(delivery);
            assert!(self.flying() <= self.most, "{} in flight, {} allowed", self.flying(), self.most);
        }
    }

    /// The peer says something of the oldest in flight of some conversation: within one it keeps the order.
    fn settle(&mut self, mood: f64) {
        let lines: Vec<u64> = self.in_flight.iter().filter(|(_, line)| !line.is_empty()).map(|(key, _)| *key).collect();
        if lines.is_empty() {
            return;
        }
        let line = self.in_flight.get_mut(&lines[self.random.random_range(0..lines.len())]).expect("it is there");
        let delivery = line.remove(0);
        let number = self.deliveries[&delivery];
        let outcome = match self.random.random_range(0.0..1.0) {
            chance if chance < mood => Outcome::Delivered,
            chance if chance < mood + 0.4 * (1.0 - mood) => Outcome::Refused(Refusal::PeerFault),
            chance if chance < mood + 0.6 * (1.0 - mood) => Outcome::Absent,
            chance if chance < mood + 0.8 * (1.0 - mood) => Outcome::Refused(Refusal::NoSuchUser),
            _ => Outcome::LinkDown,
        };
        let settled = self.board.settle(self.now, delivery, outcome);
        assert_eq!(settled.map(|(envelope, _)| envelope.id), Some(MessageId(number.into())));
        match outcome {
            Outcome::Delivered => {
                assert!(self.queue.remove(&number), "{number} arrives twice");
                self.arrived.push(number);
            }
            Outcome::LinkDown => self.close(),
            Outcome::Absent | Outcome::Refused(_) | Outcome::RefusedWith(..) => {}
        }
    }

    fn close(&mut self) {
        self.board.close(self.now);
        self.in_flight.clear();
        self.deliveries.clear();
        self.leased = 0;
    }

    /// The failures of what was given up are stored.
    fn tell(&mut self) {
        for refused in std::mem::take(&mut self.board.refused) {
            let number = self.deliveries[&refused.delivery];
            assert!(self.queue.remove(&number), "{number} is settled and given up");
            self.told.push(number);
        }
    }

    fn turn(&mut self, mood: f64) {
        self.lease();
        self.hand_over();
        if self.random.random_bool(0.05) {
            self.board.hurry(self.now, &envelope(0).to);
        }
        match self.random.random_range(0..4) {
            0 => self.now += Duration::from_millis(self.random.random_range(0..3_000)),
            _ => self.settle(mood),
        }
        if self.board.deadline().is_some_and(|at| at <= self.now) {
            self.board.wake(self.now);
        }
        if self.random.random_bool(0.5) {
            self.tell();
        }
    }
}

fn envelope(number: u64) -> Envelope {
    let address = |text: &str| Address::parse(text).expect("it is an address");
    Envelope {
        id: MessageId(number.into()),
        origin: "acme".into(),
        from: address(&format!("alice{}@acme.example", number % CONVERSATIONS)),
        from_device: None,
        to: address("bob@globex.example"),
        to_device: None,
        native_id: None,
        accepted: SystemTime::UNIX_EPOCH,
        hops: Envelope::FULL_HOPS,
        native: None,
        body: Body::Text(Text::default()),
    }
}

#[test]
fn whatever_the_peer_does_each_message_arrives_in_order_or_comes_back() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..1_000 {
            world.turn(0.7);
        }
        for turn in 0.. {
            if world.queue.is_empty() {
                break;
            }
            assert!(turn < TURNS, "seed {seed}: {} never end: {:?}", world.queue.len(), world.queue);
            world.turn(1.0);
        }
        let mut all: Vec<u64> = world.arrived.iter().chain(&world.told).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..MESSAGES).collect::<Vec<_>>(), "seed {seed}");
        for conversation in 0..CONVERSATIONS {
            let of: Vec<u64> = world.arrived.iter().copied().filter(|number| number % CONVERSATIONS == conversation).collect();
            assert!(of.is_sorted(), "seed {seed}: conversation {conversation} arrives as {of:?}");
        }
        assert!(world.arrived.len() > world.told.len(), "seed {seed}: {} of {MESSAGES} arrive", world.arrived.len());
    }
}

#[test]
fn what_waits_for_somebody_is_handed_over_when_they_are_here_and_leaves_room_for_others() {
    let now = Instant::now();
    let mut board = Board::new(Pace { in_flight: 64, ..Pace::default() });
    let to = |number: u64| Address::parse(&format!("user{}@globex.example", number % 20)).expect("it is an address");
    let lease = |number: u64| Leased {
        delivery: DeliveryId(number),
        envelope: Envelope { to: to(number), ..envelope(number) }.into(),
        expires: now + Duration::from_secs(10_000),
    };
    let mut next = 0;
    let mut turn = |board: &mut Board| {
        while board.wants_more() && next < 2_000 {
            board.take(now, lease(next));
            next += 1;
        }
        let mut handed = Vec::new();
        while let Some((delivery, _)) = board.next(now) {
            handed.push(delivery);
        }
        for delivery in &handed {
            board.settle(now, *delivery, Outcome::Absent);
        }
        !handed.is_empty() || next < 2_000
    };
    let mut refused = Vec::new();
    while turn(&mut board) {
        refused.extend(board.take_refused());
    }
    refused.extend(board.take_refused());
    // All were looked at: what waits for hours has not stopped the queue.
    assert_eq!(refused.len(), 2_000 - 256, "the rest came back");
    assert!(refused.iter().all(|refused| refused.why == Refusal::Unavailable));
    assert!(board.wants_more());
    // One of them comes: the first that waits for them goes out at once, and when it has arrived, the others, in order.
    let person = to(3);
    board.hurry(now, &person);
    assert_eq!(board.deadline(), Some(now));
    board.wake(now);
    let mut last = HashMap::new();
    let mut handed = 0;
    while let Some((delivery, envelope)) = board.next(now) {
        assert_eq!(envelope.to, person);
        assert!(last.insert(envelope.from.clone(), delivery) < Some(delivery), "out of order");
        handed += 1;
        board.settle(now, delivery, Outcome::Delivered);
    }
    assert!(handed > 1, "{handed}");
}
