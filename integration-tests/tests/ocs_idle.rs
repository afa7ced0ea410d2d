//! Who is available on XMPP and has not touched the device (XEP-0319) is inactive at a real client of the plugin SIPE, in both dialects.

use std::time::Duration;

use interchange_integration_tests::ocs::{Community, Dialect};

const SOON: Duration = Duration::from_secs(20);

/// `shown`: what the plugin makes of the state; the older documents have no word for it, so it has the word in its line.
fn is_inactive(dialect: Dialect, shown: &str) {
    let community = Community::start(dialect);
    let (mut alice, [mut bob]) = community.people_who_see_each_other(["bob"]);
    let mut sees = |state: &str| alice.expect_presence("sip:bob@acme.example", state, SOON).line;
    bob.send_raw("<presence><idle xmlns='urn:xmpp:idle:1' since='2026-11-23T04:12:49Z'/></presence>");
    let line = sees(shown);
    assert!(shown == "idle" || line.contains("Inactive"), "{line}");
    bob.send_raw("<presence/>");
    sees("available");
    community.contoso.assert_no_faults();
}

#[test]
fn who_is_idle_on_xmpp_is_inactive_in_the_dialect_of_2007() {
    is_inactive(Dialect::Ocs2007, "idle");
}

#[test]
fn who_is_idle_on_xmpp_is_inactive_in_the_dialect_of_2005() {
    is_inactive(Dialect::Lcs2005, "away");
}
