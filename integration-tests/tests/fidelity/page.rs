//! The page: what was seen, written for an administrator.

use std::fmt::Write as _;

use crate::fidelity::kinds::{Row, Seen, Way, Who};

/// The pairs of platforms, as the page orders them.
const PAIRS: [(Who, Who); 7] = [
    (Who::Alice, Who::Bob),
    (Who::Alice, Who::Carol),
    (Who::Alice, Who::Frank),
    (Who::Bob, Who::Carol),
    (Who::Bob, Who::Frank),
    (Who::Carol, Who::Frank),
    (Who::Alice, Who::Dave),
];

const HEAD: &str = "# What people get

Written by `integration-tests/tests/fidelity` from what real clients have shown: every row was sent on every way, and each cell is what was read at the other end. Firms of a
community, as they are linked here:

| platform | server | client |
|---|---|---|
| XMPP | Prosody 0.12, link with `xhtml_im = true`; a second firm on ejabberd 23.01 | slixmpp |
| SIP | Kamailio 5.6 with its presence modules, link with `html = true`, `imdn = true` | Linphone 5.1; where Linphone shows nothing of the kind (looks, subjects, sessions), a client that shows all that the wire has |
| Microsoft | scripted servers in the manner of Office Communications Server 2007 | libpurple with the plugin SIPE 1.25 |
| Sametime | the hub | libmeanwhile 1.1.1, the library of Pidgin's plugin |

| cell | sign | meaning |
|---|---|---|
| kept | ● | shown as it was meant. A state of presence: as the reader's own client calls it |
| as `…` | ◐ | shown so, in the reader's own client; ⏎ is a new line |
| its words alone | ◐ | the words are shown, and not what stood beside them or how they looked |
| lost | ○ | nothing of it is shown to anybody |
| told `…` | ✉ | it could not arrive, and this is what its sender reads, in their own client |
| – | · | the sender's client, or the reader's, has nothing of the kind |

## At a glance

Each cell has two signs: from the first platform to the second, and back.

";

/// What was seen, in chapters.
#[derive(Default)]
pub(crate) struct Page {
    chapters: Vec<(&'static str, Vec<Row>)>,
}

fn title((one, other): Way) -> String {
    format!("{} and {}", one.platform(), other.platform())
}

/// What was seen of a row each way between two; `None`: nobody sent it.
fn seen(row: &Row, (one, other): Way) -> [Option<&Seen>; 2] {
    let on = |way: Way| row.cells.iter().find(|(known, _)| *known == way).map(|(_, seen)| seen);
    [on((one, other)), on((other, one))]
}

/// Whether a row has something to say of a pair.
fn tells(row: &Row, pair: Way) -> bool {
    seen(row, pair).into_iter().flatten().any(|seen| *seen != Seen::Nothing)
}

impl Page {
    pub(crate) fn add(&mut self, chapter: &'static str, rows: Vec<Row>) {
        // Whoever waits for the rest may read these already.
        for row in &rows {
            println!("{}", row.feature);
            for ((from, to), seen) in &row.cells {
                println!("    {from:?} to {to:?}: {seen}");
            }
        }
        match self.chapters.last_mut() {
            Some((last, known)) if *last == chapter => known.extend(rows),
            _ => self.chapters.push((chapter, rows)),
        }
    }

    pub(crate) fn write(&self) -> String {
        let mut text = HEAD.to_owned();
        self.overview(&mut text);
        for pair in PAIRS {
            self.pair(&mut text, pair);
        }
        text
    }

    /// All that more than one pair knows, in signs.
    fn overview(&self, text: &mut String) {
        let titles = PAIRS.map(|pair| format!("[{}](#{})", title(pair), title(pair).to_lowercase().replace(' ', "-")));
        line(text, "", &titles);
        line(text, "---", &PAIRS.map(|_| ":---:".to_owned()));
        for (chapter, rows) in &self.chapters {
            let rows: Vec<&Row> = rows.iter().filter(|row| PAIRS.iter().filter(|&&pair| tells(row, pair)).count() > 1).collect();
            if !rows.is_empty() {
                line(text, &format!("**{chapter}**"), &PAIRS.map(|_| String::new()));
            }
            for row in rows {
                let signs = PAIRS.map(|pair| {
                    let ways = if pair.0.platform() == pair.1.platform() { 1 } else { 2 };
                    let signs = seen(row, pair).map(|seen| seen.unwrap_or(&Seen::Nothing).sign());
                    if tells(row, pair) { signs[..ways].join(" ") } else { String::new() }
                });
                line(text, &row.feature, &signs);
            }
        }
    }

    /// All that a pair knows, in words.
    fn pair(&self, text: &mut String, pair: Way) {
        let (one, other) = (pair.0.platform(), pair.1.platform());
        write!(text, "\n## {}\n\n", title(pair)).expect("a string takes all");
        let is_one_way = one == other;
        let cells = |cells: [String; 2]| if is_one_way { cells[..1].to_vec() } else { cells.to_vec() };
        line(text, "", &cells([format!("{one} → {other}"), format!("{other} → {one}")]));
        line(text, "---", &cells(["---".to_owned(), "---".to_owned()]));
        for (chapter, rows) in &self.chapters {
            let rows: Vec<&Row> = rows.iter().filter(|row| tells(row, pair)).collect();
            if !rows.is_empty() {
                line(text, &format!("**{chapter}**"), &cells([String::new(), String::new()]));
            }
            for row in rows {
                let words = seen(row, pair).map(|seen| seen.unwrap_or(&Seen::Nothing).to_string());
                line(text, &row.feature, &cells(words));
            }
        }
    }
}

/// One line of a table.
fn line(text: &mut String, first: &str, cells: &[String]) {
    writeln!(text, "| {first} | {} |", cells.join(" | ")).expect("a string takes all");
}

/// The lines in which two pages differ, each under the heading it stands below.
pub(crate) fn differences(old: &str, new: &str) -> Vec<String> {
    let lines = |text: &str| -> Vec<(String, String)> {
        let mut heading = String::new();
        let under = |line: &str| {
            if line.starts_with('#') {
                heading = line.trim_start_matches('#').trim().to_owned();
            }
            (heading.clone(), line.to_owned())
        };
        text.lines().map(under).collect()
    };
    let (old, new) = (lines(old), lines(new));
    let only = |sign: char, these: &[(String, String)], others: &[(String, String)]| -> Vec<String> {
        let only = these.iter().filter(|line| !others.contains(line));
        only.map(|(heading, line)| format!("{sign} {heading}: {line}")).collect()
    };
    let mut differences = only('-', &old, &new);
    differences.extend(only('+', &new, &old));
    if differences.is_empty() && old != new {
        differences.push("- the order of the lines".to_owned());
    }
    differences
}
