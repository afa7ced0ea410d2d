//! Bodies and headers of Microsoft's dialect: no bytes make a reader panic, and what was read is read again as the same from what we write.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocs_codec::first_text::FirstText;
use ocs_codec::font::Font;
use ocs_codec::imdn::Imdn;
use ocs_codec::keyboard::Keyboard;
use ocs_codec::presence::Form;
use ocs_codec::rtf;
use ocs_codec::session::Session;
use ocs_codec::timer::{SessionExpires, read_minimum};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(keyboard) = Keyboard::read(bytes) {
        assert_eq!(Keyboard::read(keyboard.write().as_bytes()).as_ref(), Ok(&keyboard));
    }
    if let Ok(session) = Session::read(bytes) {
        let again = Session::read(session.write(None).as_bytes()).expect("what we write is read");
        assert_eq!(again.word, session.word);
    }
    if let Ok(report) = Imdn::read(bytes) {
        assert_eq!(Imdn::read(report.write().as_bytes()).as_ref(), Ok(&report));
    }
    if let Some(text) = rtf::read(bytes) {
        // A code page has at most three bytes of UTF-8 for one of its own, and no word stands for more.
        assert!(text.len() <= 3 * bytes.len() + 3);
    }
    for form in Form::ALL {
        if let Ok(document) = form.read(bytes) {
            let written = form.write(&document, "2026-11-23T04:12:49Z");
            let again = form.read(written.as_bytes()).expect("what we write is read");
            assert_eq!(again.uri, document.uri);
            let since = |document: &ocs_codec::presence::Document| document.state.as_ref().and_then(|state| state.last_active.clone());
            assert!(form != Form::Categories || since(&again) == since(&document));
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Some(value) = SessionExpires::read(text) {
            assert_eq!(SessionExpires::read(&value.write()), Some(value));
            assert_eq!(read_minimum(text), Some(value.seconds));
        }
        if let Some(font) = Font::read(text) {
            let _ = Font::read(&font.write()).expect("what we write is read");
        }
        if let Some(first) = FirstText::read(text) {
            assert_eq!(FirstText::read(&first.write()).map(|again| again.body), Some(first.body));
        }
    }
});
