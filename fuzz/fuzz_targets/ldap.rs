//! LDAP: no bytes of a server make the reader panic, however they are cut; no text makes the reader of filters panic, and a filter that was read is
//! written so that it is read again as the same. The other way, whatever somebody types as a name and a password stays one value in a request.

#![no_main]

use ldap_codec::{Filter, Responses, Search, bind, search};
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
    if let Ok(text) = std::str::from_utf8(bytes) {
        let (name, password) = text.split_at(text.floor_char_boundary(text.len() / 2));
        ask(name, password);
    }
});

/// A search for what somebody typed, and a bind as them.
fn ask(name: &str, password: &str) {
    let filter = Filter::Equal { attribute: "uid".to_owned(), value: name.as_bytes().to_vec() };
    let asked = search(7, &Search { base: name, filter: &filter, attributes: &["cn"], most: 2, seconds: 8 });
    let [(0x30, message)] = elements(&asked)[..] else { panic!("one message") };
    let [(0x02, [7]), (0x63, operation)] = elements(message)[..] else { panic!("its number and a search") };
    let parts = elements(operation);
    assert_eq!((parts.len(), parts[0]), (8, (0x04, name.as_bytes())));
    assert_eq!(elements(parts[6].1), [(0x04, &b"uid"[..]), (0x04, name.as_bytes())], "a filter of one value");
    let Some(asked) = bind(7, name, password) else { return assert_eq!(password, "") };
    let [(0x30, message)] = elements(&asked)[..] else { panic!("one message") };
    let [(0x02, [7]), (0x60, operation)] = elements(message)[..] else { panic!("its number and a bind") };
    assert_eq!(elements(operation), [(0x02, &[3][..]), (0x04, name.as_bytes()), (0x80, password.as_bytes())]);
}

/// Tags and contents of elements of BER, one after the other to the end.
fn elements(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let [tag, first, rest @ ..] = bytes {
        let digits = usize::from(first & 0x7f) * usize::from(first >> 7);
        let (digits, rest) = rest.split_at(digits);
        let long = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        let (content, rest) = rest.split_at(if *first < 0x80 { usize::from(*first) } else { long });
        found.push((*tag, content));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    found
}
