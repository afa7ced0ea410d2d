//! Faults of the hub's process, of its machine, and of its disk.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::{BOTH, BROKEN, IN_FLIGHT, accepting, row};
use crate::faults::matrix::Row;
use crate::faults::matrix::hub_process::{Launch, no_small_disk};
use crate::faults::matrix::ledger::Happening;
use crate::faults::matrix::scene::Scene;
use crate::faults::matrix::setting::{Bus, COMPANIES, Setting};
use crate::faults::matrix::verdict::Outcome;

const KILLS: usize = 20;
/// A kill comes within so many milliseconds of the last start.
const KILLED_WITHIN: u64 = 900;
const PAUSE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// How large the disk is that fills up.
const DISK_BYTES: u64 = 160 << 20;
const FULL_FOR: Duration = Duration::from_secs(8);
/// What a message passes on its way; the hub dies when it comes there for the 21st time.
const STEPS: [&str; 8] = ["received", "published", "confirmed", "answered", "taken", "sent", "peer-acked", "bus-acked"];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        with_kills(KILLS),
        row("hub-stop", "the hub is stopped for 10 s, and goes on", BOTH, Setting::default, stop),
        row("restart", "the hub is asked to end, and started again", BOTH, Setting::default, restart),
        Row {
            hindrance: no_small_disk,
            ..row("disk-full", "the disk of the hub is full for 8 s", &[Bus::Embedded], on_small_disk, disk_full)
        },
    ];
    rows.extend(STEPS.map(|step| {
        let name = format!("kill-at-{step}");
        row(
            &name,
            "the hub dies at this step of a message's way",
            BOTH,
            move || dying_at(step),
            move |scene| killed_at(scene, step),
        )
    }));
    rows
}

/// The hub is killed so many times at random moments.
pub fn with_kills(kills: usize) -> Row {
    row("hub-kill", "SIGKILL at random moments, and started again at once", BOTH, Setting::default, move |scene| {
        killed(scene, kills)
    })
}

fn killed(scene: &mut Scene, kills: usize) -> Outcome {
    scene.begin();
    let mut starts = Vec::new();
    for kill in 1..=kills {
        let wait = Duration::from_millis(scene.random.below(KILLED_WITHIN));
        scene.during(&format!("kill {kill} of {kills}"), wait);
        scene.kill_hub(0);
        starts.push(scene.start_hub(0));
    }
    let last = *starts.last().expect("there is a kill");
    let recovery = accepting(scene, last, PATIENCE);
    scene.finish();
    // Those that were killed again before they could say yes do not count.
    let of_others = starts.windows(2).filter_map(|pair| {
        let first = scene.ledger.first(Happening::Accepted, pair[0], |_| true)?;
        (first < pair[1]).then(|| first - pair[0])
    });
    let slowest = recovery.map(|recovery| of_others.fold(recovery, Duration::max));
    Outcome::allowing(IN_FLIGHT * COMPANIES.len() * kills).recovered(slowest, Duration::from_secs(3))
}

fn stop(scene: &mut Scene) -> Outcome {
    scene.begin();
    scene.hub().pause();
    scene.during("the hub is stopped", PAUSE.min(scene.time));
    let healed = Instant::now();
    scene.hub().go_on();
    let recovery = accepting(scene, healed, PATIENCE);
    scene.finish();
    Outcome::allowing(IN_FLIGHT * COMPANIES.len()).recovered(recovery, Duration::from_secs(5))
}

fn restart(scene: &mut Scene) -> Outcome {
    scene.begin();
    scene.progress.say("the hub ends");
    let asked = Instant::now();
    let ended = scene.hubs[0].take().expect("it runs").terminate();
    let took = asked.elapsed();
    scene.start_hub(0);
    let accepted = accepting(scene, asked + took, PATIENCE);
    scene.finish();
    Outcome::clean()
        .recovered(accepted.map(|accepted| accepted + took), Duration::from_secs(5))
        .asking(ended == Some(true), "the hub did not end well when it was asked to")
        .asking(took <= Duration::from_secs(10), format!("the hub took {took:.1?} to end"))
        .noting(format!("ended in {took:.2?}"))
}

fn on_small_disk() -> Setting {
    Setting { launch: Launch { disk: Some(DISK_BYTES), ..Launch::default() }, ..Setting::default() }
}

fn disk_full(scene: &mut Scene) -> Outcome {
    scene.begin();
    let ballast = scene.hub().data().join("ballast");
    let mut file = File::create(&ballast).expect("the disk of the hub can be seen from here");
    let block = vec![0; 1 << 16];
    // Until nothing more fits; the last bytes one by one.
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..512]).is_ok() {}
    let full = Instant::now();
    let refused = scene.wait_for(Happening::Refused, full, PATIENCE, |_| true);
    scene.during("the disk is full", FULL_FOR.saturating_sub(full.elapsed()));
    let freed = Instant::now();
    drop(file);
    std::fs::remove_file(&ballast).expect("the file is there");
    let recovery = accepting(scene, freed, PATIENCE);
    scene.finish();
    let late = scene.ledger.count(Happening::Accepted, full + Duration::from_secs(1), freed);
    Outcome::clean()
        .recovered(recovery, Duration::from_secs(2))
        .asking(refused.is_some_and(|refused| refused <= Duration::from_secs(1)), format!("refuses within {refused:.2?}"))
        .asking(late == 0, format!("{late} accepted on the full disk"))
}

fn dying_at(step: &str) -> Setting {
    let environment = vec![("FAILPOINTS".to_owned(), format!("{step}=20*off->return"))];
    Setting { launch: Launch { environment, disk: None }, ..Setting::default() }
}

fn killed_at(scene: &mut Scene, step: &str) -> Outcome {
    scene.begin_cold();
    scene.progress.say(&format!("the hub is to die at {step}"));
    let died = scene.hub().wait_for_death(scene.time);
    if !died {
        scene.finish();
        return Outcome::clean().asking(false, format!("the hub never died at {step}"));
    }
    scene.kill_hub(0);
    let started = scene.start_hub(0);
    let recovery = accepting(scene, started, PATIENCE);
    // Each link has to come back, and to show that what it has is in order.
    scene.time = scene.time.min(Duration::from_secs(5));
    scene.finish();
    Outcome::allowing(IN_FLIGHT * BROKEN.len()).recovered(recovery, Duration::from_secs(3))
}
