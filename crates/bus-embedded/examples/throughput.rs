//! How fast the embedded bus is here: publish, lease and settle, by batch size and number of queues.
//!
//! `cargo run --release -p interchange-bus-embedded --example throughput [directory [batch]]`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use interchange_bus::{Bus, Queue, Verdict};
use interchange_bus_embedded::{EmbeddedBus, Options};
use interchange_model::{Address, Body, Envelope, LinkId, MessageId, QueueId, Text};

/// How long each line of the table is measured.
const TIME: Duration = Duration::from_secs(3);

fn main() {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let only: Option<usize> = std::env::args().nth(2).and_then(|batch| batch.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("{:>6} {:>7} {:>12} {:>14} {:>16}", "batch", "queues", "messages/s", "µs CPU each", "publish p50 ms");
    for (batch, queues) in [(1, 1), (1, 10), (16, 1), (64, 1), (256, 1), (256, 10), (256, 100)] {
        if only.is_some_and(|only| only != batch) {
            continue;
        }
        // In a task, as in the hub: the thread that blocks here is not one of the runtime's own.
        let measuring = runtime.spawn(measure(directory.clone(), batch, queues));
        runtime.block_on(measuring).expect("no panic");
    }
}

async fn measure(directory: PathBuf, batch: usize, queues: usize) {
    let directory = directory.join(format!("interchange-throughput-{}", std::process::id()));
    let bus = Arc::new(EmbeddedBus::open(&directory, Options::default()).await.expect("a bus"));
    let names: Vec<QueueId> = (0..queues).map(|queue| QueueId::Link(LinkId(queue.to_string().into()))).collect();
    let mut readers = Vec::new();
    for name in &names {
        let mut queue = bus.open(name).await.expect("a queue");
        readers.push(tokio::spawn(async move {
            while let Ok(lease) = queue.next().await {
                queue.settle(lease.delivery, Verdict::Done).await.expect("a lease");
            }
        }));
    }
    let (start, cpu) = (Instant::now(), cpu());
    let mut published = 0_usize;
    let mut times = Vec::new();
    while start.elapsed() < TIME {
        let envelopes =
            (0..batch).map(|index| (names[(published + index) % queues].clone(), envelope(published + index))).collect();
        let before = Instant::now();
        bus.publish(envelopes).await.expect("published");
        times.push(before.elapsed());
        published += batch;
    }
    while !bus.waiting().await.expect("readable").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bus.flush().await.expect("stored");
    let (elapsed, cpu) = (start.elapsed(), self::cpu() - cpu);
    times.sort();
    println!(
        "{batch:>6} {queues:>7} {:>12.0} {:>14.1} {:>16.2}",
        published as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / published as f64,
        times[times.len() / 2].as_secs_f64() * 1e3
    );
    bus.close().await.expect("closed");
    for reader in readers {
        reader.abort();
    }
    std::fs::remove_dir_all(directory).expect("removed");
}

fn envelope(number: usize) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: MessageId::new(SystemTime::now(), number as u128),
        origin: "acme".into(),
        from: Address::parse("alice@acme.example").expect("a constant"),
        from_device: None,
        to: Address::parse("bob@globex.example").expect("a constant"),
        to_device: None,
        native_id: Some("0123456789abcdef".into()),
        accepted: SystemTime::now(),
        hops: Envelope::FULL_HOPS,
        native: None,
        body: Body::Text(Text { plain: "x".repeat(200).as_str().into(), ..Text::default() }),
    })
}

/// User and system time of this process: fields 14 and 15 of `/proc/self/stat`, in hundredths of a second.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
