//! SIPp of Debian 12: scenarios of `integration-tests/clients/sipp` over UDP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::processes::{Directory, Program};

/// SIPp gives up by itself a little before whoever waits for it.
const GIVES_UP_AFTER: &str = "20s";
const ENDS_WITHIN: Duration = Duration::from_secs(25);

/// How to run a scenario.
#[derive(Clone, Debug)]
pub struct SippSettings {
    /// The file in `integration-tests/clients/sipp`, without its extension.
    pub scenario: &'static str,
    /// The port of 127.0.0.1 it speaks from.
    pub local: SocketAddr,
    /// Where it sends to; a scenario that begins by receiving never does.
    pub proxy: SocketAddr,
    /// How often the scenario runs.
    pub calls: u32,
    /// The words in brackets that the scenario uses.
    pub words: Vec<(&'static str, String)>,
}

/// A running SIPp.
#[derive(Debug)]
pub struct Sipp {
    program: Program,
}

impl Sipp {
    /// Starts a scenario.
    pub fn start(settings: &SippSettings) -> Self {
        let scenarios = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/sipp");
        let directory = Directory::new("sipp");
        let mut command = Command::new("/usr/bin/sipp");
        command
            .current_dir(directory.path())
            .arg("-sf")
            .arg(scenarios.join(settings.scenario).with_extension("xml"))
            .args(["-i", "127.0.0.1", "-p", &settings.local.port().to_string()])
            .args(["-m", &settings.calls.to_string(), "-l", "1", "-r", "200"])
            .args(["-t", "u1", "-nostdin", "-trace_err", "-timeout", GIVES_UP_AFTER, "-timeout_error"]);
        for (word, value) in &settings.words {
            command.args(["-key", word, value]);
        }
        command.arg(settings.proxy.to_string());
        Self { program: Program::start(directory, command) }
    }

    /// Waits until every call of the scenario went as written; panics if one did not.
    #[track_caller]
    pub fn expect_success(&mut self) {
        assert!(self.program.wait_for_end(ENDS_WITHIN), "a call did not follow the scenario: {}", self.program.output());
    }
}
