//! A community of two firms: one with Prosody, its partner with Microsoft's servers, each linked once to the hub.

use std::time::Duration;

use serde_json::Value;

use super::{Dialect, OcsPorts, OcsServer, OcsSettings};
use crate::certificates::Authority;
use crate::dns::{NameServer, ServiceRecord};
use crate::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use crate::prosody;
use crate::purple_client::{PurpleAccount, PurpleClient};
use crate::xmpp_client::XmppClient;
use crate::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};

const WITHIN: Duration = Duration::from_secs(20);

/// The two firms and the hub: people of acme.example are on XMPP, and on the list of alice@contoso.example.
#[derive(Debug)]
pub struct Community {
    _names: NameServer,
    /// On which the hub starts again.
    pub files: HubFiles,
    /// The hub, while it runs.
    pub hub: Option<Hub>,
    /// The firm on XMPP.
    pub acme: XmppServer,
    /// The firm on Microsoft's servers.
    pub contoso: OcsServer,
}

impl Community {
    /// Starts all of it, with the usual links. Bob is on XMPP.
    pub fn start(dialect: Dialect) -> Self {
        Self::start_with(dialect, &["bob"], |acme| acme)
    }

    /// The same, with these people on XMPP and other settings of the link of acme.example.
    pub fn start_with(dialect: Dialect, people: &[&str], acme: impl FnOnce(LinkSettings) -> LinkSettings) -> Self {
        let authority = Authority::new("Test authority");
        let mut files = HubFiles::new(&authority);
        let ports = XmppPorts::reserve();
        let ocs_ports = OcsPorts::reserve();
        let mut records = vec![ServiceRecord::xmpp_server("acme.example", ports.server.number())];
        records.extend(["contoso.example", HUB_DOMAIN].map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
        let names = NameServer::start(&records);
        files.configure(
            &authority,
            &[
                acme(LinkSettings::xmpp("acme", "acme.example", ports.server.number())),
                LinkSettings::ocs("contoso", "contoso.example", ocs_ports.edge.number()),
            ],
        );
        let mut settings = OcsSettings::new("contoso.example", &["alice"], ocs_ports, &authority).with_partner(
            HUB_DOMAIN,
            files.ocs.address(),
            &["acme.example", HUB_DOMAIN],
        );
        settings.contacts = people.iter().map(|person| ("alice".to_owned(), format!("{person}@acme.example"))).collect();
        settings.dialect = dialect;
        let contoso = OcsServer::start(settings);
        let hub = Some(files.start());
        let acme = prosody::start(XmppServerSettings::new("acme.example", people, ports, &authority, &names));
        Self { _names: names, files, hub, acme, contoso }
    }

    /// Alice signs on with the plugin SIPE.
    #[track_caller]
    pub fn alice(&self) -> PurpleClient {
        PurpleClient::sign_on(&PurpleAccount::ocs("alice@contoso.example", self.contoso.client_address()))
    }

    /// Bob logs in.
    #[track_caller]
    pub fn bob(&self) -> XmppClient {
        XmppClient::login(&self.acme, "bob")
    }

    /// Alice and these people on XMPP, who see that she is there, as she sees that they are.
    #[track_caller]
    pub fn people_who_see_each_other<const COUNT: usize>(&self, people: [&str; COUNT]) -> (PurpleClient, [XmppClient; COUNT]) {
        let mut people = people.map(|person| XmppClient::login(&self.acme, person));
        // They are on her list, so her client asks to see them; they agree, and ask the same of her.
        let mut alice = self.alice();
        for person in &mut people {
            let asks = |event: &Value| event["type"] == "subscribe" && event["from"] == "alice@contoso.example";
            assert!(person.saw("presence", WITHIN, asks).is_some(), "{} is asked", person.address());
            person.send_raw("<presence to='alice@contoso.example' type='subscribed'/>");
            person.send_raw("<presence to='alice@contoso.example' type='subscribe'/>");
            alice.expect_presence(&format!("sip:{}", person.address()), "available", WITHIN);
            let is_here = |event: &Value| {
                let of_alice = event["from"].as_str().is_some_and(|from| from.starts_with("alice@contoso.example"));
                of_alice && event["type"] == "available"
            };
            assert!(person.saw("presence", WITHIN, is_here).is_some(), "{} sees her", person.address());
        }
        (alice, people)
    }
}
