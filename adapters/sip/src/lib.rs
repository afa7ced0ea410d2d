//! The SIP/SIMPLE adapter.
