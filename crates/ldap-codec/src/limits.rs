//! How much a server may send, and how much an operator may write.

/// The longest message of a server, in bytes: an entry has the few attributes that were asked for.
pub const LONGEST_MESSAGE: usize = 256 * 1024;

/// Attributes of one entry, and values of one attribute, that are read.
pub const MOST_PARTS: usize = 256;

/// How deep filters may be.
pub const DEEPEST_FILTER: usize = 16;

/// The longest text of a filter, in bytes.
pub const LONGEST_FILTER: usize = 4096;
