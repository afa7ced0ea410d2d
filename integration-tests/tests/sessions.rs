//! Sessions through real servers: every MSRP frame between a client and the hub passes a Kamailio that is its relay (RFC 4976), over TLS on the
//! hub's side; INVITE and BYE pass the same Kamailio as proxy.

use std::time::Duration;

use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings};
use interchange_integration_tests::kamailio::{Kamailio, KamailioSettings, SipPorts};
use interchange_integration_tests::msrp_client::MsrpClient;
use interchange_integration_tests::prosody;
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServerSettings};

const SOON: Duration = Duration::from_secs(15);

fn company(domain: &str, ports: SipPorts, authority: &Authority, files: &HubFiles, partners: &[&str]) -> Kamailio {
    let settings = KamailioSettings::new(domain, ports, authority, files.sip.address(), HUB_DOMAIN);
    Kamailio::start(settings.with_partners(partners).with_relay())
}

#[test]
fn a_session_with_somebody_on_xmpp_through_a_kamailio_that_relays_msrp() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (acme_ports, globex_ports) = (XmppPorts::reserve(), SipPorts::reserve());
    let names = NameServer::start(&[
        ServiceRecord::xmpp_server("acme.example", acme_ports.server.number()),
        ServiceRecord::xmpp_server("globex.example", files.xmpp.number()),
    ]);
    files.configure(
        &authority,
        &[
            LinkSettings::xmpp("acme", "acme.example", acme_ports.server.number()),
            LinkSettings::sip("globex", "globex.example", globex_ports.tls.number()).with("identity = \"domain\""),
        ],
    );
    let _hub = files.start();
    let acme = prosody::start(XmppServerSettings::new("acme.example", &["alice"], acme_ports, &authority, &names));
    let globex = company("globex.example", globex_ports, &authority, &files, &["acme.example", HUB_DOMAIN]);
    let mut alice = XmppClient::login(&acme, "alice");
    let mut bob = MsrpClient::register(&globex, "bob");

    bob.invite(&globex, "sip:alice@acme.example");
    for number in 0..20 {
        bob.send(&format!("m{number:04}"), &format!("to Alice {number}"));
    }
    let first = alice.saw("stanza", SOON, |event| event["xml"].as_str().is_some_and(|xml| xml.contains("to Alice 0<")));
    let first = first.and_then(|event| event["xml"].as_str().map(str::to_owned)).expect("the first message");
    for number in 0..20 {
        let seen = alice.saw("message", SOON, |_| true).unwrap_or_else(|| panic!("message {number}"));
        assert_eq!(seen["body"], format!("to Alice {number}").as_str());
    }
    // Alice's client says that it has the message: Bob's is told in the session.
    assert!(first.contains("urn:xmpp:receipts"), "{first}");
    let id = first.split(" id=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
    alice.send_raw(&format!("<message to='bob@globex.example'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>"));
    assert_eq!(bob.report("m0000"), 200);
    for number in 0..20 {
        alice.send("bob@globex.example", &format!("a{number}"), &format!("to Bob {number}"));
    }
    for number in 0..20 {
        let seen = bob.receive(SOON).unwrap_or_else(|| panic!("message {number}"));
        assert_eq!(String::from_utf8_lossy(&seen.body), format!("to Bob {number}"));
    }
    // Of 30,000 bytes nothing is cut, either way.
    let long: String = (0..30_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    assert_eq!(bob.send("long0001", &long), 15);
    let seen = alice.saw("message", SOON, |event| event["body"] == long.as_str());
    assert!(seen.is_some());
    alice.send("bob@globex.example", "long", &long);
    let seen = bob.receive(SOON).expect("a long message");
    assert_eq!((String::from_utf8_lossy(&seen.body).as_ref(), seen.chunks), (long.as_str(), 15));
    bob.bye();
}

#[test]
fn a_client_without_sessions_that_is_offered_one_gets_single_messages() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (acme_ports, globex_ports) = (XmppPorts::reserve(), SipPorts::reserve());
    let names = NameServer::start(&[
        ServiceRecord::xmpp_server("acme.example", acme_ports.server.number()),
        ServiceRecord::xmpp_server("globex.example", files.xmpp.number()),
    ]);
    files.configure(
        &authority,
        &[
            LinkSettings::xmpp("acme", "acme.example", acme_ports.server.number()),
            LinkSettings::sip("globex", "globex.example", globex_ports.tls.number())
                .with("identity = \"domain\", sessions = \"offer\""),
        ],
    );
    let _hub = files.start();
    let acme = prosody::start(XmppServerSettings::new("acme.example", &["alice"], acme_ports, &authority, &names));
    let globex = company("globex.example", globex_ports, &authority, &files, &["acme.example", HUB_DOMAIN]);
    let mut alice = XmppClient::login(&acme, "alice");
    let mut bob = SipClient::register(&globex, "bob", Transport::Tcp);
    for number in 0..10 {
        alice.send("bob@globex.example", &format!("m{number}"), &format!("message {number}"));
    }
    for number in 0..10 {
        assert_eq!(bob.expect_message(Duration::from_secs(30)).body, format!("message {number}"));
    }
    bob.expect_no_message(Duration::from_millis(500));
    // He was asked once, and said no.
    assert_eq!(globex.log().matches("request: INVITE ").count(), 1, "{}", globex.log());
}

#[test]
fn one_megabyte_in_chunks_from_one_company_to_another() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (globex_ports, initech_ports) = (SipPorts::reserve(), SipPorts::reserve());
    files.configure(
        &authority,
        &[
            LinkSettings::sip("globex", "globex.example", globex_ports.tls.number()).with("identity = \"domain\""),
            LinkSettings::sip("initech", "initech.example", initech_ports.tls.number())
                .with("identity = \"domain\", sessions = \"offer\""),
        ],
    );
    let _hub = files.start();
    let globex = company("globex.example", globex_ports, &authority, &files, &["initech.example", HUB_DOMAIN]);
    let initech = company("initech.example", initech_ports, &authority, &files, &["globex.example", HUB_DOMAIN]);
    let mut bob = MsrpClient::register(&globex, "bob");
    let mut carol = MsrpClient::register(&initech, "carol");

    bob.invite(&globex, "sip:carol@initech.example");
    bob.send("hello001", "hello");
    // The hub offers Carol a session for it.
    carol.accept(&initech);
    let seen = carol.receive(SOON).expect("the first message");
    assert_eq!(seen.body, b"hello");
    let long: String = (0..1_000_000_u32).map(|number| char::from(b'a' + ((number / 7) % 26) as u8)).collect();
    let chunks = bob.send("long0001", &long);
    assert_eq!(chunks, 489);
    let seen = carol.receive(Duration::from_secs(60)).expect("the long message");
    assert_eq!(seen.body.len(), long.len());
    assert!(seen.body == long.as_bytes() && seen.chunks == 489, "{}", seen.chunks);
    assert_eq!(bob.report("long0001"), 200);
    bob.bye();
}
