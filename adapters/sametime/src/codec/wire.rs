//! The types that everything else is made of: numbers, strings, opaque bytes.

use std::borrow::Cow;
use std::fmt;

/// Bytes that are not what they should be: what was expected where they end or differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct Malformed {
    /// What.
    pub expected: &'static str,
}

/// A string as it is on the wire: at most 65,535 bytes, UTF-8 in practice.
///
/// Kept as the bytes that came: user ids are compared byte for byte by clients, so what a client wrote must be repeated exactly. Its `Debug` shows
/// the length only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct WireString(Vec<u8>);

impl WireString {
    /// The longest, in bytes.
    pub const LONGEST: usize = 65_535;

    /// A text; what is more than [`LONGEST`](Self::LONGEST) is cut between characters.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes()[..text.floor_char_boundary(Self::LONGEST)].to_vec())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text; what is no UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Whether there is none: absent and empty are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for WireString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl From<&str> for WireString {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// Reads from the beginning to the end. Nothing is allocated by a length or count that the bytes do not bear out.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn rest(&self) -> Vec<u8> {
        self.rest.to_vec()
    }

    pub(crate) fn take(&mut self, length: usize, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed { expected })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed { expected })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u16(&mut self, expected: &'static str) -> Result<u16, Malformed> {
        self.array(expected).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, expected: &'static str) -> Result<u32, Malformed> {
        self.array(expected).map(u32::from_be_bytes)
    }

    /// Any value but 0 is true.
    pub(crate) fn bool(&mut self, expected: &'static str) -> Result<bool, Malformed> {
        self.array::<1>(expected).map(|[byte]| byte != 0)
    }

    pub(crate) fn string(&mut self, expected: &'static str) -> Result<WireString, Malformed> {
        let length = self.u16(expected)?;
        self.take(length.into(), expected).map(|bytes| WireString(bytes.to_vec()))
    }

    pub(crate) fn opaque(&mut self, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.u32(expected)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), expected)
    }

    /// A count and as many items, of which each takes at least `least` bytes.
    pub(crate) fn list<T>(
        &mut self,
        least: usize,
        expected: &'static str,
        item: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::try_from(self.u32(expected)?).unwrap_or(usize::MAX);
        if count > self.rest.len() / least.max(1) {
            return Err(Malformed { expected });
        }
        (0..count).map(|_| item(self)).collect()
    }
}

/// Writes what [`Reader`] reads.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(&[u8::from(value)])
    }

    pub(crate) fn string(&mut self, value: &WireString) -> &mut Self {
        // A `WireString` that exists is no longer than that.
        self.u16(u16::try_from(value.0.len()).unwrap_or(u16::MAX)).raw(&value.0)
    }

    pub(crate) fn opaque(&mut self, value: &[u8]) -> &mut Self {
        self.u32(length(value.len())).raw(value)
    }

    pub(crate) fn list<T>(&mut self, items: &[T], item: impl Fn(&mut Self, &T)) -> &mut Self {
        self.u32(length(items.len()));
        for one in items {
            item(self, one);
        }
        self
    }
}

/// A length on the wire. Everything that is written here is far shorter than 4 GiB: it was read from frames of 256 KiB, or made by this adapter.
pub(crate) fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
