//! stunnel of Debian, which ends one TLS and begins another.

use std::process::Command;
use std::time::Duration;

use crate::processes::{Directory, Program};

const READY_WITHIN: Duration = Duration::from_secs(10);

/// A configuration that a page of the manual shows, with names, files and ports of the test. Everything that is to be replaced must be there.
///
/// # Panics
/// When the page has no such chapter, the chapter no configuration, or the configuration not what is to be replaced.
#[track_caller]
pub fn shown(page: &str, chapter: &str, replacements: &[(&str, String)]) -> String {
    let chapter = page.split(chapter).nth(1).expect("the manual has the chapter");
    let shown = chapter.split("```\n").nth(1).expect("the chapter shows a configuration");
    replacements.iter().fold(shown.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "the manual's configuration has no {old:?}");
        text.replace(old, new)
    })
}

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
