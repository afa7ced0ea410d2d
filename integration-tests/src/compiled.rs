//! Client programs in C: compiled once, beside the binaries of the tests.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

use crate::json_lines::folder;

/// What a program is made of.
pub(crate) struct Sources {
    /// Its name.
    pub(crate) name: &'static str,
    /// Files of `integration-tests/clients`; the first is its own.
    pub(crate) files: &'static [&'static str],
    /// Libraries, by their names in pkg-config.
    pub(crate) libraries: &'static [&'static str],
}

static COMPILED: Mutex<Option<HashMap<&'static str, PathBuf>>> = Mutex::new(None);

impl Sources {
    /// The compiled program. It is compiled when it is older than a source, and put in place at once, so that another test process
    /// sees a whole one.
    ///
    /// # Panics
    /// When it cannot be compiled.
    #[track_caller]
    pub(crate) fn program(&self) -> PathBuf {
        let mut compiled = COMPILED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        compiled.get_or_insert_default().entry(self.name).or_insert_with(|| self.compile()).clone()
    }

    fn compile(&self) -> PathBuf {
        let running = std::env::current_exe().expect("a program knows where it is");
        let target = running.parent().expect("a program is in a folder").join("test-clients");
        fs::create_dir_all(&target).expect("the folder of the tests takes another");
        let program = target.join(self.name);
        let files: Vec<PathBuf> = self.files.iter().map(|file| folder().join(file)).collect();
        let newest = files.iter().filter_map(|file| changed(file)).max();
        if changed(&program) > newest {
            return program;
        }
        let flags = Command::new("pkg-config").args(["--cflags", "--libs"]).args(self.libraries).output();
        let flags = flags.unwrap_or_else(|error| panic!("pkg-config does not run ({error}): run scripts/install-test-tools.sh"));
        let complaint = String::from_utf8_lossy(&flags.stderr);
        assert!(flags.status.success(), "{complaint}\nrun scripts/install-test-tools.sh");
        let flags = String::from_utf8(flags.stdout).expect("flags are text");
        let fresh = target.join(format!("{}.{}", self.name, std::process::id()));
        let sources = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "c"));
        let mut command = Command::new("cc");
        // A plugin that the program loads finds the program's own functions first: -rdynamic.
        command.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-rdynamic", "-o"]).arg(&fresh);
        command.args(sources).args(flags.split_ascii_whitespace());
        let output = command.output().expect("a C compiler runs");
        assert!(output.status.success(), "{} is not compiled: {}", self.name, String::from_utf8_lossy(&output.stderr));
        fs::rename(&fresh, &program).expect("the program is put in its place");
        program
    }
}

fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|facts| facts.modified()).ok()
}
