//! Faults of the network between the hub and two of its companies, one of each platform.

use std::time::{Duration, Instant};

use super::{BOTH, BROKEN, IN_FLIGHT, delivered_to_broken, row};
use crate::faults::matrix::Row;
use crate::faults::matrix::scene::Scene;
use crate::faults::matrix::setting::Setting;
use crate::faults::matrix::verdict::Outcome;
use crate::faults::proxy::Mode;

const OUTAGE: Duration = Duration::from_secs(10);
/// How long a recovery is looked for before it is called missing; longer than any bound.
const PATIENCE: Duration = Duration::from_secs(60);
/// One byte in so many is damaged.
const ONE_IN: u32 = 10_000;
/// What a slow peer reads in a second.
const SLOW: u32 = 1024;
const SLOW_FOR: Duration = Duration::from_secs(20);
/// What the scheduler of two cores adds to a 99th percentile, and no more than that is not a slowdown.
const NOISE: Duration = Duration::from_millis(5);
const SLOW_GROWTH: u64 = 64 << 20;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("link-cut", "two links are cut for 10 s", BOTH, Setting::default, |scene| outage(scene, Mode::Cut, "links are cut")),
        row("black-hole", "nothing passes on two links for 10 s, and nobody is told", BOTH, Setting::default, |scene| {
            outage(scene, Mode::BlackHole, "links are black holes")
        }),
        row("flapping", "two links go and come every 2 s for 16 s", BOTH, Setting::default, flapping),
        row("corrupt-bytes", "one byte in 10,000 is damaged on two links", BOTH, Setting::default, corrupt_bytes),
        row("slow-peer", "a company reads 1 KB/s for 20 s; the others do not notice", BOTH, Setting::default, slow_peer),
    ]
}

fn set(scene: &Scene, mode: Mode) {
    BROKEN.iter().for_each(|company| scene.companies[*company].set(mode));
}

/// A message under way is written again on a new connection: once for each link.
fn outage(scene: &mut Scene, mode: Mode, what: &str) -> Outcome {
    scene.begin();
    set(scene, mode);
    scene.during(what, OUTAGE.min(scene.time));
    set(scene, Mode::Through);
    let healed = Instant::now();
    let (recovery, links) = delivered_to_broken(scene, healed, PATIENCE);
    scene.finish();
    Outcome::allowing(IN_FLIGHT * BROKEN.len()).recovered(recovery, Duration::from_secs(2)).noting(links)
}

fn flapping(scene: &mut Scene) -> Outcome {
    const FLAPS: usize = 4;
    const HALF: Duration = Duration::from_secs(2);
    scene.begin();
    for flap in 1..=FLAPS {
        set(scene, Mode::Cut);
        scene.during(&format!("links go, {flap} of {FLAPS}"), HALF);
        set(scene, Mode::Through);
        if flap < FLAPS {
            scene.during(&format!("links come, {flap} of {FLAPS}"), HALF);
        }
    }
    let healed = Instant::now();
    let (recovery, links) = delivered_to_broken(scene, healed, PATIENCE);
    scene.finish();
    let counts = scene.ledger.counts();
    let share = 100.0 * counts.duplicates as f64 / counts.accepted.max(1) as f64;
    Outcome::allowing(IN_FLIGHT * BROKEN.len() * FLAPS)
        .recovered(recovery, Duration::from_secs(5))
        .noting(links)
        .noting(format!("{share:.1} % repeated"))
}

fn corrupt_bytes(scene: &mut Scene) -> Outcome {
    scene.begin();
    let connections =
        |scene: &Scene| -> u64 { BROKEN.iter().map(|company| scene.companies[*company].from_hub.connections()).sum() };
    let before = connections(scene);
    set(scene, Mode::Corrupt { one_in: ONE_IN });
    scene.during("bytes are damaged", OUTAGE.min(scene.time));
    set(scene, Mode::Through);
    let healed = Instant::now();
    let (recovery, links) = delivered_to_broken(scene, healed, PATIENCE);
    scene.finish();
    let reconnects = (connections(scene) - before) as usize;
    Outcome::allowing(IN_FLIGHT * reconnects)
        .recovered(recovery, Duration::from_secs(5))
        .noting(links)
        .asking(reconnects > 0, "no connection was broken")
        .noting(format!("the hub dialled {reconnects} times"))
}

/// The messages for the slow company wait, and no others: the times of those that do not concern it are compared.
fn slow_peer(scene: &mut Scene) -> Outcome {
    const SLOW_COMPANY: usize = BROKEN[1];
    scene.begin();
    let quiet = Instant::now();
    scene.during("all is fast, for comparison", SLOW_FOR / 4);
    let slowed = Instant::now();
    let memory = scene.hub().resident_bytes();
    scene.companies[SLOW_COMPANY].from_hub.set(Mode::Slow { bytes_per_second: SLOW });
    scene.during("a link is slow", SLOW_FOR.min(scene.time * 2));
    let healed = Instant::now();
    let growth = scene.hub().resident_bytes().saturating_sub(memory);
    scene.companies[SLOW_COMPANY].from_hub.set(Mode::Through);
    scene.finish();
    let others = |from, to| scene.ledger.p99(from, to, |page| page.from != SLOW_COMPANY && page.to != SLOW_COMPANY);
    let (before, during) = (others(quiet, slowed).unwrap_or_default(), others(slowed, healed).unwrap_or(Duration::MAX));
    let ratio = during.as_secs_f64() / before.as_secs_f64().max(f64::EPSILON);
    Outcome::clean()
        .noting(format!("p99 of the others {before:.1?} to {during:.1?}, ratio {ratio:.2}; memory +{} MiB", growth >> 20))
        .asking(ratio <= 1.2 || during <= before + NOISE, format!("p99 of the others grew {ratio:.2} times"))
        .asking(growth < SLOW_GROWTH, format!("memory grew by {} MiB", growth >> 20))
}
