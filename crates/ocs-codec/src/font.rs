//! The font of a message: the parameter `msgr` of its Content-Type, base64 of UTF-16LE text `X-MMS-IM-Format: FN=...; EF=...; CO=...`.
//!
//! It is about the whole message, whose words stay plain.

use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};

/// Bytes of a parameter that is read.
const MAX_BYTES: usize = 2_048;
/// Characters of a font's name that are kept.
const MAX_NAME: usize = 64;
const FIELD: &str = "X-MMS-IM-Format:";

/// Written without padding; read with and without, and whatever is in the bits that are left over.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How all words of a message look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Font {
    /// Its name; empty: not told.
    pub name: String,
    /// Heavy letters (`B`).
    pub bold: bool,
    /// Slanted letters (`I`).
    pub italic: bool,
    /// A line below (`U`).
    pub underline: bool,
    /// A line through (`S`).
    pub strike: bool,
    /// Red, green, blue. On the wire it is hexadecimal, blue first, without leading zeros.
    pub colour: [u8; 3],
    /// Written from right to left.
    pub right_to_left: bool,
}

impl Font {
    /// Reads the parameter's value. `None`: it is no font; that is never a reason to refuse the message.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        if value.len() > MAX_BYTES {
            return None;
        }
        let bytes = BASE64.decode(value).ok()?;
        let (text, _) = encoding_rs::UTF_16LE.decode_without_bom_handling(&bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (field, rest) = text.split_at_checked(FIELD.len())?;
        if !field.eq_ignore_ascii_case(FIELD) {
            return None;
        }
        let mut font = Self::default();
        for part in rest.lines().next().unwrap_or_default().split(';') {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_uppercase().as_str() {
                "FN" => font.name = unescaped(value).chars().filter(|c| !c.is_control()).take(MAX_NAME).collect(),
                "EF" => {
                    for effect in value.chars() {
                        match effect.to_ascii_uppercase() {
                            'B' => font.bold = true,
                            'I' => font.italic = true,
                            'U' => font.underline = true,
                            'S' => font.strike = true,
                            _ => {}
                        }
                    }
                }
                "CO" => {
                    let [_, blue, green, red] = u32::from_str_radix(value, 16).unwrap_or(0).to_be_bytes();
                    font.colour = [red, green, blue];
                }
                "RL" => font.right_to_left = value == "1",
                _ => {}
            }
        }
        Some(font)
    }

    /// The parameter's value.
    #[must_use]
    pub fn write(&self) -> String {
        let effects = [(self.bold, 'B'), (self.italic, 'I'), (self.underline, 'U'), (self.strike, 'S')];
        let effects: String = effects.into_iter().filter(|(is_on, _)| *is_on).map(|(_, letter)| letter).collect();
        let [red, green, blue] = self.colour;
        let text = format!(
            "X-MMS-IM-Format: FN={}; EF={effects}; CO={:x}; PF=0; RL={}\r\n\r\n",
            escaped(&self.name),
            u32::from_be_bytes([0, blue, green, red]),
            u8::from(self.right_to_left),
        );
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        BASE64.encode(bytes)
    }
}

/// `%20` and its like.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = if *first == b'%' { after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()) } else { None };
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            out.extend(c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What SIPE 1.25.0 writes unless its user has chosen a font.
    const RECORDED: &str = "WAAtAE0ATQBTAC0ASQBNAC0ARgBvAHIAbQBhAHQAOgAgAEYATgA9AE0AUwAlADIAMABTAGEAbgBzACUAMgAwAFMAZQByAGkAZgA7ACAARQBGAD0AOwAgAEMATwA9ADAAOwAgAFAARgA9ADAAOwAgAFIATAA9ADAADQAKAA0ACgA";

    #[test]
    fn the_recorded_font_is_read_and_written_again() {
        let font = Font { name: "MS Sans Serif".to_owned(), ..Font::default() };
        assert_eq!(Font::read(RECORDED), Some(font.clone()));
        assert_eq!(font.write(), RECORDED);
    }

    #[test]
    fn colours_are_blue_first_without_leading_zeros() {
        let red = Font { bold: true, strike: true, colour: [0xff, 0, 0], ..Font::default() };
        let text: Vec<u8> = BASE64.decode(red.write()).unwrap();
        let text: String = text.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
        assert!(text.contains("EF=BS; CO=ff;"), "{text}");
        assert_eq!(Font::read(&red.write()), Some(red));
        let blue = Font { colour: [0, 0, 0xff], right_to_left: true, ..Font::default() };
        assert_eq!(Font::read(&blue.write()), Some(blue));
    }

    #[test]
    fn what_is_no_font_is_none() {
        for value in ["", "!", "WAAtAE0", &BASE64.encode("X-MMS-IM-Format: FN=a"), &"A".repeat(3_000)] {
            assert_eq!(Font::read(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn every_font_survives(name in "[^\\p{C}]{0,40}", flags in any::<[bool; 5]>(), colour in any::<[u8; 3]>()) {
            let [bold, italic, underline, strike, right_to_left] = flags;
            let font = Font { name: name.trim().to_owned(), bold, italic, underline, strike, colour, right_to_left };
            prop_assert_eq!(Font::read(&font.write()), Some(font));
        }

        #[test]
        fn no_value_makes_it_panic(value in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Font::read(&value);
            let _ = Font::read(&BASE64.encode(bytes));
        }
    }
}
