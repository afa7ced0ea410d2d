//! The fault matrix as a program: `make faults`, or `faults [--bus embedded|rabbitmq] [--seconds N] [--seed N] [--list] [ROW...]`.
//!
//! One line a run on standard output; exit status 1 if any run missed something.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use interchange_integration_tests::faults::matrix::{Row, Terms, all, run};

const USAGE: &str = "faults [--bus embedded|rabbitmq] [--seconds N] [--seed N] [--list] [ROW...]";
const SECONDS: u64 = 10;
const SEED: u64 = 1;

struct Arguments {
    rows: Vec<String>,
    bus: Option<String>,
    list: bool,
    terms: Terms,
}

fn main() -> ExitCode {
    let arguments = match read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
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

fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let terms = Terms { time: Duration::from_secs(SECONDS), seed: SEED, per_second: None };
    let mut arguments = Arguments { rows: Vec::new(), bus: None, list: false, terms };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        let number = |value: String| value.parse::<u64>().map_err(|_| format!("{value} is not a number"));
        match word.as_str() {
            "--list" => arguments.list = true,
            "--bus" => arguments.bus = Some(value()?).filter(|bus| ["embedded", "rabbitmq"].contains(&bus.as_str())),
            "--seconds" => arguments.terms.time = Duration::from_secs(number(value()?)?.max(2)),
            "--seed" => arguments.terms.seed = number(value()?)?,
            option if option.starts_with('-') => return Err(format!("{option} is unknown")),
            row => arguments.rows.push(row.to_owned()),
        }
        if word == "--bus" && arguments.bus.is_none() {
            return Err("--bus is embedded or rabbitmq".to_owned());
        }
    }
    Ok(arguments)
}

fn list(row: &Row) {
    let buses: Vec<&str> = row.buses.iter().map(|bus| bus.name()).collect();
    println!("{:<24} {:<18} {}", row.name, buses.join(", "), row.about);
}

fn play(rows: &[Row], arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let mut lines = Vec::new();
    let mut missed = 0;
    let wanted = |row: &&Row| arguments.rows.is_empty() || arguments.rows.contains(&row.name);
    for row in rows.iter().filter(wanted) {
        for bus in row.buses.iter().filter(|bus| arguments.bus.as_ref().is_none_or(|wanted| bus.name() == wanted)) {
            let report = run(row, *bus, arguments.terms);
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
        arguments.terms.seed,
        if bad.is_empty() { "" } else { ":\n" },
        bad.join("\n")
    );
    if missed == 0 && !lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
