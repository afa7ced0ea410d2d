//! Tools for tests: a fake bus, and an adapter in virtual time with the test as its driver, its broker and its peers. A development dependency only.

pub mod adapter;
pub mod bus;
pub mod sip;
