//! Sametime clients when the hub is killed; and every state and every kind of text, as real clients on both sides show it.

use std::thread;
use std::time::{Duration, Instant};

use interchange_integration_tests::faults::proxy::{FaultProxy, Mode};
use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::sametime_community::{ALICE, BOB, CAROL, PASSWORD, SametimeCommunity};
use interchange_integration_tests::xmpp_client::XmppClient;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
/// After a restart the hub and Prosody find each other again, and the hub asks for all states.
const AGAIN: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_millis(500);
/// What a client keeps at the hub is durable within a second of the answer; and a bit.
const KEPT_WITHIN: Duration = Duration::from_millis(1_500);

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

/// As Pidgin's plugin names her.
fn external(address: &str) -> String {
    format!("@E {address}")
}

#[test]
fn pidgin_comes_back_by_itself_after_a_kill_of_the_hub_with_its_list_its_contacts_and_every_message() {
    const MESSAGES: usize = 5;
    let mut community = SametimeCommunity::start();
    let mut alice = community.alice();
    let way = FaultProxy::start(community.address());
    let account = PurpleAccount::sametime("carol", PASSWORD, way.address()).that_returns();
    // What another client of hers has stored.
    let list = format!("Version=3.1.3\r\nG Work2 Work O\r\nU @E;{ALICE}2:: {ALICE},\r\n");
    let mut elsewhere = community.meanwhile("carol");
    assert_eq!(elsewhere.store_and_load(0, &list, SOON), list);
    elsewhere.sign_out();
    let mut carol = PurpleClient::sign_on(&account);
    let asks = alice.saw("presence", SOON, |event| is_from(event, CAROL) && event["type"] == "subscribe");
    assert!(asks.is_some(), "whom the stored list holds is watched");
    alice.send_raw(&format!("<presence type='subscribed' to='{CAROL}'/>"));
    carol.expect_presence(&external(ALICE), "active", SOON);
    alice.send(CAROL, "before", "before the kill");
    assert_eq!(carol.expect_message(SOON).text, "before the kill");
    thread::sleep(KEPT_WITHIN);

    // The hub takes them and says them; but nothing comes through, and it does not know whether she has them.
    way.set(Mode::BlackHole);
    for number in 0..MESSAGES {
        alice.send(CAROL, &format!("l{number}"), &format!("lost on the way {number}"));
    }
    let accepted = |hub: &str| hub.lines().filter(|line| line.contains("\"accepted\"") && line.contains("\"text\"")).count();
    let deadline = Instant::now() + SOON;
    while accepted(&community.hub().log()) < 1 + MESSAGES {
        assert!(Instant::now() < deadline, "{}", community.hub().log());
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(QUIET);
    community.kill_hub();
    way.cut_now();
    way.set(Mode::Through);
    let (reason, text) = carol.expect_connection_error(SOON);
    assert_eq!(reason, "network", "{text}");
    alice.send_raw("<presence><show>away</show><status>Since the hub is gone</status></presence>");
    community.start_hub();

    carol.expect_signed_on(AGAIN);
    carol.expect_note(&external(ALICE), "Since the hub is gone", AGAIN);
    for number in 0..MESSAGES {
        assert_eq!(carol.expect_message(AGAIN).text, format!("lost on the way {number}"));
    }
    carol.send(&external(ALICE), "here again");
    assert_eq!(alice.expect_message(AGAIN).body, "here again");
    carol.expect_no_message(QUIET);
    assert!(alice.saw("error", Duration::ZERO, |_| true).is_none(), "nothing was lost");

    // What a client shows that has no list of its own, comes from the hub.
    let mut fresh = PurpleClient::sign_on(&account);
    let away = fresh.expect_presence(&external(ALICE), "away", SOON);
    assert!(away.online, "{away:?}");
    let contacts: Vec<String> = fresh.contacts().into_iter().map(|contact| contact.who).collect();
    assert_eq!(contacts, [external(ALICE)]);
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
