//! What people get between the platforms, shown by real servers and real clients: `docs/fidelity.md` is what this test has seen, and the test
//! fails when it sees anything else. `UPDATE_FIDELITY=1` writes the file anew.
//!
//! Alice is on Prosody, Dave on ejabberd, both with slixmpp; Bob has Linphone at Kamailio, which is his presence server too, and Eve a client for
//! sessions whose MSRP the same Kamailio relays.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::kamailio::{Kamailio, KamailioSettings, SipPorts};
use interchange_integration_tests::msrp_client::MsrpClient;
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);
/// What is not there after this is not coming.
const NOT_COMING: Duration = Duration::from_secs(4);

const ALICE: &str = "alice@acme.example";
const BOB: &str = "bob@globex.example";
const DAVE: &str = "dave@initech.example";
const EVE: &str = "eve@globex.example";

const YES: &str = "yes";
const NO: &str = "no";

/// Servers, clients and the hub between them.
struct World {
    alice: XmppClient,
    dave: XmppClient,
    bob: SipClient,
    eve: MsrpClient,
    files: HubFiles,
    hub: Option<Hub>,
    globex: Kamailio,
    _acme: XmppServer,
    _initech: XmppServer,
    _names: [NameServer; 2],
}

impl World {
    fn start() -> Self {
        let authority = Authority::new("Test authority");
        let mut files = HubFiles::new(&authority);
        let (acme_ports, initech_ports, globex_ports) = (XmppPorts::reserve(), XmppPorts::reserve(), SipPorts::reserve());
        let hub_port = files.xmpp.number();
        // Each server finds its own domain at itself, and everybody else at the hub.
        let records = |own: &str, port: u16| -> Vec<ServiceRecord> {
            ["acme.example", "initech.example", "globex.example", HUB_DOMAIN]
                .iter()
                .map(|domain| ServiceRecord::xmpp_server(domain, if *domain == own { port } else { hub_port }))
                .collect()
        };
        let acme_names = NameServer::start(&records("acme.example", acme_ports.server.number()));
        let initech_names = NameServer::start(&records("initech.example", initech_ports.server.number()));
        files.configure(
            &authority,
            &[
                LinkSettings::xmpp("acme", "acme.example", acme_ports.server.number()).with("xhtml_im = true"),
                LinkSettings::xmpp("initech", "initech.example", initech_ports.server.number()),
                LinkSettings::sip("globex", "globex.example", globex_ports.tls.number())
                    .with("identity = \"domain\", imdn = true, html = true"),
            ],
        );
        let hub = Some(files.start());
        let acme = prosody::start(XmppServerSettings::new("acme.example", &["alice"], acme_ports, &authority, &acme_names));
        let initech =
            ejabberd::start(XmppServerSettings::new("initech.example", &["dave"], initech_ports, &authority, &initech_names));
        let settings = KamailioSettings::new("globex.example", globex_ports, &authority, files.sip.address(), HUB_DOMAIN);
        let globex = Kamailio::start(
            settings.with_partners(&["acme.example", "initech.example", HUB_DOMAIN]).with_presence().with_relay(),
        );
        let alice = XmppClient::login(&acme, "alice");
        let dave = XmppClient::login(&initech, "dave");
        let bob = SipClient::register_with_all(&globex, "bob", Transport::Tcp);
        let eve = MsrpClient::register(&globex, "eve");
        Self { alice, dave, bob, files, hub, eve, globex, _acme: acme, _initech: initech, _names: [acme_names, initech_names] }
    }
}

/// One row: a feature, and what was seen of it each way.
struct Row {
    feature: &'static str,
    cells: [String; 3],
}

fn cell(seen: bool) -> String {
    if seen { YES.to_owned() } else { NO.to_owned() }
}

fn reduced(seen: bool, how: &str) -> String {
    if seen { format!("reduced ({how})") } else { NO.to_owned() }
}

fn has(event: &Value, field: &str, text: &str) -> bool {
    event[field].as_str().is_some_and(|value| value.contains(text))
}

/// Sends a chat stanza of Alice with this inside, to somebody.
fn chat(client: &mut XmppClient, to: &str, id: &str, inside: &str) {
    client.send_raw(&format!("<message to='{to}' type='chat' id='{id}'>{inside}</message>"));
}

/// Whether Bob is shown a text.
fn bob_reads(world: &mut World, text: &str, within: Duration) -> bool {
    world.bob.saw("message", within, |event| has(event, "body", text)).is_some()
}

/// Whether somebody on XMPP sees a stanza with this in it.
fn sees(client: &mut XmppClient, text: &str, within: Duration) -> bool {
    client.saw("stanza", within, |event| has(event, "xml", text)).is_some()
}

/// The id of the stanza that has this in it.
fn id_of(client: &mut XmppClient, text: &str) -> Option<String> {
    let event = client.saw("stanza", SOON, |event| has(event, "xml", text))?;
    let xml = event["xml"].as_str()?;
    let rest = xml.split(" id=\"").nth(1)?;
    rest.split('"').next().map(str::to_owned)
}

fn texts(world: &mut World) -> Vec<Row> {
    let strange = "5 < 6 && \"x\" 👩‍👩‍👧‍👦 東京";
    world.alice.send(BOB, "t1", strange);
    let to_sip = cell(bob_reads(world, strange, SOON));
    world.bob.send(&format!("sip:{ALICE}"), "t2", strange);
    let to_xmpp = cell(world.alice.saw("message", SOON, |event| event["body"] == strange).is_some());
    world.alice.send(DAVE, "t3", strange);
    let xmpp = cell(world.dave.saw("message", SOON, |event| event["body"] == strange).is_some());
    let text = Row { feature: "Text, with any character", cells: [to_sip, to_xmpp, xmpp] };

    for number in 0..20 {
        world.alice.send(BOB, &format!("o{number}"), &format!("order {number}"));
        world.bob.send(&format!("sip:{ALICE}"), &format!("o{number}"), &format!("order {number}"));
        world.alice.send(DAVE, &format!("p{number}"), &format!("order {number}"));
    }
    let mut ordered = [true; 3];
    for number in 0..20 {
        let next = |event: Option<Value>| event.is_some_and(|event| event["body"] == format!("order {number}"));
        ordered[0] &= next(world.bob.saw("message", SOON, |event| has(event, "body", "order ")));
        ordered[1] &= next(world.alice.saw("message", SOON, |event| has(event, "body", "order ")));
        ordered[2] &= next(world.dave.saw("message", SOON, |event| has(event, "body", "order ")));
    }
    let order = Row { feature: "Order of 20 messages", cells: ordered.map(cell) };

    world.alice.send("nobody@globex.example", "e1", "anybody?");
    let at_alice = world.alice.saw("error", SOON, |event| event["id"] == "e1" && event["condition"] == "item-not-found");
    world.bob.send("sip:nobody@acme.example", "e2", "anybody?");
    let at_bob =
        world.bob.saw("sent", SOON, |event| event["id"] == "e2" && event["code"].as_u64().is_some_and(|code| code >= 400));
    world.alice.send("nobody@initech.example", "e3", "anybody?");
    let of_dave = world.alice.saw("error", SOON, |event| event["id"] == "e3");
    let unknown = Row {
        feature: "Unknown user reported in the sender's client",
        cells: [cell(at_alice.is_some()), cell(at_bob.is_some()), cell(of_dave.is_some())],
    };
    vec![text, order, unknown]
}

/// What stands beside the words of an XMPP message.
fn beside_the_words(world: &mut World) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |world: &mut World, feature, inside: &str, at_bob: Option<(&str, &str)>, at_dave: &str| {
        let number = rows.len();
        chat(&mut world.alice, BOB, &format!("b{number}"), inside);
        chat(&mut world.alice, DAVE, &format!("d{number}"), inside);
        let to_sip = match at_bob {
            Some((text, "")) => cell(bob_reads(world, text, SOON)),
            Some((text, how)) => reduced(bob_reads(world, text, SOON), how),
            None => "– (SIP has nothing for it)".to_owned(),
        };
        let xmpp = cell(sees(&mut world.dave, at_dave, SOON));
        rows.push(Row { feature, cells: [to_sip, "–".to_owned(), xmpp] });
    };
    row(
        world,
        "Correction (XEP-0308)",
        "<body>corrected words</body><replace xmlns='urn:xmpp:message-correct:0' id='t1'/>",
        Some(("* corrected words", "`* ` before the new text")),
        "urn:xmpp:message-correct:0",
    );
    row(
        world,
        "Reply (XEP-0461)",
        "<body>&gt; old words\nnew words</body><reply xmlns='urn:xmpp:reply:0' to='x@y.example' id='1'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='12'/></fallback>",
        Some(("> old words", "the quoted lines stay in the text")),
        "urn:xmpp:reply:0",
    );
    row(
        world,
        "Reaction (XEP-0444)",
        "<reactions xmlns='urn:xmpp:reactions:0' id='t1'><reaction>👋</reaction></reactions>",
        Some(("reacted with 👋", "as a line of text")),
        "urn:xmpp:reactions:0",
    );
    row(
        world,
        "Retraction (XEP-0424)",
        "<retract xmlns='urn:xmpp:message-retract:1' id='t1'/><fallback xmlns='urn:xmpp:fallback:0'/><body>took a message back</body>",
        Some(("took a message back", "the sender's own words for it")),
        "urn:xmpp:message-retract:1",
    );
    row(
        world,
        "Address of a shared file (XEP-0066)",
        "<body>look</body><x xmlns='jabber:x:oob'><url>https://files.acme.example/a.png</url></x>",
        Some(("https://files.acme.example/a.png", "the address as a line of text")),
        "https://files.acme.example/a.png",
    );
    row(
        world,
        "Rich text (XEP-0071)",
        "<body>bold words</body><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><strong>bold</strong> words</body></html>",
        Some(("bold words", "as plain text")),
        "<strong>bold</strong>",
    );
    row(world, "Message Styling (XEP-0393)", "<body>*bold* words</body>", Some(("*bold* words", "")), "*bold* words");
    row(
        world,
        "End-to-end encryption (OMEMO)",
        "<body>an OMEMO message</body><encrypted xmlns='eu.siacs.conversations.axolotl'><payload>AAAA</payload></encrypted>",
        Some(("an OMEMO message", "the notice that the sender's client puts beside it")),
        "AAAA",
    );
    row(
        world,
        "Time of a delayed message (XEP-0203)",
        "<body>delayed words</body><delay xmlns='urn:xmpp:delay' from='acme.example' stamp='2026-01-01T00:00:00Z'/>",
        Some(("delayed words", "in the Date header, which Linphone does not show")),
        "2026-01-01T00:00:00",
    );
    rows
}

/// What stands in headers of single messages, which Linphone does not show: Eve's telephone does.
fn headers(world: &mut World) -> Vec<Row> {
    let beside = "<subject>Lunch</subject><body xml:lang='cs'>Dobrý den</body>";
    world.alice.send_raw(&format!("<message to='{EVE}' type='chat' id='h1' xml:lang='cs'>{beside}</message>"));
    let paged = world.eve.paged();
    let subject = paged.text() == "Dobrý den" && paged.header("Subject") == Some("Lunch");
    let language = paged.header("Content-Language") == Some("cs");
    world.alice.send_raw(&format!("<message to='{DAVE}' type='chat' id='h2' xml:lang='cs'>{beside}</message>"));
    let at_dave = world.dave.saw("stanza", SOON, |event| has(event, "xml", "Dobrý den"));
    let at_dave = |part: &str| at_dave.as_ref().is_some_and(|event| has(event, "xml", part));
    world.eve.page(&format!("sip:{ALICE}"), "Subject: Oběd\r\nContent-Language: cs\r\n", "Nashledanou");
    let at_alice = world.alice.saw("stanza", SOON, |event| has(event, "xml", "Nashledanou"));
    let at_alice = |part: &str| at_alice.as_ref().is_some_and(|event| has(event, "xml", part));
    vec![
        Row { feature: "Subject", cells: [cell(subject), cell(at_alice("Oběd</subject>")), cell(at_dave("Lunch</subject>"))] },
        Row { feature: "Language", cells: [cell(language), cell(at_alice("lang=\"cs\"")), cell(at_dave("lang=\"cs\""))] },
    ]
}

/// What is said in a session (INVITE with MSRP): Eve begins it, towards Alice.
fn sessions(world: &mut World) -> Vec<Row> {
    let mut rows = Vec::new();
    let none = || "–".to_owned();
    world.eve.invite(&world.globex, &format!("sip:{ALICE}"));
    world.eve.send("s1000001", "session to Alice");
    let to_xmpp = world.alice.saw("message", SOON, |event| event["body"] == "session to Alice").is_some();
    world.alice.send(EVE, "s1", "session to Eve");
    let to_sip = world.eve.saw("session to Eve", SOON).is_some();
    rows.push(Row { feature: "Text in a session (MSRP)", cells: [cell(to_sip), cell(to_xmpp), none()] });

    let long: String = (0..60_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    world.eve.send("s2000001", &long);
    let to_xmpp = world.alice.saw("message", SOON, |event| event["body"] == long.as_str()).is_some();
    world.alice.send(EVE, "s2", &long);
    let to_sip = world.eve.saw(&long, SOON).is_some();
    world.alice.send(DAVE, "s3", &long);
    let xmpp = world.dave.saw("message", SOON, |event| event["body"] == long.as_str()).is_some();
    rows.push(Row { feature: "Text of 60 kB, in a session in chunks", cells: [cell(to_sip), cell(to_xmpp), cell(xmpp)] });

    world.eve.send("s3000001", &"x".repeat(1_000_000));
    let told = world.eve.report("s3000001") == 413;
    rows.push(Row {
        feature: "Text of 1 MB (between two SIP companies: yes, see sessions.rs)",
        cells: [none(), reduced(told, "refused, for an XMPP server would not take it, and the sender is told"), none()],
    });

    chat(
        &mut world.alice,
        EVE,
        "s4",
        "<body>very bold words</body><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>very <strong>bold</strong> words</body></html>",
    );
    let html = world.eve.saw("bold words", SOON).is_some_and(|received| {
        let body = String::from_utf8_lossy(&received.body).into_owned();
        received.media.starts_with("multipart/alternative") && body.contains("<b>bold</b>") && body.contains("very bold words")
    });
    world.eve.send_as("s4000001", "text/html", "<p>so <b>bold</b> <script>x</script>words</p>");
    let xhtml = world
        .alice
        .saw("stanza", SOON, |event| has(event, "xml", "so bold words</body>") && has(event, "xml", "<strong>bold</strong>"));
    rows.push(Row {
        feature: "Rich text with a client that shows it (HTML, XHTML-IM)",
        cells: [cell(html), cell(xhtml.is_some()), none()],
    });

    let composing = "<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state></isComposing>";
    world.eve.send_as("s5000001", "application/im-iscomposing+xml", composing);
    let to_xmpp = sees(&mut world.alice, "<composing", SOON);
    chat(&mut world.alice, EVE, "s5", "<composing xmlns='http://jabber.org/protocol/chatstates'/>");
    let to_sip = world.eve.saw("<state>active</state>", SOON).is_some();
    rows.push(Row { feature: "Typing in a session", cells: [cell(to_sip), cell(to_xmpp), none()] });

    world.eve.send("s6000001", "report this");
    let id = id_of(&mut world.alice, "report this").unwrap_or_default();
    chat(&mut world.alice, EVE, "s6", &format!("<received xmlns='urn:xmpp:receipts' id='{id}'/>"));
    let to_xmpp = world.eve.report("s6000001") == 200;
    chat(&mut world.alice, EVE, "s7", "<body>report that</body><request xmlns='urn:xmpp:receipts'/>");
    world.eve.saw("report that", SOON);
    let to_sip = sees(&mut world.alice, "<received xmlns=\"urn:xmpp:receipts\" id=\"s7\"", SOON);
    rows.push(Row { feature: "Delivery report in a session", cells: [cell(to_sip), cell(to_xmpp), none()] });

    world.eve.bye();
    let gone = sees(&mut world.alice, "<gone", SOON);
    rows.push(Row { feature: "End of a session", cells: [none(), reduced(gone, "as `gone`"), none()] });
    rows
}

fn typing(world: &mut World) -> Row {
    let composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    // Nobody is told of the typing of strangers: both have written by now.
    chat(&mut world.alice, BOB, "c1", composing);
    let to_sip = world.bob.saw("composing", SOON, |event| event["active"] == true).is_some();
    world.bob.compose(&format!("sip:{ALICE}"));
    let to_xmpp = sees(&mut world.alice, "<composing", SOON);
    chat(&mut world.alice, DAVE, "c3", composing);
    let xmpp = sees(&mut world.dave, "<composing", SOON);
    Row { feature: "Typing", cells: [cell(to_sip), cell(to_xmpp), cell(xmpp)] }
}

fn receipts(world: &mut World) -> [Row; 2] {
    let asking = |text: &str| {
        format!("<body>{text}</body><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>")
    };
    chat(&mut world.alice, BOB, "r1", &asking("receipt to Bob"));
    bob_reads(world, "receipt to Bob", SOON);
    let delivered_at_sip = sees(&mut world.alice, "<received xmlns=\"urn:xmpp:receipts\" id=\"r1\"", SOON);
    world.bob.read(&format!("sip:{ALICE}"));
    let displayed_at_sip = sees(&mut world.alice, "<displayed xmlns=\"urn:xmpp:chat-markers:0\" id=\"r1\"", SOON);

    world.bob.send(&format!("sip:{ALICE}"), "r2", "receipt to Alice");
    let id = id_of(&mut world.alice, "receipt to Alice").unwrap_or_default();
    chat(&mut world.alice, BOB, "r3", &format!("<received xmlns='urn:xmpp:receipts' id='{id}'/>"));
    let delivered_at_xmpp = world.bob.saw("receipt", SOON, |event| event["id"] == "r2" && event["what"] == "delivered").is_some();
    chat(&mut world.alice, BOB, "r4", &format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>"));
    let displayed_at_xmpp = world.bob.saw("receipt", SOON, |event| event["id"] == "r2" && event["what"] == "displayed").is_some();

    chat(&mut world.alice, DAVE, "r5", &asking("receipt to Dave"));
    sees(&mut world.dave, "receipt to Dave", SOON);
    chat(&mut world.dave, ALICE, "r6", "<received xmlns='urn:xmpp:receipts' id='r5'/>");
    let delivered = sees(&mut world.alice, "<received xmlns=\"urn:xmpp:receipts\" id=\"r5\"", SOON);
    chat(&mut world.dave, ALICE, "r7", "<displayed xmlns='urn:xmpp:chat-markers:0' id='r5'/>");
    let displayed = sees(&mut world.alice, "<displayed xmlns=\"urn:xmpp:chat-markers:0\" id=\"r5\"", SOON);
    [
        Row {
            feature: "Delivery receipt (XEP-0184, RFC 5438)",
            cells: [cell(delivered_at_sip), cell(delivered_at_xmpp), cell(delivered)],
        },
        Row {
            feature: "Display receipt (XEP-0333, RFC 5438)",
            cells: [cell(displayed_at_sip), cell(displayed_at_xmpp), cell(displayed)],
        },
    ]
}

/// Somebody's presence as a line of the table: how it is said, and what the other sees.
struct State {
    name: &'static str,
    show: &'static str,
    /// As Linphone names it.
    activity: &'static str,
}

const STATES: [State; 4] = [
    State { name: "available", show: "", activity: "" },
    State { name: "away", show: "away", activity: "away" },
    State { name: "do not disturb, busy", show: "dnd", activity: "busy" },
    State { name: "away for long", show: "xa", activity: "away" },
];

fn show(client: &mut XmppClient, to: &str, show: &str, status: &str) {
    let _ = to;
    let show = if show.is_empty() { String::new() } else { format!("<show>{show}</show>") };
    let status = if status.is_empty() { String::new() } else { format!("<status>{status}</status>") };
    client.send_raw(&format!("<presence>{show}{status}<priority>5</priority></presence>"));
}

fn is_from(event: &Value, who: &str) -> bool {
    event["from"].as_str().is_some_and(|from| from.starts_with(who))
}

/// What a slixmpp client reports of somebody's presence.
fn shown(event: &Value, who: &str, state: &str) -> bool {
    let kind = if state.is_empty() { "available" } else { state };
    is_from(event, who) && (event["type"] == kind || event["show"] == state && !state.is_empty())
}

fn presence(world: &mut World) -> Vec<Row> {
    let mut rows = Vec::new();
    let bob_uri = format!("sip:{BOB}");
    let alice_uri = format!("sip:{ALICE}");
    // Alice asks to see Bob, whose server lets everybody.
    world.bob.publish("", "");
    world.alice.send_raw(&format!("<presence to='{BOB}' type='subscribe' id='s1'/>"));
    let of_bob = world.alice.saw("presence", SOON, |event| is_from(event, BOB) && event["type"] == "subscribed").is_some();
    // Bob asks to see Alice, who is asked and agrees.
    world.bob.watch(&alice_uri);
    let asked = world.alice.saw("presence", SOON, |event| is_from(event, BOB) && event["type"] == "subscribe").is_some();
    world.alice.send_raw(&format!("<presence to='{BOB}' type='subscribed'/>"));
    let of_alice =
        world.bob.saw("presence", SOON, |event| event["from"] == alice_uri.as_str() && event["open"] == true).is_some();
    // Alice asks to see Dave, who is asked and agrees; and the other way.
    world.alice.send_raw(&format!("<presence to='{DAVE}' type='subscribe'/>"));
    let dave_asked = world.dave.saw("presence", SOON, |event| is_from(event, ALICE) && event["type"] == "subscribe").is_some();
    world.dave.send_raw(&format!("<presence to='{ALICE}' type='subscribed'/>"));
    let of_dave = world.alice.saw("presence", SOON, |event| is_from(event, DAVE) && event["type"] == "subscribed").is_some();
    world.dave.send_raw(&format!("<presence to='{ALICE}' type='subscribe'/>"));
    world.alice.saw("presence", SOON, |event| is_from(event, DAVE) && event["type"] == "subscribe");
    world.alice.send_raw(&format!("<presence to='{DAVE}' type='subscribed'/>"));
    world.dave.saw("presence", SOON, |event| is_from(event, ALICE) && event["type"] == "subscribed");
    rows.push(Row {
        feature: "Presence: asked for and allowed",
        cells: [cell(of_bob), cell(asked && of_alice), cell(dave_asked && of_dave)],
    });
    for state in &STATES {
        // Each way the column says whose presence goes: from XMPP to SIP it is Alice's.
        show(&mut world.alice, BOB, state.show, "");
        let wanted = state.activity;
        let to_sip = world.bob.saw("presence", SOON, |event| {
            event["from"] == alice_uri.as_str() && event["open"] == true && (wanted.is_empty() || has(event, "activity", wanted))
        });
        let xmpp = world.dave.saw("presence", SOON, |event| shown(event, ALICE, state.show)).is_some();
        let to_xmpp = if state.show == "xa" {
            // PIDF has one word for both; only a holiday and the like are long.
            world.bob.publish("vacation", "");
            world.alice.saw("presence", SOON, |event| shown(event, BOB, "xa")).is_some()
        } else {
            world.bob.publish(state.activity, "");
            world.alice.saw("presence", SOON, |event| shown(event, BOB, state.show)).is_some()
        };
        let to_sip = if state.show == "xa" { reduced(to_sip.is_some(), "away") } else { cell(to_sip.is_some()) };
        rows.push(Row { feature: state.name, cells: [to_sip, cell(to_xmpp), cell(xmpp)] });
    }
    let lunch = "Out to lunch & back <soon>";
    show(&mut world.alice, BOB, "away", "Out to lunch &amp; back &lt;soon&gt;");
    let at_bob = world.bob.saw("presence", SOON, |event| event["from"] == alice_uri.as_str() && event["note"] == lunch).is_some();
    let at_dave = world.dave.saw("presence", SOON, |event| is_from(event, ALICE) && event["status"] == lunch).is_some();
    world.bob.publish("away", lunch);
    let at_alice = world.alice.saw("presence", SOON, |event| is_from(event, BOB) && event["status"] == lunch).is_some();
    rows.push(Row { feature: "A note on it", cells: [cell(at_bob), cell(at_alice), cell(at_dave)] });

    nothing_of_it_is_logged(world);
    // The hub is killed and started again: no watch is lost.
    drop(world.hub.take());
    world.hub = Some(world.files.start());
    std::thread::sleep(NOT_COMING);
    let long = Duration::from_secs(60);
    show(&mut world.alice, BOB, "dnd", "after the restart");
    let at_bob =
        world.bob.saw("presence", long, |event| event["from"] == alice_uri.as_str() && event["note"] == "after the restart");
    world.bob.publish("busy", "after the restart");
    let at_alice = world.alice.saw("presence", long, |event| is_from(event, BOB) && event["status"] == "after the restart");
    let at_dave = world.dave.saw("presence", long, |event| is_from(event, ALICE) && event["status"] == "after the restart");
    rows.push(Row {
        feature: "Watches outlive a SIGKILL of the hub",
        cells: [cell(at_bob.is_some()), cell(at_alice.is_some()), cell(at_dave.is_some())],
    });

    world.alice.send_raw("<presence type='unavailable'/>");
    let at_bob = world.bob.saw("presence", SOON, |event| event["from"] == alice_uri.as_str() && event["open"] == false).is_some();
    let at_dave = world.dave.saw("presence", SOON, |event| is_from(event, ALICE) && event["type"] == "unavailable").is_some();
    world.alice.send_raw("<presence/>");
    rows.push(Row { feature: "Gone offline", cells: [cell(at_bob), "–".to_owned(), cell(at_dave)] });

    // Alice takes it back.
    world.alice.send_raw(&format!("<presence to='{BOB}' type='unsubscribed'/>"));
    world.alice.send_raw(&format!("<presence to='{DAVE}' type='unsubscribed'/>"));
    let at_dave = world.dave.saw("presence", SOON, |event| is_from(event, ALICE) && event["type"] == "unsubscribed").is_some();
    let at_bob = world.bob.saw("presence", SOON, |event| event["from"] == alice_uri.as_str() && event["open"] != true).is_some();
    rows.push(Row { feature: "Permission taken back", cells: [cell(at_bob), "–".to_owned(), cell(at_dave)] });
    let _ = bob_uri;
    rows
}

/// Whatever was said went through the hub, and none of it is in its log: neither words, nor subjects, notes, or names before the `@`.
fn nothing_of_it_is_logged(world: &World) {
    let log = world.hub.as_ref().expect("it runs").log();
    let said = [
        "東京",
        "order 1",
        "anybody?",
        "corrected words",
        "old words",
        "took a message",
        "files.acme.example",
        "bold words",
        "delayed words",
        "Lunch",
        "Dobrý",
        "Oběd",
        "Nashledanou",
        "session to",
        "abcdefghij",
        "xxxxxxxxxx",
        "report th",
        "receipt to",
        "Out to lunch",
        "after the restart",
    ];
    for words in said {
        assert!(!log.contains(words), "the log has {words:?}");
    }
    for name in ["alice@", "bob@", "dave@", "eve@", "nobody@"] {
        assert!(!log.contains(name), "the log has {name}");
    }
    assert!(log.lines().count() > 10, "it logs what happens");
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "# What people get\n\nGenerated by `integration-tests/tests/fidelity.rs` from what real clients reported: slixmpp at Prosody 0.12 and at ejabberd 23.01, Linphone 5.1\nat Kamailio 5.6 with its presence modules, and in sessions a client behind the same Kamailio as MSRP relay. *yes*: as it was sent. *reduced*: how it arrives. *–*: the sending side has nothing of the kind. In rows of\npresence the column says whose state goes where.\n\n| feature | XMPP → SIP | SIP → XMPP | XMPP → XMPP |\n|---|---|---|---|\n",
    );
    for Row { feature, cells: [to_sip, to_xmpp, xmpp] } in rows {
        writeln!(text, "| {feature} | {to_sip} | {to_xmpp} | {xmpp} |").expect("a string takes all");
    }
    text
}

#[test]
fn the_table_is_what_people_get() {
    let mut world = World::start();
    let mut rows = Vec::new();
    let mut add = |more: Vec<Row>| {
        // Whoever waits for the rest may read these already.
        more.iter().for_each(|row| println!("{}: {}", row.feature, row.cells.join(" | ")));
        rows.extend(more);
    };
    add(texts(&mut world));
    add(vec![typing(&mut world)]);
    add(receipts(&mut world).into());
    add(beside_the_words(&mut world));
    add(headers(&mut world));
    add(sessions(&mut world));
    add(presence(&mut world));
    nothing_of_it_is_logged(&world);
    let seen = table(&rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fidelity.md");
    if std::env::var("UPDATE_FIDELITY").is_ok() {
        std::fs::write(&path, &seen).expect("docs/fidelity.md can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(seen, committed, "docs/fidelity.md says something else; UPDATE_FIDELITY=1 writes what was seen");
}
