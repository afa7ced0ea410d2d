//! Sametime Gateway 8 to 10, by its XMPP connector: from IBM's and HCL's administrators' help (*Community properties*,
//! *Configuring TLS/SSL for Sametime Gateway*). HCL's releases from 12 on document no gateway.

use crate::facts::Facts;
use crate::guide::{Guide, Language, Step};
use crate::product::Product;
use crate::steps::{self, Protocol, Request};

pub(crate) fn guide(facts: &Facts) -> Guide {
    let mut all = Vec::new();
    all.extend(steps::missing_listener(facts, Protocol::Xmpp));
    all.push(steps::firewall(facts, Protocol::Xmpp, "the Sametime Gateway"));
    all.extend(steps::fetch_authority(facts, Protocol::Xmpp));
    all.extend(facts.authority_file().map(|file| {
        let text = format!(
            "In the Integrated Solutions Console, at Security, SSL certificate and key management, Key stores and certificates, the \
             trust store of the cell or node, Signer certificates, Add: `{file}`, format Base64, alias `interchange`."
        );
        Step::new("Trust the hub's authority", text)
    }));
    all.push(steps::certificate(facts, Protocol::Xmpp, Request::Console));
    all.push(Step::new(
        "Install the certificate",
        "In the same place, key store of the cell or node, Personal certificates: make the request there if you need one, receive the \
         answer, and choose it for the gateway's SSL configuration.",
    ));
    all.push(community(facts));
    all.push(
        Step::new(
            "If the gateway asks DNS all the same",
            "A release that looks partners up by SRV records, for dialback at least, says so in its log with the partner's domain. Then put \
             these into the name server that it asks, in a view that only it sees.",
        )
        .snippet("the inside view of your name server", Language::Zone, steps::zone(facts)),
    );
    all.push(Step::new(
        "Assign people to the community",
        "On the page of the new community, Assign local users to this community: all, or the groups that may write to partners. Nobody \
         can reach a partner before that.",
    ));
    all.push(Step::new(
        "Look at the limits",
        "The gateway takes 1,000 sessions of messages and 1,000 of presence at once unless told otherwise; each person who watches a \
         partner's counts. Raise them if more people than that use the link, and tell the hub's operator the number.",
    ));
    all.push(Step::new("Restart the gateway", "Communities are read when the gateway's server starts."));
    all.push(steps::echo(facts));
    let note = "No test ran these steps; they follow the help of Sametime Gateway 9 and 10. Sametime 12 and later has no gateway and \
                cannot be linked like this.";
    steps::guide(Product::SametimeGateway, facts, false, note, all)
}

fn community(facts: &Facts) -> Step {
    let domains: Vec<&str> = facts.remote_domains().into_iter().map(interchange_model::Domain::as_str).collect();
    let content = format!(
        "Name: Interchange\n\
         Community type: External\n\
         Domains: {}\n\
         Translation protocol: XMPP\n\
         Host name: {}\n\
         Port: {}\n\
         Transport protocol: TLS\n",
        domains.join(", "),
        facts.listeners.host,
        facts.xmpp_port()
    );
    let text = "In the Integrated Solutions Console, at Sametime Gateway, Communities, New: one external community holds all domains that \
                lead to the hub. A new partner is one more name in its list.";
    Step::new("Make the community", text).snippet("Community properties", Language::Text, content)
}
