//! Arbitrary bytes in arbitrary pieces: into the codec alone, and into an authenticated stream with a live adapter behind it.
//!
//! The first byte of the input says how long the pieces are. Nothing may panic, and any split must give the same frames.
#![no_main]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use interchange_adapter::{Build, ConnId, Input, Now, Output, PeerCertificate, PeerName, TlsPeer, Transport, Via};
use interchange_model::{Domain, Down, Link, Pace, PlatformName, Settings, Up};
use interchange_xmpp::codec::{Codec, Document, Frame, Malformed};
use libfuzzer_sys::fuzz_target;

const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns:db='jabber:server:dialback' from='a.example' to='b.example' version='1.0'>";

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let piece = usize::from(*first).max(1);
    assert_eq!(frames(bytes, piece), frames(bytes, bytes.len().max(1)));
    let with_header = [HEADER.as_bytes(), bytes].concat();
    assert_eq!(frames(&with_header, piece), frames(&with_header, with_header.len()));
    converse(bytes, piece);
});

/// What the codec makes of bytes that come in pieces.
fn frames(bytes: &[u8], piece: usize) -> Vec<Result<Frame, Malformed>> {
    let mut codec = Codec::new(10_000);
    let mut document = Document::default();
    let mut seen = Vec::new();
    for piece in bytes.chunks(piece) {
        codec.push(&Bytes::copy_from_slice(piece));
        loop {
            match codec.next(&mut document) {
                Ok(None) => break,
                Ok(Some(Frame::Close)) => {
                    seen.push(Ok(Frame::Close));
                    return seen;
                }
                Ok(Some(frame)) => seen.push(Ok(frame)),
                Err(malformed) => {
                    seen.push(Err(malformed));
                    return seen;
                }
            }
        }
    }
    seen
}

/// A partner that authenticates properly and then says anything.
fn converse(bytes: &[u8], piece: usize) {
    let domain = |text: &str| Domain::parse(text).expect("a domain");
    let hub = domain("hub.example");
    let build = Build { settings: &Settings::default(), hub: &hub, secret: [7; 32], seed: 1 };
    let mut adapter = (interchange_xmpp::PLATFORM.build)(build).expect("default settings are good");
    let now = Now { instant: Instant::now(), wall: UNIX_EPOCH };
    let link = Link {
        id: "acme".into(),
        member: "acme".into(),
        platform: PlatformName::from_static("xmpp"),
        domains: vec![domain("a.example")],
        pace: Pace::default(),
        settings: Settings::default(),
    };
    let hosted = HashSet::from([domain("a.example"), domain("b.example")]);
    let conn = ConnId::accepted(1);
    let address = "192.0.2.1:5269".parse().expect("an address");
    let certificate = PeerCertificate {
        chain: Ok(()),
        names: vec![PeerName::Dns("a.example".to_owned())],
        key_sha256: [0; 32],
        fingerprint: [0; 32],
        subject: String::new(),
    };
    let mut inputs = vec![
        Input::Broker(Down::Links { links: Arc::from([link]), hosted: Arc::new(hosted) }),
        Input::Opened { conn, via: Via::Accepted { transport: Transport::Tls, local: address, peer: address } },
        Input::Secured { conn, peer: TlsPeer { certificate: Some(certificate), ..TlsPeer::default() } },
        Input::Received { conn, bytes: Bytes::from_static(HEADER.as_bytes()) },
        Input::Received {
            conn,
            bytes: Bytes::from_static(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"),
        },
        Input::Received { conn, bytes: Bytes::from_static(HEADER.as_bytes()) },
    ];
    inputs.extend(bytes.chunks(piece).map(|piece| Input::Received { conn, bytes: Bytes::copy_from_slice(piece) }));
    let mut out = Vec::new();
    for input in inputs {
        out.clear();
        adapter.handle(now, input, &mut out);
        let submitted: Vec<_> = out
            .iter()
            .filter_map(|output| match output {
                Output::Broker(Up::Submit { token, .. }) => Some(*token),
                _ => None,
            })
            .collect();
        for token in submitted {
            adapter.handle(now, Input::Broker(Down::Submitted { token, result: Ok(()) }), &mut out);
        }
    }
}
