//! The scripted servers of Office Communications Server, proven before the hub meets them: real clients of the plugin SIPE sign on, talk and
//! see each other, within one company and between two that federate edge to edge; and a partner's fault is seen and said.

use std::time::Duration;

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::ocs::{Dialect, OcsPorts, OcsServer, OcsSettings, text};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::tls_sip_peer::TlsSipClient;

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);

fn sign_on(server: &OcsServer, address: &str) -> PurpleClient {
    PurpleClient::sign_on(&PurpleAccount::ocs(address, server.client_address()))
}

fn twenty_messages_each_way(alice: &mut PurpleClient, bob: &mut PurpleClient) {
    let (alice_uri, bob_uri) = (format!("sip:{}", alice.address()), format!("sip:{}", bob.address()));
    // The first opens the session; two that open one at once would each close the other's.
    alice.send(&bob_uri, &text(0));
    assert_eq!(bob.expect_message(SOON).text, text(0));
    bob.send(&alice_uri, &text(0));
    assert_eq!(alice.expect_message(SOON).text, text(0));
    for number in 1..20 {
        alice.send(&bob_uri, &text(number));
        bob.send(&alice_uri, &text(number));
    }
    for number in 1..20 {
        let at_bob = bob.expect_message(SOON);
        assert_eq!((at_bob.from, at_bob.text), (alice_uri.clone(), text(number)));
        let at_alice = alice.expect_message(SOON);
        assert_eq!((at_alice.from, at_alice.text), (bob_uri.clone(), text(number)));
    }
    alice.expect_no_message(QUIET);
    bob.expect_no_message(QUIET);
    alice.expect_no_error_shown(QUIET);
    bob.expect_no_error_shown(QUIET);
}

/// Both have each other on their lists and are signed on.
fn typing_and_presence(alice: &mut PurpleClient, bob: &mut PurpleClient) {
    let (alice_uri, bob_uri) = (format!("sip:{}", alice.address()), format!("sip:{}", bob.address()));
    alice.expect_presence(&bob_uri, "available", SOON);
    bob.expect_presence(&alice_uri, "available", SOON);
    alice.typing(&bob_uri, true);
    bob.expect_typing(&alice_uri, "typing", SOON);
    bob.typing(&alice_uri, true);
    alice.expect_typing(&bob_uri, "typing", SOON);
    bob.set_status("busy", Some("Writing tests"));
    alice.expect_presence(&bob_uri, "busy", SOON);
    alice.expect_note(&bob_uri, "Writing tests", SOON);
    alice.set_status("away", None);
    bob.expect_presence(&alice_uri, "away", SOON);
    bob.sign_off();
    assert!(!alice.expect_presence(&bob_uri, "offline", SOON).online);
}

fn two_people_of_one_company(dialect: Dialect) {
    let authority = Authority::new("Test authority");
    let mut settings = OcsSettings::new("contoso.example", &["alice", "bob"], OcsPorts::reserve(), &authority)
        .with_contact("alice", "bob@contoso.example")
        .with_contact("bob", "alice@contoso.example");
    settings.dialect = dialect;
    let server = OcsServer::start(settings);
    let mut alice = sign_on(&server, "alice@contoso.example");
    let mut bob = sign_on(&server, "bob@contoso.example");
    twenty_messages_each_way(&mut alice, &mut bob);
    alice.send("sip:nobody@contoso.example", "is anybody there?");
    let shown = alice.expect_error_shown("sip:nobody@contoso.example", SOON);
    assert!(shown.contains("is anybody there?"), "{shown}");
    typing_and_presence(&mut alice, &mut bob);
    server.assert_no_faults();
}

#[test]
fn two_people_of_one_company_talk_and_see_each_other() {
    two_people_of_one_company(Dialect::Ocs2007);
}

#[test]
fn two_people_of_one_company_talk_and_see_each_other_in_the_dialect_of_2005() {
    two_people_of_one_company(Dialect::Lcs2005);
}

#[test]
fn clients_sign_on_over_tls_to_a_server_whose_certificate_they_accept() {
    let authority = Authority::new("Test authority");
    let settings = OcsSettings::new("contoso.example", &["alice", "bob"], OcsPorts::reserve(), &authority);
    let settings = settings.with_tls_for_clients(&authority);
    let certificate = settings.pool_identity.as_ref().expect("the pool has one").certificate.clone();
    let server = OcsServer::start(settings);
    let over_tls = |address: &str, certificate: &str| {
        PurpleAccount::ocs(address, server.client_address()).over_tls(server.client_address(), certificate)
    };
    let mut alice = PurpleClient::sign_on(&over_tls("alice@contoso.example", &certificate));
    let mut bob = PurpleClient::sign_on(&over_tls("bob@contoso.example", &certificate));
    alice.send("sip:bob@contoso.example", "over TLS");
    assert_eq!(bob.expect_message(SOON).text, "over TLS");
    server.assert_no_faults();
}

fn two_companies() -> (OcsServer, OcsServer) {
    let authority = Authority::new("Test authority");
    let (here, there) = (OcsPorts::reserve(), OcsPorts::reserve());
    let (edge, other_edge) = (here.edge.address(), there.edge.address());
    let contoso = OcsSettings::new("contoso.example", &["alice"], here, &authority)
        .with_contact("alice", "bob@fabrikam.example")
        .with_partner("sip.fabrikam.example", other_edge, &["fabrikam.example"]);
    let fabrikam = OcsSettings::new("fabrikam.example", &["bob"], there, &authority)
        .with_contact("bob", "alice@contoso.example")
        .with_partner("sip.contoso.example", edge, &["contoso.example"]);
    (OcsServer::start(contoso), OcsServer::start(fabrikam))
}

#[test]
fn two_companies_federate_edge_to_edge() {
    let (contoso, fabrikam) = two_companies();
    let mut alice = sign_on(&contoso, "alice@contoso.example");
    let mut bob = sign_on(&fabrikam, "bob@fabrikam.example");
    twenty_messages_each_way(&mut alice, &mut bob);
    alice.send("sip:nobody@fabrikam.example", "is anybody there?");
    let shown = alice.expect_error_shown("sip:nobody@fabrikam.example", SOON);
    assert!(shown.contains("is anybody there?"), "{shown}");
    typing_and_presence(&mut alice, &mut bob);
    contoso.assert_no_faults();
    fabrikam.assert_no_faults();
}

#[test]
fn an_edge_that_throttles_is_seen_by_the_sender() {
    let (contoso, fabrikam) = two_companies();
    let mut alice = sign_on(&contoso, "alice@contoso.example");
    let mut bob = sign_on(&fabrikam, "bob@fabrikam.example");
    alice.send("sip:bob@fabrikam.example", "first");
    bob.expect_message(SOON);
    fabrikam.throttle(Some(0));
    alice.send("sip:bob@fabrikam.example", "too much");
    let shown = alice.expect_error_shown("sip:bob@fabrikam.example", SOON);
    assert!(shown.contains("too much"), "{shown}");
    fabrikam.throttle(None);
    alice.send("sip:bob@fabrikam.example", "again");
    assert_eq!(bob.expect_message(SOON).text, "again");
}

/// A partner that is a script, at the edge of contoso.example.
struct Rogue {
    contoso: OcsServer,
    client: TlsSipClient,
    _port: ReservedPort,
}

fn rogue() -> Rogue {
    let authority = Authority::new("Test authority");
    let port = ReservedPort::any();
    let settings = OcsSettings::new("contoso.example", &["alice"], OcsPorts::reserve(), &authority).with_partner(
        "sip.fabrikam.example",
        port.address(),
        &["fabrikam.example"],
    );
    let contoso = OcsServer::start(settings);
    let identity = authority.issue(&Leaf::host("sip.fabrikam.example"));
    let client = TlsSipClient::connect(contoso.edge_address(), "sip.contoso.example", Some(&identity), authority.certificate());
    Rogue { contoso, client, _port: port }
}

/// One request with `headers` beside the usual.
fn request(method: &str, from: &str, number: u32, headers: &str) -> String {
    format!(
        "{method} sip:alice@contoso.example SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bKrogue{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{from}>;tag=rogue\r\nTo: <sip:alice@contoso.example>\r\nCall-ID: rogue{number}\r\n\
         CSeq: 1 {method}\r\n{headers}Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_partner_that_breaks_a_rule_is_refused_and_named() {
    let mut rogue = rogue();
    let cases = [
        ("MESSAGE", "mallory@contoso.example", "Content-Type: text/plain;charset=UTF-8\r\n", 403, "not of its entry"),
        ("MESSAGE", "bob@fabrikam.example", "Content-Type: text/plain;charset=UTF-8\r\n", 403, "outside a session"),
        ("SERVICE", "bob@fabrikam.example", "", 403, "not for federated partners"),
        ("INVITE", "bob@fabrikam.example", "Contact: <sip:sip.fabrikam.example>\r\n", 480, "offers no message session"),
        (
            "SUBSCRIBE",
            "bob@fabrikam.example",
            "Event: presence\r\nAccept: application/pidf+xml\r\nContact: <sip:sip.fabrikam.example>\r\n\
             ms-edge-proxy-message-trust: ms-source-type=DirectPartner\r\n",
            200,
            "the receiving edge's own",
        ),
        (
            "OPTIONS",
            "bob@fabrikam.example",
            "Route: <sip:sip.contoso.example:5061;transport=tls;lr;ms-route-sig=guessed>\r\n",
            200,
            "a Route outside a dialog",
        ),
    ];
    for (number, (method, from, headers, status, fault)) in (1_u32..).zip(cases) {
        let before = rogue.contoso.faults().len();
        let answer = rogue.client.ask(&request(method, from, number, headers));
        let faults = &rogue.contoso.faults()[before..];
        assert_eq!(answer, status, "{method}: {faults:?}");
        assert!(faults.iter().any(|one| one.contains(fault)), "{method}: {fault} is not in {faults:?}");
    }
}

#[test]
fn a_route_that_does_not_come_back_as_it_was_signed_is_refused_and_named() {
    let mut rogue = rogue();
    let watch = "Event: presence\r\nAccept: application/pidf+xml\r\nContact: <sip:sip.fabrikam.example>\r\n";
    let accepted = rogue.client.ask_for_all(&request("SUBSCRIBE", "bob@fabrikam.example", 1, watch));
    let to = accepted.header("To").expect("a To").to_owned();
    let pool = accepted.header("Contact").expect("a Contact").trim_matches(['<', '>']).to_owned();
    let records = accepted.headers.iter().filter(|(field, _)| field == "Record-Route").map(|(_, value)| value.clone());
    // As whoever has asked: from the last to the first.
    let routes: Vec<String> = records.collect::<Vec<_>>().into_iter().rev().collect();
    assert_eq!(routes.len(), 2, "{accepted:?}");
    let mut number = 1;
    let mut refresh = |routes: &[String]| {
        number += 1;
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let refresh = format!(
            "SUBSCRIBE {pool} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bKrefresh{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@fabrikam.example>;tag=rogue\r\nTo: {to}\r\nCall-ID: rogue1\r\nCSeq: {number} SUBSCRIBE\r\n\
             {routes}{watch}Expires: 3600\r\nContent-Length: 0\r\n\r\n"
        );
        rogue.client.ask(&refresh)
    };
    assert_eq!(refresh(&routes), 200);
    rogue.contoso.assert_no_faults();
    let changed = routes.iter().map(|route| route.replace(";lr;", ";lr=on;")).collect::<Vec<_>>();
    let cases: [(&[String], &str); 4] = [
        (&[], "is missing"),
        (&routes[..1], "is missing"),
        (&[routes[1].clone(), routes[0].clone()], "is not what sip.contoso.example has signed"),
        (&changed, "is not what sip.contoso.example has signed"),
    ];
    for (number, (routes, fault)) in cases.into_iter().enumerate() {
        assert_eq!(refresh(routes), 403, "{routes:?}");
        assert!(rogue.contoso.faults()[number].contains(fault), "{:?}", rogue.contoso.faults());
    }
}

#[test]
fn a_partner_that_asks_for_compression_is_told_no_and_goes_on() {
    let mut rogue = rogue();
    let negotiate = "NEGOTIATE sip:127.0.0.1:5061 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.2:2616\r\nCSeq: 1 NEGOTIATE\r\nCall-ID: n\r\n\
                     From: <sip:sip.fabrikam.example>;tag=1\r\nTo: <sip:sip.contoso.example>\r\nCompression: LZ77-8K\r\n\
                     Max-Forwards: 0\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(rogue.client.ask(negotiate), 488);
    let watch = request(
        "SUBSCRIBE",
        "bob@fabrikam.example",
        1,
        "Event: presence\r\nAccept: application/pidf+xml\r\nContact: <sip:sip.fabrikam.example>\r\n",
    );
    assert_eq!(rogue.client.ask(&watch), 200);
    rogue.contoso.assert_no_faults();
}

#[test]
fn a_stranger_s_certificate_gets_no_answer_and_is_named() {
    let authority = Authority::new("Test authority");
    let settings = OcsSettings::new("contoso.example", &["alice"], OcsPorts::reserve(), &authority).with_partner(
        "sip.fabrikam.example",
        ReservedPort::any().address(),
        &["fabrikam.example"],
    );
    let contoso = OcsServer::start(settings);
    let identity = authority.issue(&Leaf::host("sip.tailspin.example"));
    let _client = {
        let edge = contoso.edge_address();
        let authority = authority.certificate().to_owned();
        std::thread::spawn(move || {
            TlsSipClient::connect(edge, "sip.contoso.example", Some(&identity), &authority).message("sip:a@b", "sip:c@d", "x")
        })
    };
    let deadline = std::time::Instant::now() + SOON;
    while contoso.faults().is_empty() {
        assert!(std::time::Instant::now() < deadline, "the stranger was not noticed");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(contoso.faults()[0].contains("proves no name of the allow list"), "{:?}", contoso.faults());
}
