//! People, platforms and ways between them; what can become of something on its way.

use std::fmt;

/// Everybody who takes part, each with a client of their own platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// On Prosody.
    Alice,
    /// With Linphone at Kamailio.
    Bob,
    /// With the plugin SIPE at servers in the manner of Office Communications Server.
    Carol,
    /// With libmeanwhile at the hub.
    Frank,
    /// On ejabberd.
    Dave,
}

impl Who {
    pub(crate) const ALL: [Self; 5] = [Self::Alice, Self::Bob, Self::Carol, Self::Frank, Self::Dave];

    pub(crate) fn address(self) -> &'static str {
        match self {
            Self::Alice => "alice@acme.example",
            Self::Bob => "bob@globex.example",
            Self::Carol => "carol@contoso.example",
            Self::Frank => "frank@northwind.example",
            Self::Dave => "dave@initech.example",
        }
    }

    /// Somebody else at the same firm.
    pub(crate) fn colleague(self, user: &str) -> String {
        format!("{user}@{}", self.domain())
    }

    pub(crate) fn domain(self) -> &'static str {
        self.address().split('@').nth(1).expect("an address has a domain")
    }

    pub(crate) fn platform(self) -> &'static str {
        match self {
            Self::Alice | Self::Dave => "XMPP",
            Self::Bob => "SIP",
            Self::Carol => "Microsoft",
            Self::Frank => "Sametime",
        }
    }
}

/// From whom to whom.
pub(crate) type Way = (Who, Who);

/// Every way between two platforms, and one between two servers of the same.
pub(crate) fn ways() -> Vec<Way> {
    let four = [Who::Alice, Who::Bob, Who::Carol, Who::Frank];
    let pairs = four.into_iter().flat_map(|from| four.map(|to| (from, to))).filter(|(from, to)| from != to);
    pairs.chain([(Who::Alice, Who::Dave)]).collect()
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The sender's client, or the reader's, has nothing of the kind.
    Nothing,
    /// It is shown as it was meant.
    Kept,
    /// It is shown so.
    As(String),
    /// The words are shown, and what stood beside them is not.
    WordsAlone,
    /// Nothing of it is shown to anybody.
    Lost,
    /// It could not arrive, and the sender reads this.
    Told(String),
}

impl Seen {
    pub(crate) fn kept(whether: bool) -> Self {
        if whether { Self::Kept } else { Self::Lost }
    }

    /// Kept, if what is shown is what was sent.
    pub(crate) fn of(shown: Option<String>, sent: &str) -> Self {
        match shown {
            None => Self::Lost,
            Some(shown) if shown == sent => Self::Kept,
            Some(shown) => Self::As(shown),
        }
    }

    /// The same in one sign.
    pub(crate) fn sign(&self) -> &'static str {
        match self {
            Self::Nothing => "·",
            Self::Kept => "●",
            Self::As(_) | Self::WordsAlone => "◐",
            Self::Lost => "○",
            Self::Told(_) => "✉",
        }
    }
}

/// Longer texts are told by their length.
const LONGEST_QUOTE: usize = 200;

/// Something that was read, for a cell of a table.
fn quoted(text: &str) -> String {
    if text.chars().count() > LONGEST_QUOTE {
        return format!("a text of {} letters", text.chars().count());
    }
    let line = text.replace('|', "\\|").lines().collect::<Vec<_>>().join(" ⏎ ");
    let fence = if line.contains('`') { "``" } else { "`" };
    let blank = if line.starts_with('`') || line.ends_with('`') { " " } else { "" };
    format!("{fence}{blank}{line}{blank}{fence}")
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("–"),
            Self::Kept => formatter.write_str("kept"),
            Self::As(shown) => write!(formatter, "as {}", quoted(shown)),
            Self::WordsAlone => formatter.write_str("its words alone"),
            Self::Lost => formatter.write_str("lost"),
            Self::Told(words) => write!(formatter, "told {}", quoted(words)),
        }
    }
}

/// One line of the tables: a feature, and what was seen of it on each way.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) feature: String,
    pub(crate) cells: Vec<(Way, Seen)>,
}

impl Row {
    pub(crate) fn new(feature: &str) -> Self {
        Self { feature: feature.to_owned(), cells: Vec::new() }
    }

    pub(crate) fn with(mut self, way: Way, seen: Seen) -> Self {
        self.cells.push((way, seen));
        self
    }
}
