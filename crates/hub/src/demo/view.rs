//! The terminal view: one line for each message when its fate is known, and a picture of what happened at the end.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use super::script::FIRMS;

const WIDTH_OF_ADDRESS: usize = 32;

/// Colours, where standard output is a terminal that wants them (https://no-color.org).
pub(super) struct View {
    colour: bool,
    /// Milliseconds that messages took, by direction: `xmpp → sip`.
    delivered: BTreeMap<String, Vec<f64>>,
    failed: BTreeMap<String, u64>,
}

/// What is known of one message at its end.
pub(super) struct Crossing<'a> {
    pub(super) time: &'a str,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) from_platform: &'a str,
    pub(super) to_platform: &'a str,
    /// `None`: delivered.
    pub(super) refusal: Option<&'a str>,
    pub(super) took: Duration,
}

impl View {
    pub(super) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, delivered: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// The picture of the community, before anything moves.
    pub(super) fn picture(&self, directory: &str, xmpp: &str, sip: &str) {
        let side = |platform: &str| {
            FIRMS
                .iter()
                .filter(|firm| firm.platform == platform)
                .map(|firm| format!("{} ({})", firm.domain, firm.name))
                .collect::<Vec<_>>()
        };
        let (left, right) = (side("xmpp"), side("sip"));
        println!();
        println!("  {:<38}{:^26}{:>38}", self.paint("1", "XMPP firms"), "", self.paint("1", "SIP firms"));
        for row in 0..left.len().max(right.len()) {
            let left = left.get(row).map_or("", String::as_str);
            let right = right.get(row).map_or("", String::as_str);
            let hub = ["╭──────────╮", "│   hub    │", "╰──────────╯"].get(row).copied().unwrap_or("            ");
            println!("  {left:<36} ◄─{}─► {right:>36}", self.paint("36", hub));
        }
        println!("  {:<38}  {}", "", self.paint("36", "╰──────────╯"));
        println!("  The hub listens on {xmpp} (XMPP) and {sip} (SIP over TLS); its files are in {directory}.");
        println!("  Each message is on disk before it is acknowledged. Ctrl-C ends the demonstration.");
        println!();
        let header = format!(
            "  {:<8}  {:<from$}  {:<13}  {:<to$}  {:<22} {:>9}",
            "time",
            "from",
            "",
            "to",
            "state",
            "ms",
            from = WIDTH_OF_ADDRESS,
            to = WIDTH_OF_ADDRESS
        );
        println!("{}", self.paint("2", &header));
    }

    /// One message has come to its end.
    pub(super) fn crossing(&mut self, crossing: &Crossing<'_>) {
        let direction = format!("{} → {}", crossing.from_platform, crossing.to_platform);
        let millis = crossing.took.as_secs_f64() * 1000.0;
        let (state, colour) = match crossing.refusal {
            None => {
                self.delivered.entry(direction.clone()).or_default().push(millis);
                ("delivered".to_owned(), "32")
            }
            Some(refusal) => {
                *self.failed.entry(refusal.to_owned()).or_default() += 1;
                (format!("failed: {refusal}"), "31")
            }
        };
        println!(
            "  {:<8}  {}  {:<13}  {}  {} {:>9.1}",
            crossing.time,
            fitted(crossing.from),
            direction,
            fitted(crossing.to),
            self.paint(colour, &format!("{state:<22}")),
            millis
        );
    }

    /// What happened, as bars.
    pub(super) fn summary(&mut self) {
        println!();
        let total: usize = self.delivered.values().map(Vec::len).sum();
        let failed: u64 = self.failed.values().sum();
        println!("  {total} messages delivered, {failed} refused and their senders told why.");
        let most = self.delivered.values().map(Vec::len).max().unwrap_or(0).max(1);
        for (direction, times) in &mut self.delivered {
            times.sort_by(f64::total_cmp);
            let bar = "█".repeat((times.len() * 30).div_ceil(most));
            println!(
                "  {direction:<13} {bar:<30} {:>6}   median {:>6.1} ms   slowest {:>6.1} ms",
                times.len(),
                middle(times),
                times.last().copied().unwrap_or(0.0)
            );
        }
        for (refusal, count) in &self.failed {
            println!("  {refusal:<13} {:<30} {count:>6}   the sender's own client shows it as an error", "");
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// An address in exactly the width of its column, counted in characters.
fn fitted(address: &str) -> String {
    let length = address.chars().count();
    if length > WIDTH_OF_ADDRESS {
        address.chars().take(WIDTH_OF_ADDRESS - 1).chain(std::iter::once('…')).collect()
    } else {
        format!("{address}{}", " ".repeat(WIDTH_OF_ADDRESS - length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_fills_its_column_exactly() {
        for address in ["a@b", "yūko@globex.example", "a.very.long.name.of.somebody@globex.example"] {
            assert_eq!(fitted(address).chars().count(), WIDTH_OF_ADDRESS, "{address}");
        }
    }
}
