//! The canonical model: every value that passes between an adapter and the broker.
//!
//! An adapter turns what its peer said into an [`Envelope`], the broker routes it, and the adapter of the
//! other side turns the same `Envelope` into its own bytes. Nothing here knows a protocol, a socket or a
//! store. Values that exist are valid: a [`Domain`] is always lower-case A-labels, an [`Address`] never
//! holds a control character, a [`Plain`] text holds only characters that XML 1.0 can carry.

mod address;
mod body;
mod display_name;
mod domain;
mod envelope;
mod fault;
mod id;
mod link;
mod millis;
mod presence;
mod refusal;
mod rich;
mod text;
mod words;

pub use address::{Address, AddressError, Device};
pub use body::{Body, Failure, Kind, Receipt, ReceiptKind, Relation, SharedFile, Text, TextKind, Typing, TypingState, Wants};
pub use display_name::DisplayName;
pub use domain::{Domain, DomainError};
pub use envelope::{Envelope, Native};
pub use fault::{Fault, Trouble};
pub use id::{DeliveryId, LinkId, MemberId, MessageId, MessageIdError, PlatformName, Token};
pub use link::{Health, Link, Pace, QueueId, Settings, SettingsError};
pub use millis::to_millis;
pub use presence::{DevicePresence, Presence, PresenceState, Watch};
pub use refusal::{Detail, Refusal};
pub use rich::{Block, BlockKind, Colour, Hyperlink, Rich, RichBuilder, RichError, Span, Style, Words};
pub use text::Plain;
pub use words::{Down, Outcome, Up};
