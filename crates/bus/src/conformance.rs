//! What every bus must do, as plain functions that panic when it does not.
//!
//! An implementation gives a [`Storage`] to [`conformance_suite!`](crate::conformance_suite), which knows all of them. Each function wants storage of its own, empty at the start.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use interchange_model::{Address, Body, DeliveryId, Envelope, LinkId, MessageId, QueueId, Text};
use tokio::time::timeout;

use crate::{Bus, BusError, Lease, Queue, Verdict};

/// Where a bus keeps its envelopes; outlives the bus.
pub trait Storage: Send + Sync {
    /// The bus under test.
    type Bus: Bus;

    /// Opens a bus on this storage. The one opened before was dropped, without any farewell: for the new one that is a kill.
    fn open(&self) -> impl Future<Output = Self::Bus> + Send;

    /// Opens a bus on this storage that is full after some number of envelopes of 1,000 bytes, at least 10 and fewer than 1,000.
    fn open_small(&self) -> impl Future<Output = Self::Bus> + Send;

    /// The bus stores each envelope by itself: it counts them exactly, and knows of each whether it was handed out.
    fn one_by_one(&self) -> bool {
        true
    }
}

/// The depth is `wanted`; or, where several envelopes share a record, soon not more, and nothing only when nothing waits.
async fn assert_depth<S: Storage>(storage: &S, bus: &S::Bus, link: &str, wanted: u64) {
    if storage.one_by_one() {
        assert_eq!(bus.depth(&queue(link)).await, Ok(wanted), "the depth of {link}");
    } else {
        depth_within(bus, link, wanted.min(1), wanted).await;
    }
}

/// Waits until the depth is in this range: a server may take a moment to notice that a reader has gone.
async fn depth_within<B: Bus>(bus: &B, link: &str, least: u64, most: u64) -> u64 {
    let mut depth = 0;
    for _ in 0..100 {
        depth = bus.depth(&queue(link)).await.unwrap();
        if (least..=most).contains(&depth) {
            return depth;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the depth of {link} is said to be {depth}, not {least} to {most}");
}

/// The whole suite, listed once. `conformance_suite!(tests: EXPRESSION)` makes a test of each function, for a crate that has tokio;
/// `conformance_suite!(run: EXPRESSION)`, inside an async function, runs one after the other. The expression gives new, empty storage
/// each time.
#[macro_export]
macro_rules! conformance_suite {
    ($how:ident: $storage:expr) => {
        $crate::conformance_suite! { @$how $storage;
            envelopes_come_in_the_order_in_which_they_were_published
            what_is_settled_is_gone
            dropping_a_queue_puts_back_what_is_not_settled
            settling_out_of_order_leaves_the_rest_in_order
            a_kill_loses_nothing_that_was_published
            what_was_flushed_stays_settled_after_a_kill
            a_full_bus_refuses_and_recovers
            a_queue_has_one_reader
            a_hundred_reopenings_change_nothing
            queues_are_apart
            a_waiting_reader_is_woken
            large_batches_come_whole
            concurrent_publishers_keep_each_publishers_order
            the_dead_are_kept_and_never_handed_out
            waiting_tells_where_things_are
            leases_are_told_apart
            a_dropped_next_has_leased_nothing
            a_slow_reader_misses_nothing
        }
    };
    (@tests $storage:expr; $($name:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::conformance::$name(&$storage).await;
            }
        )*
    };
    (@run $storage:expr; $($name:ident)*) => {
        $($crate::conformance::$name(&$storage).await;)*
    };
}

/// The queue of a link.
#[must_use]
pub fn queue(link: &str) -> QueueId {
    QueueId::Link(LinkId::from(link))
}

/// An envelope with this number as its id, accepted as many milliseconds after 1970.
#[must_use]
pub fn envelope(number: u64) -> Arc<Envelope> {
    sized(number, 20)
}

/// As [`envelope`], with so many bytes of text.
#[must_use]
pub fn sized(number: u64, bytes: usize) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: MessageId(u128::from(number)),
        origin: "acme".into(),
        from: Address::parse("alice@acme.example").expect("a constant address"),
        from_device: None,
        to: Address::parse("bob@globex.example").expect("a constant address"),
        to_device: None,
        native_id: None,
        accepted: accepted(number),
        hops: Envelope::FULL_HOPS,
        native: None,
        body: Body::Text(Text { plain: "x".repeat(bytes).as_str().into(), ..Text::default() }),
    })
}

fn accepted(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(number)
}

fn batch(link: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<(QueueId, Arc<Envelope>)> {
    numbers.into_iter().map(|number| (queue(link), envelope(number))).collect()
}

fn number(lease: &Lease) -> u64 {
    u64::try_from(lease.envelope.id.0).expect("a number given by this suite")
}

/// The next lease, which must come soon.
async fn next<Q: Queue>(queue: &mut Q) -> Lease {
    timeout(Duration::from_secs(20), queue.next()).await.expect("an envelope waits").expect("the bus can be read")
}

/// Nothing comes.
async fn nothing<Q: Queue>(queue: &mut Q) {
    let more = timeout(Duration::from_millis(50), queue.next()).await;
    assert!(more.is_err(), "nothing should wait, and this came: {more:?}");
}

async fn leases<Q: Queue>(queue: &mut Q, count: u64) -> Vec<Lease> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(next(queue).await);
    }
    all
}

async fn numbers<Q: Queue>(queue: &mut Q, count: u64) -> Vec<u64> {
    leases(queue, count).await.iter().map(number).collect()
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..to).collect()
}

/// Whether published before or after the queue was opened.
pub async fn envelopes_come_in_the_order_in_which_they_were_published<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("a", 0..10)).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    assert_eq!(numbers(&mut reader, 5).await, range(0, 5));
    bus.publish(batch("a", 10..20)).await.unwrap();
    assert_eq!(numbers(&mut reader, 15).await, range(5, 20));
    let lease = {
        bus.publish(vec![(queue("a"), sized(77, 5000))]).await.unwrap();
        next(&mut reader).await
    };
    assert_eq!(*lease.envelope, *sized(77, 5000), "it is what was published");
    nothing(&mut reader).await;
}

/// At once, for every later reader, and once only.
pub async fn what_is_settled_is_gone<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("a", 0..10)).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let all = leases(&mut reader, 10).await;
    assert_depth(storage, &bus, "a", 10).await;
    for lease in &all[..7] {
        reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
    assert_depth(storage, &bus, "a", 3).await;
    assert_eq!(reader.settle(all[0].delivery, Verdict::Done).await, Err(BusError::NotLeased), "settled twice");
    assert_eq!(reader.settle(DeliveryId(u64::MAX), Verdict::Done).await, Err(BusError::NotLeased), "never leased");
    assert_depth(storage, &bus, "a", 3).await;
    drop(reader);
    let mut reader = bus.open(&queue("a")).await.unwrap();
    assert_eq!(numbers(&mut reader, 3).await, [7, 8, 9]);
    nothing(&mut reader).await;
}

/// In their old places, before everything newer, and marked.
pub async fn dropping_a_queue_puts_back_what_is_not_settled<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    let mut reader = bus.open(&queue("a")).await.unwrap();
    bus.publish(batch("a", 0..10)).await.unwrap();
    let all = leases(&mut reader, 6).await;
    assert!(all.iter().all(|lease| !lease.redelivered), "handed out for the first time");
    reader.settle(all[1].delivery, Verdict::Done).await.unwrap();
    reader.settle(all[4].delivery, Verdict::Done).await.unwrap();
    drop(reader);
    bus.publish(batch("a", 10..12)).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let again = leases(&mut reader, 10).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [0, 2, 3, 5, 6, 7, 8, 9, 10, 11]);
    assert!(again[..4].iter().all(|lease| lease.redelivered), "handed out before");
    assert!(again[9].redelivered <= again[8].redelivered, "published later, handed out later");
    if storage.one_by_one() {
        assert!(again[4..].iter().all(|lease| !lease.redelivered), "never handed out before");
    }
    nothing(&mut reader).await;
}

/// As peers answer in any order.
pub async fn settling_out_of_order_leaves_the_rest_in_order<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("a", 0..200)).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    for lease in leases(&mut reader, 200).await.iter().rev() {
        if !number(lease).is_multiple_of(3) {
            reader.settle(lease.delivery, Verdict::Done).await.unwrap();
        }
    }
    bus.flush().await.unwrap();
    drop(reader);
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let rest: Vec<u64> = (0..200).filter(|number| number % 3 == 0).collect();
    assert_eq!(numbers(&mut reader, rest.len() as u64).await, rest);
    nothing(&mut reader).await;
}

/// The bus is dropped with leases open, and opened again.
pub async fn a_kill_loses_nothing_that_was_published<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("a", 0..10)).await.unwrap();
    bus.publish(batch("b", 20..22)).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let _leased = leases(&mut reader, 4).await;
    drop(reader);
    drop(bus);
    let bus = storage.open().await;
    assert_depth(storage, &bus, "a", 10).await;
    bus.publish(batch("a", 10..12)).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let all = leases(&mut reader, 12).await;
    assert_eq!(all.iter().map(number).collect::<Vec<_>>(), range(0, 12));
    assert!(all[..4].iter().all(|lease| lease.redelivered), "handed out before the kill");
    assert!(all[10..].iter().all(|lease| !lease.redelivered), "published after the kill");
    let mut other = bus.open(&queue("b")).await.unwrap();
    assert_eq!(numbers(&mut other, 2).await, [20, 21]);
}

/// Also when everything was settled and the store is empty.
pub async fn what_was_flushed_stays_settled_after_a_kill<S: Storage>(storage: &S) {
    for _round in 0..3 {
        let bus = storage.open().await;
        assert_depth(storage, &bus, "a", 0).await;
        bus.publish(batch("a", 0..20)).await.unwrap();
        let mut reader = bus.open(&queue("a")).await.unwrap();
        for lease in leases(&mut reader, 20).await {
            reader.settle(lease.delivery, Verdict::Done).await.unwrap();
        }
        bus.flush().await.unwrap();
    }
    let bus = storage.open().await;
    assert_eq!(bus.waiting().await, Ok(Vec::new()));
    nothing(&mut bus.open(&queue("a")).await.unwrap()).await;
}

/// It refuses whole batches, keeps what it has, and takes more once something was settled.
pub async fn a_full_bus_refuses_and_recovers<S: Storage>(storage: &S) {
    let bus = storage.open_small().await;
    let mut stored = 0;
    let refusal = loop {
        let batch = vec![(queue("a"), sized(stored, 1000)), (queue("a"), sized(stored + 1, 1000))];
        match bus.publish(batch).await {
            Ok(()) => stored += 2,
            Err(refusal) => break refusal,
        }
        assert!(stored < 1000, "it never became full");
    };
    assert!(matches!(refusal.error, BusError::Full(_)), "{refusal:?}");
    assert!(refusal.concerns(0) && refusal.concerns(1), "{refusal:?}");
    assert!(stored >= 10, "it became full after {stored}");
    assert_depth(storage, &bus, "a", stored).await;
    let mut reader = bus.open(&queue("a")).await.unwrap();
    for lease in leases(&mut reader, stored).await {
        reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
    nothing(&mut reader).await;
    bus.flush().await.unwrap();
    bus.publish(batch("a", [100_000, 100_001])).await.expect("there is room again");
    assert_eq!(numbers(&mut reader, 2).await, [100_000, 100_001]);
}

/// A second one is refused while the first lives.
pub async fn a_queue_has_one_reader<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    let reader = bus.open(&queue("a")).await.unwrap();
    assert_eq!(bus.open(&queue("a")).await.err(), Some(BusError::Taken));
    let _other = bus.open(&queue("b")).await.expect("another queue is free");
    drop(reader);
    bus.open(&queue("a")).await.expect("free again at once");
}

/// As a link flaps.
pub async fn a_hundred_reopenings_change_nothing<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("a", 0..300)).await.unwrap();
    for round in 0..100 {
        let mut reader = bus.open(&queue("a")).await.unwrap();
        let some = leases(&mut reader, 5).await;
        assert_eq!(some.iter().map(number).collect::<Vec<_>>(), range(round, round + 5));
        reader.settle(some[0].delivery, Verdict::Done).await.unwrap();
        bus.publish(batch("a", [300 + round])).await.unwrap();
    }
    let mut reader = bus.open(&queue("a")).await.unwrap();
    assert_eq!(numbers(&mut reader, 300).await, range(100, 400));
    nothing(&mut reader).await;
}

/// Five hundred of them, filled by the same batches.
pub async fn queues_are_apart<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    for round in 0..4 {
        let batch = (0..500).map(|link| (queue(&link.to_string()), envelope(round * 1000 + link))).collect();
        bus.publish(batch).await.unwrap();
    }
    for link in 0..500 {
        let mut reader = bus.open(&queue(&link.to_string())).await.unwrap();
        let all = leases(&mut reader, 4).await;
        assert_eq!(all.iter().map(number).collect::<Vec<_>>(), [link, 1000 + link, 2000 + link, 3000 + link]);
        for lease in &all[..2] {
            reader.settle(lease.delivery, Verdict::Done).await.unwrap();
        }
    }
    drop(bus);
    let bus = storage.open().await;
    for link in 0..500 {
        // Settlements may be lost by a kill, envelopes not.
        let depth = depth_within(&bus, &link.to_string(), 2, 4).await;
        let mut reader = bus.open(&queue(&link.to_string())).await.unwrap();
        let all = numbers(&mut reader, depth).await;
        assert_eq!(all[all.len() - 2..], [2000 + link, 3000 + link]);
    }
}

/// By a publish that comes while it waits.
pub async fn a_waiting_reader_is_woken<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    let mut reader = bus.open(&queue("a")).await.unwrap();
    for round in 0..50 {
        let (lease, published) = tokio::join!(next(&mut reader), async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            bus.publish(batch("a", [round])).await
        });
        published.unwrap();
        assert_eq!(number(&lease), round);
        reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
}

/// Ten thousand at once, and with larger texts.
pub async fn large_batches_come_whole<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("a", 0..10_000)).await.unwrap();
    bus.publish((0..20).map(|number| (queue("b"), sized(number, 200_000))).collect()).await.unwrap();
    bus.publish(Vec::new()).await.expect("an empty batch is no error");
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 10_000 {
        let some = leases(&mut reader, 1_000).await;
        seen.extend(some.iter().map(number));
        for lease in some {
            reader.settle(lease.delivery, Verdict::Done).await.unwrap();
        }
    }
    assert_eq!(seen, range(0, 10_000));
    let mut reader = bus.open(&queue("b")).await.unwrap();
    for wanted in 0..20 {
        assert_eq!(*next(&mut reader).await.envelope, *sized(wanted, 200_000));
    }
}

/// Four of them, one reader.
pub async fn concurrent_publishers_keep_each_publishers_order<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let publisher = |base: u64| {
        let bus = &bus;
        async move {
            for step in 0..100 {
                bus.publish(batch("a", [base + 2 * step, base + 2 * step + 1])).await.unwrap();
            }
        }
    };
    let reading = async {
        let mut seen = Vec::new();
        for _ in 0..800 {
            let lease = next(&mut reader).await;
            seen.push(number(&lease));
            reader.settle(lease.delivery, Verdict::Done).await.unwrap();
        }
        seen
    };
    let (seen, ..) = tokio::join!(reading, publisher(0), publisher(1000), publisher(2000), publisher(3000));
    for base in [0, 1000, 2000, 3000] {
        let own: Vec<u64> = seen.iter().copied().filter(|number| number / 1000 == base / 1000).collect();
        assert_eq!(own, range(base, base + 200));
    }
    assert!(seen.chunks(2).all(|pair| pair[1] == pair[0] + 1), "each batch stays whole");
}

/// Also after a reopening and a kill; they are counted.
pub async fn the_dead_are_kept_and_never_handed_out<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    for number in 0..3 {
        bus.publish(batch("a", [number])).await.unwrap();
    }
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let all = leases(&mut reader, 3).await;
    reader.settle(all[1].delivery, Verdict::Dead { why: "nobody can carry it".to_owned() }).await.unwrap();
    assert_depth(storage, &bus, "a", 2).await;
    drop(reader);
    let mut reader = bus.open(&queue("a")).await.unwrap();
    assert_eq!(numbers(&mut reader, 2).await, [0, 2]);
    drop(reader);
    bus.flush().await.unwrap();
    assert_eq!(bus.quarantined(&queue("a")).await, Ok(1));
    assert_eq!(bus.quarantined(&queue("b")).await, Ok(0));
    drop(bus);
    let bus = storage.open().await;
    assert_eq!(bus.quarantined(&queue("a")).await, Ok(1));
    assert_eq!(numbers(&mut bus.open(&queue("a")).await.unwrap(), 2).await, [0, 2]);
}

/// Depth and age, of queues with something in them only.
pub async fn waiting_tells_where_things_are<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("b", [500, 501, 502])).await.unwrap();
    bus.publish(batch("a", [100])).await.unwrap();
    bus.publish(batch("c", [7])).await.unwrap();
    let mut reader = bus.open(&queue("b")).await.unwrap();
    let lease = next(&mut reader).await;
    reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    let mut empty = bus.open(&queue("c")).await.unwrap();
    let lease = next(&mut empty).await;
    empty.settle(lease.delivery, Verdict::Done).await.unwrap();
    let waiting = bus.waiting().await.unwrap();
    let told: Vec<_> = waiting.iter().map(|entry| (entry.queue.name(), entry.depth, entry.oldest)).collect();
    if storage.one_by_one() {
        assert_eq!(told, [("link:a".to_owned(), 1, Some(accepted(100))), ("link:b".to_owned(), 2, Some(accepted(501)))]);
    } else {
        assert_eq!(waiting.iter().map(|entry| entry.queue.name()).collect::<Vec<_>>(), ["link:a", "link:b"]);
        assert!(waiting[0].oldest.is_none_or(|oldest| oldest == accepted(100)), "{waiting:?}");
        assert!(waiting[1].oldest.is_none_or(|oldest| oldest == accepted(501)), "{waiting:?}");
    }
    assert_eq!(bus.depth(&queue("unknown")).await, Ok(0));
}

/// A delivery id is never given twice while the bus is open.
pub async fn leases_are_told_apart<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("a", 0..5)).await.unwrap();
    bus.publish(batch("b", 0..5)).await.unwrap();
    let mut seen = std::collections::HashSet::new();
    let mut late = None;
    for _ in 0..3 {
        let mut a = bus.open(&queue("a")).await.unwrap();
        let mut b = bus.open(&queue("b")).await.unwrap();
        for lease in leases(&mut a, 5).await.iter().chain(&leases(&mut b, 5).await) {
            assert!(seen.insert(lease.delivery), "{:?} was given twice", lease.delivery);
        }
        if let Some(late) = late {
            assert_eq!(a.settle(late, Verdict::Done).await, Err(BusError::NotLeased), "a lease of an earlier reader");
        }
        late = seen.iter().min().copied();
    }
    assert_depth(storage, &bus, "a", 5).await;
}

/// Cancelled a thousand times, while envelopes arrive.
pub async fn a_dropped_next_has_leased_nothing<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    bus.publish(batch("a", 0..500)).await.unwrap();
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let reading = async {
        let mut seen = Vec::new();
        while seen.len() < 1000 {
            tokio::select! {
                biased;
                lease = reader.next() => seen.push(number(&lease.unwrap())),
                () = tokio::task::yield_now() => {}
            }
        }
        seen
    };
    let publishing = async {
        for number in 500..1000 {
            bus.publish(batch("a", [number])).await.unwrap();
        }
    };
    let (seen, ()) = tokio::join!(timeout(Duration::from_secs(60), reading), publishing);
    assert_eq!(seen.expect("all of them come"), range(0, 1000));
}

/// One that is far behind, and catches up while more is published.
pub async fn a_slow_reader_misses_nothing<S: Storage>(storage: &S) {
    let bus = storage.open().await;
    let mut reader = bus.open(&queue("a")).await.unwrap();
    bus.publish(batch("a", 0..3_000)).await.unwrap();
    let publishing = async {
        for step in 0..100 {
            bus.publish(batch("a", 3_000 + step * 30..3_030 + step * 30)).await.unwrap();
        }
    };
    let reading = async {
        let mut seen = Vec::new();
        for _ in 0..6_000 {
            let lease = next(&mut reader).await;
            seen.push(number(&lease));
            reader.settle(lease.delivery, Verdict::Done).await.unwrap();
        }
        seen
    };
    let (seen, ()) = tokio::join!(reading, publishing);
    assert_eq!(seen, range(0, 6_000));
    nothing(&mut reader).await;
    assert_depth(storage, &bus, "a", 0).await;
}
