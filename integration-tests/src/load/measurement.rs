//! Several equal runs of load with the processor time they cost, and their median.

use std::fmt;
use std::time::Duration;

use super::{LoadSender, Report, Shape, Tally, run};
use crate::processes::Usage;

/// The medians of some runs of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Messages a second.
    pub rate: f64,
    /// Processor seconds of the systems under test per 1,000 messages.
    pub system_seconds: f64,
    /// Processor seconds of the load generator, sender and receiver, per 1,000 messages.
    pub generator_seconds: f64,
    /// Memory of the systems under test after the last run, in bytes.
    pub resident_bytes: u64,
    /// Half of the messages took no longer.
    pub p50: Duration,
    /// 99 of 100 messages took no longer.
    pub p99: Duration,
    /// Messages that did not arrive, arrived twice or were overtaken, in all runs together.
    pub faults: u64,
}

impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:>6.0} messages/s, CPU s per 1,000: {:.3} (generator {:.3}), p50 {:.2} ms, p99 {:.2} ms, {:.0} MiB, {} faults",
            self.rate,
            self.system_seconds,
            self.generator_seconds,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.resident_bytes as f64 / f64::from(1 << 20),
            self.faults
        )
    }
}

/// Runs a shape `runs` times after a warm-up of a tenth; `usage` tells what the systems under test have used so far.
pub fn measure(
    sender: &mut dyn LoadSender,
    tally: &Tally,
    shape: Shape,
    messages: u64,
    runs: usize,
    usage: &dyn Fn() -> Usage,
) -> Measurement {
    run(sender, tally, shape, messages / 10);
    let results: Vec<(Report, f64, f64)> = (0..runs)
        .map(|_| {
            let (system, generator) = (usage(), Usage::of_this_process());
            let report = run(sender, tally, shape, messages);
            let thousands = messages as f64 / 1e3;
            let system = usage().processor_seconds_since(&system) / thousands;
            let generator = Usage::of_this_process().processor_seconds_since(&generator) / thousands;
            (report, system, generator)
        })
        .collect();
    let median = |value: &dyn Fn(&(Report, f64, f64)) -> f64| {
        let mut values: Vec<f64> = results.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Measurement {
        rate: median(&|(report, ..)| report.rate()),
        system_seconds: median(&|(_, system, _)| *system),
        generator_seconds: median(&|(.., generator)| *generator),
        resident_bytes: usage().resident_bytes,
        p50: Duration::from_secs_f64(median(&|(report, ..)| report.p50.as_secs_f64())),
        p99: Duration::from_secs_f64(median(&|(report, ..)| report.p99.as_secs_f64())),
        faults: results.iter().map(|(report, ..)| report.sent - report.received + report.repeated + report.overtaken).sum(),
    }
}
