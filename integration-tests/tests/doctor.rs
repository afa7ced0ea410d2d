//! The link doctor names what is wrong: planted faults, one link each, with real servers where a real one can have the fault.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use interchange_integration_tests::api::Api;
use interchange_integration_tests::certificates::{Authority, Identity, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::kamailio::{Kamailio, KamailioSettings, SipPorts};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::prosody;
use interchange_integration_tests::tls_sip_peer::{Answer, TlsSipServer};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{ServerAuthentication, XmppPorts, XmppServer, XmppServerSettings};
use serde_json::{Value, json};

/// A fault, as it was planted.
struct Planted {
    link: &'static str,
    /// The label that must be found, and under which check.
    fault: &'static str,
    check: &'static str,
    /// A word that must be in the sentence, and one that must be in the remedy.
    says: &'static str,
    fix: &'static str,
}

/// Everything that runs for one hub. What is not named is only kept alive.
#[derive(Default)]
struct Stage {
    links: Vec<LinkSettings>,
    planted: Vec<Planted>,
    xmpp: Vec<XmppServer>,
    _sip: Vec<Kamailio>,
    _scripted: Vec<TlsSipServer>,
    sockets: Vec<TcpListener>,
    taken: Vec<TcpStream>,
    closed: Vec<ReservedPort>,
}

impl Stage {
    /// A link `NAME` of the domain NAME.example.
    fn plant(&mut self, link: LinkSettings, fault: &'static str, check: &'static str, (says, fix): (&'static str, &'static str)) {
        let name: &'static str = link.id.clone().leak();
        self.links.push(link);
        self.planted.push(Planted { link: name, fault, check, says, fix });
    }

    /// A server that does with each connection what `act` does.
    fn raw(&mut self, act: fn(&mut TcpStream)) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                thread::spawn(move || act(&mut connection));
            }
        });
        port
    }
}

fn domain(name: &str) -> String {
    format!("{name}.example")
}

fn xmpp(name: &str, port: u16) -> LinkSettings {
    LinkSettings::xmpp(name, &domain(name), port)
}

/// Found by DNS alone.
fn by_records(name: &str, platform: &'static str) -> LinkSettings {
    LinkSettings { id: name.to_owned(), platform, domain: domain(name), settings: String::new() }
}

const STREAM: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns:db='jabber:server:dialback' id='x' version='1.0'>";

fn hear(connection: &mut TcpStream, end: &str) {
    let mut heard = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&heard).contains(end) {
        match connection.read(&mut byte) {
            Ok(1) => heard.push(byte[0]),
            _ => return,
        }
    }
}

/// Holds the connection until the peer has enough.
fn wait(connection: &mut TcpStream) {
    let mut rest = [0; 1024];
    while matches!(connection.read(&mut rest), Ok(1..)) {}
}

/// Every fault, one link each.
fn plant(stage: &mut Stage, authority: &Authority, names: &NameServer, lost: &NameServer, hub_sip: SocketAddr) {
    // Where the server is.
    stage.plant(by_records("wrong-srv", "xmpp"), "no-address", "dns", ("nowhere.example", "A or AAAA"));
    stage.plant(by_records("not-offered", "xmpp"), "service-not-offered", "dns", ("`.`", "_xmpp-server._tcp"));
    stage.plant(by_records("no-srv", "sip"), "no-service", "dns", ("_sips._tcp.no-srv.example", "SRV 10 0 5061"));
    stage.plant(by_records("dead-dns", "xmpp"), "dns-failed", "dns", ("looking up", "dig"));
    let private = LinkSettings { settings: "host = \"10.11.12.13\"".to_owned(), ..xmpp("private", 1) };
    stage.plant(private, "address-not-allowed", "dns", ("private", "allow_targets"));
    // Whether anybody is there.
    let closed = ReservedPort::any();
    stage.plant(xmpp("closed", closed.number()), "port-closed", "connection", ("refused", "listen"));
    stage.closed.push(closed);
    let full = full_listener(stage);
    stage.plant(xmpp("filtered", full), "no-connection", "connection", ("no answer", "firewall"));
    // What answers there.
    let silent = stage.raw(wait);
    stage.plant(xmpp("silent", silent), "silent", "answer", ("5 s", "does not answer"));
    let web = stage.raw(|connection| {
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        wait(connection);
    });
    stage.plant(xmpp("web", web), "wrong-protocol", "answer", ("cannot be understood", "5269"));
    let clear = stage.raw(|connection| {
        hear(connection, "version='1.0'");
        let _ = connection.write_all(
            format!("{STREAM}<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>").as_bytes(),
        );
        wait(connection);
    });
    stage.plant(xmpp("clear", clear), "no-tls", "answer", ("offers no TLS", "enable TLS"));
    let broken = stage.raw(|connection| {
        hear(connection, "version='1.0'");
        let offer = format!("{STREAM}<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
        let _ = connection.write_all(offer.as_bytes());
        hear(connection, "starttls");
        let _ = connection.write_all(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        // An SSL 3 alert, as something very old would answer.
        let _ = connection.write_all(&[0x15, 0x03, 0x00, 0x00, 0x02, 0x02, 0x28]);
        wait(connection);
    });
    stage.plant(xmpp("old-tls", broken), "tls-failed", "answer", ("no TLS", "TLS 1.2"));

    // Their certificate.
    let stranger = Authority::new("Somebody else");
    let of = |name: &str, change: fn(Leaf) -> Leaf| authority.issue(&change(Leaf::xmpp(&domain(name))));
    for (name, fault, identity, words) in [
        ("expired", "certificate-expired", of("expired", Leaf::expired), ("expired", "prosodyctl reload")),
        ("clock", "certificate-not-yet-valid", of("clock", Leaf::not_yet_valid), ("not valid yet", "NTP")),
        (
            "wrong-name",
            "certificate-name",
            authority.issue(&Leaf::xmpp("other.example")),
            ("other.example", "wrong-name.example"),
        ),
        (
            "stranger",
            "certificate-untrusted",
            stranger.issue(&Leaf::xmpp("stranger.example")),
            ("trusted authority", "authorities"),
        ),
        (
            "no-chain",
            "certificate-untrusted",
            authority.intermediate("Between").issue(&Leaf::xmpp("no-chain.example")),
            ("trusted authority", "intermediate"),
        ),
        ("self-signed", "certificate-self-signed", Identity::self_signed("self-signed.example"), ("itself", "pin")),
        ("not-for-tls", "certificate-wrong-use", of("not-for-tls", Leaf::for_code_only), ("may not be used", "serverAuth")),
    ] {
        let port = company(stage, name, authority, names, |settings| settings.identity = identity);
        stage.plant(xmpp(name, port), fault, "answer", words);
    }
    let port = company(stage, "repinned", authority, names, |_| {});
    let pinned = xmpp("repinned", port).with(&format!("pin = [\"{}\"]", "0f".repeat(32)));
    stage.plant(pinned, "key-not-pinned", "answer", ("pinned", "pin"));

    // How they take ours.
    let port =
        company(stage, "untrusting", authority, names, |settings| settings.trusted_authority = stranger.certificate().to_owned());
    stage.plant(
        xmpp("untrusting", port),
        "authentication-refused",
        "answer",
        ("does not take hub.example", "trust the authority"),
    );
    let port = company(stage, "no-dialback", authority, names, |_| {});
    let dialback_alone = xmpp("no-dialback", port).with("authentication = [\"dialback\"]");
    stage.plant(dialback_alone, "no-authentication", "answer", ("no authentication", "dialback"));
    let port =
        company(stage, "asks-nobody", authority, lost, |settings| settings.authentication = ServerAuthentication::Dialback);
    let asks_nobody = xmpp("asks-nobody", port).with("authentication = [\"dialback\"]");
    stage.plant(asks_nobody, "no-way-back", "answer", ("asks-nobody.example", "hub.example port"));
    let elsewhere = company(stage, "elsewhere", authority, names, |_| {});
    stage.plant(xmpp("moved", elsewhere), "host-unknown", "answer", ("host-unknown", "serve `moved.example`"));
    // One direction dead: it takes everything, and knows no way to the hub.
    let port = company(stage, "one-way", authority, lost, |_| {});
    stage.plant(xmpp("one-way", port), "no-way-back", "answer", ("way back", "Allow TCP"));

    // SIP.
    let ports = SipPorts::reserve();
    let kamailio = |ports: SipPorts, name: &str| KamailioSettings::new(&domain(name), ports, authority, hub_sip, HUB_DOMAIN);
    let sip = |name: &str, port: u16| LinkSettings::sip(name, &domain(name), port);
    let port = ports.tls.number();
    let identity = authority.issue(&Leaf::sip("other.example"));
    stage._sip.push(Kamailio::start(KamailioSettings { identity, ..kamailio(ports, "sip-name") }));
    stage.plant(sip("sip-name", port), "certificate-name", "answer", ("must name sip-name.example", "kamcmd tls.reload"));
    let ports = SipPorts::reserve();
    let port = ports.tls.number();
    let trusted_authority = stranger.certificate().to_owned();
    stage._sip.push(Kamailio::start(KamailioSettings { trusted_authority, ..kamailio(ports, "sip-untrusting") }));
    stage.plant(sip("sip-untrusting", port), "authentication-refused", "answer", ("fatal alert", "ca_list"));
    for (name, answer, fault, words) in [
        (
            "pausing",
            Answer { status: 503, headers: "Retry-After: 240\r\n".to_owned() },
            "throttled",
            ("pause of 240 s", "limits"),
        ),
        (
            "password",
            Answer { status: 407, headers: String::new() },
            "authentication-refused",
            ("password (407)", "allow hub.example"),
        ),
    ] {
        let identity = authority.issue(&Leaf::sip(&domain(name)));
        let port = ReservedPort::any();
        let number = port.number();
        stage._scripted.push(TlsSipServer::start(port, &identity, authority.certificate(), move |_| answer.clone()));
        stage.plant(sip(name, number), fault, "answer", words);
    }
    stage.plant(sip("waits", 1).with("dial = \"never\""), "not-connected", "answer", ("dial", "dial=always"));
}

/// A Prosody; the port at which other servers find it.
fn company(
    stage: &mut Stage,
    name: &str,
    authority: &Authority,
    names: &NameServer,
    change: impl FnOnce(&mut XmppServerSettings),
) -> u16 {
    let ports = XmppPorts::reserve();
    let port = ports.server.number();
    let mut settings = XmppServerSettings::new(&domain(name), &["alice"], ports, authority, names);
    settings.verbose = false;
    change(&mut settings);
    stage.xmpp.push(prosody::start(settings));
    port
}

/// A port whose queue of connections is full, so that a further one is not even answered: as behind a firewall.
fn full_listener(stage: &mut Stage) -> u16 {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    socket.listen(1).expect("it listens");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("it is bound");
    while let Ok(taken) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        stage.taken.push(taken);
        assert!(stage.taken.len() < 64, "its queue is never full");
    }
    stage.sockets.push(listener);
    address.port()
}

/// Findings of a link by its administrator's product.
fn examine(port: u16, token: &str, link: &str, product: &str) -> Value {
    let api = Api::new(port, token);
    let (status, answer) = api.post(&format!("links/{link}/doctor?product={product}"), &Value::Null);
    assert_eq!(status, 200, "{link}: {answer}");
    answer
}

fn faults(examination: &Value) -> Vec<(&str, &str)> {
    let findings = examination["findings"].as_array().expect("there are findings");
    let named = findings.iter().filter(|finding| finding["result"] == "failed");
    named.map(|finding| (finding["check"].as_str().unwrap_or(""), finding["fault"].as_str().unwrap_or(""))).collect()
}

#[test]
fn planted_faults_are_named_each_with_its_remedy() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    files.answer_within(5);
    let (hub_port, nowhere) = (files.xmpp.number(), ReservedPort::any());
    let records = |hub: u16| vec![ServiceRecord::xmpp_server(HUB_DOMAIN, hub)];
    // `dead.example`'s own name server does not answer.
    let more = format!(
        "srv-host=_xmpp-server._tcp.wrong-srv.example,nowhere.example,5269\n\
         dns-rr=_xmpp-server._tcp.not-offered.example,33,00000000000000\n\
         server=/dead-dns.example/127.0.0.1#{}\n",
        nowhere.number()
    );
    let names = NameServer::start_at(ReservedPort::any(), &records(hub_port), &more);
    // By which the hub is at a port where nobody listens.
    let lost = NameServer::start(&records(nowhere.number()));
    files.ask(names.port(), 53);
    let mut stage = Stage::default();
    plant(&mut stage, &authority, &names, &lost, files.sip.address());
    files.configure(&authority, &stage.links);
    let _hub = files.start();
    let (port, token) = (files.admin.number(), files.operator_token());
    assert!(stage.planted.len() >= 20, "{}", stage.planted.len());
    // Six at a time: the hub takes eight.
    let mut wrong = Vec::new();
    for some in stage.planted.chunks(6) {
        let examined: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = some
                .iter()
                .map(|planted| {
                    let product = if planted.check != "dns" && planted.link.starts_with("sip-") { "kamailio" } else { "" };
                    let is_sip = stage.links.iter().any(|link| link.id == planted.link && link.platform == "sip");
                    let product = match (product, is_sip) {
                        ("", true) => "other-sip",
                        ("", false) => "prosody",
                        (product, _) => product,
                    };
                    let token = token.as_str();
                    scope.spawn(move || (planted, examine(port, token, planted.link, product)))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("it is examined")).collect()
        });
        for (Planted { link, fault, check, says, fix }, examination) in examined {
            let findings = examination["findings"].as_array().expect("there are findings");
            let holds = |finding: &Value, key: &str, word: &str| finding[key].as_str().is_some_and(|text| text.contains(word));
            let named = findings.iter().find(|finding| finding["check"] == *check && finding["fault"] == *fault);
            let right = named.is_some_and(|finding| holds(finding, "says", says) && holds(finding, "fix", fix));
            // And nothing else is said to have failed, so that nobody mends what is whole.
            let only = faults(&examination).iter().all(|(_, named)| named == fault);
            println!("{link:<16} {fault:<26} {}", named.and_then(|finding| finding["says"].as_str()).unwrap_or("-"));
            if !right || !only || examination["verdict"] != "failed" {
                wrong.push(format!("{link}: wanted {check} {fault} ({says}; {fix}): {examination:#}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), stage.planted.len(), wrong.join("\n"));
}

/// What can only be seen on a link that works otherwise.
#[test]
fn what_is_wrong_beside_the_link_is_named_too() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    files.by_invitation();
    files.stand_for(&authority, &["lost.example"]);
    let mut stage = Stage::default();
    let records: Vec<_> = [HUB_DOMAIN, "found.example"].map(|name| ServiceRecord::xmpp_server(name, files.xmpp.number())).into();
    let names = NameServer::start(&records);
    files.ask(names.port(), 53);
    files.answer_within(5);
    let port = company(&mut stage, "acme", &authority, &names, |_| {});
    files.configure(&authority, &[xmpp("acme", port), xmpp("found", 1), xmpp("lost", 1)]);
    let hub = files.start();
    let (admin, token) = (files.admin.number(), files.operator_token());
    let alone = examine(admin, &token, "acme", "prosody");
    let findings = |examination: &Value| -> BTreeMap<String, (String, String)> {
        let findings = examination["findings"].as_array().expect("there are findings").clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        findings
            .iter()
            .map(|finding| {
                (text(&finding["check"]) + " " + &text(&finding["subject"]), (text(&finding["result"]), text(&finding["fault"])))
            })
            .collect()
    };
    let all = findings(&alone);
    assert_eq!(alone["verdict"], "warning", "{alone:#}");
    assert_eq!(all["partners acme"], ("warning".into(), "no-partner".into()), "{alone:#}");
    assert_eq!(all["answer hub.example → acme.example"].0, "ok", "{alone:#}");
    assert_eq!(all["way back to the hub"].0, "ok", "{alone:#}");
    assert_eq!(all["messages both ways"].0, "unknown", "{alone:#}");
    // A person's word, and the answer to it, are seen.
    let mut alice = XmppClient::login(&stage.xmpp[0], "alice");
    alice.send("echo@hub.example", "m1", "is anybody there?");
    alice.expect_message(Duration::from_secs(20));
    // Two partners: the member's server knows the way for one of them.
    let api = Api::new(admin, &token);
    for partner in ["found", "lost"] {
        api.change(json!({"change": "invite", "from": "acme", "to": partner}));
        api.change(json!({"change": "approve", "member": partner, "partner": "acme"}));
    }
    let partnered = examine(admin, &token, "acme", "prosody");
    let all = findings(&partnered);
    assert_eq!(all["messages both ways"].0, "ok", "{partnered:#}");
    assert_eq!(all["answer lost.example → acme.example"], ("failed".into(), "no-way-back".into()), "{partnered:#}");
    assert!(!all.contains_key("answer found.example → acme.example"), "{partnered:#}");
    assert_eq!(all["answer hub.example → acme.example"].0, "ok", "{partnered:#}");
    // What the one lacks takes nothing from the others.
    alice.send("echo@hub.example", "m2", "and now?");
    alice.expect_message(Duration::from_secs(5));
    drop(hub);
    // The hub's own certificate: not for its domain, or over.
    for (leaf, fault) in
        [(Leaf::sip("else.example"), "own-certificate-name"), (Leaf::sip(HUB_DOMAIN).expired(), "own-certificate-time")]
    {
        files.replace_identity(0, &authority.issue(&leaf));
        let _hub = start_again(&files);
        let examination = examine(admin, &token, "acme", "prosody");
        assert!(faults(&examination).contains(&("certificate", fault)), "{fault}: {examination:#}");
    }
}

fn start_again(files: &HubFiles) -> Hub {
    files.start()
}

/// A member's administrator examines their own link, and the canary's last word is read there.
#[test]
fn the_canary_finds_a_dead_link_and_one_that_is_back() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    files.probe_every(5);
    files.answer_within(5);
    let mut stage = Stage::default();
    let names = NameServer::start(&[ServiceRecord::xmpp_server(HUB_DOMAIN, files.xmpp.number())]);
    let port = company(&mut stage, "acme", &authority, &names, |_| {});
    files.configure(&authority, &[xmpp("acme", port)]);
    let mut hub = files.start();
    let api = Api::new(files.admin.number(), &files.operator_token());
    let probe = |wanted: &dyn Fn(&Value) -> bool| {
        let mut last = Value::Null;
        for _ in 0..300 {
            let (status, answer) = api.get("links/acme/doctor?product=prosody");
            assert_eq!(status, 200, "{answer}");
            if wanted(&answer) {
                return answer;
            }
            last = answer;
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the canary says: {last}");
    };
    // Nobody has used the link, and it is known to work.
    let good = probe(&|answer| answer["milliseconds"].is_u64());
    assert!(good["fault"].is_null() && good["last_answer"].is_u64(), "{good}");
    let metrics = || {
        let url = format!("http://127.0.0.1:{}/metrics", files.admin.number());
        api.agent.get(url).call().expect("the hub answers").body_mut().read_to_string().expect("text")
    };
    assert!(metrics().contains("interchange_canary_up{link=\"acme\"} 1"), "{}", metrics());
    // Nobody uses it, and it is known to be dead.
    stage.xmpp.clear();
    let dead = probe(&|answer| answer["fault"].is_string());
    assert!(dead["fix"].as_str().is_some_and(|fix| fix.contains("Prosody")) && dead["last_answer"].is_u64(), "{dead}");
    assert!(metrics().contains("interchange_canary_up{link=\"acme\"} 0"), "{}", metrics());
    hub.wait_for_line(&["the canary has no answer", "acme"], Duration::from_secs(5));
    // Somebody else's link is nobody's.
    assert_eq!(api.post("links/nothing/doctor", &Value::Null).0, 404);
    assert_eq!(api.post("links/acme/doctor?product=kamailio", &Value::Null).0, 422);
}
