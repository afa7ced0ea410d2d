//! The scripted peers of the fault matrix, against the real hub: they lose nothing themselves, and see what the hub does.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::faults::peer::{Listener, Peer, PeerEvent};
use interchange_integration_tests::faults::proxy::{FaultProxy, Mode};
use interchange_integration_tests::faults::sip_peer::{SipPeer, SipPeerSettings};
use interchange_integration_tests::faults::xmpp_peer::{XmppPeer, XmppPeerSettings};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::ports::ReservedPort;

/// How often messages for the user "sick" are refused before one is taken.
const SICK_FOR: usize = 2;
const SOON: Duration = Duration::from_secs(20);
/// After a fault: some servers wait 30 s before they give up on a connection that says nothing.
const HEALED: Duration = Duration::from_secs(120);
const MOMENT: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);
const MESSAGES: usize = 300;
const POISON: &str = "POISON";

/// What happened at one peer.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    events: Vec<PeerEvent>,
    /// By sender and recipient: the bodies that came, each where it came first.
    came: HashMap<(String, String), Vec<String>>,
    known: HashSet<(String, String, String)>,
    accepted: usize,
    received: usize,
}

impl Ledger {
    fn listener(&self) -> Listener {
        let ledger = self.clone();
        Arc::new(move |event| ledger.pages().enter(event))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().expect("no thread panics with the lock")
    }

    fn collect<T>(&self, pick: impl Fn(&PeerEvent) -> Option<T>) -> Vec<T> {
        self.pages().events.iter().filter_map(pick).collect()
    }

    /// Refusals and returned messages.
    fn failures(&self) -> Vec<PeerEvent> {
        self.collect(|event| matches!(event, PeerEvent::Refused { .. } | PeerEvent::Bounced { .. }).then(|| event.clone()))
    }

    fn came(&self, from: &str, to: &str) -> Vec<String> {
        self.pages().came.get(&(from.to_owned(), to.to_owned())).cloned().unwrap_or_default()
    }

    fn wait(&self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + within;
        while !done(self) {
            if Instant::now() >= deadline {
                let pages = self.pages();
                let last = &pages.events[pages.events.len().saturating_sub(5)..];
                panic!("not within {within:?}: {what}; {} events, the last: {last:#?}", pages.events.len());
            }
            thread::sleep(POLL);
        }
    }
}

impl Pages {
    fn enter(&mut self, event: PeerEvent) {
        match &event {
            PeerEvent::Accepted { .. } => self.accepted += 1,
            PeerEvent::Received { from, to, body } => {
                self.received += 1;
                if self.known.insert((from.clone(), to.clone(), body.clone())) {
                    self.came.entry((from.clone(), to.clone())).or_default().push(body.clone());
                }
            }
            _ => {}
        }
        self.events.push(event);
    }
}

/// One company: its peer, its ledger, and the networks between it and the hub.
struct Company<P> {
    peer: P,
    ledger: Ledger,
    domain: &'static str,
    /// Carries what the peer dials.
    to_hub: FaultProxy,
    /// Carries what the hub dials.
    from_hub: FaultProxy,
}

impl<P> Company<P> {
    fn set(&self, mode: Mode) {
        self.to_hub.set(mode);
        self.from_hub.set(mode);
    }

    fn address(&self, user: &str) -> String {
        format!("{user}@{}", self.domain)
    }
}

/// The hub and the addresses under which it is told to find the companies.
struct Setting {
    authority: Authority,
    files: HubFiles,
    _hub: Hub,
    ports: HashMap<&'static str, (FaultProxy, ReservedPort)>,
}

impl Setting {
    fn start(companies: &[(&'static str, &'static str)]) -> Self {
        let authority = Authority::new("Test authority");
        let mut files = HubFiles::new(&authority);
        let mut ports = HashMap::new();
        let mut links = Vec::new();
        for &(platform, domain) in companies {
            let port = ReservedPort::any();
            let proxy = FaultProxy::start(port.address());
            let id = domain.split('.').next().expect("a domain has a first word");
            let link = if platform == "xmpp" { LinkSettings::xmpp } else { LinkSettings::sip };
            links.push(link(id, domain, proxy.address().port()));
            ports.insert(domain, (proxy, port));
        }
        files.configure(&authority, &links);
        let hub = files.start();
        Self { authority, files, _hub: hub, ports }
    }

    fn company<P>(
        &mut self,
        domain: &'static str,
        hub: SocketAddr,
        start: impl FnOnce(&Authority, ReservedPort, SocketAddr, Listener) -> P,
    ) -> Company<P> {
        let (from_hub, port) = self.ports.remove(domain).expect("each company starts once");
        let to_hub = FaultProxy::start(hub);
        let ledger = Ledger::default();
        let peer = start(&self.authority, port, to_hub.address(), ledger.listener());
        Company { peer, ledger, domain, to_hub, from_hub }
    }

    fn xmpp(&mut self, domain: &'static str) -> Company<XmppPeer> {
        self.company(domain, self.files.xmpp.address(), |authority, port, hub, listener| {
            let settings = XmppPeerSettings {
                domain: domain.to_owned(),
                remote_domains: Vec::new(),
                port,
                hub,
                identity: &authority.issue(&Leaf::xmpp(domain)),
                authority: authority.certificate(),
                poison: Some(POISON.to_owned()),
            };
            XmppPeer::start(settings, listener)
        })
    }

    fn sip(&mut self, domain: &'static str) -> Company<SipPeer> {
        let sick = AtomicUsize::new(0);
        self.company(domain, self.files.sip.address(), move |authority, port, hub, listener| {
            let settings = SipPeerSettings {
                domain: domain.to_owned(),
                port,
                hub,
                hub_name: HUB_DOMAIN,
                identity: &authority.issue(&Leaf::sip(domain)),
                authority: authority.certificate(),
                refuse: Arc::new(move |user| match user {
                    "nobody" => Some(404),
                    "sick" => (sick.fetch_add(1, Ordering::Relaxed) < SICK_FOR).then_some(500),
                    _ => None,
                }),
                poison: Some(POISON.to_owned()),
            };
            SipPeer::start(settings, listener)
        })
    }
}

fn acme_and_globex() -> (Setting, Company<XmppPeer>, Company<SipPeer>) {
    let mut setting = Setting::start(&[("xmpp", "acme.example"), ("sip", "globex.example")]);
    let acme = setting.xmpp("acme.example");
    let globex = setting.sip("globex.example");
    (setting, acme, globex)
}

fn acme_and_initech() -> (Setting, Company<XmppPeer>, Company<XmppPeer>) {
    let mut setting = Setting::start(&[("xmpp", "acme.example"), ("xmpp", "initech.example")]);
    let acme = setting.xmpp("acme.example");
    let initech = setting.xmpp("initech.example");
    (setting, acme, initech)
}

fn id(pair: usize, number: usize) -> String {
    format!("p{pair}m{number}")
}

fn body(number: usize) -> String {
    format!("{number}: 5 < 6 && \"quotes\" 'single' </body>\nGrüße aus 東京\n\nMESSAGE sip:mallory@evil.example SIP/2.0")
}

/// Sends `count` messages of each of `pairs` pairs, in turn, with a pause after each round.
fn send<A: Peer, B>(from: &Company<A>, to: &Company<B>, pairs: usize, count: usize, pace: Duration) {
    for number in 0..count {
        for pair in 0..pairs {
            let (sender, recipient) = (from.address(&format!("alice{pair}")), to.address(&format!("bob{pair}")));
            from.peer.send(&id(pair, number), &sender, &recipient, &body(number));
        }
        thread::sleep(pace);
    }
}

/// Checks that two lists are the same, and says where they part.
#[track_caller]
fn same(what: &str, is: &[String], should: &[String]) {
    if let Some(place) = (0..is.len().max(should.len())).find(|place| is.get(*place) != should.get(*place)) {
        let around = |list: &[String]| list.iter().skip(place.saturating_sub(2)).take(6).cloned().collect::<Vec<_>>();
        panic!("{what}: at {place} of {} and {}: {:#?} instead of {:#?}", is.len(), should.len(), around(is), around(should));
    }
}

/// Waits until all that [`send`] sent is accepted and there, and checks that nothing was refused and all is in order.
/// Says how often messages came again.
fn expect_all<A: Peer, B>(from: &Company<A>, to: &Company<B>, pairs: usize, count: usize, within: Duration) -> usize {
    let deadline = Instant::now() + within;
    let left = || deadline.saturating_duration_since(Instant::now());
    let all = pairs * count;
    to.ledger
        .wait(&format!("all from {} came to {}", from.domain, to.domain), left(), |ledger| ledger.pages().known.len() >= all);
    from.ledger.wait(&format!("all from {} is accepted", from.domain), left(), |ledger| ledger.pages().accepted >= all);
    let accepted = from.ledger.collect(|event| match event {
        PeerEvent::Accepted { id } => Some(id.clone()),
        _ => None,
    });
    for pair in 0..pairs {
        let (sender, recipient) = (from.address(&format!("alice{pair}")), to.address(&format!("bob{pair}")));
        let should: Vec<_> = (0..count).map(body).collect();
        same(&format!("from {sender} to {recipient}"), &to.ledger.came(&sender, &recipient), &should);
        let prefix = format!("p{pair}m");
        let of_pair: Vec<_> = accepted.iter().filter(|id| id.starts_with(&prefix)).cloned().collect();
        let should: Vec<_> = (0..count).map(|number| id(pair, number)).collect();
        same("accepted", &of_pair, &should);
    }
    assert_eq!(from.ledger.failures(), [], "nothing is refused or returned");
    assert_eq!(from.peer.unanswered(), 0);
    let pages = to.ledger.pages();
    pages.received - pages.known.len()
}

fn both_ways_in_order_and_once<A: Peer, B: Peer>(one: &Company<A>, other: &Company<B>) {
    thread::scope(|scope| {
        scope.spawn(|| send(one, other, 1, MESSAGES, Duration::ZERO));
        scope.spawn(|| send(other, one, 1, MESSAGES, Duration::ZERO));
    });
    let there = expect_all(one, other, 1, MESSAGES, SOON);
    let back = expect_all(other, one, 1, MESSAGES, SOON);
    // Nothing comes twice, also not late.
    thread::sleep(MOMENT);
    assert_eq!((there, back), (0, 0));
    for ledger in [&one.ledger, &other.ledger] {
        assert_eq!(ledger.pages().received, MESSAGES);
    }
}

#[test]
fn xmpp_and_sip_exchange_messages_in_order_and_once() {
    let (_setting, acme, globex) = acme_and_globex();
    both_ways_in_order_and_once(&acme, &globex);
}

#[test]
fn xmpp_and_xmpp_exchange_messages_in_order_and_once() {
    let (_setting, acme, initech) = acme_and_initech();
    both_ways_in_order_and_once(&acme, &initech);
}

#[test]
fn a_final_refusal_of_a_sip_peer_comes_back_and_a_passing_one_is_tried_again() {
    let (_setting, acme, globex) = acme_and_globex();
    let alice = acme.address("alice");
    for user in ["nobody", "sick"] {
        acme.peer.send(user, &alice, &globex.address(user), "hello?");
    }
    let unknown = PeerEvent::Bounced { id: "nobody".to_owned(), why: "item-not-found".to_owned() };
    acme.ledger.wait("the unknown user comes back", SOON, |ledger| ledger.failures() == [unknown.clone()]);
    // Nobody else waits for the one who is tried again.
    acme.peer.send("other", &alice, &globex.address("bob"), "still there?");
    globex
        .ledger
        .wait("the message to another comes", SOON, |ledger| ledger.came(&alice, "bob@globex.example") == ["still there?"]);
    assert_eq!(globex.ledger.came(&alice, "sick@globex.example"), Vec::<String>::new(), "this comes later");
    globex.ledger.wait("the message comes in the end", SOON, |ledger| ledger.came(&alice, "sick@globex.example") == ["hello?"]);
    assert_eq!(acme.ledger.failures(), [unknown]);
}

#[test]
fn a_sip_peer_is_refused_at_once_what_has_no_place_to_go() {
    let (_setting, _acme, globex) = acme_and_globex();
    globex.peer.send("lost", &globex.address("bob"), "carol@nowhere.example", "hello?");
    let expected = PeerEvent::Refused { id: "lost".to_owned(), why: "404".to_owned(), temporary: false };
    globex.ledger.wait("the refusal comes", SOON, |ledger| ledger.failures() == [expected.clone()]);
    assert_eq!(globex.peer.unanswered(), 0);
}

#[test]
fn a_failure_after_the_acceptance_comes_back_as_each_platform_says_it() {
    let mut setting = Setting::start(&[("xmpp", "acme.example"), ("sip", "globex.example"), ("sip", "umbrella.example")]);
    let acme = setting.xmpp("acme.example");
    let globex = setting.sip("globex.example");
    let umbrella = setting.sip("umbrella.example");
    globex.set(Mode::BlackHole);
    let nobody = globex.address("nobody");
    acme.peer.send("x", &acme.address("alice"), &nobody, "hello?");
    umbrella.peer.send("s", &umbrella.address("carol"), &nobody, "hello?");
    for (ledger, id) in [(&acme.ledger, "x"), (&umbrella.ledger, "s")] {
        let expected = [PeerEvent::Accepted { id: id.to_owned() }];
        ledger.wait("the message is accepted", SOON, |ledger| ledger.pages().events == expected);
    }
    globex.set(Mode::Through);
    let bounced = PeerEvent::Bounced { id: "x".to_owned(), why: "item-not-found".to_owned() };
    acme.ledger.wait("the error stanza comes", SOON, |ledger| ledger.failures() == [bounced.clone()]);
    umbrella.ledger.wait("the notice comes", SOON, |ledger| {
        matches!(&ledger.failures()[..], [PeerEvent::Bounced { id, why }] if id.contains(" was not delivered. ") && why.is_empty())
    });
    assert_eq!(umbrella.ledger.pages().received, 0, "the notice is no message");
}

#[test]
fn a_peer_that_ends_and_starts_again_gets_what_was_sent_meanwhile() {
    let (mut setting, acme, globex) = acme_and_globex();
    send(&acme, &globex, 1, 10, Duration::ZERO);
    expect_all(&acme, &globex, 1, 10, SOON);
    send(&globex, &acme, 1, 10, Duration::ZERO);
    expect_all(&globex, &acme, 1, 10, SOON);

    setting.ports.insert(globex.domain, (globex.from_hub, globex.peer.stop()));
    let (alice, bob) = (acme.address("alice"), format!("bob@{}", globex.domain));
    acme.peer.send("to SIP", &alice, &bob, "while you were away");
    let globex = setting.sip("globex.example");
    globex.ledger.wait("the message comes", SOON, |ledger| ledger.came(&alice, &bob) == ["while you were away"]);

    setting.ports.insert(acme.domain, (acme.from_hub, acme.peer.stop()));
    globex.peer.send("to XMPP", &bob, &alice, "while you were away");
    let acme = setting.xmpp("acme.example");
    acme.ledger.wait("the message comes", SOON, |ledger| ledger.came(&bob, &alice) == ["while you were away"]);
    acme.ledger.wait("all is answered", SOON, |_| acme.peer.unanswered() + globex.peer.unanswered() == 0);
}

#[test]
fn poison_breaks_the_connection_and_is_never_received() {
    let (_setting, acme, globex) = acme_and_globex();
    globex.peer.send("good", &globex.address("bob"), &acme.address("alice"), "good");
    acme.ledger
        .wait("the first message comes", SOON, |ledger| ledger.came("bob@globex.example", "alice@acme.example").len() == 1);
    let before = (acme.from_hub.connections(), globex.from_hub.connections());
    globex.peer.send("bad", &globex.address("bob"), &acme.address("alice"), "some POISON");
    acme.peer.send("bad", &acme.address("alice"), &globex.address("bob"), "some POISON");
    acme.ledger.wait("the hub dials both again", SOON, |_| {
        acme.from_hub.connections() > before.0 && globex.from_hub.connections() > before.1
    });
    assert_eq!(acme.ledger.came("bob@globex.example", "alice@acme.example"), ["good"]);
    assert_eq!(globex.ledger.came("alice@acme.example", "bob@globex.example"), Vec::<String>::new());
}

/// Sends both ways for some seconds while `fault` happens, and expects everything to arrive in the end.
fn through<A: Peer + Sync, B: Peer + Sync>(name: &str, one: &Company<A>, other: &Company<B>, fault: impl FnOnce()) {
    const PAIRS: usize = 4;
    let began = Instant::now();
    let pace = Duration::from_millis(5);
    thread::scope(|scope| {
        scope.spawn(|| send(one, other, PAIRS, MESSAGES, pace));
        scope.spawn(|| send(other, one, PAIRS, MESSAGES, pace));
        thread::sleep(MOMENT);
        fault();
    });
    let healed = Instant::now();
    let there = expect_all(one, other, PAIRS, MESSAGES, HEALED);
    let back = expect_all(other, one, PAIRS, MESSAGES, HEALED);
    println!(
        "{name}: {} and {}, {MESSAGES} messages of {PAIRS} pairs each way, all arrived in order; repeated {} and {}; {:.1} s, of which {:.1} s after the last was sent",
        one.domain,
        other.domain,
        there,
        back,
        began.elapsed().as_secs_f64(),
        healed.elapsed().as_secs_f64(),
    );
}

fn during(mode: Mode, time: Duration, company: &Company<impl Peer>) {
    company.set(mode);
    thread::sleep(time);
    company.set(Mode::Through);
}

const CUT: Duration = Duration::from_secs(1);

#[test]
fn nothing_is_lost_in_a_cut_on_each_link_of_xmpp_and_sip() {
    let (_setting, acme, globex) = acme_and_globex();
    through("cut for 1 s on each link", &acme, &globex, || {
        during(Mode::Cut, CUT, &acme);
        during(Mode::Cut, CUT, &globex);
    });
}

#[test]
fn nothing_is_lost_in_a_cut_on_each_link_of_xmpp_and_xmpp() {
    let (_setting, acme, initech) = acme_and_initech();
    through("cut for 1 s on each link", &acme, &initech, || {
        during(Mode::Cut, CUT, &acme);
        during(Mode::Cut, CUT, &initech);
    });
}

#[test]
fn nothing_is_lost_in_five_short_cuts() {
    let (_setting, acme, globex) = acme_and_globex();
    through("five resets", &acme, &globex, || {
        for _ in 0..5 {
            thread::sleep(CUT / 5);
            for proxy in [&acme.to_hub, &acme.from_hub, &globex.to_hub, &globex.from_hub] {
                proxy.cut_now();
            }
        }
    });
}

#[test]
fn nothing_is_lost_in_damaged_bytes() {
    let (_setting, acme, globex) = acme_and_globex();
    let damaged = Mode::Corrupt { one_in: 20_000 };
    through("a damaged byte in 20,000 for 2 s", &acme, &globex, || {
        acme.set(damaged);
        during(damaged, 2 * CUT, &globex);
        acme.set(Mode::Through);
    });
}

#[test]
fn nothing_is_lost_in_a_black_hole_on_each_link() {
    let (_setting, acme, globex) = acme_and_globex();
    through("a black hole for 3 s on each link", &acme, &globex, || {
        during(Mode::BlackHole, 3 * CUT, &acme);
        during(Mode::BlackHole, 3 * CUT, &globex);
    });
}

/// A measurement, which `--no-capture` shows; the test only asks that all arrives.
#[test]
fn how_fast_a_pair_of_peers_is() {
    fn measure<A: Peer, B: Peer>(from: &Company<A>, to: &Company<B>, pairs: usize, count: usize) {
        // The first message makes the links. It has an id of its own: what comes again under its id and words is dropped.
        let (sender, recipient) = (from.address("alice0"), to.address("bob0"));
        from.peer.send("first", &sender, &recipient, "hello");
        to.ledger.wait("the first message comes", HEALED, |ledger| ledger.came(&sender, &recipient) == ["hello"]);
        from.ledger.wait("the first message is accepted", HEALED, |ledger| ledger.pages().accepted == 1);
        for ledger in [&from.ledger, &to.ledger] {
            *ledger.pages() = Pages::default();
        }
        let began = Instant::now();
        send(from, to, pairs, count, Duration::ZERO);
        expect_all(from, to, pairs, count, HEALED);
        let rate = (pairs * count) as f64 / began.elapsed().as_secs_f64();
        println!("{} to {}: {count} messages of each of {pairs} pairs, {rate:.0} messages a second", from.domain, to.domain);
    }
    for (pairs, count) in [(1, 300), (20, 100)] {
        let (setting, acme, globex) = acme_and_globex();
        measure(&acme, &globex, pairs, count);
        measure(&globex, &acme, pairs, count);
        drop((acme, globex, setting));
        let (_setting, acme, initech) = acme_and_initech();
        measure(&acme, &initech, pairs, count);
    }
}
