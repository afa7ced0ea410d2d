//! What is too much, or comes too often, is refused where it comes in, and its sender is told.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, envelope, links};
use interchange_broker::{Limits, Stage};
use interchange_model::{Body, Down, Envelope, Health, Outcome, Refusal, Text, Token, Up};
use interchange_testkit::bus::FakeStorage;

async fn world() -> World {
    World::limited(FakeStorage::new(), links(), 64, Limits::default()).await
}

/// A text with words of its own.
fn words(number: u64, words: &str) -> Arc<Envelope> {
    let body = Body::Text(Text { plain: words.into(), ..Text::default() });
    Arc::new(Envelope { body, ..(*envelope(number, "acme", "globex")).clone() })
}

async fn submitted(world: &mut World, envelope: Arc<Envelope>) -> Result<(), Refusal> {
    let token = Token(u64::try_from(envelope.id.0).unwrap());
    world.left.say(Up::Submit { token, link: "acme".into(), envelope }).await;
    match world.left.hear().await {
        Down::Submitted { token: answered, result } if answered == token => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn abuse_25_too_many_messages_are_refused_and_those_that_come_again_are_not() {
    let mut world = world().await;
    let mut events = world.trace.subscribe();
    for number in 1..=20 {
        assert_eq!(submitted(&mut world, words(number, &format!("words {number}"))).await, Ok(()));
    }
    let much = words(21, "words 21");
    assert_eq!(submitted(&mut world, much.clone()).await, Err(Refusal::RateLimited));
    // A repeat of what was taken is acknowledged all the same.
    assert_eq!(submitted(&mut world, words(20, "words 20")).await, Ok(()));
    assert_eq!(world.depth("globex").await, 20);
    let mut refused = 0;
    while let Ok(event) = events.try_recv() {
        refused += usize::from(event.stage == Stage::Refused(Refusal::RateLimited));
    }
    assert_eq!(refused, 1);
    // What was refused may be sent again, with its old id.
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(submitted(&mut world, much).await, Ok(()));
    assert_eq!(world.depth("globex").await, 21);
}

#[tokio::test(start_paused = true)]
async fn case_72_two_machines_that_answer_each_other_come_to_an_end() {
    let mut world = world().await;
    let mut events = world.trace.subscribe();
    for link in ["acme", "globex"] {
        world.left.health(link, Health::Up).await;
    }
    let mut answered = 0;
    loop {
        let outcome = submitted(&mut world, words(100 + answered, "I am away until Monday.")).await;
        if let Err(why) = outcome {
            assert_eq!(why, Refusal::Loop);
            break;
        }
        answered += 1;
        // The other machine answers what it gets.
        let (_, delivery, _) = world.right.delivery().await;
        world.right.settle("globex", delivery, Outcome::Delivered).await;
        assert!(matches!(world.left.hear().await, Down::Delivered { .. }));
    }
    assert_eq!(answered, 5, "the sixth is refused");
    let mut looped = 0;
    while let Ok(event) = events.try_recv() {
        looped += usize::from(event.stage == Stage::Refused(Refusal::Loop));
    }
    assert_eq!(looped, 1, "never silently");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(submitted(&mut world, words(200, "I am away until Monday.")).await, Ok(()));
}
