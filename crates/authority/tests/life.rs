//! From the making of an authority to the revocation of what it issued, with openssl's opinion of each step.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::*;
use interchange_authority::{
    Authority, AuthorityError, KeyHolder, KeySource, Lifetime, Platforms, Request, RevocationReason, State,
};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn openssl_accepts_what_was_issued_and_refuses_it_after_its_revocation() {
    let place = Place::new();
    let mut authority = place.create();
    let first = authority.issue(&order(&["acme.example", "chat.acme.example"], KeySource::New), now()).unwrap();
    let second = authority.issue(&order(&["globex.example"], KeySource::New), now()).unwrap();
    for purpose in ["sslserver", "sslclient"] {
        verify(&authority, &first.certificate, purpose).unwrap();
        verify(&authority, &second.certificate, purpose).unwrap();
    }

    authority.revoke(first.entry.serial, RevocationReason::KeyCompromise, now()).unwrap();
    // Until the list is written anew, it says what it said.
    verify(&authority, &first.certificate, "sslserver").unwrap();
    let list = authority.write_revocation_list(now()).unwrap();
    assert_eq!((list.number, list.revoked), (2, 1));
    let said = verify(&authority, &first.certificate, "sslserver").unwrap_err();
    assert!(said.contains("certificate revoked"), "{said}");
    verify(&authority, &second.certificate, "sslserver").unwrap();
    assert_eq!(authority.find(&first.entry.serial.to_string()).unwrap().state(now()), State::Revoked);

    let shown = text("crl", &list.path);
    for wanted in
        ["Version 2 (0x1)", "X509v3 CRL Number", "Key Compromise", "X509v3 Authority Key Identifier", "ecdsa-with-SHA256"]
    {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
}

#[test]
fn certificates_say_what_links_need_and_no_more() {
    let place = Place::new();
    let mut authority = place.create();
    let own = text("x509", &authority.directory().join("ca.pem"));
    for wanted in ["CN = Interchange links", "prime256v1", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign"] {
        assert!(own.contains(wanted), "{wanted}: {own}");
    }
    let life = authority.certificate().valid_until - now();
    assert!((3651..=3652).contains(&life.whole_days()), "{life}");

    let issued = authority.issue(&order(&["acme.example", "müller.example"], KeySource::New), now()).unwrap();
    let leaf = text("x509", &issued.certificate);
    for wanted in [
        "Subject: CN = acme.example",
        "CA:FALSE",
        "Digital Signature\n",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "DNS:acme.example, DNS:xn--mller-kva.example",
        "URI:sip:acme.example",
        "URI:sip:xn--mller-kva.example",
        "othername: SRVName::_xmpp-server.acme.example",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(leaf.contains(wanted), "{wanted}: {leaf}");
    }
    assert_eq!((issued.entry.valid_until - issued.entry.issued).whole_days(), 90);

    let mut bare = order(&["acme.example"], KeySource::New);
    bare.platforms = Platforms { xmpp: false, sip: false };
    let issued = authority.issue(&bare, now()).unwrap();
    let leaf = text("x509", &issued.certificate);
    assert!(!leaf.contains("SRVName") && !leaf.contains("URI:"), "{leaf}");

    // A name too long for a subject: then there is none, and the alternative name is critical.
    let long = format!("{}.{}.example", "a".repeat(40), "b".repeat(40));
    let issued = authority.issue(&order(&[&long], KeySource::New), now()).unwrap();
    assert!(text("x509", &issued.certificate).contains("X509v3 Subject Alternative Name: critical"));
    verify(&authority, &issued.certificate, "sslserver").unwrap();
}

#[test]
fn a_renewed_certificate_has_the_same_names_and_another_key_and_number() {
    let place = Place::new();
    let mut authority = place.create();
    let old = authority.issue(&order(&["acme.example"], KeySource::New), now()).unwrap();
    let current = authority.current(&old.entry).unwrap();
    let old_key = std::fs::read(current.join("key.pem")).unwrap();
    assert_eq!(std::fs::read(current.join("certificate.pem")).unwrap(), std::fs::read(&old.certificate).unwrap());

    let new = authority.renew(old.entry.serial, KeySource::New, Lifetime::days(30).unwrap(), now()).unwrap();
    assert_ne!(new.entry.serial, old.entry.serial);
    assert_eq!((&new.entry.domains, new.entry.renews), (&old.entry.domains, Some(old.entry.serial)));
    assert_eq!((new.entry.valid_until - new.entry.issued).whole_days(), 30);
    assert_ne!(std::fs::read(current.join("key.pem")).unwrap(), old_key);
    assert_eq!(std::fs::read(current.join("certificate.pem")).unwrap(), std::fs::read(&new.certificate).unwrap());
    // Both count until the old one's time is over.
    verify(&authority, &old.certificate, "sslserver").unwrap();
    verify(&authority, &new.certificate, "sslserver").unwrap();

    authority.revoke(old.entry.serial, RevocationReason::Superseded, now()).unwrap();
    let again = authority.revoke(old.entry.serial, RevocationReason::Superseded, now()).unwrap_err();
    assert!(again.to_string().contains("authority crl"), "{again}");
    let error = authority.renew(old.entry.serial, KeySource::New, Lifetime::default(), now()).unwrap_err();
    assert!(matches!(error, AuthorityError::Revoked(_)), "{error}");
}

#[test]
fn a_member_keeps_its_key() {
    let place = Place::new();
    let mut authority = place.create();
    let asked = place.request(P256, "DNS:acme.example,URI:sip:acme.example", &[]);
    let request = Request::read(&asked).unwrap();
    let allowed = ["acme.example", "chat.acme.example"];
    let issued = authority.issue(&order(&allowed, KeySource::Request(&request)), now()).unwrap();
    assert_eq!((&issued.entry.domains[..], issued.entry.key), (&[domain("acme.example")][..], KeyHolder::Member));
    assert_eq!((issued.key, authority.current(&issued.entry)), (None, None));
    verify(&authority, &issued.certificate, "sslserver").unwrap();
    let leaf = text("x509", &issued.certificate);
    assert!(leaf.contains("CN = acme.example") && !leaf.contains("whoever"), "{leaf}");

    let serial = issued.entry.serial;
    let error = authority.renew(serial, KeySource::New, Lifetime::default(), now()).unwrap_err();
    assert!(error.to_string().contains("--request"), "{error}");
    let renewed = authority.renew(serial, KeySource::Request(&request), Lifetime::default(), now()).unwrap();
    assert_eq!(renewed.entry.domains, issued.entry.domains);
    let other = Request::read(&place.request(P256, "DNS:chat.acme.example", &[])).unwrap();
    let error = authority.renew(serial, KeySource::Request(&other), Lifetime::default(), now()).unwrap_err();
    assert!(matches!(error, AuthorityError::OtherNames { .. }), "{error}");
}

#[test]
fn what_was_issued_and_revoked_is_there_when_it_is_opened_again() {
    let place = Place::new();
    let mut authority = place.create();
    let issued = authority.issue(&order(&["acme.example"], KeySource::New), now()).unwrap();
    authority.revoke(issued.entry.serial, RevocationReason::Unspecified, now()).unwrap();
    authority.write_revocation_list(now()).unwrap();
    let entries = authority.entries().to_vec();
    drop(authority);

    let mut authority = Authority::open(&place.authority()).unwrap();
    assert_eq!(authority.entries(), entries);
    assert_eq!(authority.newest_list().0, 2);
    // What a crash in the middle of a change leaves: files beside the index, and a certificate's folder without an entry.
    std::fs::write(place.authority().join("index.json.new"), "{").unwrap();
    std::fs::create_dir(place.authority().join("issued/40000000000000000000000000000000")).unwrap();
    let list = authority.write_revocation_list(now()).unwrap();
    assert_eq!((list.number, list.revoked), (3, 1));
    assert_eq!(list.next_update, authority.newest_list().1);
    assert_eq!((list.next_update - now()).whole_hours(), 7 * 24 - 1);
    let said = verify(&authority, &issued.certificate, "sslserver").unwrap_err();
    assert!(said.contains("certificate revoked"), "{said}");
    drop(authority);
    assert!(matches!(Authority::create(&place.authority(), "Again", now()), Err(AuthorityError::Exists(_))));
}

#[test]
fn a_crash_while_it_is_made_leaves_nothing_in_the_way() {
    let place = Place::new();
    drop(place.create());
    let first = std::fs::read(place.authority().join("ca.pem")).unwrap();
    std::fs::remove_file(place.authority().join("index.json")).unwrap();
    assert!(matches!(Authority::open(&place.authority()), Err(AuthorityError::Missing(_))));
    drop(place.create());
    assert_ne!(std::fs::read(place.authority().join("ca.pem")).unwrap(), first);
    // A key without its certificate's, and no certificate.
    std::fs::write(place.authority().join("ca.pem"), &first).unwrap();
    let error = Authority::open(&place.authority()).unwrap_err();
    assert!(error.to_string().contains("does not belong to the key"), "{error}");
    std::fs::write(place.authority().join("ca.pem"), "nonsense").unwrap();
    assert!(matches!(Authority::open(&place.authority()), Err(AuthorityError::Damaged { .. })));
}

#[test]
fn keys_are_their_owner_s_and_never_shown() {
    let place = Place::new();
    let mut authority = place.create();
    let issued = authority.issue(&order(&["acme.example"], KeySource::New), now()).unwrap();
    let key = issued.key.clone().unwrap();
    let own = place.authority().join("ca.key");
    assert_eq!((mode(&own), mode(&key), mode(&place.authority())), (0o600, 0o600, 0o700));
    assert_eq!(mode(&place.authority().join("index.json")), 0o600);

    let shown = format!("{authority:?} {issued:?} {:?}", authority.entries());
    for path in [&own, &key] {
        let text = std::fs::read_to_string(path).unwrap();
        let secret = text.lines().nth(1).unwrap();
        assert!(!shown.contains(secret) && !shown.contains("PRIVATE"));
    }
    drop(authority);
    for open in [0o640, 0o604, 0o666] {
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(open)).unwrap();
        let error = Authority::open(&place.authority()).unwrap_err();
        assert!(matches!(error, AuthorityError::Exposed { .. }) && error.to_string().contains("chmod 600"), "{error}");
    }
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(place.authority(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Authority::open(&place.authority()).unwrap_err().to_string().contains("chmod 700"));
    std::fs::set_permissions(place.authority(), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Authority::open(&place.authority()).is_ok());
}

#[test]
fn limits_are_kept() {
    let place = Place::new();
    for name in ["", "  ", "two\nlines", &"n".repeat(65)] {
        assert!(matches!(Authority::create(&place.authority(), name, now()), Err(AuthorityError::Name)), "{name:?}");
    }
    assert!(matches!(Authority::open(&place.authority()), Err(AuthorityError::Missing(_))));
    // Made ten years ago, it outlives nothing.
    let mut authority = Authority::create(&place.authority(), "Old", now() - 3652 * DAY + 60 * DAY).unwrap();
    let error = authority.issue(&order(&["acme.example"], KeySource::New), now()).unwrap_err();
    assert!(matches!(error, AuthorityError::Outlives { .. }), "{error}");
    let mut short = order(&["acme.example", "ACME.example"], KeySource::New);
    short.lifetime = Lifetime::days(59).unwrap();
    assert_eq!(authority.issue(&short, now()).unwrap().entry.domains.len(), 1);
    for count in [0, 101] {
        let names: Vec<String> = (0..count).map(|number| format!("x{number}.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = authority.issue(&order(&names, KeySource::New), now()).unwrap_err();
        assert!(matches!(error, AuthorityError::DomainCount { .. }), "{error}");
    }
    for days in [0, 399] {
        assert!(matches!(Lifetime::days(days), Err(AuthorityError::Lifetime { .. })));
    }
    assert_eq!(authority.entries().len(), 1);
}

#[test]
fn what_ended_long_ago_leaves_the_list() {
    let place = Place::new();
    let mut authority = place.create();
    let issued = authority.issue(&order(&["acme.example"], KeySource::New), now()).unwrap();
    authority.revoke(issued.entry.serial, RevocationReason::KeyCompromise, now()).unwrap();
    for (days, revoked) in [(0, 1), (91, 1), (119, 1), (121, 0)] {
        assert_eq!(authority.write_revocation_list(now() + days * DAY).unwrap().revoked, revoked, "{days}");
    }
}

#[test]
fn a_second_process_waits_for_the_first() {
    let place = Place::new();
    let first = place.create();
    let directory = place.authority();
    let second = std::thread::spawn(move || Authority::open(&directory).map(|authority| authority.newest_list().0));
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(second.join().unwrap().unwrap(), 1);
}
