//! The built binary against scripted peers and real servers.
