//! LDAP (RFC 4511) as a client needs it to find people and to check their passwords: bytes to typed values and back, no IO, no state but what has not
//! come whole yet.
//!
//! Requests: simple bind, search, StartTLS. Responses: those of these, each read whole and checked before anybody sees it; what a server sends is
//! as hostile as what any peer sends, so size and depth are bounded ([`limits`]). Filters are values, in which what a person typed is always a value and never
//! syntax; text is read only where an operator wrote it ([`Filter::parse`], RFC 4515).
//!
//! Left out: SASL, controls (those of a server are skipped), referrals (they are seen and not followed), everything that changes a directory.

mod ber;
mod filter;
pub mod limits;
mod request;
mod response;

pub use filter::{Filter, FilterError};
pub use request::{Search, bind, search, start_tls};
pub use response::{Entry, Malformed, Operation, Outcome, Response, Responses, code};
