//! The only way text gets into what we send: escaped. Names of elements and attributes are our own constants.

use bytes::BytesMut;

/// Appends character data.
///
/// Characters that XML cannot carry become U+FFFD, so what is written is well-formed whatever is given.
pub(crate) fn push_text(out: &mut BytesMut, text: &str) {
    push(out, text, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        // `]]>` may not stand in character data (XML 1.0 §2.4).
        b'>' => Some("&gt;"),
        // A bare CR would be read as LF (XML 1.0 §2.11).
        b'\r' => Some("&#13;"),
        _ => None,
    });
}

/// Appends ` name='value'`, characters that XML cannot carry as U+FFFD.
pub(crate) fn push_attribute(out: &mut BytesMut, name: &'static str, value: &str) {
    out.extend_from_slice(b" ");
    out.extend_from_slice(name.as_bytes());
    push_value(out, value);
}

/// Appends mark-up of our own, or a name that was found to be one when it was read.
pub(super) fn push_raw(out: &mut BytesMut, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends `='value'`.
pub(super) fn push_value(out: &mut BytesMut, value: &str) {
    out.extend_from_slice(b"='");
    push(out, value, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\'' => Some("&apos;"),
        b'"' => Some("&quot;"),
        // White space in attributes is normalised unless written as a reference (XML 1.0 §3.3.3).
        b'\t' => Some("&#9;"),
        b'\n' => Some("&#10;"),
        b'\r' => Some("&#13;"),
        _ => None,
    });
    out.extend_from_slice(b"'");
}

fn push(out: &mut BytesMut, text: &str, escape: impl Fn(u8) -> Option<&'static str>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let replacement = match escape(*byte) {
            Some(escaped) => escaped,
            None if *byte < b' ' && !matches!(byte, b'\t' | b'\n') => "\u{fffd}",
            // U+FFFE and U+FFFF are EF BF BE and EF BF BF.
            None if *byte == 0xef && bytes[at..].starts_with(b"\xef\xbf") && matches!(bytes.get(at + 2), Some(0xbe | 0xbf)) => {
                out.extend_from_slice(&bytes[done..at]);
                out.extend_from_slice("\u{fffd}".as_bytes());
                done = at + 3;
                continue;
            }
            None => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(replacement.as_bytes());
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}
