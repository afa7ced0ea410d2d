//! A real client of the plugin SIPE behind scripted servers of Office Communications Server, and a person on a real XMPP server, talk through the hub.

use std::time::Duration;

use interchange_integration_tests::ocs::{Community, Dialect, text};

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);

fn hundred_messages_each_way(dialect: Dialect) {
    let community = Community::start(dialect);
    let mut alice = community.alice();
    let mut bob = community.bob();
    alice.send("sip:bob@acme.example", &text(0));
    let first = bob.expect_message(SOON);
    assert_eq!(first.body, text(0));
    assert!(first.from.starts_with("alice@contoso.example"), "native address: {}", first.from);
    bob.send("alice@contoso.example", "b0", &text(0));
    let first = alice.expect_message(SOON);
    assert_eq!((first.from.as_str(), first.text), ("sip:bob@acme.example", text(0)));
    for number in 1..100 {
        alice.send("sip:bob@acme.example", &text(number));
        bob.send("alice@contoso.example", &format!("b{number}"), &text(number));
    }
    for number in 1..100 {
        assert_eq!(bob.expect_message(SOON).body, text(number), "Microsoft to XMPP, message {number}");
        assert_eq!(alice.expect_message(SOON).text, text(number), "XMPP to Microsoft, message {number}");
    }
    // Once each: nothing more comes.
    bob.expect_no_message(QUIET);
    alice.expect_no_message(QUIET);
    alice.expect_no_error_shown(QUIET);
    community.contoso.assert_no_faults();
}

#[test]
fn sipe_and_prosody_exchange_a_hundred_messages_each_way() {
    hundred_messages_each_way(Dialect::Ocs2007);
}

#[test]
fn sipe_and_prosody_exchange_a_hundred_messages_each_way_in_the_dialect_of_2005() {
    hundred_messages_each_way(Dialect::Lcs2005);
}

#[test]
fn the_one_who_writes_first_may_be_on_xmpp_and_who_is_not_there_is_told() {
    let community = Community::start(Dialect::Ocs2007);
    let mut alice = community.alice();
    let mut bob = community.bob();
    bob.send("alice@contoso.example", "b1", "hello Alice");
    assert_eq!(alice.expect_message(SOON).text, "hello Alice");
    alice.send("sip:bob@acme.example", "hello Bob");
    assert_eq!(bob.expect_message(SOON).body, "hello Bob");
    bob.send("nobody@contoso.example", "b2", "is anybody there?");
    assert_eq!(bob.expect_error(SOON).id, "b2");
    alice.send("sip:nobody@acme.example", "is anybody there?");
    // Prosody refuses what is for nobody: she reads it at her message, or as one in the window.
    let shown = alice.saw("shown", Duration::from_secs(5), |event| event["with"] == "sip:nobody@acme.example");
    let shown = shown.or_else(|| alice.saw("message", SOON, |event| event["from"] == "sip:nobody@acme.example"));
    assert!(shown.is_some(), "she is told");
    community.contoso.assert_no_faults();
}

#[test]
fn a_restart_of_the_hub_in_the_middle_of_a_session_loses_nothing() {
    let mut community = Community::start(Dialect::Ocs2007);
    let mut alice = community.alice();
    let mut bob = community.bob();
    alice.send("sip:bob@acme.example", "before");
    assert_eq!(bob.expect_message(SOON).body, "before");
    bob.send("alice@contoso.example", "b1", "and back");
    assert_eq!(alice.expect_message(SOON).text, "and back");
    // What is to be remembered is written within a second.
    std::thread::sleep(Duration::from_secs(2));
    // A SIGKILL.
    community.hub = None;
    community.hub = Some(community.files.start());
    let hub = community.hub.as_mut().expect("it runs");
    hub.wait_for_line(&["contoso", "proved to be the Access Edge"], SOON);
    alice.send("sip:bob@acme.example", "after");
    assert_eq!(bob.expect_message(SOON).body, "after");
    bob.send("alice@contoso.example", "b2", "still the same window");
    let answer = alice.expect_message(SOON);
    assert_eq!((answer.from.as_str(), answer.text.as_str()), ("sip:bob@acme.example", "still the same window"));
    alice.expect_no_error_shown(QUIET);
    community.contoso.assert_no_faults();
}
