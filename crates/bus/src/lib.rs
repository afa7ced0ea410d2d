//! The durable line between adapters: the Bus and Queue contracts and their conformance suite.
