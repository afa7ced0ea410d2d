//! The delivery contract: what is tried again, what is given up and when, what counts as the same message, and which message a link dies of.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Platform, World, envelope, links, registry};
use interchange_broker::Stage;
use interchange_bus::BusError;
use interchange_model::{Body, DeliveryId, Down, Envelope, Outcome, Pace, QueueId, Refusal, Token, Up};
use tokio::time::{Instant, advance};

/// acme's other users write to globex's other users: one conversation for each letter.
fn of(letter: char, number: u64) -> Arc<Envelope> {
    let plain = envelope(number, "acme", "globex");
    let from = interchange_model::Address::parse(&format!("{letter}@acme.example")).unwrap();
    Arc::new(Envelope { from, ..(*plain).clone() })
}

/// The same, accepted so much later: the test's clock goes ahead of the system's.
fn later(envelope: Arc<Envelope>, by: Duration) -> Arc<Envelope> {
    Arc::new(Envelope { accepted: envelope.accepted + by, ..(*envelope).clone() })
}

async fn submit(platform: &mut Platform, envelope: Arc<Envelope>) {
    let token = Token(u64::try_from(envelope.id.0).unwrap());
    platform.say(Up::Submit { token, link: envelope.origin.clone(), envelope }).await;
    assert_eq!(platform.hear().await, Down::Submitted { token, result: Ok(()) });
}

/// Tells acme of nothing else: takes hints, answers with the failure.
async fn failure(platform: &mut Platform) -> (u128, Refusal) {
    loop {
        match platform.hear().await {
            Down::Delivered { .. } => {}
            Down::Deliver { link, delivery, envelope } => {
                let Body::Failure(failure) = &envelope.body else { panic!("{envelope:?}") };
                platform.settle(link.as_str(), delivery, Outcome::Delivered).await;
                return (failure.of.unwrap().0, failure.why);
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn globex(world: &mut World, outcome: Outcome) -> u64 {
    let (_, delivery, number) = world.right.delivery().await;
    world.right.settle("globex", delivery, outcome).await;
    number
}

const FAULT: Outcome = Outcome::Refused(Refusal::PeerFault);

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_now_is_tried_again_with_growing_pauses() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    let mut events = world.trace.subscribe();
    submit(&mut world.left, of('a', 1)).await;
    let mut last = Instant::now();
    globex(&mut world, FAULT).await;
    for seconds in [1.0, 2.0, 5.0, 15.0, 60.0, 60.0] {
        let (_, delivery, number) = world.right.delivery_of_any().await.into_number();
        let pause = last.elapsed().as_secs_f64();
        assert!((seconds * 0.8..seconds * 1.2 + 0.1).contains(&pause), "{pause} s after a pause of {seconds} s was due");
        assert_eq!(number, 1);
        last = Instant::now();
        world.right.settle("globex", delivery, Outcome::Refused(Refusal::TimedOut)).await;
    }
    assert_eq!(globex(&mut world, Outcome::Delivered).await, 1);
    world.until_depth("globex", 0).await;
    let deferred = std::iter::from_fn(|| events.try_recv().ok()).filter(|event| matches!(event.stage, Stage::Deferred(_)));
    assert_eq!(deferred.count(), 7);
}

/// A delivery as a number.
trait IntoNumber {
    fn into_number(self) -> (interchange_model::LinkId, DeliveryId, u64);
}

impl IntoNumber for (interchange_model::LinkId, DeliveryId, Arc<Envelope>) {
    fn into_number(self) -> (interchange_model::LinkId, DeliveryId, u64) {
        (self.0, self.1, u64::try_from(self.2.id.0).unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_waits_in_order_and_others_go_on() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    submit(&mut world.left, of('a', 1)).await;
    assert_eq!(globex(&mut world, FAULT).await, 1);
    for (letter, number) in [('a', 2), ('b', 3), ('a', 4), ('b', 5)] {
        submit(&mut world.left, of(letter, number)).await;
    }
    assert_eq!(globex(&mut world, Outcome::Delivered).await, 3);
    assert_eq!(globex(&mut world, Outcome::Delivered).await, 5);
    // The first finds out alone.
    assert_eq!(globex(&mut world, FAULT).await, 1);
    let (_, delivery, number) = world.right.delivery().await;
    assert_eq!(number, 1);
    world.right.quiet().await;
    world.right.settle("globex", delivery, Outcome::Delivered).await;
    for wanted in [2, 4] {
        assert_eq!(globex(&mut world, Outcome::Delivered).await, wanted);
    }
    world.until_depth("globex", 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_earlier_message_is_given_up_when_a_later_one_has_arrived() {
    let mut world = World::new().await;
    world.left.up("acme").await;
    world.right.up("globex").await;
    submit(&mut world.left, of('a', 1)).await;
    submit(&mut world.left, of('a', 2)).await;
    let (_, first, _) = world.right.delivery().await;
    let (_, second, _) = world.right.delivery().await;
    world.right.settle("globex", first, FAULT).await;
    submit(&mut world.left, of('a', 3)).await;
    world.right.quiet().await;
    world.right.settle("globex", second, Outcome::Delivered).await;
    assert_eq!(failure(&mut world.left).await, (1, Refusal::PeerFault));
    assert_eq!(globex(&mut world, Outcome::Delivered).await, 3);
    world.until_depth("globex", 0).await;
}

#[tokio::test(start_paused = true)]
async fn two_that_fail_together_are_tried_again_in_their_order() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    submit(&mut world.left, of('a', 1)).await;
    submit(&mut world.left, of('a', 2)).await;
    let (_, first, _) = world.right.delivery().await;
    let (_, second, _) = world.right.delivery().await;
    world.right.settle("globex", second, FAULT).await;
    world.right.settle("globex", first, FAULT).await;
    for wanted in [1, 2] {
        assert_eq!(globex(&mut world, Outcome::Delivered).await, wanted);
    }
    world.until_depth("globex", 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_waits_holds_up_no_more_than_its_share() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    submit(&mut world.left, of('a', 0)).await;
    globex(&mut world, FAULT).await;
    for number in 1..=130 {
        submit(&mut world.left, of('a', number)).await;
    }
    world.left.up("acme").await;
    // 128 wait with the first: the others' sender is told why.
    let mut refused = Vec::new();
    for _ in 0..3 {
        refused.push(failure(&mut world.left).await);
    }
    assert_eq!(refused, [(128, Refusal::PeerFault), (129, Refusal::PeerFault), (130, Refusal::PeerFault)]);
    submit(&mut world.left, of('b', 200)).await;
    loop {
        let (_, delivery, number) = world.right.delivery().await;
        if number == 200 {
            break;
        }
        world.right.settle("globex", delivery, FAULT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_given_up_while_its_conversation_waits() {
    let mut world = lived(10).await;
    world.right.up("globex").await;
    submit(&mut world.left, of('a', 1)).await;
    let accepted = Instant::now();
    globex(&mut world, FAULT).await;
    advance(Duration::from_millis(500)).await;
    submit(&mut world.left, of('a', 2)).await;
    let told = tokio::spawn(async move {
        let mut told = Vec::new();
        for _ in 0..2 {
            told.push((failure(&mut world.left).await, accepted.elapsed()));
        }
        told
    });
    // It fails at every try.
    let right = world.right;
    let failing = tokio::spawn(async move {
        let mut right = right;
        loop {
            let (link, delivery, _) = right.delivery_of_any().await;
            right.settle(link.as_str(), delivery, FAULT).await;
        }
    });
    let told = told.await.unwrap();
    failing.abort();
    assert_eq!([told[0].0, told[1].0], [(1, Refusal::Expired), (2, Refusal::Expired)]);
    assert!(told.iter().all(|(_, after)| (9..=12).contains(&after.as_secs())), "{told:?}");
}

/// A community whose messages live for so many seconds.
async fn lived(seconds: u32) -> World {
    let mut links = links();
    for link in &mut links {
        link.pace = Pace { time_to_live: seconds, ..link.pace };
    }
    let world = World::on(interchange_testkit::bus::FakeStorage::new(), links, 512).await;
    world.left.up("acme").await;
    world
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_given_up_while_its_link_is_down() {
    let mut world = lived(60).await;
    submit(&mut world.left, of('a', 1)).await;
    let accepted = Instant::now();
    advance(Duration::from_secs(30)).await;
    submit(&mut world.left, later(of('a', 2), accepted.elapsed())).await;
    assert_eq!(failure(&mut world.left).await, (1, Refusal::Expired));
    let first = accepted.elapsed();
    assert!((60..=90).contains(&first.as_secs()), "{first:?}");
    assert_eq!(failure(&mut world.left).await, (2, Refusal::Expired));
    let second = accepted.elapsed();
    assert!((90..=120).contains(&second.as_secs()), "{second:?}");
    world.until_depth("globex", 0).await;
    // One that comes when the queue was found empty.
    advance(Duration::from_secs(35)).await;
    submit(&mut world.left, later(of('a', 3), accepted.elapsed())).await;
    let accepted = Instant::now();
    assert_eq!(failure(&mut world.left).await, (3, Refusal::Expired));
    assert!((60..=90).contains(&accepted.elapsed().as_secs()), "{:?}", accepted.elapsed());
    // The link comes up in the end: nothing of it is handed over.
    world.right.up("globex").await;
    world.right.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_look_at_what_is_too_old_leaves_the_rest_in_its_place() {
    let mut world = lived(600).await;
    for number in 1..=3 {
        submit(&mut world.left, of('a', number)).await;
    }
    advance(Duration::from_secs(300)).await;
    world.right.quiet().await;
    world.right.up("globex").await;
    for wanted in 1..=3 {
        assert_eq!(globex(&mut world, Outcome::Delivered).await, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn expiry_waits_for_a_bus_that_takes_no_failures() {
    let mut world = lived(30).await;
    submit(&mut world.left, of('a', 1)).await;
    world.bus.refuse_publishing(Some(BusError::Unavailable("the test says so".to_owned())));
    advance(Duration::from_secs(31)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.depth("globex").await, 1, "it is not settled before its sender can be told");
    world.bus.refuse_publishing(None);
    assert_eq!(failure(&mut world.left).await, (1, Refusal::Expired));
    world.until_depth("globex", 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_is_answered_and_goes_no_further() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    let mut events = world.trace.subscribe();
    let first = of('a', 1);
    submit(&mut world.left, first.clone()).await;
    // The same from the peer's point of view: the hub gives each copy an id of its own.
    let again = |number: u128| Arc::new(Envelope { id: interchange_model::MessageId(number), ..(*first).clone() });
    submit(&mut world.left, again(2)).await;
    assert_eq!(globex(&mut world, Outcome::Delivered).await, 1);
    world.right.quiet().await;
    assert_eq!(world.depth("globex").await, 0);
    let duplicates = std::iter::from_fn(|| events.try_recv().ok()).filter(|event| event.stage == Stage::Duplicate);
    assert_eq!(duplicates.count(), 1);
    // Forgotten in the end.
    assert!(matches!(world.left.hear().await, Down::Delivered { .. }));
    advance(Duration::from_secs(601)).await;
    submit(&mut world.left, again(3)).await;
    assert_eq!(globex(&mut world, Outcome::Delivered).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_what_is_under_way_shares_its_answer() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    let first = of('a', 1);
    let again = Arc::new(Envelope { id: interchange_model::MessageId(2), ..(*first).clone() });
    for refusing in [true, false] {
        world.bus.refuse_publishing(refusing.then(|| BusError::Full("the test says so".to_owned())));
        for envelope in [&first, &again] {
            let token = Token(u64::try_from(envelope.id.0).unwrap());
            world.left.say(Up::Submit { token, link: "acme".into(), envelope: envelope.clone() }).await;
        }
        let result = if refusing { Err(Refusal::Overloaded) } else { Ok(()) };
        for token in [Token(1), Token(2)] {
            assert_eq!(world.left.hear().await, Down::Submitted { token, result });
        }
    }
    assert_eq!(globex(&mut world, Outcome::Delivered).await, 1);
    world.right.quiet().await;
}

/// The peer of globex breaks its link whenever it is handed message 5, and takes all others.
#[tokio::test(start_paused = true)]
async fn a_message_that_breaks_its_link_is_put_in_quarantine() {
    let mut world = World::new().await;
    world.left.up("acme").await;
    for (number, letter) in (1..=9).zip("abcdeabcd".chars()) {
        submit(&mut world.left, of(letter, number)).await;
    }
    let began = Instant::now();
    let (mut arrived, mut breaks) = (Vec::new(), 0);
    world.right.up("globex").await;
    while arrived.len() < 8 {
        let (_, delivery, number) = world.right.delivery().await;
        if number == 5 {
            breaks += 1;
            world.right.down("globex").await;
            while world.right.delivery_or_quiet().await.is_some() {}
            world.right.up("globex").await;
        } else {
            arrived.push(number);
            world.right.settle("globex", delivery, Outcome::Delivered).await;
        }
        assert!(breaks < 6, "it is never given up");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(failure(&mut world.left).await, (5, Refusal::PeerFault));
    arrived.sort_unstable();
    assert_eq!(arrived, [1, 2, 3, 4, 6, 7, 8, 9]);
    let dead = world.bus.storage().dead(&QueueId::Link("globex".into()));
    assert_eq!(dead.iter().map(|(envelope, _)| envelope.id.0).collect::<Vec<_>>(), [5]);
    world.until_depth("globex", 0).await;
}

/// A peer that breaks every link at once is broken itself: its messages wait.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_loses_few_messages() {
    let mut world = World::new().await;
    for number in 0..20 {
        submit(&mut world.left, of('a', number)).await;
    }
    for _ in 0..100 {
        world.right.up("globex").await;
        while world.right.delivery_or_quiet().await.is_some() {}
        world.right.down("globex").await;
    }
    assert_eq!(world.depth("globex").await, 16);
}

/// A link that merely breaks late, while a message happens to be in flight, says nothing about the message.
#[tokio::test(start_paused = true)]
async fn a_message_is_not_given_up_for_a_link_that_breaks_later() {
    let mut world = World::new().await;
    submit(&mut world.left, of('a', 1)).await;
    for _ in 0..10 {
        world.right.up("globex").await;
        assert_eq!(world.right.delivery().await.2, 1);
        advance(Duration::from_secs(6)).await;
        world.right.down("globex").await;
    }
    assert_eq!(world.depth("globex").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_changes_the_pace_changes_the_time_to_live() {
    let mut world = lived(600).await;
    submit(&mut world.left, of('a', 1)).await;
    let mut changed = links();
    for link in &mut changed {
        link.pace = Pace { time_to_live: 60, ..link.pace };
    }
    world.registry.send(registry(changed)).unwrap();
    assert!(matches!(world.left.hear().await, Down::Links { .. }));
    let accepted = Instant::now();
    assert_eq!(failure(&mut world.left).await, (1, Refusal::Expired));
    assert!(accepted.elapsed() < Duration::from_secs(90), "{:?}", accepted.elapsed());
}
