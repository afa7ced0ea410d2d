//! User ids of the protocol and addresses of the hub.
//!
//! Clients compare ids byte for byte. So whoever a client has named keeps that spelling towards it (`session`); here is the one for
//! everybody else.

use interchange_model::{Address, Domain};

use crate::codec::WireString;

/// Before the address of somebody outside the community.
const EXTERNAL: &str = "@E ";

/// Whom an id of a client means: `@E user@domain` and `user@domain` anybody, a bare name somebody of `own`. `None`: nobody can have it.
#[must_use]
pub fn to_address(id: &WireString, own: &Domain) -> Option<Address> {
    let text = id.to_text();
    let text = text.strip_prefix(EXTERNAL).unwrap_or(&text).trim();
    match text.rsplit_once('@') {
        Some((user, domain)) => Address::new(user, Domain::parse(domain).ok()?).ok(),
        None => Address::new(text, own.clone()).ok(),
    }
}

/// The id of somebody of the link whose domains these are: the bare name in its first, otherwise the address.
#[must_use]
pub fn of_own(address: &Address, domains: &[Domain]) -> WireString {
    if domains.first() == Some(address.domain()) { address.user().into() } else { WireString::new(&address.to_string()) }
}

/// The id of somebody else.
#[must_use]
pub fn of_external(address: &Address) -> WireString {
    WireString::new(&format!("{EXTERNAL}{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bare_names_addresses_and_external_addresses() {
        let own = Domain::parse("acme.example").unwrap();
        for (id, want) in [
            ("bob", Some("bob@acme.example")),
            ("@E eve@partner.test", Some("eve@partner.test")),
            ("eve@Partner.Test", Some("eve@partner.test")),
            ("CN=Bob Bot/O=Example", Some("CN=Bob Bot/O=Example@acme.example")),
            ("", None),
            ("@E ", None),
            ("@E eve@", None),
            ("a\u{0}b", None),
        ] {
            let want = want.map(|want| Address::parse(want).unwrap());
            assert_eq!(to_address(&id.into(), &own), want, "{id}");
        }
    }

    #[test]
    fn own_ids_are_bare_in_the_first_domain_only() {
        let domains = ["acme.example", "acme.test"].map(|domain| Domain::parse(domain).unwrap());
        let of = |text: &str| of_own(&Address::parse(text).unwrap(), &domains).to_text().into_owned();
        assert_eq!(of("bob@acme.example"), "bob");
        assert_eq!(of("bob@acme.test"), "bob@acme.test");
        let eve = Address::parse("eve@partner.test").unwrap();
        assert_eq!(to_address(&of_external(&eve), &domains[0]), Some(eve));
    }
}
