//! The hub: configuration, the list of platforms, and the wiring of adapters, drivers, bus and broker.
//!
//! The binary `interchange` is a thin layer over this library; integration tests may use it too.

pub mod accounts;
pub mod authority;
pub mod bus;
pub mod certificates;
pub mod config;
pub mod ctl;
pub mod demo;
mod doctor;
pub mod explain;
mod history;
pub mod log;
mod observe;
pub mod platforms;
pub mod registered;
pub mod secret;
pub mod serve;
pub mod top;
