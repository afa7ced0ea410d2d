//! The name server of one test: dnsmasq on a free port, which knows the names of that test and no others.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use crate::ports::ReservedPort;
use crate::processes::{Directory, Program};

const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// A service record: the service of a domain is at a port of this machine.
#[derive(Clone, Debug)]
pub struct ServiceRecord {
    /// For example `_xmpp-server._tcp`.
    pub service: &'static str,
    /// The domain that offers it.
    pub domain: String,
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl ServiceRecord {
    /// `domain` takes XMPP streams of other servers at `port`.
    pub fn xmpp_server(domain: &str, port: u16) -> Self {
        Self { service: "_xmpp-server._tcp", domain: domain.to_owned(), port }
    }

    /// `domain` takes SIP over TLS at `port`.
    pub fn sips(domain: &str, port: u16) -> Self {
        Self { service: "_sips._tcp", domain: domain.to_owned(), port }
    }
}

/// A running name server. All names are below `example`; one that is not in the records does not exist.
#[derive(Debug)]
pub struct NameServer {
    port: ReservedPort,
    _program: Program,
}

impl NameServer {
    /// Starts it with these records.
    ///
    /// The target of every record is `localhost`: ejabberd resolves targets by the operating system and Prosody by
    /// its own resolver, and this is the one name that both lead to 127.0.0.1 on every machine.
    pub fn start(records: &[ServiceRecord]) -> Self {
        Self::start_at(ReservedPort::any(), records, "")
    }

    /// Starts it at a port, with more lines of dnsmasq's configuration.
    pub fn start_at(port: ReservedPort, records: &[ServiceRecord], more: &str) -> Self {
        let directory = Directory::new("dnsmasq");
        let mut configuration = format!(
            "port={}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nlog-queries\n\
             local=/example/\nhost-record=localhost,127.0.0.1\n",
            port.number()
        );
        for ServiceRecord { service, domain, port } in records {
            writeln!(configuration, "srv-host={service}.{domain},localhost,{port}").expect("a string takes all");
        }
        configuration.push_str(more);
        let file = directory.write("dnsmasq.conf", &configuration);
        let mut command = Command::new("/usr/sbin/dnsmasq");
        // An empty user name means: stay who you are. An empty path: no file with the process id.
        command.args(["--keep-in-foreground", "--log-facility=-", "--user=", "--pid-file="]);
        command.arg(format!("--conf-file={}", file.display()));
        let mut program = Program::start(directory, command);
        program.wait_for_listeners(&[port.address()], LISTENS_WITHIN);
        Self { port, _program: program }
    }

    /// The lines that say that a domain's authoritative servers are these hosts, each at 127.0.0.1.
    pub fn authorities(domain: &str, hosts: &[&str]) -> String {
        let wire = |name: &str| name.split('.').map(|label| format!("{:02x}{}", label.len(), hex(label))).collect::<String>();
        let lines = hosts.iter().map(|host| format!("dns-rr={domain},2,{}00\nhost-record={host},127.0.0.1\n", wire(host)));
        lines.collect()
    }

    /// Its port on 127.0.0.1, UDP and TCP.
    pub fn port(&self) -> u16 {
        self.port.number()
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
