//! All tests of the adapter in one program: one link step.

mod beside;
mod cases;
mod checks;
mod common;
mod formatted;
mod inbound;
mod links;
mod model;
mod outbound;
mod parts;
mod presence;
mod sessions;
