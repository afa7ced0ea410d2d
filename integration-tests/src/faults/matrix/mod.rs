//! The fault matrix: load through a hub, a fault in the midst of it, and three ledgers that are compared when all has come to rest.
//!
//! The peers of the companies write the ledgers: what the hub said yes to, what arrived, what came back to its sender. What the first has
//! beyond the others is lost. A message that was never answered, because the hub was killed before, is neither; the peers send it again
//! under its old id until it is.

pub mod company;
pub mod counts;
pub mod hub_process;
pub mod ledger;
pub mod load;
pub mod progress;
pub mod scene;
pub mod setting;
pub mod verdict;

mod rows;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

use counts::Counts;
pub use rows::{all, with_kills};
use scene::Scene;
use setting::{Bus, Setting};
use verdict::Outcome;

/// One fault, and how it is made.
pub struct Row {
    /// How it is called on the command line and in the table.
    pub name: String,
    /// What happens in it, in a line.
    pub about: &'static str,
    /// Why it cannot be run on this machine, if it cannot.
    pub hindrance: fn() -> Option<String>,
    /// The buses on which it makes sense.
    pub buses: &'static [Bus],
    /// What the stage is.
    pub setting: Box<dyn Fn() -> Setting>,
    /// What happens on it. Says what to make of it.
    pub play: Box<dyn Fn(&mut Scene) -> Outcome>,
}

impl Bus {
    /// How it is called on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Bus::Embedded => "embedded",
            Bus::RabbitMq | Bus::Cluster => "rabbitmq",
        }
    }
}

/// How a row is run.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long the load runs at least.
    pub time: Duration,
    /// Where chance begins.
    pub seed: u64,
    /// Messages a second; `None`: as many as the row says.
    pub per_second: Option<f64>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The line of the table.
    pub line: String,
    /// Whether everything was as it must be.
    pub kept: bool,
    /// The ledgers, unless the run failed before they could be compared.
    pub counts: Option<Counts>,
}

/// The end of a run whose files are to stay: they do when their owners are dropped by a panic.
struct Missed(Report);

/// Runs one row on one bus. Files of a run that missed something stay, and standard error says where.
pub fn run(row: &Row, bus: Bus, terms: Terms) -> Report {
    let label = format!("{} {}", row.name, bus.name());
    if let Some(why) = (row.hindrance)() {
        let line = format!("{:<24} {:<8} skipped: {why}", row.name, bus.name());
        return Report { line, kept: true, counts: None };
    }
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut setting = (row.setting)();
        if let Some(per_second) = terms.per_second {
            setting.plan.per_second = per_second;
        }
        let mut scene = Scene::set(bus, &setting, terms.time, terms.seed, &label);
        let outcome = (row.play)(&mut scene);
        let counts = scene.ledger.counts();
        let (line, kept) = outcome.line(&row.name, bus.name(), &counts);
        eprintln!("{label}: {counts}");
        let report = Report { line, kept, counts: Some(counts) };
        if !kept {
            tell(&report, &scene.folder());
            resume_unwind(Box::new(Missed(report)));
        }
        report
    }));
    played.unwrap_or_else(|panic| match panic.downcast::<Missed>() {
        Ok(missed) => missed.0,
        Err(panic) => {
            let why = words(&*panic).lines().next().unwrap_or_default().to_owned();
            let line =
                format!("{:<24} {:<8} lost=? dup=? order=? recovery=? MISSED: the run failed: {why}", row.name, bus.name());
            Report { line, kept: false, counts: None }
        }
    })
}

/// Which messages are concerned: on standard error the first of them, in a file beside the hub's log all.
fn tell(report: &Report, folder: &Path) {
    const SOME: usize = 20;
    let Some(counts) = &report.counts else { return };
    let mut text = format!("{}\n{counts}\n", report.line);
    for (what, messages) in [("lost", &counts.lost), ("out of order", &counts.disordered), ("repeated", &counts.repeated)] {
        if !messages.is_empty() {
            let some = messages.iter().take(SOME).cloned().collect::<Vec<_>>().join(", ");
            eprintln!("  {what}: {some}{}", if messages.len() > SOME { ", ..." } else { "" });
        }
        text.extend(messages.iter().map(|message| format!("{what} {message}\n")));
    }
    let file = folder.join("ledgers.txt");
    match std::fs::write(&file, text) {
        Ok(()) => eprintln!("  all of them: {}; log of the hub: {}", file.display(), folder.join("hub.log").display()),
        Err(error) => eprintln!("  {}: {error}", file.display()),
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}
