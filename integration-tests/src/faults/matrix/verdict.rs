//! Whether a run kept what section 4 of the requirements asks of its fault, and its line in the table.

use std::time::Duration;

use super::counts::Counts;

/// Fewer accepted messages than this say nothing.
const MEANINGFUL: usize = 200;

/// What a row has seen beside the ledgers, and what it allows.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many repeated deliveries are allowed.
    pub duplicates: usize,
    /// How long it took until the hub did again what the row waits for.
    pub recovery: Option<Recovery>,
    /// What else was not as it must be.
    pub misses: Vec<String>,
    /// What else is worth to be known.
    pub notes: Vec<String>,
    /// Failures that senders must be told of; `None`: none at all.
    pub bounces: Option<usize>,
    /// The run says little by intention: few messages are enough.
    pub few: bool,
}

/// A time that was measured, and the longest that is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    /// `None`: never.
    pub took: Option<Duration>,
    /// The bound.
    pub within: Duration,
}

impl Outcome {
    /// No duplicates, no recovery, no failures told.
    pub fn clean() -> Self {
        Self::default()
    }

    /// So many repeated deliveries at most.
    pub fn allowing(duplicates: usize) -> Self {
        Self { duplicates, ..Self::default() }
    }

    /// This was the recovery, and this its bound.
    #[must_use]
    pub fn recovered(mut self, took: Option<Duration>, within: Duration) -> Self {
        self.recovery = Some(Recovery { took, within });
        self
    }

    /// A thing that must be so.
    #[must_use]
    pub fn asking(mut self, holds: bool, otherwise: impl Into<String>) -> Self {
        if !holds {
            self.misses.push(otherwise.into());
        }
        self
    }

    /// A thing worth to be known.
    #[must_use]
    pub fn noting(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// All that is wrong, in words.
    pub fn misses(&self, counts: &Counts) -> Vec<String> {
        let mut misses = Vec::new();
        let mut ask = |holds: bool, otherwise: String| {
            if !holds {
                misses.push(otherwise);
            }
        };
        ask(counts.lost.is_empty(), format!("{} lost", counts.lost.len()));
        ask(counts.duplicates <= self.duplicates, format!("{} duplicates, {} allowed", counts.duplicates, self.duplicates));
        ask(counts.disordered.is_empty(), format!("{} out of order", counts.disordered.len()));
        ask(counts.garbage == 0, format!("{} that nobody sent so", counts.garbage));
        ask(
            counts.bounced == self.bounces.unwrap_or(0),
            format!("{} bounced, {} should", counts.bounced, self.bounces.unwrap_or(0)),
        );
        ask(self.few || counts.accepted >= MEANINGFUL, format!("only {} accepted", counts.accepted));
        if let Some(Recovery { took, within }) = self.recovery {
            match took {
                None => ask(false, format!("no recovery within {within:?}")),
                Some(took) => ask(took <= within, format!("recovery in {}, {} allowed", seconds(took), seconds(within))),
            }
        }
        misses.extend(self.misses.iter().cloned());
        misses
    }

    /// The row's line in the table, and whether it was kept.
    pub fn line(&self, name: &str, bus: &str, counts: &Counts) -> (String, bool) {
        let misses = self.misses(counts);
        let recovery = match self.recovery {
            None => "-".to_owned(),
            Some(Recovery { took: None, .. }) => "never".to_owned(),
            Some(Recovery { took: Some(took), .. }) => seconds(took),
        };
        let verdict = if misses.is_empty() { "ok".to_owned() } else { format!("MISSED: {}", misses.join("; ")) };
        let notes = if self.notes.is_empty() { String::new() } else { format!(" ({})", self.notes.join("; ")) };
        let line = format!(
            "{name:<24} {bus:<8} lost={} dup={} order={} recovery={recovery} {verdict}{notes}",
            counts.lost.len(),
            counts.duplicates,
            counts.disordered.len()
        );
        (line, misses.is_empty())
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2}s", time.as_secs_f64())
}
