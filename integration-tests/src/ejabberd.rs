//! ejabberd 23.01 of Debian 12 as the server of one XMPP domain.
//!
//! The Erlang machine is started directly: `ejabberdctl` changes to the system user `ejabberd`, is confined to the
//! system directories by AppArmor, and names the node, which starts the port mapper daemon `epmd` for the whole
//! machine and leaves it behind. A node without a name needs neither.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use crate::processes::{Directory, Program};
use crate::xmpp_server::{PASSWORD, ServerAuthentication, XmppServer, XmppServerSettings};

const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Starts ejabberd, registers the users, and waits until it listens.
pub fn start(settings: XmppServerSettings) -> XmppServer {
    let directory = Directory::new("ejabberd");
    let path = directory.path().to_owned();
    let configuration = directory.write("ejabberd.yml", &configuration(&directory, &settings));
    let names = directory.write(
        "inetrc",
        &format!(
            "{{resolv_conf, \"\"}}.\n{{lookup, [file, native]}}.\n{{nameserver, {{127,0,0,1}}, {}}}.\n",
            settings.name_server
        ),
    );
    let started = path.join("started");

    let mut command = Command::new("/usr/bin/erl");
    command
        .args(["-noinput", "+K", "true", "-mnesia", "dir"])
        .arg(format!("\"{}\"", directory.create("spool").display()))
        .args(["-s", "ejabberd", "-eval", &after_start(&settings, &started.to_string_lossy())])
        .env("ERL_LIBS", erlang_libraries())
        .env("ERL_INETRC", names)
        .env("ERL_CRASH_DUMP", path.join("crash.dump"))
        .env("EJABBERD_CONFIG_PATH", configuration)
        .env("EJABBERD_LOG_PATH", path.join("ejabberd.log"))
        .env("HOME", &path)
        .current_dir(&path);
    let mut program = Program::start(directory, command);
    program.wait_until("ejabberd has started", STARTS_WITHIN, || started.exists());
    let listeners = [settings.ports.client.address(), settings.ports.server.address()];
    program.wait_for_listeners(&listeners, STARTS_WITHIN);
    XmppServer { domain: settings.domain, ports: settings.ports, program }
}

/// Debian installs ejabberd and its libraries beside each other in the folder of the machine's architecture.
fn erlang_libraries() -> String {
    format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH)
}

/// Erlang that runs once ejabberd is up: registers the users and leaves a file as sign.
fn after_start(settings: &XmppServerSettings, started: &str) -> String {
    let mut program = String::new();
    for user in &settings.users {
        let domain = &settings.domain;
        write!(program, "ok = ejabberd_auth:try_register(<<\"{user}\">>, <<\"{domain}\">>, <<\"{PASSWORD}\">>), ")
            .expect("a string takes all");
    }
    write!(program, "ok = file:write_file(\"{started}\", <<>>).").expect("a string takes all");
    program
}

fn configuration(directory: &Directory, settings: &XmppServerSettings) -> String {
    let both = format!("{}{}", settings.identity.certificate, settings.identity.private_key);
    let certificate = directory.write("server-with-key.pem", &both);
    let authority = directory.write("authority.pem", &settings.trusted_authority);
    let trusted = match settings.authentication {
        // A leaf is no authority: nothing is valid. Without this option the system's authorities would count.
        ServerAuthentication::Dialback => &certificate,
        ServerAuthentication::Certificates | ServerAuthentication::CertificatesOrDialback => &authority,
    };
    let dialback = match settings.authentication {
        ServerAuthentication::Certificates => "",
        ServerAuthentication::CertificatesOrDialback | ServerAuthentication::Dialback => "mod_s2s_dialback: {}",
    };
    format!(
        r#"loglevel: {level}
hosts:
  - "{domain}"
certfiles:
  - "{certificate}"
auth_method: internal
auth_password_format: plain
s2s_use_starttls: required
ca_file: "{trusted}"
outgoing_s2s_families:
  - ipv4
s2s_dns_timeout: 5
s2s_max_retry_delay: 2
acl:
  local:
    user_regexp: ""
access_rules:
  local:
    allow: local
  c2s:
    allow: all
listen:
  -
    port: {client}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 524288
    access: c2s
  -
    port: {server}
    ip: "127.0.0.1"
    module: ejabberd_s2s_in
    max_stanza_size: 524288
modules:
  mod_disco: {{}}
  mod_ping: {{}}
  mod_roster: {{}}
  mod_stream_mgmt: {{}}
  {dialback}
"#,
        level = if settings.verbose { "info" } else { "warning" },
        domain = settings.domain,
        certificate = certificate.display(),
        trusted = trusted.display(),
        client = settings.ports.client.number(),
        server = settings.ports.server.number(),
    )
}
