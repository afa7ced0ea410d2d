//! What a run is doing, on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use crate::faults::wire::lock;

/// How often the line of a terminal is written anew.
const OFTEN: Duration = Duration::from_millis(500);

/// Tells until it is dropped.
#[derive(Debug)]
pub struct Progress {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    label: String,
    doing: Mutex<String>,
    ended: AtomicBool,
    began: Instant,
    ledger: Ledger,
}

impl Progress {
    /// Tells of the run of this name.
    pub fn start(label: &str, ledger: Ledger) -> Self {
        let (doing, began) = (Mutex::default(), Instant::now());
        let shared = Arc::new(Shared { label: label.to_owned(), doing, ended: AtomicBool::new(false), began, ledger });
        let telling = shared.clone();
        // A log gets a line for each new thing that is done; a terminal one line that lives.
        let thread = std::io::stderr().is_terminal().then(|| {
            thread::spawn(move || {
                while !telling.ended.load(Ordering::Acquire) {
                    eprint!("\r\x1b[K{}", telling.line());
                    // There is nobody to tell if it cannot be told.
                    let _ = std::io::stderr().flush();
                    thread::sleep(OFTEN);
                }
                eprint!("\r\x1b[K");
            })
        });
        Self { shared, thread }
    }

    /// This is done now.
    pub fn say(&self, what: &str) {
        what.clone_into(&mut lock(&self.shared.doing));
        if self.thread.is_none() {
            eprintln!("{}", self.shared.line());
        }
    }
}

impl Shared {
    fn line(&self) -> String {
        let counts = self.ledger.counts();
        format!("{} {:.1} s, {}: {counts}", self.label, self.began.elapsed().as_secs_f64(), lock(&self.doing))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It only prints.
            let _ = thread.join();
        }
    }
}
