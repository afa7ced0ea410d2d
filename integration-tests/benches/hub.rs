//! `make bench`: what a message through the hub costs, beside the same load sent directly between two servers, in one run.
//!
//! Four ways, equal shapes, the same bodies of 200 bytes: Prosody to ejabberd directly (the anchor); Prosody to ejabberd through the hub;
//! Prosody to a SIP proxy through the hub; the SIP proxy to Prosody through the hub. The hub runs on its embedded bus, every link over TLS.
//! Fifty conversations at a time, since a SIP link carries one message of a pair at a time to keep their order.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings};
use interchange_integration_tests::load::{
    LoadSender, Measurement, Shape, SipReceiver, SipSender, Tally, XmppReceiver, XmppSender, measure,
};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::processes::{Directory, Usage};
use interchange_integration_tests::tls_sip_peer::TlsSipClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};

const BODY_BYTES: usize = 200;
const CONVERSATIONS: usize = 50;
const RUNS: usize = 3;
const SATURATED: Shape = Shape::Saturated { window: 1_000 };
const PACED: Shape = Shape::Paced { per_second: 500 };
const SHAPES: [(&str, Shape, u64); 2] = [("saturated, window 1000", SATURATED, 20_000), ("paced, 500/s", PACED, 2_500)];

/// One measured way in one shape.
struct Row {
    way: &'static str,
    shape: &'static str,
    measured: Measurement,
    /// Processor seconds per 1,000 of the servers at both ends, where the measured system is the hub alone.
    servers: Option<f64>,
}

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "Bodies of {BODY_BYTES} bytes, {CONVERSATIONS} conversations, medians of {RUNS} runs after a warm-up; TLS on every link.\n"
    );
    let mut rows = direct();
    rows.extend(through_the_hub());
    table(&rows);
    ratios(&rows);
    commits(&rows);
    let faults: u64 = rows.iter().map(|row| row.measured.faults).sum();
    println!("\nLost, repeated or overtaken, in all runs together: {faults}");
    assert_eq!(faults, 0, "every message arrives once and in order");
}

/// Addresses of the people who are written to.
fn recipients(domain: &str) -> Vec<String> {
    (0..CONVERSATIONS).map(|number| format!("receiver{number:02}@{domain}")).collect()
}

/// The users of a server that sends and receives.
fn users() -> Vec<String> {
    let mut users = vec!["sender".to_owned()];
    users.extend((0..CONVERSATIONS).map(|number| format!("receiver{number:02}")));
    users
}

fn quiet(domain: &str, ports: XmppPorts, authority: &Authority, names: &NameServer) -> XmppServerSettings {
    let users = users();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    XmppServerSettings { verbose: false, ..XmppServerSettings::new(domain, &users, ports, authority, names) }
}

fn log_in(server: &XmppServer, tally: &Tally) -> Vec<XmppReceiver> {
    (0..CONVERSATIONS).map(|number| XmppReceiver::login(server, &format!("receiver{number:02}"), tally)).collect()
}

fn run(
    way: &'static str,
    sender: &mut dyn LoadSender,
    tally: &Tally,
    system: &dyn Fn() -> Usage,
    servers: Option<&dyn Fn() -> Usage>,
) -> Vec<Row> {
    SHAPES
        .iter()
        .map(|&(shape, kind, messages)| {
            eprint!("{way}, {shape} … ");
            let before = servers.map(|usage| usage());
            let measured = measure(sender, tally, kind, messages, RUNS, system);
            eprintln!("{measured}");
            // The warm-up and all runs: a tenth more than the messages counted.
            let thousands = messages as f64 * (RUNS as f64 + 0.1) / 1e3;
            let servers = servers.zip(before).map(|(usage, before)| usage().processor_seconds_since(&before) / thousands);
            Row { way, shape, measured, servers }
        })
        .collect()
}

const DIRECT: &str = "Prosody → ejabberd, direct";

fn direct() -> Vec<Row> {
    let authority = Authority::new("Bench authority");
    let (acme, initech) = (XmppPorts::reserve(), XmppPorts::reserve());
    let names = NameServer::start(&[
        ServiceRecord::xmpp_server("acme.example", acme.server.number()),
        ServiceRecord::xmpp_server("initech.example", initech.server.number()),
    ]);
    let acme = prosody::start(quiet("acme.example", acme, &authority, &names));
    let initech = ejabberd::start(quiet("initech.example", initech, &authority, &names));
    let tally = Tally::of_conversations(CONVERSATIONS);
    let _receivers = log_in(&initech, &tally);
    let mut sender = XmppSender::login_to_many(&acme, "sender", &recipients("initech.example"), BODY_BYTES);
    run(DIRECT, &mut sender, &tally, &|| acme.usage() + initech.usage(), None)
}

const XMPP_TO_XMPP: &str = "Prosody → hub → ejabberd";
const XMPP_TO_SIP: &str = "Prosody → hub → SIP";
const SIP_TO_XMPP: &str = "SIP → hub → Prosody";

fn through_the_hub() -> Vec<Row> {
    let authority = Authority::new("Bench authority");
    let mut files = HubFiles::new(&authority);
    let (acme_ports, initech_ports, globex_port) = (XmppPorts::reserve(), XmppPorts::reserve(), ReservedPort::any());
    let at_hub = |domain| ServiceRecord::xmpp_server(domain, files.xmpp.number());
    let acme_names = NameServer::start(&[at_hub("initech.example"), at_hub("globex.example")]);
    let initech_names = NameServer::start(&[at_hub("acme.example")]);
    let globex_number = globex_port.number();
    files.configure(
        &authority,
        &[
            LinkSettings::xmpp("acme", "acme.example", acme_ports.server.number()),
            LinkSettings::xmpp("initech", "initech.example", initech_ports.server.number()),
            LinkSettings::sip("globex", "globex.example", globex_number),
        ],
    );
    let globex_identity = authority.issue(&Leaf::sip("globex.example"));
    let sip_tally = Tally::of_conversations(CONVERSATIONS);
    let _globex = SipReceiver::start(globex_port, &globex_identity, authority.certificate(), &sip_tally);
    // A line of log for each stage of each message is part of what a hub does; here it would measure the test's disk.
    let hub = files.start_with(&[("INTERCHANGE_LOG", "warn")]);
    let acme = prosody::start(quiet("acme.example", acme_ports, &authority, &acme_names));
    let initech = ejabberd::start(quiet("initech.example", initech_ports, &authority, &initech_names));
    let mut rows = Vec::new();

    let tally = Tally::of_conversations(CONVERSATIONS);
    let receivers = log_in(&initech, &tally);
    let mut sender = XmppSender::login_to_many(&acme, "sender", &recipients("initech.example"), BODY_BYTES);
    rows.extend(run(XMPP_TO_XMPP, &mut sender, &tally, &|| hub.usage(), Some(&|| acme.usage() + initech.usage())));
    drop((sender, receivers));

    let mut sender = XmppSender::login_to_many(&acme, "sender", &recipients("globex.example"), BODY_BYTES);
    rows.extend(run(XMPP_TO_SIP, &mut sender, &sip_tally, &|| hub.usage(), Some(&|| acme.usage())));
    drop(sender);

    // The scripted proxy writes to one person; what it sends is one conversation.
    let tally = Tally::new();
    let _receiver = XmppReceiver::login(&acme, "receiver00", &tally);
    let proxy = TlsSipClient::connect(files.sip.address(), HUB_DOMAIN, Some(&globex_identity), authority.certificate());
    let mut sender = SipSender::new(proxy, "sip:sender@globex.example", "sip:receiver00@acme.example", BODY_BYTES);
    rows.extend(run(SIP_TO_XMPP, &mut sender, &tally, &|| hub.usage(), Some(&|| acme.usage())));
    rows
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn table(rows: &[Row]) {
    println!(
        "\n{:<27} {:<23} {:>10}  {:<20} {:>9} {:>9} {:>9} {:>9} {:>8}",
        "way", "shape", "messages/s", "", "CPU ms", "+ servers", "p50 ms", "p99 ms", "MiB"
    );
    println!("{:<27} {:<23} {:>10}  {:<20} {:>9} {:>9}", "", "", "", "", "a message", "a message");
    let fastest = rows.iter().map(|row| row.measured.rate).fold(1.0, f64::max);
    for Row { way, shape, measured, servers } in rows {
        let bar = "█".repeat((measured.rate / fastest * 20.0).ceil() as usize);
        let servers = servers.map_or("–".to_owned(), |seconds| format!("{seconds:.3}"));
        println!(
            "{way:<27} {shape:<23} {:>10.0}  {bar:<20} {:>9.3} {servers:>9} {:>9.2} {:>9.2} {:>8.0}",
            measured.rate,
            measured.system_seconds,
            milliseconds(measured.p50),
            milliseconds(measured.p99),
            measured.resident_bytes as f64 / f64::from(1 << 20)
        );
    }
    println!(
        "(CPU milliseconds a message are CPU seconds per 1,000 messages. Direct: both servers. Through the hub: the hub's process alone.)"
    );
}

fn find<'a>(rows: &'a [Row], way: &str, shape: &str) -> &'a Measurement {
    &rows.iter().find(|row| row.way == way && row.shape == shape).expect("every way is measured in every shape").measured
}

fn ratios(rows: &[Row]) {
    println!("\nhub : direct, same run, same shape{:>33}", "must");
    let line = |what: &str, ratio: f64, must: Option<f64>, less_is_better: bool| {
        let verdict = match must {
            None => String::new(),
            Some(must) if (ratio <= must) == less_is_better => {
                format!("{} {must:<6} met", if less_is_better { "≤" } else { "≥" })
            }
            Some(must) => format!("{} {must:<6} not met", if less_is_better { "≤" } else { "≥" }),
        };
        println!("  {what:<52} {ratio:>8.3}   {verdict}");
    };
    for (way, cpu_goals) in [(XMPP_TO_XMPP, [Some(0.2), Some(0.15)]), (XMPP_TO_SIP, [None, None]), (SIP_TO_XMPP, [None, None])] {
        for ((shape, ..), must) in SHAPES.iter().zip(cpu_goals) {
            let ours = find(rows, way, shape);
            let direct = find(rows, DIRECT, shape);
            line(&format!("{way}, {shape}: CPU"), ours.system_seconds / direct.system_seconds, must, true);
            if *shape == SHAPES[0].0 {
                line(&format!("{way}, {shape}: messages/s"), ours.rate / direct.rate, None, false);
            } else {
                let added = |ours: Duration, direct: Duration| (milliseconds(ours) - milliseconds(direct)) / milliseconds(direct);
                line(&format!("{way}: latency added, p50"), added(ours.p50, direct.p50), Some(0.5), true);
                line(&format!("{way}: latency added, p99"), added(ours.p99, direct.p99), Some(0.3), true);
            }
        }
    }
}

/// What the disk under the temporary directory does: the anchor of durable commits.
fn commits(rows: &[Row]) {
    let directory = Directory::new("fdatasync");
    let mut file = File::create(directory.path().join("records")).expect("a file can be made");
    let record = [b'r'; 600];
    println!("\nfdatasync of 600-byte records in the same file system");
    let mut of_ten = 0.0;
    for together in [1_u32, 10, 100] {
        let syncs = 400;
        let began = Instant::now();
        for _ in 0..syncs {
            for _ in 0..together {
                file.write_all(&record).expect("there is room for some megabytes");
            }
            file.sync_data().expect("the disk works");
        }
        let rate = f64::from(syncs * together) / began.elapsed().as_secs_f64();
        if together == 10 {
            of_ten = rate;
        }
        println!("  {together:>3} records a sync: {rate:>9.0} records/s");
    }
    let ours = find(rows, XMPP_TO_XMPP, SHAPES[0].0).rate;
    let verdict = if ours / of_ten >= 0.5 { "met" } else { "not met" };
    println!("  hub, saturated : 10 records a sync {:>25.3}   ≥ 0.5    {verdict}", ours / of_ten);
}
