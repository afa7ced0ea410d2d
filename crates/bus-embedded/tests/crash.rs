//! What is left when the process is killed, and when the file system takes no more. Each test runs this same binary as a child.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use interchange_bus::conformance::{envelope, queue};
use interchange_bus::{Bus, BusError, Queue, Unpublished, Verdict};
use interchange_bus_embedded::{EmbeddedBus, Options};
use tempfile::TempDir;

/// Names the directory to a child; without it the children's tests do nothing.
const DIRECTORY: &str = "INTERCHANGE_CRASH_TEST_DIRECTORY";
const FIRST: &str = "INTERCHANGE_CRASH_TEST_FIRST";

fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

async fn open(directory: &std::path::Path) -> EmbeddedBus {
    EmbeddedBus::open(directory, Options::default()).await.unwrap()
}

/// A child: publishes without end, and says what was acknowledged; reads and settles half of it, and says so before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_publishes_until_it_is_killed() {
    let Some(directory) = directory() else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let bus = open(&directory).await;
    let mut reader = bus.open(&queue("a")).await.unwrap();
    let publishing = async {
        let mut number = first;
        loop {
            let size = number % 7 + 1;
            bus.publish((number..number + size).map(|number| (queue("a"), envelope(number))).collect()).await.unwrap();
            number += size;
            writeln!(std::io::stdout(), "\npublished {number}").unwrap();
        }
    };
    let settling = async {
        loop {
            let lease = reader.next().await.unwrap();
            if lease.envelope.id.0.is_multiple_of(2) {
                writeln!(std::io::stdout(), "\nsettled {}", lease.envelope.id.0).unwrap();
                reader.settle(lease.delivery, Verdict::Done).await.unwrap();
            }
        }
    };
    tokio::join!(publishing, settling);
}

fn child(test: &str, directory: &TempDir, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIRECTORY, directory.path())
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_twenty_kills() {
    let directory = TempDir::new().unwrap();
    // Any moment will do; the time of day makes it another each run.
    let mut moment = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let mut expected: BTreeSet<u64> = BTreeSet::new();
    let (mut published, mut kills_that_hit) = (0, 0);
    for round in 0..20 {
        let mut child = child("child_that_publishes_until_it_is_killed", &directory, published);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        moment = moment.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let life = Duration::from_millis(u64::from(moment % 120) + 5);
        let reading = std::thread::spawn(move || {
            let (mut line, mut lines) = (String::new(), Vec::new());
            while output.read_line(&mut line).unwrap_or(0) > 0 {
                // A last line without its end was cut off by the kill.
                if line.ends_with('\n') {
                    lines.push(line.trim().to_owned());
                }
                line.clear();
            }
            lines
        });
        tokio::time::sleep(Duration::from_millis(60) + life).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let before = published;
        let mut settled: BTreeSet<u64> = BTreeSet::new();
        for line in reading.join().unwrap() {
            match line.split_once(' ') {
                Some(("published", number)) => published = number.parse().unwrap(),
                Some(("settled", number)) => {
                    settled.insert(number.parse().unwrap());
                }
                _ => {}
            }
        }
        kills_that_hit += u32::from(published > before);
        expected.extend(before..published);

        let bus = open(directory.path()).await;
        let depth = bus.depth(&queue("a")).await.unwrap();
        let mut reader = bus.open(&queue("a")).await.unwrap();
        let mut found = Vec::new();
        for _ in 0..depth {
            found.push(u64::try_from(reader.next().await.unwrap().envelope.id.0).unwrap());
        }
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "round {round}: in order, none twice");
        for number in expected.iter().filter(|number| !settled.contains(number)) {
            assert!(found.binary_search(number).is_ok(), "round {round}: {number} was acknowledged and is lost");
        }
        // Published and not acknowledged in time, at most one batch.
        let unsaid: Vec<_> = found.iter().filter(|number| **number >= published).collect();
        assert!(unsaid.len() <= 7, "round {round}: {unsaid:?}");
        expected = found.iter().copied().collect();
        published = found.last().map_or(published, |last| published.max(last + 1));
    }
    assert!(kills_that_hit >= 10, "only {kills_that_hit} children had come to publishing");
}

/// A child whose files may not grow beyond a limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_on_a_full_disk() {
    let Some(directory) = directory() else { return };
    let bus = open(&directory).await;
    let mut stored: u64 = 0;
    let mut failures = 0;
    while failures < 5 {
        assert!(stored < 100_000, "it never became full");
        let batch = (stored..stored + 50).map(|number| (queue("a"), envelope(number))).collect();
        match bus.publish(batch).await {
            Ok(()) => {
                stored += 50;
                failures = 0;
            }
            Err(Unpublished { error: BusError::Full(_) | BusError::Unavailable(_), .. }) => {
                failures += 1;
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    // Nothing was claimed that is not there, and deliveries go on.
    assert_eq!(bus.depth(&queue("a")).await, Ok(stored));
    let mut reader = bus.open(&queue("a")).await.unwrap();
    for number in 0..stored {
        let lease = reader.next().await.unwrap();
        assert_eq!(lease.envelope.id.0, u128::from(number));
        reader.settle(lease.delivery, Verdict::Done).await.unwrap();
    }
    // And it takes more once there is room, without a restart.
    let patience = Instant::now() + Duration::from_secs(20);
    while let Err(error) = bus.publish(vec![(queue("a"), envelope(stored))]).await {
        assert!(Instant::now() < patience, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(reader.next().await.unwrap().envelope.id.0, u128::from(stored));
    println!("\nfilled {stored}");
}

#[test]
fn a_full_disk_refuses_and_heals_without_a_restart() {
    let directory = TempDir::new().unwrap();
    // The signal is ignored, so that writing beyond the limit is an error as on a full disk. Blocks of 512 or 1,024 bytes.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 6000; exec \"$0\" --exact child_on_a_full_disk --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("\nfilled "), "{text}");
}
