//! TLS for clients that have none: stunnel in client mode, as people would run it on their own machines.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::ports::ReservedPort;
use crate::processes::{Directory, Program};

const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// A running tunnel.
#[derive(Debug)]
pub struct Stunnel {
    port: ReservedPort,
    _program: Program,
}

impl Stunnel {
    /// From a port of 127.0.0.1 to a server that must prove, to this authority (PEM), that it is the host of this name.
    #[track_caller]
    pub fn start(server: SocketAddr, name: &str, authority: &str) -> Self {
        let directory = Directory::new("stunnel");
        let port = ReservedPort::any();
        let authority = directory.write("ca.pem", authority);
        // The service as docs/platforms/sametime.md has it.
        let configuration = format!(
            "foreground = yes\npid =\n\n[sametime]\nclient = yes\naccept = {}\nconnect = {server}\nsni = {name}\nCAfile = {}\n\
             verifyChain = yes\ncheckHost = {name}\n",
            port.address(),
            authority.display()
        );
        let mut command = Command::new("/usr/bin/stunnel4");
        command.arg(directory.write("stunnel.conf", &configuration));
        let mut program = Program::start(directory, command);
        let output = program.output_path().to_owned();
        // To look whether it listens would be a connection to the server.
        program.wait_until("it is ready", LISTENS_WITHIN, || {
            std::fs::read_to_string(&output).is_ok_and(|log| log.contains("Configuration successful"))
        });
        Self { port, _program: program }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}
