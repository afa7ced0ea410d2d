//! Prosody and ejabberd, federated directly: the servers, the name server and the XMPP clients of the harness work.

use std::time::{Duration, Instant};

use interchange_integration_tests::certificates::{Authority, Identity, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{ServerAuthentication, XmppPorts, XmppServer, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};

const ACME: &str = "acme.example";
const INITECH: &str = "initech.example";
const SOON: Duration = Duration::from_secs(20);

struct Federation {
    acme: XmppServer,
    initech: XmppServer,
    _names: NameServer,
}

impl Federation {
    /// Alice's server is Prosody, Bob's is ejabberd; `change` sees the settings of each before it starts.
    fn start(change: impl Fn(&Authority, &mut XmppServerSettings)) -> Self {
        let authority = Authority::new("Test authority");
        let (acme, initech) = (XmppPorts::reserve(), XmppPorts::reserve());
        let names = NameServer::start(&[
            ServiceRecord::xmpp_server(ACME, acme.server.number()),
            ServiceRecord::xmpp_server(INITECH, initech.server.number()),
        ]);
        let mut acme = XmppServerSettings::new(ACME, &["alice"], acme, &authority, &names);
        let mut initech = XmppServerSettings::new(INITECH, &["bob"], initech, &authority, &names);
        change(&authority, &mut acme);
        change(&authority, &mut initech);
        Self { acme: prosody::start(acme), initech: ejabberd::start(initech), _names: names }
    }

    fn login(&self) -> (XmppClient, XmppClient) {
        (XmppClient::login(&self.acme, "alice"), XmppClient::login(&self.initech, "bob"))
    }
}

fn send_in_order(sender: &mut XmppClient, receiver: &mut XmppClient) {
    let body = |number: u32| format!("{number}: first line\n  <second> & \"line\" \u{1F600}\nend");
    for number in 0..20 {
        sender.send(receiver.address(), &format!("m{number}"), &body(number));
    }
    for number in 0..20 {
        let message = receiver.expect_message(SOON);
        assert_eq!(message.body, body(number));
        assert_eq!(message.id, format!("m{number}"));
        assert!(message.from.starts_with(sender.address()));
    }
}

/// A server writes its log when it finds the time.
#[track_caller]
fn expect_logged(server: &XmppServer, text: &str) {
    let deadline = Instant::now() + SOON;
    while !server.log().contains(text) {
        assert!(Instant::now() < deadline, "no `{text}` in the log of {}:\n{}", server.domain(), server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn servers_with_certificates_exchange_messages_in_order() {
    let federation = Federation::start(|_, _| {});
    let (mut alice, mut bob) = federation.login();
    send_in_order(&mut alice, &mut bob);
    send_in_order(&mut bob, &mut alice);
    expect_logged(&federation.initech, "Accepted inbound s2s EXTERNAL authentication acme.example");
    expect_logged(&federation.initech, "Accepted outbound s2s EXTERNAL authentication initech.example");
}

#[test]
fn servers_that_trust_no_certificate_exchange_messages_by_dialback() {
    let federation = Federation::start(|_, settings| settings.authentication = ServerAuthentication::Dialback);
    let (mut alice, mut bob) = federation.login();
    send_in_order(&mut alice, &mut bob);
    send_in_order(&mut bob, &mut alice);
    expect_logged(&federation.initech, "Accepted inbound s2s dialback authentication acme.example");
    expect_logged(&federation.initech, "Accepted outbound s2s dialback authentication initech.example");
}

#[test]
fn a_server_with_a_wrong_certificate_exchanges_nothing() {
    type WrongIdentity = fn(&Authority, &str) -> Identity;
    let wrong: [WrongIdentity; 3] = [
        |_, domain| Authority::new("Other authority").issue(&Leaf::xmpp(domain)),
        |authority, domain| authority.issue(&Leaf::xmpp(domain).expired()),
        |authority, _| authority.issue(&Leaf::xmpp("umbrella.example")),
    ];
    for wrong_identity in wrong {
        let federation = Federation::start(|authority, settings| {
            if settings.domain == INITECH {
                settings.identity = wrong_identity(authority, INITECH);
            }
        });
        let (mut alice, mut bob) = federation.login();
        alice.send(bob.address(), "a", "to bob");
        bob.send(alice.address(), "b", "to alice");
        assert_eq!(alice.expect_error(SOON).condition, "remote-server-timeout");
        assert_eq!(bob.expect_error(SOON).condition, "remote-server-timeout");
    }
}

#[test]
fn a_certificate_for_servers_only_proves_a_connecting_server_to_prosody_and_not_to_ejabberd() {
    let federation = Federation::start(|authority, settings| {
        settings.identity = authority.issue(&Leaf::xmpp(&settings.domain).for_servers_only());
    });
    let (mut alice, mut bob) = federation.login();
    bob.send(alice.address(), "b", "to alice");
    assert_eq!(alice.expect_message(SOON).body, "to alice");
    alice.send(bob.address(), "a", "to bob");
    assert_eq!(alice.expect_error(SOON).condition, "remote-server-timeout");
    expect_logged(&federation.initech, "Failed inbound s2s EXTERNAL authentication acme.example");
}

#[test]
fn ejabberd_breaks_on_a_certificate_with_an_xmpp_address() {
    let federation = Federation::start(|authority, settings| {
        if settings.domain == ACME {
            settings.identity = authority.issue(&Leaf::xmpp(ACME).and_xmpp_address(ACME));
        }
    });
    let (mut alice, mut bob) = federation.login();
    bob.send(alice.address(), "b", "to alice");
    assert_eq!(bob.expect_error(SOON).condition, "internal-server-error");
    alice.send(bob.address(), "a", "to bob");
    assert_eq!(alice.expect_error(SOON).condition, "remote-server-timeout");
}
