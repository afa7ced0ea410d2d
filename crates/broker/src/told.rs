//! What hubs on one bus pass to each other for a link's adapter: its own words, or an envelope that is not stored.

use std::sync::Arc;

use interchange_bus::Transient;
use interchange_model::{Body, Down, Envelope, LinkId};

/// The first byte says what follows.
const RELAYED: u8 = 0;
const TOLD: u8 = 1;

/// An adapter's own word.
pub(crate) fn relay(link: LinkId, payload: &[u8]) -> Transient {
    Transient { link, key: None, payload: [&[RELAYED], payload].concat() }
}

/// An envelope, which takes the place of an older one of the same kind between the same people.
pub(crate) fn envelope(link: LinkId, envelope: &Envelope) -> Option<Transient> {
    let key = format!("{} {} {}", envelope.body.kind().label(), envelope.from, envelope.to);
    let mut payload = vec![TOLD];
    serde_json::to_writer(&mut payload, envelope).ok()?;
    Some(Transient { link, key: Some(key.into()), payload })
}

/// What another hub has said; `None`: perhaps a hub of another version. A record of the bus is not trusted more than a peer: only what may be
/// told is told.
pub(crate) fn read(word: Transient) -> Option<Down> {
    let (first, rest) = word.payload.split_first()?;
    match *first {
        RELAYED => Some(Down::Relayed { link: word.link, payload: rest.to_vec() }),
        TOLD => {
            let envelope: Envelope = serde_json::from_slice(rest).ok()?;
            let may_be = !envelope.body.is_durable() && !matches!(envelope.body, Body::Text(_));
            may_be.then(|| Down::Told { link: word.link, envelope: Arc::new(envelope) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use interchange_model::{Address, MessageId, Text, Watch};

    use super::*;

    fn made(body: Body) -> Envelope {
        Envelope {
            id: MessageId(1),
            origin: "acme".into(),
            from: Address::parse("alice@acme.example").unwrap(),
            from_device: None,
            to: Address::parse("bob@globex.example").unwrap(),
            to_device: None,
            native_id: None,
            accepted: SystemTime::UNIX_EPOCH,
            hops: 70,
            native: None,
            body,
        }
    }

    #[test]
    fn what_is_said_is_heard_and_only_what_may_be_told() {
        let relayed = read(relay("globex".into(), b"word"));
        assert_eq!(relayed, Some(Down::Relayed { link: "globex".into(), payload: b"word".to_vec() }));
        let fetch = made(Body::Watch(Watch::Fetch));
        let word = envelope("globex".into(), &fetch).unwrap();
        assert_eq!(read(word), Some(Down::Told { link: "globex".into(), envelope: Arc::new(fetch) }));
        for body in [Body::Text(Text::default()), Body::Watch(Watch::Allow)] {
            assert_eq!(read(envelope("globex".into(), &made(body)).unwrap()), None);
        }
        for payload in [&b""[..], b"\x01{}", b"\x02x"] {
            assert_eq!(read(Transient { link: "globex".into(), key: None, payload: payload.to_vec() }), None);
        }
    }
}
