//! The hub itself: the built binary `interchange`, with a configuration of the test's.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::certificates::{Authority, Identity, Leaf};
use crate::ports::ReservedPort;
use crate::postgresql::PostgreSql;
use crate::processes::{Directory, Program, Usage};
use crate::rabbitmq::RabbitMq;

const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// The hub's own domain in every test; its Echo user is `echo@hub.example`.
pub const HUB_DOMAIN: &str = "hub.example";

/// One link in the hub's configuration.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// The member's id, and the link's.
    pub id: String,
    /// `xmpp`, `sip`, `ocs` or `sametime`.
    pub platform: &'static str,
    /// The member's domain.
    pub domain: String,
    /// The inside of the TOML table `settings`.
    pub settings: String,
}

impl LinkSettings {
    /// An XMPP server at a port of 127.0.0.1, which proves itself by its certificate.
    pub fn xmpp(id: &str, domain: &str, port: u16) -> Self {
        let settings = format!("host = \"127.0.0.1\", port = {port}");
        Self { id: id.to_owned(), platform: "xmpp", domain: domain.to_owned(), settings }
    }

    /// A SIP proxy at a TLS port of 127.0.0.1.
    pub fn sip(id: &str, domain: &str, port: u16) -> Self {
        let settings = format!("host = \"127.0.0.1\", port = {port}");
        Self { id: id.to_owned(), platform: "sip", domain: domain.to_owned(), settings }
    }

    /// A company with a Microsoft Access Edge at a port of 127.0.0.1, which lists the hub.
    pub fn ocs(id: &str, domain: &str, port: u16) -> Self {
        let settings = format!("edge = \"sip.{domain}\", address = \"127.0.0.1\", port = {port}, listed = true");
        Self { id: id.to_owned(), platform: "ocs", domain: domain.to_owned(), settings }
    }

    /// A company whose people sign in at the hub with Sametime clients, without TLS from this host.
    pub fn sametime(id: &str, domain: &str) -> Self {
        let settings = "plain_networks = [\"127.0.0.0/8\"]".to_owned();
        Self { id: id.to_owned(), platform: "sametime", domain: domain.to_owned(), settings }
    }

    /// Adds to its settings, for example `authentication = ["dialback"]`.
    pub fn with(mut self, setting: &str) -> Self {
        write!(self.settings, ", {setting}").expect("a string takes all");
        self
    }
}

/// The files of a hub, which outlive its process: a hub that was killed starts again on them.
#[derive(Debug)]
pub struct HubFiles {
    directory: Directory,
    /// Where it listens for XMPP servers.
    pub xmpp: ReservedPort,
    /// Where it listens for SIP proxies, TLS.
    pub sip: ReservedPort,
    /// Where it listens for the connections of sessions, TLS: not where SIP comes, since a Kamailio would send both over one connection.
    pub msrp: ReservedPort,
    /// Where it listens for Microsoft's Access Edges, TLS.
    pub ocs: ReservedPort,
    /// Where it listens for Sametime clients, without TLS, if it does.
    pub sametime: Option<ReservedPort>,
    /// Where it shows metrics and health.
    pub admin: ReservedPort,
    authority: String,
    identities: Vec<Identity>,
    settings: String,
    rabbitmq: Option<RabbitMq>,
    bus: Option<String>,
    store: String,
    limits: &'static str,
    community: &'static str,
}

/// Tests send as fast as they can, and often the same.
const NO_LIMITS: &str = "[limits]\nlink_rate = 0\nsender_rate = 0\nrepeats = 0\n\n";

/// Set to `rabbitmq`, every hub of the tests runs on a RabbitMQ of its own instead of its embedded bus.
const BUS_VARIABLE: &str = "INTERCHANGE_TEST_BUS";

impl HubFiles {
    /// A hub that shows certificates of `authority`, trusts it, and has no member yet.
    pub fn new(authority: &Authority) -> Self {
        Self {
            directory: Directory::new("hub-files"),
            xmpp: ReservedPort::any(),
            sip: ReservedPort::any(),
            msrp: ReservedPort::any(),
            ocs: ReservedPort::any(),
            sametime: None,
            admin: ReservedPort::any(),
            authority: authority.certificate().to_owned(),
            identities: vec![authority.issue(&Leaf::sip(HUB_DOMAIN))],
            settings: String::new(),
            rabbitmq: std::env::var(BUS_VARIABLE).is_ok_and(|bus| bus == "rabbitmq").then(RabbitMq::start),
            bus: None,
            store: String::new(),
            limits: NO_LIMITS,
            community: "open",
        }
    }

    /// Writes the configuration of an open community without limits on how much may be sent, with these links. The hub shows each domain a certificate for it.
    pub fn configure(&mut self, authority: &Authority, links: &[LinkSettings]) {
        for link in links {
            self.identities.push(authority.issue(&Leaf::xmpp(&link.domain)));
            write!(
                self.settings,
                "\n[[member]]\nid = \"{id}\"\n\n[[link]]\nid = \"{id}\"\nmember = \"{id}\"\nplatform = \"{}\"\ndomains = [\"{}\"]\nsettings = {{ {} }}\n",
                link.platform,
                link.domain,
                link.settings,
                id = link.id,
            )
            .expect("a string takes all");
        }
        let authority = self.directory.write("ca.pem", &self.authority);
        let bus = self.bus_url().unwrap_or_else(|| "embedded".to_owned());
        let mut file = format!(
            "[hub]\ndomain = \"{HUB_DOMAIN}\"\ndata_directory = \"data\"\nbus = \"{bus}\"\ncommunity = \"{}\"\nlog = \"json\"\n{}\n\
             [network]\nallow_targets = [\"127.0.0.0/8\"]\n\n\
             {}\
             [tls]\nauthorities = [\"{}\"]\nsystem_authorities = false\n",
            self.community,
            self.store,
            self.limits,
            authority.display()
        );
        for (number, identity) in self.identities.iter().enumerate() {
            let files = identity.write(&self.directory, &format!("identity{number}"));
            write!(
                file,
                "\n[[tls.identity]]\ncertificate = \"{}\"\nkey = \"{}\"\n",
                files.certificate.display(),
                files.private_key.display()
            )
            .expect("a string takes all");
        }
        let listeners =
            [("xmpp", &self.xmpp, "tcp"), ("sip", &self.sip, "tls"), ("sip", &self.msrp, "tls"), ("ocs", &self.ocs, "tls")];
        for (platform, port, transport) in listeners {
            write!(
                file,
                "\n[[listener]]\nplatform = \"{platform}\"\naddress = \"127.0.0.1:{}\"\ntransport = \"{transport}\"\n",
                port.number()
            )
            .expect("a string takes all");
        }
        if let Some(port) = &self.sametime {
            write!(file, "\n[[listener]]\nplatform = \"sametime\"\naddress = \"{}\"\ntransport = \"tcp\"\n", port.address())
                .expect("a string takes all");
        }
        write!(file, "\n[admin]\naddress = \"127.0.0.1:{}\"\n", self.admin.number()).expect("a string takes all");
        // Where a SIP server finds the hub by the Contact of a dialog: no name of the tests leads there.
        write!(
            file,
            "\n[platform.sip]\ncontact_host = \"127.0.0.1:{}\"\nmsrp_host = \"127.0.0.1:{}\"\n",
            self.sip.number(),
            self.msrp.number()
        )
        .expect("a string takes all");
        write!(file, "\n[platform.ocs]\ncontact_host = \"{HUB_DOMAIN}:{}\"\n", self.ocs.number()).expect("a string takes all");
        file.push_str(&self.settings);
        self.directory.write("hub.toml", &file);
    }

    /// From now on it has the limits of a hub whose configuration says nothing of them. To be called before it is configured.
    pub fn keep_limits(&mut self) {
        self.limits = "";
    }

    /// From now on it asks this name server, and the authoritative servers of domains at this port. To be called before it is configured.
    pub fn ask(&mut self, names: u16, authority_port: u16) {
        let _ = write!(self.settings, "\n[dns]\nservers = [\"127.0.0.1:{names}\"]\nauthority_port = {authority_port}\n");
    }

    /// From now on it asks web servers of domains at this port. To be called right after [`HubFiles::ask`].
    pub fn ask_web(&mut self, port: u16) {
        let _ = writeln!(self.settings, "https_port = {port}");
    }

    /// It will listen for Sametime clients, too. To be called before it is configured.
    pub fn serve_sametime(&mut self) {
        self.sametime = Some(ReservedPort::any());
    }

    /// Somebody who signs in at the hub itself. To be called before it is configured.
    #[track_caller]
    pub fn add_account(&mut self, member: &str, user: &str, name: &str, password: &str) {
        let hash = password_hash(password);
        write!(
            self.settings,
            "\n[[account]]\nmember = \"{member}\"\nuser = \"{user}\"\nname = \"{name}\"\npassword_hash = \"{hash}\"\n"
        )
        .expect("a string takes all");
    }

    /// From now on members need a partnership. To be called before it is configured.
    pub fn by_invitation(&mut self) {
        self.community = "invitation";
    }

    /// It will show a certificate for each of these domains, whose links are made while it runs. To be called before it is configured.
    pub fn stand_for(&mut self, authority: &Authority, domains: &[&str]) {
        self.identities.extend(domains.iter().map(|domain| authority.issue(&Leaf::xmpp(domain))));
    }

    /// Peers must answer XMPP within so many seconds. To be called before it is configured.
    pub fn answer_within(&mut self, seconds: u64) {
        let _ = write!(self.settings, "\n[platform.xmpp]\nanswer_seconds = {seconds}\n");
    }

    /// More lines of its configuration. To be called before it is configured.
    pub fn add(&mut self, lines: &str) {
        let _ = write!(self.settings, "\n{lines}\n");
    }

    /// Its links are probed so often; otherwise as often as usual. To be called before it is configured.
    pub fn probe_every(&mut self, seconds: u64) {
        let _ = write!(self.settings, "\n[canary]\nseconds = {seconds}\n");
    }

    /// Shows another certificate in the place of one, from the next start on. To be called after it was configured.
    pub fn replace_identity(&self, number: usize, identity: &Identity) {
        identity.write(&self.directory, &format!("identity{number}"));
    }

    /// The token that the first start has made.
    #[track_caller]
    pub fn operator_token(&self) -> String {
        let file = self.directory.path().join("data/operator.token");
        std::fs::read_to_string(file).expect("the hub has started").trim().to_owned()
    }

    /// The RabbitMQ it runs on, if it does.
    pub fn rabbitmq(&mut self) -> Option<&mut RabbitMq> {
        self.rabbitmq.as_mut()
    }

    /// From now on it runs on a RabbitMQ of its own. To be called before it is configured.
    pub fn use_rabbitmq(&mut self) {
        self.rabbitmq.get_or_insert_with(RabbitMq::start);
    }

    /// From now on it runs on the RabbitMQ at this address. To be called before it is configured.
    pub fn use_bus(&mut self, url: &str) {
        self.bus = Some(url.to_owned());
        self.rabbitmq = None;
    }

    /// From now on what is registered is in this PostgreSQL. To be called before it is configured.
    pub fn use_store(&mut self, server: &PostgreSql) {
        use std::os::unix::fs::PermissionsExt as _;
        let password = self.directory.write("store.password", crate::postgresql::PASSWORD);
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
        self.store = format!("store = \"{}\"\n", server.url());
        let _ = write!(self.settings, "\n[postgresql]\npassword_file = \"{}\"\n", password.display());
    }

    /// The RabbitMQ it runs on: somebody else's, or its own.
    fn bus_url(&self) -> Option<String> {
        self.bus.clone().or_else(|| self.rabbitmq.as_ref().map(RabbitMq::url))
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("hub.toml")
    }

    /// Starts the hub and waits until it listens.
    #[track_caller]
    pub fn start(&self) -> Hub {
        self.start_with(&[])
    }

    /// As [`HubFiles::start`], with these variables in its environment.
    #[track_caller]
    pub fn start_with(&self, environment: &[(&str, &str)]) -> Hub {
        if self.bus_url().is_some() {
            let mut command = Command::new(binary());
            command.args(["bus", "setup", "--no-wait", "--config"]).arg(self.configuration());
            let output = command.output().expect("the hub's binary runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(self.configuration()).envs(environment.iter().copied());
        let mut program = Program::start(Directory::new("hub"), command);
        let mut listeners =
            vec![self.xmpp.address(), self.sip.address(), self.msrp.address(), self.ocs.address(), self.admin.address()];
        listeners.extend(self.sametime.as_ref().map(ReservedPort::address));
        program.wait_for_listeners(&listeners, LISTENS_WITHIN);
        Hub { program }
    }
}

/// A running hub. Dropping it is a SIGKILL.
#[derive(Debug)]
pub struct Hub {
    program: Program,
}

impl Hub {
    /// Its log so far: one JSON object a line.
    pub fn log(&self) -> String {
        self.program.output()
    }

    /// Waits until a line of the log holds all of these texts.
    #[track_caller]
    pub fn wait_for_line(&mut self, texts: &[&str], within: Duration) {
        let output = self.program.output_path().to_owned();
        self.program.wait_until(&format!("its log has a line with {texts:?}"), within, || {
            std::fs::read_to_string(&output).is_ok_and(|log| log.lines().any(|line| texts.iter().all(|text| line.contains(text))))
        });
    }

    /// Tells it to read its certificates again.
    pub fn reload(&self) {
        self.program.hang_up();
    }

    /// What it has used.
    pub fn usage(&self) -> Usage {
        self.program.usage()
    }
}

/// What `hub.toml` has of a password.
#[track_caller]
fn password_hash(password: &str) -> String {
    let mut command = Command::new(binary());
    command.args(["account", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the hub's binary runs");
    let mut input = child.stdin.take().expect("standard input was asked for");
    writeln!(input, "{password}").expect("the binary takes a line");
    drop(input);
    let output = child.wait_with_output().expect("the binary ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a hash is text").trim().to_owned()
}

/// Names another binary than the one beside the running test.
const BINARY_VARIABLE: &str = "INTERCHANGE_HUB";

/// The binary that was built with the same profile as the running test, benchmark or program, or the one that `INTERCHANGE_HUB` names.
///
/// # Panics
/// When it is not there: `cargo build --package interchange-hub` makes it, and `make test` does so first.
#[track_caller]
pub fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os(BINARY_VARIABLE).map(PathBuf::from) {
        assert!(binary.exists(), "{BINARY_VARIABLE} names {}, which is not there", binary.display());
        return binary;
    }
    let running = std::env::current_exe().expect("a program knows where it is");
    let folder = running.parent().expect("a program is in a folder");
    // Programs are in target/PROFILE, tests in target/PROFILE/deps.
    let profile = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let binary = profile.join("interchange");
    assert!(binary.exists(), "{} is not there: run `cargo build --package interchange-hub` first", binary.display());
    binary
}
