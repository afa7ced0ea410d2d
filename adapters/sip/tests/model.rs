//! Random operations against a simple model: whatever happens, every message handed over is settled exactly once, none is
//! lost, and each pair's messages reach the peer in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Hub, LB, LB_UDP, Wire, proof, text};
use interchange_adapter::ConnId;
use interchange_model::{Envelope, Outcome, Refusal};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// The broker hands over the next message of one of four pairs.
    Hand(u8),
    /// The peer answers one of the requests it has.
    Answer(usize, u16),
    /// The connection breaks.
    Break,
    /// Time goes by.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8).prop_map(Step::Hand),
        6 => (any::<usize>(), prop_oneof![6 => Just(200u16), 1 => Just(404), 1 => Just(480), 1 => Just(100)]).prop_map(|(at, status)| Step::Answer(at, status)),
        1 => Just(Step::Break),
        1 => (0..4u64).prop_map(Step::Wait),
    ]
}

/// The broker's side of one link: what waits, and what was handed over.
#[derive(Default)]
struct Broker {
    waiting: BTreeMap<u64, Envelope>,
    handed: BTreeSet<u64>,
    finished: BTreeMap<u64, Outcome>,
}

struct World {
    hub: Hub,
    conn: ConnId,
    broker: Broker,
    asked: Vec<Wire>,
    /// For each pair, the numbers that the peer received, without repeats.
    received: BTreeMap<u8, Vec<u64>>,
}

impl World {
    /// What the hub said is taken in; a link that is down is brought up again.
    fn look(&mut self) {
        for (number, outcome) in self.hub.settled() {
            assert!(self.broker.handed.remove(&number), "{number} was settled and not handed over");
            if outcome != Outcome::LinkDown {
                self.broker.waiting.remove(&number);
                assert_eq!(self.broker.finished.insert(number, outcome), None);
            }
        }
        for wire in self.hub.wire(self.conn) {
            match wire.method() {
                "OPTIONS" => self.hub.receive(self.conn, wire.answer(200, "")),
                "MESSAGE" => {
                    let number: u64 = wire.body.parse().unwrap();
                    let line = self.received.entry(u8::try_from(number % 4).unwrap()).or_default();
                    if !line.contains(&number) {
                        line.push(number);
                    }
                    let pair = |wire: &Wire| wire.header("From").split(';').next().unwrap().to_owned();
                    let open = self.asked.iter().find(|known| pair(known) == pair(&wire) && known.branch() != wire.branch());
                    assert!(open.is_none(), "two of one pair at a time");
                    // A retransmission over UDP is the same request.
                    self.asked.retain(|known| known.branch() != wire.branch());
                    self.asked.push(wire);
                }
                _ => {}
            }
        }
    }

    fn return_up(&mut self) {
        for _ in 0..200 {
            if let Some(interchange_model::Health::Up) = self.hub.health() {
                break;
            }
            if self.hub.dials.is_empty() {
                self.hub.seconds(1);
            } else {
                self.conn = self.hub.open_dial("b.example", proof("b.example"));
            }
            self.look();
        }
        self.hub.told.retain(|up| !matches!(up, interchange_model::Up::Health { .. }));
    }

    fn is_up(&self) -> bool {
        !matches!(self.hub.health(), Some(interchange_model::Health::Retrying { .. }))
    }

    /// A broker that has a link up hands everything over in order, at most sixteen at a time.
    fn hand_over(&mut self) {
        let next: Vec<u64> = self.broker.waiting.keys().filter(|number| !self.broker.handed.contains(number)).copied().collect();
        for number in next {
            if self.broker.handed.len() >= 16 || !self.is_up() {
                return;
            }
            self.broker.handed.insert(number);
            let envelope = self.broker.waiting[&number].clone();
            self.hub.deliver(number, envelope);
            self.look();
        }
    }
}

fn run(json: &str, steps: Vec<Step>) {
    let (hub, conn) = Hub::up(json);
    let mut world = World { hub, conn, broker: Broker::default(), asked: Vec::new(), received: BTreeMap::new() };
    let mut counts = [0u64; 4];
    for step in steps {
        match step {
            Step::Hand(pair) => {
                let count = &mut counts[usize::from(pair)];
                *count += 1;
                let number = *count * 4 + u64::from(pair);
                let envelope = text(number, &format!("u{pair}@a.example"), "bob@b.example", &number.to_string());
                world.broker.waiting.insert(number, envelope);
            }
            Step::Answer(at, status) => {
                if !world.asked.is_empty() {
                    let at = at % world.asked.len();
                    let wire = if status < 200 { world.asked[at].clone() } else { world.asked.remove(at) };
                    world.hub.receive(world.conn, wire.answer(status, ""));
                }
            }
            Step::Break => {
                world.asked.clear();
                world.hub.lose(world.conn);
                world.look();
                assert!(world.broker.handed.is_empty());
            }
            Step::Wait(seconds) => world.hub.seconds(seconds),
        }
        world.look();
        if !world.is_up() {
            world.asked.clear();
            world.return_up();
        }
        world.hand_over();
    }
    // The peer heals, and everything comes to an end.
    for _ in 0..10_000 {
        if world.broker.waiting.is_empty() {
            break;
        }
        world.hand_over();
        if let Some(wire) = world.asked.pop() {
            world.hub.receive(world.conn, wire.answer(200, ""));
        }
        world.look();
    }
    assert!(world.broker.waiting.is_empty() && world.broker.handed.is_empty());
    for (pair, line) in &world.received {
        assert!(line.is_sorted(), "pair {pair}: {line:?}");
        assert_eq!(line.len() as u64, counts[usize::from(*pair)]);
    }
    for outcome in world.broker.finished.values() {
        let fits = matches!(outcome, Outcome::Delivered | Outcome::Refused(Refusal::NoSuchUser | Refusal::Unavailable));
        assert!(fits, "{outcome:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_settled_twice_or_out_of_order_over_tls(steps in proptest::collection::vec(step(), 1..150)) {
        run(LB, steps);
    }

    #[test]
    fn nothing_is_lost_settled_twice_or_out_of_order_over_udp(steps in proptest::collection::vec(step(), 1..150)) {
        run(LB_UDP, steps);
    }
}
