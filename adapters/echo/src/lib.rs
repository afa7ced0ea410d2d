//! The Echo user: an adapter with no wire.
