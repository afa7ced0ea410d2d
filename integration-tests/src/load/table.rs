//! What the benches print: measured rows, and their ratios beside the goals.

use std::time::Duration;

use super::{Faults, Measurement};

const BAR: f64 = 20.0;

/// One measured way in one shape.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which way the messages took.
    pub way: &'static str,
    /// How they were sent.
    pub shape: &'static str,
    /// What was seen.
    pub measured: Measurement,
}

/// Prints the rows. `measured` says, for the line below them, whose processor time and memory is in the column "measured".
pub fn print_table(rows: &[Row], measured: &str) {
    println!("\n{:<27} {:<23} {:>10}  {:<20} {:^19}", "", "", "", "", "CPU ms per message");
    println!(
        "{:<27} {:<23} {:>10}  {:<20} {:>9} {:>9} {:>9} {:>9} {:>6}  CPU ms beside",
        "way", "shape", "messages/s", "", "measured", "generator", "p50 ms", "p99 ms", "MiB"
    );
    let fastest = rows.iter().map(|row| row.measured.rate).fold(1.0, f64::max);
    for Row { way, shape, measured } in rows {
        let bar = "█".repeat((measured.rate / fastest * BAR).ceil() as usize);
        let beside: Vec<String> = measured.beside_seconds.iter().map(|(name, seconds)| format!("{name} {seconds:.3}")).collect();
        println!(
            "{way:<27} {shape:<23} {:>10.0}  {bar:<20} {:>9.3} {:>9.3} {:>9.2} {:>9.2} {:>6.0}  {}",
            measured.rate,
            measured.system_seconds,
            measured.generator_seconds,
            milliseconds(measured.p50),
            milliseconds(measured.p99),
            measured.resident_bytes as f64 / f64::from(1 << 20),
            if beside.is_empty() { "–".to_owned() } else { beside.join(", ") }
        );
    }
    println!(
        "CPU ms per message = processor seconds, user and system, per 1,000 messages. {measured}\n\
         Beside: what works along with the measured, not contained in it. Generator: this bench, sender and receiver."
    );
}

/// The row of this way and shape.
///
/// # Panics
/// When it was not measured.
pub fn find<'a>(rows: &'a [Row], way: &str, shape: &str) -> &'a Measurement {
    let row = rows.iter().find(|row| row.way == way && row.shape == shape);
    &row.unwrap_or_else(|| panic!("{way}, {shape} was not measured")).measured
}

/// Prints what went wrong, and says what it is in all.
pub fn print_faults(rows: &[Row]) -> Faults {
    let mut all = Faults::default();
    for row in rows {
        let faults = row.measured.faults;
        all.add(faults);
        if faults.total() > 0 {
            println!("  {}, {}: {faults}", row.way, row.shape);
        }
    }
    println!("\nIn the warm-ups and all runs together: {all}");
    all
}

/// Which way a ratio is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less is.
    Less,
    /// More is.
    More,
}

/// What a ratio has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Its number in the list of performance goals.
    pub row: u32,
    /// Which side is good.
    pub better: Better,
    /// Without this it is not good enough.
    pub must: Option<f64>,
    /// What it should become.
    pub aim: Option<f64>,
}

impl Goal {
    /// At most these.
    pub fn at_most(row: u32, must: f64, aim: Option<f64>) -> Self {
        Self { row, better: Better::Less, must: Some(must), aim }
    }

    /// At least these.
    pub fn at_least(row: u32, must: f64, aim: Option<f64>) -> Self {
        Self { row, better: Better::More, must: Some(must), aim }
    }

    fn verdict(&self, ratio: f64, limit: Option<f64>) -> String {
        let Some(limit) = limit else { return String::new() };
        let (sign, met) = match self.better {
            Better::Less => ('≤', ratio <= limit),
            Better::More => ('≥', ratio >= limit),
        };
        format!("{sign} {limit:<5} {}", if met { "met" } else { "NOT MET" })
    }
}

/// Heads the lines of [`print_ratio`].
pub fn print_ratio_heading(what: &str) {
    println!("\n{what:<66} {:>8}   goal  {:<15}  aim", "ratio", "must");
}

/// One ratio and what it should be.
pub fn print_ratio(what: &str, ratio: f64, goal: Option<Goal>) {
    let line = match goal {
        None => format!("  {what:<64} {ratio:>8.3}"),
        Some(goal) => {
            let (must, aim) = (goal.verdict(ratio, goal.must), goal.verdict(ratio, goal.aim));
            format!("  {what:<64} {ratio:>8.3}   {:>4}  {must:<15}  {aim}", goal.row)
        }
    };
    println!("{}", line.trim_end());
}

/// A time in milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::Goal;

    #[test]
    fn a_goal_is_met_on_its_good_side() {
        let at_most = Goal::at_most(3, 0.2, Some(0.12));
        assert_eq!(at_most.verdict(0.15, at_most.must), "≤ 0.2   met");
        assert_eq!(at_most.verdict(0.15, at_most.aim), "≤ 0.12  NOT MET");
        let at_least = Goal::at_least(5, 0.6, None);
        assert_eq!(at_least.verdict(0.5, at_least.must), "≥ 0.6   NOT MET");
        assert_eq!(at_least.verdict(0.5, at_least.aim), "");
    }
}
