//! Presence documents in the three forms that Microsoft's servers take and give, and the numbers in them.

mod categories;
mod legacy;
mod pidf;

use simple_codec::XmlFault;

/// Bytes of a note that are kept; Microsoft's clients let their users write 500 characters.
const MAX_NOTE: usize = 2_048;
/// Bytes of a word for what somebody does.
const MAX_ACTIVITY: usize = 64;
/// Bytes of a time.
const MAX_TIME: usize = 64;

/// How somebody can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Availability {
    /// 3000 to 4499.
    Available,
    /// Was available, and nobody touches the device: 4500 to 5999.
    Inactive,
    /// 6000 to 7499.
    Busy,
    /// Was busy, and nobody touches the device: 7500 to 8999.
    BusyInactive,
    /// 9000 to 11999.
    DoNotDisturb,
    /// 12000 to 14999.
    BeRightBack,
    /// 15000 to 17999.
    Away,
    /// 18000 and above, and below 3000.
    Offline,
}

impl Availability {
    /// Each with its number.
    const NUMBERS: [(Self, u32); 8] = [
        (Self::Available, 3_500),
        (Self::Inactive, 5_000),
        (Self::Busy, 6_500),
        (Self::BusyInactive, 7_500),
        (Self::DoNotDisturb, 9_500),
        (Self::BeRightBack, 12_500),
        (Self::Away, 15_500),
        (Self::Offline, 18_500),
    ];

    /// What a number stands for: each for a range.
    #[must_use]
    pub const fn of_number(number: u32) -> Self {
        match number {
            3_000..=4_499 => Self::Available,
            4_500..=5_999 => Self::Inactive,
            6_000..=7_499 => Self::Busy,
            7_500..=8_999 => Self::BusyInactive,
            9_000..=11_999 => Self::DoNotDisturb,
            12_000..=14_999 => Self::BeRightBack,
            15_000..=17_999 => Self::Away,
            _ => Self::Offline,
        }
    }

    /// The number that is written for it.
    #[must_use]
    pub fn number(self) -> u32 {
        Self::NUMBERS.iter().find(|(known, _)| *known == self).map_or(18_500, |(_, number)| *number)
    }
}

/// How somebody can be reached, and what they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// How.
    pub availability: Availability,
    /// A word for what they do: `on-the-phone`, `in-a-meeting`.
    pub activity: Option<String>,
    /// When they last touched a device, as the document says it: an XML Schema `dateTime`, where real servers leave out the zone, which is UTC. The form
    /// of 2007 alone has it; its clients show for how long somebody has been away.
    pub last_active: Option<String>,
}

impl State {
    /// A state without a word for what somebody does.
    #[must_use]
    pub const fn of(availability: Availability) -> Self {
        Self { availability, activity: None, last_active: None }
    }

    /// A state with one.
    #[must_use]
    pub fn doing(availability: Availability, activity: &str) -> Self {
        Self { activity: Some(shortened(activity, MAX_ACTIVITY).to_owned()), ..Self::of(availability) }
    }

    /// The same of somebody who last touched a device at this time. What is longer than any time is none.
    #[must_use]
    pub fn since(self, last_active: Option<&str>) -> Self {
        let last_active = last_active.filter(|time| (1..=MAX_TIME).contains(&time.len())).map(str::to_owned);
        Self { last_active, ..self }
    }
}

/// What a document says of a note.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Note {
    /// Nothing: what was known of it still holds.
    #[default]
    Unchanged,
    /// There is none.
    None,
    /// This one.
    Is(String),
}

impl Note {
    fn read(text: &str) -> Self {
        if text.is_empty() { Self::None } else { Self::Is(shortened(text, MAX_NOTE).to_owned()) }
    }

    fn text(&self) -> &str {
        match self {
            Self::Is(text) => text,
            Self::Unchanged | Self::None => "",
        }
    }
}

/// A presence document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Whose presence it is: a SIP URI.
    pub uri: String,
    /// `None`: it says nothing of it, so nothing is known.
    pub state: Option<State>,
    /// In the person's words.
    pub note: Note,
}

/// The form of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// `application/msrtc-event-categories+xml`: all states and the note.
    Categories,
    /// `text/xml+msrtc.pidf`: LCS 2005.
    Legacy,
    /// `application/pidf+xml`, with activities inside the status: open, busy, away, closed.
    Pidf,
}

impl Form {
    /// All of them, the one that says most first: the order in which Microsoft's own servers choose among what is accepted.
    pub const ALL: [Self; 3] = [Self::Categories, Self::Legacy, Self::Pidf];

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Categories => ("application", "msrtc-event-categories+xml"),
            Self::Legacy => ("text", "xml+msrtc.pidf"),
            Self::Pidf => ("application", "pidf+xml"),
        }
    }

    /// The form of a media type, in any case and without parameters.
    #[must_use]
    pub fn of_media(media: &str) -> Option<Self> {
        let media = media.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|form| {
            let (kind, subtype) = form.media_type();
            media.split_once('/').is_some_and(|(k, s)| k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype))
        })
    }

    /// The best of the forms that somebody accepts.
    pub fn choose<'a>(accepted: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        accepted.into_iter().filter_map(Self::of_media).min()
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`XmlFault`]; [`XmlFault::Other`] for another document, or one that does not say whose presence it is.
    pub fn read(self, bytes: &[u8]) -> Result<Document, XmlFault> {
        match self {
            Self::Categories => categories::read(bytes),
            Self::Legacy => legacy::read(bytes),
            Self::Pidf => pidf::read(bytes),
        }
    }

    /// The document. `published`: an RFC 3339 time, for the form that has one. A note that is unchanged is written as none.
    #[must_use]
    pub fn write(self, document: &Document, published: &str) -> String {
        match self {
            Self::Categories => categories::write(document, published),
            Self::Legacy => legacy::write(document),
            Self::Pidf => pidf::write(document),
        }
    }
}

fn shortened(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
