//! Bytes as a Sametime client, signed in or not, may send them: frames, messages, and what is said on every kind of channel.
//!
//! Nothing panics; what can be read is written and read again as the same; ciphers take any bytes; and the whole adapter survives them.
//! The other way, any text for somebody who has signed in leaves in frames that can be read, none longer than a client can take.

#![no_main]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use interchange_adapter::{Account, Adapter, Build, ConnId, Input, Now, Output, Transport, Via};
use interchange_model::{
    self as model, Address, DeliveryId, Domain, Down, Envelope, Link, MessageId, Pace, PlatformName, Settings,
};
use interchange_sametime::cipher::{self, Decryptor, KeyPair};
use interchange_sametime::codec::{
    Accept, Awareness, Body, Create, Frame, Message, Question, Reply, Said, Storage, Stream, WireString,
};
use interchange_sametime::translate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    decode(bytes);
    let Some((first, rest)) = bytes.split_first() else { return };
    run(rest, first % 2 == 0, usize::from(first / 2) + 1);
    if let Ok(text) = std::str::from_utf8(rest) {
        deliver(text, first % 2 == 0);
    }
});

fn decode(bytes: &[u8]) {
    let mut stream = Stream::default();
    stream.push(bytes);
    while let Ok(Some(frame)) = stream.next(16 * 1024) {
        let Frame::Message(frame) = frame else { continue };
        let Ok(message) = Message::decode(&frame) else { continue };
        let written = message.encode();
        assert_eq!(Message::decode(&written[4..]).as_ref(), Ok(&message));
        let Body::Send { kind, payload } = &message.body else { continue };
        if let Ok(said) = Awareness::read(*kind, payload) {
            let (kind, payload) = said.write();
            assert_eq!(Awareness::read(kind, &payload), Ok(said));
        }
        if let Ok(said) = Storage::read(*kind, payload) {
            let (kind, payload) = said.write();
            assert_eq!(Storage::read(kind, &payload), Ok(said));
        }
        if let Ok(said) = Question::read(payload) {
            assert_eq!(Question::read(&said.write()), Ok(said));
        }
        if let Ok(said) = Reply::read(payload) {
            assert_eq!(Reply::read(&said.write()), Ok(said));
        }
        if let Ok(said) = Said::read(payload) {
            assert_eq!(Said::read(&said.write()), Ok(said.clone()));
            if let Said::Data { data, .. } = said {
                drop(translate::from_mime(&data));
            }
        }
        drop(Decryptor::new(&[1, 2, 3, 4, 5]).decrypt(payload));
        drop(cipher::open_login(*kind, payload, &KeyPair::new(&[7; 64]), 1));
    }
}

fn run(bytes: &[u8], signed_in: bool, piece: usize) {
    let (mut adapter, mut now) = adapter(signed_in);
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        out.clear();
        adapter.handle(now, Input::Received { conn: CONN, bytes: Bytes::copy_from_slice(piece) }, &mut out);
    }
    for _ in 0..4 {
        let Some(at) = adapter.deadline() else { break };
        now = now.after(at.saturating_duration_since(now.instant));
        out.clear();
        adapter.handle(now, Input::Tick, &mut out);
    }
}

/// Somebody elsewhere writes to a client, plain or formatted, and the client takes the conversation.
fn deliver(text: &str, rich: bool) {
    let text = if rich { translate::from_html(text.as_bytes()) } else { translate::from_text(&WireString::new(text)) };
    let (mut adapter, now) = adapter(true);
    let address = |text: &str| Address::parse(text).expect("an address");
    let envelope = Envelope {
        id: MessageId(1),
        origin: "globex".into(),
        from: address("eve@globex.example"),
        from_device: None,
        to: address("alice@acme.example"),
        to_device: None,
        native_id: None,
        accepted: now.wall,
        hops: Envelope::FULL_HOPS,
        native: None,
        body: model::Body::Text(text),
    };
    let mut out = Vec::new();
    let delivery = Down::Deliver { link: "acme".into(), delivery: DeliveryId(1), envelope: Arc::new(envelope) };
    adapter.handle(now, Input::Broker(delivery), &mut out);
    let mut stream = Stream::default();
    let mut calls = 0;
    let mut seen = 0;
    while let Some(output) = out.get(seen) {
        seen += 1;
        let Output::Send { bytes, .. } = output else { continue };
        stream.push(bytes);
        while let Some(frame) = stream.next(128 * 1024).expect("the client can read it") {
            let Frame::Message(frame) = frame else { continue };
            let message = Message::decode(&frame).expect("the client can read it");
            let Body::Create(create) = message.body else { continue };
            calls += 1;
            let Create { service, protocol, version, .. } = create;
            let accept = Accept { service, protocol, version, ..Accept::default() };
            let taken = Message::new(create.id, Body::Accept(accept)).encode();
            adapter.handle(now, Input::Received { conn: CONN, bytes: taken.into() }, &mut out);
        }
    }
    assert!(calls > 0, "somebody who is here is called");
}

const CONN: ConnId = ConnId::accepted(1);

/// The adapter with one connection, on which Alice has signed in or nobody.
fn adapter(signed_in: bool) -> (Box<dyn Adapter>, Now) {
    let hub = Domain::parse("hub.example").expect("a domain");
    let build = Build { settings: &Settings::default(), hub: &hub, secret: [3; 32], seed: 7 };
    let mut adapter = (interchange_sametime::PLATFORM.build)(build).expect("no settings");
    let now = Now { instant: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) };
    let mut out = Vec::new();
    let domain = Domain::parse("acme.example").expect("a domain");
    let mut settings = Settings::default();
    settings.0.insert("plain_networks".to_owned(), ["192.0.2.0/24"].as_slice().into());
    let link = Link {
        id: "acme".into(),
        member: "acme".into(),
        platform: PlatformName::from_static("sametime"),
        domains: vec![domain.clone()],
        pace: Pace::default(),
        settings,
    };
    let partner = Domain::parse("globex.example").expect("a domain");
    let hosted = Arc::new(HashSet::from([domain, partner]));
    adapter.handle(now, Input::Broker(Down::Links { links: vec![link].into(), hosted }), &mut out);
    adapter.handle(now, Input::Broker(Down::Remembered { link: "acme".into(), entries: Vec::new() }), &mut out);
    let conn = CONN;
    let local = "192.0.2.1:1533".parse().expect("an address");
    let peer = "192.0.2.2:5000".parse().expect("an address");
    adapter.handle(now, Input::Opened { conn, via: Via::Accepted { transport: Transport::Tcp, local, peer } }, &mut out);
    if signed_in {
        // A login of the weaker type, whose key stands beside it: the password `secret`.
        const HANDSHAKE: &str = "000000220000000000000000001e001d00000000000000001700000000000100000000000000";
        const LOGIN: &str =
            "0000002e00010000000000001700 0005616c696365 00000015 00000005 0102030405 00000008 a9f7ea4d5b953330 0002 0000";
        for frame in [HANDSHAKE, LOGIN] {
            adapter.handle(now, Input::Received { conn, bytes: hex(frame) }, &mut out);
        }
        let result = Ok(Account { user: "alice".to_owned(), display_name: None });
        assert!(out.iter().any(|output| matches!(output, Output::Authenticate { .. })), "the login is read");
        adapter.handle(now, Input::Authenticated { conn, result }, &mut out);
    }
    (adapter, now)
}

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
