//! Prosody 0.12 of Debian 12 as the server of one XMPP domain.

use std::process::Command;
use std::time::Duration;

use crate::processes::{Directory, Program};
use crate::xmpp_server::{PASSWORD, ServerAuthentication, XmppServer, XmppServerSettings};

const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// Starts Prosody and waits until it listens.
pub fn start(settings: XmppServerSettings) -> XmppServer {
    let directory = Directory::new("prosody");
    write_users(&directory, &settings);
    let configuration = directory.write("prosody.cfg.lua", &configuration(&directory, &settings));
    let mut command = Command::new("/usr/bin/prosody");
    command.arg("--config").arg(configuration).arg("-F").current_dir(directory.path());
    let mut program = Program::start(directory, command);
    let listeners = [settings.ports.client.address(), settings.ports.server.address()];
    program.wait_for_listeners(&listeners, LISTENS_WITHIN);
    XmppServer { domain: settings.domain, ports: settings.ports, program }
}

/// Accounts in the layout of Prosody's internal storage, where the domain's dots are written `%2e`.
fn write_users(directory: &Directory, settings: &XmppServerSettings) {
    let accounts = format!("data/{}/accounts", settings.domain.replace('.', "%2e").replace('-', "%2d"));
    directory.create(&accounts);
    for user in &settings.users {
        let account = format!("return {{ [\"password\"] = \"{PASSWORD}\"; }};\n");
        directory.write(&format!("{accounts}/{user}.dat"), &account);
    }
}

fn configuration(directory: &Directory, settings: &XmppServerSettings) -> String {
    let identity = settings.identity.write(directory, "server");
    let authority = directory.write("authority.pem", &settings.trusted_authority);
    let trusted = match settings.authentication {
        ServerAuthentication::Dialback => String::new(),
        ServerAuthentication::Certificates | ServerAuthentication::CertificatesOrDialback => {
            format!("s2s_ssl = {{ cafile = \"{}\" }}", authority.display())
        }
    };
    let (dialback, certificates_required) = match settings.authentication {
        ServerAuthentication::Certificates => ("", true),
        ServerAuthentication::CertificatesOrDialback | ServerAuthentication::Dialback => ("\"dialback\";", false),
    };
    let bidi = if settings.bidi { "\"s2s_bidi\";" } else { "" };
    let path = directory.path().display();
    let data = directory.path().join("data");
    format!(
        r#"-- Prosody changes to its own user when started as root; that user could not read this directory.
run_as_root = true
pidfile = "{path}/prosody.pid"
data_path = "{data}"
certificates = "{path}"
log = {{ {{ levels = {{ min = "{level}" }}, to = "console" }} }}
use_ipv6 = false
interfaces = {{ "127.0.0.1" }}
local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {client} }}
s2s_ports = {{ {server} }}
s2s_direct_tls_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
network_backend = "epoll"
unbound = {{ resolvconf = false; hoststxt = false; forward = "127.0.0.1@{names}" }}

modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "smacks"; "presence"; "message"; "iq"; {dialback} {bidi} }}
modules_disabled = {{ "offline" }}

authentication = "internal_plain"
storage = "internal"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_require_encryption = true
s2s_secure_auth = {certificates_required}
{trusted}

VirtualHost "{domain}"
    ssl = {{ certificate = "{certificate}"; key = "{key}" }}
"#,
        data = data.display(),
        level = if settings.verbose { "debug" } else { "warn" },
        client = settings.ports.client.number(),
        server = settings.ports.server.number(),
        names = settings.name_server,
        domain = settings.domain,
        certificate = identity.certificate.display(),
        key = identity.private_key.display(),
    )
}
