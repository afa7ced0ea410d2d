//! RabbitMQ servers of the tests: single nodes and clusters of three, each node with its own data directory and ports, that can be killed,
//! stopped and started again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::ports::ReservedPort;
use crate::processes::{Directory, Program, Usage};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
const READY_WITHIN: Duration = Duration::from_secs(60);
const NAMES_SERVED_WITHIN: Duration = Duration::from_secs(10);
/// A node of a cluster that says nothing for about so long is gone for the others. By default it is a minute, in which they elect new leaders
/// of its queues and yet cannot write down that they did, because each waits for the silent one: nothing is confirmed.
const SILENCE_SECONDS: u32 = 5;
const USER: &str = "interchange";
const PASSWORD: &str = "correct-horse";

/// One node. Dropping it is a SIGKILL.
#[derive(Debug)]
pub struct RabbitMq {
    files: Directory,
    program: Option<Program>,
    amqp: ReservedPort,
    distribution: ReservedPort,
    names: Names,
}

/// Who tells the nodes of Erlang where to find one another: epmd, on a port of its own.
#[derive(Debug)]
enum Names {
    /// It starts and ends with the node.
    Own(ReservedPort),
    /// It serves several nodes, and outlives each.
    Shared(Arc<NameServer>),
}

#[derive(Debug)]
struct NameServer {
    port: ReservedPort,
    _program: Program,
}

impl NameServer {
    fn start() -> Self {
        let port = ReservedPort::any();
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port", &port.number().to_string()]);
        let mut program = Program::start(Directory::new("epmd"), command);
        program.wait_for_listeners(&[port.address()], NAMES_SERVED_WITHIN);
        Self { port, _program: program }
    }
}

impl Names {
    fn port(&self) -> u16 {
        match self {
            Self::Own(port) => port.number(),
            Self::Shared(server) => server.port.number(),
        }
    }
}

impl RabbitMq {
    /// RabbitMQ 3.10 writes the names of new quorum queues to disk up to 3 s late. Killed before, it brings such a queue back without a
    /// leader, for good; so no test kills a node sooner after its queues were declared.
    pub const NAMES_WRITTEN_WITHIN: Duration = Duration::from_secs(5);

    /// A fresh node with a virtual host `interchange` and a user of that name who may do everything there; it takes connections when this
    /// returns.
    pub fn start() -> Self {
        Self::start_with("[].")
    }

    /// The same with this `advanced.config`.
    pub fn start_with(advanced: &str) -> Self {
        let mut node = Self::new(Names::Own(ReservedPort::any()));
        node.files.write("advanced.config", advanced);
        node.start_again();
        node
    }

    /// What it has logged.
    ///
    /// # Panics
    /// When it does not run.
    pub fn log(&self) -> String {
        self.program.as_ref().expect("the node runs").output()
    }

    /// The files of a node.
    fn new(names: Names) -> Self {
        let files = Directory::new("rabbitmq-files");
        files.create("data");
        files.create("log");
        // Loopback only, no limits of the machine's own, and no plugins: what is not there need not be started.
        files.write(
            "rabbitmq.conf",
            &format!(
                "default_vhost = interchange\ndefault_user = {USER}\ndefault_pass = {PASSWORD}\nloopback_users = none\n\
                 vm_memory_high_watermark.absolute = 2GB\ndisk_free_limit.absolute = 50MB\nlog.console = true\nlog.console.level = info\n"
            ),
        );
        files.write("enabled_plugins", "[].\n");
        Self { files, program: None, amqp: ReservedPort::any(), distribution: ReservedPort::any(), names }
    }

    /// What nodes and tools call it.
    fn name(&self) -> String {
        format!("interchange{}@localhost", self.port())
    }

    /// Where it takes AMQP.
    pub fn port(&self) -> u16 {
        self.amqp.number()
    }

    /// Address of the virtual host, with user and password.
    pub fn url(&self) -> String {
        self.url_of(USER, PASSWORD)
    }

    /// The same for another user.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/interchange", self.port())
    }

    /// Makes a user with rights on the virtual host, each a pattern of names.
    pub fn add_user(&self, name: &str, password: &str, configure: &str, write: &str, read: &str) {
        self.control(&["add_user", name, password]);
        self.control(&["set_permissions", "--vhost", "interchange", name, configure, write, read]);
    }

    /// SIGKILL; its sockets are gone when this returns.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts a node that was killed, on the same data and ports.
    ///
    /// # Panics
    /// When it runs.
    pub fn start_again(&mut self) {
        assert!(self.program.is_none(), "the node runs");
        // An epmd of its own is in the same process group, so that nothing of it stays behind.
        let names = match &self.names {
            Names::Own(port) => format!(
                "epmd -port {port} -address 127.0.0.1 & i=0; until epmd -port {port} -names >/dev/null 2>&1 || [ $i -ge 100 ]; \
                 do i=$((i+1)); sleep 0.05; done;",
                port = port.number()
            ),
            Names::Shared(_) => String::new(),
        };
        // The shell leads the process group of all that follows.
        let script = format!("echo $$ >\"$HOME/group\"; {names} exec {SERVER}");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        self.environment(&mut command);
        let mut program = Program::start(Directory::new("rabbitmq"), command);
        let address = self.amqp.address();
        program.wait_until("it greets", READY_WITHIN, || greets(address));
        self.program = Some(program);
    }

    fn environment(&self, command: &mut Command) {
        let path = |name: &str| -> PathBuf { self.files.path().join(name) };
        command
            .env("HOME", self.files.path())
            .env("ERL_EPMD_PORT", self.names.port().to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", self.name())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port().to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution.number().to_string())
            .env("RABBITMQ_BASE", self.files.path())
            .env("RABBITMQ_MNESIA_BASE", path("data"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config"))
            .env("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", path("data"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            .env("ERL_CRASH_DUMP", path("crash.dump"))
            // Two schedulers: two cores.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none");
    }

    /// Runs rabbitmqctl against this node: about a second.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn control(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(CONTROL);
        command.arg("--quiet").args(arguments);
        self.environment(&mut command);
        let output = command.output().expect("rabbitmqctl starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// From now on it takes no messages: its memory is said to be over the limit.
    pub fn raise_memory_alarm(&self) {
        self.control(&["set_vm_memory_high_watermark", "absolute", "1"]);
    }

    /// It takes messages again.
    pub fn clear_memory_alarm(&self) {
        self.control(&["set_vm_memory_high_watermark", "absolute", "2GB"]);
    }

    /// All its processes stop where they are, and its connections stay open without a word, until [`RabbitMq::go_on`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a pause.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let written = std::fs::read_to_string(self.files.path().join("group")).expect("the node was started");
        let group = written.trim().parse().ok().and_then(Pid::from_raw).expect("the shell wrote a number");
        assert!(self.program.is_some(), "the node was killed");
        kill_process_group(group, signal).expect("the node is there");
    }

    /// What it has used.
    ///
    /// # Panics
    /// When it does not run.
    pub fn usage(&self) -> Usage {
        self.program.as_ref().expect("the node runs").usage()
    }
}

/// Three nodes that hold every queue together: what two of them have is safe. Dropping it is a SIGKILL to all.
#[derive(Debug)]
pub struct Cluster {
    nodes: [RabbitMq; 3],
}

impl Cluster {
    /// Three fresh nodes, with a virtual host and a user as [`RabbitMq::start`] makes them.
    ///
    /// They are joined by hand, one after the other: nodes that look for one another at their first start may each decide to be alone.
    pub fn start() -> Self {
        let names = Arc::new(NameServer::start());
        let mut nodes = [(); 3].map(|()| RabbitMq::new(Names::Shared(names.clone())));
        for node in &nodes {
            let path = node.files.path().join("rabbitmq.conf");
            let mut settings = std::fs::OpenOptions::new().append(true).open(path).expect("a file of ours");
            settings.write_all(b"cluster_partition_handling = pause_minority\n").expect("a file of ours");
            node.files.write("advanced.config", &format!("[{{kernel, [{{net_ticktime, {SILENCE_SECONDS}}}]}}].\n"));
            let secret = node.files.write(".erlang.cookie", "interchange-tests");
            std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o400)).expect("a file of ours");
        }
        thread::scope(|scope| {
            for node in &mut nodes {
                scope.spawn(|| node.start_again());
            }
        });
        let [first, others @ ..] = &nodes;
        for node in others {
            node.control(&["stop_app"]);
            node.control(&["join_cluster", &first.name()]);
            node.control(&["start_app"]);
        }
        Self { nodes }
    }

    /// The address of the virtual host at each node.
    pub fn urls(&self) -> [String; 3] {
        self.nodes.each_ref().map(RabbitMq::url)
    }

    /// One of the nodes.
    pub fn node(&mut self, number: usize) -> &mut RabbitMq {
        &mut self.nodes[number]
    }

    /// The node that leads most queues. All nodes must run.
    pub fn leader(&self) -> usize {
        let said = self.nodes[0].control(&["list_queues", "--vhost", "interchange", "--no-table-headers", "leader"]);
        let led = |node: &RabbitMq| said.lines().filter(|line| line.trim() == node.name()).count();
        (0..self.nodes.len()).max_by_key(|node| led(&self.nodes[*node])).expect("there are three")
    }
}

/// Whether somebody there answers the protocol header (AMQP 0-9-1 §4.2.2) with connection.start.
fn greets(address: std::net::SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    let mut frame = [0; 11];
    socket.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && socket.write_all(b"AMQP\x00\x00\x09\x01").is_ok()
        && socket.read_exact(&mut frame).is_ok()
        && frame[..3] == [1, 0, 0]
        && frame[7..] == [0, 10, 0, 10]
}
