//! An MSRP stream cut anywhere gives the same messages as in one piece; whatever a session is told, it holds no more than it may; and any
//! session description is read or refused, and what is answered to it can be read.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use msrp_stack::sdp::{Description, Local, Setup};
use msrp_stack::{Limits, Message, MsrpUri, Path, Session, Settings, StreamDecoder};

const MOST: u64 = 4_096;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (cuts, stream) = input;
    let mut portions = Vec::new();
    let mut rest = stream.as_slice();
    for cut in cuts {
        let (portion, after) = rest.split_at(usize::from(cut).min(rest.len()));
        portions.push(portion);
        rest = after;
    }
    portions.push(rest);
    let whole = read(std::iter::once(stream.as_slice()));
    assert_eq!(format!("{:?}", read(portions.into_iter())), format!("{whole:?}"));
    talk(whole);
    describe(&stream);
});

fn read<'a>(portions: impl Iterator<Item = &'a [u8]>) -> Vec<Message> {
    let mut decoder = StreamDecoder::new(Limits { head: 1_024, headers: 16, body: 2_048 });
    let mut messages = Vec::new();
    for portion in portions {
        decoder.push(portion);
        while let Some(message) = decoder.next_message() {
            messages.extend(message.ok());
        }
    }
    messages
}

fn talk(messages: Vec<Message>) {
    let uri = |name: &str| MsrpUri::new(false, "a", 1, name).expect("a sound name");
    let now = Instant::now();
    let mut session = Session::new(uri("own"), Path::direct(uri("b")), Settings { max_message: MOST, accepts: |_| true }, 0);
    let mut out = Vec::new();
    for message in messages {
        match message {
            Message::Request(mut request) => {
                // Of the right sender, or nothing is looked at.
                request.from_path = Path::direct(uri("b"));
                session.request_received(now, request, &mut out);
            }
            Message::Response(response) => session.response_received(now, &response, &mut out),
        }
        assert!(session.held() <= 4 * (MOST + 64 * MOST));
    }
    assert!(session.deadline().is_none_or(|deadline| deadline > now));
}

fn describe(bytes: &[u8]) {
    let Ok(offer) = Description::parse(bytes) else { return };
    let uri = MsrpUri::new(true, "hub.example", 5061, "s").expect("a sound name");
    let local = Local { id: 1, version: 1, uri, accept: &["text/plain"], wrapped: &[], max_size: 1, setup: Setup::Passive };
    let answer = local.answer(&offer);
    let again = Description::parse(answer.as_bytes()).expect("what we answer can be read");
    assert_eq!(offer.message().is_some(), again.message().is_some());
}
