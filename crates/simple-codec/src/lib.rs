//! The bodies of SIMPLE: presence documents (PIDF, RFC 3863, with RPID, RFC 4480, and the data model, RFC 4479), typing (isComposing, RFC 3994),
//! receipts (IMDN, RFC 5438), messages with headers of their own (CPIM, RFC 3862) and bodies of several parts (MIME). Bytes to typed values and back.
//!
//! Tolerant of what real clients write, strict in what it writes itself, and bounded: whatever is larger, deeper or richer than the limits in
//! [`xml`] is an error. No state, no IO, and no decision about what a document means for anybody: who may speak for whom is the reader's to check.
//!
//! Reading order: [`xml`], then the formats, which know nothing of each other.

pub mod composing;
pub mod cpim;
pub mod imdn;
pub mod mime;
pub mod pidf;
pub mod xml;

pub use xml::XmlFault;
