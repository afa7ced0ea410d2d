//! Texts that are too large for one message of their link.

use crate::common::alice::Alice;
use crate::common::*;
use interchange_adapter::ConnId;
use interchange_model::{Body, Detail, Envelope, Outcome, Receipt, Refusal, Text, Wants};

const JSON: &str = r#"{"edge":"sip.contoso.example","listed":true,"max_message":1000}"#;

fn session(hub: &mut Hub, edge: ConnId) -> Alice {
    let mut alice = Alice::calls("sip:bob@fabrikam.example", "c1");
    hub.receive(edge, alice.invites(""));
    alice.hears(&hub.one(edge));
    hub.receive(edge, alice.says("ACK", "", "", ""));
    alice
}

/// A text of so many words of nine letters and a space, which wants a receipt.
fn long(number: u64, count: usize) -> Envelope {
    let words = "word-of-9 ".repeat(count);
    let wants = Wants { delivered: true, displayed: false };
    let body = Body::Text(Text { plain: words.trim_end().into(), wants, ..Text::default() });
    Envelope { body, ..hello(number) }
}

#[test]
fn line_ends_are_cr_lf_on_the_wire() {
    let (mut hub, own, edge) = Hub::up(JSON);
    session(&mut hub, edge);
    hub.deliver(1, text(1, "bob@fabrikam.example", "alice@contoso.example", "one\ntwo\n"));
    assert_eq!(hub.one(own).body, "one\r\ntwo\r\n");
}

#[test]
fn a_text_in_parts_goes_in_order_one_after_the_other_and_its_receipt_comes_with_the_last() {
    let (mut hub, own, edge) = Hub::up(JSON);
    session(&mut hub, edge);
    hub.deliver(1, long(1, 250));
    hub.deliver(2, hello(2));
    let mut bodies = Vec::new();
    for number in 1..=3 {
        let part = hub.one(own);
        assert!(part.body.len() <= 1_000 && part.body.ends_with(&format!("word-of-9 ({number}/3)")), "{}", part.body);
        assert!(hub.settled().is_empty() && hub.submitted().is_empty());
        bodies.push(part.body.rsplit_once(' ').unwrap().0.to_owned());
        hub.receive(own, part.answer(200, ""));
    }
    assert_eq!(bodies.join(" ").split(' ').filter(|word| *word == "word-of-9").count(), 250);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    assert!(matches!(&hub.one_submitted().1.body, Body::Receipt(Receipt { of: Some(_), .. })));
    // The next of the pair waited.
    assert_eq!(hub.one(own).body, "hello");
    assert!(hub.kept().iter().all(|(key, _)| !key.starts_with("parts ")), "nothing of it is kept any more");
}

#[test]
fn whoever_wrote_is_told_how_much_has_arrived_and_what_fits_into_no_parts_is_refused_with_the_limit() {
    let (mut hub, own, edge) = Hub::up(JSON);
    session(&mut hub, edge);
    hub.deliver(1, long(1, 250));
    let part = hub.one(own);
    hub.receive(own, part.answer(200, ""));
    let part = hub.one(own);
    hub.receive(own, part.answer(486, ""));
    let detail = Detail::Parts { arrived: 1, of: 3 };
    assert_eq!(hub.settled(), [(1, Outcome::RefusedWith(Refusal::Unavailable, detail))]);
    assert!(hub.submitted().is_empty() && hub.wire(own).is_empty());
    assert!(hub.kept().iter().all(|(key, _)| !key.starts_with("parts ")));
    hub.deliver(2, long(2, 1_100));
    let too_large = Outcome::RefusedWith(Refusal::TooLarge, Detail::Most { bytes: 9_920 });
    assert_eq!(hub.settled(), [(2, too_large)]);
}

#[test]
fn parts_that_have_arrived_are_not_sent_again_after_a_lost_connection_or_a_restart() {
    let (mut hub, own, edge) = Hub::up(JSON);
    session(&mut hub, edge);
    hub.deliver(1, long(1, 250));
    let part = hub.one(own);
    hub.receive(own, part.answer(200, ""));
    assert!(hub.one(own).body.ends_with(" (2/3)"));
    let kept = hub.kept();
    hub.lose(own);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    hub.seconds(2);
    let own = hub.bring_up();
    hub.deliver(1, long(1, 250));
    assert!(hub.one(own).body.ends_with(" (2/3)"));

    let mut hub = Hub::with(r#"{"contact_host":"sip.fabrikam.example"}"#, &[link("lb", &["contoso.example"], JSON)]);
    hub.remember(&kept);
    let own = hub.bring_up();
    hub.deliver(1, long(1, 250));
    let part = hub.one(own);
    assert!(part.body.ends_with(" (2/3)"));
    hub.receive(own, part.answer(200, ""));
    let part = hub.one(own);
    assert!(part.body.ends_with(" (3/3)"));
    hub.receive(own, part.answer(200, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    // What is kept and nobody can read, or is of a time long past, is forgotten.
    hub.remembered.clear();
    hub.remember(&[("parts x".into(), b"{}".to_vec()), (format!("parts {:032x}", 7).into(), b"{\"arrived\":1}".to_vec())]);
    assert_eq!(hub.remembered.iter().filter(|(_, value)| value.is_none()).count(), 2);
}
