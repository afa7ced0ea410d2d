//! The terminal view: one line for each message when its fate is known, and a picture of what happened at the end.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
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
    ///
    /// # Errors
    /// When nobody reads standard output any more.
    pub(super) fn picture(&self, directory: &str, xmpp: &str, sip: &str) -> io::Result<()> {
        let side = |platform: &str| -> Vec<String> {
            let firms = FIRMS.iter().filter(|firm| firm.platform == platform);
            firms.map(|firm| format!("{} ({})", firm.domain, firm.name)).collect()
        };
        let (left, right) = (side("xmpp"), side("sip"));
        let mut out = io::stdout().lock();
        writeln!(out, "\n  {:>36}     {:12}     {}", self.bold("XMPP firms", 36), "", self.paint("1", "SIP firms"))?;
        let walls = ["╭──────────╮", "│   hub    │", "╰──────────╯"];
        for row in 0..left.len().max(right.len()).max(walls.len()) {
            let (left, right) = (left.get(row), right.get(row));
            let arrow = |firm: Option<&String>| if firm.is_some() { "◄─►" } else { "   " };
            let wall = self.paint("36", walls.get(row).copied().unwrap_or("            "));
            let text = |firm: Option<&String>| firm.cloned().unwrap_or_default();
            writeln!(out, "  {:>36} {} {wall} {} {}", text(left), arrow(left), arrow(right), text(right))?;
        }
        writeln!(out, "\n  The hub listens on {xmpp} (XMPP) and {sip} (SIP over TLS); its files are in {directory}.")?;
        writeln!(out, "  Each message is on disk before it is acknowledged. Ctrl-C ends the demonstration.\n")?;
        let width = WIDTH_OF_ADDRESS;
        let header = format!("  {:<8}  {:<width$}  {:<13}  {:<width$}  {:<22} {:>9}", "time", "from", "", "to", "state", "ms");
        writeln!(out, "{}", self.paint("2", &header))
    }

    /// One message has come to its end.
    ///
    /// # Errors
    /// When nobody reads standard output any more.
    pub(super) fn crossing(&mut self, crossing: &Crossing<'_>) -> io::Result<()> {
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
        writeln!(
            io::stdout(),
            "  {:<8}  {}  {:<13}  {}  {} {:>9.1}",
            crossing.time,
            fitted(crossing.from),
            direction,
            fitted(crossing.to),
            self.paint(colour, &format!("{state:<22}")),
            millis
        )
    }

    /// What happened, as bars.
    ///
    /// # Errors
    /// When nobody reads standard output any more.
    pub(super) fn summary(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let total: usize = self.delivered.values().map(Vec::len).sum();
        let failed: u64 = self.failed.values().sum();
        writeln!(out, "\n  {total} messages delivered; {failed} refused, and their senders told why.")?;
        let most = self.delivered.values().map(Vec::len).max().unwrap_or(0).max(1);
        for (direction, times) in &mut self.delivered {
            times.sort_by(f64::total_cmp);
            let bar = "█".repeat((times.len() * 30).div_ceil(most));
            let slowest = times.last().copied().unwrap_or(0.0);
            let median = middle(times);
            writeln!(
                out,
                "  {direction:<13} {bar:<30} {:>6}   median {median:>6.1} ms   slowest {slowest:>6.1} ms",
                times.len()
            )?;
        }
        for (refusal, count) in &self.failed {
            writeln!(out, "  {refusal:<13} {:<30} {count:>6}   the sender's own client shows it as an error", "")?;
        }
        Ok(())
    }

    /// Bold text at the right end of a column; the codes take no room in it.
    fn bold(&self, text: &str, width: usize) -> String {
        format!("{}{}", " ".repeat(width.saturating_sub(text.len())), self.paint("1", text))
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
