//! `interchange top`: the links of the running hub in a terminal, from the same metrics that Prometheus scrapes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::explain::get;

/// Between two looks.
pub const EVERY: Duration = Duration::from_secs(2);

/// The widest bar, in characters.
const BAR: usize = 20;

/// All samples of one look, by metric and labels.
#[derive(Debug, Clone)]
pub struct Look {
    at: Instant,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Look {
    /// Asks the hub that serves its metrics at this address.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn take(address: SocketAddr) -> anyhow::Result<Self> {
        match get(address, "/metrics") {
            Some(text) => Ok(Self { at: Instant::now(), samples: samples(&text) }),
            None => bail!("no hub answers at {address}: does it run, with this [admin] address?"),
        }
    }

    fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name && wanted.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|is| is == value))
        };
        // The sum of nothing would be -0.
        self.samples.iter().filter(fits).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// Links with the state that each is in, sorted.
    fn links(&self) -> BTreeMap<&str, &str> {
        let states = self.samples.iter().filter(|sample| sample.name == "interchange_link_state" && sample.value == 1.0);
        states.filter_map(|sample| Some((sample.labels.get("link")?.as_str(), sample.labels.get("state")?.as_str()))).collect()
    }
}

/// The samples of a text in the format of Prometheus; lines that are none are left out.
fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample { name: series.to_owned(), labels: BTreeMap::new(), value });
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while !rest.is_empty() {
        let (key, quoted) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match letters.next()?.1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                (_, other) => text.push(other),
            }
        };
        labels.insert(key.to_owned(), text);
        rest = quoted.get(end..)?;
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The table of what is, with what happened between two looks.
#[must_use]
pub fn table(before: &Look, now: &Look) -> String {
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
    let rate = |name: &str, wanted: &[(&str, &str)]| (now.sum(name, wanted) - before.sum(name, wanted)).max(0.0) / seconds;
    let links = now.links();
    let most = links.keys().map(|link| now.sum("interchange_queue_messages", &[("link", link)])).fold(1.0, f64::max);
    let width = links.keys().map(|link| link.len()).max().unwrap_or(4).max(4);
    let mut text = String::new();
    let up = links.values().filter(|state| **state == "up").count();
    let bus = if now.sum("interchange_bus_up", &[]) == 1.0 { "the bus answers" } else { "THE BUS DOES NOT ANSWER" };
    let waiting = now.sum("interchange_queue_messages", &[]);
    let _ = writeln!(text, "{up} of {} links up, {waiting} messages wait, {bus}\n", links.len());
    let _ = writeln!(
        text,
        "{:<width$}  {:<12} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "link", "state", "in/s", "out/s", "failed/s", "refused/s", "waiting", "oldest"
    );
    for (link, state) in links {
        let of = |name: &str, result: &str| rate(name, &[("link", link), ("kind", "text"), ("result", result)]);
        let depth = now.sum("interchange_queue_messages", &[("link", link)]);
        let oldest = now.sum("interchange_queue_oldest_seconds", &[("link", link)]);
        let mark = match state {
            "up" => "●",
            "broken" => "✗",
            _ => "○",
        };
        let bar = "█".repeat(length_of(depth, most));
        let _ = writeln!(
            text,
            "{link:<width$}  {mark} {state:<10} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {depth:>8} {:>8} {bar}",
            of("interchange_messages_received_total", "accepted"),
            of("interchange_deliveries_total", "delivered"),
            of("interchange_deliveries_total", "failed"),
            rate("interchange_messages_received_total", &[("link", link), ("result", "refused")]),
            if depth > 0.0 { age(oldest) } else { String::new() },
        );
    }
    text
}

/// How many characters stand for a depth: none for none, and at least one for some.
fn length_of(depth: f64, most: f64) -> usize {
    if depth <= 0.0 {
        return 0;
    }
    let share = (depth / most).clamp(0.0, 1.0) * BAR as f64;
    // Of a number between 0 and 20.
    (share.round() as usize).max(1)
}

fn age(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds if seconds < 6_000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# HELP x y\n\
        interchange_bus_up 1\n\
        interchange_link_state{link=\"acme\",state=\"up\"} 1\n\
        interchange_link_state{link=\"acme\",state=\"broken\"} 0\n\
        interchange_link_state{link=\"globex\",state=\"retrying\"} 1\n\
        interchange_messages_received_total{kind=\"text\",link=\"acme\",reason=\"\",result=\"accepted\"} 10\n\
        interchange_queue_messages{link=\"globex\"} 40\n\
        interchange_queue_oldest_seconds{link=\"globex\"} 130\n\
        nonsense\n";

    fn look(text: &str, at: Instant) -> Look {
        Look { at, samples: samples(text) }
    }

    #[test]
    fn rates_are_what_happened_between_two_looks() {
        let start = Instant::now();
        let after = BEFORE.replace("\"accepted\"} 10", "\"accepted\"} 30");
        let text = table(&look(BEFORE, start), &look(&after, start + Duration::from_secs(2)));
        assert!(text.starts_with("1 of 2 links up, 40 messages wait, the bus answers\n"), "{text}");
        let line = |link: &str| text.lines().find(|line| line.starts_with(link)).unwrap().to_owned();
        assert_eq!(line("acme").split_whitespace().collect::<Vec<_>>(), ["acme", "●", "up", "10.0", "0.0", "0.0", "0.0", "0"]);
        assert!(line("globex").contains("○ retrying") && line("globex").contains("2 min ████████████████████"), "{text}");
    }

    #[test]
    fn labels_are_read_as_they_are_escaped() {
        let read = sample(r#"x{a="q\"u\\o,}",b="line\nend"} 1.5"#).unwrap();
        assert_eq!((read.labels["a"].as_str(), read.labels["b"].as_str(), read.value), ("q\"u\\o,}", "line\nend", 1.5));
        for none in ["", "x", "x{a} 1", "x{a=\"b} 1", "x{a=\"b\" 1", "x y"] {
            assert_eq!(sample(none), None, "{none}");
        }
    }

    #[test]
    fn a_hub_whose_counters_began_anew_shows_no_less_than_nothing() {
        let start = Instant::now();
        let after = BEFORE.replace("\"accepted\"} 10", "\"accepted\"} 3");
        assert!(!table(&look(BEFORE, start), &look(&after, start + EVERY)).contains('-'));
    }
}
