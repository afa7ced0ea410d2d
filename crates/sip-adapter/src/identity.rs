//! What every kind of SIP asks of a peer's certificate before its names are looked at.

use interchange_adapter::{PeerCertificate, Pin, TlsPeer};
use interchange_model::{Fault, Trouble};

/// The certificate whose names are still to be judged; `None`: its key is one of those that the link pins, which proves enough by itself.
///
/// # Errors
/// One sentence saying which rule the peer breaks, for the operator: it shows no certificate though one for `wanted` is needed, a key that is not
/// pinned, or a chain that is not sound.
pub fn sound<'a>(peer: &'a TlsPeer, pins: &[Pin], wanted: &str) -> Result<Option<&'a PeerCertificate>, Trouble> {
    let Some(certificate) = &peer.certificate else {
        let why = format!("the peer shows no certificate, and one for {wanted} is needed");
        return Err(Trouble::new(Fault::NoCertificate, why));
    };
    if !pins.is_empty() {
        if pins.iter().any(|pin| pin.0 == certificate.key_sha256) {
            return Ok(None);
        }
        let why = format!("the key of the peer's certificate ({}) is none of those pinned", certificate.subject);
        return Err(Trouble::new(Fault::KeyNotPinned, why));
    }
    if let Err(fault) = &certificate.chain {
        let why = format!("the peer's certificate ({}) does not prove {wanted}: {fault}", certificate.subject);
        return Err(Trouble::new(fault.into(), why));
    }
    Ok(Some(certificate))
}

/// The first few of a certificate's names, for a sentence; `none`, where there are none.
#[must_use]
pub fn listed<T: ToString>(names: &[T], none: &str) -> String {
    let mut text = names.iter().take(3).map(T::to_string).collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        text.push_str(", …");
    }
    if text.is_empty() { none.to_owned() } else { text }
}
