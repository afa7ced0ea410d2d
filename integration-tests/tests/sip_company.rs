//! Kamailio with two SIP user agents: the proxy and the SIP client of the harness work.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use interchange_integration_tests::certificates::{Authority, Identity, Leaf};
use interchange_integration_tests::kamailio::{Kamailio, KamailioSettings, SipPorts};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::sipp::{Sipp, SippSettings};
use interchange_integration_tests::tls_sip_peer::{SipRequest, TlsSipClient, TlsSipServer};

const HUB: &str = "hub.example";
const SOON: Duration = Duration::from_secs(20);

fn company() -> Kamailio {
    let authority = Authority::new("Test authority");
    let nobody = ReservedPort::any();
    let settings = KamailioSettings::new("globex.example", SipPorts::reserve(), &authority, nobody.address(), HUB);
    Kamailio::start(settings.with_partners(&["acme.example"]))
}

#[test]
fn two_phones_exchange_messages_in_order() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let company = company();
        let mut alice = SipClient::register(&company, "alice", transport);
        let mut bob = SipClient::register(&company, "bob", transport);
        send_in_order(&mut alice, &mut bob);
        send_in_order(&mut bob, &mut alice);
    }
}

fn send_in_order(sender: &mut SipClient, receiver: &mut SipClient) {
    const COUNT: u32 = 100;
    for number in 0..COUNT {
        sender.send(receiver.uri(), &format!("m{number}"), &format!("message {number}"));
    }
    for number in 0..COUNT {
        let message = receiver.expect_message(SOON);
        assert_eq!(message.body, format!("message {number}"));
        assert_eq!(message.from, sender.uri());
        assert_eq!(sender.expect_answer(&format!("m{number}"), SOON), 200);
    }
}

#[test]
fn four_kilobytes_of_any_text_arrive_unchanged() {
    let company = company();
    let mut alice = SipClient::register(&company, "alice", Transport::Tcp);
    let mut bob = SipClient::register(&company, "bob", Transport::Tcp);
    let mut body = "first\r\n\tsecond <&>\"'\n\n \u{1F600} \u{E9}\u{4E16} ".repeat(100);
    while body.len() > 4096 {
        body.pop();
    }
    alice.send(bob.uri(), "long", &body);
    assert_eq!(bob.expect_message(SOON).body, body);
}

#[test]
fn a_message_to_someone_who_is_not_registered_is_not_found() {
    let company = company();
    let mut alice = SipClient::register(&company, "alice", Transport::Tcp);
    alice.send(&company.uri_of("nobody"), "lost", "hello?");
    assert_eq!(alice.expect_answer("lost", SOON), 404);
}

struct Hub {
    company: Kamailio,
    _hub: TlsSipServer,
    messages: Receiver<SipRequest>,
    authority: Authority,
    company_certificate: Arc<[u8]>,
}

/// A company whose partner `acme.example` is behind a scripted hub that shows `hub_leaf`.
fn company_with_hub(hub_leaf: &Leaf) -> Hub {
    let authority = Authority::new("Test authority");
    let port = ReservedPort::any();
    let settings = KamailioSettings::new("globex.example", SipPorts::reserve(), &authority, port.address(), HUB)
        .with_partners(&["acme.example"]);
    let company_certificate = settings.identity.certificate_der();
    let (hub, messages) = TlsSipServer::recording(port, &authority.issue(hub_leaf), authority.certificate());
    Hub { company: Kamailio::start(settings), _hub: hub, messages, authority, company_certificate }
}

#[test]
fn messages_for_a_partner_reach_the_hub_under_the_certificate_of_the_company() {
    let setup = company_with_hub(&Leaf::host(HUB));
    let mut alice = SipClient::register(&setup.company, "alice", Transport::Udp);
    for number in 0..20 {
        alice.send("sip:bob@acme.example", &format!("m{number}"), &format!("message {number}\nto the hub"));
    }
    for number in 0..20 {
        let request = setup.messages.recv_timeout(SOON).expect("the hub receives the message");
        assert_eq!(request.frame.text(), format!("message {number}\nto the hub"));
        assert_eq!(request.frame.start, "MESSAGE sip:bob@acme.example SIP/2.0");
        assert!(request.frame.header("From").is_some_and(|from| from.contains(alice.uri())));
        assert_eq!(request.client_certificate, setup.company_certificate);
        assert_eq!(alice.expect_answer(&format!("m{number}"), SOON), 200);
    }
}

#[test]
fn only_the_hub_may_speak_for_a_partner() {
    let setup = company_with_hub(&Leaf::host(HUB));
    let mut alice = SipClient::register(&setup.company, "alice", Transport::Tcp);
    let connect = |identity: Option<&Identity>| {
        TlsSipClient::connect(setup.company.tls_address(), "globex.example", identity, setup.authority.certificate())
    };
    let partner = "sip:bob@acme.example";

    let hub = setup.authority.issue(&Leaf::host(HUB));
    assert_eq!(connect(Some(&hub)).message(partner, alice.uri(), "from the hub"), 200);
    assert_eq!(alice.expect_message(SOON).body, "from the hub");

    let other = setup.authority.issue(&Leaf::host("other.example"));
    assert_eq!(connect(Some(&other)).message(partner, alice.uri(), "from another"), 403);
    assert_eq!(connect(None).message(partner, alice.uri(), "from nobody"), 403);
    assert_eq!(connect(Some(&hub)).message("sip:eve@unknown.example", alice.uri(), "for a stranger"), 403);
    assert_eq!(connect(Some(&hub)).message(partner, &setup.company.uri_of("nobody"), "hello?"), 404);
}

#[test]
fn sipp_registers_and_takes_what_another_sipp_sends() {
    const CALLS: u32 = 50;
    let company = company();
    let (sender, receiver) = (ReservedPort::any(), ReservedPort::any());
    let run = |scenario, local: &ReservedPort, calls, user: &str| {
        Sipp::start(&SippSettings {
            scenario,
            local: local.address(),
            proxy: company.phone_address(),
            calls,
            words: vec![("user", user.to_owned()), ("domain", company.domain().to_owned()), ("peer", company.uri_of("receiver"))],
        })
    };
    run("register", &receiver, 1, "receiver").expect_success();
    let mut receiving = run("receive_message", &receiver, CALLS, "receiver");
    run("send_message", &sender, CALLS, "sender").expect_success();
    receiving.expect_success();
}
