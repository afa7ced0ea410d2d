//! Prosody 0.12. The tests of this repository run Debian's 0.12.3 with these settings against a hub.

use std::fmt::Write as _;

use crate::escape::{quoted, shell};
use crate::facts::{Facts, Trust};
use crate::guide::{Guide, Language, Step};
use crate::product::Product;
use crate::steps::{self, Protocol, Request};

const BUNDLE: &str = "/etc/prosody/certs/s2s-bundle.pem";

pub(crate) fn guide(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Xmpp));
    all.push(steps::firewall(facts, Protocol::Xmpp, "Prosody"));
    all.push(steps::private_resolver(facts));
    all.extend(steps::fetch_authority(facts, Protocol::Xmpp));
    all.extend(steps::bundle(facts, "Prosody", BUNDLE));
    all.push(steps::certificate(facts, Protocol::Xmpp, Request::Shell));
    all.push(install_certificate(facts));
    all.push(configuration(facts));
    all.push(override_route(facts));
    all.push(restart());
    all.push(steps::echo(facts));
    let note = "Debian's Prosody 0.12.3 with lua-unbound and dnsmasq runs with settings of this kind against a hub in the tests, \
                by certificates and by dialback. The alternative route for 0.12.4 and later was not tried.";
    steps::guide(Product::Prosody, facts, true, note, all)
}

fn install_certificate(facts: &Facts) -> Step {
    let main = facts.main_domain();
    let content = format!(
        "install -o root -g prosody -m 640 {} /etc/prosody/certs/\ninstall -o root -g prosody -m 644 {} /etc/prosody/certs/\n",
        shell(&format!("{main}.key")),
        shell(&format!("{main}.crt")),
    );
    let text = format!(
        "Prosody finds key and certificate by their names, `{main}.key` and `{main}.crt`, in `/etc/prosody/certs`. The certificate \
         file holds the certificate first and those of its issuers after it."
    );
    Step::new("Install the certificate", text)
        .snippet("a shell, where the files are", Language::Shell, content)
        .check("`prosodyctl check certs` finds no fault with it.")
}

fn configuration(facts: &Facts) -> Step {
    let mut content = steps::heading(Language::Lua, facts);
    content.push('\n');
    content.push_str("s2s_require_encryption = true\ns2s_secure_auth = true\n");
    // A string takes all that is written into it, here and below.
    match &facts.trust {
        Trust::Own { .. } => {
            let _ = writeln!(content, "s2s_ssl = {{ cafile = {} }}", quoted(BUNDLE));
        }
        Trust::Public => {
            content.push_str(
                "-- These are proved by dialback over the route above, since the hub's certificate names the hub alone.\n",
            );
            content.push_str("s2s_insecure_domains = {\n");
            for domain in facts.remote_domains() {
                // Prosody compares names as XMPP writes them, in Unicode.
                let _ = writeln!(content, "    {};", quoted(&domain.to_unicode()));
            }
            content.push_str("}\n");
        }
    }
    content.push_str("unbound = { resolvconf = false; hoststxt = false; forward = \"127.0.0.1@5353\" }\n");
    let modules = match facts.trust {
        Trust::Own { .. } => "`\"s2s\"; \"tls\"; \"saslauth\"; \"smacks\"`",
        Trust::Public => "`\"s2s\"; \"tls\"; \"saslauth\"; \"smacks\"; \"dialback\"`",
    };
    let text = format!(
        "Put these lines above the first `VirtualHost`, and see that `modules_enabled` holds {modules}. With `smacks` a message to \
         the hub is acknowledged only when it is on the hub's disk. The line `unbound` needs the package `lua-unbound`; Prosody does \
         not read `/etc/hosts`."
    );
    Step::new("Configure Prosody", text)
        .snippet("/etc/prosody/prosody.cfg.lua", Language::Lua, content)
        .check("`prosodyctl check config` finds no fault.")
}

fn override_route(facts: &Facts) -> Step {
    let mut content = steps::heading(Language::Lua, facts);
    content.push_str("\ns2sout_override = {\n");
    let target = quoted(&format!("tcp://{}:{}", facts.listeners.host, facts.xmpp_port()));
    for domain in facts.remote_domains() {
        let _ = writeln!(content, "    [{}] = {target};", quoted(&domain.to_unicode()));
    }
    content.push_str("}\n");
    let text = "Prosody 0.12.4 and later (not Debian 12's 0.12.3) can do without the name server of its own: install the community \
                module `mod_s2sout_override`, add `\"s2sout_override\"` to `modules_enabled`, and put this in place of the line \
                `unbound`. Skip this step if you did the route by DNS.";
    Step::new("Or pin the route in Prosody itself", text).snippet("/etc/prosody/prosody.cfg.lua", Language::Lua, content)
}

fn restart() -> Step {
    Step::new(
        "Restart Prosody",
        "A reload does not take a new resolver or new authorities. People's clients connect again by themselves.",
    )
    .snippet("a shell", Language::Shell, "systemctl restart prosody\n")
}
