//! From submission to settlement: order, windows, links that come and go, failures, restarts.

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use common::{Platform, World, envelope, link, links, registry};
use interchange_bus::BusError;
use interchange_model::{
    Body, DeliveryId, Detail, Domain, Down, Envelope, Health, LinkId, Outcome, Pace, QueueId, Refusal, Token, Up,
};
use interchange_testkit::bus::FakeStorage;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_message_crosses_and_its_sender_hears_of_it() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    assert_eq!(world.left.submitted(1, "acme", "globex").await, Ok(()));
    let (link, delivery, number) = world.right.delivery().await;
    assert_eq!((link.as_str(), number), ("globex", 1));
    assert_eq!(world.depth("globex").await, 1, "stored until it is settled");
    world.right.settle("globex", delivery, Outcome::Delivered).await;
    assert_eq!(world.left.hear().await, Down::Delivered { link: "acme".into(), id: envelope(1, "acme", "globex").id });
    assert_eq!(world.depth("globex").await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_pass_is_refused_at_once_and_never_stored() {
    let mut world = World::new().await;
    assert_eq!(world.left.submitted(1, "acme", "nobody").await, Err(Refusal::UnknownDomain));
    assert_eq!(world.left.submitted(2, "acme", "acme").await, Err(Refusal::Loop));
    // Over a link of its own, with the address of another.
    let forged = envelope(3, "globex", "umbrella");
    world.left.say(Up::Submit { token: Token(3), link: "acme".into(), envelope: forged }).await;
    assert_eq!(world.left.hear().await, Down::Submitted { token: Token(3), result: Err(Refusal::NotYours) });
    // Its own address, and the origin of another: failures would go to the wrong link.
    let elsewhere = Arc::new(Envelope { origin: "umbrella".into(), ..(*envelope(4, "acme", "globex")).clone() });
    world.left.say(Up::Submit { token: Token(4), link: "acme".into(), envelope: elsewhere }).await;
    assert_eq!(world.left.hear().await, Down::Submitted { token: Token(4), result: Err(Refusal::NotYours) });
    assert!(world.bus.batches().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_more_is_handed_over_than_may_be_in_flight() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.warm_up().await;
    for number in 0..10 {
        world.left.submitted(number, "acme", "globex").await.unwrap();
    }
    let mut open = VecDeque::new();
    for wanted in 0..4 {
        let (_, delivery, number) = world.right.delivery().await;
        assert_eq!(number, wanted);
        open.push_back(delivery);
    }
    world.right.quiet().await;
    // Whichever is settled makes room for one.
    for wanted in 4..10 {
        let settled = open.remove(open.len() / 2).unwrap();
        world.right.settle("globex", settled, Outcome::Delivered).await;
        let (_, delivery, number) = world.right.delivery().await;
        assert_eq!(number, wanted);
        open.push_back(delivery);
    }
    world.right.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_to_a_link_before_it_is_up() {
    let mut world = World::new().await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    world.right.health("globex", Health::Connecting).await;
    world.right.down("globex").await;
    world.right.quiet().await;
    world.right.up("globex").await;
    assert_eq!(world.right.delivery().await.2, 1);
    // Said twice changes nothing.
    world.right.up("globex").await;
    world.right.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn order_survives_a_link_that_goes_away() {
    let mut world = World::new().await;
    for number in 0..40 {
        world.left.submitted(number, "acme", "globex").await.unwrap();
    }
    let mut expected = 0;
    for round in 0..20 {
        world.right.up("globex").await;
        let mut next = expected;
        let mut window = VecDeque::new();
        for _ in 0..2 {
            while window.is_empty() {
                let (_, delivery, number) = world.right.delivery().await;
                assert_eq!(number, next, "round {round}");
                next += 1;
                window.push_back(delivery);
            }
            world.right.settle("globex", window.pop_front().unwrap(), Outcome::Delivered).await;
            expected += 1;
        }
        // What else was handed over goes back.
        while let Some((_, delivery, number)) = world.right.delivery_or_quiet().await {
            assert_eq!(number, next, "round {round}");
            next += 1;
            window.push_back(delivery);
        }
        if round % 2 == 0
            && let Some(last) = window.back()
        {
            world.right.settle("globex", *last, Outcome::LinkDown).await;
        }
        world.right.down("globex").await;
        // Too late: it has gone back.
        for late in window {
            world.right.settle("globex", late, Outcome::Delivered).await;
        }
        world.right.quiet().await;
    }
    assert_eq!(expected, 40);
    assert_eq!(world.depth("globex").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_back_while_the_link_is_up_is_handed_over_again() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.warm_up().await;
    for number in 0..6 {
        world.left.submitted(number, "acme", "globex").await.unwrap();
    }
    let mut window = Vec::new();
    for _ in 0..4 {
        window.push(world.right.delivery().await.1);
    }
    world.right.settle("globex", window[1], Outcome::LinkDown).await;
    // Nothing new goes out, and the others may still be settled.
    world.right.settle("globex", window[0], Outcome::Delivered).await;
    world.right.settle("globex", window[2], Outcome::Delivered).await;
    world.right.quiet().await;
    world.right.settle("globex", window[3], Outcome::Delivered).await;
    for wanted in [1, 4] {
        assert_eq!(world.right.delivery().await.2, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_back_does_not_wait_for_ever_for_the_others() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    for number in 0..2 {
        world.left.submitted(number, "acme", "globex").await.unwrap();
    }
    let (_, first, _) = world.right.delivery().await;
    world.right.delivery().await;
    world.right.settle("globex", first, Outcome::LinkDown).await;
    for wanted in 0..2 {
        assert_eq!(world.right.delivery().await.2, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_comes_back_as_a_failure() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.left.up("acme").await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let (_, delivery, _) = world.right.delivery().await;
    world.right.settle("globex", delivery, Outcome::Refused(Refusal::NoSuchUser)).await;
    let Down::Deliver { link, delivery, envelope: failure } = world.left.hear().await else { panic!("no failure") };
    let original = envelope(1, "acme", "globex");
    assert_eq!((link.as_str(), &failure.to, &failure.from), ("acme", &original.from, &original.to));
    let Body::Failure(body) = &failure.body else { panic!("{failure:?}") };
    assert_eq!((body.of, body.native_id.as_deref(), body.why), (Some(original.id), Some("native-1"), Refusal::NoSuchUser));
    world.until_depth("globex", 0).await;
    world.left.settle("acme", delivery, Outcome::Delivered).await;
    world.until_depth("acme", 0).await;
    // Nobody submitted the failure, so nobody is told that it arrived.
    world.left.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn abuse_33_what_was_said_beside_a_refusal_reaches_the_sender_also_after_more_tries() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.left.up("acme").await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let said = Detail::Parts { arrived: 2, of: 3 };
    let (_, delivery, _) = world.right.delivery().await;
    world.right.settle("globex", delivery, Outcome::RefusedWith(Refusal::PeerFault, Detail::Parts { arrived: 1, of: 3 })).await;
    let (_, delivery, _) = world.right.delivery().await;
    world.right.settle("globex", delivery, Outcome::RefusedWith(Refusal::NoSuchUser, said)).await;
    let Down::Deliver { envelope: failure, .. } = world.left.hear().await else { panic!("no failure") };
    let Body::Failure(body) = &failure.body else { panic!("{failure:?}") };
    assert_eq!((body.why, body.detail), (Refusal::NoSuchUser, Some(said)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_refused_goes_nowhere() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.left.up("acme").await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let (_, delivery, _) = world.right.delivery().await;
    world.right.settle("globex", delivery, Outcome::Refused(Refusal::Unsupported)).await;
    let Down::Deliver { delivery, .. } = world.left.hear().await else { panic!("no failure") };
    world.left.settle("acme", delivery, Outcome::Refused(Refusal::NoSuchUser)).await;
    world.until_depth("acme", 0).await;
    world.right.quiet().await;
    world.left.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_settled_only_when_its_failure_is_stored() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.left.up("acme").await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let (_, delivery, _) = world.right.delivery().await;
    world.bus.refuse_publishing(Some(BusError::Unavailable("the test says so".to_owned())));
    world.right.settle("globex", delivery, Outcome::Refused(Refusal::NoSuchUser)).await;
    world.left.quiet().await;
    assert_eq!(world.depth("globex").await, 1, "it is not settled");
    world.bus.refuse_publishing(None);
    assert!(matches!(world.left.hear().await, Down::Deliver { .. }), "the failure comes when the bus is back");
    world.until_depth("globex", 0).await;
    world.right.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_failure_has_the_same_id() {
    let mut ids = Vec::new();
    let storage = FakeStorage::new();
    let original = envelope(1, "acme", "globex");
    for _ in 0..2 {
        let mut world = World::on(storage.clone(), links(), 64).await;
        world.right.up("globex").await;
        world.left.up("acme").await;
        world.left.say(Up::Submit { token: Token(1), link: "acme".into(), envelope: original.clone() }).await;
        assert!(matches!(world.left.hear().await, Down::Submitted { .. }));
        let (_, delivery, _) = world.right.delivery().await;
        world.right.settle("globex", delivery, Outcome::Refused(Refusal::NoSuchUser)).await;
        let Down::Deliver { delivery, envelope, .. } = world.left.hear().await else { panic!("no failure") };
        ids.push(envelope.id);
        world.left.settle("acme", delivery, Outcome::Delivered).await;
        world.until_depth("acme", 0).await;
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_takes_nothing_is_said_to_the_sender() {
    let mut world = World::new().await;
    world.bus.refuse_publishing(Some(BusError::Full("the test says so".to_owned())));
    assert_eq!(world.left.submitted(1, "acme", "globex").await, Err(Refusal::Overloaded));
    world.bus.refuse_publishing(None);
    assert_eq!(world.left.submitted(2, "acme", "globex").await, Ok(()));
    world.right.up("globex").await;
    assert_eq!(world.right.delivery().await.2, 2);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_down_delays_no_other() {
    let mut world = World::new().await;
    world.right.up("umbrella").await;
    for number in 0..500 {
        world.left.submitted(number, "acme", "globex").await.unwrap();
    }
    world.left.submitted(500, "acme", "umbrella").await.unwrap();
    let (link, _, number) = world.right.delivery().await;
    assert_eq!((link.as_str(), number), ("umbrella", 500));
    assert_eq!(world.depth("globex").await, 500);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_delivered_after_a_restart() {
    let storage = FakeStorage::new();
    let mut world = World::on(storage.clone(), links(), 64).await;
    world.right.up("globex").await;
    for number in 0..10 {
        world.left.submitted(number, "acme", "globex").await.unwrap();
    }
    for _ in 0..2 {
        world.right.delivery().await;
    }
    // A kill: nothing was settled.
    drop(world);
    let mut world = World::on(storage, links(), 64).await;
    world.right.quiet().await;
    world.right.up("globex").await;
    for wanted in 0..10 {
        let (_, delivery, number) = world.right.delivery().await;
        assert_eq!(number, wanted);
        world.right.settle("globex", delivery, Outcome::Delivered).await;
    }
    world.until_depth("globex", 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_is_in_flight_and_still_takes_in() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.warm_up().await;
    for number in 0..10 {
        world.left.submitted(number, "acme", "globex").await.unwrap();
    }
    let mut window = Vec::new();
    for _ in 0..4 {
        window.push(world.right.delivery().await.1);
    }
    let stopping = tokio::spawn(world.broker.take().unwrap().stop());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.left.submitted(10, "acme", "globex").await, Ok(()), "a restart refuses nobody");
    for delivery in window {
        world.right.settle("globex", delivery, Outcome::Delivered).await;
    }
    timeout(Duration::from_secs(5), stopping).await.expect("all was settled").unwrap();
    assert_eq!(world.depth("globex").await, 7, "nothing more was handed over");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    world.right.delivery().await;
    let stopping = world.broker.take().unwrap().stop();
    timeout(interchange_broker::STOP_LIMIT + Duration::from_secs(1), stopping).await.expect("it ends");
    assert_eq!(world.depth("globex").await, 1);
}

#[tokio::test(start_paused = true)]
async fn links_come_and_go_while_it_runs() {
    let mut world = World::new().await;
    // globex leaves, hooli comes.
    let mut changed = links();
    changed.remove(2);
    changed.push(link("hooli", "right"));
    world.right.up("globex").await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let (_, delivery, _) = world.right.delivery().await;
    world.registry.send(registry(changed)).unwrap();
    for (platform, wanted) in [(&mut world.left, vec!["acme", "initech"]), (&mut world.right, vec!["umbrella", "hooli"])] {
        let Down::Links { links, hosted } = platform.hear().await else { panic!("no links") };
        assert_eq!(links.iter().map(|link| link.id.as_str()).collect::<Vec<_>>(), wanted);
        assert!(hosted.contains(&Domain::parse("hooli.example").unwrap()));
    }
    // Its last word comes too late and does no harm; new messages for it are refused; what is stored stays.
    world.right.settle("globex", delivery, Outcome::Delivered).await;
    world.right.up("globex").await;
    assert_eq!(world.left.submitted(2, "acme", "globex").await, Err(Refusal::UnknownDomain));
    world.left.submitted(3, "acme", "hooli").await.unwrap();
    world.right.up("hooli").await;
    let (link, _, number) = world.right.delivery().await;
    assert_eq!((link.as_str(), number), ("hooli", 3));
    assert_eq!(world.depth("globex").await, 1);
    // A submission of a link that has just gone is answered all the same.
    let late = envelope(4, "globex", "acme");
    world.right.say(Up::Submit { token: Token(4), link: "globex".into(), envelope: late }).await;
    assert_eq!(world.right.hear().await, Down::Submitted { token: Token(4), result: Err(Refusal::NotYours) });
    // It returns, and so does its message.
    world.registry.send(registry(links())).unwrap();
    assert!(matches!(world.right.hear().await, Down::Links { .. }));
    world.right.up("globex").await;
    assert_eq!(world.right.delivery().await.2, 1);
}

/// Also where the hub was restarted meanwhile.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_link_that_is_gone_comes_back_to_its_sender_when_it_is_too_old() {
    let storage = FakeStorage::new();
    let mut world = World::on(storage.clone(), links(), 1024).await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let mut changed = links();
    changed.remove(2);
    world.registry.send(registry(changed.clone())).unwrap();
    assert!(matches!(world.left.hear().await, Down::Links { .. }));
    sleep(Duration::from_secs(12 * 60 * 60)).await;
    assert_eq!((world.depth("globex").await, world.depth("acme").await), (1, 0));
    drop(world);
    let mut world = World::on(storage, changed, 1024).await;
    sleep(Duration::from_secs(25 * 60 * 60)).await;
    world.until_depth("globex", 0).await;
    world.left.up("acme").await;
    let (_, _, failure) = world.left.delivery_of_any().await;
    assert!(matches!(&failure.body, Body::Failure(failure) if failure.why == Refusal::Expired), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_pace_holds_at_once() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.warm_up().await;
    for number in 0..10 {
        world.left.submitted(number, "acme", "globex").await.unwrap();
    }
    for _ in 0..4 {
        world.right.delivery().await;
    }
    let mut changed = links();
    changed[2].pace = Pace { in_flight: 6, ..Pace::default() };
    world.registry.send(registry(changed)).unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < 2 {
        match world.right.hear().await {
            Down::Deliver { envelope, .. } => numbers.push(envelope.id.0),
            other => assert!(matches!(other, Down::Links { .. })),
        }
    }
    assert_eq!(numbers, [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_for_a_link_that_is_gone_goes_nowhere() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let (_, delivery, _) = world.right.delivery().await;
    world.registry.send(registry(links()[1..].to_vec())).unwrap();
    assert!(matches!(world.right.hear().await, Down::Links { .. }));
    world.right.settle("globex", delivery, Outcome::Refused(Refusal::NoSuchUser)).await;
    world.until_depth("globex", 0).await;
    assert_eq!(world.depth("acme").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_of_nothing_is_ignored() {
    let mut world = World::new().await;
    world.right.up("globex").await;
    world.right.settle("globex", DeliveryId(99), Outcome::Delivered).await;
    world.right.settle("nobody", DeliveryId(99), Outcome::Refused(Refusal::Loop)).await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let (_, delivery, _) = world.right.delivery().await;
    world.right.settle("globex", delivery, Outcome::Delivered).await;
    world.right.settle("globex", delivery, Outcome::Refused(Refusal::NoSuchUser)).await;
    world.until_depth("globex", 0).await;
    assert!(matches!(world.left.hear().await, Down::Delivered { .. }));
    world.left.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn health_is_shown_as_it_was_last_said() {
    let mut world = World::new().await;
    let health = world.broker.as_ref().unwrap().health();
    assert_eq!(health.borrow().len(), 4);
    assert!(health.borrow().values().all(|health| *health == Health::Connecting));
    world.right.up("globex").await;
    world.left.submitted(1, "acme", "nobody").await.unwrap_err();
    assert_eq!(health.borrow()[&LinkId::from("globex")], Health::Up);
}

#[tokio::test(start_paused = true)]
async fn submissions_that_gather_share_a_batch() {
    let mut world = World::on(FakeStorage::new(), links(), 2048).await;
    for number in 0..1500 {
        world.left.submit(number, "acme", "globex").await;
    }
    for number in 0..1500 {
        assert_eq!(world.left.hear().await, Down::Submitted { token: Token(number), result: Ok(()) });
    }
    let batches = world.bus.batches();
    assert!(batches.len() < 20 && batches.iter().all(|size| *size <= 256), "{batches:?}");
    let stored = world.bus.storage().stored(&QueueId::Link("globex".into()));
    assert!(stored.iter().map(|envelope| envelope.id.0).eq(0..1500), "in the order of submission");
}

/// A platform as a driver runs it: it always hears the broker, and what it wants to say waits in a list of its own.
async fn drive(mut platform: Platform, mut to_say: VecDeque<Up>, mut expected: usize, delivered: mpsc::Sender<u64>) -> usize {
    let mut answers = to_say.len();
    let mut most = 0;
    let mut open = 0_usize;
    while expected > 0 || answers > 0 || !to_say.is_empty() {
        tokio::select! {
            biased;
            permit = platform.up.reserve(), if !to_say.is_empty() => {
                let word = to_say.pop_front().unwrap();
                open -= usize::from(matches!(word, Up::Settle { .. }));
                permit.unwrap().send(word);
            }
            word = platform.down.recv() => match word.unwrap() {
                Down::Deliver { link, delivery, envelope } => {
                    expected -= 1;
                    open += 1;
                    most = most.max(open);
                    delivered.send(u64::try_from(envelope.id.0).unwrap()).await.unwrap();
                    to_say.push_front(Up::Settle { link, delivery, outcome: Outcome::Delivered });
                }
                Down::Submitted { result, .. } => {
                    result.unwrap();
                    answers -= 1;
                }
                _ => {}
            },
        }
    }
    most
}

/// Both ways at once, through channels of eight: whoever waited for the other while being waited for would stand still here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_messages_each_way_come_whole_and_in_order() {
    const COUNT: u64 = 20_000;
    let World { left, right, broker, bus, registry, .. } = World::on(FakeStorage::new(), links(), 8).await;
    left.up("acme").await;
    right.up("globex").await;
    let submissions = |from: &'static str, to: &'static str| -> VecDeque<Up> {
        let submit = |number| Up::Submit { token: Token(number), link: from.into(), envelope: envelope(number, from, to) };
        (0..COUNT).map(submit).collect()
    };
    let (left_sender, mut left_delivered) = mpsc::channel(64);
    let (right_sender, mut right_delivered) = mpsc::channel(64);
    let count = usize::try_from(COUNT).unwrap();
    let left = tokio::spawn(drive(left, submissions("acme", "globex"), count, left_sender));
    let right = tokio::spawn(drive(right, submissions("globex", "acme"), count, right_sender));
    let check = async |receiver: &mut mpsc::Receiver<u64>| {
        for wanted in 0..COUNT {
            let number = timeout(Duration::from_secs(60), receiver.recv()).await.expect("it does not stand still");
            assert_eq!(number, Some(wanted));
        }
    };
    tokio::join!(check(&mut right_delivered), check(&mut left_delivered));
    for most in [left.await.unwrap(), right.await.unwrap()] {
        assert!(most <= 4, "{most} were in flight");
    }
    broker.unwrap().stop().await;
    drop((registry, Arc::clone(&bus)));
    for queue in ["acme", "globex"] {
        assert!(bus.storage().stored(&QueueId::Link(queue.into())).is_empty());
    }
}
