//! One datagram: decoding never panics, and what was decoded is written and read back as the same message.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sip_codec::{Limits, Name, decode_datagram, is_keep_alive};

fuzz_target!(|data: &[u8]| {
    let _ = is_keep_alive(data);
    match decode_datagram(Bytes::copy_from_slice(data), &Limits::default()) {
        Ok(message) => {
            let headers = message.headers();
            let _ = (headers.content_type(), headers.expires(), headers.retry_after(), headers.vias().count());
            for name in [Name::Contact, Name::Route, Name::RecordRoute, Name::PAssertedIdentity] {
                for address in headers.addresses(name).flatten() {
                    // What is written anew is strict, so it must read back as the same
                    let written = address.to_string();
                    assert_eq!(sip_codec::NameAddr::parse(written.as_bytes()).as_ref(), Ok(&address));
                }
            }
            let encoded = message.encode();
            // Long names may carry what was compact over a limit; nothing else may differ
            let roomy = Limits {
                start_line: usize::MAX,
                header_block: usize::MAX,
                headers: usize::MAX,
                vias: usize::MAX,
                body: usize::MAX,
            };
            let again = decode_datagram(encoded.clone(), &roomy).expect("what we write can be read");
            assert!(again == message);
            assert_eq!(again.encode(), encoded);
        }
        Err(rejected) => {
            let _ = rejected.to_string();
            if let Some(answer) = rejected.to_response("tag", Some("192.0.2.1:5060".parse().expect("an address"))) {
                assert!(answer.starts_with(b"SIP/2.0 4") || answer.starts_with(b"SIP/2.0 5"));
            }
        }
    }
});
