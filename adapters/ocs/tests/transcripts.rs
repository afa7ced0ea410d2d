//! The recorded conversations of tests/vectors: every message is one for the codec, and those that cross the edge are answered as recorded.

mod common;

use std::collections::HashMap;

use common::transcript::{self, Recorded, tag};
use common::*;
use interchange_adapter::ConnId;
use interchange_model::{Body, Outcome, Refusal, Text};
use sip_codec::{Limits, Message, StreamDecoder, StreamEvent};

const ALL: [&str; 8] = [
    "01-sign-on-2007.sip",
    "02-sign-on-2005.sip",
    "10-im-both-ways-2007.sip",
    "11-errors-2007.sip",
    "12-presence-2007.sip",
    "13-multiparty-2005.sip",
    "14-two-clients-federated-2007.sip",
    "15-presence-notify-2007.sip",
];

fn decode(bytes: &[u8]) -> Message {
    let mut decoder = StreamDecoder::new(Limits::default());
    decoder.push(bytes);
    match decoder.next_event() {
        Some(StreamEvent::Message(message)) if decoder.is_idle() => message,
        other => panic!("{other:?} of {}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn every_recorded_message_is_read_and_written_again_as_the_same() {
    let mut count = 0;
    for name in ALL {
        for recorded in transcript::read(name) {
            let message = decode(&recorded.bytes());
            let written = message.encode();
            let again = decode(&written);
            assert_eq!(again.body(), message.body(), "{name} {}", recorded.number);
            let headers = |message: &Message| -> Vec<(String, Vec<u8>)> {
                message
                    .headers()
                    .iter()
                    .map(|header| (header.sent_name().to_owned(), header.value().as_bytes().to_vec()))
                    .collect()
            };
            assert_eq!(headers(&again), headers(&message), "{name} {}", recorded.number);
            assert_eq!(again.encode(), written, "{name} {}", recorded.number);
            count += 1;
        }
    }
    assert_eq!(count, 283);
}

/// The edge's part of a conversation, said to a hub again; what differs from one run to another is put in its place.
struct Replay {
    hub: Hub,
    own: ConnId,
    edge: ConnId,
    values: HashMap<String, String>,
}

impl Replay {
    fn new(json: &str) -> Self {
        let (hub, own, edge) = Hub::up(json);
        Self { hub, own, edge, values: HashMap::new() }
    }

    /// A recorded request of the edge.
    fn says(&mut self, recorded: &Recorded) {
        let bytes = recorded.replaced(&self.values);
        self.hub.receive(self.edge, bytes);
    }

    /// The hub's answer, which must be the recorded one but for its own tag; that is remembered.
    fn answers(&mut self, request: &Recorded, recorded: &Recorded) -> Wire {
        let answer = self.hub.one(self.edge);
        assert_eq!(answer.status(), recorded.status(), "{}: {answer:?}", request.number);
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            assert_eq!(answer.all(name), recorded.all(name), "{} {name}", request.number);
        }
        if let (Some(old), Some(new)) = (tag(recorded.header("To")), tag(answer.header("To"))) {
            self.values.insert(old.to_owned(), new.to_owned());
        }
        for name in ["Contact", "Event", "Expires", "subscription-state"] {
            if !recorded.header(name).is_empty() && recorded.status() == 200 {
                assert_eq!(answer.find(name), Some(recorded.header(name)), "{} {name}", request.number);
            }
        }
        answer
    }
}

fn answer_to<'a>(all: &'a [Recorded], request: &Recorded) -> &'a Recorded {
    let answers = all.iter().filter(|one| !one.is_request() && one.number > request.number);
    answers
        .filter(|one| one.from != request.from)
        .find(|one| {
            one.header("Call-ID") == request.header("Call-ID")
                && one.header("CSeq") == request.header("CSeq")
                && one.header("Via") == request.header("Via")
        })
        .unwrap_or_else(|| panic!("no answer to {}", request.number))
}

/// Whatever the edge begins in a conversation, in its order, with a broker that takes everything; the texts.
fn replay(name: &str, json: &str) -> Vec<String> {
    let all = transcript::read(name);
    let mut replay = Replay::new(json);
    let mut texts = Vec::new();
    let mut established: Vec<String> = Vec::new();
    for recorded in all.iter().filter(|one| one.from == "edge" && one.is_request()) {
        let call = recorded.header("Call-ID").to_owned();
        let begins = tag(recorded.header("To")).is_none();
        // Of a dialog that the hub's side had begun: that part is said in other tests.
        if !begins && !established.contains(&call) {
            continue;
        }
        replay.says(recorded);
        if recorded.method() == "ACK" {
            assert!(replay.hub.wire(replay.edge).is_empty());
            continue;
        }
        for (token, envelope) in replay.hub.submitted() {
            replay.hub.store(token, Ok(()));
            if let Body::Text(Text { plain, .. }) = &envelope.body {
                texts.push(format!("{} -> {}: {}", envelope.from, envelope.to, plain.as_str()));
                replay.hub.input(interchange_adapter::Input::Broker(interchange_model::Down::Delivered {
                    link: "lb".into(),
                    id: envelope.id,
                }));
            }
        }
        let answer = answer_to(&all, recorded);
        replay.answers(recorded, answer);
        established.push(call);
        // Documents to watchers are answered by the edge, in another test.
        let _ = replay.hub.wire(replay.own);
    }
    texts
}

#[test]
fn vector_10_what_the_client_begins_is_answered_as_recorded() {
    let texts = replay("10-im-both-ways-2007.sip", EDGE);
    assert_eq!(texts, ["alice@contoso.example -> bob@fabrikam.example: reply in the peer-opened session"]);
}

#[test]
fn vector_15_presence_is_answered_as_recorded() {
    assert!(replay("15-presence-notify-2007.sip", EDGE).is_empty());
}

#[test]
fn vector_12_a_subscription_with_a_list_of_categories_is_answered_as_recorded() {
    let all = transcript::read("12-presence-2007.sip");
    let mut replay = Replay::new(EDGE);
    replay.says(&all[0]);
    let (token, envelope) = replay.hub.one_submitted();
    assert!(matches!(envelope.body, Body::Watch(interchange_model::Watch::Ask)));
    replay.hub.store(token, Ok(()));
    replay.answers(&all[0], &all[1]);
    // The first document follows at once, along the recorded route, in the form that the client likes best.
    let notify = replay.hub.one(replay.own);
    assert_eq!(notify.start, all[2].start.replace("BENOTIFY", "NOTIFY"));
    assert_eq!(notify.all("Route"), all[2].all("Route"));
    assert_eq!(notify.header("To"), all[2].header("To"));
    assert_eq!(notify.header("Content-Type"), "application/msrtc-event-categories+xml");
}

#[test]
fn vector_13_clients_of_2005_and_a_group_that_is_refused_with_a_reason() {
    let all = transcript::read("13-multiparty-2005.sip");
    let mut replay = Replay::new(EDGE);
    let mut texts = Vec::new();
    for recorded in all.iter().filter(|one| one.from == "edge" && one.is_request() && one.number <= 18) {
        // Whoever was refused says no more.
        if recorded.number == 17 {
            continue;
        }
        replay.says(recorded);
        for (token, envelope) in replay.hub.submitted() {
            replay.hub.store(token, Ok(()));
            if let Body::Text(text) = &envelope.body {
                texts.push(text.plain.as_str().to_owned());
                replay.hub.seconds(1);
            }
        }
        match recorded.method() {
            "ACK" => {}
            "INVITE" if recorded.number == 15 => {
                let answer = replay.hub.one(replay.edge);
                assert_eq!(answer.status(), 488);
                assert!(answer.header("ms-diagnostics-public").contains("more than two people"), "{answer:?}");
            }
            "INVITE" => {
                let answer = replay.answers(recorded, answer_to(&all, recorded));
                // The word of the offer comes back in the answer.
                assert!(answer.body.contains("m=x-ms-message "), "{}", answer.body);
            }
            _ => {
                replay.answers(recorded, answer_to(&all, recorded));
            }
        }
        let _ = replay.hub.wire(replay.own);
    }
    assert_eq!(texts, ["hello 2005", "hello room"]);
}

#[test]
fn vector_11_refusals_are_answered_as_recorded() {
    let all = transcript::read("11-errors-2007.sip");
    // The text is in the INVITE, so the answer to that can be the refusal of the text.
    let mut replay = Replay::new(r#"{"edge":"sip.contoso.example","listed":true,"first_text":"invite"}"#);
    let refusals = [
        ("u404", Refusal::NoSuchUser),
        ("u480", Refusal::Unavailable),
        ("u504", Refusal::TimedOut),
        ("u403", Refusal::NotAllowed),
        ("u415", Refusal::Unsupported),
        ("u503", Refusal::Overloaded),
    ];
    for (user, refusal) in refusals {
        let invite = all.iter().find(|one| one.start.contains(&format!("sip:{user}@"))).unwrap();
        replay.says(invite);
        let (token, _) = replay.hub.one_submitted();
        replay.hub.store(token, Err(refusal));
        let answer = replay.answers(invite, answer_to(&all, invite));
        assert!(answer.header("ms-diagnostics-public").contains("reason=\""), "{answer:?}");
    }
}

#[test]
fn vector_11_the_first_text_is_confirmed_and_a_session_that_was_lost_is_begun_again_under_the_same_call_id() {
    let all = transcript::read("11-errors-2007.sip");
    let mut replay = Replay::new(r#"{"edge":"sip.contoso.example","listed":true,"first_text":"invite"}"#);
    let mut texts = Vec::new();
    for recorded in all.iter().filter(|one| one.from == "edge" && one.is_request() && one.number >= 23) {
        replay.says(recorded);
        for (token, envelope) in replay.hub.submitted() {
            // Nothing is said to the client before the text is safe.
            assert!(replay.hub.wire(replay.edge).is_empty());
            replay.hub.store(token, Ok(()));
            replay.hub.input(interchange_adapter::Input::Broker(interchange_model::Down::Delivered {
                link: "lb".into(),
                id: envelope.id,
            }));
            texts.push(words(&envelope).to_owned());
        }
        if recorded.method() == "ACK" {
            continue;
        }
        let answer = replay.hub.one(replay.edge);
        assert_eq!(answer.status(), 200, "{} {answer:?}", recorded.number);
        let old = answer_to(&all, recorded);
        replay.values.insert(tag(old.header("To")).unwrap().to_owned(), tag(answer.header("To")).unwrap().to_owned());
        if recorded.method() == "INVITE" {
            assert_eq!(answer.all("Supported"), ["ms-text-format"]);
            assert_eq!(answer.all("Record-Route"), old.all("Record-Route"));
        }
    }
    // Each once, though recorded clients sent some of them twice because the first answer had lost them.
    assert!(texts.len() >= 5, "{texts:?}");
}

#[test]
fn vector_10_what_the_hub_begins_is_said_as_recorded() {
    let all = transcript::read("10-im-both-ways-2007.sip");
    let mut replay = Replay::new(EDGE);
    replay.hub.deliver(1, text(1, "bob@fabrikam.example", "alice@contoso.example", "plain in dialog"));
    let invite = replay.hub.one(replay.own);
    assert_eq!(invite.start, all[2].start);
    assert!(invite.body.contains("m=message 5060 sip null\r\na=accept-types:text/plain text/html"), "{}", invite.body);
    // The recorded answer of the client, for this INVITE.
    let answer = |recorded: &Recorded, to: &Wire| {
        let mut values = HashMap::new();
        for name in ["Via", "From", "Call-ID", "CSeq"] {
            values.insert(format!("{name}: {}\r\n", recorded.header(name)), format!("{name}: {}\r\n", to.header(name)));
        }
        recorded.replaced(&values)
    };
    replay.hub.receive(replay.own, answer(&all[3], &invite));
    let sent = replay.hub.wire(replay.own);
    let [ack, message] = &sent[..] else { panic!("{sent:#?}") };
    for (wire, recorded) in [(ack, &all[4]), (message, &all[5])] {
        assert_eq!(wire.start, recorded.start);
        // Byte for byte, for the edge has signed them.
        assert_eq!(wire.all("Route"), recorded.all("Route"));
        assert_eq!((wire.header("To"), wire.header("CSeq")), (recorded.header("To"), recorded.header("CSeq")));
    }
    assert_eq!((message.body.as_str(), message.header("Content-Type")), ("plain in dialog", "text/plain;charset=UTF-8"));
    replay.hub.receive(replay.own, answer(&all[6], message));
    assert_eq!(replay.hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn vector_14_compression_is_refused_and_the_stream_goes_on() {
    let all = transcript::read("14-two-clients-federated-2007.sip");
    let mut replay = Replay::new(EDGE);
    let negotiate = all.iter().find(|one| one.method() == "NEGOTIATE").unwrap();
    replay.says(negotiate);
    let refused = replay.hub.one(replay.edge);
    assert_eq!((refused.status(), refused.all("Via")), (488, negotiate.all("Via")));
    let subscribe = all.iter().find(|one| one.method() == "SUBSCRIBE" && one.to == "partner").unwrap();
    replay.says(subscribe);
    let (token, _) = replay.hub.one_submitted();
    replay.hub.store(token, Ok(()));
    assert_eq!(replay.hub.one(replay.edge).status(), 200);
}
