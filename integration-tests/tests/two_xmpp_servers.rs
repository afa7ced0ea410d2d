//! Two XMPP firms on different server products, neither of which knows the other's address: all they have is the hub.

use std::time::Duration;

use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HubFiles, LinkSettings};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{ServerAuthentication, XmppPorts, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};

const SOON: Duration = Duration::from_secs(20);

/// Fifty messages each way, once, in order; then an error with the id that the sender's client gave the message.
fn two_firms(authentication: ServerAuthentication, link_setting: &str) {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (acme_ports, initech_ports) = (XmppPorts::reserve(), XmppPorts::reserve());
    // Each firm's name server knows the partner's domain at the hub only.
    let acme_names = NameServer::start(&[ServiceRecord::xmpp_server("initech.example", files.xmpp.number())]);
    let initech_names = NameServer::start(&[ServiceRecord::xmpp_server("acme.example", files.xmpp.number())]);
    files.configure(
        &authority,
        &[
            LinkSettings::xmpp("acme", "acme.example", acme_ports.server.number()).with(link_setting),
            LinkSettings::xmpp("initech", "initech.example", initech_ports.server.number()).with(link_setting),
        ],
    );
    let _hub = files.start();
    let mut settings = XmppServerSettings::new("acme.example", &["alice"], acme_ports, &authority, &acme_names);
    settings.authentication = authentication;
    let acme = prosody::start(settings);
    let mut settings = XmppServerSettings::new("initech.example", &["carol"], initech_ports, &authority, &initech_names);
    settings.authentication = authentication;
    let initech = ejabberd::start(settings);
    let mut alice = XmppClient::login(&acme, "alice");
    let mut carol = XmppClient::login(&initech, "carol");

    for number in 0..50 {
        alice.send("carol@initech.example", &format!("a{number}"), &format!("to carol {number} <&>"));
        carol.send("alice@acme.example", &format!("c{number}"), &format!("to alice {number} <&>"));
    }
    for number in 0..50 {
        let message = carol.expect_message(SOON);
        assert_eq!((message.id, message.body), (format!("a{number}"), format!("to carol {number} <&>")));
        assert!(message.from.starts_with("alice@acme.example"), "{}", message.from);
        let message = alice.expect_message(SOON);
        assert_eq!((message.id, message.body), (format!("c{number}"), format!("to alice {number} <&>")));
    }
    carol.expect_no_message(Duration::from_millis(300));
    alice.send("nobody@initech.example", "lost", "hello?");
    let error = alice.expect_error(SOON);
    assert_eq!(error.id, "lost", "{error:?}");
    assert!(error.from.starts_with("nobody@initech.example"), "{error:?}");
    carol.send("nobody@acme.example", "gone", "hello?");
    assert_eq!(carol.expect_error(SOON).id, "gone");
}

#[test]
fn a_firm_that_cannot_be_reached_is_answered_on_its_own_streams() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (acme_ports, initech_ports) = (XmppPorts::reserve(), XmppPorts::reserve());
    let names = [("initech.example", &acme_ports), ("acme.example", &initech_ports)]
        .map(|(partner, _)| NameServer::start(&[ServiceRecord::xmpp_server(partner, files.xmpp.number())]));
    // Nobody listens where the hub would look for Acme: a firewall lets nothing in.
    let nobody = ReservedPort::any();
    files.configure(
        &authority,
        &[
            LinkSettings::xmpp("acme", "acme.example", nobody.number()).with("bidi = true"),
            LinkSettings::xmpp("initech", "initech.example", initech_ports.server.number()),
        ],
    );
    let mut hub = files.start();
    let mut settings = XmppServerSettings::new("acme.example", &["alice"], acme_ports, &authority, &names[0]);
    settings.bidi = true;
    let acme = prosody::start(settings);
    let initech = ejabberd::start(XmppServerSettings::new("initech.example", &["carol"], initech_ports, &authority, &names[1]));
    let (mut alice, mut carol) = (XmppClient::login(&acme, "alice"), XmppClient::login(&initech, "carol"));
    // Before Acme has said anything the message waits.
    carol.send("alice@acme.example", "early", "waits");
    hub.wait_for_line(&["\"acme\"", "\"retrying\"", "no connection"], SOON);
    alice.send("carol@initech.example", "first", "here I am");
    assert_eq!(carol.expect_message(SOON).body, "here I am");
    assert_eq!(alice.expect_message(SOON).body, "waits");
    hub.wait_for_line(&["\"acme\"", "\"health\":\"up\""], SOON);
    for number in 0..100 {
        alice.send("carol@initech.example", &format!("a{number}"), &format!("to carol {number}"));
        carol.send("alice@acme.example", &format!("c{number}"), &format!("to alice {number}"));
    }
    for number in 0..100 {
        assert_eq!(carol.expect_message(SOON).body, format!("to carol {number}"));
        assert_eq!(alice.expect_message(SOON).body, format!("to alice {number}"));
    }
    carol.send("nobody@acme.example", "gone", "hello?");
    assert_eq!(carol.expect_error(SOON).id, "gone");
    assert!(acme.log().contains("bidi"), "Prosody has asked for both directions");
}

#[test]
fn with_certificates() {
    two_firms(ServerAuthentication::Certificates, "authentication = [\"external\"]");
}

#[test]
fn with_dialback() {
    two_firms(ServerAuthentication::Dialback, "authentication = [\"dialback\"]");
}
