//! `make bench`, RabbitMQ: messages through the hub on RabbitMQ beside a raw publish-confirm-consume-acknowledge loop, on the same broker in
//! one run; and what 5,000 queues, one for each link of a large community, cost. `cargo bench --bench rabbitmq -- bus` runs less: of `bus`, `hub`,
//! `links`, `queues` those that are named.

mod bus;
mod raw;

use std::time::{Duration, Instant};

use interchange_integration_tests::load::Measurement;
use interchange_integration_tests::load::table::{
    Goal, Row, find, milliseconds, print_faults, print_ratio, print_ratio_heading, print_table,
};
use interchange_integration_tests::load::ways::{
    Beside, Community, NamedShape, ONE_AT_A_TIME, PACED, SATURATED, SIP_TO_SIP, SIP_TO_XMPP, XMPP_TO_SIP, XMPP_TO_XMPP,
};
use interchange_integration_tests::processes::Usage;
use interchange_integration_tests::rabbitmq::RabbitMq;
use tokio::runtime::Runtime;

use raw::{BODY_BYTES, Consumers, Publisher, Queues};

const RUNS: usize = 3;
const ONE_QUEUE: &str = "raw loop, 1 quorum queue";
const TEN_QUEUES: &str = "raw, 10 quorum queues";
const MANY_QUEUES: &str = "raw, 5000 quorum queues";
const MANY_CLASSIC: &str = "raw, 5000 classic queues";
const BUS_ONE: &str = "the hub's bus, 1 quorum queue";
const BUS_TEN: &str = "the hub's bus, 10 quorum queues";
const BUS_MANY: &str = "the hub's bus, 5000 quorum queues";
const MANY: usize = 5_000;

/// Name, how many may be unconfirmed, messages a run.
type Window = (&'static str, usize, u64);

const ALONE: Window = ("window 1", 1, 2_000);
const WIDEST: Window = ("window 1000", 1_000, 40_000);
/// Name, how many are published at once, messages a run.
const BATCHES: [Window; 3] =
    [("one at a time", 1, 2_000), ("batches of 32", 32, 40_000), ("batches of 256", bus::BATCH as usize, 40_000)];
const WINDOWS: [Window; 3] = [ALONE, ("window 100", 100, 20_000), WIDEST];

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("RabbitMQ: one node, bodies of {BODY_BYTES} bytes in the raw loop, medians of {RUNS} runs after a warm-up.");
    let runtime = Runtime::new().expect("threads can be made");
    let wants = |part: &str| {
        let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
        named.peek().is_none() || named.any(|name| name == part)
    };
    if wants("bus") || wants("hub") {
        bus_and_hub(&runtime, wants("hub"));
    }
    if wants("links") {
        many_links(&runtime);
    }
    if wants("queues") {
        many_queues(&runtime);
    }
}

/// The ratios of goal 5: of the hub's bus alone, and of all the hub.
fn bus_and_hub(runtime: &Runtime, hub: bool) {
    let broker = RabbitMq::start();
    let raw = raw_loop(runtime, &broker);
    print_table(&raw, "measured: the broker alone. p50 and p99: from publish to confirm.");
    let best = raw.iter().map(|row| row.measured.rate).fold(0.0, f64::max);
    println!("Anchor of goal 5, the best of the windows: {best:.0} messages/s");
    let alone = through_the_bus(runtime, &broker, BUS_ONE, 1, &BATCHES);
    let note = "measured: the broker alone. p50 and p99: from the publishing of a batch to its confirm. Generator: the hub's bus, in this bench.";
    print_table(&alone, note);
    print_ratio_heading("the hub's bus alone : raw loop, same broker, same run, same two cores");
    for (shape, _, _) in &BATCHES[1..] {
        let measured = find(&alone, BUS_ONE, shape);
        print_ratio(&format!("{shape}: messages/s"), measured.rate / best, Some(Goal::at_least(5, 0.6, Some(2.0))));
    }
    let p50 = |rows: &[Row], way, shape| milliseconds(find(rows, way, shape).p50);
    print_ratio("one at a time: p50 of a confirm", p50(&alone, BUS_ONE, BATCHES[0].0) / p50(&raw, ONE_QUEUE, ALONE.0), None);
    if hub {
        let ours = through_the_hub(&broker);
        print_table(&ours, "measured: the hub's process alone.");
        ratios(&ours, &raw, best);
        let faults = print_faults(&ours);
        assert_eq!(faults.total(), 0, "every message arrives once and in order: {faults}");
    }
}

const SHAPES: [NamedShape; 3] = [SATURATED, PACED, ONE_AT_A_TIME];

fn through_the_hub(broker: &RabbitMq) -> Vec<Row> {
    let rabbitmq = || broker.usage();
    let beside: [Beside<'_>; 1] = [("broker", &rabbitmq)];
    let community = Community::start(Some(&broker.url()));
    let mut rows = community.xmpp_to_xmpp(&SHAPES, &beside);
    rows.extend(community.xmpp_to_sip(&SHAPES, &beside));
    rows.extend(community.sip_to_xmpp(&SHAPES, &beside));
    rows.extend(community.sip_to_sip(&SHAPES, &beside));
    rows
}

/// What the hub adds to the broker's own work. The raw loop has the two cores for itself and the broker; the ways through the hub share them
/// with the servers at both ends.
fn ratios(ours: &[Row], raw: &[Row], best: f64) {
    print_ratio_heading("hub on RabbitMQ : raw loop, same broker, same run");
    for way in [XMPP_TO_XMPP, XMPP_TO_SIP, SIP_TO_XMPP, SIP_TO_SIP] {
        let saturated = find(ours, way, SATURATED.0);
        print_ratio(&format!("{way}, saturated: messages/s"), saturated.rate / best, Some(Goal::at_least(5, 0.6, Some(2.0))));
        // The processor time that everything took together, and what of it was the hub's and the broker's.
        let beside: f64 = saturated.beside_seconds.iter().map(|(_, seconds)| seconds).sum();
        let all = saturated.system_seconds + beside + saturated.generator_seconds;
        let broker = seconds_of(saturated, "broker");
        print_ratio(&format!("{way}, saturated: the hub's share of the CPU"), saturated.system_seconds / all, None);
        print_ratio(&format!("{way}, saturated: the broker's share of the CPU"), broker / all, None);
        let rate_of_two_cores = 2e3 / (saturated.system_seconds + broker);
        print_ratio(
            &format!("{way}: messages/s that hub and broker alone could do on two cores"),
            rate_of_two_cores / best,
            None,
        );
        let alone = milliseconds(find(ours, way, ONE_AT_A_TIME.0).p50);
        let confirm = milliseconds(find(raw, ONE_QUEUE, ALONE.0).p50);
        print_ratio(&format!("{way}, one at a time: p50 : a confirm's"), alone / confirm, None);
    }
}

fn seconds_of(measurement: &Measurement, part: &str) -> f64 {
    measurement.beside_seconds.iter().find(|(name, _)| *name == part).map_or(0.0, |(_, seconds)| *seconds)
}

fn raw_loop(runtime: &Runtime, broker: &RabbitMq) -> Vec<Row> {
    let queues = Queues { kind: "quorum", count: 1 };
    runtime.block_on(raw::declare(&broker.url(), &queues));
    measure(runtime, broker, ONE_QUEUE, &queues, &WINDOWS)
}

fn measure(runtime: &Runtime, broker: &RabbitMq, way: &'static str, queues: &Queues, windows: &[Window]) -> Vec<Row> {
    let url = broker.url();
    runtime.block_on(async {
        let consumers = Consumers::start(&url, queues).await;
        let mut publisher = Publisher::start(&url, queues).await;
        let mut rows = Vec::new();
        for &(shape, window, messages) in windows {
            eprint!("{way}, {shape} … ");
            let usage = || broker.usage();
            let measured = raw::measure(&mut publisher, &consumers, window, messages, RUNS, &usage).await;
            eprintln!("{measured}");
            rows.push(Row { way, shape, measured });
        }
        consumers.stop().await;
        rows
    })
}

fn through_the_bus(runtime: &Runtime, broker: &RabbitMq, way: &'static str, queues: usize, shapes: &[Window]) -> Vec<Row> {
    let (url, usage) = (broker.url(), || broker.usage());
    runtime.block_on(async {
        let (before, own_before, began) = (usage(), Usage::of_this_process(), Instant::now());
        let mut turns = bus::Loop::start(&url, queues).await;
        if queues > 1 {
            println!(
                "  {way}: declared and opened in {:.1} s; memory of the broker {:.0} → {:.0} MiB, of this process {:.0} → {:.0} MiB",
                began.elapsed().as_secs_f64(),
                mebibytes(before),
                mebibytes(usage()),
                mebibytes(own_before),
                mebibytes(Usage::of_this_process())
            );
        }
        let mut rows = Vec::new();
        for &(shape, batch, messages) in shapes {
            eprint!("{way}, {shape} … ");
            let measured = turns.measure(batch as u64, messages, RUNS, &usage).await;
            eprintln!("{measured}");
            rows.push(Row { way, shape, measured });
        }
        turns.stop().await;
        rows
    })
}

/// What the queues of a large community cost a hub: its bus with a reader on each.
fn many_links(runtime: &Runtime) {
    println!("\n{MANY} links of one hub, each with its quorum queue, open");
    let broker = RabbitMq::start();
    let mut rows = through_the_bus(runtime, &broker, BUS_TEN, 10, &BATCHES[2..]);
    rows.extend(through_the_bus(runtime, &broker, BUS_MANY, MANY, &BATCHES[2..]));
    print_table(&rows, "measured: the broker alone. Generator: this bench, which is the hub's bus.");
    let rate = |way| find(&rows, way, BATCHES[2].0).rate;
    print_ratio_heading("the hub's bus, 5,000 queues : 10 queues");
    print_ratio("batches of 256: messages/s", rate(BUS_MANY) / rate(BUS_TEN), None);
}

/// One node for each kind, so that the memory of one is not that of the other.
fn many_queues(runtime: &Runtime) {
    println!("\n{MANY} queues on one node, one for each link of a large community");
    let mut rows = Vec::new();
    for (kind, few, many) in [("quorum", Some(TEN_QUEUES), MANY_QUEUES), ("classic", None, MANY_CLASSIC)] {
        let mut broker = RabbitMq::start();
        if let Some(few) = few {
            let ten = Queues { kind, count: 10 };
            runtime.block_on(raw::declare(&broker.url(), &ten));
            rows.extend(measure(runtime, &broker, few, &ten, &[ALONE, WIDEST]));
        }
        let queues = Queues { kind, count: MANY };
        let before = broker.usage();
        let declared = runtime.block_on(raw::declare(&broker.url(), &queues));
        let after = broker.usage();
        println!(
            "  {kind}: declared in {:.1} s, {:.1} s of the broker's processor time; its memory {:.0} → {:.0} MiB",
            declared.as_secs_f64(),
            after.processor_seconds_since(&before),
            mebibytes(before),
            mebibytes(after)
        );
        let again = runtime.block_on(raw::declare(&broker.url(), &queues));
        println!("  {kind}: declared once more, as a hub does when it starts, in {:.1} s", again.as_secs_f64());
        print_first_messages(runtime, &broker, &queues);
        rows.extend(measure(runtime, &broker, many, &queues, &[ALONE, WIDEST]));
        broker.kill();
        let began = Instant::now();
        broker.start_again();
        println!("  {kind}: takes connections {:.0} s after it was killed and started", began.elapsed().as_secs_f64());
    }
    print_table(&rows, "measured: the broker alone. p50 and p99: from publish to confirm.");
    print_ratio_heading("5,000 queues : 10 queues, quorum, same run, same shape");
    let (many, ten) = (find(&rows, MANY_QUEUES, WIDEST.0), find(&rows, TEN_QUEUES, WIDEST.0));
    print_ratio(&format!("{}: messages/s", WIDEST.0), many.rate / ten.rate, None);
    print_ratio(&format!("{}: the broker's CPU", WIDEST.0), many.system_seconds / ten.system_seconds, None);
    let (many, ten) = (find(&rows, MANY_QUEUES, ALONE.0), find(&rows, TEN_QUEUES, ALONE.0));
    print_ratio(&format!("{}: p50 of a confirm", ALONE.0), milliseconds(many.p50) / milliseconds(ten.p50), None);
}

/// What the first message of a channel to each queue takes, and the next.
fn print_first_messages(runtime: &Runtime, broker: &RabbitMq, queues: &Queues) {
    let url = broker.url();
    let [first, next] = runtime.block_on(async {
        let consumers = Consumers::start(&url, queues).await;
        let mut publisher = Publisher::start(&url, queues).await;
        let mut times = [Duration::ZERO; 2];
        for time in &mut times {
            let began = Instant::now();
            publisher.publish(queues.count as u64, 100).await;
            *time = began.elapsed();
        }
        // Nothing may come a second time to those who measure.
        consumers.wait_for(2 * queues.count as u64).await;
        consumers.stop().await;
        times
    });
    let (first, next) = (first.as_secs_f64(), next.as_secs_f64());
    println!("  {}: a channel's first message to each queue {first:.1} s in all, its second {next:.1} s", queues.kind);
}

fn mebibytes(usage: Usage) -> f64 {
    usage.resident_bytes as f64 / f64::from(1 << 20)
}
