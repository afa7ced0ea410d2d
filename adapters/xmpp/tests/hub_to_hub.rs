//! Two adapters wired back to back: each is the other's only peer.

#[path = "common/net.rs"]
mod net;

use crate::common::*;
use interchange_adapter::{ChainFault, TlsPeer};
use interchange_model::{Body, Envelope, Health, Outcome, Refusal};
use net::Net;

/// Hub 0 stands for `b.example` and `c.example` and links to hub 1, which stands for `a.example`.
fn two(options: &str) -> Net {
    let link_to = |id, domains: &[&str], host: &str| link(id, domains, &format!(r#"{{"host":"{host}"{options}}}"#));
    let zero = Hub::with("{}", 1, &[link_to("to-a", &["a.example"], "one")], &["b.example", "c.example"]);
    let one = Hub::with("{}", 2, &[link_to("to-b", &["b.example", "c.example"], "zero")], &["a.example"]);
    let mut net = Net::new(vec![("zero", zero), ("one", one)]);
    net.hubs[0].told();
    net.hubs[1].told();
    net
}

const DIALBACK: &str = r#","authentication":["dialback"]"#;

fn bodies(came: &[(interchange_model::Token, std::sync::Arc<Envelope>)]) -> Vec<String> {
    came.iter()
        .filter_map(|(_, envelope)| match &envelope.body {
            Body::Text(text) => Some(text.plain.as_str().to_owned()),
            _ => None,
        })
        .collect()
}

fn nothing_proved(_: &str) -> TlsPeer {
    certificate(&["self-signed.example"], Err(ChainFault::UnknownAuthority))
}

#[test]
fn test_1_external_carries_a_message_and_settles_it() {
    let mut net = two("");
    net.hubs[0].deliver("to-a", 1, text("o'malley@b.example", "alice smith@a.example", "<hi> & 😀\nbye"));
    net.settle();
    let came = net.hubs[1].submissions();
    assert_eq!(bodies(&came), ["<hi> & 😀\nbye"]);
    assert!(matches!(&came[0].1.body, Body::Text(text) if text.language.is_none()));
    assert_eq!(came[0].1.from.user(), "o'malley");
    assert_eq!(came[0].1.to.user(), "alice smith");
    assert_eq!(net.hubs[0].settled(), [(1, Outcome::Delivered)]);
    // One stream for each direction: the answer to the ping came on the other.
    assert_eq!(net.dials, 2);
}

#[test]
fn test_6_dialback_valid_both_ways() {
    let mut net = two(DIALBACK);
    net.prove = nothing_proved;
    net.hubs[0].deliver("to-a", 1, numbered(1));
    net.settle();
    assert_eq!(bodies(&net.hubs[1].submissions()), ["words 1"]);
    assert_eq!(net.hubs[0].settled(), [(1, Outcome::Delivered)]);
    // A stream and a question for each direction.
    assert_eq!(net.dials, 4);
}

#[test]
fn test_6_dialback_without_tls() {
    let mut net = two(r#","authentication":["dialback"],"require_tls":false"#);
    net.hubs[0].deliver("to-a", 1, numbered(1));
    net.settle();
    assert_eq!(net.hubs[0].settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn test_6_abuse_8_a_key_of_another_installation_is_invalid() {
    // Hub 2 pretends to be hub 0: it opens streams as b.example, but hub 1 asks the provisioned address.
    let link_to = |id, domains: &[&str], host: &str| link(id, domains, &format!(r#"{{"host":"{host}"{DIALBACK}}}"#));
    let zero = Hub::with("{}", 1, &[link_to("to-a", &["a.example"], "one")], &["b.example"]);
    let one = Hub::with("{}", 2, &[link_to("to-b", &["b.example"], "zero")], &["a.example"]);
    let impostor = Hub::with("{}", 3, &[link_to("to-a", &["a.example"], "one")], &["b.example"]);
    let mut net = Net::new(vec![("zero", zero), ("one", one), ("two", impostor)]);
    net.prove = nothing_proved;
    net.hubs[2].deliver("to-a", 1, numbered(1));
    net.settle();
    assert_eq!(net.hubs[2].settled(), [(1, Outcome::Refused(Refusal::PeerRefused))]);
    net.hubs[1].told.retain(|up| !matches!(up, interchange_model::Up::Health { .. }));
    assert!(net.hubs[1].told().is_empty());
    // The real one is not harmed.
    net.hubs[0].deliver("to-a", 1, numbered(1));
    net.settle();
    assert_eq!(net.hubs[0].settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn order_survives_a_link_that_goes_away() {
    let mut net = two("");
    let mut waiting: Vec<u64> = (1..=200).collect();
    let mut came = Vec::new();
    let mut rounds = 0;
    let mut up = true;
    while !waiting.is_empty() {
        rounds += 1;
        assert!(rounds < 400, "{waiting:?}");
        if up {
            for number in waiting.iter().take(16) {
                net.hubs[0].deliver("to-a", *number, numbered(*number));
            }
        }
        if rounds % 5 == 2 {
            // A broker's hands are full: the messages are on the wire, and their answer is not.
            for _ in 0..7 {
                net.step();
            }
            net.break_all();
        }
        net.settle();
        net.seconds(2);
        for (number, outcome) in net.hubs[0].settled() {
            match outcome {
                Outcome::Delivered => waiting.retain(|other| *other != number),
                Outcome::LinkDown => {}
                Outcome::Absent => panic!("{number}: a server does not say so"),
                Outcome::Refused(why) | Outcome::RefusedWith(why, _) => panic!("{number} {why}"),
            }
        }
        up = net.hubs[0].health("to-a").map_or(up, |health| health.is_up());
        came.extend(bodies(&net.hubs[1].submissions()));
    }
    // What came twice is dropped by whoever is in charge of that; the rest is in order and whole.
    let mut seen = std::collections::HashSet::new();
    let first: Vec<String> = came.into_iter().filter(|words| seen.insert(words.clone())).collect();
    let want: Vec<String> = (1..=200).map(|number| format!("words {number}")).collect();
    assert_eq!(first, want);
}

#[test]
fn a_peer_that_is_away_for_an_hour_is_found_again() {
    let mut net = two("");
    net.cut = Some(1);
    net.hubs[0].deliver("to-a", 1, numbered(1));
    net.settle();
    assert_eq!(net.hubs[0].settled(), [(1, Outcome::LinkDown)]);
    net.seconds(3_600);
    assert!(matches!(net.hubs[0].health("to-a"), Some(Health::Retrying { .. })));
    assert!((100..=200).contains(&net.dials), "{}", net.dials);
    net.cut = None;
    net.seconds(150);
    assert_eq!(net.hubs[0].health("to-a"), Some(Health::Up));
    net.hubs[0].deliver("to-a", 2, numbered(2));
    net.settle();
    assert_eq!(net.hubs[0].settled(), [(2, Outcome::Delivered)]);
}

#[test]
fn test_18_both_sides_dial_at_once() {
    let mut net = two("");
    net.hubs[0].deliver("to-a", 1, numbered(1));
    net.hubs[1].deliver("to-b", 1, text("alice@a.example", "bob@b.example", "hello"));
    net.settle();
    assert_eq!(net.hubs[0].settled(), [(1, Outcome::Delivered)]);
    assert_eq!(net.hubs[1].settled(), [(1, Outcome::Delivered)]);
    assert_eq!(net.dials, 2);
}

#[test]
fn an_error_of_the_peer_comes_before_the_answer_to_the_ping() {
    let mut net = two("");
    net.hubs[1].durable = false;
    // Streams first, both ways.
    net.hubs[0].deliver("to-a", 1, numbered(1));
    net.settle();
    let token = net.hubs[1].submissions()[0].0;
    net.hubs[1].submitted(token, Ok(()));
    net.settle();
    assert_eq!(net.hubs[0].settled(), [(1, Outcome::Delivered)]);
    // A hub refuses when its broker has spoken; its answer to the ping waits for that, so the refusal is there first.
    net.hubs[0].deliver("to-a", 2, numbered(2));
    net.settle();
    assert_eq!(net.hubs[0].settled(), []);
    let token = net.hubs[1].submissions()[0].0;
    net.hubs[1].submitted(token, Err(Refusal::NoSuchUser));
    net.settle();
    assert_eq!(net.hubs[0].settled(), [(2, Outcome::Refused(Refusal::NoSuchUser))]);
    assert!(net.hubs[0].submissions().is_empty());
}

#[test]
fn a_day_of_silence_ends_with_no_streams_and_no_alarm() {
    let mut net = two("");
    net.hubs[0].deliver("to-a", 1, numbered(1));
    net.settle();
    net.seconds(3_600);
    assert_eq!(net.hubs[0].adapter.deadline(), None);
    assert_eq!(net.hubs[1].adapter.deadline(), None);
    assert_eq!(net.hubs[0].health("to-a"), None);
}
