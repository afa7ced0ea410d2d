//! The hub's own certificate authority for links: certificates for the domains that the hub speaks for towards a member's server,
//! and for members that have none. A member trusts it for links to the hub and for nothing else.
//!
//! [`Authority`] is a directory: a key, a certificate, an index of everything that was issued, the files of what was issued, and the
//! list of what was revoked (RFC 5280). Time comes as an argument; keys and serial numbers come from the operating system.
//!
//! Left out: intermediate authorities, OCSP, publishing of the list (the file is copied or served by whoever likes), certificates for
//! people, encrypted keys (the directory belongs to the hub's user alone), name constraints.
//!
//! Reading order: `authority.rs`, then `certificate.rs` (what certificates and the list say), `names.rs` (the names in them),
//! `request.rs` (a member's own key), `index.rs` and `files.rs` (what is kept, and how it survives a crash).

mod authority;
mod certificate;
mod error;
mod files;
mod index;
mod names;
mod request;
mod serial;

pub use authority::{Authority, Issued, KeySource, Order, RevocationList};
pub use certificate::{AuthorityCertificate, DEFAULT_LIFETIME, LONGEST_LIFETIME, Lifetime};
pub use error::AuthorityError;
pub use index::{Entry, KeyHolder, Revocation, RevocationReason, State};
pub use names::Platforms;
pub use request::{Request, RequestError};
pub use serial::Serial;
