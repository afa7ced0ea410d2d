//! Questions whether a link works: asked by OPTIONS, answered by what comes of it.

use crate::common::{Hub, LB, certificate, domain, hello, link, proof};
use interchange_adapter::{ChainFault, CloseReason, Input};
use interchange_model::{Down, Fault, Health};

fn check(hub: &mut Hub) {
    hub.input(Input::Broker(Down::Check { link: "lb".into(), from: domain("hub.example"), to: domain("b.example") }));
}

/// The answers since the last look.
fn answers(hub: &mut Hub) -> Vec<Result<(), Fault>> {
    let checked = std::mem::take(&mut hub.checked);
    checked.into_iter().map(|(_, _, result)| result.map_err(|trouble| trouble.fault)).collect()
}

#[test]
fn a_link_that_is_up_is_asked_at_once_and_what_its_server_thinks_of_the_hub_is_said() {
    let retry = "Retry-After: 120\r\n";
    for (status, more, wanted) in [
        (200, "", Ok(())),
        (404, "", Ok(())),
        (403, "", Ok(())),
        (401, "", Err(Fault::AuthenticationRefused)),
        (407, "", Err(Fault::AuthenticationRefused)),
        (503, retry, Err(Fault::Throttled)),
        (503, "", Ok(())),
    ] {
        let (mut hub, conn) = Hub::up(LB);
        check(&mut hub);
        check(&mut hub);
        assert_eq!(answers(&mut hub), []);
        let options = hub.one(conn);
        assert_eq!(options.method(), "OPTIONS");
        assert!(options.header("From").starts_with("<sip:hub.example>"), "{}", options.header("From"));
        hub.receive(conn, options.answer(status, more));
        assert_eq!(answers(&mut hub), [wanted, wanted], "{status}: both who asked");
    }
}

#[test]
fn a_link_that_waits_is_tried_at_once() {
    let mut hub = Hub::new(&[link("lb", &["b.example"], LB)]);
    // What is under way tells.
    check(&mut hub);
    let (conn, _) = hub.dials.remove(0);
    hub.input(Input::Closed { conn, why: CloseReason::Unreachable, detail: "refused".into() });
    assert_eq!(answers(&mut hub), [Err(Fault::PortClosed)]);
    assert!(hub.dials.is_empty());
    check(&mut hub);
    hub.open_dial("b.example", certificate(&["b.example"], Err(ChainFault::NotYetValid)));
    assert_eq!(answers(&mut hub), [Err(Fault::CertificateNotYetValid)]);
    check(&mut hub);
    let conn = hub.open_dial("b.example", proof("b.example"));
    hub.one(conn);
    hub.seconds(11);
    assert_eq!(answers(&mut hub), [Err(Fault::Silent)]);
    check(&mut hub);
    hub.bring_up("sip.b.example");
    assert_eq!(answers(&mut hub), [Ok(())]);
}

#[test]
fn a_pause_is_kept_and_a_link_that_never_dials_waits() {
    let (mut hub, conn) = Hub::up(LB);
    hub.deliver(1, hello(1));
    let message = hub.one(conn);
    hub.receive(conn, message.answer(503, "Retry-After: 120\r\n"));
    assert!(matches!(hub.health(), Some(Health::Retrying { .. })));
    check(&mut hub);
    assert_eq!(answers(&mut hub), [Err(Fault::Throttled)]);
    assert!(hub.wire(conn).is_empty(), "it is left alone");
    let mut waits = Hub::new(&[link("lb", &["b.example"], r#"{"dial":"never"}"#)]);
    check(&mut waits);
    assert_eq!(answers(&mut waits), [Err(Fault::NotConnected)]);
    assert!(waits.dials.is_empty());
    let unknown = Down::Check { link: "nothing".into(), from: domain("hub.example"), to: domain("b.example") };
    waits.input(Input::Broker(unknown));
    assert_eq!(answers(&mut waits), [Err(Fault::Settings)]);
}
