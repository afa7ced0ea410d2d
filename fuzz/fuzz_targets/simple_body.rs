//! Bodies of SIMPLE: no bytes make a reader panic, and what was read is read again as the same from what we write.

#![no_main]

use libfuzzer_sys::fuzz_target;
use simple_codec::composing::Composing;
use simple_codec::cpim::Cpim;
use simple_codec::imdn::Imdn;
use simple_codec::pidf::Pidf;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Pidf::read(bytes) {
        let _ = document.word();
        let again = Pidf::read(document.write().as_bytes()).expect("what we write is read");
        assert_eq!(again.tuples.len(), document.tuples.len());
        assert_eq!(again.entity, document.entity);
    }
    if let Ok(composing) = Composing::read(bytes) {
        assert_eq!(Composing::read(composing.write().as_bytes()).map(|read| read.is_active), Ok(composing.is_active));
    }
    if let Ok(imdn) = Imdn::read(bytes) {
        assert_eq!(Imdn::read(imdn.write().as_bytes()).as_ref(), Ok(&imdn));
    }
    if let Ok(message) = Cpim::read(bytes) {
        let _ = message.subject();
        let again = Cpim::read(&message.write());
        assert_eq!(again.map(|again| again.content), Ok(message.content));
    }
});
