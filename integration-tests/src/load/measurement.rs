//! Several equal runs of load with the processor time they cost, and their median.

use std::fmt;
use std::time::Duration;

use super::{LoadSender, Report, Shape, Tally, run};
use crate::processes::Usage;

/// What runs beside the load generator: each tells what it has used so far.
#[derive(Clone, Copy)]
pub struct Systems<'a> {
    /// The system under test.
    pub measured: &'a dyn Fn() -> Usage,
    /// What it works with, which costs processor time too: each with a name.
    pub beside: &'a [(&'static str, &'a dyn Fn() -> Usage)],
}

/// What must not happen to messages, and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// They did not arrive.
    pub lost: u64,
    /// They arrived again.
    pub repeated: u64,
    /// They arrived after a later one of the same conversation.
    pub overtaken: u64,
    /// Their sender was told that they were not delivered.
    pub refused: u64,
}

impl Faults {
    /// Of all kinds together.
    pub fn total(&self) -> u64 {
        self.lost + self.repeated + self.overtaken + self.refused
    }

    /// Adds those of others.
    pub fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.overtaken += other.overtaken;
        self.refused += other.refused;
    }

    fn add_report(&mut self, report: &Report) {
        let Report { sent, received, repeated, overtaken, .. } = *report;
        self.add(Self { lost: sent - received, repeated, overtaken, refused: 0 });
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, repeated, overtaken, refused } = self;
        write!(formatter, "{lost} lost, {repeated} repeated, {overtaken} overtaken, {refused} refused")
    }
}

/// The medians of some runs of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Messages a second.
    pub rate: f64,
    /// Processor seconds of the system under test per 1,000 messages.
    pub system_seconds: f64,
    /// Processor seconds of each of those it works with per 1,000 messages.
    pub beside_seconds: Vec<(&'static str, f64)>,
    /// Processor seconds of the load generator, sender and receiver, per 1,000 messages.
    pub generator_seconds: f64,
    /// Memory of the system under test after the last run, in bytes.
    pub resident_bytes: u64,
    /// Half of the messages took no longer.
    pub p50: Duration,
    /// 99 of 100 messages took no longer.
    pub p99: Duration,
    /// Of the warm-up and all runs together.
    pub faults: Faults,
}

impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:>6.0} messages/s, CPU s per 1,000: {:.3}, p50 {:.2} ms, p99 {:.2} ms; {}",
            self.rate,
            self.system_seconds,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.faults
        )
    }
}

/// One run, with processor seconds per 1,000 messages.
struct Run {
    report: Report,
    system: f64,
    beside: Vec<f64>,
    generator: f64,
}

/// What something uses from a moment on.
struct Span<'a> {
    usage: &'a dyn Fn() -> Usage,
    before: Usage,
}

impl<'a> Span<'a> {
    fn begin(usage: &'a dyn Fn() -> Usage) -> Self {
        Self { usage, before: usage() }
    }

    /// Processor seconds per 1,000 of so many messages.
    fn per_thousand(&self, messages: u64) -> f64 {
        (self.usage)().processor_seconds_since(&self.before) / (messages as f64 / 1e3)
    }
}

/// Runs a shape `runs` times after a message alone and a warm-up of a tenth.
pub fn measure(
    sender: &mut dyn LoadSender,
    tally: &Tally,
    shape: Shape,
    messages: u64,
    runs: usize,
    systems: Systems<'_>,
) -> Measurement {
    let refused_before = sender.refused();
    let mut faults = Faults::default();
    // By one message alone the streams along the way are opened: while its own is being made, Prosody 0.12 lets later messages overtake.
    faults.add_report(&run(sender, tally, shape, 1));
    faults.add_report(&run(sender, tally, shape, messages / 10));
    let results: Vec<Run> = (0..runs)
        .map(|_| {
            let measured = Span::begin(systems.measured);
            let beside: Vec<Span<'_>> = systems.beside.iter().map(|(_, usage)| Span::begin(*usage)).collect();
            let generator = Span::begin(&Usage::of_this_process);
            let report = run(sender, tally, shape, messages);
            faults.add_report(&report);
            Run {
                report,
                system: measured.per_thousand(messages),
                beside: beside.iter().map(|span| span.per_thousand(messages)).collect(),
                generator: generator.per_thousand(messages),
            }
        })
        .collect();
    faults.refused = sender.refused() - refused_before;
    let median = |value: &dyn Fn(&Run) -> f64| {
        let mut values: Vec<f64> = results.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Measurement {
        rate: median(&|run| run.report.rate()),
        system_seconds: median(&|run| run.system),
        beside_seconds: systems
            .beside
            .iter()
            .enumerate()
            .map(|(which, (name, _))| (*name, median(&|run| run.beside[which])))
            .collect(),
        generator_seconds: median(&|run| run.generator),
        resident_bytes: (systems.measured)().resident_bytes,
        p50: Duration::from_secs_f64(median(&|run| run.report.p50.as_secs_f64())),
        p99: Duration::from_secs_f64(median(&|run| run.report.p99.as_secs_f64())),
        faults,
    }
}
