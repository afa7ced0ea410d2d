//! Pins: public keys that prove a peer by themselves.

use serde::Deserialize;

/// SHA-256 of a SubjectPublicKeyInfo, written as 64 hexadecimal digits, with or without colons between the bytes.
/// Equal to [`PeerCertificate::key_sha256`](crate::PeerCertificate::key_sha256) of the peer that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pin(pub [u8; 32]);

impl TryFrom<String> for Pin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WANTED: &str = "a pin is 64 hexadecimal digits";
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let mut pin = [0; 32];
        if digits.len() != 64 {
            return Err(WANTED);
        }
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(WANTED);
            *byte = digit(0)? << 4 | digit(1)?;
        }
        Ok(Self(pin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_with_and_without_colons_are_one_pin() {
        let plain = "0123456789abcdef".repeat(4);
        let colons = plain
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap().to_uppercase())
            .collect::<Vec<_>>()
            .join(":");
        let pin = Pin::try_from(plain.clone()).unwrap();
        assert_eq!(pin.0[..3], [0x01, 0x23, 0x45]);
        assert_eq!(Pin::try_from(colons), Ok(pin));
        for wrong in ["", "01", &plain[1..], &format!("{plain}0"), &plain.replace('0', "g"), &plain.replace('0', "é")] {
            assert!(Pin::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
