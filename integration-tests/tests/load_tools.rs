//! The load tools count and time what they send.

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::load::{self, Shape, SipReceiver, SipSender, Tally, XmppReceiver, XmppSender};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::tls_sip_peer::TlsSipClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};

const BODY_BYTES: usize = 200;

#[test]
fn load_from_prosody_to_ejabberd_arrives_complete_and_in_order() {
    let authority = Authority::new("Test authority");
    let (acme, initech) = (XmppPorts::reserve(), XmppPorts::reserve());
    let names = NameServer::start(&[
        ServiceRecord::xmpp_server("acme.example", acme.server.number()),
        ServiceRecord::xmpp_server("initech.example", initech.server.number()),
    ]);
    let mut acme = XmppServerSettings::new("acme.example", &["alice"], acme, &authority, &names);
    acme.verbose = false;
    let mut initech = XmppServerSettings::new("initech.example", &["bob"], initech, &authority, &names);
    initech.verbose = false;
    let (acme, initech) = (prosody::start(acme), ejabberd::start(initech));

    let tally = Tally::new();
    let _receiver = XmppReceiver::login(&initech, "bob", &tally);
    let mut sender = XmppSender::login(&acme, "alice", &initech.address_of("bob"), BODY_BYTES);
    for shape in [Shape::Saturated { window: 100 }, Shape::Paced { per_second: 500 }] {
        let before = initech.usage();
        let report = load::run(&mut sender, &tally, shape, 1_000);
        assert!(report.is_complete_and_in_order(), "{report}");
        assert!(initech.usage().processor_seconds_since(&before) > 0.0);
        assert!(initech.usage().resident_bytes > 1_000_000);
    }
    assert_eq!(sender.errors(), 0);
}

#[test]
fn load_from_a_sip_proxy_to_another_arrives_complete_and_in_order() {
    let authority = Authority::new("Test authority");
    let identity = authority.issue(&Leaf::sip("globex.example"));
    let tally = Tally::new();
    let receiver = SipReceiver::start(ReservedPort::any(), &identity, authority.certificate(), &tally);
    let client = TlsSipClient::connect(receiver.address(), "globex.example", Some(&identity), authority.certificate());
    let mut sender = SipSender::new(client, "sip:alice@globex.example", "sip:bob@acme.example", BODY_BYTES);
    for shape in [Shape::Saturated { window: 100 }, Shape::Paced { per_second: 2_000 }] {
        let report = load::run(&mut sender, &tally, shape, 1_000);
        assert!(report.is_complete_and_in_order(), "{report}");
    }
}
