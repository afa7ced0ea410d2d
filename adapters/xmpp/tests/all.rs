//! All tests of the adapter in one program: one link step.

mod away;
mod bidi;
mod cases;
mod checks;
mod common;
mod formatted;
mod garbage;
mod hub_to_hub;
mod inbound;
mod messages;
mod outbound;
mod presence;
