//! `make bench`, Sametime: two thousand people who are signed in at one hub, beside XMPP in the same run.
//!
//! How fast they sign in, beside the hash of a password, which the hub computes one at a time, and beside logins at Prosody, which hashes nothing here; what
//! memory one of them takes, beside somebody logged in at Prosody; and messages from an XMPP company to them and back, beside the same messages between
//! two XMPP companies through a hub. Their clients are small ones of this bench, without encryption of conversations; the XMPP ends are as in the
//! bench `hub`.

mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use interchange_credentials::{Hashing, hash};
use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::load::table::{
    Row, find, milliseconds, print_faults, print_ratio, print_ratio_heading, print_table,
};
use interchange_integration_tests::load::ways::{
    self, BODY_BYTES, Beside, CONVERSATIONS, NamedShape, PACED, SATURATED, XMPP_TO_XMPP,
};
use interchange_integration_tests::load::{LoadSender, Tally, XmppReceiver, XmppSender, stamped_body};
use interchange_integration_tests::prosody;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};
use interchange_integration_tests::xmpp_stream::ClientStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use client::{Client, Heard, said};

/// People who sign in.
const PEOPLE: usize = 2_000;
/// How many sign in at once: far less than the hub lets wait for the hash.
const AT_ONCE: usize = 16;
/// People who log in at Prosody, for comparison, and in how many threads.
const XMPP_PEOPLE: usize = 400;
const XMPP_AT_ONCE: usize = 8;
/// Hashes that are computed for comparison.
const HASHES: u32 = 20;
/// What waits for one client: never more than the window of a shape, spread over all of them.
const WAITING: usize = 64;
const PASSWORD: &str = "opensesame";

const XMPP_TO_SAMETIME: &str = "Prosody → hub → Sametime";
const SAMETIME_TO_XMPP: &str = "Sametime → hub → Prosody";
const SHAPES: [NamedShape; 2] = [SATURATED, PACED];

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("{PEOPLE} people signed in with Sametime clients; bodies of {BODY_BYTES} bytes, {CONVERSATIONS} people on XMPP.\n");
    let runtime = Runtime::new().expect("threads can be made");
    let password_hash = hash(PASSWORD.as_bytes());
    let hashes = hashes_a_second(&runtime, &password_hash);
    let community = Community::start(&password_hash);
    let (mut people, signed_in) = community.sign_in(&runtime);
    let (_streams, logged_in) = community.log_in();
    let mut rows = community.to_people(&people);
    rows.extend(community.load_from_people(&mut people));
    let resident = community.hub.usage().resident_bytes;
    // The clients end before the hub does.
    drop((people, runtime));
    drop(community);
    // Not at the same time: both hubs would share the processors.
    let beside = ways::Community::start(None);
    rows.extend(beside.xmpp_to_xmpp(&SHAPES, &[]));
    drop(beside);

    print_arrivals(signed_in, logged_in, hashes, resident);
    print_table(&rows, "measured: the hub's process alone.");
    ratios(&rows);
    let faults = print_faults(&rows);
    assert_eq!(faults.total(), 0, "every message arrives once and in order: {faults}");
}

/// How fast people came, and what each takes.
#[derive(Clone, Copy)]
struct Arrivals {
    a_second: f64,
    bytes_each: f64,
}

fn print_arrivals(signed_in: Arrivals, logged_in: Arrivals, hashes: f64, resident: u64) {
    let kibibytes = |arrivals: Arrivals| arrivals.bytes_each / 1024.0;
    println!("sign-ins: {:.1} a second at the hub; password hashes, one at a time: {hashes:.1} a second", signed_in.a_second);
    println!("logins at Prosody, which hashes no password here: {:.1} a second", logged_in.a_second);
    let (here, there) = (kibibytes(signed_in), kibibytes(logged_in));
    println!("memory of one who is signed in: {here:.1} KiB at the hub, a conversation with it; {there:.1} KiB at Prosody");
    println!("memory of the hub after all messages: {:.0} MiB", resident as f64 / f64::from(1 << 20));
    print_ratio_heading("Sametime at the hub : beside, same run");
    print_ratio("sign-ins/s : password hashes/s", signed_in.a_second / hashes, None);
    print_ratio("sign-ins/s : logins/s at Prosody", signed_in.a_second / logged_in.a_second, None);
    print_ratio("memory of one signed in : at Prosody", signed_in.bytes_each / logged_in.bytes_each, None);
}

fn ratios(rows: &[Row]) {
    let [(saturated, ..), (paced, ..)] = SHAPES;
    print_ratio_heading("Sametime : the same between two XMPP companies, through a hub, same run");
    for way in [XMPP_TO_SAMETIME, SAMETIME_TO_XMPP] {
        let (ours, beside) = (find(rows, way, saturated), find(rows, XMPP_TO_XMPP, saturated));
        print_ratio(&format!("{way}, {saturated}: messages/s"), ours.rate / beside.rate, None);
        print_ratio(&format!("{way}, {saturated}: CPU"), ours.system_seconds / beside.system_seconds, None);
        let (ours, beside) = (find(rows, way, paced), find(rows, XMPP_TO_XMPP, paced));
        print_ratio(&format!("{way}, {paced}: CPU"), ours.system_seconds / beside.system_seconds, None);
        print_ratio(&format!("{way}, {paced}: p50"), milliseconds(ours.p50) / milliseconds(beside.p50), None);
        print_ratio(&format!("{way}, {paced}: p99"), milliseconds(ours.p99) / milliseconds(beside.p99), None);
    }
}

/// What bounds sign-ins: the same computation as the hub's, in this process.
fn hashes_a_second(runtime: &Runtime, password_hash: &str) -> f64 {
    let hashing = Hashing::new(1);
    runtime.block_on(async {
        let began = Instant::now();
        for _ in 0..HASHES {
            let right = hashing.verify(PASSWORD.to_owned(), Some(password_hash.to_owned())).await;
            assert_eq!(right, Ok(true), "the hash is of this password");
        }
        f64::from(HASHES) / began.elapsed().as_secs_f64()
    })
}

fn name(number: usize) -> String {
    format!("person{number:04}")
}

fn receiver(number: usize) -> String {
    format!("receiver{:02}", number % CONVERSATIONS)
}

fn xmpp_name(number: usize) -> String {
    format!("visitor{number:04}")
}

/// A hub, an XMPP company on Prosody, and a company whose people sign in at the hub.
struct Community {
    hub: Hub,
    acme: XmppServer,
    files: HubFiles,
    _names: NameServer,
}

impl Community {
    fn start(password_hash: &str) -> Self {
        let authority = Authority::new("Bench authority");
        let mut files = HubFiles::new(&authority);
        files.serve_sametime();
        for number in 0..PEOPLE {
            let name = name(number);
            files.add(&format!(
                "[[account]]\nmember = \"globex\"\nuser = \"{name}\"\nname = \"{name}\"\npassword_hash = \"{password_hash}\""
            ));
        }
        let ports = XmppPorts::reserve();
        let acme = LinkSettings::xmpp("acme", "acme.example", ports.server.number());
        files.configure(&authority, &[acme, LinkSettings::sametime("globex", "globex.example")]);
        // The hub's own domain as well: it asks in that name whether a link works, and the answer comes by a connection of the other side.
        let names = NameServer::start(
            &["globex.example", HUB_DOMAIN].map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())),
        );
        // A line of log for each stage of each message is part of what a hub does; here it would measure the test's disk.
        let hub = files.start_with(&[("INTERCHANGE_LOG", "warn")]);
        let mut users = vec!["sender".to_owned()];
        users.extend((0..CONVERSATIONS).map(receiver));
        users.extend((0..XMPP_PEOPLE).map(xmpp_name));
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let settings = XmppServerSettings::new("acme.example", &users, ports, &authority, &names);
        let acme = prosody::start(XmppServerSettings { verbose: false, ..settings });
        Self { hub, acme, files, _names: names }
    }

    fn address(&self) -> SocketAddr {
        self.files.sametime.as_ref().expect("the hub serves Sametime").address()
    }

    /// Signs everybody in.
    fn sign_in(&self, runtime: &Runtime) -> (People, Arrivals) {
        let address = self.address();
        let heard = Heard { tally: Tally::of_conversations(PEOPLE), refused: Arc::new(AtomicU64::new(0)) };
        // What the hub needs for the first, the hash above all, it does not need for each.
        let mut words = vec![(0, runtime.block_on(arrive(address, 0, heard.clone())))];
        let before = self.hub.usage();
        let began = Instant::now();
        let others = runtime.block_on(async {
            let mut working = JoinSet::new();
            for first in 1..=AT_ONCE {
                let heard = heard.clone();
                working.spawn(async move {
                    let mut own = Vec::new();
                    for number in (first..PEOPLE).step_by(AT_ONCE) {
                        own.push((number, arrive(address, number, heard.clone()).await));
                    }
                    own
                });
            }
            working.join_all().await
        });
        let took = began.elapsed().as_secs_f64();
        let grown = self.hub.usage().resident_bytes.saturating_sub(before.resident_bytes);
        words.extend(others.into_iter().flatten());
        assert_eq!(words.len(), PEOPLE, "everybody has signed in");
        words.sort_unstable_by_key(|(number, _)| *number);
        let others = (PEOPLE - 1) as f64;
        let arrivals = Arrivals { a_second: others / took, bytes_each: grown as f64 / others };
        (People { words: words.into_iter().map(|(_, words)| words).collect(), heard }, arrivals)
    }

    /// Logs people in at Prosody, who only stay there.
    fn log_in(&self) -> (Vec<ClientStream>, Arrivals) {
        let mut streams = vec![ClientStream::login(&self.acme, &xmpp_name(0))];
        let before = self.acme.usage();
        let began = Instant::now();
        let acme = &self.acme;
        let log_in = move |first: usize| -> Vec<ClientStream> {
            let numbers = (first..XMPP_PEOPLE).step_by(XMPP_AT_ONCE);
            numbers.map(|number| ClientStream::login(acme, &xmpp_name(number))).collect()
        };
        thread::scope(|scope| {
            let working: Vec<_> = (1..=XMPP_AT_ONCE).map(|first| scope.spawn(move || log_in(first))).collect();
            for thread in working {
                streams.extend(thread.join().expect("everybody is logged in"));
            }
        });
        let took = began.elapsed().as_secs_f64();
        let grown = self.acme.usage().resident_bytes.saturating_sub(before.resident_bytes);
        let others = (XMPP_PEOPLE - 1) as f64;
        (streams, Arrivals { a_second: others / took, bytes_each: grown as f64 / others })
    }

    /// From one person at Prosody to everybody who has signed in.
    fn to_people(&self, people: &People) -> Vec<Row> {
        let everybody: Vec<String> = (0..PEOPLE).map(|number| format!("{}@globex.example", name(number))).collect();
        let mut sender = XmppSender::login_to_many(&self.acme, "sender", &everybody, BODY_BYTES);
        self.run(XMPP_TO_SAMETIME, &mut sender, &people.heard.tally)
    }

    /// From everybody who has signed in to some people at Prosody.
    fn load_from_people(&self, people: &mut People) -> Vec<Row> {
        let tally = Tally::of_conversations(PEOPLE);
        let _receivers: Vec<XmppReceiver> =
            (0..CONVERSATIONS).map(|number| XmppReceiver::login(&self.acme, &receiver(number), &tally)).collect();
        self.run(SAMETIME_TO_XMPP, people, &tally)
    }

    fn run(&self, way: &'static str, sender: &mut dyn LoadSender, tally: &Tally) -> Vec<Row> {
        let servers = || self.acme.usage();
        let beside: [Beside<'_>; 1] = [("servers", &servers)];
        ways::run(way, &SHAPES, sender, tally, &|| self.hub.usage(), &beside)
    }
}

/// Signs somebody in, opens a conversation with somebody at Prosody, and leaves the client at work; what is sent here, it says.
async fn arrive(address: SocketAddr, number: usize, heard: Heard) -> mpsc::Sender<Vec<u8>> {
    let mut client = Client::sign_in(address, number, &name(number), PASSWORD).await;
    client.open(&format!("{}@acme.example", receiver(number))).await;
    let (sender, words) = mpsc::channel(WAITING);
    tokio::spawn(client.serve(words, heard));
    sender
}

/// Everybody who has signed in, at work; when this is dropped, their connections end.
struct People {
    /// What each is to say.
    words: Vec<mpsc::Sender<Vec<u8>>>,
    heard: Heard,
}

impl LoadSender for People {
    fn send(&mut self, first: u64, count: u64) {
        for number in first..first + count {
            let turn = number as usize % self.words.len();
            let frame = said(&stamped_body(number, BODY_BYTES));
            self.words[turn].blocking_send(frame).expect("the client is connected");
        }
    }

    fn refused(&self) -> u64 {
        self.heard.refused.load(Ordering::Relaxed)
    }
}
