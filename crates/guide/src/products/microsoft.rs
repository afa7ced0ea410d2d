//! Microsoft's servers: from Microsoft's administration guides (OCS 2007 R2 *Managing Federated Partner Access*, library
//! bb663635; `New-CsAllowedDomain`, `Set-CsAccessEdgeConfiguration`, `Set-CsExternalAccessPolicy`).

use std::fmt::Write as _;

use crate::escape::power_shell;
use crate::facts::{Facts, MemberCertificate, Trust};
use crate::guide::{Guide, Language, Step};
use crate::product::Product;
use crate::steps::{self, Protocol};

pub(crate) fn ocs(facts: &Facts) -> Guide {
    let mut all = begin(facts);
    all.push(Step::new(
        "Enable federation",
        "In the administration console: properties of the forest, Global Properties, tab Federation: enabled, with the name of your own \
         Access Edge. Then, for each person or group who may write to partners, Communications properties, Federation: enabled.",
    ));
    all.push(ocs_allow(facts));
    all.push(pace());
    all.push(steps::echo(facts));
    let note = "No test ran these steps on a real server; they follow Microsoft's guides for OCS 2007 R2. In LCS 2005 the same list is on the \
                properties of the Access Proxy. A server on Windows Server 2003 knows neither TLS 1.2 nor elliptic curves: ask the hub's operator \
                before you begin.";
    steps::guide(Product::Ocs, facts, false, note, all)
}

pub(crate) fn lync(facts: &Facts) -> Guide {
    let mut all = begin(facts);
    all.push(lync_enable(facts));
    all.push(lync_allow(facts));
    all.push(pace());
    all.push(steps::echo(facts));
    let note = "No test ran these steps on a real server; the commands are those of Microsoft's reference for Lync Server 2010 to Skype for \
                Business Server 2019.";
    steps::guide(Product::Lync, facts, false, note, all)
}

/// What OCS and its successors share: the network and the certificates.
fn begin(facts: &Facts) -> Vec<Step> {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Ocs));
    all.push(steps::firewall(facts, Protocol::Ocs, "the Access Edge"));
    if facts.ocs_port() != 5061 {
        let text = format!(
            "An Edge dials its allowed partners at port 5061, and this hub listens at {}. Ask its operator for a listener at 5061.",
            facts.ocs_port()
        );
        all.push(Step::new("Ask for port 5061", text));
    }
    all.extend(steps::fetch_authority(facts, Protocol::Ocs));
    all.extend(facts.authority_file().map(|file| {
        let text = format!(
            "On each Edge Server, put `{file}` among the trusted root authorities of the computer. Windows trusts it for everything then, \
             not for this link alone; keep the Edge for federation."
        );
        Step::new("Trust the hub's authority", text)
            .snippet("an elevated prompt on the Edge", Language::PowerShell, format!("certutil -addstore Root {}\n", power_shell(file.as_str())))
            .check("`certutil -store Root` lists it.")
    }));
    if facts.trust == Trust::Public {
        let text = "An Edge accepts a partner only by a certificate with both purposes, server and client, and public authorities no longer \
                    give the second. Ask the hub's operator for one of the hub's own authority at this link, and do this guide again.";
        all.push(Step::new("Ask for a certificate that an Edge accepts", text));
    }
    all.push(edge_certificate(facts));
    all
}

fn edge_certificate(facts: &Facts) -> Step {
    let issuer = match facts.member_certificate {
        MemberCertificate::FromHub => {
            "Make the request with the certificate wizard, for the external interface, and send it to the hub's operator, who answers with one \
             of the hub's authority; everybody else with whom you federate would have to trust that too, so keep a public one if there are \
             others."
        }
        MemberCertificate::Own => "If its authority is not a public one, send the authority's certificate to the hub's operator.",
    };
    let text = format!(
        "Both sides show certificates. That of the external interface must have the Edge's name as subject and as alternative name, and is \
         used as server and as client. Tell the hub's operator this name and your SIP domains. {issuer}"
    );
    Step::new("Look at the certificate of the Access Edge", text)
}

fn ocs_allow(facts: &Facts) -> Step {
    let mut content = String::new();
    for domain in facts.remote_domains() {
        let _ = writeln!(
            content,
            "Federated partner domain name: {domain}    Federated partner Access Edge server: {}",
            facts.listeners.host
        );
    }
    let text = "On the Edge Server: Computer Management, Services and Applications, Office Communications Server 2007 R2, Properties, tab Allow, \
                Add: one entry for each domain, always with the hub's name beside it. With the name the Edge asks no SRV record, and takes \
                these domains from the hub alone. On the tab Access Methods, federation is enabled; discovery of partners may stay off.";
    Step::new("Allow each partner's domain", text)
        .snippet("tab Allow", Language::Text, content)
        .check("the tab shows each domain with the hub's name beside it.")
}

fn lync_enable(facts: &Facts) -> Step {
    let content = format!(
        "{}\nSet-CsAccessEdgeConfiguration -AllowFederatedUsers $true\nSet-CsExternalAccessPolicy -Identity Global -EnableFederationAccess $true\n",
        steps::heading(Language::PowerShell, facts)
    );
    let text = "The first lets the Edge federate, the second lets people. If only some may write to partners, give them a policy of their own \
                (`New-CsExternalAccessPolicy`, `Grant-CsExternalAccessPolicy`) and leave the global one. The topology must have federation \
                enabled for the Edge pool.";
    Step::new("Enable federation", text).snippet("the Management Shell", Language::PowerShell, content)
}

fn lync_allow(facts: &Facts) -> Step {
    let mut content = steps::heading(Language::PowerShell, facts);
    content.push('\n');
    let host = power_shell(facts.listeners.host.as_str());
    let remark = power_shell(&format!("Interchange, link {}", facts.link));
    for domain in facts.remote_domains() {
        let _ = writeln!(
            content,
            "New-CsAllowedDomain -Identity {} -ProxyFqdn {host} -Comment {remark}",
            power_shell(domain.as_str())
        );
    }
    let text = "One entry for each domain, always with the hub as its Access Edge. With the name given the Edge asks no SRV record, and the \
                hub's need not lie in the partner's domain. A new partner is one more line.";
    Step::new("Allow each partner's domain", text)
        .snippet("the Management Shell", Language::PowerShell, content)
        .check("`Get-CsAllowedDomain | Format-Table Identity,ProxyFqdn` shows each domain with the hub's name.")
}

fn pace() -> Step {
    Step::new(
        "Never rely on discovery",
        "An Edge lets a partner that it merely discovered send 20 messages a second, 1 when too many of its requests fail, and stops it \
         altogether when it has addressed 1,000 people. All partners come from the hub, so these limits would be met within a morning; \
         entries of the Allow list have none of them.",
    )
}

/// Honest about what cannot be done.
pub(crate) fn cloud(facts: &Facts) -> Guide {
    let hub = &facts.listeners.host;
    let all = vec![
        Step::new(
            "Know what is missing",
            format!(
                "Microsoft's service has a list of allowed domains, and no place to say at which host a domain is found: it asks DNS for \
                 `_sipfederationtls._tcp` of the partner's domain and wants that domain's own name in the answer. So partners' domains \
                 cannot be led to `{hub}`."
            ),
        ),
        Step::new(
            "Use a server of your own for partners",
            "A company that still runs Skype for Business Server beside Microsoft 365 (hybrid) can link its Edge: people who write to partners \
             are homed there. Choose the guide `lync` for it. Any XMPP or SIP server for a domain of its own is the other way.",
        ),
    ];
    let note = "There are no steps to try: Microsoft 365 by itself cannot be linked.";
    steps::guide(Product::Microsoft365, facts, false, note, all)
}
