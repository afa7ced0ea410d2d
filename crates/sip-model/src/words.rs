//! What a text says to people whose platform has words alone.

use std::borrow::Cow;

use interchange_model::{Plain, Relation, Text};

/// The words of a text. What it is to an earlier one, and the files that belong to it, are said in words, since SIP has nothing else for them (case 28).
#[must_use]
pub fn words_of(text: &Text) -> Cow<'_, str> {
    let mut words = text.in_words();
    // Reactions that were all taken back: nothing that could be said of which.
    if words.is_empty() && !matches!(text.relation, Some(Relation::Reaction(_))) {
        words = text.subject.as_ref().map(Plain::as_str).unwrap_or_default().into();
    }
    for file in text.unnamed_files() {
        let words = words.to_mut();
        if !words.is_empty() {
            words.push('\n');
        }
        words.push_str(file.url.as_str());
    }
    words
}
