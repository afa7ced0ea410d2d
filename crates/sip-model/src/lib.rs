//! Where SIP meets the model, for every adapter whose platform is a kind of SIP: addresses and URIs ([`address`]), refusals and status codes
//! ([`refusals`]), the order of what waits for one peer ([`outbox`]), repeats of what came ([`seen`]), how often a sender is told by a message
//! of what failed ([`notices`]), a text as words alone ([`words`]), and in parts ([`parts`]). Plain values without IO and clock.
#![forbid(unsafe_code)]

pub mod address;
pub mod notices;
pub mod outbox;
pub mod parts;
pub mod refusals;
pub mod seen;
pub mod words;
