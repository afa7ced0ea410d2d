//! What adapters of every kind of SIP are made of, beside codec, transactions and the model: who a peer is ([`identity`]), which links there are ([`links`]), whether one works ([`link`]), and presence
//! ([`presence`]), which runs inside any adapter that is a [`Host`]. What a platform says otherwise stands in the adapter's own implementation of a trait. Without IO and clock, as adapters are.
#![forbid(unsafe_code)]

mod host;
pub mod identity;
pub mod link;
pub mod links;
pub mod presence;

pub use host::{Host, Open, Refusing, Tools};
