//! All tests of the adapter in one program: one link step.

mod common;
mod links;
mod model;
mod parts;
mod presence;
mod recorded;
mod reports;
mod sessions;
mod timers;
