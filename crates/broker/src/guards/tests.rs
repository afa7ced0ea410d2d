use std::time::SystemTime;

use interchange_model::{Address, MessageId};

use super::*;

fn said(from: &str, to: &str, words: &str) -> Envelope {
    Envelope {
        id: MessageId(1),
        origin: "acme".into(),
        from: Address::parse(from).unwrap(),
        from_device: None,
        to: Address::parse(to).unwrap(),
        to_device: None,
        native_id: None,
        accepted: SystemTime::UNIX_EPOCH,
        hops: 70,
        native: None,
        body: Body::Text(Text { plain: words.into(), ..Text::default() }),
    }
}

/// Numbered words of one person.
fn of(person: &str, number: u32) -> Envelope {
    said(&format!("{person}@a.example"), "bob@b.example", &number.to_string())
}

struct World {
    guards: Guards,
    now: Instant,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self { guards: Guards::new(limits), now: Instant::now() }
    }

    fn admit(&mut self, envelope: &Envelope) -> Result<(), Refusal> {
        self.guards.admit(self.now, envelope, &Domain::parse("hub.example").unwrap())
    }

    /// How many of so many are taken at once.
    fn taken(&mut self, count: u32, envelope: impl Fn(u32) -> Envelope) -> u32 {
        (0..count).map(|number| u32::from(self.admit(&envelope(number)).is_ok())).sum()
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }
}

#[test]
fn abuse_25_a_sender_has_twenty_at_once_and_two_a_second() {
    let mut world = World::new(Limits::default());
    assert_eq!(world.taken(100, |number| of("alice", number)), 20);
    assert_eq!(world.admit(&of("alice", 200)), Err(Refusal::RateLimited));
    // Others are not concerned; her other spellings are.
    assert_eq!(world.admit(&of("carol", 1)), Ok(()));
    assert_eq!(world.admit(&of("Alice", 201)), Err(Refusal::RateLimited));
    world.pass(499);
    assert_eq!(world.admit(&of("alice", 202)), Err(Refusal::RateLimited));
    world.pass(1);
    assert_eq!(world.taken(10, |number| of("alice", 300 + number)), 1);
    world.pass(5_000);
    assert_eq!(world.taken(100, |number| of("alice", 400 + number)), 10);
    // After a long pause as at first, and not more.
    world.pass(86_400_000);
    assert_eq!(world.taken(100, |number| of("alice", 500 + number)), 20);
}

#[test]
fn abuse_25_a_link_has_five_hundred_at_once_and_a_hundred_a_second() {
    let mut world = World::new(Limits::default());
    let many = |number: u32| of(&format!("person{number}"), 1);
    assert_eq!(world.taken(1_000, many), 500);
    assert_eq!(world.admit(&many(2_000)), Err(Refusal::RateLimited));
    let other = Envelope { origin: "globex".into(), ..many(2_001) };
    assert_eq!(world.admit(&other), Ok(()));
    world.pass(1_000);
    assert_eq!(world.taken(1_000, |number| many(3_000 + number)), 100);
    // What a sender's own limit refuses takes nothing from the others of the link.
    let mut world = World::new(Limits::default());
    assert_eq!(world.taken(1_000, |number| of("alice", number)), 20);
    assert_eq!(world.taken(1_000, many), 480);
}

#[test]
fn abuse_25_only_texts_count_and_not_those_of_the_hub_itself() {
    let mut world = World::new(Limits::default());
    let echo = |number: u32| said("echo@hub.example", &format!("p{number}@a.example"), "hello");
    assert_eq!(world.taken(2_000, echo), 2_000);
    let failure = of("alice", 1).failure(MessageId(2), Refusal::NoSuchUser, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(world.taken(2_000, |_| failure.clone()), 2_000);
    let mut world = World::new(Limits::none());
    assert_eq!(world.taken(2_000, |_| of("alice", 1)), 2_000);
}

#[test]
fn case_72_the_sixth_of_the_same_words_in_ten_seconds_is_refused() {
    let mut world = World::new(Limits::default());
    let away = said("bot@a.example", "msilo@b.example", "I am away");
    for _ in 0..5 {
        assert_eq!(world.admit(&away), Ok(()));
        world.pass(1_000);
    }
    assert_eq!(world.admit(&away), Err(Refusal::Loop));
    // Other words, another recipient, and the other way are other texts.
    assert_eq!(world.admit(&said("bot@a.example", "msilo@b.example", "I am back")), Ok(()));
    assert_eq!(world.admit(&said("bot@a.example", "carol@b.example", "I am away")), Ok(()));
    assert_eq!(world.admit(&said("msilo@b.example", "bot@a.example", "I am away")), Ok(()));
    // As long as they go on, they are refused.
    for _ in 0..20 {
        world.pass(1_500);
        assert_eq!(world.admit(&away), Err(Refusal::Loop));
    }
    world.pass(10_000);
    assert_eq!(world.admit(&away), Ok(()));
    // Slowly they may go on for ever.
    for _ in 0..20 {
        world.pass(2_500);
        assert_eq!(world.admit(&away), Ok(()));
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut world = World::new(Limits { link: Rate::UNLIMITED, ..Limits::default() });
    for number in 0..300_000 {
        assert_eq!(world.admit(&of(&format!("p{number}"), number)), Ok(()));
    }
    assert!(world.guards.senders.len() <= MOST_SENDERS && world.guards.texts.len() <= MOST_TEXTS);
    world.pass(60_000);
    assert_eq!(world.admit(&of("alice", 1)), Ok(()));
    assert_eq!((world.guards.senders.len(), world.guards.texts.len()), (1, 1));
    world.guards.retain(|_| false);
    assert!(world.guards.links.is_empty());
}
