//! Sametime clients when something goes wrong: the hub is killed, or somebody sends what no client would; and every state and every kind of
//! text, as real clients on both sides show it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::sametime_community::{ALICE, BOB, CAROL, PASSWORD, SametimeCommunity};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_sametime::codec::{
    Body, ClientType, Create, Frame, Handshake, HandshakeMore, Login, Message, SEND_SAID, Said, Stream, WireString, service,
};
use interchange_sametime::reason;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
/// After a restart the hub and Prosody find each other again, and the hub asks for all states.
const AGAIN: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_millis(500);
/// What a client keeps at the hub is durable within a second of the answer; and a bit.
const KEPT_WITHIN: Duration = Duration::from_millis(1_500);
/// How soon the hub must close a connection on which something was said that cannot be.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

const ACTIVE: u16 = 0x20;
const MEETING: u16 = 0x08;
const IDLE: u16 = 0x40;
const AWAY: u16 = 0x60;
const BUSY: u16 = 0x80;
const OFFLINE: u16 = 0x00;

fn is_from(event: &Value, address: &str) -> bool {
    event["from"].as_str().is_some_and(|from| from.starts_with(address))
}

/// Both ask to see the other, and may.
fn see_each_other(alice: &mut XmppClient, bob: &mut MeanwhileClient) {
    bob.watch(&[ALICE]);
    alice.send_raw(&format!("<presence type='subscribe' to='{BOB}'/>"));
    let allowed = alice.saw("presence", SOON, |event| is_from(event, BOB) && event["type"] == "subscribed");
    assert!(allowed.is_some(), "Bob may be seen");
    let asks = alice.saw("presence", SOON, |event| is_from(event, BOB) && event["type"] == "subscribe");
    assert!(asks.is_some(), "Bob asks");
    alice.send_raw(&format!("<presence type='subscribed' to='{BOB}'/>"));
    bob.expect_presence(ALICE, "active", SOON, |seen| seen.online && seen.status == u64::from(ACTIVE));
}

#[test]
fn after_a_kill_of_the_hub_people_sign_in_again_and_find_everything() {
    let mut community = SametimeCommunity::start_with(None, Some("offline = \"hold\""));
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    see_each_other(&mut alice, &mut bob);
    let list = "Version=3.1.3\r\nG Work2 Work O\r\nU alice@acme.example1:: Alice,\r\n";
    assert_eq!(bob.store_and_load(0, list, SOON), list);
    // Carol is not here: it waits for her.
    alice.send(CAROL, "waits", "This waits for you.");
    community.hub().wait_for_line(&["\"deferred\"", "\"text\"", "\"globex\""], SOON);
    // Nothing shows when it is durable but the time that is promised.
    thread::sleep(KEPT_WITHIN);
    bob.expect_no_warning();

    community.kill_hub();
    assert_eq!(bob.expect_stopped(SOON).0, -1, "no goodbye, only the end of the connection");
    // What is true changes while the hub is away.
    alice.send_raw("<presence><show>away</show><status>Since the hub is gone</status></presence>");
    community.start_hub();

    let mut bob = community.meanwhile("bob");
    bob.command(&json!({ "op": "load", "key": 0 }));
    let loaded = bob.saw("loaded", SOON, |event| event["key"] == 0).expect("the list");
    assert_eq!(loaded["value"], list);
    bob.watch(&[ALICE]);
    let away = bob.expect_presence(ALICE, "away", AGAIN, |seen| seen.note == "Since the hub is gone");
    assert_eq!((away.online, away.status), (true, u64::from(AWAY)));
    bob.set_status(AWAY, "Back at the hub");
    let seen = alice.saw("presence", AGAIN, |event| is_from(event, BOB) && event["status"] == "Back at the hub");
    assert_eq!(seen.expect("Bob is seen again")["show"], "away");

    let mut carol = community.meanwhile("carol");
    let waited = carol.expect_message(AGAIN);
    assert_eq!((waited.from.contains(ALICE), waited.text.as_str()), (true, "This waits for you."), "{waited:?}");
    alice.send(BOB, "after", "after the kill");
    assert_eq!(bob.expect_message(AGAIN).text, "after the kill");
    bob.send(ALICE, "after the kill, too");
    assert_eq!(alice.expect_message(AGAIN).body, "after the kill, too");
    carol.expect_no_message(QUIET);
    bob.expect_no_message(QUIET);
    assert!(alice.saw("error", QUIET, |_| true).is_none(), "nothing was lost");
    bob.expect_no_warning();
    carol.expect_no_warning();
}

#[test]
fn to_pidgin_s_plugin_a_kill_of_the_hub_is_a_fault_of_the_network() {
    let mut community = SametimeCommunity::start();
    let account = PurpleAccount::sametime("carol", PASSWORD, community.address());
    let mut alice = community.alice();
    let mut carol = PurpleClient::sign_on(&account);
    alice.send(CAROL, "before", "before the kill");
    assert_eq!(carol.expect_message(SOON).text, "before the kill");
    community.kill_hub();
    // Pidgin and Finch sign on again by themselves after this reason, but not after "name-in-use" or "authentication-failed"; the library
    // itself never does.
    let (reason, text) = carol.expect_connection_error(SOON);
    assert_eq!(reason, "network", "{text}");
    community.start_hub();
    let mut carol = PurpleClient::sign_on(&account);
    alice.send(CAROL, "after", "after the kill");
    assert_eq!(carol.expect_message(AGAIN).text, "after the kill");
    carol.send(&format!("@E {ALICE}"), "here again");
    assert_eq!(alice.expect_message(AGAIN).body, "here again");
    carol.expect_no_message(QUIET);
}

fn connect(hub: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(hub).expect("the hub listens");
    socket.set_nodelay(true).expect("an open socket takes options");
    socket.set_write_timeout(Some(CLOSED_WITHIN)).expect("an open socket takes options");
    socket
}

/// What the hub says until it closes the connection.
#[track_caller]
fn said_until_closed(socket: &mut TcpStream, attack: &str) -> Vec<Message> {
    let deadline = Instant::now() + CLOSED_WITHIN;
    let mut stream = Stream::default();
    let mut chunk = [0; 4_096];
    loop {
        // No time at all would mean for ever.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).expect("an open socket takes options");
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => stream.push(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{attack}: the hub has not closed within {CLOSED_WITHIN:?}: {error}"),
        }
        assert!(Instant::now() < deadline, "{attack}: the hub goes on talking for {CLOSED_WITHIN:?}");
    }
    let mut messages = Vec::new();
    while let Some(frame) = stream.next(1 << 20).expect("the hub speaks the protocol") {
        if let Frame::Message(bytes) = frame {
            messages.push(Message::decode(&bytes).expect("the hub speaks the protocol"));
        }
    }
    messages
}

fn handshake() -> Vec<u8> {
    let more = HandshakeMore { unknown: 0x0100, zero: 0, host: WireString::default() };
    let handshake = Handshake { major: 0x1e, minor: 0x1d, login_type: 0x1700, more: Some(more), ..Handshake::default() };
    Message::new(0, Body::Handshake(handshake)).encode()
}

/// A frame with these bytes behind the header of a message.
fn frame(kind: u16, options: u16, inside: &[u8]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend(options.to_be_bytes());
    message.extend([0_u8; 4]);
    message.extend(inside);
    let length = u32::try_from(message.len()).expect("a short message");
    [&length.to_be_bytes()[..], &message].concat()
}

/// What no client sends, and the reason that the hub gives for its goodbye; `None`: it closes without a word, since the other would not understand it.
fn attacks() -> Vec<(&'static str, Vec<u8>, Option<u32>)> {
    let after_handshake = |bytes: &[u8]| [&handshake()[..], bytes].concat();
    let endless: Vec<u8> = [&[0x7f, 0xff, 0xff, 0xff][..], &vec![0; 256 * 1024]].concat();
    // A login type, and a name of 65,535 bytes of which three are there.
    let long_name = frame(1, 0, &[0x17, 0x00, 0xff, 0xff, b'b', b'o', b'b']);
    // A whole name, and a password of 4 GiB.
    let long_password = frame(1, 0, &[0x17, 0x00, 0, 3, b'b', b'o', b'b', 0xff, 0xff, 0xff, 0xff, 1, 2]);
    // Attributes of 4 GiB before everything else.
    let long_attributes = frame(0, 0x8000, &[0xff, 0xff, 0xff, 0xff]);
    // A privacy list of 4 thousand million people.
    let long_list = frame(0x0b, 0, &[1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0]);
    let login = Message::new(0, Body::Login(Login { login_type: 0x1700, name: "bob".into(), ..Login::default() })).encode();
    let create = Create {
        id: 3,
        service: service::MESSAGES,
        protocol: service::MESSAGES,
        data: ClientType::PLAIN.to_create(),
        ..Create::default()
    };
    let create = Message::new(0, Body::Create(create)).encode();
    let words = Body::Send { kind: SEND_SAID, payload: Said::Text("hello".into()).write() };
    let words = Message::new(3, words).encode();
    let flood = [vec![0x80; 1 << 20], frame(0x7777, 0, &[]).repeat(5_000)].concat();
    vec![
        ("2 GiB at once", endless.clone(), None),
        ("2 GiB behind a keep-alive", [&[0x80][..], &endless].concat(), Some(reason::PROTOCOL)),
        ("64 KiB before the login", after_handshake(&[0, 1, 0, 0]), Some(reason::PROTOCOL)),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n".to_vec(), None),
        ("a name that is not there", after_handshake(&long_name), None),
        ("a password that is not there", after_handshake(&long_password), None),
        ("attributes that are not there", long_attributes, None),
        ("a list that is not there", after_handshake(&long_list), None),
        ("a login before the handshake", login, Some(reason::PROTOCOL)),
        ("a second handshake", after_handshake(&handshake()), Some(reason::PROTOCOL)),
        ("a channel before the login", after_handshake(&create), Some(reason::PROTOCOL)),
        ("words before the login", after_handshake(&words), Some(reason::PROTOCOL)),
        ("a flood of keep-alives and unknown messages", flood, Some(reason::RESTRICTED)),
    ]
}

#[test]
fn abuse_21_22_23_what_no_client_sends_ends_its_connection_and_touches_nobody_else() {
    const ROUNDS: usize = 10;
    const SILENT: usize = 40;
    const MEMORY: u64 = 32 * 1024 * 1024;
    let mut community = SametimeCommunity::start();
    let hub = community.address();
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    let mut talk = |round: usize| {
        alice.send(BOB, &format!("r{round}"), &format!("to Bob {round}"));
        assert_eq!(bob.expect_message(SOON).text, format!("to Bob {round}"));
        bob.send(ALICE, &format!("to Alice {round}"));
        assert_eq!(alice.expect_message(SOON).body, format!("to Alice {round}"));
        bob.expect_no_warning();
    };
    talk(0);
    let before = community.hub().usage().resident_bytes;
    // They say nothing more: that they are closed after 30 s is a matter of the adapter's own tests.
    let silent: Vec<TcpStream> = (0..SILENT)
        .map(|_| {
            let mut socket = connect(hub);
            let half: Vec<u8> = [&[0, 0, 0x40, 0][..], &[0; 8 * 1024]].concat();
            socket.write_all(&half).expect("the hub takes half a frame");
            socket
        })
        .collect();
    let attacks = attacks();
    for round in 1..=ROUNDS {
        for (attack, bytes, goodbye) in &attacks {
            let mut socket = connect(hub);
            // The hub may close before it has all.
            let _ = socket.write_all(bytes);
            let said = said_until_closed(&mut socket, attack);
            let reasons: Vec<u32> = said
                .iter()
                .filter_map(|message| match message.body {
                    Body::Destroy { reason, .. } if message.channel == 0 => Some(reason),
                    _ => None,
                })
                .collect();
            assert_eq!(reasons, Vec::from_iter(*goodbye), "{attack}: {said:?}");
        }
        talk(round);
    }
    let after = community.hub().usage().resident_bytes;
    assert!(after.saturating_sub(before) <= MEMORY, "{before} bytes have become {after}");
    drop(silent);
}

/// The name of a state, what its stanza holds, and what a Sametime client shows.
const FROM_XMPP: [(&str, &str, u16); 7] = [
    ("available", "", ACTIVE),
    ("chat", "<show>chat</show>", ACTIVE),
    ("away", "<show>away</show>", AWAY),
    ("idle", "<show>away</show><idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00Z'/>", IDLE),
    ("xa", "<show>xa</show>", AWAY),
    ("dnd", "<show>dnd</show>", BUSY),
    ("again available", "", ACTIVE),
];

/// The name of a state, its number, and the `show` on XMPP.
const FROM_SAMETIME: [(&str, u16, &str); 6] = [
    ("meeting", MEETING, "dnd"),
    ("idle", IDLE, "away"),
    ("away", AWAY, "away"),
    ("busy", BUSY, "dnd"),
    ("a mobile client's away", 0x0200 | AWAY, "away"),
    ("active", ACTIVE, ""),
];

#[test]
fn every_state_of_each_side_is_shown_on_the_other() {
    let community = SametimeCommunity::start();
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    see_each_other(&mut alice, &mut bob);
    for (name, inside, status) in FROM_XMPP {
        alice.send_raw(&format!("<presence>{inside}<status>{name}</status></presence>"));
        let seen = bob.expect_presence(ALICE, name, SOON, |seen| seen.note == name);
        assert_eq!((seen.online, seen.status), (true, u64::from(status)), "{name}: {seen:?}");
    }
    // What was shown until now is no answer to what comes.
    while bob.saw("presence", Duration::ZERO, |_| true).is_some() {}
    alice.send_raw("<presence type='unavailable'/>");
    bob.expect_presence(ALICE, "not here", SOON, |seen| !seen.online);
    alice.send_raw("<presence><status>back</status></presence>");
    bob.expect_presence(ALICE, "back", SOON, |seen| seen.online && seen.note == "back" && seen.status == u64::from(ACTIVE));

    for (name, state, show) in FROM_SAMETIME {
        bob.set_status(state, name);
        let seen = alice.saw("presence", SOON, |event| is_from(event, BOB) && event["status"] == name);
        let seen = seen.unwrap_or_else(|| panic!("{name} is not shown"));
        assert_eq!(seen["show"], show, "{name}: {seen}");
        assert_ne!(seen["type"], "unavailable", "{name}: {seen}");
    }
    while alice.saw("presence", Duration::ZERO, |_| true).is_some() {}
    bob.set_status(OFFLINE, "");
    let gone = alice.saw("presence", SOON, |event| is_from(event, BOB) && event["type"] == "unavailable");
    assert!(gone.is_some(), "whoever shows himself as offline is not here");
    bob.set_status(ACTIVE, "visible");
    let back = alice.saw("presence", SOON, |event| is_from(event, BOB) && event["status"] == "visible");
    assert_eq!(back.expect("Bob is back")["show"], "");
    bob.expect_no_warning();
}

#[test]
fn formatted_text_is_readable_on_both_sides() {
    const XHTML: &str = "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>\
                         very <strong>bold</strong> &amp; <em>slanted</em></body></html>";
    let community = SametimeCommunity::start_with(Some("xhtml_im = true"), None);
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    let mut carol = community.meanwhile("carol");
    bob.set_rich(true);
    bob.send_html(ALICE, "<font face='Sans'>now <b>bold</b> &amp; <i>slanted</i> &lt;plain&gt;<br>next</font>");
    assert_eq!(alice.expect_message(SOON).body, "now bold & slanted <plain>\nnext");
    let bold = |event: &Value| event["xml"].as_str().is_some_and(|xml| xml.contains("<strong>bold</strong>"));
    assert!(alice.saw("stanza", SOON, bold).is_some(), "formatted on XMPP, too");

    // Bob's client takes HTML, Carol's does not.
    for to in [BOB, CAROL] {
        alice.send_raw(&format!("<message to='{to}' type='chat'><body>very bold &amp; slanted</body>{XHTML}</message>"));
    }
    let html = bob.expect_message(SOON);
    assert_eq!(html.kind, "html", "{html:?}");
    assert!(html.text.contains("very <b>bold</b> &amp; <i>slanted</i>"), "{html:?}");
    let words = carol.expect_message(SOON);
    assert_eq!((words.kind.as_str(), words.text.as_str()), ("text", "very bold & slanted"));
    // Words that look like mark-up are words, whatever the conversation can carry.
    let looks_so = "5 < 6 && <b>not bold</b>";
    alice.send(BOB, "looks-so", looks_so);
    let words = bob.expect_message(SOON);
    assert_eq!((words.kind.as_str(), words.text.as_str()), ("text", looks_so));
    bob.expect_no_warning();
    carol.expect_no_warning();
}
