//! Runs any adapter on tokio: sockets, TLS, name look-ups and timers, written once for all platforms.
//!
//! [`Driver::start`] opens the listeners and starts one task per platform, whose loop (`run.rs`) hands inputs to the adapter
//! and does what it wants; one task per connection (`conn.rs`) reads and writes. The driver knows no protocol, decides nothing
//! about peers, and never refuses a certificate: it reports what was proved, and the adapter decides. What it does decide is
//! how much anybody may take: connections, bytes that wait, time.
//!
//! Left out: what to say (adapters), where messages go (broker), exporting the counters of [`DriverStats`].

mod accounts;
mod authority;
mod broker;
mod call;
mod conn;
mod dial;
mod driver;
mod listen;
mod observe;
mod outbox;
mod reach;
mod resolve;
mod run;
mod shared;
mod stats;
mod stream;
mod survey;
mod text;
mod tls;
mod udp;
mod web;

pub use accounts::{AccountQuestion, Answer};
pub use authority::AuthorityAnswer;
pub use call::Caller;
pub use driver::{Bound, Driver, Setup, StartError};
pub use listen::{Limits, Listener};
pub use observe::{Observation, Sight};
pub use reach::{Network, NetworkError, Reach};
pub use resolve::{Resolver, ResolverError};
pub use stats::DriverStats;
pub use survey::{Place, Survey, Tried, survey};
pub use tls::{
    CertificateWarning, HubCertificate, RevocationWarning, Roots, Tls, TlsError, TlsFileError, expiry_is_due,
    peer_certificate_names,
};
pub use web::fetch;
