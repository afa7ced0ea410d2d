//! Runs any adapter on tokio: sockets, TLS, name look-ups and timers.
