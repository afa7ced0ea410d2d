//! RabbitMQ servers of the tests: one node each, with its own data directory, ports and epmd, that can be killed and started again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::ports::ReservedPort;
use crate::processes::{Directory, Program, Usage};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
const READY_WITHIN: Duration = Duration::from_secs(60);
const USER: &str = "interchange";
const PASSWORD: &str = "correct-horse";

/// One node. Dropping it is a SIGKILL.
#[derive(Debug)]
pub struct RabbitMq {
    files: Directory,
    program: Option<Program>,
    amqp: ReservedPort,
    distribution: ReservedPort,
    names: ReservedPort,
}

impl RabbitMq {
    /// A fresh node with a virtual host `interchange` and a user of that name who may do everything there; it takes connections when this
    /// returns.
    pub fn start() -> Self {
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
        let mut node = Self {
            files,
            program: None,
            amqp: ReservedPort::any(),
            distribution: ReservedPort::any(),
            names: ReservedPort::any(),
        };
        node.start_again();
        node
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
        // An epmd of its own, in the same process group, so that nothing of it stays behind.
        let script = format!(
            "epmd -port {} -address 127.0.0.1 & i=0; until epmd -port {} -names >/dev/null 2>&1 || [ $i -ge 100 ]; \
             do i=$((i+1)); sleep 0.05; done; exec {SERVER}",
            self.names.number(),
            self.names.number()
        );
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
        let node = format!("interchange{}@localhost", self.port());
        command
            .env("HOME", self.files.path())
            .env("ERL_EPMD_PORT", self.names.number().to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", node)
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

    /// What it has used.
    ///
    /// # Panics
    /// When it does not run.
    pub fn usage(&self) -> Usage {
        self.program.as_ref().expect("the node runs").usage()
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
