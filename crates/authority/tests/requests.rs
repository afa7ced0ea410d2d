//! Requests of members: what is granted, and what is refused with its reason.

mod common;

use common::*;
use interchange_authority::{AuthorityError, KeySource, Request, RequestError};
use proptest::prelude::*;

#[test]
fn every_kind_of_name_of_a_link_leads_to_its_domain() {
    let place = Place::new();
    let srv = "otherName:1.3.6.1.5.5.7.8.7;IA5STRING:_xmpp-server.c.example";
    let address = "otherName:1.3.6.1.5.5.7.8.5;UTF8:d.example";
    let names = format!("DNS:A.example,URI:sip:b.example,{srv},{address},DNS:a.EXAMPLE");
    let request = Request::read(&place.request(P256, &names, &["-addext", "keyUsage=keyAgreement"])).unwrap();
    assert_eq!(request.domains(), ["a.example", "b.example", "c.example", "d.example"].map(domain));
    assert_eq!(Request::read(&place.request(P256, "", &[])).unwrap().domains(), []);
}

#[test]
fn names_that_are_no_domain_of_a_link_are_refused() {
    let place = Place::new();
    for names in [
        "DNS:*.acme.example",
        "IP:192.0.2.1",
        "DNS:192.0.2.1",
        "email:alice@acme.example",
        "URI:sip:alice@acme.example",
        "URI:sips:acme.example",
        "URI:https://acme.example/",
        "URI:sip:acme.example;transport=tls",
        "DNS:acme.example,IP:192.0.2.1",
        "RID:1.2.3.4",
        "otherName:1.3.6.1.5.5.7.8.7;UTF8:_xmpp-server.acme.example",
        "otherName:1.3.6.1.5.5.7.8.7;IA5STRING:_xmpp-client.acme.example",
        "otherName:1.3.6.1.5.5.7.8.5;UTF8:alice@acme.example",
        "otherName:1.2.3.4;UTF8:acme.example",
    ] {
        let error = Request::read(&place.request(P256, names, &[])).unwrap_err();
        assert!(matches!(error, RequestError::Name(_)), "{names}: {error}");
    }
}

#[test]
fn a_domain_that_was_not_allowed_is_refused() {
    let place = Place::new();
    let mut authority = place.create();
    for names in ["DNS:globex.example", "DNS:acme.example,URI:sip:globex.example", "DNS:chat.acme.example", "DNS:example"] {
        let request = Request::read(&place.request(P256, names, &[])).unwrap();
        let error = authority.issue(&order(&["acme.example"], KeySource::Request(&request)), now()).unwrap_err();
        assert!(matches!(error, AuthorityError::Request(RequestError::Domain(_))), "{names}: {error}");
    }
    assert_eq!(authority.entries(), []);
    assert!(!place.authority().join("issued").exists());
}

#[test]
fn weak_keys_and_requests_for_an_authority_are_refused() {
    let place = Place::new();
    let names = "DNS:acme.example";
    let authority = Request::read(&place.request(P256, names, &["-addext", "basicConstraints=critical,CA:TRUE"]));
    assert_eq!(authority.unwrap_err(), RequestError::Authority);
    for weak in [&["-newkey", "rsa:1024"][..], &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"]] {
        let error = Request::read(&place.request(weak, names, &[])).unwrap_err();
        assert!(matches!(error, RequestError::Key(_) | RequestError::Signature), "{weak:?}: {error}");
    }
    let mut issuer = place.create();
    for strong in
        [&["-newkey", "rsa:2048"][..], &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], &["-newkey", "ed25519"]]
    {
        let request = Request::read(&place.request(strong, names, &[])).unwrap();
        let issued = issuer.issue(&order(&["acme.example"], KeySource::Request(&request)), now()).unwrap();
        verify(&issuer, &issued.certificate, "sslclient").unwrap();
    }
}

#[test]
fn a_request_that_was_changed_is_refused() {
    let place = Place::new();
    let request = place.request(P256, "DNS:acme.example", &["-outform", "DER"]);
    assert!(Request::read(&request).is_ok());
    let at = request.windows(4).position(|window| window == b"acme").unwrap();
    let mut changed = request.clone();
    changed[at] = b'x';
    assert_eq!(Request::read(&changed).unwrap_err(), RequestError::Signature);
    for cut in 0..request.len() {
        assert!(Request::read(&request[..cut]).is_err(), "{cut}");
    }
    assert_eq!(Request::read(&[request, vec![0]].concat()).unwrap_err(), RequestError::Unreadable);
    assert!(matches!(Request::read(&vec![0x30; 65 * 1024]), Err(RequestError::TooLarge(_))));
    assert_eq!(Request::read(b"").unwrap_err(), RequestError::Unreadable);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Request::read(&bytes).is_err());
    }
}
