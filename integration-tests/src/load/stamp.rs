//! The number and time that each load message carries in its body, and the templates that write them.

use memchr::memmem;

use super::nanoseconds_now;

const OPENING: &str = "@load ";
const NUMBER_DIGITS: usize = 10;
const NANOSECOND_DIGITS: usize = 20;
/// `@load NUMBER NANOSECONDS@`
const STAMP_BYTES: usize = OPENING.len() + NUMBER_DIGITS + 1 + NANOSECOND_DIGITS + 1;

const NUMBER_PLACE: &str = "##########";
const NANOSECONDS_PLACE: &str = "&&&&&&&&&&&&&&&&&&&&";

/// What one body carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) number: u64,
    pub(super) nanoseconds: u64,
}

/// A body of this many bytes with places for the stamp.
pub(super) fn body(bytes: usize) -> String {
    let stamp = format!("{OPENING}{NUMBER_PLACE} {NANOSECONDS_PLACE}@");
    format!("{stamp}{}", "x".repeat(bytes.saturating_sub(stamp.len())))
}

/// The place for the number, for other parts of a message that must differ each time.
pub(super) fn number_place() -> &'static str {
    NUMBER_PLACE
}

/// The place for the time, which tells one run's messages from another's.
pub(super) fn time_place() -> &'static str {
    NANOSECONDS_PLACE
}

/// A whole message as bytes, in which only digits change.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    numbers: Vec<usize>,
    nanoseconds: Vec<usize>,
}

impl Template {
    pub(super) fn new(text: String) -> Self {
        let bytes = text.into_bytes();
        let numbers = memmem::find_iter(&bytes, NUMBER_PLACE).collect();
        let nanoseconds = memmem::find_iter(&bytes, NANOSECONDS_PLACE).collect();
        Self { bytes, numbers, nanoseconds }
    }

    /// Appends messages numbered from `first` on, all with this time.
    pub(super) fn render(&mut self, first: u64, count: u64, nanoseconds: u64, out: &mut Vec<u8>) {
        for &place in &self.nanoseconds {
            write_digits(&mut self.bytes[place..place + NANOSECOND_DIGITS], nanoseconds);
        }
        for number in first..first + count {
            for &place in &self.numbers {
                write_digits(&mut self.bytes[place..place + NUMBER_DIGITS], number);
            }
            out.extend_from_slice(&self.bytes);
        }
    }
}

fn write_digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Appends messages numbered from `first` on, all with the present time; number `n` takes the template `n` modulo their count.
pub(super) fn render_in_turn(templates: &mut [Template], first: u64, count: u64, out: &mut Vec<u8>) {
    let now = nanoseconds_now();
    for number in first..first + count {
        let turn = number as usize % templates.len();
        templates[turn].render(number, 1, now, out);
    }
}

/// Finds stamps in a stream of bytes, however it is cut.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    rest: Vec<u8>,
}

impl Scanner {
    /// The stamps that are complete with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Stamp> {
        self.rest.extend_from_slice(bytes);
        let mut stamps = Vec::new();
        let mut done = 0;
        for start in memmem::find_iter(&self.rest, OPENING) {
            let Some(stamp) = self.rest.get(start..start + STAMP_BYTES) else { break };
            stamps.extend(parse(stamp));
            done = start + STAMP_BYTES;
        }
        // What is kept is shorter than a stamp, unless it is the beginning of one.
        let keep = self.rest.len().saturating_sub(STAMP_BYTES - 1).max(done);
        self.rest.drain(..keep);
        stamps
    }
}

fn parse(stamp: &[u8]) -> Option<Stamp> {
    let text = std::str::from_utf8(stamp).ok()?;
    let (number, nanoseconds) = text.strip_prefix(OPENING)?.strip_suffix('@')?.split_once(' ')?;
    Some(Stamp { number: number.parse().ok()?, nanoseconds: nanoseconds.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::{Scanner, Stamp, Template, body};

    #[test]
    fn stamps_are_found_in_a_stream_cut_anywhere() {
        let mut template = Template::new(format!("<body>{}</body>", body(200)));
        let mut stream = Vec::new();
        template.render(7, 3, 1_700_000_000_123_456_789, &mut stream);
        let expected: Vec<Stamp> = (7..10).map(|number| Stamp { number, nanoseconds: 1_700_000_000_123_456_789 }).collect();
        for size in 1..stream.len() {
            let mut scanner = Scanner::default();
            let found: Vec<Stamp> = stream.chunks(size).flat_map(|chunk| scanner.feed(chunk)).collect();
            assert_eq!(found, expected, "in chunks of {size}");
        }
    }

    #[test]
    fn a_body_has_the_length_asked_for() {
        assert_eq!(body(200).len(), 200);
    }
}
