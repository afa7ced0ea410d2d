//! Records: one AMQP message with one envelope or several, in order, each as a line of JSON.
//!
//! JSON never holds a raw line feed, so lines need no framing. A record is parsed as untrusted: a line that is no envelope makes the
//! whole record bad, and it goes to quarantine.

use std::sync::Arc;

use interchange_model::Envelope;

/// Envelopes in one record at most: also how many more can be doubled by a crash than were in flight.
pub const RECORD_ENVELOPES: usize = 32;

/// Bytes in one record; a single envelope may be longer.
pub const RECORD_BYTES: usize = 64 * 1024;

/// A record in the making.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    envelopes: usize,
}

impl Writer {
    /// Whether the next envelope, of so many bytes, should begin another record.
    pub(crate) fn is_full_for(&self, bytes: usize) -> bool {
        self.envelopes >= RECORD_ENVELOPES || (self.envelopes > 0 && self.bytes.len() + bytes >= RECORD_BYTES)
    }

    pub(crate) fn push(&mut self, json: &[u8]) {
        if self.envelopes > 0 {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(json);
        self.envelopes += 1;
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The envelopes of a record.
///
/// # Errors
/// What is wrong with it, without its contents.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Arc<Envelope>>, String> {
    let mut envelopes = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if envelopes.len() == RECORD_ENVELOPES {
            return Err(format!("it holds more than {RECORD_ENVELOPES} envelopes"));
        }
        // The position says enough; serde's own text may quote the message.
        let envelope: Envelope = serde_json::from_slice(line).map_err(|error| {
            format!("line {}: {:?} error at column {}", envelopes.len() + 1, error.classify(), error.column())
        })?;
        envelopes.push(Arc::new(envelope));
    }
    Ok(envelopes)
}

#[cfg(test)]
mod tests {
    use interchange_bus::conformance::envelope;

    use super::*;

    fn written(numbers: std::ops::Range<u64>) -> Vec<u8> {
        let mut writer = Writer::default();
        for number in numbers {
            writer.push(&serde_json::to_vec(&*envelope(number)).unwrap());
        }
        writer.finish()
    }

    #[test]
    fn what_was_written_is_read() {
        for count in [1, 2, 32] {
            let read = read(&written(0..count)).unwrap();
            assert_eq!(read, (0..count).map(envelope).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_record_is_refused_without_quoting_it() {
        for bytes in
            [&b""[..], b"\n", b"{\"secret\":1}", b"[]", b"secret", &[written(0..2).as_slice(), b"\n"].concat(), &written(0..33)]
        {
            let why = read(bytes).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn a_record_is_full_by_number_and_by_size() {
        let mut writer = Writer::default();
        assert!(!writer.is_full_for(10 * RECORD_BYTES), "one envelope always fits");
        writer.push(b"{}");
        assert!(writer.is_full_for(RECORD_BYTES));
        for _ in 1..RECORD_ENVELOPES {
            assert!(!writer.is_full_for(2));
            writer.push(b"{}");
        }
        assert!(writer.is_full_for(2));
    }
}
