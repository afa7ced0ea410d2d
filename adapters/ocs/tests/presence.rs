//! Presence, both ways, in virtual time.

use crate::common::alice::{Alice, ROUTES};
use crate::common::*;
use interchange_adapter::ConnId;
use interchange_model::{Body, DevicePresence, Envelope, Presence, PresenceState, Refusal, Watch};

const BOB: &str = "sip:bob@fabrikam.example";
const ACCEPT: &str = "Accept: application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/xpidf+xml, application/pidf+xml, application/rlmi+xml, multipart/related\r\nSupported: ms-piggyback-first-notify\r\nSupported: ms-benotify\r\nProxy-Require: ms-benotify\r\nEvent: presence\r\n";
const LIST: &str =
    "<batchSub xmlns=\"http://schemas.microsoft.com/2006/01/sip/batch-subscribe\" uri=\"sip:alice@contoso.example\" name=\"\"/>";

/// Something between Bob, of whom it is, and Alice.
fn of_bob(body: Body) -> Envelope {
    Envelope { body, ..hello(1) }
}

fn state(state: PresenceState, note: Option<&str>) -> Body {
    let note = note.map(interchange_model::Plain::from);
    Body::Presence(Presence::of(DevicePresence { note, ..DevicePresence::new(None, state) }))
}

/// Alice asks to see Bob.
fn subscribed(hub: &mut Hub, edge: ConnId) -> Alice {
    subscribed_as(hub, edge, "s1")
}

fn subscribed_as(hub: &mut Hub, edge: ConnId, call: &str) -> Alice {
    let mut alice = Alice::calls(BOB, call);
    hub.receive(edge, alice.says("SUBSCRIBE", ACCEPT, "application/msrtc-adrl-categorylist+xml", LIST));
    let (token, envelope) = hub.one_submitted();
    assert!(matches!(envelope.body, Body::Watch(Watch::Ask)));
    hub.store(token, Ok(()));
    let answer = hub.one(edge);
    assert_eq!((answer.status(), answer.header("Expires"), answer.header("Event")), (200, "3600", "presence"));
    assert_eq!((answer.header("subscription-state"), answer.all("Record-Route")), ("active;expires=3600", ROUTES.to_vec()));
    alice.hears(&answer);
    alice
}

#[test]
fn a_watcher_sees_states_and_notes_in_the_best_form_that_it_takes() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let alice = subscribed(&mut hub, edge);
    let first = hub.one(own);
    assert_eq!(first.start, "NOTIFY sip:alice@contoso.example;opaque=user:epid:2XcI;gruu SIP/2.0");
    assert_eq!((first.header("Content-Type"), first.all("Route")), ("application/msrtc-event-categories+xml", ROUTES.to_vec()));
    assert_eq!(first.header("To"), "<sip:alice@contoso.example>;tag=alicetag;epid=d8d053f0ae7f");
    assert!(!first.body.contains("<availability>"), "nothing is known yet: {}", first.body);
    hub.receive(own, first.answer(200, ""));
    hub.tell(of_bob(state(PresenceState::InCall, Some("In a call"))));
    let second = hub.one(own);
    assert!(second.body.contains("<availability>6500</availability><activity token=\"on-the-phone\"/>"), "{}", second.body);
    assert!(second.body.contains(">In a call</body>"));
    hub.receive(own, second.answer(200, ""));
    // Changes that follow at once go together, after five seconds.
    hub.tell(of_bob(state(PresenceState::Away, None)));
    hub.tell(of_bob(Body::Presence(Presence::default())));
    assert!(hub.wire(own).is_empty());
    hub.seconds(5);
    let third = hub.one(own);
    assert!(third.body.contains("<availability>18500</availability>"), "{}", third.body);
    // An empty note takes the old one back.
    assert!(third.body.contains("<note xmlns=\"http://schemas.microsoft.com/2006/09/sip/note\"></note>"), "{}", third.body);
    drop(alice);
}

#[test]
fn clients_of_2005_and_plain_ones_have_their_own_documents() {
    for (accept, media, has) in [
        (
            "Accept: text/xml+msrtc.pidf, application/pidf+xml\r\nEvent: presence\r\n",
            "text/xml+msrtc.pidf",
            "<activity aggregate=\"600\"",
        ),
        ("Accept: application/pidf+xml\r\nEvent: presence\r\n", "application/pidf+xml", "<es:activity>busy</es:activity>"),
        ("Event: presence\r\n", "application/pidf+xml", "<basic>open</basic>"),
    ] {
        let (mut hub, own, edge) = Hub::up(EDGE);
        let mut alice = Alice::calls(BOB, "s1");
        hub.receive(edge, alice.says("SUBSCRIBE", accept, "", ""));
        let (token, _) = hub.one_submitted();
        hub.store(token, Ok(()));
        assert_eq!(hub.one(edge).status(), 200);
        let first = hub.one(own);
        hub.receive(own, first.answer(200, ""));
        hub.tell(of_bob(state(PresenceState::Busy, None)));
        let notify = hub.one(own);
        assert_eq!(notify.header("Content-Type"), media);
        assert!(notify.body.contains(has), "{}", notify.body);
    }
}

/// The tables of shared/protocols/ocs.md §6.2, as a client of 2005 is shown them.
#[test]
fn a_client_of_2005_sees_every_state_by_its_numbers() {
    use PresenceState::*;
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = Alice::calls(BOB, "s1");
    hub.receive(
        edge,
        alice.says("SUBSCRIBE", "Accept: text/xml+msrtc.pidf, application/pidf+xml\r\nEvent: presence\r\n", "", ""),
    );
    let (token, _) = hub.one_submitted();
    hub.store(token, Ok(()));
    assert_eq!(hub.one(edge).status(), 200);
    let first = hub.one(own);
    // It has no word for what is not known.
    assert!(
        first.body.contains("<availability aggregate=\"0\"") && first.body.contains("<activity aggregate=\"0\""),
        "{}",
        first.body
    );
    hub.receive(own, first.answer(200, ""));
    let idle = Some(start().wall);
    for (state, idle_since, there, activity) in [
        (Available, None, 300, 400),
        (Available, idle, 300, 200),
        (Free, None, 300, 400),
        (Idle, idle, 300, 200),
        (BeRightBack, None, 300, 300),
        (InCall, None, 300, 500),
        (Busy, None, 300, 600),
        (Away, idle, 300, 100),
        (InMeeting, None, 300, 600),
        (LongAway, None, 300, 100),
        (DoNotDisturb, None, 300, 600),
        (Offline, None, 0, 0),
        (Presenting, None, 300, 600),
    ] {
        let presence = match state {
            Offline => Presence::default(),
            state => Presence::of(DevicePresence { idle_since, ..DevicePresence::new(None, state) }),
        };
        hub.tell(of_bob(Body::Presence(presence)));
        let sent = hub.live(own, 5);
        let [notify] = &sent[..] else { panic!("{state:?} {sent:?}") };
        assert!(notify.body.contains(&format!("<availability aggregate=\"{there}\"")), "{state:?} {}", notify.body);
        assert!(notify.body.contains(&format!("<activity aggregate=\"{activity}\"")), "{state:?} {}", notify.body);
        hub.receive(own, notify.answer(200, ""));
    }
}

#[test]
fn a_client_of_2007_sees_since_when_somebody_is_not_at_the_device() {
    use PresenceState::*;
    let (mut hub, own, edge) = Hub::up(EDGE);
    let _alice = subscribed(&mut hub, edge);
    let first = hub.one(own);
    hub.receive(own, first.answer(200, ""));
    let idle = Some(start().wall);
    for (state, idle_since, has) in [
        (Available, None, "aggregateState\"><availability>3500</availability>"),
        (Available, idle, "lastActive=\"2027-01-15T08:00:00Z\"><availability>5000</availability>"),
        (Idle, None, "aggregateState\"><availability>5000</availability>"),
        (Busy, None, "aggregateState\"><availability>6500</availability>"),
        (Busy, idle, "lastActive=\"2027-01-15T08:00:00Z\"><availability>7500</availability>"),
        (Away, idle, "lastActive=\"2027-01-15T08:00:00Z\"><availability>15500</availability>"),
        (DoNotDisturb, idle, "aggregateState\"><availability>9500</availability>"),
    ] {
        hub.tell(of_bob(Body::Presence(Presence::of(DevicePresence { idle_since, ..DevicePresence::new(None, state) }))));
        let sent = hub.live(own, 5);
        let [notify] = &sent[..] else { panic!("{state:?} {sent:?}") };
        assert!(notify.body.contains(has), "{state:?} {}", notify.body);
        hub.receive(own, notify.answer(200, ""));
    }
}

#[test]
fn a_subscription_is_refreshed_and_keeps_its_route_and_ends_when_it_is_not() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = subscribed(&mut hub, edge);
    let first = hub.one(own);
    hub.receive(own, first.answer(200, ""));
    hub.receive(edge, alice.says("SUBSCRIBE", "Event: presence\r\nExpires: 28800\r\n", "", ""));
    assert_eq!(hub.one(edge).header("Expires"), "3600");
    let refreshed = hub.one(own);
    assert_eq!(refreshed.all("Route"), ROUTES);
    hub.receive(own, refreshed.answer(200, ""));
    // Nobody refreshes.
    let mut last = Vec::new();
    for wire in hub.live(own, 3_601) {
        hub.receive(own, wire.answer(200, ""));
        last.push(wire.header("subscription-state").to_owned());
    }
    assert_eq!(last, ["terminated;reason=timeout"]);
    hub.receive(edge, alice.says("SUBSCRIBE", "Event: presence\r\n", "", ""));
    assert_eq!(hub.one(edge).status(), 481);
}

#[test]
fn unsubscribing_gets_one_last_document_and_481_ends_a_dialog() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = subscribed(&mut hub, edge);
    let first = hub.one(own);
    hub.receive(own, first.answer(200, ""));
    hub.receive(edge, alice.says("SUBSCRIBE", "Event: presence\r\nExpires: 0\r\n", "", ""));
    assert_eq!(hub.one(edge).header("Expires"), "0");
    let last = hub.one(own);
    assert_eq!(last.header("subscription-state"), "terminated;reason=timeout");
    hub.receive(own, last.answer(481, ""));
    assert!(hub.kept().is_empty());
    let mut again = subscribed_as(&mut hub, edge, "s2");
    let first = hub.one(own);
    hub.receive(own, first.answer(481, ""));
    hub.receive(edge, again.says("SUBSCRIBE", "Event: presence\r\n", "", ""));
    assert_eq!(hub.one(edge).status(), 481);
}

#[test]
fn what_may_not_be_seen_is_refused() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    for (more, status) in [
        ("Event: vnd-microsoft-roaming-contacts\r\n", 489),
        ("Event: conference\r\n", 489),
        ("Event: presence\r\nAccept: application/xpidf+xml\r\n", 406),
        ("Event: presence\r\nRequire: adhoclist, categoryList\r\n", 420),
    ] {
        let call = format!("s{}x", more.len());
        hub.receive(edge, Alice::calls(BOB, &call).says("SUBSCRIBE", more, "", ""));
        assert_eq!(hub.one(edge).status(), status, "{more}");
    }
    hub.receive(edge, Alice::calls(BOB, "s9").says("SUBSCRIBE", ACCEPT, "", ""));
    let (token, _) = hub.one_submitted();
    hub.store(token, Err(Refusal::NotAllowed));
    assert_eq!(hub.one(edge).status(), 403);
    // Refused by the person, later.
    subscribed(&mut hub, edge);
    let first = hub.one(own);
    hub.receive(own, first.answer(200, ""));
    hub.deliver(1, of_bob(Body::Watch(Watch::Refuse)));
    let last = hub.one(own);
    assert_eq!(last.header("subscription-state"), "terminated;reason=rejected");
    // A client goes on showing the last state that it was told.
    assert!(last.body.contains("<availability>18500</availability>"), "{}", last.body);
}

#[test]
fn a_poll_gets_exactly_one_document() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    hub.receive(edge, Alice::calls(BOB, "p").says("SUBSCRIBE", &format!("{ACCEPT}Expires: 0\r\n"), "", ""));
    assert_eq!(hub.one(edge).status(), 200);
    assert!(matches!(&hub.telling()[..], [one] if matches!(one.body, Body::Watch(Watch::Fetch))));
    hub.tell(of_bob(state(PresenceState::Available, None)));
    let only = hub.one(own);
    assert!(only.header("subscription-state").starts_with("terminated"));
    assert!(only.body.contains("<availability>3500</availability>"));
    hub.receive(own, only.answer(200, ""));
    hub.seconds(10);
    assert!(hub.wire(own).is_empty());
}

/// What Bob is told of Alice since the last look.
fn told(hub: &mut Hub) -> Vec<(PresenceState, Option<String>)> {
    hub.telling()
        .iter()
        .filter_map(|envelope| match &envelope.body {
            Body::Presence(presence) => {
                let note = presence.best().and_then(|device| device.note.as_ref()).map(|note| note.as_str().to_owned());
                Some((presence.state(), note))
            }
            _ => None,
        })
        .collect()
}

/// Bob asks to see Alice; the SUBSCRIBE, and the tag that the pool answers with.
fn watching(hub: &mut Hub, own: ConnId) -> Wire {
    hub.deliver(1, of_bob(Body::Watch(Watch::Ask)));
    hub.settled();
    hub.seconds(0);
    let subscribe = hub.one(own);
    assert_eq!(subscribe.start, "SUBSCRIBE sip:alice@contoso.example SIP/2.0");
    assert_eq!(subscribe.header("Accept"), "application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/pidf+xml");
    assert!(subscribe.find("Proxy-Require").is_none() && subscribe.find("Supported").is_none());
    let routes: String = ROUTES.iter().rev().map(|route| format!("Record-Route: {route}\r\n")).collect();
    let more = format!("{routes}Contact: <sip:pool.contoso.example:5061;transport=tls>\r\nExpires: 3600\r\n");
    hub.receive(own, subscribe.answer(200, &more));
    subscribe
}

/// A document of Alice's, from the pool.
fn notify(subscribe: &Wire, method: &str, number: u32, state: &str, media: &str, body: &str) -> String {
    format!(
        "{method} sip:sip.fabrikam.example:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS sip.contoso.example:5061;branch=z9hG4bKn{number}\r\nFrom: {};tag=peer\r\nTo: {}\r\nMax-Forwards: 69\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\nEvent: presence\r\nsubscription-state: {state}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n{body}",
        subscribe.header("To"),
        subscribe.header("From"),
        subscribe.header("Call-ID"),
        body.len(),
    )
}

fn categories(number: u32, token: &str, note: &str) -> String {
    format!(
        "<categories xmlns=\"http://schemas.microsoft.com/2006/09/sip/categories\" uri=\"sip:alice@contoso.example\"><category name=\"note\" instance=\"0\"><note xmlns=\"http://schemas.microsoft.com/2006/09/sip/note\"><body type=\"personal\" uri=\"\">{note}</body></note></category><category name=\"state\" instance=\"1\"><state xmlns=\"http://schemas.microsoft.com/2006/09/sip/state\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"aggregateState\"><availability>{number}</availability><activity token=\"{token}\"/></state></category></categories>"
    )
}

const CATEGORIES: &str = "application/msrtc-event-categories+xml";

#[test]
fn ours_see_a_microsoft_user_in_every_form_of_document() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let subscribe = watching(&mut hub, own);
    hub.receive(
        edge,
        notify(&subscribe, "NOTIFY", 1, "active;expires=3600", CATEGORIES, &categories(6500, "in-a-meeting", "Budget")),
    );
    assert_eq!(hub.one(edge).status(), 200);
    let (_, allowed) = hub.one_submitted();
    assert!(matches!(allowed.body, Body::Watch(Watch::Allow)));
    assert_eq!(told(&mut hub), [(PresenceState::InMeeting, Some("Budget".to_owned()))]);
    // A later document may hold only what has changed.
    let only_state = "<categories uri=\"sip:alice@contoso.example\"><category name=\"state\"><state><availability>12500</availability></state></category></categories>";
    hub.receive(edge, notify(&subscribe, "BENOTIFY", 2, "active;expires=3590", CATEGORIES, only_state));
    assert!(hub.wire(edge).is_empty(), "a BENOTIFY is never answered");
    assert_eq!(told(&mut hub), [(PresenceState::BeRightBack, Some("Budget".to_owned()))]);
    let legacy = "<presentity uri=\"alice@contoso.example\" xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\"><availability aggregate=\"300\" description=\"\" epid=\"\"/><activity aggregate=\"500\" description=\"\" note=\"\"/><userInfo xmlns=\"\"><note></note></userInfo></presentity>";
    hub.receive(edge, notify(&subscribe, "NOTIFY", 3, "active;expires=3580", "text/xml+msrtc.pidf", legacy));
    assert_eq!(told(&mut hub), [(PresenceState::InCall, None)]);
    let pidf = "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:es=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\" entity=\"sip:alice@contoso.example\"><tuple id=\"0\"><status><basic>open</basic><es:activities><es:activity>away</es:activity></es:activities></status></tuple></presence>";
    // Behind a list that says nothing.
    let related = format!(
        "--b\r\nContent-Type: application/rlmi+xml\r\nContent-Transfer-Encoding: binary\r\n\r\n<list/>\r\n--b\r\nContent-Type: application/pidf+xml\r\nContent-Transfer-Encoding: binary\r\n\r\n{pidf}\r\n--b--\r\n"
    );
    hub.receive(edge, notify(&subscribe, "NOTIFY", 4, "active;expires=3570", "multipart/related;boundary=b", &related));
    assert_eq!(told(&mut hub), [(PresenceState::Away, None)]);
    let closed = pidf.replace("open", "closed");
    hub.receive(edge, notify(&subscribe, "NOTIFY", 5, "active;expires=3560", "application/pidf+xml", &closed));
    assert_eq!(told(&mut hub), [(PresenceState::Offline, None)]);
    assert!(hub.wire(edge).iter().all(|wire| wire.status() == 200));
}

/// The other way: what a server of 2005 says of its users.
#[test]
fn ours_see_every_state_that_a_server_of_2005_has_numbers_for() {
    use PresenceState::*;
    let (mut hub, own, edge) = Hub::up(EDGE);
    let subscribe = watching(&mut hub, own);
    let document = |there: u32, activity: u32, more: &str| {
        format!(
            "<presentity uri=\"alice@contoso.example\" xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\"><availability aggregate=\"{there}\" description=\"\" epid=\"\"/><activity aggregate=\"{activity}\" description=\"\" note=\"\"/><userInfo xmlns=\"\"><note></note>{more}</userInfo></presentity>"
        )
    };
    let states = |avail: u32| format!("<states><state avail=\"{avail}\"/></states>");
    let table = [
        (300, 400, String::new(), Available),
        (300, 0, String::new(), Away),
        (300, 200, String::new(), Idle),
        (300, 100, String::new(), Away),
        (300, 300, String::new(), BeRightBack),
        (300, 150, String::new(), Away),
        (300, 500, String::new(), InCall),
        (300, 600, String::new(), Busy),
        (300, 700, String::new(), Away),
        (300, 800, String::new(), Available),
        (200, 400, String::new(), Away),
        (0, 400, String::new(), Offline),
        (900, 499, String::new(), Available),
        (99, 0, String::new(), Offline),
        // A server of 2007 says it in its own numbers too: the larger one holds.
        (300, 400, states(6_500), Busy),
        (300, 400, states(5_000), Idle),
        (300, 400, states(9_500), DoNotDisturb),
        (300, 600, states(3_500), Busy),
    ];
    let mut last = None;
    for (number, (there, activity, more, want)) in (1..).zip(table) {
        let body = document(there, activity, &more);
        hub.receive(edge, notify(&subscribe, "NOTIFY", number, "active;expires=3600", "text/xml+msrtc.pidf", &body));
        assert_eq!(hub.one(edge).status(), 200);
        let seen = told(&mut hub);
        // What has not changed is not told again.
        let want = (last.replace(want) != Some(want)).then_some((want, None));
        assert_eq!(seen, Vec::from_iter(want), "{there} {activity} {more}");
    }
}

#[test]
fn ours_see_since_when_a_microsoft_user_is_not_at_the_device() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let subscribe = watching(&mut hub, own);
    for (number, (avail, since, want)) in (1..).zip([
        (3_500, "2012-07-12T13:58:54", None),
        (5_000, "2012-07-12T13:58:54", Some(1_342_101_534)),
        (15_500, "2012-07-12T13:58:55Z", Some(1_342_101_535)),
        (12_500, "yesterday", None),
        (7_500, "2012-07-12T13:58:56.5Z", Some(1_342_101_536)),
    ]) {
        let body = categories(avail, "x", "").replace("aggregateState\"", &format!("aggregateState\" lastActive=\"{since}\""));
        hub.receive(edge, notify(&subscribe, "NOTIFY", number, "active;expires=3600", CATEGORIES, &body));
        assert_eq!(hub.one(edge).status(), 200);
        let idle: Vec<Option<u64>> = hub
            .telling()
            .iter()
            .filter_map(|envelope| match &envelope.body {
                Body::Presence(presence) => Some(presence.best().and_then(|device| device.idle_since)),
                _ => None,
            })
            .map(|since| since.map(|since| since.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()))
            .collect();
        assert_eq!(idle, [want], "{avail} {since}");
    }
}

#[test]
fn the_first_document_may_ride_in_the_answer() {
    let (mut hub, own, _) = Hub::up(EDGE);
    hub.deliver(1, of_bob(Body::Watch(Watch::Ask)));
    hub.seconds(0);
    let subscribe = hub.one(own);
    let body = categories(3500, "online", "");
    let answer = subscribe.answer(200, &format!("Contact: <sip:pool.contoso.example:5061;transport=tls>\r\nExpires: 3600\r\nms-piggyback-cseq: 1\r\nContent-Type: {CATEGORIES}\r\n"));
    let answer = answer.replace("Content-Length: 0\r\n\r\n", &format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    hub.receive(own, answer);
    assert_eq!(told(&mut hub), [(PresenceState::Available, None)]);
    // Nothing more is asked for before it is due.
    assert!(hub.live(own, 3_000).is_empty());
}

#[test]
fn abuse_6_a_document_speaks_of_the_person_that_was_asked_about_alone() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let subscribe = watching(&mut hub, own);
    let other = categories(3500, "online", "").replace("sip:alice@", "sip:carol@");
    hub.receive(edge, notify(&subscribe, "NOTIFY", 1, "active", CATEGORIES, &other));
    assert_eq!(hub.one(edge).status(), 403);
    hub.receive(edge, notify(&subscribe, "NOTIFY", 2, "active", CATEGORIES, "<categories"));
    assert_eq!(hub.one(edge).status(), 415);
    let mut ghost = subscribe.clone();
    ghost.headers.iter_mut().filter(|(name, _)| name == "Call-ID").for_each(|(_, value)| *value = "ghost".into());
    hub.receive(edge, notify(&ghost, "NOTIFY", 3, "active", CATEGORIES, &categories(3500, "online", "")));
    assert_eq!(hub.one(edge).status(), 481);
    assert!(told(&mut hub).is_empty());
}

#[test]
fn refusals_are_asked_again_seldom_and_a_person_who_is_not_known_is_refused() {
    let (mut hub, own, _) = Hub::up(EDGE);
    hub.deliver(1, of_bob(Body::Watch(Watch::Ask)));
    hub.seconds(0);
    let subscribe = hub.one(own);
    hub.receive(own, subscribe.answer(403, ""));
    let mut asked = Vec::new();
    for second in 0..230 {
        for wire in hub.live(own, 1) {
            hub.receive(own, wire.answer(504, ""));
            asked.push(second);
        }
    }
    assert!(asked.len() == 2 && asked[0] >= 59 && asked[1] - asked[0] >= 119, "{asked:?}");
    let (mut hub, own, _) = Hub::up(EDGE);
    hub.deliver(1, of_bob(Body::Watch(Watch::Ask)));
    hub.seconds(0);
    let subscribe = hub.one(own);
    hub.receive(own, subscribe.answer(404, ""));
    assert!(matches!(hub.one_submitted().1.body, Body::Watch(Watch::Refuse)));
}

#[test]
fn dialogs_of_presence_outlive_a_restart() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let subscribe = watching(&mut hub, own);
    hub.receive(edge, notify(&subscribe, "NOTIFY", 1, "active;expires=3600", CATEGORIES, &categories(3500, "online", "")));
    let mut alice = subscribed_quietly(&mut hub, edge);
    let kept = hub.kept();
    assert_eq!(kept.len(), 2);
    let mut hub = Hub::with(r#"{"contact_host":"sip.fabrikam.example"}"#, &[link("lb", &["contoso.example"], EDGE)]);
    hub.remember(&kept);
    let own = hub.bring_up();
    let edge = hub.accept_edge();
    hub.receive(edge, alice.says("SUBSCRIBE", "Event: presence\r\n", "", ""));
    assert_eq!(hub.one(edge).status(), 200);
    hub.seconds(20);
    let sent = hub.wire(own);
    let again = sent.iter().find(|wire| wire.method() == "SUBSCRIBE").expect("refreshed soon");
    assert_eq!((again.header("Call-ID"), again.all("Route")), (subscribe.header("Call-ID"), ROUTES.to_vec()));
    let told_alice = sent.iter().find(|wire| wire.method() == "NOTIFY").expect("a refresh is answered by a document");
    let number: u32 = told_alice.header("CSeq").split(' ').next().unwrap().parse().unwrap();
    assert!(number > 50, "{number}");
}

fn subscribed_quietly(hub: &mut Hub, edge: ConnId) -> Alice {
    let _ = hub.submitted();
    let _ = hub.wire(edge);
    subscribed(hub, edge)
}
