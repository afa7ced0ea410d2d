//! Random operations against a simple model: whatever becomes of sessions and connections, every message handed over is settled exactly once, none is lost,
//! and each pair's messages reach the client in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::alice::{Alice, SDP};
use crate::common::{EDGE, Hub, Wire, proof, text};
use interchange_adapter::ConnId;
use interchange_model::{Envelope, Health, Outcome, Up};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// The broker hands over the next message of one of three pairs.
    Hand(u8),
    /// The client answers one of the requests it has.
    Answer(usize, u16),
    /// The client ends the session of a pair, or loses it without a word.
    End(u8, bool),
    /// The client begins a session for a pair.
    Begin(u8),
    /// The connection breaks.
    Break,
    /// Time goes by.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![8 => Just(200u16), 1 => Just(404), 1 => Just(480), 1 => Just(180), 1 => Just(481), 1 => Just(486)];
    prop_oneof![
        6 => (0..3u8).prop_map(Step::Hand),
        8 => (any::<usize>(), status).prop_map(|(at, status)| Step::Answer(at, status)),
        1 => (0..3u8, any::<bool>()).prop_map(|(pair, says)| Step::End(pair, says)),
        1 => (0..3u8).prop_map(Step::Begin),
        1 => Just(Step::Break),
        1 => (0..30u64).prop_map(Step::Wait),
    ]
}

struct World {
    hub: Hub,
    own: ConnId,
    edge: ConnId,
    waiting: BTreeMap<u64, Envelope>,
    handed: BTreeSet<u64>,
    finished: BTreeMap<u64, Outcome>,
    asked: Vec<Wire>,
    /// The client's dialogs, by Call-ID.
    dialogs: BTreeMap<String, Alice>,
    /// For each pair, the numbers that the client has said it received.
    received: BTreeMap<u8, Vec<u64>>,
    calls: u32,
}

const PEOPLE: [&str; 3] = ["sip:u0@contoso.example", "sip:u1@contoso.example", "sip:u2@contoso.example"];

impl World {
    fn look(&mut self) {
        for (number, outcome) in self.hub.settled() {
            assert!(self.handed.remove(&number), "{number} was settled and not handed over");
            // What was given up is answered no more.
            self.asked.retain(|wire| wire.method() != "MESSAGE" || wire.body != number.to_string());
            if outcome != Outcome::LinkDown {
                self.waiting.remove(&number);
                assert_eq!(self.finished.insert(number, outcome), None);
            }
        }
        for wire in self.hub.wire(self.own) {
            match wire.method() {
                "OPTIONS" | "INFO" => self.hub.receive(self.own, wire.answer(200, "")),
                "BYE" => {
                    self.dialogs.remove(wire.header("Call-ID"));
                    self.hub.receive(self.own, wire.answer(200, ""));
                }
                "CANCEL" => {
                    self.hub.receive(self.own, wire.answer(200, ""));
                    let invite = self
                        .asked
                        .iter()
                        .position(|asked| asked.method() == "INVITE" && asked.header("Call-ID") == wire.header("Call-ID"));
                    if let Some(invite) = invite.map(|at| self.asked.remove(at)) {
                        self.hub.receive(self.own, invite.answer(487, ""));
                    }
                }
                "INVITE" => self.asked.push(wire),
                "MESSAGE" if self.dialogs.contains_key(wire.header("Call-ID")) => {
                    let pair = |wire: &Wire| wire.start.split("sip:").nth(1).unwrap().split('@').next().unwrap().to_owned();
                    let open = self.asked.iter().find(|known| known.method() == "MESSAGE" && pair(known) == pair(&wire));
                    assert!(open.is_none(), "two of one pair at a time");
                    self.asked.push(wire);
                }
                // A client that has lost the session.
                "MESSAGE" => self.hub.receive(self.own, wire.answer(481, "")),
                _ => {}
            }
        }
        let _ = self.hub.wire(self.edge);
    }

    fn is_up(&self) -> bool {
        !matches!(self.hub.health(), Some(Health::Retrying { .. }))
    }

    fn return_up(&mut self) {
        for _ in 0..200 {
            if let Some(Health::Up) = self.hub.health() {
                break;
            }
            if self.hub.dials.is_empty() {
                self.hub.seconds(1);
            } else {
                self.own = self.hub.open_dial(proof("sip.contoso.example"));
            }
            self.look();
        }
        self.hub.told.retain(|up| !matches!(up, Up::Health { .. }));
    }

    fn hand_over(&mut self) {
        let next: Vec<u64> = self.waiting.keys().filter(|number| !self.handed.contains(number)).copied().collect();
        for number in next {
            if self.handed.len() >= 16 || !self.is_up() {
                return;
            }
            self.handed.insert(number);
            let envelope = self.waiting[&number].clone();
            self.hub.deliver(number, envelope);
            self.look();
        }
    }

    fn answer(&mut self, at: usize, status: u16) {
        let at = at % self.asked.len();
        let wire = if status < 200 { self.asked[at].clone() } else { self.asked.remove(at) };
        if wire.method() == "INVITE" && status == 200 {
            let person = PEOPLE.iter().find(|person| wire.start.contains(*person)).unwrap();
            let alice = Alice { from: person, ..Alice::answers(&wire) };
            let answer = alice.accepts(&wire);
            self.dialogs.insert(alice.call.clone(), alice);
            self.hub.receive(self.own, answer);
            return;
        }
        if wire.method() == "MESSAGE" && status == 200 {
            let number: u64 = wire.body.parse().unwrap();
            let line = self.received.entry(u8::try_from(number % 3).unwrap()).or_default();
            if !line.contains(&number) {
                line.push(number);
            }
        }
        self.hub.receive(self.own, wire.answer(status, ""));
    }

    fn begin(&mut self, pair: u8) {
        self.calls += 1;
        let mut person =
            Alice { from: PEOPLE[usize::from(pair)], ..Alice::calls("sip:bob@fabrikam.example", &format!("c{}x", self.calls)) };
        self.hub.receive(self.edge, person.says("INVITE", "", "application/sdp", SDP));
        let answers = self.hub.wire(self.edge);
        let answer = answers.iter().find(|wire| wire.status() == 200).expect("taken");
        person.hears(answer);
        self.hub.receive(self.edge, person.says("ACK", "", "", ""));
        self.dialogs.insert(person.call.clone(), person);
    }

    fn end(&mut self, pair: u8, says: bool) {
        let of_pair = |person: &&Alice| person.from == PEOPLE[usize::from(pair)];
        let Some(call) = self.dialogs.values().find(of_pair).map(|person| person.call.clone()) else { return };
        let mut person = self.dialogs.remove(&call).unwrap();
        // Whatever was under way in it is answered as one does who knows of no session.
        let open = self.asked.iter().position(|wire| wire.method() == "MESSAGE" && wire.header("Call-ID") == call);
        let open = open.map(|at| self.asked.remove(at));
        if says {
            self.hub.receive(self.edge, person.says("BYE", "", "", ""));
        }
        if let Some(wire) = open {
            self.hub.receive(self.own, wire.answer(481, ""));
        }
    }
}

fn run(steps: Vec<Step>) {
    let (hub, own, edge) = Hub::up(EDGE);
    let mut world = World {
        hub,
        own,
        edge,
        waiting: BTreeMap::new(),
        handed: BTreeSet::new(),
        finished: BTreeMap::new(),
        asked: Vec::new(),
        dialogs: BTreeMap::new(),
        received: BTreeMap::new(),
        calls: 0,
    };
    let mut counts = [0u64; 3];
    for step in steps {
        match step {
            Step::Hand(pair) => {
                let count = &mut counts[usize::from(pair)];
                *count += 1;
                let number = *count * 3 + u64::from(pair);
                let to = PEOPLE[usize::from(pair)].trim_start_matches("sip:");
                world.waiting.insert(number, text(number, "bob@fabrikam.example", to, &number.to_string()));
            }
            Step::Answer(at, status) if !world.asked.is_empty() => world.answer(at, status),
            Step::Answer(..) => {}
            Step::End(pair, says) => world.end(pair, says),
            Step::Begin(pair) => world.begin(pair),
            Step::Break => {
                world.asked.clear();
                world.hub.lose(world.own);
                world.look();
                assert!(world.handed.is_empty());
            }
            Step::Wait(seconds) => {
                for _ in 0..seconds {
                    world.hub.seconds(1);
                    world.look();
                }
            }
        }
        world.look();
        if !world.is_up() {
            world.asked.clear();
            world.return_up();
        }
        world.hand_over();
    }
    // The client answers everything, and all comes to an end.
    for _ in 0..10_000 {
        if world.waiting.is_empty() {
            break;
        }
        if !world.is_up() {
            world.asked.clear();
            world.return_up();
        }
        world.hand_over();
        match world.asked.len() {
            0 => world.hub.seconds(1),
            _ => world.answer(0, 200),
        }
        world.look();
    }
    assert!(world.waiting.is_empty() && world.handed.is_empty(), "{:?} {:?}", world.waiting.keys(), world.handed);
    for (pair, line) in &world.received {
        assert!(line.is_sorted(), "pair {pair}: {line:?}");
    }
    let delivered = world.finished.iter().filter(|(_, outcome)| **outcome == Outcome::Delivered);
    for (number, _) in delivered {
        let line = world.received.get(&u8::try_from(number % 3).unwrap());
        assert!(line.is_some_and(|line| line.contains(number)), "{number} is said to have arrived, and has not");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_settled_twice_or_out_of_order(steps in proptest::collection::vec(step(), 1..120)) {
        run(steps);
    }
}
