//! What a text says to people whose platform has words alone.

use std::borrow::Cow;

use interchange_model::{Plain, Relation, Text};

/// The words of a text. What it is to an earlier one, and the files that belong to it, are said in words, since SIP has nothing else for them.
#[must_use]
pub fn words_of(text: &Text) -> Cow<'_, str> {
    let plain = text.plain.as_str();
    let subject = text.subject.as_ref().map(Plain::as_str).filter(|subject| !subject.is_empty());
    let mut words = match &text.relation {
        // Case 28: what people do who have no other way to correct themselves.
        Some(Relation::Correction) if !plain.is_empty() => Cow::Owned(format!("* {plain}")),
        Some(Relation::Reaction(reactions)) if plain.is_empty() => {
            let reactions: Vec<&str> = reactions.iter().map(Plain::as_str).collect();
            // All taken back: nothing that could be said of which.
            let said = if reactions.is_empty() { String::new() } else { format!("reacted with {}", reactions.join(" ")) };
            Cow::Owned(said)
        }
        _ if plain.is_empty() => subject.unwrap_or_default().into(),
        _ => plain.into(),
    };
    for file in text.files.iter().filter(|file| !plain.contains(file.url.as_str())) {
        let words = words.to_mut();
        if !words.is_empty() {
            words.push('\n');
        }
        words.push_str(file.url.as_str());
    }
    words
}
