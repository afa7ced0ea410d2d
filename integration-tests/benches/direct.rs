//! The anchor of the other benches: two XMPP servers, federated directly over TLS with certificates.

use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::load::{Shape, Tally, XmppReceiver, XmppSender, measure};
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};

const BODY_BYTES: usize = 200;
const RUNS: usize = 3;
const SHAPES: [(&str, Shape, u64); 2] = [
    ("saturated, window 1000", Shape::Saturated { window: 1_000 }, 50_000),
    ("paced, 500/s", Shape::Paced { per_second: 500 }, 5_000),
];

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let authority = Authority::new("Bench authority");
    let (acme, initech) = (XmppPorts::reserve(), XmppPorts::reserve());
    let names = NameServer::start(&[
        ServiceRecord::xmpp_server("acme.example", acme.server.number()),
        ServiceRecord::xmpp_server("initech.example", initech.server.number()),
    ]);
    let quiet = |domain, ports| XmppServerSettings {
        verbose: false,
        ..XmppServerSettings::new(domain, &["sender", "receiver"], ports, &authority, &names)
    };
    let acme = prosody::start(quiet("acme.example", acme));
    let initech = ejabberd::start(quiet("initech.example", initech));
    direction("Prosody -> ejabberd", &acme, &initech);
    direction("ejabberd -> Prosody", &initech, &acme);
}

fn direction(name: &str, from: &XmppServer, to: &XmppServer) {
    let tally = Tally::new();
    let _receiver = XmppReceiver::login(to, "receiver", &tally);
    let mut sender = XmppSender::login(from, "sender", &to.address_of("receiver"), BODY_BYTES);
    for (shape_name, shape, messages) in SHAPES {
        let usage = || from.usage() + to.usage();
        let measurement = measure(&mut sender, &tally, shape, messages, RUNS, &usage);
        println!("direct {name}, {shape_name}: {measurement}");
    }
}
