//! Formatted text: no bytes make a reader of HTML panic, what it says is bounded, and what is written of it is read again as the same.

#![no_main]

use interchange_rich_text::{Reading, from_html, from_xhtml, to_html, to_xhtml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for reading in [from_html(&text), from_xhtml(&text)] {
        let Reading { plain, rich } = reading;
        assert!(plain.as_str().len() <= text.len() * 20 + 64, "{} of {}", plain.as_str().len(), text.len());
        assert!(!plain.as_str().contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        let Some(rich) = rich else { continue };
        assert_eq!(rich.to_plain(), plain);
        let html = to_html(&rich);
        assert!(!html.to_ascii_lowercase().contains("href=\"javascript:"));
        assert_eq!(from_html(&html).rich.as_ref(), Some(&rich), "{html}");
        let xhtml = to_xhtml(&rich);
        assert_eq!(from_xhtml(&xhtml).rich.as_ref(), Some(&rich), "{xhtml}");
    }
});
