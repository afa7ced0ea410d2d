//! The codec and the ciphers against what real clients have said.

use std::collections::HashMap;

use interchange_sametime::cipher::{self, Decryptor, Encryptor, KeyPair};
use interchange_sametime::codec::{
    self, Awareness, Body, Frame, Message, Privacy, Question, Reply, Said, Storage, Stream, WireString, mode, service,
};
use proptest::prelude::*;

use crate::vectors::{Line, RECORDINGS, hex, primitives, recording};

/// Every frame of every recording.
fn frames() -> Vec<(String, bool, Vec<u8>)> {
    let mut frames = Vec::new();
    for (name, _) in RECORDINGS {
        for (place, line) in recording(name).into_iter().enumerate() {
            match line {
                Line::Client(frame) => frames.push((format!("{name} {place}"), true, frame)),
                Line::Server(frame) => frames.push((format!("{name} {place}"), false, frame)),
                _ => {}
            }
        }
    }
    frames
}

#[test]
fn every_recorded_frame_is_read_and_written_to_the_same_bytes() {
    let frames = frames();
    // Nobody shall lose some of them unnoticed.
    assert_eq!(frames.len(), 598);
    for (name, _, frame) in &frames {
        if frame == &[0x80] {
            continue;
        }
        let message = Message::decode(&frame[4..]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!matches!(message.body, Body::Unknown { .. }), "{name}: {message:?}");
        assert_eq!(message.encode(), *frame, "{name}: {message:?}");
    }
}

#[test]
fn recordings_are_taken_off_a_stream_in_pieces_of_any_size() {
    for piece in [1, 7, 64, 1_000_000] {
        let (mut client, mut server) = ((Stream::default(), Vec::new()), (Stream::default(), Vec::new()));
        for (_, from_client, frame) in frames() {
            let (stream, wanted) = if from_client { &mut client } else { &mut server };
            wanted.extend_from_slice(&frame);
            let mut read = Vec::new();
            for bytes in frame.chunks(piece) {
                stream.push(bytes);
                while let Some(next) = stream.next(256 * 1024).unwrap() {
                    match next {
                        Frame::KeepAlive => read.push(0x80),
                        Frame::Message(bytes) => {
                            read.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
                            read.extend_from_slice(&bytes);
                        }
                    }
                }
            }
            assert_eq!(read, frame);
            assert!(!stream.is_partial());
        }
    }
}

/// What is said on the channels of services is read by the service, and written to the same bytes.
#[test]
fn what_is_said_on_every_recorded_channel_is_read_and_written_to_the_same_bytes() {
    let mut read = HashMap::<&str, u32>::new();
    for (name, _) in RECORDINGS {
        let mut services = HashMap::new();
        let mut plain = None;
        for line in recording(name) {
            let (from_client, frame) = match line {
                Line::Client(frame) => (true, frame),
                Line::Server(frame) => (false, frame),
                Line::Plain(bytes) => {
                    plain = Some(bytes);
                    continue;
                }
                _ => continue,
            };
            if frame == [0x80] {
                continue;
            }
            let message = Message::decode(&frame[4..]).unwrap();
            match message.body {
                Body::Create(create) => drop(services.insert(create.id, create.service)),
                Body::Send { kind, payload } => {
                    let payload = plain.take().unwrap_or(payload);
                    let said = match services.get(&message.channel).copied() {
                        Some(service::AWARENESS) => {
                            let said = Awareness::read(kind, &payload).unwrap();
                            assert_eq!(said.write(), (kind, payload), "{name}");
                            "awareness"
                        }
                        Some(service::RESOLVE) if from_client => {
                            assert_eq!(Question::read(&payload).unwrap().write(), payload, "{name}");
                            "question"
                        }
                        Some(service::RESOLVE) => {
                            assert_eq!(Reply::read(&payload).unwrap().write(), payload, "{name}");
                            "reply"
                        }
                        Some(service::STORAGE) => {
                            let said = Storage::read(kind, &payload).unwrap();
                            assert_eq!(said.write(), (kind, payload), "{name}");
                            "storage"
                        }
                        Some(service::MESSAGES) => {
                            assert_eq!((kind, Said::read(&payload).unwrap().write()), (codec::SEND_SAID, payload), "{name}");
                            "said"
                        }
                        // The conference of `conference.hex`, which is not carried.
                        _ => "other",
                    };
                    *read.entry(said).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    for (said, least) in [("awareness", 50), ("question", 4), ("reply", 4), ("storage", 10), ("said", 50)] {
        assert!(read.get(said).copied().unwrap_or_default() >= least, "{read:?}");
    }
}

#[test]
fn the_primitives_are_those_of_the_vectors() {
    let values = primitives();
    let (mut key, mut block) = (Vec::new(), Vec::new());
    let mut carried: Option<(Encryptor, Decryptor)> = None;
    let mut plain = Vec::new();
    let mut pairs = HashMap::new();
    let mut checked = 0;
    let mut auth = Vec::new();
    for (name, value) in values {
        match name {
            "key" => (key, carried) = (hex(value), None),
            "iv" => carried = Some((Encryptor::new(&key), Decryptor::new(&key))),
            "block_in" => block = hex(value),
            "block_out" => {
                // The constant is folded into the first block: CBC of one block is the block cipher of the sum.
                let iv = hex("0123456789abcdef");
                let sum: Vec<u8> = block.iter().zip(iv).map(|(one, other)| one ^ other).collect();
                assert_eq!(Encryptor::new(&key).encrypt(&sum)[..8], hex(value));
                checked += 1;
            }
            "plain" => plain = hex(value),
            "cipher" => {
                let (to, from) = carried.as_mut().unwrap();
                assert_eq!(to.encrypt(&plain), hex(value));
                assert_eq!(from.decrypt(&hex(value)).unwrap(), plain);
                checked += 1;
            }
            "private_a" | "private_b" => drop(pairs.insert(name, KeyPair::new(&hex(value).try_into().unwrap()))),
            "public_a" => assert_eq!(pairs["private_a"].public()[..], hex(value)),
            "public_b" => assert_eq!(pairs["private_b"].public()[..], hex(value)),
            "rc2_key" => {
                for (own, other) in [("private_a", "private_b"), ("private_b", "private_a")] {
                    assert_eq!(pairs[own].shared(pairs[other].public()).unwrap()[..], hex(value));
                }
                checked += 1;
            }
            "auth_data" => auth.push(hex(value)),
            _ => {}
        }
    }
    let server = &pairs["private_b"];
    assert_eq!(cipher::open_login(4, &auth[0], server, 0x0102_0304).unwrap(), "secret");
    assert_eq!(cipher::open_login(2, &auth[1], server, 0).unwrap(), "secret");
    assert_eq!(cipher::seal_login("secret", &pairs["private_a"], server.public(), 0x0102_0304).unwrap(), auth[0]);
    // A login that was recorded on another connection does not open this one.
    assert!(cipher::open_login(4, &auth[0], server, 0x0102_0305).is_err());
    assert!(cipher::open_login(4, &auth[0], &pairs["private_a"], 0x0102_0304).is_err());
    assert_eq!(checked, 7);
}

#[test]
fn a_public_key_that_makes_the_secret_known_is_refused() {
    let own = KeyPair::new(&[7; 64]);
    let modulus = primitives().into_iter().find(|(name, _)| *name == "prime").map(|(_, value)| hex(value)).unwrap();
    let mut below = modulus.clone();
    *below.last_mut().unwrap() -= 1;
    for bad in [&[][..], &[0], &[1], &[0; 64], &[0xff; 64], &[1; 65], &modulus, &below] {
        assert_eq!(own.shared(bad), None, "{bad:?}");
    }
    assert!(own.shared(&[2]).is_some());
}

#[test]
fn recorded_passwords_are_opened_with_the_servers_key() {
    let mut opened = 0;
    for (name, _) in RECORDINGS {
        let mut own = KeyPair::new(&[1; 64]);
        for line in recording(name) {
            match line {
                Line::Private(private) => own = KeyPair::new(&private.try_into().unwrap()),
                Line::Client(frame) if frame.len() > 4 => {
                    if let Body::Login(login) = Message::decode(&frame[4..]).unwrap().body {
                        let password = cipher::open_login(login.auth_type, &login.auth_data, &own, 0x0102_0304).unwrap();
                        assert_eq!(password, if *name == "login-refused" { "wrong" } else { "secret" });
                        opened += 1;
                    }
                }
                Line::LoginKey(key) => assert_eq!(key.len(), 16),
                _ => {}
            }
        }
    }
    assert!(opened >= RECORDINGS.len(), "{opened}");
}

/// The keys are also found from what was agreed on the wire, as the adapter finds them.
#[test]
fn encrypted_conversations_are_decrypted_and_encrypted_to_the_same_bytes() {
    let mut encrypted = 0;
    for (name, _) in RECORDINGS {
        let mut channels: HashMap<u32, [(Decryptor, Encryptor); 2]> = HashMap::new();
        let mut plain = None;
        let mut own = KeyPair::new(&[1; 64]);
        let mut offered = HashMap::<u32, Vec<u8>>::new();
        let mut agreed = None;
        for line in recording(name) {
            let (from_client, frame) = match line {
                Line::Channel { id, from_client, from_server } => {
                    let cipher = |key: &[u8]| (Decryptor::new(key), Encryptor::new(key));
                    channels.insert(id, [cipher(&from_client), cipher(&from_server)]);
                    let by_us = offered.get(&id).or(agreed.as_ref()).and_then(|public| own.shared(public));
                    if from_client.len() == 16 {
                        assert_eq!(by_us.unwrap()[..], from_client, "{name}");
                    }
                    continue;
                }
                Line::Private(private) => {
                    own = KeyPair::new(&private.try_into().unwrap());
                    continue;
                }
                Line::Plain(bytes) => {
                    plain = Some(bytes);
                    continue;
                }
                Line::Client(frame) => (true, frame),
                Line::Server(frame) => (false, frame),
                Line::LoginKey(_) => continue,
            };
            if frame == [0x80] {
                continue;
            }
            let message = Message::decode(&frame[4..]).unwrap();
            match &message.body {
                Body::Create(create) if from_client => {
                    let item = create.offer.iter().flat_map(|offer| &offer.items).find(|item| item.cipher == 1);
                    offered.extend(item.map(|item| (create.id, item.info.clone())));
                }
                Body::Accept(accept) if from_client && accept.mode == mode::RC2_128 => {
                    agreed = accept.chosen.as_ref().map(|chosen| chosen.item.info.clone());
                }
                Body::Send { payload, .. } if message.options & Message::ENCRYPTED != 0 => {
                    let [client, server] = channels.get_mut(&message.channel).unwrap();
                    let (from, to) = if from_client { client } else { server };
                    let wanted = plain.take().unwrap();
                    assert_eq!(from.decrypt(payload).unwrap(), wanted, "{name}");
                    assert_eq!(to.encrypt(&wanted), *payload, "{name}");
                    encrypted += 1;
                }
                _ => {}
            }
        }
    }
    assert!(encrypted >= 40, "{encrypted}");
}

#[test]
fn abuse_21_no_frame_is_believed_about_its_own_lengths() {
    // Every recorded frame, cut at every place, and with every byte made large: an answer comes, and no memory is taken for what is not there.
    for (_, _, frame) in frames().iter().filter(|(_, _, frame)| frame.len() > 4 && frame.len() < 200) {
        let frame = &frame[4..];
        for cut in 0..frame.len() {
            drop(Message::decode(&frame[..cut]));
            let mut liar = frame.to_vec();
            liar[cut] = 0xff;
            if let Ok(message) = Message::decode(&liar) {
                assert!(message.encode().len() <= liar.len() + 64);
            }
        }
    }
    let four_thousand_million = [0xff; 4];
    assert!(Awareness::read(0x68, &four_thousand_million).is_err());
    assert!(Question::read(&[0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(Storage::read(6, &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(Privacy::from_bytes(&[1, 0xff, 0xff, 0xff, 0xff]).is_err());
}

proptest! {
    #[test]
    fn whatever_is_read_is_written_and_read_again_as_the_same(frame in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u16..0x30) {
        let mut frame = frame;
        if frame.len() >= 2 {
            frame[..2].copy_from_slice(&kind.to_be_bytes());
        }
        if let Ok(message) = Message::decode(&frame) {
            let bytes = message.encode();
            prop_assert_eq!(Message::decode(&bytes[4..]).unwrap(), message);
        }
    }

    #[test]
    fn words_survive(text in any::<String>(), data in proptest::collection::vec(any::<u8>(), 0..100), kind in 0_u32..10) {
        let said = Said::Text(WireString::new(&text));
        prop_assert_eq!(Said::read(&said.write()).unwrap(), said.clone());
        let Said::Text(words) = said else { unreachable!() };
        prop_assert_eq!(words.to_text(), text);
        let said = Said::data(kind, 0, data);
        prop_assert_eq!(Said::read(&said.write()).unwrap(), said);
    }

    #[test]
    fn what_is_encrypted_is_decrypted(key in proptest::collection::vec(any::<u8>(), 1..=16), texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5)) {
        let (mut to, mut from) = (Encryptor::new(&key), Decryptor::new(&key));
        for text in texts {
            prop_assert_eq!(from.decrypt(&to.encrypt(&text)).unwrap(), text);
        }
    }

    #[test]
    fn nothing_that_is_no_ciphertext_brings_it_down(key in proptest::collection::vec(any::<u8>(), 1..=16), bytes in proptest::collection::vec(any::<u8>(), 0..100), auth in 0_u16..6) {
        drop(Decryptor::new(&key).decrypt(&bytes));
        drop(cipher::open_login(auth, &bytes, &KeyPair::new(&[3; 64]), 1));
    }
}
