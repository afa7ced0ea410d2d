//! A selection of the fault matrix, short and with little load; `make faults` runs all of it.

use std::time::Duration;

use interchange_integration_tests::faults::matrix::setting::Bus;
use interchange_integration_tests::faults::matrix::{Row, Terms, all, run, with_kills};

const TERMS: Terms = Terms { time: Duration::from_secs(4), seed: 1, per_second: Some(100.0) };
const KILLS: usize = 3;

#[track_caller]
fn is_kept(row: &Row) {
    let report = run(row, Bus::Embedded, TERMS);
    println!("{}", report.line);
    assert!(report.kept, "{}", report.line);
}

#[track_caller]
fn row(name: &str) -> Row {
    all().into_iter().find(|row| row.name == name).expect("there is such a row")
}

#[test]
fn cut_links_lose_nothing() {
    is_kept(&row("link-cut"));
}

#[test]
fn a_hub_that_is_killed_loses_nothing() {
    is_kept(&with_kills(KILLS));
}

#[test]
fn a_hub_that_is_restarted_repeats_nothing() {
    is_kept(&row("restart"));
}
