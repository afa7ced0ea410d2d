//! Bodies and headers of Microsoft's dialect: no bytes make a reader panic, and what was read is read again as the same from what we write.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocs_codec::first_text::FirstText;
use ocs_codec::font::Font;
use ocs_codec::keyboard::Keyboard;
use ocs_codec::presence::Form;
use ocs_codec::session::Session;
use ocs_codec::rtf;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(keyboard) = Keyboard::read(bytes) {
        assert_eq!(Keyboard::read(keyboard.write().as_bytes()).as_ref(), Ok(&keyboard));
    }
    if let Ok(session) = Session::read(bytes) {
        let again = Session::read(session.write(None).as_bytes()).expect("what we write is read");
        assert_eq!(again.word, session.word);
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
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Some(font) = Font::read(text) {
            let _ = Font::read(&font.write()).expect("what we write is read");
        }
        if let Some(first) = FirstText::read(text) {
            assert_eq!(FirstText::read(&first.write()).map(|again| again.body), Some(first.body));
        }
    }
});
