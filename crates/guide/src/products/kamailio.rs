//! Kamailio 5.6. The tests of this repository run Debian's 5.6.3 with these settings against a hub.

use std::fmt::Write as _;

use crate::escape::quoted;
use crate::facts::Facts;
use crate::guide::{Guide, Language, Step};
use crate::product::Product;
use crate::steps::{self, Protocol, Request};

pub(crate) fn guide(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Sip));
    all.push(steps::firewall(facts, Protocol::Sip, "Kamailio"));
    all.extend(steps::fetch_authority(facts, Protocol::Sip));
    all.push(steps::certificate(facts, Protocol::Sip, Request::Shell));
    all.push(install(facts));
    all.push(tls(facts));
    all.push(table(facts));
    all.push(route(facts));
    all.push(restart());
    all.push(steps::echo(facts));
    let note = "Debian's Kamailio 5.6.3 runs with settings of this kind against a hub in the tests, as registrar and proxy.";
    steps::guide(Product::Kamailio, facts, true, note, all)
}

/// Where the files of TLS go. The parser of `tls.cfg` has no use for escapes here: a domain and a [`crate::FileName`] hold
/// nothing that it could misread.
struct Files {
    key: String,
    certificate: String,
    authorities: String,
}

fn files(facts: &Facts) -> Files {
    let main = facts.main_domain();
    Files {
        key: format!("/etc/kamailio/{main}.key"),
        certificate: format!("/etc/kamailio/{main}.crt"),
        authorities: match facts.authority_file() {
            Some(file) => format!("/etc/kamailio/{file}"),
            None => "/etc/ssl/certs/ca-certificates.crt".to_owned(),
        },
    }
}

fn install(facts: &Facts) -> Step {
    let Files { key, certificate, authorities } = files(facts);
    let authority = match facts.authority_file() {
        Some(_) => format!(", the hub's authority to `{authorities}`"),
        None => String::new(),
    };
    let text = format!(
        "Key to `{key}`, certificate with its issuers to `{certificate}`{authority}. The group `kamailio` must be able to read them, and \
         nobody else the key."
    );
    Step::new("Install the files", text).check(format!("`sudo -u kamailio head -1 {key}` shows its first line."))
}

fn tls(facts: &Facts) -> Step {
    let Files { key, certificate, authorities } = files(facts);
    let common = format!(
        "method = TLSv1.2+\nverify_certificate = yes\nprivate_key = {key}\ncertificate = {certificate}\nca_list = {authorities}\n"
    );
    let content = format!(
        "{}\n[server:default]\n{common}require_certificate = no\n\n[client:default]\n{common}require_certificate = yes\nserver_name = {}\n",
        steps::heading(Language::Ini, facts),
        facts.listeners.host
    );
    let text = "`require_certificate = no` towards clients lets your own phones come without one; who speaks for a partner is checked in \
                the route below. If Kamailio already has connections of other kinds over TLS, put the second part into a `[client:ADDRESS:PORT]` \
                of the hub's address instead.";
    Step::new("Set up TLS", text).snippet("/etc/kamailio/tls.cfg", Language::Ini, content)
}

fn table(facts: &Facts) -> Step {
    let mut content = steps::heading(Language::Kamailio, facts);
    content.push_str(
        "\nmodparam(\"tls\", \"config\", \"/etc/kamailio/tls.cfg\")\nmodparam(\"htable\", \"htable\", \"partners=>size=6;\")\n\n\
         event_route[htable:mod-init] {\n",
    );
    for domain in facts.remote_domains() {
        // A string takes all that is written into it, here and below.
        let _ = writeln!(content, "    $sht(partners=>{domain}) = 1;");
    }
    // A route without a statement is a syntax error; the company itself stands here and is no partner.
    for domain in facts.own_domains() {
        let _ = writeln!(content, "    $sht(partners=>{domain}) = 0;");
    }
    content.push_str("}\n");
    let text = "The domains that lead to the hub, in a table; a new partner is one more line. It stands after the `loadmodule` lines, and \
                besides what a proxy has anyway (tm, sl, pv, rr, registrar, usrloc, textops, siputils) it needs `enable_tls=yes`, a \
                `listen=tls:` and the modules `tls` and `htable`.";
    Step::new("Name the partners", text).snippet("/etc/kamailio/kamailio.cfg, after the modules", Language::Kamailio, content)
}

fn route(facts: &Facts) -> Step {
    // As a client the hub shows its own domain's certificate, where it has one; as a server, that of the name asked for.
    let mut hub = vec![facts.hub_domain.as_str(), facts.listeners.host.as_str()];
    hub.dedup();
    let hub = hub.iter().map(|name| format!("$tls_peer_subject_cn != {}", quoted(name))).collect::<Vec<_>>().join(" && ");
    let own = facts.own_domains().iter().map(|domain| format!("$fd != {}", quoted(domain))).collect::<Vec<_>>().join(" && ");
    let mut content = steps::heading(Language::Kamailio, facts);
    let _ = write!(
        content,
        r#"
# So that what the hub sends in a dialog comes through here to the phone.
if (is_method("SUBSCRIBE|INVITE")) record_route();

# For a partner only the hub may speak, and it must have shown its own certificate.
if ({own}) {{
    if ($proto != "tls" || $tls_peer_verified != 1 || $sht(partners=>$fd) != 1
            || ({hub})) {{
        sl_send_reply("403", "Unknown partner"); exit;
    }}
    if (uri != myself) {{ sl_send_reply("403", "Relaying denied"); exit; }}
}}
if (uri == myself && is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}

if (uri != myself && $sht(partners=>$rd) == 1) {{
    remove_hf("Route");
    $du = {target};
    if (!t_relay()) sl_reply_error();
    exit;
}}
"#,
        target = quoted(&format!("sip:{}:{};transport=tls", facts.listeners.host, facts.sip_port())),
    );
    let text = "This stands in `request_route`, behind what handles requests inside dialogs (`has_totag()`, `loose_route()`) and CANCEL, and \
                before the registrar and `lookup(\"location\")`. Your own users must be authenticated as before: the block trusts a From \
                of your own domains as much as the rest of your configuration does.";
    Step::new("Lead the partners' domains to the hub", text)
        .snippet("/etc/kamailio/kamailio.cfg, in request_route", Language::Kamailio, content)
        .check("`kamailio -c` says `config file ok`.")
}

fn restart() -> Step {
    let text = "Several TCP workers may overtake each other; the hub sends one message at a time for each pair of people, so order holds \
                all the same.";
    Step::new("Restart Kamailio", text)
        .snippet("a shell", Language::Shell, "systemctl restart kamailio\n")
        .check("`kamcmd tls.list` shows a connection to the hub after the first message.")
}
