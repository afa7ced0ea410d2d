//! Hubs on RabbitMQ: what they do while it is away, before it is set up, and when one of two is lost.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings, binary};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::prosody;
use interchange_integration_tests::rabbitmq::RabbitMq;
use interchange_integration_tests::tls_sip_peer::{SipRequest, TlsSipClient, TlsSipServer};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServerSettings};

const SOON: Duration = Duration::from_secs(20);

/// The proxy of the firm globex.example, and what it is asked.
fn globex(authority: &Authority) -> (TlsSipServer, Receiver<SipRequest>) {
    TlsSipServer::recording(ReservedPort::any(), &authority.issue(&Leaf::sip("globex.example")), authority.certificate())
}

/// The text of the next MESSAGE.
fn next_text(received: &Receiver<SipRequest>) -> String {
    loop {
        let request = received.recv_timeout(SOON).expect("a message arrives");
        if request.frame.method() == Some("MESSAGE") {
            return request.frame.text();
        }
    }
}

fn client(files: &HubFiles, authority: &Authority, domain: &str) -> TlsSipClient {
    let identity = authority.issue(&Leaf::sip(domain));
    TlsSipClient::connect(files.sip.address(), HUB_DOMAIN, Some(&identity), authority.certificate())
}

/// A message accepted while RabbitMQ is away does not exist: XMPP and SIP senders are told to try again.
#[test]
fn nothing_is_accepted_while_rabbitmq_is_away() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    files.use_rabbitmq();
    let (proxy, received) = globex(&authority);
    let ports = XmppPorts::reserve();
    let names = NameServer::start(&[
        ServiceRecord::xmpp_server("acme.example", ports.server.number()),
        ServiceRecord::xmpp_server("globex.example", files.xmpp.number()),
    ]);
    files.configure(
        &authority,
        &[
            LinkSettings::xmpp("acme", "acme.example", ports.server.number()),
            LinkSettings::sip("globex", "globex.example", proxy.address().port()),
        ],
    );
    let _hub = files.start();
    let acme = prosody::start(XmppServerSettings::new("acme.example", &["alice"], ports, &authority, &names));
    let mut alice = XmppClient::login(&acme, "alice");
    let mut bob = client(&files, &authority, "globex.example");
    alice.send("bob@globex.example", "m0", "before");
    assert_eq!(next_text(&received), "before");
    assert!((200..300).contains(&bob.message("sip:bob@globex.example", "sip:alice@acme.example", "before")));
    assert_eq!(alice.expect_message(SOON).body, "before");

    std::thread::sleep(RabbitMq::NAMES_WRITTEN_WITHIN);
    files.rabbitmq().expect("the hub runs on it").kill();
    alice.send("bob@globex.example", "m1", "while it is away");
    let error = alice.expect_error(Duration::from_secs(8));
    assert_eq!((error.id.as_str(), error.condition.as_str()), ("m1", "resource-constraint"), "{error:?}");
    let asked = Instant::now();
    assert_eq!(bob.message("sip:bob@globex.example", "sip:alice@acme.example", "while it is away"), 503);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());

    files.rabbitmq().expect("the hub runs on it").start_again();
    let back = Instant::now();
    // Refused until the hub has its queues again, and not for long.
    loop {
        let answer = bob.message("sip:bob@globex.example", "sip:alice@acme.example", "after");
        if answer < 300 {
            break;
        }
        assert_eq!(answer, 503);
        assert!(back.elapsed() < Duration::from_secs(10), "nothing is accepted {:?} after RabbitMQ is back", back.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("accepting {:?} after RabbitMQ takes connections", back.elapsed());
    alice.send("bob@globex.example", "m2", "after");
    // What was refused never arrives.
    assert_eq!(next_text(&received), "after");
    assert_eq!(alice.expect_message(SOON).body, "after");
    alice.expect_no_message(Duration::from_millis(500));
}

/// A hub whose queues are not there refuses to start, and says what to do.
#[test]
fn a_hub_whose_queues_are_missing_says_what_to_do() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    files.use_rabbitmq();
    let port = ReservedPort::any();
    files.configure(&authority, &[LinkSettings::sip("globex", "globex.example", port.number())]);
    let serve = || Command::new(binary()).args(["serve", "--config"]).arg(files.configuration()).output().expect("it runs");
    let refused = serve();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("interchange bus setup"), "{said}");
    // Twice: what is there stays.
    for _ in 0..2 {
        let setup =
            Command::new(binary()).args(["bus", "setup", "--config"]).arg(files.configuration()).output().expect("it runs");
        let said = String::from_utf8_lossy(&setup.stdout).into_owned();
        assert!(setup.status.success() && said.contains("3 queues"), "{said}{}", String::from_utf8_lossy(&setup.stderr));
    }
    let _hub = files.start();
}

/// Two hubs serve the same links; one delivers for a link at a time, and the other takes over when it is killed: nothing is lost, in order.
#[test]
fn the_second_hub_takes_over_when_the_first_is_killed() {
    let authority = Authority::new("Test authority");
    let rabbitmq = RabbitMq::start();
    let (proxy, received) = globex(&authority);
    let acme = ReservedPort::any();
    let links = [
        LinkSettings::sip("acme", "acme.example", acme.number()),
        LinkSettings::sip("globex", "globex.example", proxy.address().port()),
    ];
    let [first_files, second_files] = [(); 2].map(|()| {
        let mut files = HubFiles::new(&authority);
        files.use_bus(&rabbitmq.url());
        files.configure(&authority, &links);
        files
    });
    let first = first_files.start();
    let _second = second_files.start();
    let mut by_first = client(&first_files, &authority, "acme.example");
    let mut by_second = client(&second_files, &authority, "acme.example");
    let mut numbers = 0..;
    let mut send = |through: &mut TlsSipClient, count: usize| {
        for number in numbers.by_ref().take(count) {
            let answer = through.message("sip:alice@acme.example", "sip:bob@globex.example", &format!("message {number}"));
            assert!((200..300).contains(&answer), "message {number}: {answer}");
        }
    };
    send(&mut by_first, 10);
    send(&mut by_second, 5);
    let killed = Instant::now();
    drop(first);
    send(&mut by_second, 10);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| *last != "message 24") {
        seen.push(next_text(&received));
    }
    println!("all delivered {:?} after one hub was killed", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(15 + 10), "{:?}", killed.elapsed());
    let received_in_all = seen.len();
    seen.dedup();
    assert_eq!(seen, (0..25).map(|number| format!("message {number}")).collect::<Vec<_>>());
    assert!(received_in_all <= 25 + 64, "no more doubled than were in flight");
}

/// RabbitMQ takes back all that a reader has when one message of it has waited for too long. What waits for hours is given back before that, at a moment
/// when nothing is in flight: nobody's message comes twice.
#[test]
fn what_waits_for_long_is_given_back_before_rabbitmq_takes_it_back() {
    const ALLOWED: Duration = Duration::from_secs(15);
    let authority = Authority::new("Test authority");
    let impatient = format!("[{{rabbit, [{{consumer_timeout, {}}}, {{channel_tick_interval, 1000}}]}}].", ALLOWED.as_millis());
    let rabbitmq = RabbitMq::start_with(&impatient);
    // Bob's server fails, everybody else's takes.
    let mended = Arc::new(AtomicBool::new(false));
    let (sender, received) = mpsc::channel();
    let is_mended = mended.clone();
    let proxy = TlsSipServer::start(
        ReservedPort::any(),
        &authority.issue(&Leaf::sip("globex.example")),
        authority.certificate(),
        move |request| {
            let is_for_bob = request.frame.header("To").is_some_and(|to| to.contains("bob@"));
            if request.frame.method() != Some("MESSAGE") {
                200
            } else if is_for_bob && !is_mended.load(Ordering::Acquire) {
                500
            } else {
                // The test may have seen enough and be gone.
                let _ = sender.send(request.frame.text());
                200
            }
        },
    );
    let mut files = HubFiles::new(&authority);
    files.use_bus(&rabbitmq.url());
    files.add(&format!("[rabbitmq]\nconsumer_timeout_seconds = {}", ALLOWED.as_secs()));
    let links = [
        LinkSettings::sip("acme", "acme.example", ReservedPort::any().number()),
        LinkSettings::sip("globex", "globex.example", proxy.address().port()),
    ];
    files.configure(&authority, &links);
    let hub = files.start();
    let mut acme = client(&files, &authority, "acme.example");
    assert_eq!(acme.message("sip:alice@acme.example", "sip:bob@globex.example", "it waits"), 202);
    let (begun, mut sent) = (Instant::now(), 0);
    // It was opened anew once, and will be again: then what waits has its turn.
    while begun.elapsed() < ALLOWED + Duration::from_secs(2) {
        let answer = acme.message("sip:alice@acme.example", "sip:carol@globex.example", &format!("message {sent}"));
        assert!((200..300).contains(&answer), "message {sent}: {answer}");
        sent += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    mended.store(true, Ordering::Release);
    let mut seen: Vec<String> = Vec::new();
    while seen.len() <= sent {
        seen.push(received.recv_timeout(SOON).expect("a message arrives"));
    }
    assert_eq!(seen.iter().filter(|text| *text == "it waits").count(), 1);
    seen.retain(|text| text != "it waits");
    assert_eq!(seen, (0..sent).map(|number| format!("message {number}")).collect::<Vec<_>>(), "each once, in order");
    assert!(received.recv_timeout(Duration::from_secs(1)).is_err(), "nothing comes twice");
    assert!(!rabbitmq.log().contains("delivery acknowledgement on channel"), "RabbitMQ had to take something back");
    assert!(!hub.log().contains("the link's queue cannot be read"), "{}", hub.log());
    println!("{sent} messages beside one that waited");
}
