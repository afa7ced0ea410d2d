//! Breaking things: scripted peers with ledgers, faults between them and the hub, and the rows of the fault matrix.

pub mod matrix;
pub mod peer;
pub mod proxy;
pub mod random;
pub mod sip_peer;
pub mod xmpp_peer;

mod wire;
