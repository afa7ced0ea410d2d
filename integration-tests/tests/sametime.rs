//! People who sign in at the hub with real Sametime clients (libmeanwhile, and libpurple's plugin) and people on a real XMPP server.

use std::process::Command;
use std::time::Duration;

use interchange_integration_tests::api::Api;
use interchange_integration_tests::hub::binary;
use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::sametime_community::{ALICE, BOB, PASSWORD, SametimeCommunity};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);

/// The protocol's word for a wrong name or password.
const WRONG: i64 = 0x8000_0211;
const ACTIVE: u64 = 0x20;
const AWAY: u16 = 0x60;

/// Texts that a careless translation would damage, each told apart by its number.
fn text(number: usize) -> String {
    let words = match number % 4 {
        0 => "plain words",
        1 => "5 < 6 && \"quotes\" 'single' </body> &amp; &#10;",
        2 => "first line\nsecond line\n\nfourth\ttabbed",
        _ => "Grüße aus Tōkyō 東京 👩‍👩‍👧‍👦 عربى",
    };
    format!("{number}: {words}")
}

#[test]
fn people_sign_in_with_their_password_and_with_no_other() {
    let community = SametimeCommunity::start();
    let mut bob = MeanwhileClient::start(community.address(), "bob", PASSWORD);
    let (user, name) = bob.expect_signed_in(SOON);
    assert!(user.contains("bob"), "{user}");
    assert_eq!(name, "Bob Brown");
    for (user, password) in [("bob", "another"), ("nobody", PASSWORD)] {
        let mut refused = MeanwhileClient::start(community.address(), user, password);
        let (code, reason) = refused.expect_stopped(SOON);
        assert_eq!(code, WRONG, "{user}: {reason}");
    }
    // Pidgin's own plugin.
    let mut carol = PurpleClient::sign_on(&PurpleAccount::sametime("carol", PASSWORD, community.address()));
    let mut refused = PurpleClient::start(&PurpleAccount::sametime("carol", "another", community.address()));
    assert_eq!(refused.expect_connection_error(SOON).0, "authentication-failed");
    carol.sign_off();
    bob.expect_no_warning();
}

#[test]
fn sametime_and_prosody_exchange_a_hundred_messages_each_way() {
    let community = SametimeCommunity::start();
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    // What comes while Prosody's stream opens may overtake: order is asked for when it stands.
    alice.send(BOB, "first", "first");
    assert_eq!(bob.expect_message(SOON).text, "first");
    bob.send(ALICE, "first");
    assert_eq!(alice.expect_message(SOON).body, "first");
    for number in 0..100 {
        alice.send(BOB, &format!("x{number}"), &text(number));
        bob.send(ALICE, &text(number));
    }
    for number in 0..100 {
        let at_bob = bob.expect_message(SOON);
        assert_eq!(at_bob.text, text(number), "XMPP to Sametime");
        assert_eq!(at_bob.from, ALICE);
        let at_alice = alice.expect_message(SOON);
        assert_eq!(at_alice.body, text(number), "Sametime to XMPP");
        assert!(at_alice.from.starts_with(BOB), "native address: {}", at_alice.from);
    }
    alice.expect_no_message(QUIET);
    bob.expect_no_message(QUIET);
    bob.expect_no_warning();
}

#[test]
fn typing_and_presence_pass_both_ways() {
    let community = SametimeCommunity::start();
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    bob.watch(&[ALICE]);
    alice.send_raw(&format!("<presence type='subscribe' to='{BOB}'/>"));
    assert!(
        alice.saw("presence", SOON, |event| is_from(event, BOB) && event["type"] == "subscribed").is_some(),
        "Bob may be seen"
    );
    assert!(alice.saw("presence", SOON, |event| is_from(event, BOB) && event["type"] == "available").is_some(), "Bob is there");
    // Whoever asks to see Alice is answered by her.
    assert!(alice.saw("presence", SOON, |event| event["type"] == "subscribe" && is_from(event, BOB)).is_some(), "Bob asks");
    alice.send_raw(&format!("<presence type='subscribed' to='{BOB}'/>"));
    bob.expect_presence(ALICE, "active", SOON, |seen| seen.online && seen.status == ACTIVE);
    alice.send_raw("<presence><show>away</show><status>Out for tea</status></presence>");
    let away = bob.expect_presence(ALICE, "away", SOON, |seen| seen.status == u64::from(AWAY));
    assert_eq!(away.note, "Out for tea");
    bob.set_status(AWAY, "At lunch");
    let seen = alice.saw("presence", SOON, |event| is_from(event, BOB) && event["show"] == "away");
    assert_eq!(seen.expect("Bob is away")["status"], "At lunch");
    alice.send(BOB, "open", "Are you there?");
    bob.expect_message(SOON);
    alice.send_raw(&format!(
        "<message type='chat' to='{BOB}'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
    ));
    bob.expect_typing(ALICE, true, SOON);
    bob.typing(ALICE, true);
    let typing = alice.saw("stanza", SOON, |event| event["xml"].as_str().is_some_and(|xml| xml.contains("composing")));
    assert!(typing.is_some(), "Bob writes");
    bob.sign_out();
    let gone = alice.saw("presence", SOON, |event| is_from(event, BOB) && event["type"] == "unavailable");
    assert!(gone.is_some(), "Bob has left");
    bob.expect_no_warning();
}

fn is_from(event: &serde_json::Value, address: &str) -> bool {
    event["from"].as_str().is_some_and(|from| from.starts_with(address))
}

#[test]
fn a_message_that_nobody_gets_is_told_to_its_sender() {
    let community = SametimeCommunity::start();
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    alice.send("nobody@globex.example", "to-nobody", "is anybody there?");
    assert_eq!(alice.expect_error(SOON).id, "to-nobody");
    // Carol has an account and is not here.
    alice.send("carol@globex.example", "to-carol", "are you there?");
    assert_eq!(alice.expect_error(SOON).id, "to-carol");
    bob.send("nobody@acme.example", "is anybody there?");
    let told =
        bob.saw("failed", SOON, |_| true).or_else(|| bob.saw("message", SOON, |event| event["from"] == "nobody@acme.example"));
    assert!(told.is_some(), "Bob is told that nobody got it");
    bob.expect_no_warning();
}

#[test]
fn an_operator_s_notice_is_shown_to_everybody_of_the_link_who_is_here_and_is_in_the_audit_log() {
    const WORDS: &str = "The hub restarts at noon: Grüße & < >";
    let community = SametimeCommunity::start();
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    let mut carol = PurpleClient::sign_on(&PurpleAccount::sametime("carol", PASSWORD, community.address()));
    let configuration = community.files.configuration();
    let notice = |link: &str, text: &str| {
        let mut command = Command::new(binary());
        command.args(["notice", link, text]).current_dir(configuration.parent().expect("a folder"));
        let output = command.output().expect("the hub's binary runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    };
    let (good, said) = notice("globex", WORDS);
    assert!(good && said.starts_with("done: version "), "{said}");
    assert_eq!(bob.saw("admin", SOON, |_| true).expect("libmeanwhile has it")["text"], WORDS);
    let window = carol.saw("notice", SOON, |_| true).expect("a window of Pidgin");
    assert!(window["text"].as_str().is_some_and(|text| text.ends_with(WORDS)), "{window}");
    for (link, text, says) in [
        ("acme", WORDS, "signed in at their own server"),
        ("nowhere", WORDS, "there is no link `nowhere`"),
        ("globex", " ", "a text of 1 to 4000 bytes"),
    ] {
        let (good, said) = notice(link, text);
        assert!(!good && said.contains(says), "{link}: {said}");
    }
    let api = Api::new(community.files.admin.number(), &community.files.operator_token());
    let (_, audit) = api.get("audit");
    let [row, ..] = audit.as_array().expect("rows").as_slice() else { panic!("{audit}") };
    let [change, actor, id] = ["change", "actor", "id"].map(|field| row[field].as_str().expect("a text"));
    assert_eq!((change, actor, id, &row["after"]["text"]), ("send-notice", "operator", "globex", &json!(WORDS)));
    // Nobody else may, and what is registered can be changed as before.
    let (status, auditor) = api.post("users", &json!({"user": "eve", "role": "auditor"}));
    assert_eq!(status, 201, "{auditor}");
    let auditor = Api::new(community.files.admin.number(), auditor["token"].as_str().expect("a token"));
    assert_eq!(auditor.post("notices", &json!({"link": "globex", "text": WORDS})).0, 403);
    assert!(bob.saw("admin", QUIET, |_| true).is_none());
    alice.expect_no_message(QUIET);
    bob.expect_no_warning();
}

#[test]
fn names_are_resolved_and_a_list_is_kept() {
    let community = SametimeCommunity::start();
    let list = "Version=3.1.3\r\nG Work2 Work O\r\nU alice@acme.example1:: Alice,\r\n";
    {
        let mut bob = community.meanwhile("bob");
        assert_eq!(bob.resolve(ALICE, SOON), [ALICE]);
        assert_eq!(bob.store_and_load(0, list, SOON), list);
        bob.expect_no_warning();
    }
    let mut again = community.meanwhile("bob");
    again.command(&serde_json::json!({ "op": "load", "key": 0 }));
    let loaded = again.saw("loaded", SOON, |_| true).expect("the list");
    assert_eq!(loaded["value"], list);
}

#[test]
fn pidgin_s_plugin_writes_and_is_written_to() {
    let community = SametimeCommunity::start();
    let mut alice = community.alice();
    let mut carol = PurpleClient::sign_on(&PurpleAccount::sametime("carol", PASSWORD, community.address()));
    let carol_address = "carol@globex.example";
    alice.send(carol_address, "m1", "hello <Carol> & all");
    let first = carol.expect_message(SOON);
    // So the client names people who are reached by their address; its window is of that name, and so are answers.
    let external = format!("@E {ALICE}");
    assert_eq!((first.from.as_str(), first.text.as_str()), (external.as_str(), "hello <Carol> & all"));
    carol.send(&external, "hello <Alice> & all\nsecond line");
    assert_eq!(alice.expect_message(SOON).body, "hello <Alice> & all\nsecond line");
    carol.send_html(&external, "now <b>bold</b>");
    assert_eq!(alice.expect_message(SOON).body, "now bold");
    alice.expect_no_message(QUIET);
    carol.expect_no_message(QUIET);
}
