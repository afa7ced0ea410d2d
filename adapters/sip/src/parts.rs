//! What the adapter does with a text that is too large for one MESSAGE of its link: it goes in parts ([`sip_model::parts`]).

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use interchange_adapter::{Now, Output};
use interchange_model::{Envelope, LinkId, MessageId, Plain, Text, Up};
use serde::{Deserialize, Serialize};
pub(crate) use sip_model::parts::{of, outcome_of_part, size, too_large};

use crate::Sip;

/// A text of one letter with all that can stand around the words of a part.
pub(crate) fn sample(text: &Text) -> Text {
    Text {
        plain: Plain::new("x"),
        subject: text.subject.clone(),
        language: text.language.clone(),
        display_name: text.display_name.clone(),
        written: text.written,
        wants: text.wants,
        ..Text::default()
    }
}

/// What a restart of the hub must not lose of a text that is half sent. The form is a contract with what an older version has written.
#[derive(Serialize, Deserialize)]
struct Kept {
    arrived: u32,
    kept: bool,
}

/// What an entry of the store is called that holds a [`Kept`]: this, and the message's id.
const ENTRY: &str = "parts ";

/// Longer than a message may wait for its link (`interchange_model::Pace::time_to_live`): what is older is never handed over again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(31 * 24 * 60 * 60);

impl Sip {
    /// Keeps how many parts of a message have arrived, or forgets it when it is settled.
    pub(crate) fn remember_parts(&mut self, number: u64, message: MessageId) {
        let Some(link) = self.links.get(&number) else { return };
        let (arrived, all_there) = link.attempts.arrived(message);
        let kept = Kept { arrived: u32::try_from(arrived).unwrap_or(u32::MAX), kept: !all_there };
        let value = if arrived == 0 { None } else { serde_json::to_vec(&kept).ok() };
        self.out.push(Output::Broker(Up::Remember { link: link.id.clone(), key: format!("{ENTRY}{message}").into(), value }));
    }

    /// Takes what was kept of texts in parts; the entries that are of something else.
    pub(crate) fn remembered_parts(
        &mut self,
        now: Now,
        name: &LinkId,
        entries: Vec<(Arc<str>, Vec<u8>)>,
    ) -> Vec<(Arc<str>, Vec<u8>)> {
        let (ours, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.starts_with(ENTRY));
        let Some(link) = self.names.get(name).and_then(|number| self.links.get_mut(number)) else { return others };
        for (key, value) in ours {
            let message = key.strip_prefix(ENTRY).and_then(|id| id.parse::<MessageId>().ok());
            // The time of entry is in the id itself (RFC 9562 §5.7).
            let entered = message.and_then(|id| u64::try_from(id.0 >> 80).ok()).map(Duration::from_millis);
            let age = entered.and_then(|entered| now.wall.duration_since(UNIX_EPOCH + entered).ok()).unwrap_or_default();
            match (message, serde_json::from_slice::<Kept>(&value)) {
                (Some(message), Ok(kept)) if age < FORGOTTEN_AFTER => link.attempts.restore(message, kept.arrived, kept.kept),
                _ => self.out.push(Output::Broker(Up::Remember { link: name.clone(), key, value: None })),
            }
        }
        others
    }
}

/// An envelope that says one part of what `envelope` says.
pub(crate) fn envelope_of(envelope: &Envelope, part: Text) -> Envelope {
    Envelope { body: interchange_model::Body::Text(part), native: None, ..envelope.clone() }
}
