//! The harness of the integration tests: real servers from Debian packages, and real clients.
//!
//! Every server runs in the foreground on free loopback ports, with its own temporary directory, and is killed with
//! its whole process group when its value is dropped, or when the test process dies. Nothing is shared between two
//! tests, so any number of them may run at once. `scripts/install-test-tools.sh` installs the programs.
//!
//! A server or client that does not do what it must panics with the reason: a failure of the harness is a failure of
//! the test. The output of every program goes to a file in its directory; after a panic its last lines are printed
//! and the directory stays.

pub mod api;
pub mod certificates;
pub mod dns;
pub mod ejabberd;
pub mod faults;
pub mod hub;
pub mod kamailio;
pub mod load;
pub mod meanwhile_client;
pub mod msrp_client;
pub mod ocs;
pub mod ports;
pub mod postgresql;
pub mod processes;
pub mod prometheus;
pub mod prosody;
pub mod purple_client;
pub mod rabbitmq;
pub mod sametime_community;
pub mod sip_client;
pub mod sipp;
pub mod slapd;
pub mod stunnel;
pub mod tls_sip_peer;
pub mod tls_xmpp_peer;
pub mod xmpp_client;
pub mod xmpp_server;
pub mod xmpp_stream;

mod compiled;
mod json_lines;
