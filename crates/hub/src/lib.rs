//! The interchange binary: configuration, the list of platforms, wiring.
