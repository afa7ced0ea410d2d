//! The name that a message has at its sender's client (RFC 5438 §6.3), with whether that client wants to be told of a failure. Both come back
//! with whatever becomes of the message, however late, and after a restart too.

use std::sync::Arc;

/// The longest Message-ID that is kept, in bytes: with its mark it fits into an envelope.
pub(crate) const LONGEST: usize = 254;

/// A failure is wanted.
const WANTED: char = '!';
/// It is not, and the name itself begins like a mark.
const PLAIN: char = '=';

/// What an envelope is given as the sender's own id.
pub(crate) fn write(message_id: &str, wants_failure: bool) -> Arc<str> {
    if wants_failure {
        return format!("{WANTED}{message_id}").into();
    }
    if message_id.starts_with([WANTED, PLAIN]) { format!("{PLAIN}{message_id}").into() } else { message_id.into() }
}

/// The Message-ID, and whether a failure is wanted.
pub(crate) fn read(native: &str) -> (&str, bool) {
    match native.strip_prefix(WANTED) {
        Some(message_id) => (message_id, true),
        None => (native.strip_prefix(PLAIN).unwrap_or(native), false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(id in "[!=]{0,2}[a-zA-Z0-9!=&]{1,20}", wanted: bool) {
            let native = write(&id, wanted);
            prop_assert_eq!(read(&native), (id.as_str(), wanted));
        }
    }
}
