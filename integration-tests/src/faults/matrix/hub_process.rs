//! A hub as something to be killed, stopped, and started again on its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getuid, kill_process, waitid};

use crate::hub::{HubFiles, binary};
use crate::processes::{Directory, Program};

const STARTS_WITHIN: Duration = Duration::from_secs(5);
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
const STOPS_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(2);

/// Writes down who it is, and becomes the hub: the number of the process is the same. The log of all hubs on the same files is one file.
const LAUNCH: &str = "echo $$ >\"$1\"; log=$2; shift 2; exec \"$@\" >>\"$log\" 2>&1";
/// The same on a small disk of its own, which is gone with the process.
const LAUNCH_ON_DISK: &str = "mount -t tmpfs -o size=$1,mode=0700 tmpfs \"$2\" || exit 1; shift 2; ";

/// Why [`Launch::disk`] does not work on this machine, if it does not.
pub fn no_small_disk() -> Option<String> {
    let output = apart().args(["/bin/sh", "-c", "mount -t tmpfs tmpfs /mnt"]).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no mount").to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Runs a command with mounts of its own.
fn apart() -> Command {
    let mut command = Command::new("unshare");
    if !getuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--mount");
    command
}

/// How a hub is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// More variables of its environment.
    pub environment: Vec<(String, String)>,
    /// The size of the disk that holds its data, in bytes; `None`: the machine's own.
    pub disk: Option<u64>,
}

/// A running hub. Dropping it is a SIGKILL.
#[derive(Debug)]
pub struct HubProcess {
    program: Program,
    pid: Pid,
    data: PathBuf,
}

/// Declares what the hub needs on its RabbitMQ.
///
/// # Panics
/// When it cannot.
pub fn set_up_bus(files: &HubFiles) {
    let mut command = Command::new(binary());
    let output = command
        .args(["bus", "setup", "--no-wait", "--config"])
        .arg(files.configuration())
        .output()
        .expect("the hub's binary runs");
    assert!(output.status.success(), "bus setup: {}", String::from_utf8_lossy(&output.stderr));
}

/// The folder of a hub's configuration, which also has its data and its log.
pub fn folder(files: &HubFiles) -> PathBuf {
    files.configuration().parent().expect("a file is in a folder").to_owned()
}

impl HubProcess {
    /// Starts it, and does not wait until it listens.
    pub fn start(files: &HubFiles, launch: &Launch) -> Self {
        let directory = Directory::new("hub");
        let written = directory.path().join("pid");
        let log = folder(files).join("hub.log");
        let mut data = folder(files).join("data");
        let mut command = if let Some(bytes) = launch.disk {
            fs::create_dir_all(&data).expect("a folder can be made");
            let mut command = apart();
            command.args(["/bin/sh", "-c", &[LAUNCH_ON_DISK, LAUNCH].concat(), "hub", &bytes.to_string()]).arg(&data);
            command
        } else {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", LAUNCH, "hub"]);
            command
        };
        command.arg(&written).arg(log).arg(binary()).args(["serve", "--config"]).arg(files.configuration());
        command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
        let mut program = Program::start(directory, command);
        let number = || fs::read_to_string(&written).ok()?.trim().parse().ok().and_then(Pid::from_raw);
        program.wait_until("it has a number", STARTS_WITHIN, || number().is_some());
        let pid = number().expect("it was there");
        if launch.disk.is_some() {
            // Its mounts are not ours, but can be seen through the process.
            let outside = data.strip_prefix("/").expect("the path is absolute").to_owned();
            data = Path::new(&format!("/proc/{}/root", pid.as_raw_nonzero())).join(outside);
        }
        Self { program, pid, data }
    }

    /// Waits until it listens for both platforms.
    ///
    /// # Panics
    /// When it ends before, or does not.
    pub fn wait_until_it_listens(&mut self, files: &HubFiles) {
        self.program.wait_for_listeners(&[files.xmpp.address(), files.sip.address()], LISTENS_WITHIN);
    }

    /// Its folder of data, as seen from here.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Stops it without its knowledge; it goes on when it is told to.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end, as systemd does, and waits. Whether it said that all was well; `None`: it did not end in time.
    pub fn terminate(mut self) -> Option<bool> {
        self.signal(Signal::TERM);
        self.wait_for_death(STOPS_WITHIN).then(|| self.program.wait_for_end(STARTS_WITHIN))
    }

    /// Whether it ends by itself in this time.
    pub fn wait_for_death(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while !self.is_dead() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    fn is_dead(&self) -> bool {
        // Its state stays to be collected by the program.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), options).is_ok_and(|state| state.is_some())
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the hub is there, if only as a zombie");
    }

    /// Memory in RAM now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.program.usage().resident_bytes
    }
}
