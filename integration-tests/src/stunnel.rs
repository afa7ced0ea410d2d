//! stunnel of Debian, which ends one TLS and begins another.

use std::process::Command;
use std::time::Duration;

use crate::processes::{Directory, Program};

const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running stunnel.
#[derive(Debug)]
pub struct Stunnel {
    program: Program,
}

impl Stunnel {
    /// Starts it with these services, which find their files in `directory`, and waits until it listens for all of them.
    pub fn start(directory: Directory, services: &str) -> Self {
        // In the foreground, with a log that names what was negotiated.
        let configuration = format!("foreground = yes\npid =\nsyslog = no\ndebug = info\n\n{services}");
        let configuration = directory.write("stunnel.conf", &configuration);
        let mut command = Command::new("/usr/bin/stunnel4");
        command.arg(configuration);
        let mut program = Program::start(directory, command);
        let output = program.output_path().to_owned();
        program.wait_until("its configuration is in force", READY_WITHIN, || {
            std::fs::read_to_string(&output).is_ok_and(|log| log.contains("Configuration successful"))
        });
        Self { program }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.program.output()
    }
}
