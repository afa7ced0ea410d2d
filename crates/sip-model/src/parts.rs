//! Texts that are too large for one MESSAGE of a link, in parts (shared/protocols/interworking.md §8).
//!
//! A text is divided at white space where there is some, and never inside what a person sees as one character (a grapheme cluster, UAX 29).
//! Each part ends in its number, ` (1/3)`. Nothing of a text is left out but the one white space at which it is divided: where it
//! does not fit into [`MOST_PARTS`] parts, none is sent.

use interchange_model::{Detail, Outcome, Plain, Refusal, Text, Wants};
use unicode_segmentation::UnicodeSegmentation;

/// Parts of one text.
pub const MOST_PARTS: usize = 10;

/// The longest number of a part: ` (10/10)`.
const NUMBER: usize = 8;

/// Bytes of a part that is worth sending; a link that takes less takes no parts.
const LEAST: usize = 100;

/// Bytes of one part as it stands in the body, its number included, where a link takes `most`: 900 of 1,300, so that headers have room.
#[must_use]
pub const fn size(most: usize) -> usize {
    most.saturating_mul(9) / 13
}

/// The outcome of a text that fits neither into one request, which has room for `whole` bytes of text if that can be said, nor into parts of `size` bytes.
#[must_use]
pub fn too_large(size: usize, whole: usize) -> Outcome {
    let bytes = if size < LEAST { whole } else { whole.max(MOST_PARTS * size.saturating_sub(NUMBER)) };
    if bytes == 0 {
        return Outcome::Refused(Refusal::TooLarge);
    }
    Outcome::RefusedWith(Refusal::TooLarge, Detail::Most { bytes: u32::try_from(bytes).unwrap_or(u32::MAX) })
}

/// The texts by which `words` go out, in order, each of at most `size` bytes; `None`: they are too large for that. What the sender wants to be told
/// is asked for with the last, since only then all of it has arrived; the subject stands over the first.
#[must_use]
pub fn of(text: &Text, words: &str, size: usize) -> Option<Vec<Text>> {
    let parts = numbered(words, size)?;
    let last = parts.len().saturating_sub(1);
    let part = |(index, words): (usize, String)| Text {
        plain: Plain::new(&words),
        subject: text.subject.clone().filter(|_| index == 0),
        language: text.language.clone(),
        display_name: text.display_name.clone(),
        conversation: text.conversation.clone(),
        kind: text.kind,
        written: text.written,
        wants: if index == last { text.wants } else { Wants::default() },
        ..Text::default()
    };
    Some(parts.into_iter().enumerate().map(part).collect())
}

/// The same as words alone.
#[must_use]
pub fn numbered(words: &str, size: usize) -> Option<Vec<String>> {
    if size < LEAST {
        return None;
    }
    let room = size.saturating_sub(NUMBER);
    // White space far back makes short parts: where there would be too many, what is near the end of a part is used only, and then none.
    let parts = [room, room / 2, 0].into_iter().find_map(|reach| divided(words, room, reach))?;
    let count = parts.len();
    Some(parts.iter().zip(1..).map(|(part, number): (_, usize)| format!("{part} ({number}/{count})")).collect())
}

/// Words in pieces of at most `room` bytes, divided at white space that lies at most `reach` bytes before the end of a piece, else between
/// two characters. `None`: there are too many, or one character is larger than a piece.
fn divided(words: &str, room: usize, reach: usize) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let mut rest = words;
    while !rest.is_empty() {
        if parts.len() == MOST_PARTS {
            return None;
        }
        let (part, after) = first(rest, room, reach)?;
        parts.push(part);
        rest = after;
    }
    Some(parts)
}

/// The first piece, and what is left.
fn first(words: &str, room: usize, reach: usize) -> Option<(&str, &str)> {
    let mut cost = 0;
    // The end of what fits; and the last white space in it: where it is, where it ends, and what fitted before it.
    let (mut end, mut space) = (0, None);
    for (at, cluster) in words.grapheme_indices(true) {
        if is_space(cluster) && at > 0 {
            // It need not fit itself, since it is left out.
            space = Some((at, at + cluster.len(), cost));
        }
        cost += on_the_wire(cluster);
        if cost > room {
            return match space.filter(|(_, _, before)| before + reach >= room) {
                Some((at, next, _)) => Some((words.get(..at)?, words.get(next..)?)),
                None if end > 0 => Some((words.get(..end)?, words.get(end..)?)),
                None => None,
            };
        }
        end = at + cluster.len();
    }
    Some((words, ""))
}

/// Bytes in a body, where lines end by CR LF.
#[must_use]
pub fn on_the_wire(words: &str) -> usize {
    words.len() + words.matches('\n').count()
}

/// Whether a text may be divided at it: not at the spaces that are there to keep two words together.
fn is_space(cluster: &str) -> bool {
    cluster.chars().all(|c| c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}'))
}

/// A refusal of one part, after so many have arrived.
#[must_use]
pub fn outcome_of_part(why: Refusal, arrived: usize, of: usize) -> Outcome {
    match (u8::try_from(arrived), u8::try_from(of)) {
        (Ok(arrived), Ok(of)) if of > 1 => Outcome::RefusedWith(why, Detail::Parts { arrived, of }),
        _ => Outcome::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The words of each part without its number.
    fn bare(parts: &[String]) -> Vec<&str> {
        let number = |index: usize| format!(" ({}/{})", index + 1, parts.len());
        parts.iter().enumerate().map(|(index, part)| part.strip_suffix(number(index).as_str()).unwrap()).collect()
    }

    /// Whether the parts are the words again, but for at most one white space at each place where they were divided.
    fn is_whole(words: &str, parts: &[&str]) -> bool {
        let black = |words: &str| words.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let clusters: usize = parts.iter().map(|part| part.graphemes(true).count()).sum();
        black(words) == black(&parts.concat()) && (0..=parts.len()).contains(&(words.graphemes(true).count() - clusters))
    }

    #[test]
    fn case_25_words_stay_whole_and_parts_are_numbered() {
        let words = "word ".repeat(400);
        let parts = numbered(words.trim_end(), 900).unwrap();
        assert_eq!(parts.len(), 3);
        assert!(parts[0].starts_with("word word ") && parts[0].ends_with("word (1/3)") && parts[2].ends_with(" (3/3)"));
        assert!(parts.iter().all(|part| part.len() <= 900));
        assert!(is_whole(words.trim_end(), &bare(&parts)));
        // One word that fits nowhere is divided all the same.
        let parts = numbered(&"x".repeat(2_000), 900).unwrap();
        assert_eq!(bare(&parts).iter().map(|part| part.len()).collect::<Vec<_>>(), [892, 892, 216]);
        // An address is kept whole though little stands before it.
        let parts = numbered(&format!("see https://a.example/{}", "x".repeat(880)), 900).unwrap();
        assert_eq!(bare(&parts)[0], "see");
        // A line's end is two bytes on the wire.
        let parts = numbered(&"a\n".repeat(1_000), 900).unwrap();
        assert!(parts.iter().all(|part| on_the_wire(part) <= 900));
    }

    #[test]
    fn case_26_no_grapheme_is_broken() {
        // A family of four, 25 bytes; with a skin tone, a flag, and marks above marks.
        let family = "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{200D}\u{1F466}";
        for one in [
            family,
            "\u{1F44D}\u{1F3FD}",
            "\u{1F1E8}\u{1F1FF}",
            "e\u{301}\u{302}\u{303}",
            "\u{1100}\u{1161}\u{11A8}",
            "\u{1F600}",
        ] {
            let words = one.repeat(3_000 / one.len());
            let parts = numbered(&words, 900).unwrap();
            assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= 900), "{one}");
            assert!(bare(&parts).iter().all(|part| part.graphemes(true).all(|found| found == one)), "{one}");
            assert_eq!(bare(&parts).concat(), words);
        }
        // A character larger than a part is not broken either.
        assert_eq!(numbered(&format!("e{}", "\u{301}".repeat(600)), 900), None);
    }

    #[test]
    fn abuse_33_what_does_not_fit_is_refused_and_never_cut() {
        assert!(numbered(&"x".repeat(8_920), 900).is_some());
        assert_eq!(numbered(&"x".repeat(8_921), 900), None);
        assert_eq!(too_large(900, 1_300), Outcome::RefusedWith(Refusal::TooLarge, Detail::Most { bytes: 8_920 }));
        assert_eq!(numbered("hello", 50), None);
        // Where white space lies badly it is not used, so that all of it arrives.
        let badly = format!("{} {}", "x".repeat(400), "y".repeat(892)).repeat(6);
        assert!(is_whole(&badly, &bare(&numbered(&badly, 900).unwrap())));
    }

    proptest! {
        #[test]
        fn abuse_33_any_text_is_whole_in_its_parts(
            words in "([a-z]{1,20}[ \n]{1,3}|\\PC{1,10}|\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}){1,120}",
            size in 100usize..400,
        ) {
            if let Some(parts) = numbered(&words, size) {
                prop_assert!(parts.len() <= MOST_PARTS);
                prop_assert!(parts.iter().all(|part| on_the_wire(part) <= size));
                prop_assert!(is_whole(&words, &bare(&parts)), "{:?}", parts);
            } else {
                prop_assert!(on_the_wire(&words) > (size - NUMBER) * MOST_PARTS / 2);
            }
        }
    }
}
