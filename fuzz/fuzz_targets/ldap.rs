//! LDAP: no bytes of a server make the reader panic, however they are cut; no text makes the reader of filters panic, and a filter that was read is
//! written so that it is read again as the same.

#![no_main]

use ldap_codec::{Filter, Responses};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let all = |piece: usize| {
        let mut responses = Responses::default();
        let mut read = Vec::new();
        for piece in bytes.chunks(piece) {
            responses.push(piece);
            loop {
                match responses.take() {
                    Ok(Some(response)) => read.push(response),
                    Ok(None) => break,
                    Err(_) => return read,
                }
            }
        }
        read
    };
    assert_eq!(all(bytes.len().max(1)), all(3));
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(filter) = Filter::parse(text)
    {
        // Escaped it may be longer than is read.
        let written = filter.to_string();
        assert!(written.len() > ldap_codec::limits::LONGEST_FILTER || Filter::parse(&written).as_ref() == Ok(&filter));
    }
});
