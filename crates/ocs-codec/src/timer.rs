//! Session timers (RFC 4028): the values of `Session-Expires` and `Min-SE`.

/// Bytes of a value that is read.
const MAX_BYTES: usize = 1_024;

/// Who refreshes a session: the side that sent the request in which this stands, or which it answers, or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// `uac`: who sent the request.
    Uac,
    /// `uas`: who answers it.
    Uas,
}

/// `Session-Expires: 1800;refresher=uac`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// After so many seconds without a refresh the session is over.
    pub seconds: u32,
    /// Who refreshes it; `None`: that is still to be said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads a value. A number too large is the largest there is, and a refresher that nobody has heard of is none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (seconds, parameters) = read_seconds(text)?;
        let refresher = parameters.filter_map(|parameter| parameter.split_once('=')).find_map(|(name, value)| {
            let value = value.trim();
            match name.trim().eq_ignore_ascii_case("refresher") {
                true if value.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
                true if value.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
                _ => None,
            }
        });
        Some(Self { seconds, refresher })
    }

    /// The value.
    #[must_use]
    pub fn write(self) -> String {
        let refresher = match self.refresher {
            Some(Refresher::Uac) => ";refresher=uac",
            Some(Refresher::Uas) => ";refresher=uas",
            None => "",
        };
        format!("{}{refresher}", self.seconds)
    }
}

/// Reads the value of `Min-SE`: the fewest seconds that somebody takes.
#[must_use]
pub fn read_minimum(text: &str) -> Option<u32> {
    read_seconds(text).map(|(seconds, _)| seconds)
}

fn read_seconds(text: &str) -> Option<(u32, impl Iterator<Item = &str>)> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut parts = text.split(';');
    let digits = parts.next()?.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_that_peers_write() {
        let value = |seconds, refresher| Some(SessionExpires { seconds, refresher });
        assert_eq!(SessionExpires::read("1800"), value(1_800, None));
        assert_eq!(SessionExpires::read(" 720 ; refresher = UAC"), value(720, Some(Refresher::Uac)));
        assert_eq!(SessionExpires::read("90;x=1;refresher=uas;y"), value(90, Some(Refresher::Uas)));
        assert_eq!(SessionExpires::read("90;refresher=other"), value(90, None));
        assert_eq!(SessionExpires::read("99999999999999999999"), value(u32::MAX, None));
        assert_eq!(read_minimum("90;generic=x"), Some(90));
        for text in ["", ";refresher=uac", "-1", "1 800", "soon", "0x10"] {
            assert_eq!((SessionExpires::read(text), read_minimum(text)), (None, None), "{text}");
        }
        assert_eq!(SessionExpires::read(&format!("90;{}", "x".repeat(MAX_BYTES))), None);
    }

    proptest! {
        #[test]
        fn every_value_survives(seconds: u32, refresher in prop_oneof![Just(None), Just(Some(Refresher::Uac)), Just(Some(Refresher::Uas))]) {
            let value = SessionExpires { seconds, refresher };
            prop_assert_eq!(SessionExpires::read(&value.write()), Some(value));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", tail in "[0-9]{1,30}[;=a-z ]{0,30}") {
            let _ = (SessionExpires::read(&text), read_minimum(&text));
            let _ = (SessionExpires::read(&tail), read_minimum(&tail));
        }
    }
}
