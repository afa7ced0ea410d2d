//! The XMPP server-to-server adapter.
