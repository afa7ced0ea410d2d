//! All tests of the adapter in one program: one link step.

mod codec;
mod common;
mod hostile;
mod login;
mod messages;
mod presence;
mod services;
mod transcripts;
#[path = "common/vectors.rs"]
mod vectors;
