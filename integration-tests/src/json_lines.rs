//! Client programs that are driven by JSON lines: commands on their standard input, events on their standard output.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::processes::{Directory, Program};

/// Debian's own Python: another one earlier in PATH has none of Debian's modules.
const PYTHON: &str = "/usr/bin/python3";

/// A running client program.
pub(crate) struct JsonLinesClient {
    name: String,
    commands: ChildStdin,
    events: Receiver<Value>,
    waiting: VecDeque<Value>,
    _program: Program,
}

impl JsonLinesClient {
    /// Starts a script of `integration-tests/clients`; `name` says whose client it is.
    pub(crate) fn start(script: &str, name: &str, arguments: &[String]) -> Self {
        let mut command = Command::new(PYTHON);
        command.arg(folder().join(script)).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
        Self::run(Directory::new("client"), command, name)
    }

    /// Starts any program that speaks so, with a directory of its own.
    pub(crate) fn run(directory: Directory, mut command: Command, name: &str) -> Self {
        // A killed program cannot tidy up after itself.
        command.env("TMPDIR", directory.path()).current_dir(directory.path());
        let (program, commands, output) = Program::start_conversation(directory, command);
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        Self { name: name.to_owned(), commands, events, waiting: VecDeque::new(), _program: program }
    }

    /// Sends one command.
    #[track_caller]
    pub(crate) fn command(&mut self, command: &Value) {
        let mut line = command.to_string();
        line.push('\n');
        if let Err(error) = self.commands.write_all(line.as_bytes()) {
            panic!("the client of {} takes no command: {error}", self.name);
        }
    }

    /// The first event, old or new, that `wanted` accepts; the others stay for later.
    #[track_caller]
    pub(crate) fn expect(&mut self, what: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(index).expect("the index was just found");
        }
        let deadline = Instant::now() + within;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) if wanted(&event) => return event,
                Ok(event) => self.waiting.push_back(event),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} saw no {what} within {within:?}; it saw: {:?}", self.name, self.waiting)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the client of {} ended before {what}; it saw: {:?}", self.name, self.waiting)
                }
            }
        }
    }

    /// The first event, old or new, that `wanted` accepts; the others stay for later. `None`: none came.
    pub(crate) fn seen(&mut self, within: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        if let Some(index) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(index);
        }
        let deadline = Instant::now() + within;
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if wanted(&event) {
                return Some(event);
            }
            self.waiting.push_back(event);
        }
        None
    }

    /// Panics when an event that `unwanted` accepts has come or comes while this waits.
    #[track_caller]
    pub(crate) fn expect_none(&mut self, what: &str, during: Duration, unwanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + during;
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.waiting.push_back(event);
        }
        if let Some(event) = self.waiting.iter().find(|event| unwanted(event)) {
            panic!("{} saw an unexpected {what}: {event}", self.name);
        }
    }

    /// Sends plain text; line ends are LF.
    #[track_caller]
    pub(crate) fn send_text(&mut self, to: &str, text: &str) {
        self.command(&json!({ "op": "send", "to": to, "text": text }));
    }

    /// Sends text with mark-up.
    #[track_caller]
    pub(crate) fn send_html(&mut self, to: &str, html: &str) {
        self.command(&json!({ "op": "send", "to": to, "html": html }));
    }

    /// Shows the other that somebody writes, or no longer does.
    #[track_caller]
    pub(crate) fn typing(&mut self, to: &str, active: bool) {
        self.command(&json!({ "op": "typing", "to": to, "active": active }));
    }

    /// Waits for an event of this kind that fits; `None`: none came.
    pub(crate) fn saw(&mut self, kind: &str, within: Duration, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        self.seen(within, |event| is(event, kind) && fits(event))
    }

    /// Panics when a message comes while this waits.
    #[track_caller]
    pub(crate) fn expect_no_message(&mut self, during: Duration) {
        self.expect_none("message", during, |event| is(event, "message"));
    }

    /// Panics when a library has logged a warning so far, or a command was refused.
    #[track_caller]
    pub(crate) fn expect_no_warning(&mut self) {
        self.expect_none("warning", Duration::from_millis(1), |event| is(event, "warning") || is(event, "refused"));
    }
}

/// The folder with the client programs.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients")
}

impl fmt::Debug for JsonLinesClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("JsonLinesClient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A text field of an event; absent and null are empty.
pub(crate) fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or_default().to_owned()
}

/// Whether an event is of this kind.
pub(crate) fn is(event: &Value, kind: &str) -> bool {
    event["event"] == kind
}
