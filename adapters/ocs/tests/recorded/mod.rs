//! The recorded conversations of tests/vectors, played again: whatever of them crosses the edge is said to the adapter, and what it says must be what was
//! recorded. Each play accounts for every message of its recording: said as recorded, otherwise and why, or not ours to say and why.

mod messages;
mod play;
mod presence;
mod two_clients;

use crate::common::transcript::{self, Recorded};
use sip_codec::{Limits, Message, StreamDecoder, StreamEvent};

/// Each recording, and its messages.
const ALL: [(&str, u32); 8] = [
    ("01-sign-on-2007.sip", 13),
    ("02-sign-on-2005.sip", 23),
    ("10-im-both-ways-2007.sip", 45),
    ("11-errors-2007.sip", 45),
    ("12-presence-2007.sip", 40),
    ("13-multiparty-2005.sip", 40),
    ("14-two-clients-federated-2007.sip", 65),
    ("15-presence-notify-2007.sip", 12),
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
    for (name, count) in ALL {
        let all = transcript::read(name);
        // Numbered without a gap, so that a play can account for them by their numbers.
        assert_eq!(all.iter().map(|one| one.number).collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>(), "{name}");
        for recorded in all {
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
        }
    }
}

/// Signing on is between a client and its own pool: REGISTER, its own contacts, settings and publications. Nothing of it reaches a partner's edge.
#[test]
fn vectors_01_and_02_are_between_a_client_and_its_own_pool_alone() {
    for name in ["01-sign-on-2007.sip", "02-sign-on-2005.sip"] {
        for Recorded { from, to, number, .. } in transcript::read(name) {
            let ends = [from.as_str(), to.as_str()];
            assert!(ends == ["client", "ocs-home"] || ends == ["ocs-home", "client"], "{name} {number} {ends:?}");
        }
    }
}
