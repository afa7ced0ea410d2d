//! Whatever a peer sends, the adapter neither panics nor lets it through unproved; and it is fast enough to read it all.

use std::time::Instant;

use crate::common::*;
use interchange_adapter::{Input, Transport};
use interchange_model::{Envelope, MessageId};
use proptest::prelude::*;

fn hub() -> Hub {
    Hub::new(&[link("acme", &["a.example"], r#"{"authentication":["external","dialback"]}"#)], &["b.example"])
}

/// Words of the protocol in any order, with anything between.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("<message from='alice@a.example' to='bob@b.example' id='1'>"),
        Just("<body>x</body></message>"),
        Just("</message>"),
        Just("<message from='x@evil.example' to='bob@b.example'/>"),
        Just("<iq from='a.example' to='b.example' type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>"),
        Just("<presence from='alice@a.example' to='bob@b.example' type='probe'/>"),
        Just("<db:result from='a.example' to='b.example'>k</db:result>"),
        Just("<db:verify from='a.example' to='b.example' id='s'>k</db:verify>"),
        Just("<db:verify from='a.example' to='b.example' id='s' type='valid'/>"),
        Just("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
        Just("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"),
        Just("<enable xmlns='urn:xmpp:sm:3'/>"),
        Just("<r xmlns='urn:xmpp:sm:3'/>"),
        Just("<stream:error/>"),
        Just("</stream:stream>"),
        Just(
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' from='a.example' to='b.example' version='1.0'>"
        ),
        Just("<![CDATA["),
        Just("]]>"),
        Just("<a "),
        Just("'"),
        Just(" "),
    ];
    let piece =
        prop_oneof![8 => word.prop_map(|word| word.as_bytes().to_vec()), 1 => proptest::collection::vec(any::<u8>(), 0..8)];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn abuse_28_nothing_that_is_sent_panics(bytes in conversation(), piece in 1usize..60, how in 0..3) {
        let mut hub = hub();
        let conn = match how {
            0 => hub.accept(Transport::Tcp),
            1 => hub.encrypted("a.example", "b.example", certificate(&["evil.example"], Ok(()))).0,
            _ => hub.authenticated("a.example", "b.example"),
        };
        hub.told();
        for piece in bytes.chunks(piece) {
            hub.input(Input::Received { conn, bytes: piece.to_vec().into() });
        }
        let submitted = hub.submissions();
        // Case 17: only whoever has proved a domain gets anything in, and only as that domain.
        prop_assert!(how == 2 || submitted.is_empty());
        for (_, envelope) in submitted {
            prop_assert_eq!(envelope.from.domain().as_str(), "a.example");
            prop_assert_eq!(envelope.to.domain().as_str(), "b.example");
        }
        hub.seconds(3_600);
    }
}

/// Time of one message through the adapter, each way. Run with `--release --ignored --nocapture`.
#[test]
#[ignore = "measures, and says so on standard output"]
fn time_of_a_message() {
    const COUNT: u32 = 100_000;
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    let words =
        "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.";
    let stanza = format!(
        "<message from='alice@a.example/laptop' to='bob@b.example' id='f81d4fae-7dec-11d0-a765-00a0c91e6bf6' type='chat' xml:lang='en'><body>{words}</body><thread>e0ffe42b28561960c6b12b944a092794b9683a38</thread><active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='f81d4fae-7dec-11d0-a765-00a0c91e6bf6'/></message>"
    );
    let batch: bytes::Bytes = stanza.repeat(20).into();
    let begin = Instant::now();
    for _ in 0..COUNT / 20 {
        hub.input(Input::Received { conn, bytes: batch.clone() });
        hub.told.clear();
    }
    println!("in:  {:?} a message of {} bytes, with its answer from the broker", begin.elapsed() / COUNT, stanza.len());

    let out = hub_ready();
    let (mut hub, conn) = out;
    let envelopes: Vec<Envelope> = (0..COUNT)
        .map(|number| Envelope { id: MessageId(number.into()), ..text("bob@b.example", "alice@a.example", words) })
        .collect();
    let inbound = hub.authenticated("a.example", "b.example");
    let first = hub.heard(conn);
    let mut ping = attribute(&first[first.find("<iq").unwrap()..], "<iq", "id");
    let begin = Instant::now();
    for (number, envelope) in envelopes.into_iter().enumerate() {
        hub.deliver("acme", number as u64, envelope);
        if number % 64 == 63 {
            hub.receive(inbound, &format!("<iq from='a.example' to='b.example' type='result' id='{ping}'/>"));
            let heard = hub.heard(conn);
            ping = attribute(&heard[heard.rfind("<iq").unwrap()..], "<iq", "id");
            hub.told.clear();
        }
    }
    println!("out: {:?} a message, with its ping and settling", begin.elapsed() / COUNT);
}

fn hub_ready() -> (Hub, interchange_adapter::ConnId) {
    let mut hub = hub();
    hub.deliver("acme", 1_000_000, text("bob@b.example", "alice@a.example", "first"));
    let conn = hub.answer_dial("b.example", "a.example");
    (hub, conn)
}
