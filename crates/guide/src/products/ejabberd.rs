//! ejabberd 23. The tests of this repository run Debian's 23.01 with these settings against a hub.

use crate::escape::{quoted, shell};
use crate::facts::{Facts, Trust};
use crate::guide::{Guide, Language, Step};
use crate::product::Product;
use crate::steps::{self, Protocol, Request};

const BUNDLE: &str = "/etc/ejabberd/s2s-bundle.pem";

pub(crate) fn guide(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Xmpp));
    all.push(steps::firewall(facts, Protocol::Xmpp, "ejabberd"));
    all.push(steps::private_resolver(facts));
    all.push(resolver(facts));
    all.extend(steps::fetch_authority(facts, Protocol::Xmpp));
    all.extend(steps::bundle(facts, "ejabberd", BUNDLE));
    all.push(steps::certificate(facts, Protocol::Xmpp, Request::Shell));
    all.push(install_certificate(facts));
    all.push(configuration(facts));
    all.push(restart());
    all.push(steps::echo(facts));
    let note = "Debian's ejabberd 23.01 with dnsmasq runs with settings of this kind against a hub in the tests, by certificates and \
                by dialback. They set the authority by `ca_file`; `s2s_cafile` below is the same for other servers alone.";
    steps::guide(Product::Ejabberd, facts, true, note, all)
}

fn resolver(facts: &Facts) -> Step {
    let content = format!(
        "{}\n{{resolv_conf, \"\"}}.\n{{lookup, [file, native]}}.\n{{nameserver, {{127,0,0,1}}, 5353}}.\n",
        steps::heading(Language::Erlang, facts)
    );
    let text = format!(
        "ejabberd asks Erlang's resolver for SRV records; this file tells it where. The first line is necessary, or \
         `/etc/resolv.conf` wins. Addresses are looked up by the operating system, so `{}` must resolve there.",
        facts.listeners.host
    );
    Step::new("Tell ejabberd which name server to ask", text)
        .snippet("/etc/ejabberd/inetrc", Language::Erlang, content)
        .check(format!("`getent hosts {}` shows the hub's address.", facts.listeners.host))
}

/// One PEM file with everything, as `certfiles` takes it.
fn install_certificate(facts: &Facts) -> Step {
    let main = facts.main_domain();
    let target = shell(&format!("/etc/ejabberd/{main}.pem"));
    let content = format!(
        "cat {} {} > {target}\nchown root:ejabberd {target}\nchmod 640 {target}\n",
        shell(&format!("{main}.crt")),
        shell(&format!("{main}.key")),
    );
    let text = "ejabberd takes certificate, issuers and key from one file or several; it finds out by itself which belong together \
                and which domain each is for.";
    Step::new("Install the certificate", text).snippet("a shell, where the files are", Language::Shell, content)
}

fn configuration(facts: &Facts) -> Step {
    let mut content = steps::heading(Language::Yaml, facts);
    content.push_str("\ns2s_use_starttls: required\ns2s_dns_timeout: 5\ns2s_max_retry_delay: 30\n");
    let (modules, more) = match facts.trust {
        Trust::Own { .. } => {
            content.push_str(&format!("s2s_cafile: {}\n", quoted(BUNDLE)));
            ("`mod_stream_mgmt: {}`", "Without `mod_s2s_dialback` certificates alone count.")
        }
        Trust::Public => (
            "`mod_stream_mgmt: {}` and `mod_s2s_dialback: {}`",
            "Partners' domains are proved by dialback over the route above, since the hub's certificate names the hub alone.",
        ),
    };
    let certificate = format!("/etc/ejabberd/{}.pem", facts.main_domain());
    let text = format!(
        "These are options at the top level; where one is there already, change it. Add `{certificate}` to the list `certfiles`, see \
         that a listener on port 5269 has the module `ejabberd_s2s_in`, and that `modules` holds {modules}. {more} The default of \
         `s2s_use_starttls` is no TLS at all, and that of `s2s_max_retry_delay` five minutes of silence after a restart of the hub."
    );
    Step::new("Configure ejabberd", text).snippet("/etc/ejabberd/ejabberd.yml", Language::Yaml, content)
}

fn restart() -> Step {
    let text = "Erlang reads `inetrc` only when it starts, so a reload of the configuration is not enough the first time.";
    Step::new("Restart ejabberd", text)
        .snippet("a shell", Language::Shell, "systemctl restart ejabberd\n")
        .check("`ejabberdctl status` says that it runs, and its log has no line about the options above.")
}
