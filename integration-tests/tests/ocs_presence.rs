//! What people on Microsoft's servers and their partners on XMPP and SIP see of each other, in both dialects of the servers: every state, and
//! who is writing. Shown by real clients.

use std::time::Duration;

use interchange_integration_tests::ocs::{Community, Dialect, Message, Presence, WithSip};
use interchange_integration_tests::purple_client::PurpleClient;
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::xmpp_client::XmppClient;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);

const ALICE: &str = "alice@contoso.example";
/// As the plugin SIPE names them.
const BOB_ON_XMPP: &str = "sip:bob@acme.example";
const BOB_ON_SIP: &str = "sip:bob@globex.example";

fn is_hers(event: &Value) -> bool {
    event["from"].as_str().is_some_and(|from| from.starts_with(ALICE))
}

/// What was said of her so far is of no interest any more.
fn forget_her(bob: &mut XmppClient) {
    while bob.saw("presence", Duration::ZERO, is_hers).is_some() {}
}

/// Panics unless her presence is shown as one with these words of `show` and `status`.
#[track_caller]
fn sees_her(bob: &mut XmppClient, community: &Community, (show, status): (&str, &str), what: &str) {
    let fits = |event: &Value| {
        // The client has the word of `show`, or else that of `type`, as the type.
        let is_here = !["unavailable", "subscribe", "subscribed"].iter().any(|kind| event["type"] == *kind);
        is_hers(event) && is_here && event["show"] == show && event["status"] == status
    };
    let seen = bob.saw("presence", SOON, fits);
    assert!(seen.is_some(), "{what} is not seen as {show:?}, {status:?}; {:?}", community.contoso.presence_of("alice"));
}

#[track_caller]
fn sees_her_gone(bob: &mut XmppClient, what: &str) {
    assert!(bob.saw("presence", SOON, |event| is_hers(event) && event["type"] == "unavailable").is_some(), "{what}");
}

/// People on XMPP choose each state that there is; what her client shows. The note tells old documents from new ones.
fn states_on_xmpp(alice: &mut PurpleClient, people: &mut [XmppClient; 2], dialect: Dialect) {
    let [idle, disturbed] = match dialect {
        Dialect::Ocs2007 => ["idle", "do-not-disturb"],
        // The older documents have no word for who must not be disturbed, and the plugin shows who is idle so, with the word before the note.
        Dialect::Lcs2005 => ["away", "busy"],
    };
    let was_here = "<show>away</show><idle xmlns='urn:xmpp:idle:1' since='2026-01-02T03:04:05Z'/>";
    // One document in 5 s is what a watcher is told of each of them (RFC 3856 §6.10), so there are two.
    let cases = [
        [("<show>chat</show>", "available"), ("<show>away</show>", "away")],
        [(was_here, idle), ("<show>xa</show>", "away")],
        [("<show>dnd</show>", disturbed), ("", "offline")],
        [("", "available"), ("", "available")],
    ];
    for (number, pair) in cases.into_iter().enumerate() {
        let note = format!("note {number}");
        for (person, (chosen, state)) in people.iter_mut().zip(pair) {
            let kind = if state == "offline" { " type='unavailable'" } else { "" };
            person.send_raw(&format!("<presence{kind}>{chosen}<status>{note}</status></presence>"));
        }
        for (person, (chosen, state)) in people.iter().zip(pair) {
            let who = format!("sip:{}", person.address());
            if state == "offline" {
                assert!(!alice.expect_presence(&who, state, SOON).online);
                continue;
            }
            let shown = alice.expect_note(&who, &note, SOON);
            assert_eq!((shown.state.as_str(), shown.online), (state, true), "{chosen:?}: {shown:?}");
            assert_eq!(shown.line.contains("Inactive"), chosen == was_here, "{shown:?}");
        }
    }
}

/// She chooses each state that her client offers; what his client shows.
fn her_states(alice: &mut PurpleClient, bob: &mut XmppClient, community: &Community) {
    let cases = [("away", "away"), ("be-right-back", "away"), ("busy", "dnd"), ("do-not-disturb", "dnd"), ("available", "")];
    for (number, (state, show)) in cases.into_iter().enumerate() {
        let note = format!("her note {number}");
        alice.set_status(state, Some(&note));
        sees_her(bob, community, (show, &note), state);
    }
    forget_her(bob);
    alice.set_status("invisible", Some("her last note"));
    sees_her_gone(bob, "invisible");
    alice.set_status("available", Some("here again"));
    sees_her(bob, community, ("", "here again"), "available");
}

/// Her server says of her what no client of the tests can: it has a telephone and a calendar. What his client shows where she has written no
/// note herself.
fn states_of_her_server(bob: &mut XmppClient, community: &Community, dialect: Dialect) {
    let cases = [
        (5000, "", ("away", "")),
        (6500, "", ("dnd", "")),
        (6500, "on-the-phone", ("dnd", "On the phone")),
        (6500, "in-a-meeting", ("dnd", "In a meeting")),
        (9500, "in-presentation", ("dnd", "Presenting")),
        (12500, "", ("away", "Be right back")),
        (15500, "out-of-office", ("xa", "")),
        (18500, "", ("unavailable", "")),
        (7500, "", ("dnd", "")),
    ];
    // The older documents have numbers alone, among them one for the telephone and none for meetings.
    let is_said = |token: &str| dialect == Dialect::Ocs2007 || matches!(token, "" | "on-the-phone");
    for (availability, token, (show, status)) in cases.into_iter().filter(|(_, token, _)| is_said(token)) {
        forget_her(bob);
        community.contoso.show_as("alice", Presence { availability, activity: token.to_owned(), note: String::new() });
        let what = format!("{availability} {token}");
        match show {
            "unavailable" => sees_her_gone(bob, &what),
            _ => sees_her(bob, community, (show, status), &what),
        }
    }
}

fn every_state(dialect: Dialect) {
    let community = Community::start_with(dialect, &["bob", "carol", "dave"], |acme| acme);
    let (mut alice, [mut bob, carol, dave]) = community.people_who_see_each_other(["bob", "carol", "dave"]);
    her_states(&mut alice, &mut bob, &community);
    std::thread::scope(|scope| {
        scope.spawn(|| states_of_her_server(&mut bob, &community, dialect));
        states_on_xmpp(&mut alice, &mut [carol, dave], dialect);
    });
    let document = match dialect {
        Dialect::Ocs2007 => "application/msrtc-event-categories+xml",
        Dialect::Lcs2005 => "text/xml+msrtc.pidf",
    };
    let fits = |message: &Message| message.method() == Some("NOTIFY") && message.header("Content-Type") == document;
    community.contoso.expect_from_partner(document, QUIET, fits);
    community.contoso.assert_no_faults();
}

#[test]
fn every_state_is_seen_between_sipe_and_xmpp() {
    every_state(Dialect::Ocs2007);
}

#[test]
fn every_state_is_seen_between_sipe_and_xmpp_in_the_dialect_of_2005() {
    every_state(Dialect::Lcs2005);
}

/// Panics unless a chat state (XEP-0085) of hers comes to him in a message without words.
#[track_caller]
fn hears_that_she(bob: &mut XmppClient, state: &str) {
    let element = format!("<{state} ");
    let fits = |event: &Value| {
        is_hers(event) && event["xml"].as_str().is_some_and(|xml| xml.contains(&element) && !xml.contains("<body"))
    };
    assert!(bob.saw("stanza", SOON, fits).is_some(), "he is not told that she is {state}");
}

fn typing_between_sipe_and_xmpp(dialect: Dialect) {
    let community = Community::start(dialect);
    let mut alice = community.alice();
    let mut bob = community.bob();
    // Typing goes where a session stands.
    bob.send(ALICE, "b1", "hello");
    alice.expect_message(SOON);
    alice.send(BOB_ON_XMPP, "hello you");
    let from = bob.expect_message(SOON).from;

    alice.typing(BOB_ON_XMPP, true);
    hears_that_she(&mut bob, "composing");
    alice.pause_typing(BOB_ON_XMPP);
    hears_that_she(&mut bob, "paused");

    let mut chat_state = |state: &str| {
        bob.send_raw(&format!(
            "<message to='{from}' type='chat'><{state} xmlns='http://jabber.org/protocol/chatstates'/></message>"
        ));
    };
    chat_state("composing");
    alice.expect_typing(BOB_ON_XMPP, "typing", SOON);
    chat_state("paused");
    alice.expect_typing(BOB_ON_XMPP, "stopped", SOON);
    // All of that is no message.
    alice.expect_no_message(QUIET);
    bob.expect_no_message(QUIET);
    alice.expect_no_error_shown(QUIET);
    community.contoso.assert_no_faults();
}

#[test]
fn people_on_sipe_and_xmpp_see_each_other_begin_and_stop_to_write() {
    typing_between_sipe_and_xmpp(Dialect::Ocs2007);
}

#[test]
fn people_on_sipe_and_xmpp_see_each_other_begin_and_stop_to_write_in_the_dialect_of_2005() {
    typing_between_sipe_and_xmpp(Dialect::Lcs2005);
}

#[test]
fn people_on_sipe_and_linphone_see_each_other_begin_and_stop_to_write() {
    let community = WithSip::kamailio();
    let mut bob = SipClient::register_with_all(&community.globex, "bob", Transport::Tcp);
    let mut alice = community.alice();
    let alice_uri = format!("sip:{ALICE}");
    // Nobody is told of the typing of strangers, and no session begins for it.
    alice.send(BOB_ON_SIP, "hello Bob");
    assert_eq!(bob.expect_message(SOON).body, "hello Bob");
    bob.send(&alice_uri, "b1", "hello Alice");
    let first = alice.expect_message(SOON);
    assert_eq!((first.from.as_str(), first.text.as_str()), (BOB_ON_SIP, "hello Alice"));
    // The client says at every message that its sender does not write any more.
    let composing = |event: &Value| event["from"].as_str().is_some_and(|from| from.starts_with(&alice_uri));
    while bob.saw("composing", Duration::ZERO, composing).is_some() {}

    let mut sees = |is_active: bool| {
        let seen = bob.saw("composing", SOON, composing);
        assert_eq!(seen.map(|event| event["active"].clone()), Some(Value::Bool(is_active)), "what he sees of her writing");
    };
    alice.typing(BOB_ON_SIP, true);
    sees(true);
    alice.pause_typing(BOB_ON_SIP);
    sees(false);
    // The plugin says nothing when the words are taken back: whoever presses no key for 12 s has stopped.
    alice.typing(BOB_ON_SIP, true);
    sees(true);
    alice.typing(BOB_ON_SIP, false);
    sees(false);

    bob.compose(&alice_uri);
    alice.expect_typing(BOB_ON_SIP, "typing", SOON);
    // His client says so when he has pressed no key for a while.
    alice.expect_typing(BOB_ON_SIP, "stopped", SOON);

    // All of that is no message.
    alice.expect_no_message(QUIET);
    bob.expect_no_message(QUIET);
    alice.expect_no_error_shown(QUIET);
    community.contoso.assert_no_faults();
}
