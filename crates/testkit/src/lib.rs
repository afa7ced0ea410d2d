//! Tools for tests: a fake bus, scripted conversations in virtual time. A development dependency only.

pub mod bus;
