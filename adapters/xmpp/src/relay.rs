//! What hubs on the same bus tell each other: answers to pings.
//!
//! A server has one stream to each domain, so when two hubs stand for a domain, the answer to the one's ping comes to the other. An
//! error needs no telling: the hub that it comes to tells the sender itself. A lost word is a ping without an answer.

use interchange_model::Domain;
use serde::{Deserialize, Serialize};

use crate::pair::PairKey;

/// The id of a ping of ours has so many hexadecimal digits; what has not was never one.
const ID_DIGITS: usize = 32;

#[derive(Serialize, Deserialize)]
struct Answered {
    own: String,
    partner: String,
    id: String,
}

/// An answer to an unknown question; `None` when no hub has asked it.
pub(crate) fn write(key: &PairKey, id: &str) -> Option<Vec<u8>> {
    if id.len() != ID_DIGITS || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let word = Answered { own: key.own.to_string(), partner: key.partner.to_string(), id: id.to_owned() };
    serde_json::to_vec(&word).ok()
}

/// What another hub has written: who was asked, and the id. `None`: perhaps a hub of another version.
pub(crate) fn read(payload: &[u8]) -> Option<(PairKey, String)> {
    let Answered { own, partner, id } = serde_json::from_slice(payload).ok()?;
    Some((PairKey { own: Domain::parse(&own).ok()?, partner: Domain::parse(&partner).ok()? }, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let key = PairKey { own: Domain::parse("b.example").unwrap(), partner: Domain::parse("a.example").unwrap() };
        let id = "0123456789abcdef0123456789abcdef";
        let payload = write(&key, id).unwrap();
        assert_eq!(read(&payload), Some((key.clone(), id.to_owned())));
        for other in ["", "1", &id[1..], "0123456789abcdef0123456789abcdeg"] {
            assert_eq!(write(&key, other), None);
        }
        for bytes in [&b""[..], b"{}", br#"{"own":"","partner":"a.example","id":"x"}"#, &payload[1..]] {
            assert_eq!(read(bytes), None);
        }
    }
}
