//! A stream cut anywhere gives the same messages, refusals and pings as the stream in one piece.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_codec::{Limits, StreamDecoder, StreamEvent};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (cuts, stream) = input;
    let limits = Limits { start_line: 256, header_block: 2048, headers: 20, vias: 5, body: 4096 };
    let whole = run(limits, std::iter::once(stream.as_slice()));
    let mut portions = Vec::new();
    let mut rest = stream.as_slice();
    for cut in cuts {
        let (portion, after) = rest.split_at(usize::from(cut).min(rest.len()));
        portions.push(portion);
        rest = after;
    }
    portions.push(rest);
    assert_eq!(run(limits, portions.into_iter()), whole);
});

/// Events as text. Pongs are left out: the first half of a ping is told as one if the second half is late.
fn run<'a>(limits: Limits, portions: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut decoder = StreamDecoder::new(limits);
    let mut events = Vec::new();
    for portion in portions {
        decoder.push(portion);
        while let Some(event) = decoder.next_event() {
            match event {
                StreamEvent::Pong => {}
                StreamEvent::Ping => events.push("ping".to_owned()),
                StreamEvent::Message(message) => events.push(message.encode().escape_ascii().to_string()),
                StreamEvent::Rejected(rejected) => events.push(format!("{rejected} {}", rejected.framing_lost)),
            }
        }
    }
    events
}
