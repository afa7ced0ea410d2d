//! Kamailio 5.6 of Debian 12 as the SIP proxy and registrar of one company, with a route to the hub.

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::certificates::{Authority, Identity, Leaf};
use crate::ports::ReservedPort;
use crate::processes::{Directory, Program, Usage};

const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// The ports of one SIP proxy.
#[derive(Debug)]
pub struct SipPorts {
    /// For phones: UDP and TCP.
    pub phones: ReservedPort,
    /// For the hub: TLS.
    pub tls: ReservedPort,
}

impl SipPorts {
    /// Reserves both.
    pub fn reserve() -> Self {
        Self { phones: ReservedPort::any(), tls: ReservedPort::any() }
    }
}

/// How to start Kamailio.
#[derive(Debug)]
pub struct KamailioSettings {
    /// The company's domain.
    pub domain: String,
    /// Where it listens.
    pub ports: SipPorts,
    /// What it presents, as server and as client of the hub.
    pub identity: Identity,
    /// Certificate (PEM) of the authority it trusts.
    pub trusted_authority: String,
    /// The hub's port on 127.0.0.1 for SIP over TLS.
    pub hub_port: u16,
    /// The name in the hub's certificate (its common name): sent as SNI, and demanded of who sends for partners.
    pub hub_name: String,
    /// Domains that are reached through the hub, and that the hub may send for.
    pub partners: Vec<String>,
    /// Processes for each kind of transport. A TCP or TLS connection belongs to one of them and keeps its order, but
    /// datagrams go to whichever is free: with four, a few of 300 messages over UDP overtake each other. One does not.
    pub workers: u32,
    /// Whether it is its people's presence server too (modules presence and presence_xml), which lets everybody see everybody.
    pub presence: bool,
    /// Whether it is an MSRP relay too (RFC 4976, module msrp), for clients that come to its phones' port.
    pub relay: bool,
    /// Whether it logs every request; a measured server must not.
    pub verbose: bool,
}

impl KamailioSettings {
    /// A company with a good certificate of `authority`, which it also trusts.
    pub fn new(domain: &str, ports: SipPorts, authority: &Authority, hub: SocketAddr, hub_name: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            ports,
            identity: authority.issue(&Leaf::sip(domain)),
            trusted_authority: authority.certificate().to_owned(),
            hub_port: hub.port(),
            hub_name: hub_name.to_owned(),
            partners: Vec::new(),
            workers: 1,
            presence: false,
            relay: false,
            verbose: true,
        }
    }

    /// With a presence server.
    pub fn with_presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// With a relay for sessions.
    pub fn with_relay(mut self) -> Self {
        self.relay = true;
        self
    }

    /// Adds domains to be reached through the hub.
    pub fn with_partners(mut self, partners: &[&str]) -> Self {
        self.partners.extend(partners.iter().map(|&partner| partner.to_owned()));
        self
    }
}

/// A running Kamailio.
pub struct Kamailio {
    domain: String,
    ports: SipPorts,
    program: Program,
}

impl Kamailio {
    /// Starts it and waits until it listens.
    pub fn start(settings: KamailioSettings) -> Self {
        let directory = Directory::new("kamailio");
        let tls = directory.write("tls.cfg", &tls_configuration(&directory, &settings));
        let tables = directory.create("tables");
        if settings.presence {
            copy_tables(&tables);
        }
        let configuration =
            directory.write("kamailio.cfg", &configuration(&settings, &tls.to_string_lossy(), &tables.to_string_lossy()));
        let mut command = Command::new("/usr/sbin/kamailio");
        // In the foreground with errors on standard error; 64 MB shared and 8 MB private memory.
        command.args(["-DD", "-E", "-m", "64", "-M", "8"]);
        command.arg("-f").arg(configuration);
        command.arg("-Y").arg(directory.create("run"));
        command.arg("-P").arg(directory.path().join("kamailio.pid"));
        command.arg("-w").arg(directory.path());
        let mut program = Program::start(directory, command);
        let listeners = [settings.ports.phones.address(), settings.ports.tls.address()];
        program.wait_for_listeners(&listeners, LISTENS_WITHIN);
        Self { domain: settings.domain, ports: settings.ports, program }
    }

    /// Stops it, and gives back its ports for another.
    pub fn stop(self) -> SipPorts {
        drop(self.program);
        self.ports
    }

    /// The company's domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Where phones register, UDP and TCP.
    pub fn phone_address(&self) -> SocketAddr {
        self.ports.phones.address()
    }

    /// Where the hub connects, TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.ports.tls.address()
    }

    /// `user` at its domain, as a SIP URI.
    pub fn uri_of(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.domain)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.program.output()
    }

    /// What its processes have used.
    pub fn usage(&self) -> Usage {
        self.program.usage()
    }
}

impl fmt::Debug for Kamailio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Kamailio").field("domain", &self.domain).field("ports", &self.ports).finish()
    }
}

fn tls_configuration(directory: &Directory, settings: &KamailioSettings) -> String {
    let identity = settings.identity.write(directory, "proxy");
    let authority = directory.write("authority.pem", &settings.trusted_authority);
    let files = format!(
        "method = TLSv1.2+\nverify_certificate = yes\nprivate_key = {}\ncertificate = {}\nca_list = {}\n",
        identity.private_key.display(),
        identity.certificate.display(),
        authority.display()
    );
    format!(
        "[server:default]\n{files}require_certificate = no\n\n\
         [client:default]\n{files}require_certificate = yes\nserver_name = {}\n",
        settings.hub_name
    )
}

/// Debian's empty tables of the modules, as text files.
fn copy_tables(to: &std::path::Path) {
    for table in ["version", "presentity", "active_watchers", "watchers", "xcap", "pua"] {
        let from = std::path::Path::new("/usr/share/kamailio/dbtext/kamailio").join(table);
        std::fs::copy(&from, to.join(table)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
}

/// What the presence server adds: modules with their settings, what happens in a dialog with it, and outside one.
fn presence(settings: &KamailioSettings, tables: &str) -> [String; 3] {
    if !settings.presence {
        return [String::new(), String::new(), String::new()];
    }
    let modules = format!(
        r#"loadmodule "db_text.so"
loadmodule "presence.so"
loadmodule "presence_xml.so"
modparam("presence", "db_url", "text://{tables}")
modparam("presence", "subs_db_mode", 0)
modparam("presence", "server_address", "sip:127.0.0.1:{}")
modparam("presence_xml", "db_url", "text://{tables}")
modparam("presence_xml", "force_active", 1)
"#,
        settings.ports.phones.number()
    );
    let inside = r#"        if (is_method("SUBSCRIBE") && uri == myself) { if (!t_newtran()) { sl_reply_error(); exit; } handle_subscribe(); exit; }
"#;
    let outside = r#"        if (is_method("PUBLISH")) { if (!t_newtran()) { sl_reply_error(); exit; } handle_publish(); exit; }
        if (is_method("SUBSCRIBE")) { if (!t_newtran()) { sl_reply_error(); exit; } handle_subscribe(); exit; }
"#;
    [modules, inside.to_owned(), outside.to_owned()]
}

/// What the relay adds: settings of the core, modules, and what becomes of a frame.
fn relay(settings: &KamailioSettings) -> [String; 3] {
    if !settings.relay {
        return [String::new(), String::new(), String::new()];
    }
    let modules = format!(
        r#"loadmodule "msrp.so"
modparam("msrp", "cmap_size", 8)
modparam("msrp", "use_path_addr", "127.0.0.1:{}")
"#,
        settings.ports.tls.number()
    );
    // Whoever has reached the phones' port may use it: a password would show nothing of MSRP.
    let route = r#"
event_route[msrp:frame-in] {
    msrp_reply_flags("1");
    if (msrp_is_reply()) { msrp_relay(); exit; }
    if ($msrp(method) == "AUTH") { msrp_cmap_save(); exit; }
    if ($msrp(method) != "SEND" && $msrp(method) != "REPORT") { msrp_reply("501", "Not-Understood"); exit; }
    # Its clients come without TLS, partners with it.
    if ($msrp(nexthop) =~ "^msrps:") {
        if ($msrp(method) != "REPORT") msrp_reply("200", "OK");
        msrp_relay();
        exit;
    }
    if (!msrp_cmap_lookup()) { msrp_reply("481", "Session-does-not-exist"); exit; }
    if ($msrp(method) != "REPORT") msrp_reply("200", "OK");
    msrp_relay_flags("1");
    msrp_relay();
}
"#;
    ["tcp_accept_no_cl=yes\n".to_owned(), modules, route.to_owned()]
}

fn configuration(settings: &KamailioSettings, tls_configuration: &str, tables: &str) -> String {
    let [relay_core, relay_modules, relay_route] = relay(settings);
    let [presence_modules, presence_inside, presence_outside] = presence(settings, tables);
    let mut partners = String::new();
    for partner in &settings.partners {
        writeln!(partners, "    $sht(partners=>{partner}) = 1;").expect("a string takes all");
    }
    format!(
        r#"#!KAMAILIO
debug={debug}
log_stderror=yes
enable_tls=yes
auto_aliases=no
alias="{domain}"
listen=udp:127.0.0.1:{phones}
listen=tcp:127.0.0.1:{phones}
listen=tls:127.0.0.1:{tls}
children={workers}
tcp_children={workers}
tcp_connection_lifetime=3605
tcp_max_connections=2048
{relay_core}dns=no
rev_dns=no

mpath="/usr/lib/{architecture}-linux-gnu/kamailio/modules/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "sanity.so"
loadmodule "htable.so"
loadmodule "tls.so"
{presence_modules}{relay_modules}
modparam("tls", "config", "{tls_configuration}")
modparam("usrloc", "db_mode", 0)
modparam("htable", "htable", "partners=>size=6;")

event_route[htable:mod-init] {{
    # A route without a statement is a syntax error, so the company itself stands here when it has no partner.
    $sht(partners=>{domain}) = 0;
{partners}}}

request_route {{
    xlog("L_INFO", "request: $rm $ru from $fu by $proto $si\n");
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (!sanity_check("1511", "7")) {{ exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (has_totag()) {{
        # A phone's own name for itself in a dialog may be a GRUU (RFC 5627), which only the registrar knows.
        if (loose_route()) {{ if ($rd == "{domain}" && $ru =~ ";gr") lookup("location"); t_relay(); exit; }}
        if (is_method("ACK")) {{ if (t_check_trans()) t_relay(); exit; }}
{presence_inside}        sl_send_reply("404", "Not here"); exit;
    }}
    t_check_trans();
    # So that what the hub sends in a dialog comes through here to the phone.
    if (is_method("SUBSCRIBE|INVITE")) record_route();

    # For a partner only the hub may speak, and it must have shown its own certificate.
    if ($fd != "{domain}") {{
        if ($proto != "tls" || $tls_peer_verified != 1 || $tls_peer_subject_cn != "{hub_name}"
                || $sht(partners=>$fd) != 1) {{
            xlog("L_NOTICE", "refused: $fu, verified $tls_peer_verified, certificate of $tls_peer_subject_cn\n");
            sl_send_reply("403", "Unknown partner"); exit;
        }}
        if (uri != myself) {{ sl_send_reply("403", "Relaying denied"); exit; }}
    }}

    if (uri == myself) {{
        if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
        if (is_method("REGISTER")) {{ if (!save("location")) sl_reply_error(); exit; }}
{presence_outside}        if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
        if (!t_relay()) sl_reply_error();
        exit;
    }}
    remove_hf("Route");
    if ($sht(partners=>$rd) == 1) {{
        $du = "sip:127.0.0.1:{hub_port};transport=tls";
        if (!t_relay()) sl_reply_error();
        exit;
    }}
    sl_send_reply("404", "No route to domain");
}}
{relay_route}"#,
        debug = if settings.verbose { 2 } else { 0 },
        domain = settings.domain,
        phones = settings.ports.phones.number(),
        tls = settings.ports.tls.number(),
        workers = settings.workers,
        architecture = std::env::consts::ARCH,
        hub_name = settings.hub_name,
        hub_port = settings.hub_port,
    )
}
