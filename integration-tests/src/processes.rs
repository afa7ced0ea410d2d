//! Programs in the foreground: each in its own process group and directory, gone with the value that holds them.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::ops::Add;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

const POLL: Duration = Duration::from_millis(10);
const GROUP_GONE_WITHIN: Duration = Duration::from_secs(5);
const TAIL_LINES: usize = 60;

/// The private directory of one program: configuration, data, sockets and what it printed.
#[derive(Debug)]
pub struct Directory {
    name: String,
    directory: Option<TempDir>,
}

impl Directory {
    /// Makes an empty directory; `name` says whose it is.
    pub fn new(name: &str) -> Self {
        let prefix = format!("interchange-test-{name}-");
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary directory can be made");
        Self { name: name.to_owned(), directory: Some(directory) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.as_ref().expect("the directory is taken out only in drop").path()
    }

    /// Writes one file and returns its path.
    pub fn write(&self, file: &str, content: &str) -> PathBuf {
        let path = self.path().join(file);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
        path
    }

    /// Makes an empty folder inside and returns its path.
    pub fn create(&self, folder: &str) -> PathBuf {
        let path = self.path().join(folder);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{} cannot be made: {error}", path.display()));
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            eprintln!("the files of {} stay in {}", self.name, directory.keep().display());
        }
    }
}

/// A running program with its output in files of its directory. Dropping it kills its process group.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    group: Pid,
    guard: Child,
    output: PathBuf,
    directory: Directory,
}

impl Program {
    /// Starts `command`; standard output and error go to one file.
    pub fn start(directory: Directory, command: Command) -> Self {
        Self::spawn(directory, command, Stdio::null(), None)
    }

    /// Starts `command` with both ends of a conversation; only standard error goes to the file.
    pub fn start_conversation(directory: Directory, command: Command) -> (Self, ChildStdin, ChildStdout) {
        let mut program = Self::spawn(directory, command, Stdio::piped(), Some(Stdio::piped()));
        let input = program.child.stdin.take().expect("standard input was asked for");
        let output = program.child.stdout.take().expect("standard output was asked for");
        (program, input, output)
    }

    fn spawn(directory: Directory, mut command: Command, input: Stdio, output: Option<Stdio>) -> Self {
        let name = directory.name.clone();
        let path = directory.path().join("output.log");
        let file = File::create(&path).expect("the output file can be made");
        let output = output.unwrap_or_else(|| file.try_clone().expect("the output file can be shared").into());
        let child = command
            .stdin(input)
            .stdout(output)
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({error}): run scripts/install-test-tools.sh"));
        let group = Pid::from_child(&child);
        let guard = start_guard(group);
        Self { name, child, group, guard, output: path, directory }
    }

    /// The directory it runs with.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The file with what it prints.
    pub fn output_path(&self) -> &Path {
        &self.output
    }

    /// Sends it SIGHUP.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).expect("the program runs");
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready` holds; panics when the program ends first or the time is over.
    pub fn wait_until(&mut self, what: &str, within: Duration, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + within;
        while !ready() {
            if let Some(status) = self.child.try_wait().expect("the state of a child can be read") {
                panic!("{} ended with {status} before {what}", self.name);
            }
            assert!(Instant::now() < deadline, "{}: not within {within:?}: {what}", self.name);
            thread::sleep(POLL);
        }
    }

    /// Waits until every address accepts TCP connections.
    pub fn wait_for_listeners(&mut self, addresses: &[SocketAddr], within: Duration) {
        for address in addresses {
            self.wait_until(&format!("it listens on {address}"), within, || TcpStream::connect(address).is_ok());
        }
    }

    /// Waits for the program's own end and says whether it was a success.
    pub fn wait_for_end(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("the state of a child can be read") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "{} does not end within {within:?}", self.name);
            thread::sleep(POLL);
        }
    }

    /// Processor time and memory of the whole process group up to now.
    pub fn usage(&self) -> Usage {
        Usage::of_group(self.group)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The group may be gone already; the wait below is what matters.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
        let deadline = Instant::now() + GROUP_GONE_WITHIN;
        while group_members(self.group).next().is_some() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            eprintln!("---- last lines of {}\n{}\n----", self.name, tail.join("\n"));
        }
    }
}

/// Starts a shell that waits for the end of this process, seen as the end of its standard input, and then kills the
/// group. A test process that is itself killed runs no destructor.
fn start_guard(group: Pid) -> Child {
    let script = format!("read _; kill -s KILL -- -{}", group.as_raw_nonzero());
    Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell can be started")
}

/// What a group of processes has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all living processes, in seconds.
    pub processor_seconds: f64,
    /// Memory in RAM now, in bytes.
    pub resident_bytes: u64,
}

impl Usage {
    fn of_group(group: Pid) -> Self {
        group_members(group).map(|process| process.usage()).fold(Self::default(), Add::add)
    }

    /// The usage of this process itself: what a load generator costs.
    pub fn of_this_process() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").expect("a process can read its own state");
        ProcessState::parse(&stat).expect("the kernel's own format").usage()
    }

    /// Processor seconds from `earlier` to this.
    pub fn processor_seconds_since(&self, earlier: &Usage) -> f64 {
        self.processor_seconds - earlier.processor_seconds
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            processor_seconds: self.processor_seconds + other.processor_seconds,
            resident_bytes: self.resident_bytes + other.resident_bytes,
        }
    }
}

struct ProcessState {
    group: i32,
    zombie: bool,
    processor_ticks: u64,
    resident_pages: u64,
}

impl ProcessState {
    /// Reads one `/proc/PID/stat`; the name in parentheses may hold anything, so fields count from the last one.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            zombie: *fields.first()? == "Z",
            group: fields.get(2)?.parse().ok()?,
            processor_ticks: number(11)? + number(12)?,
            resident_pages: number(21)?,
        })
    }

    fn usage(&self) -> Usage {
        Usage {
            processor_seconds: self.processor_ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            resident_bytes: self.resident_pages * rustix::param::page_size() as u64,
        }
    }
}

fn group_members(group: Pid) -> impl Iterator<Item = ProcessState> {
    let group = group.as_raw_nonzero().get();
    fs::read_dir("/proc")
        .expect("/proc can be read")
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter_map(|entry| ProcessState::parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .filter(move |process| process.group == group && !process.zombie)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::{Directory, Program, group_members};

    #[test]
    fn a_dropped_program_takes_its_children_along() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 1000 & sleep 1000 & echo started; wait"]);
        let mut program = Program::start(Directory::new("sleepers"), command);
        let group = program.group;
        let output = program.output.clone();
        program.wait_until("it has started", Duration::from_secs(5), || {
            std::fs::read_to_string(&output).is_ok_and(|text| text.contains("started"))
        });
        assert_eq!(group_members(group).count(), 3);
        drop(program);
        assert_eq!(group_members(group).count(), 0);
        assert!(!output.exists());
    }

    #[test]
    fn the_guard_kills_the_group_when_its_input_ends() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 1000 & wait"]);
        let mut program = Program::start(Directory::new("guarded"), command);
        let group = program.group;
        drop(program.guard.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(5);
        while group_members(group).next().is_some() {
            assert!(Instant::now() < deadline, "the group still lives");
            std::thread::sleep(super::POLL);
        }
    }
}
