//! SIP URIs and canonical addresses (shared/protocols/interworking.md §2).

use interchange_model::{Address, AddressError, Device, Domain};
use sip_codec::{Host, Scheme, Unencodable, Uri, percent_decode};

/// Why a URI is not a person's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// `sips:` promises TLS to the very end, which nobody can promise beyond the hub (RFC 7247 §8).
    #[error("SIPS not available beyond this hub")]
    Sips,
    /// A scheme without a user and a domain, such as `tel:`.
    #[error("the URI scheme names no user at a domain")]
    Scheme,
    /// `sip:b.example`: a server and not a person.
    #[error("the URI has no user part")]
    NoUser,
    /// The user part is not UTF-8, or holds what no platform can carry.
    #[error("the user part cannot be carried")]
    User,
    /// The user part is longer than 1,023 bytes.
    #[error("the user part is too long")]
    TooLong,
    /// An IP address, or not a name at all.
    #[error("the host is not a domain")]
    Domain,
    /// Headers inside the URI, which only a web page has.
    #[error("the URI holds headers")]
    Headers,
}

/// An address, and the device where the URI names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Who.
    pub address: Address,
    /// On which device.
    pub device: Option<Device>,
}

/// The canonical address of a `sip:`, `im:` or `pres:` URI. Parameters, port and password are dropped.
///
/// # Errors
/// [`AddressFault`]; `sips:` is one, and the caller decides whether it matters at this place.
pub fn from_uri(uri: &Uri) -> Result<Party, AddressFault> {
    match uri.scheme() {
        Scheme::Sip | Scheme::Im | Scheme::Pres => {}
        Scheme::Sips => return Err(AddressFault::Sips),
        Scheme::Tel | Scheme::Other(_) => return Err(AddressFault::Scheme),
    }
    from_any_scheme(uri)
}

/// As [`from_uri`], with `sips:` read as `sip:`: for From, where it promises nothing about what lies before us.
pub fn from_sender_uri(uri: &Uri) -> Result<Party, AddressFault> {
    match uri.scheme() {
        Scheme::Sips => from_any_scheme(uri),
        _ => from_uri(uri),
    }
}

fn from_any_scheme(uri: &Uri) -> Result<Party, AddressFault> {
    if uri.headers().is_some() {
        return Err(AddressFault::Headers);
    }
    let user = uri.user().ok_or(AddressFault::NoUser)?;
    // A telephone number's own parameters (RFC 3966) are no part of the user's name.
    let phone = uri.param("user").is_some_and(|value| value.eq_ignore_ascii_case("phone"));
    let user = if phone { user.split(';').next().unwrap_or(user) } else { user };
    // Decoded once and after all separators were found, so an escaped one stays text (RFC 3261 §19.1.2).
    let user = String::from_utf8(percent_decode(user)).map_err(|_| AddressFault::User)?;
    let host = uri.host().ok_or(AddressFault::Domain)?;
    let domain = Domain::parse(host.as_str()).map_err(|_| AddressFault::Domain)?;
    let address = Address::new(&user, domain).map_err(|error| match error {
        AddressError::NoUser => AddressFault::NoUser,
        AddressError::TooLong => AddressFault::TooLong,
        AddressError::Character => AddressFault::User,
        AddressError::Domain(_) => AddressFault::Domain,
    })?;
    Ok(Party { address, device: device(uri) })
}

/// The value of a public GRUU (RFC 5627 §5.1). One without a value is a server's own name for a device, of no use to others.
fn device(uri: &Uri) -> Option<Device> {
    let text = String::from_utf8(percent_decode(uri.param("gr")?)).ok()?;
    Device::new(&text)
}

/// The `sip:` URI of an address, without parameters: many servers refuse or misroute a From with `gr`.
///
/// # Errors
/// [`Unencodable`], which no address of the model is: its user part has no control characters and its domain is a host name.
pub fn to_uri(address: &Address) -> Result<Uri, Unencodable> {
    Uri::sip_user(address.user(), Host::new(address.domain().as_str())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(uri: &str) -> Result<Party, AddressFault> {
        from_uri(&uri.parse().map_err(|_| AddressFault::User)?)
    }

    fn address(user: &str, domain: &str) -> Address {
        Address::new(user, Domain::parse(domain).unwrap()).unwrap()
    }

    /// shared/protocols/interworking.md §2.8; the left column here is what XEP-0106 unescapes the JID to.
    #[test]
    fn examples_that_must_hold_both_ways() {
        for (user, domain, uri) in [
            ("alice", "a.example", "sip:alice@a.example"),
            ("o'malley", "a.example", "sip:o'malley@a.example"),
            ("m&m", "a.example", "sip:m&m@a.example"),
            ("tschüss", "a.example", "sip:tsch%C3%BCss@a.example"),
            ("space cadet", "a.example", "sip:space%20cadet@a.example"),
            ("call:me", "a.example", "sip:call%3Ame@a.example"),
            ("at@home", "a.example", "sip:at%40home@a.example"),
            ("a/b", "a.example", "sip:a%2Fb@a.example"),
            ("100%", "a.example", "sip:100%25@a.example"),
            (r"a\27b", "a.example", "sip:a%5C27b@a.example"),
            (r"a\2bb", "a.example", "sip:a%5C2bb@a.example"),
            ("alice", "müller.example", "sip:alice@xn--mller-kva.example"),
            ("a;b?c,d", "a.example", "sip:a%3Bb%3Fc%2Cd@a.example"),
            ("<x>\"#[]^`{|}", "a.example", "sip:%3Cx%3E%22%23%5B%5D%5E%60%7B%7C%7D@a.example"),
            ("(*+-_!~$=)", "a.example", "sip:(*+-_!~$=)@a.example"),
        ] {
            assert_eq!(to_uri(&address(user, domain)).unwrap().to_string(), uri);
            let back = read(uri).unwrap().address;
            assert_eq!((back.user(), back.domain()), (user, &Domain::parse(domain).unwrap()));
        }
    }

    #[test]
    fn examples_that_are_only_accepted() {
        for (uri, user, device) in [
            ("sip:a/b@a.example", "a/b", None),
            ("sip:Alice@A.EXAMPLE;transport=tls", "Alice", None),
            ("sip:alice:secret@a.example", "alice", None),
            ("sip:%61lice@a.example:5061", "alice", None),
            ("sip:+4930;ext=5@a.example;user=phone", "+4930", None),
            ("sip:+4930;ext=5@a.example", "+4930;ext=5", None),
            ("im:alice@a.example", "alice", None),
            ("pres:alice@a.example", "alice", None),
            ("sip:baz@a.example;gr=qux", "baz", Some("qux")),
            ("sip:a@a.example;gr=B%C3%BCro%201", "a", Some("Büro 1")),
            ("sip:a@a.example;gr", "a", None),
            ("sip:a@a.example;gr=%ff", "a", None),
            ("sip:alice@a.example.", "alice", None),
        ] {
            let party = read(uri).unwrap();
            assert_eq!(party.address.user(), user, "{uri}");
            assert_eq!(party.address.domain().as_str(), "a.example", "{uri}");
            assert_eq!(party.device.as_ref().map(Device::as_str), device, "{uri}");
        }
    }

    #[test]
    fn abuse_5_what_is_refused() {
        for (uri, fault) in [
            ("sip:a%00b@b.example", AddressFault::User),
            ("sip:a%0d%0aVia:%20x@b.example", AddressFault::User),
            ("sip:%ff@b.example", AddressFault::User),
            ("sip:%FC@b.example", AddressFault::User),
            ("sip:%20a@b.example", AddressFault::User),
            ("sip:a@b@c", AddressFault::User),
            ("sip:@b.example", AddressFault::User),
            ("sip:b.example", AddressFault::NoUser),
            ("sip:;ext=5@b.example;user=phone", AddressFault::NoUser),
            ("sips:a@b.example", AddressFault::Sips),
            ("tel:+4930", AddressFault::Scheme),
            ("mailto:a@b.example", AddressFault::Scheme),
            ("sip:a@192.0.2.1", AddressFault::Domain),
            ("sip:a@[2001:db8::1]", AddressFault::Domain),
            ("sip:a@b_c.example", AddressFault::Domain),
            ("sip:a@b.example?Subject=x", AddressFault::Headers),
        ] {
            assert_eq!(read(uri).unwrap_err(), fault, "{uri}");
        }
        let long = format!("sip:{}@b.example", "a".repeat(1024));
        assert_eq!(read(&long).unwrap_err(), AddressFault::TooLong);
        assert_eq!(from_sender_uri(&"sips:a@b.example".parse().unwrap()).unwrap().address, address("a", "b.example"));
    }

    proptest! {
        #[test]
        fn every_address_survives_its_uri(user in "\\PC{1,40}") {
            if let Ok(address) = Address::new(&user, Domain::parse("b.example").unwrap()) {
                let text = to_uri(&address).unwrap().to_string();
                let back = read(&text).unwrap();
                prop_assert_eq!(back.address.user(), address.user());
                prop_assert_eq!(back.device, None);
            }
        }
    }
}
