//! The fault matrix as a program, `make faults`. One line a run on standard output; exit status 1 if any run missed something.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use interchange_integration_tests::faults::matrix::{Row, Terms, all, run};

/// Puts load on a hub, breaks something, and compares the ledgers of the peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// The rows to run; all, if none is named.
    rows: Vec<String>,
    /// Runs them on this bus only.
    #[arg(long)]
    bus: Option<BusName>,
    /// How long the load of a row runs at least.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Shows the rows there are, and runs none.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BusName {
    Embedded,
    Rabbitmq,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rows = all();
    if let Some(unknown) = arguments.rows.iter().find(|name| rows.iter().all(|row| row.name != **name)) {
        eprintln!("there is no row {unknown}; --list shows those that there are");
        return ExitCode::from(2);
    }
    if arguments.list {
        rows.iter().for_each(list);
        return ExitCode::SUCCESS;
    }
    play(&rows, &arguments)
}

fn list(row: &Row) {
    let buses: Vec<&str> = row.buses.iter().map(|bus| bus.name()).collect();
    println!("{:<24} {:<18} {}", row.name, buses.join(", "), row.about);
}

fn play(rows: &[Row], arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let mut lines = Vec::new();
    let mut missed = 0;
    let terms = Terms { time: Duration::from_secs(arguments.seconds), seed: arguments.seed, per_second: None };
    let only = arguments.bus.map(|bus| match bus {
        BusName::Embedded => "embedded",
        BusName::Rabbitmq => "rabbitmq",
    });
    let wanted = |row: &&Row| arguments.rows.is_empty() || arguments.rows.contains(&row.name);
    for row in rows.iter().filter(wanted) {
        for bus in row.buses.iter().filter(|bus| only.is_none_or(|only| bus.name() == only)) {
            let report = run(row, *bus, terms);
            println!("{}", report.line);
            missed += usize::from(!report.kept);
            lines.push(report);
        }
    }
    let bad: Vec<&str> = lines.iter().filter(|report| !report.kept).map(|report| report.line.as_str()).collect();
    eprintln!(
        "{} runs in {:.0} s with seed {}, {missed} missed something{}{}",
        lines.len(),
        began.elapsed().as_secs_f64(),
        arguments.seed,
        if bad.is_empty() { "" } else { ":\n" },
        bad.join("\n")
    );
    if missed == 0 && !lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
