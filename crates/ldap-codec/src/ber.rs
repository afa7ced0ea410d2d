//! Basic Encoding Rules as LDAP restricts them (RFC 4511 §5.1): definite lengths, tags of one byte.

/// Universal tags.
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// A tag of the protocol's own, or of a context, constructed or not.
pub(crate) const fn application(number: u8, constructed: bool) -> u8 {
    0x40 | if constructed { 0x20 } else { 0 } | number
}
pub(crate) const fn context(number: u8, constructed: bool) -> u8 {
    0x80 | if constructed { 0x20 } else { 0 } | number
}

/// Why bytes are no element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More must come.
    Incomplete,
    /// They are none.
    Wrong,
}

/// The tag, the length of the header, and the length of the content of the element at the beginning of bytes.
pub(crate) fn header(bytes: &[u8]) -> Result<(u8, usize, usize), Fault> {
    let (&tag, rest) = bytes.split_first().ok_or(Fault::Incomplete)?;
    // Tags from 31 on take more bytes; LDAP has none.
    if tag & 0x1f == 0x1f {
        return Err(Fault::Wrong);
    }
    let (&first, rest) = rest.split_first().ok_or(Fault::Incomplete)?;
    if first < 0x80 {
        return Ok((tag, 2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    // 0: of indefinite length. RFC 4511 §5.1 forbids it.
    if !(1..=4).contains(&count) {
        return Err(Fault::Wrong);
    }
    let digits = rest.get(..count).ok_or(Fault::Incomplete)?;
    let length = digits.iter().fold(0, |length: usize, digit| length << 8 | usize::from(*digit));
    Ok((tag, 2 + count, length))
}

/// Elements one after the other, all there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one: its tag and content. `None`: there is none, or it is not whole.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, before, length) = header(self.0).ok()?;
        let end = before.checked_add(length)?;
        let content = self.0.get(before..end)?;
        self.0 = self.0.get(end..)?;
        Some((tag, content))
    }

    /// The content of the next one, if it has this tag.
    pub(crate) fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// A number that is not negative and has at most 31 bits.
pub(crate) fn number(content: &[u8]) -> Option<u32> {
    if content.is_empty() || content.len() > 4 || content[0] & 0x80 != 0 {
        return None;
    }
    Some(content.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// Writes an element whose content is made by `content`.
pub(crate) fn write(into: &mut Vec<u8>, tag: u8, content: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    content(&mut inner);
    write_bytes(into, tag, &inner);
}

pub(crate) fn write_bytes(into: &mut Vec<u8>, tag: u8, content: &[u8]) {
    into.push(tag);
    let length = content.len();
    if length < 0x80 {
        into.push(length as u8);
    } else {
        let digits = length.to_be_bytes();
        let skipped = digits.iter().take_while(|digit| **digit == 0).count();
        into.push(0x80 | (digits.len() - skipped) as u8);
        into.extend_from_slice(&digits[skipped..]);
    }
    into.extend_from_slice(content);
}

/// A number that is not negative, in as few bytes as it takes.
pub(crate) fn write_number(into: &mut Vec<u8>, tag: u8, number: u32) {
    let bytes = u64::from(number).to_be_bytes();
    // The first bit is the sign.
    let skipped = bytes.iter().take_while(|byte| **byte == 0).count().min(7);
    let skipped = if bytes[skipped] & 0x80 == 0 { skipped } else { skipped - 1 };
    write_bytes(into, tag, &bytes[skipped..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_that_are_none() {
        for (bytes, fault) in [
            (&[][..], Fault::Incomplete),
            (&[0x30], Fault::Incomplete),
            (&[0x30, 0x82, 1], Fault::Incomplete),
            (&[0x30, 0x80], Fault::Wrong),
            (&[0x30, 0x85, 1, 1, 1, 1, 1], Fault::Wrong),
            (&[0x3f, 0x21, 0], Fault::Wrong),
        ] {
            assert_eq!(header(bytes), Err(fault), "{bytes:02x?}");
        }
        assert_eq!(header(&[0x30, 0x84, 0, 0, 1, 0]), Ok((0x30, 6, 256)), "as Active Directory writes them");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(content in proptest::collection::vec(any::<u8>(), 0..70_000), value in 0..=u32::MAX >> 1) {
            let mut bytes = Vec::new();
            write_bytes(&mut bytes, OCTET_STRING, &content);
            write_number(&mut bytes, INTEGER, value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.expect(OCTET_STRING), Some(&content[..]));
            prop_assert_eq!(reader.expect(INTEGER).and_then(number), Some(value));
            prop_assert!(reader.is_empty());
            for end in [1, bytes.len() / 2, bytes.len() - 1] {
                let mut short = Reader::new(&bytes[..end]);
                while short.next().is_some() {}
            }
        }
    }
}
