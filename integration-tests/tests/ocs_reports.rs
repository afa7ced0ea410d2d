//! A real client of the plugin SIPE is told by a report what became of a message after its answer.

use std::time::Duration;

use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings};
use interchange_integration_tests::ocs::{OcsPorts, OcsServer, OcsSettings};
use interchange_integration_tests::prosody;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServerSettings};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn sipe_shows_that_a_message_has_failed_after_its_answer() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (ports, ocs_ports) = (XmppPorts::reserve(), OcsPorts::reserve());
    let mut records = vec![ServiceRecord::xmpp_server("acme.example", ports.server.number())];
    records.extend(["contoso.example", HUB_DOMAIN].map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
    let names = NameServer::start(&records);
    // Answered as soon as it is stored, so that whatever becomes of it comes behind.
    let contoso = LinkSettings::ocs("contoso", "contoso.example", ocs_ports.edge.number());
    let contoso = contoso.with("reports = true").with("answer_wait = 0");
    files.configure(&authority, &[LinkSettings::xmpp("acme", "acme.example", ports.server.number()), contoso]);
    let settings = OcsSettings::new("contoso.example", &["alice"], ocs_ports, &authority)
        .with_contact("alice", "bob@acme.example")
        .with_partner(HUB_DOMAIN, files.ocs.address(), &["acme.example", HUB_DOMAIN]);
    let contoso = OcsServer::start(settings);
    let _hub = files.start();
    let acme = prosody::start(XmppServerSettings::new("acme.example", &["bob"], ports, &authority, &names));
    let mut alice = PurpleClient::sign_on(&PurpleAccount::ocs("alice@contoso.example", contoso.client_address()));
    let mut bob = XmppClient::login(&acme, "bob");

    // Delivered: nothing of it is shown.
    alice.send("sip:bob@acme.example", "hello Bob");
    assert_eq!(bob.expect_message(SOON).body, "hello Bob");
    alice.expect_no_error_shown(Duration::from_secs(2));
    // Prosody refuses what is for nobody.
    alice.send("sip:nobody@acme.example", "is anybody there?");
    let shown = alice.expect_error_shown("sip:nobody@acme.example", SOON);
    assert!(shown.contains("was not delivered to sip:nobody@acme.example"), "{shown}");
    // And by no message beside it.
    assert!(alice.saw("message", Duration::from_secs(2), |event| event["from"] == "sip:nobody@acme.example").is_none());
    contoso.assert_no_faults();
}
