//! PostgreSQL 15 of Debian 12, with one database and one user, on a free loopback port.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::ports::ReservedPort;
use crate::processes::{Directory, Program};

const LISTENS_WITHIN: Duration = Duration::from_secs(30);

/// The password of its only user.
pub const PASSWORD: &str = "correct horse";

/// The system user that it runs as where the tests run as root, which it refuses.
const USER: &str = "postgres";

/// A PostgreSQL whose data outlive its process. Dropping it is a SIGKILL.
#[derive(Debug)]
pub struct PostgreSql {
    port: ReservedPort,
    program: Option<Program>,
    files: Directory,
}

impl PostgreSql {
    /// Makes a database, starts the server and waits until it takes connections.
    pub fn start() -> Self {
        let files = Directory::new("postgresql-files");
        // The folder itself is ours; what is in it is the server's.
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        let data = files.create("data");
        let password = files.write("password", PASSWORD);
        if is_root() {
            run(Command::new("chown").arg(USER).arg(&data).arg(&password));
        }
        let mut initdb = command("initdb", files.path());
        initdb.arg("-D").arg(&data).args(["-U", "interchange", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        run(initdb.args(["--auth=scram-sha-256"]).arg(format!("--pwfile={}", password.display())));
        let mut server = Self { port: ReservedPort::any(), program: None, files };
        server.start_again();
        server
    }

    /// `postgresql://…`, without the password.
    pub fn url(&self) -> String {
        format!("postgresql://interchange@127.0.0.1:{}/postgres", self.port.number())
    }

    /// A crash.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// The same data again.
    pub fn start_again(&mut self) {
        assert!(self.program.is_none(), "it runs");
        let data = self.files.path().join("data");
        let mut postgres = command("postgres", self.files.path());
        postgres.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        // On disk before it is answered, as everywhere else.
        postgres.args(["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "max_connections=40", "-p"]);
        postgres.arg(self.port.number().to_string());
        let mut program = Program::start(Directory::new("postgresql"), postgres);
        let state = data.join("postmaster.pid");
        // Its eighth line.
        program.wait_until("it is ready", LISTENS_WITHIN, || {
            fs::read_to_string(&state).is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
        });
        program.wait_for_listeners(&[self.port.address()], LISTENS_WITHIN);
        self.program = Some(program);
    }

    /// Runs SQL; what it answers, bare.
    pub fn ask(&self, sql: &str) -> String {
        let mut psql = Command::new("psql");
        psql.env("PGPASSWORD", PASSWORD).args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql]);
        let output = psql.output().expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// One of its programs, as a user that it accepts, where that user may be.
fn command(program: &str, folder: &Path) -> Command {
    let program = binaries().join(program);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder);
    command
}

/// Debian has the programs of each version in a folder of its own.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: run scripts/install-test-tools.sh");
    let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    versions.retain(|folder| folder.join("initdb").exists());
    versions.pop().expect("PostgreSQL is installed: run scripts/install-test-tools.sh")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("a process sees itself").uid() == 0
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
