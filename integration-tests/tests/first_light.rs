//! First light: a person on a real XMPP server and a person at a real SIP proxy exchange messages through the hub.

use std::time::{Duration, Instant};

use interchange_integration_tests::api::Api;
use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::kamailio::{Kamailio, KamailioSettings, SipPorts};
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::tls_sip_peer::TlsSipClient;
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};

const SOON: Duration = Duration::from_secs(20);
/// What a sender is told, is told in less than this.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The XMPP firm and its partner on SIP, each linked once to the hub.
struct Community {
    authority: Authority,
    _names: NameServer,
    files: HubFiles,
    hub: Option<Hub>,
    acme: XmppServer,
    globex_ports: Option<SipPorts>,
}

impl Community {
    fn start(start_xmpp_server: fn(XmppServerSettings) -> XmppServer) -> Self {
        let authority = Authority::new("Test authority");
        let mut files = HubFiles::new(&authority);
        let ports = XmppPorts::reserve();
        let globex_ports = SipPorts::reserve();
        let behind_the_hub = ["globex.example", "initech.example", "nowhere.example", HUB_DOMAIN];
        let mut records = vec![ServiceRecord::xmpp_server("acme.example", ports.server.number())];
        records.extend(behind_the_hub.map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
        let names = NameServer::start(&records);
        files.configure(
            &authority,
            &[
                LinkSettings::xmpp("acme", "acme.example", ports.server.number()),
                LinkSettings::sip("globex", "globex.example", globex_ports.tls.number()).with("identity = \"domain\""),
            ],
        );
        let hub = Some(files.start());
        let acme = start_xmpp_server(XmppServerSettings::new("acme.example", &["alice"], ports, &authority, &names));
        Self { authority, _names: names, files, hub, acme, globex_ports: Some(globex_ports) }
    }

    fn hub(&mut self) -> &mut Hub {
        self.hub.as_mut().expect("the hub runs")
    }

    fn start_kamailio(&mut self) -> Kamailio {
        let ports = self.globex_ports.take().expect("the ports of the proxy are free");
        let settings = KamailioSettings::new("globex.example", ports, &self.authority, self.files.sip.address(), HUB_DOMAIN);
        Kamailio::start(settings.with_partners(&["acme.example", "nowhere.example", HUB_DOMAIN]))
    }
}

/// Texts that a careless translation would damage, each told apart by its number; every tenth has 4 KB.
fn text(number: usize) -> String {
    let words = match number % 5 {
        0 => "plain words",
        1 => "5 < 6 && \"quotes\" 'single' </body> &amp; &#10;",
        2 => "first line\r\nsecond line\r\n\r\nfourth\ttabbed",
        3 => "Grüße aus Tōkyō 東京 👩‍👩‍👧‍👦 🎉 عربى",
        _ => "Content-Length: 0\n\nMESSAGE sip:mallory@evil.example SIP/2.0\n<message><body>x",
    };
    let mut text = format!("{number}: {words}");
    if number % 10 == 3 {
        while text.len() < 4096 {
            text.push_str(" 東京 & <Köln>\n");
        }
        text.push('.');
    }
    text
}

/// The same text with each line end as one LF: SIP ends lines by CR LF, and XML has none but LF (XML 1.0 §2.11).
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn hundred_messages_each_way(start_xmpp_server: fn(XmppServerSettings) -> XmppServer) {
    let mut community = Community::start(start_xmpp_server);
    let globex = community.start_kamailio();
    let mut alice = XmppClient::login(&community.acme, "alice");
    let mut bob = SipClient::register(&globex, "bob", Transport::Tcp);
    let bob_address = "bob@globex.example";
    let alice_uri = "sip:alice@acme.example";

    // Prosody 0.12 queues what comes before its stream is authenticated, and sends what comes between that and the last features ahead of the queue. So the
    // stream stands before order is asked for.
    alice.send(bob_address, "first", "first");
    assert_eq!(bob.expect_message(SOON).body, "first");
    for number in 0..100 {
        alice.send(bob_address, &format!("x{number}"), &text(number));
        bob.send(alice_uri, &format!("s{number}"), &text(number));
    }
    for number in 0..100 {
        let at_bob = bob.expect_message(SOON);
        assert_eq!(lines(&at_bob.body), lines(&text(number)), "XMPP to SIP, message {number}");
        assert!(at_bob.from.contains("alice@acme.example"), "native address: {}", at_bob.from);
        assert!(at_bob.content_type.starts_with("text/plain"), "{}", at_bob.content_type);
        let at_alice = alice.expect_message(SOON);
        assert_eq!(at_alice.body, lines(&text(number)), "SIP to XMPP, message {number}");
        assert!(at_alice.from.starts_with(bob_address), "native address: {}", at_alice.from);
        assert_eq!(at_alice.kind, "chat");
        assert_eq!(bob.expect_answer(&format!("s{number}"), SOON), 200, "the proxy answered success to message {number}");
    }
    // Once each: nothing more comes.
    bob.expect_no_message(Duration::from_millis(500));
    alice.expect_no_message(Duration::from_millis(500));
}

#[test]
fn prosody_and_kamailio_exchange_a_hundred_messages_each_way() {
    hundred_messages_each_way(prosody::start);
}

#[test]
fn ejabberd_and_kamailio_exchange_a_hundred_messages_each_way() {
    hundred_messages_each_way(ejabberd::start);
}

#[test]
fn the_echo_user_answers_on_both_platforms() {
    let mut community = Community::start(prosody::start);
    let globex = community.start_kamailio();
    let mut alice = XmppClient::login(&community.acme, "alice");
    let mut bob = SipClient::register(&globex, "bob", Transport::Tcp);
    alice.send("echo@hub.example", "e1", "hello <hub>");
    assert_eq!(alice.expect_message(SOON).body, "hello <hub>");
    bob.send("sip:echo@hub.example", "e2", "hello & hub");
    assert_eq!(bob.expect_message(SOON).body, "hello & hub");
}

/// Marked words and subjects go every way there is: delivered, echoed, refused at once, refused by the other side, waiting. The mark is nowhere that
/// somebody looks: not in the log, as talkative as it can be, not in the metrics, not in any answer of the API.
#[test]
fn nobody_but_the_two_reads_what_they_write() {
    const MARK: &str = "zanzibar-4711";
    let mut community = Community::start(prosody::start);
    let globex = community.start_kamailio();
    community.hub = None;
    community.hub = Some(community.files.start_with(&[("INTERCHANGE_LOG", "trace"), ("INTERCHANGE_LOG_SPANS", "1")]));
    let mut alice = XmppClient::login(&community.acme, "alice");
    let mut bob = SipClient::register(&globex, "bob", Transport::Tcp);
    let words = |number: u32| format!("{MARK} {number}");
    alice.send_raw(&format!(
        "<message to='bob@globex.example' id='p0' type='chat'><subject>{MARK}</subject><body>{}</body>\
         <html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><b>{MARK}</b></body></html></message>",
        words(0)
    ));
    assert_eq!(bob.expect_message(SOON).body, words(0));
    bob.send("sip:alice@acme.example", "p1", &words(1));
    assert_eq!(alice.expect_message(SOON).body, words(1));
    alice.send("echo@hub.example", "p2", &words(2));
    assert_eq!(alice.expect_message(SOON).body, words(2));
    alice.send_raw(&format!("<presence><show>dnd</show><status>{MARK}</status></presence>"));
    alice.send("nobody@globex.example", "p3", &words(3));
    assert_eq!(alice.expect_error(SOON).id, "p3");
    alice.send("bob@nowhere.example", "p4", &words(4));
    assert_eq!(alice.expect_error(SOON).id, "p4");
    bob.send("sip:nobody@acme.example", "p5", &words(5));
    bob.expect_answer("p5", SOON);
    // One that waits while everything is looked at.
    drop(bob);
    drop(globex);
    alice.send("bob@globex.example", "p6", &words(6));
    let api = Api::new(community.files.admin.number(), &community.files.operator_token());
    let until = Instant::now() + SOON;
    while !api.get("queues").1.to_string().contains("\"link\":\"globex\"") {
        assert!(Instant::now() < until, "nothing waits");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (_, document) = api.get("openapi.json");
    let mut read = String::new();
    let mut answers = 0;
    for (path, operations) in document["paths"].as_object().expect("there are paths") {
        let path = path.trim_start_matches("/api/v1/");
        let asked: Vec<String> = match path {
            "trace" => [
                ("alice@acme.example", "bob@globex.example"),
                ("alice@acme.example", "echo@hub.example"),
                ("bob@globex.example", "nobody@acme.example"),
            ]
            .map(|(from, to)| format!("trace?from={from}&to={to}"))
            .into(),
            _ => vec![path.replace("{link}", "acme").replace("{domain}", "acme.example")],
        };
        for path in asked {
            for method in operations.as_object().expect("there are operations").keys() {
                let (status, answer) = match (method.as_str(), path.ends_with("/doctor")) {
                    ("get", _) => api.get(&path),
                    (_, true) => api.post(&path, &serde_json::Value::Null),
                    // The others change something, and answer with a number.
                    _ => continue,
                };
                assert_eq!(status, 200, "{path}: {answer}");
                read.push_str(&answer.to_string());
                answers += 1;
            }
        }
    }
    assert!(answers >= 15 && read.contains("alice@acme.example") && read.contains("delivered"), "{answers}: {read}");
    for page in ["metrics", "healthz", "readyz"] {
        let url = format!("http://127.0.0.1:{}/{page}", community.files.admin.number());
        read.push_str(&api.agent.get(url).call().expect("the hub answers").body_mut().read_to_string().expect("text"));
    }
    let log = community.hub().log();
    assert!(log.contains("\"delivered\"") && log.contains("\"level\":\"DEBUG\""), "it says as much as it can");
    for (place, text) in [("the API or the metrics", &read), ("the log", &log)] {
        let found =
            text.find(MARK).map(|at| text[..at].chars().rev().take(300).collect::<String>().chars().rev().collect::<String>());
        assert_eq!(found, None, "in {place}");
    }
}

/// What cannot be delivered comes back to its sender as an error of the sender's own platform, soon, and the trace says why.
#[test]
fn a_sender_is_told_at_once_and_the_trace_says_why() {
    let mut community = Community::start(prosody::start);
    let globex = community.start_kamailio();
    let mut alice = XmppClient::login(&community.acme, "alice");
    let mut bob = SipClient::register(&globex, "bob", Transport::Tcp);
    // The first message of a pair opens streams; what is measured below is the answer, not the handshakes.
    alice.send("bob@globex.example", "warm", "good morning");
    bob.expect_message(SOON);
    bob.send("sip:alice@acme.example", "warm", "good morning");
    alice.expect_message(SOON);
    assert_eq!(bob.expect_answer("warm", SOON), 200);

    // XMPP to an unknown user of the SIP firm.
    let asked = Instant::now();
    alice.send("nobody@globex.example", "m1", "hello?");
    let error = alice.expect_error(AT_ONCE);
    assert_eq!((error.id.as_str(), error.condition.as_str()), ("m1", "item-not-found"), "{error:?}");
    assert!(error.from.starts_with("nobody@globex.example"), "{error:?}");
    assert!(asked.elapsed() < AT_ONCE);
    community.hub().wait_for_line(&["\"no-such-user\"", "acme.example", "globex.example"], AT_ONCE);

    // XMPP to a domain that nobody has linked, though the name server leads to the hub.
    let asked = Instant::now();
    alice.send("eve@nowhere.example", "m2", "hello?");
    let error = alice.expect_error(AT_ONCE);
    assert_eq!(error.id, "m2");
    assert!(["remote-server-not-found", "remote-server-timeout"].contains(&error.condition.as_str()), "{error:?}");
    assert!(asked.elapsed() < AT_ONCE);
    community.hub().wait_for_line(&["unknown-domain", "nowhere.example"], AT_ONCE);

    // SIP to an unknown user of the XMPP firm.
    let asked = Instant::now();
    bob.send("sip:nobody@acme.example", "m3", "hello?");
    let answer = bob.expect_answer("m3", AT_ONCE);
    assert!([404, 480].contains(&answer), "{answer}");
    assert!(asked.elapsed() < AT_ONCE);

    // SIP to a domain that nobody has linked.
    let asked = Instant::now();
    bob.send("sip:eve@nowhere.example", "m4", "hello?");
    assert_eq!(bob.expect_answer("m4", AT_ONCE), 404);
    assert!(asked.elapsed() < AT_ONCE);
    community.hub().wait_for_line(&["\"unknown-domain\"", "globex.example", "nowhere.example"], AT_ONCE);
}

/// A sender whose domain the link does not own is refused, however well the server itself is known.
#[test]
fn a_sender_of_somebody_elses_domain_is_refused() {
    let mut community = Community::start(prosody::start);
    let globex = community.authority.issue(&Leaf::sip("globex.example"));
    let authority = community.authority.certificate().to_owned();
    let mut proxy = TlsSipClient::connect(community.files.sip.address(), HUB_DOMAIN, Some(&globex), &authority);
    let asked = Instant::now();
    assert_eq!(proxy.message("sip:mallory@acme.example", "sip:alice@acme.example", "it is me"), 403);
    assert!(asked.elapsed() < AT_ONCE);
    community.hub().wait_for_line(&["\"not-yours\"", "globex"], AT_ONCE);

    // A server with a good certificate for a domain that no link has.
    let ports = XmppPorts::reserve();
    let names = NameServer::start(&[ServiceRecord::xmpp_server("acme.example", community.files.xmpp.number())]);
    let settings = XmppServerSettings::new("stranger.example", &["mallory"], ports, &community.authority, &names);
    let stranger = prosody::start(settings);
    let mut mallory = XmppClient::login(&stranger, "mallory");
    let asked = Instant::now();
    mallory.send("alice@acme.example", "m1", "hello?");
    let error = mallory.expect_error(AT_ONCE);
    assert_eq!(error.id, "m1", "{error:?}");
    assert!(asked.elapsed() < AT_ONCE);
}

/// A partner's server is away, and the hub is killed while messages wait for it: nothing is lost, and order holds.
#[test]
fn messages_wait_for_a_server_that_is_away_and_survive_a_killed_hub() {
    const MESSAGES: usize = 50;
    let mut community = Community::start(prosody::start);
    let mut alice = XmppClient::login(&community.acme, "alice");
    // Everything works; then Kamailio is stopped, and fifty messages wait.
    let globex = community.start_kamailio();
    let mut bob = SipClient::register(&globex, "bob", Transport::Tcp);
    alice.send("bob@globex.example", "first", "good morning");
    assert_eq!(bob.expect_message(SOON).body, "good morning");
    community.hub().wait_for_line(&["\"delivered\"", "globex.example"], SOON);
    drop(bob);
    community.globex_ports = Some(globex.stop());
    community.hub().wait_for_line(&["\"globex\"", "\"retrying\""], SOON);
    for number in 0..MESSAGES {
        alice.send("bob@globex.example", &format!("m{number}"), &format!("message {number}"));
    }
    // One was accepted before.
    let accepted =
        |log: &str| log.lines().filter(|line| line.contains("\"accepted\"") && line.contains("\"acme.example\"")).count() - 1;
    let deadline = Instant::now() + SOON;
    loop {
        let so_far = accepted(&community.hub().log());
        if so_far >= MESSAGES {
            break;
        }
        assert!(Instant::now() < deadline, "only {so_far} of {MESSAGES} were accepted");
        std::thread::sleep(Duration::from_millis(50));
    }
    // SIGKILL, and a new hub on the same files. Bob is there before it: his proxy would refuse what comes earlier.
    drop(community.hub.take());
    let globex = community.start_kamailio();
    let mut bob = SipClient::register(&globex, "bob", Transport::Tcp);
    community.hub = Some(community.files.start());
    let mut received = Vec::new();
    while received.last().is_none_or(|last| *last != format!("message {}", MESSAGES - 1)) {
        received.push(bob.expect_message(Duration::from_secs(60)).body);
    }
    let mut once = received.clone();
    once.dedup();
    let wanted: Vec<String> = (0..MESSAGES).map(|number| format!("message {number}")).collect();
    assert_eq!(once, wanted, "all arrive, in order");
    // None was in flight when the hub was killed, so none may come twice.
    assert_eq!(received.len(), MESSAGES);
    bob.expect_no_message(Duration::from_millis(500));
}
