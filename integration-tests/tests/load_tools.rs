//! The load tools count and time what they send.

use std::thread;
use std::time::{Duration, Instant};

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::load::{
    self, Faults, LoadSender, Shape, SipReceiver, SipSender, Systems, Tally, XmppReceiver, XmppSender,
};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::tls_sip_peer::{TlsSipClient, TlsSipServer};
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};

const BODY_BYTES: usize = 200;
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

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
    let systems = Systems { measured: &|| initech.usage(), beside: &[("prosody", &|| acme.usage())] };
    for shape in [Shape::Saturated { window: 100 }, Shape::Paced { per_second: 500 }] {
        let measured = load::measure(&mut sender, &tally, shape, 1_000, 1, systems);
        assert_eq!(measured.faults, Faults::default(), "{measured}");
        // The generator's own time may be less than one of the ticks that the kernel counts in.
        assert!(measured.system_seconds > 0.0 && measured.beside_seconds[0].1 > 0.0, "{measured:?}");
        assert!(measured.resident_bytes > 1_000_000, "{measured:?}");
    }

    // Nobody of this name is there: each message comes back as an error.
    let mut sender = XmppSender::login(&acme, "alice", &initech.address_of("nobody"), BODY_BYTES);
    sender.send(0, 20);
    assert_eq!(wait_for_refusals(&sender, 20), 20);
}

/// How many messages are refused, once it is so many or long enough has passed.
fn wait_for_refusals(sender: &dyn LoadSender, count: u64) -> u64 {
    let deadline = Instant::now() + REFUSED_WITHIN;
    while sender.refused() < count && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    sender.refused()
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
    assert_eq!(sender.refused(), 0);
}

#[test]
fn answers_that_refuse_sip_messages_are_counted() {
    let authority = Authority::new("Test authority");
    let identity = authority.issue(&Leaf::sip("globex.example"));
    let server = TlsSipServer::start(ReservedPort::any(), &identity, authority.certificate(), |_| 404);
    let client = TlsSipClient::connect(server.address(), "globex.example", Some(&identity), authority.certificate());
    let mut sender = SipSender::new(client, "sip:alice@globex.example", "sip:nobody@acme.example", BODY_BYTES);
    sender.send(0, 20);
    assert_eq!(wait_for_refusals(&sender, 20), 20);
    assert_eq!(sender.answers().get(&404), Some(&20));
}
