//! Texts in parts: order, one answer before the next part, failures between parts, receipts.

use crate::common::{Hub, LB_UDP, SMALL, hello, text};
use interchange_adapter::{ConnId, Input};
use interchange_model::{Body, Detail, Down, Envelope, Outcome, Plain, Refusal, Text, Up, Wants};

/// Three parts of words.
fn long(number: u64) -> Envelope {
    text(number, "alice@a.example", "bob@b.example", "word ".repeat(400).trim_end())
}

fn with(envelope: Envelope, change: impl FnOnce(&mut Text)) -> Envelope {
    let Body::Text(mut text) = envelope.body.clone() else { panic!() };
    change(&mut text);
    Envelope { body: Body::Text(text), ..envelope }
}

/// The next part, which is the only request that is out, answered.
fn answer(hub: &mut Hub, conn: ConnId, status: u16) -> String {
    let part = hub.one(conn);
    hub.receive(conn, part.answer(status, ""));
    part.body
}

fn parts(arrived: u8) -> Outcome {
    Outcome::RefusedWith(Refusal::NoSuchUser, Detail::Parts { arrived, of: 3 })
}

#[test]
fn case_25_numbered_parts_go_one_after_another() {
    let (mut hub, conn) = Hub::up(SMALL);
    hub.deliver(1, with(long(1), |text| text.subject = Some("lunch".into())));
    // Another message of the pair waits for all of them, others do not.
    hub.deliver(2, hello(2));
    hub.deliver(3, text(3, "carol@a.example", "bob@b.example", "beside"));
    let out = hub.wire(conn);
    assert_eq!(out.iter().map(|wire| wire.body.len()).collect::<Vec<_>>(), [895, 6]);
    hub.receive(conn, out[1].answer(200, ""));
    assert_eq!(hub.settled(), [(3, Outcome::Delivered)]);
    let first = &out[0];
    assert!(first.body.ends_with("word (1/3)"), "{}", first.body);
    // A provisional answer is no answer.
    hub.receive(conn, first.answer(100, ""));
    assert!(hub.wire(conn).is_empty());
    hub.receive(conn, first.answer(200, ""));
    let second = hub.one(conn);
    assert!(second.body.starts_with("word ") && second.body.ends_with(" (2/3)"));
    assert_eq!((first.header("Subject"), second.find("Subject")), ("lunch", None));
    // A message of its own, which no server takes for a repeat of the first.
    assert_ne!(first.header("Call-ID"), second.header("Call-ID"));
    for name in ["CSeq", "From", "To", "Date"] {
        assert_eq!(first.header(name), second.header(name));
    }
    hub.receive(conn, second.answer(200, ""));
    assert!(hub.settled().is_empty());
    assert!(answer(&mut hub, conn, 200).ends_with(" (3/3)"));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    assert_eq!(hub.one(conn).body, "hello");
}

#[test]
fn case_25_over_udp_each_request_is_at_most_1300_bytes() {
    let (mut hub, conn) = Hub::up(LB_UDP);
    let subject = Plain::new(&"s".repeat(200));
    hub.deliver(1, with(long(1), |text| text.subject = Some(subject)));
    let mut count = 0;
    while hub.settled().is_empty() {
        answer(&mut hub, conn, 200);
        count += 1;
    }
    assert!((3..=5).contains(&count), "{count}");
    assert!(hub.sends.iter().all(|(_, bytes)| bytes.len() <= 1_300));
}

#[test]
fn case_26_emoji_families_stay_together_on_the_wire() {
    let (mut hub, conn) = Hub::up(SMALL);
    let family = "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{200D}\u{1F466}";
    hub.deliver(1, text(1, "alice@a.example", "bob@b.example", &family.repeat(80)));
    let mut all = String::new();
    for number in 1..=3 {
        let body = answer(&mut hub, conn, 200);
        assert!(body.len() <= 900);
        all.push_str(body.strip_suffix(&format!(" ({number}/3)")).unwrap());
        assert_eq!(all.len() % family.len(), 0);
    }
    assert_eq!(all, family.repeat(80));
}

#[test]
fn abuse_33_a_failure_between_parts_is_one_failure_that_says_how_many_arrived() {
    let (mut hub, conn) = Hub::up(SMALL);
    hub.deliver(1, long(1));
    answer(&mut hub, conn, 200);
    answer(&mut hub, conn, 404);
    assert_eq!(hub.settled(), [(1, parts(1))]);
    assert!(hub.wire(conn).is_empty());
    // At the first.
    hub.deliver(2, long(2));
    answer(&mut hub, conn, 404);
    assert_eq!(hub.settled(), [(2, parts(0))]);
    assert_eq!(Detail::Parts { arrived: 1, of: 3 }.sentence(), "It was sent in 3 parts, of which 1 arrived.");
}

#[test]
fn abuse_33_parts_that_arrived_are_not_sent_again() {
    let (mut hub, conn) = Hub::up(SMALL);
    hub.deliver(1, long(1));
    answer(&mut hub, conn, 200);
    // Refused for now: the broker hands it over again.
    answer(&mut hub, conn, 500);
    let again = Outcome::RefusedWith(Refusal::PeerFault, Detail::Parts { arrived: 1, of: 3 });
    assert_eq!(hub.settled(), [(1, again)]);
    hub.deliver(1, long(1));
    let second = hub.one(conn);
    assert!(second.body.ends_with(" (2/3)"));
    assert_eq!(second.header("CSeq"), "2 MESSAGE", "the one after that of the refused one");
    // The connection breaks before the answer: the peer may have it, and knows it again.
    hub.lose(conn);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    hub.seconds(2);
    let conn = hub.bring_up("sip.b.example");
    hub.deliver(1, long(1));
    let repeat = hub.one(conn);
    assert_eq!((repeat.header("CSeq"), &repeat.body), ("2 MESSAGE", &second.body));
    assert_eq!(repeat.header("Call-ID"), second.header("Call-ID"));
    hub.receive(conn, repeat.answer(482, ""));
    assert!(answer(&mut hub, conn, 200).ends_with(" (3/3)"));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

/// What was said to be remembered, as the store has it then.
fn kept(hub: &mut Hub) -> Vec<(std::sync::Arc<str>, Vec<u8>)> {
    let mut kept = std::collections::BTreeMap::new();
    for up in hub.told.drain(..) {
        if let Up::Remember { key, value, .. } = up {
            match value {
                Some(value) => drop(kept.insert(key, value)),
                None => drop(kept.remove(&key)),
            }
        }
    }
    kept.into_iter().collect()
}

#[test]
fn abuse_33_after_a_restart_the_parts_that_are_left_are_sent() {
    let (mut hub, conn) = Hub::up(SMALL);
    hub.deliver(1, long(1));
    answer(&mut hub, conn, 202);
    answer(&mut hub, conn, 200);
    let entries = kept(&mut hub);
    assert_eq!(entries.len(), 1);
    // Killed here, with the third part out.
    let third = hub.one(conn);
    let (mut hub, conn) = Hub::up(SMALL);
    hub.input(Input::Broker(Down::Remembered { link: "lb".into(), entries: entries.clone() }));
    let wanting = with(long(1), |text| text.wants = Wants { delivered: true, displayed: false });
    hub.deliver(1, wanting);
    let again = hub.one(conn);
    assert_eq!((&again.body, again.header("Call-ID")), (&third.body, third.header("Call-ID")));
    hub.receive(conn, again.answer(200, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    assert!(hub.submitted().is_empty(), "the first was only kept by somebody, so it is no receipt");
    assert!(hub.told.iter().any(|up| matches!(up, Up::Remember { value: None, .. })), "it is forgotten");
    // What is a month old never comes again.
    let (mut hub, _) = Hub::up(SMALL);
    hub.now = hub.now.after(std::time::Duration::from_secs(32 * 86_400));
    hub.input(Input::Broker(Down::Remembered { link: "lb".into(), entries }));
    assert!(hub.told.iter().any(|up| matches!(up, Up::Remember { value: None, .. })));
}

#[test]
fn case_37_the_receipt_of_parts_comes_after_the_last_and_only_if_all_are_there() {
    for (kept, want) in [(200, 1), (202, 0)] {
        let (mut hub, conn) = Hub::up(SMALL);
        let wanting = with(long(1), |text| text.wants = Wants { delivered: true, displayed: false });
        hub.deliver(1, wanting);
        answer(&mut hub, conn, 200);
        answer(&mut hub, conn, kept);
        assert!(!hub.told.iter().any(|up| matches!(up, Up::Submit { .. })));
        answer(&mut hub, conn, 200);
        assert_eq!(hub.submitted().len(), want);
    }
    // Where the recipient's client is asked, it is asked with the last.
    let (mut hub, conn) = Hub::up(r#"{"host":"sip.b.example","max_message":1300,"imdn":true}"#);
    hub.deliver(1, with(long(1), |text| text.wants = Wants { delivered: true, displayed: false }));
    let asks: Vec<bool> = (0..3).map(|_| answer(&mut hub, conn, 200).contains("Disposition-Notification")).collect();
    assert_eq!(asks, [false, false, true]);
}
