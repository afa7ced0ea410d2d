//! Two sessions talk to each other over connections that cut bytes anywhere: what goes in comes out.

use std::time::{Duration, Instant};

use bytes::Bytes;
use msrp_stack::{Event, Limits, Message, MsrpUri, Outgoing, Path, Session, Settings, StreamDecoder, Token};
use proptest::prelude::*;

fn uri(name: &str) -> MsrpUri {
    MsrpUri::new(false, "192.0.2.1", 2855, name).unwrap()
}

fn session(own: &str, other: &str, most: u64) -> Session {
    let settings = Settings { max_message: most, accepts: |media| media == "text/plain" };
    Session::new(uri(own), Path::direct(uri(other)), settings, if own == "a" { 1 } else { 1 << 40 })
}

/// Gives all that `from` transmits to `to`, in portions, until nobody has anything to say. Everything else that happened.
fn talk(a: &mut Session, b: &mut Session, first: Vec<Event>, portion: usize, accept: u16) -> Vec<(char, Event)> {
    let now = Instant::now();
    let limits = Limits { body: 4 * 1024 * 1024, ..Limits::default() };
    let (mut to_a, mut to_b) = (StreamDecoder::new(limits), StreamDecoder::new(limits));
    let mut seen = Vec::new();
    let mut queue: Vec<(char, Event)> = first.into_iter().map(|event| ('a', event)).collect();
    while !queue.is_empty() {
        for (who, event) in std::mem::take(&mut queue) {
            let (decoder, other, name) = if who == 'a' { (&mut to_b, &mut *b, 'b') } else { (&mut to_a, &mut *a, 'a') };
            match event {
                Event::Transmit(bytes) => {
                    let mut out = Vec::new();
                    for part in bytes.chunks(portion) {
                        decoder.push(part);
                        while let Some(message) = decoder.next_message() {
                            match message.unwrap() {
                                Message::Request(request) => other.request_received(now, request, &mut out),
                                Message::Response(response) => other.response_received(now, &response, &mut out),
                            }
                        }
                    }
                    queue.extend(out.into_iter().map(|event| (name, event)));
                }
                Event::Received(complete) => {
                    let mut out = Vec::new();
                    let own = if who == 'a' { &mut *a } else { &mut *b };
                    own.answer(complete.key, accept, "whatever", &mut out);
                    seen.push((who, Event::Received(complete)));
                    queue.extend(out.into_iter().map(|event| (who, event)));
                }
                other => seen.push((who, other)),
            }
        }
    }
    seen
}

fn outgoing(body: &[u8]) -> Outgoing {
    Outgoing {
        token: Token(7),
        message_id: "m1m1m1".to_owned(),
        media: "text/plain".to_owned(),
        body: Bytes::copy_from_slice(body),
        success_report: true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_body_survives(body in prop::collection::vec(prop_oneof![Just(b'-'), Just(b'\r'), Just(b'\n'), Just(b'$'), any::<u8>()], 1..20_000), portion in 1_usize..5_000) {
        let (mut a, mut b) = (session("a", "b", 1 << 20), session("b", "a", 1 << 20));
        let mut first = Vec::new();
        a.send(Instant::now(), outgoing(&body), &mut first);
        let seen = talk(&mut a, &mut b, first, portion, 200);
        prop_assert_eq!(seen.len(), 2);
        let ('b', Event::Received(complete)) = &seen[0] else { panic!("{seen:?}") };
        prop_assert_eq!(&complete.body[..], &body[..]);
        prop_assert!(complete.success_report);
        prop_assert_eq!(&seen[1], &('a', Event::Sent(Token(7))));
        prop_assert!(!a.is_busy() && !b.is_busy());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic_or_hoard(bytes in prop::collection::vec(any::<u8>(), 0..4_000), portion in 1_usize..100) {
        let mut decoder = StreamDecoder::new(Limits { head: 512, headers: 8, body: 512 });
        for part in bytes.chunks(portion) {
            decoder.push(part);
            while decoder.next_message().is_some() {}
        }
    }
}

#[test]
fn one_megabyte_goes_in_chunks_and_its_arrival_is_reported() {
    let body: Vec<u8> = (0..1_000_000_u32).map(|number| b'a' + (number % 26) as u8).collect();
    let (mut a, mut b) = (session("a", "b", 1 << 20), session("b", "a", 1 << 20));
    let mut first = Vec::new();
    a.send(Instant::now(), outgoing(&body), &mut first);
    assert_eq!(first.len(), 32, "the window");
    let seen = talk(&mut a, &mut b, first, 1_460, 200);
    assert!(matches!(&seen[0], ('b', Event::Received(complete)) if complete.body == body));
    let mut report = Vec::new();
    b.report("m1m1m1", 1_000_000, 200, &mut report);
    let seen = talk(&mut b, &mut a, report, 100, 200);
    assert_eq!(seen, [('b', Event::Reported("m1m1m1".to_owned(), 200))]);
}

#[test]
fn too_much_is_stopped_early() {
    let (mut a, mut b) = (session("a", "b", 1 << 20), session("b", "a", 10_000));
    let mut first = Vec::new();
    a.send(Instant::now(), outgoing(&[b'x'; 200_000]), &mut first);
    let seen = talk(&mut a, &mut b, first, 4_000, 200);
    assert_eq!(seen, [('a', Event::Failed(Token(7), 413))]);
    assert!(!a.is_busy() && b.held() == 0);
}

#[test]
fn a_refusal_of_the_whole_is_a_failure_of_it() {
    let (mut a, mut b) = (session("a", "b", 1 << 20), session("b", "a", 1 << 20));
    let mut first = Vec::new();
    a.send(Instant::now(), outgoing(b"hello"), &mut first);
    assert_eq!(talk(&mut a, &mut b, first, 4_000, 403).last(), Some(&('a', Event::Failed(Token(7), 403))));
}

#[test]
fn nobody_is_waited_for_longer_than_half_a_minute() {
    let mut a = session("a", "b", 1 << 20);
    let now = Instant::now();
    let mut out = Vec::new();
    a.send(now, outgoing(b"hello"), &mut out);
    assert_eq!(a.deadline(), Some(now + Duration::from_secs(30)));
    out.clear();
    a.tick(now + Duration::from_secs(29), &mut out);
    assert!(out.is_empty());
    a.tick(now + Duration::from_secs(30), &mut out);
    assert_eq!(out, [Event::Failed(Token(7), 408)]);
    assert_eq!(a.deadline(), None);
}
