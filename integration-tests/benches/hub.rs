//! `make bench`: what a message through the hub costs, beside the same load sent directly between two servers, in one run.
//!
//! Four ways, equal shapes, the same bodies of 200 bytes: Prosody to ejabberd directly (the anchor); Prosody to ejabberd through the hub;
//! Prosody to a SIP proxy through the hub; the SIP proxy to Prosody through the hub. The hub runs on its embedded bus, every link over TLS.
//! Fifty conversations at a time, since a SIP link carries one message of a pair at a time to keep their order.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use interchange_integration_tests::load::table::{
    Better, Goal, Row, find, milliseconds, print_faults, print_ratio, print_ratio_heading, print_table,
};
use interchange_integration_tests::load::ways::{
    BODY_BYTES, CONVERSATIONS, Community, DIRECT, NamedShape, PACED, RUNS, SATURATED, SIP_TO_XMPP, XMPP_TO_SIP, XMPP_TO_XMPP,
    direct,
};
use interchange_integration_tests::processes::Directory;

const SHAPES: [NamedShape; 2] = [SATURATED, PACED];

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "Bodies of {BODY_BYTES} bytes, {CONVERSATIONS} conversations, medians of {RUNS} runs after a warm-up; TLS on every link.\n"
    );
    let mut rows = direct(&SHAPES);
    let community = Community::start(None);
    rows.extend(community.xmpp_to_xmpp(&SHAPES, &[]));
    rows.extend(community.xmpp_to_sip(&SHAPES, &[]));
    rows.extend(community.sip_to_xmpp(&SHAPES, &[]));
    drop(community);
    print_table(&rows, "measured: direct, both servers; through the hub, the hub's process alone.");
    let disk = Disk::measure();
    ratios(&rows, &disk);
    disk.print();
    println!(
        "\nGoals 1, 2 and 4 compare with Kamailio's own XMPP gateway, which this bench does not run: they are not measured here."
    );
    let faults = print_faults(&rows);
    assert_eq!(faults.total(), 0, "every message arrives once and in order: {faults}");
}

fn ratios(rows: &[Row], disk: &Disk) {
    let [(saturated, ..), (paced, ..)] = SHAPES;
    print_ratio_heading("hub : direct, same run, same shape");
    for way in [XMPP_TO_XMPP, XMPP_TO_SIP, SIP_TO_XMPP] {
        // The goal is for equal ways: XMPP at both ends.
        let goal = |must, aim| (way == XMPP_TO_XMPP).then_some(Goal::at_most(3, must, Some(aim)));
        for (shape, goal) in [(saturated, goal(0.2, 0.12)), (paced, goal(0.15, 0.1))] {
            let ratio = find(rows, way, shape).system_seconds / find(rows, DIRECT, shape).system_seconds;
            print_ratio(&format!("{way}, {shape}: CPU"), ratio, goal);
        }
        let ratio = find(rows, way, saturated).rate / find(rows, DIRECT, saturated).rate;
        print_ratio(&format!("{way}, {saturated}: messages/s"), ratio, None);
        let (ours, direct) = (find(rows, way, paced), find(rows, DIRECT, paced));
        let added = |ours: Duration, direct: Duration| milliseconds(ours) - milliseconds(direct);
        let (p50, p99) = (added(ours.p50, direct.p50), added(ours.p99, direct.p99));
        print_ratio(&format!("{way}, {paced}: p50 added"), p50 / milliseconds(direct.p50), Some(Goal::at_most(6, 0.5, None)));
        print_ratio(&format!("{way}, {paced}: p99 added"), p99 / milliseconds(direct.p99), Some(Goal::at_most(6, 0.3, None)));
        let above = p99 - milliseconds(disk.p99);
        let goal = Goal { row: 6, better: Better::Less, must: None, aim: Some(1.5) };
        print_ratio(&format!("{way}, {paced}: p99 added, ms above fdatasync's p99"), above, Some(goal));
    }
    print_ratio_heading("hub : fdatasync of 600-byte records");
    for way in [XMPP_TO_XMPP, XMPP_TO_SIP, SIP_TO_XMPP] {
        let rate = find(rows, way, saturated).rate;
        let [_, of_ten, of_hundred] = disk.rates;
        print_ratio(&format!("{way}, saturated : 10 records a sync"), rate / of_ten, Some(Goal::at_least(7, 0.5, None)));
        let goal = Goal { row: 7, better: Better::More, must: None, aim: Some(0.5) };
        print_ratio(&format!("{way}, saturated : 100 records a sync"), rate / of_hundred, Some(goal));
    }
}

/// What the disk under the temporary directory does: the anchor of durable commits.
struct Disk {
    /// Records a second, for each of [`RECORDS_A_SYNC`].
    rates: [f64; 3],
    /// Of one record.
    p50: Duration,
    p99: Duration,
}

const RECORDS_A_SYNC: [u32; 3] = [1, 10, 100];

impl Disk {
    fn measure() -> Self {
        let directory = Directory::new("fdatasync");
        let mut file = File::create(directory.path().join("records")).expect("a file can be made");
        let record = [b'r'; 600];
        let syncs = 400;
        let mut times = Vec::new();
        let rates = RECORDS_A_SYNC.map(|together| {
            let began = Instant::now();
            for _ in 0..syncs {
                let began = Instant::now();
                for _ in 0..together {
                    file.write_all(&record).expect("there is room for some megabytes");
                }
                file.sync_data().expect("the disk works");
                if together == 1 {
                    times.push(began.elapsed());
                }
            }
            f64::from(syncs * together) / began.elapsed().as_secs_f64()
        });
        times.sort_unstable();
        Self { rates, p50: times[times.len() / 2], p99: times[times.len() * 99 / 100] }
    }

    fn print(&self) {
        println!("\nfdatasync of 600-byte records, in the file system of the hub's data");
        for (together, rate) in RECORDS_A_SYNC.into_iter().zip(self.rates) {
            println!("  {together:>3} records a sync: {rate:>9.0} records/s");
        }
        println!("  of one record: p50 {:.2} ms, p99 {:.2} ms", milliseconds(self.p50), milliseconds(self.p99));
    }
}
