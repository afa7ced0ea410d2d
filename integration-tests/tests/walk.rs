//! The walk test: one message leaves the spans that docs/walk.md names, in that order.

use std::path::Path;
use std::time::Duration;

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::tls_sip_peer::{TlsSipClient, TlsSipServer};

const SOON: Duration = Duration::from_secs(20);

/// The column *span* of the table, without empty cells.
fn documented() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/walk.md");
    let text = std::fs::read_to_string(path).expect("docs/walk.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #"));
    let spans: Vec<String> = rows
        .map(|row| row.split('|').nth(3).unwrap_or_default().trim().trim_matches('`').to_owned())
        .filter(|span| !span.is_empty())
        .collect();
    assert!(spans.len() >= 6, "the table was read: {spans:?}");
    spans
}

/// From one SIP firm to another, so that a scripted peer can stand at each end and nothing else is under way.
#[test]
fn one_message_leaves_the_spans_that_the_walk_names() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (globex, umbrella) = (ReservedPort::any(), ReservedPort::any());
    files.configure(
        &authority,
        &[
            LinkSettings::sip("globex", "globex.example", globex.number()),
            LinkSettings::sip("umbrella", "umbrella.example", umbrella.number()),
        ],
    );
    let globex_identity = authority.issue(&Leaf::sip("globex.example"));
    let umbrella_identity = authority.issue(&Leaf::sip("umbrella.example"));
    let (_globex, _) = TlsSipServer::recording(globex, &globex_identity, authority.certificate());
    let (_umbrella, received) = TlsSipServer::recording(umbrella, &umbrella_identity, authority.certificate());
    let mut hub = files.start_with(&[("INTERCHANGE_LOG", "debug"), ("INTERCHANGE_LOG_SPANS", "1")]);
    for link in ["globex", "umbrella"] {
        hub.wait_for_line(&["\"up\"", &format!("\"{link}\"")], SOON);
    }
    let before = hub.log().len();
    let mut proxy = TlsSipClient::connect(files.sip.address(), HUB_DOMAIN, Some(&globex_identity), authority.certificate());
    assert_eq!(proxy.message("sip:bob@globex.example", "sip:dave@umbrella.example", "one message"), 200);
    let request = loop {
        let request = received.recv_timeout(SOON).expect("the message arrives");
        if request.frame.method() == Some("MESSAGE") {
            break request;
        }
    };
    assert_eq!(request.frame.text(), "one message");
    hub.wait_for_line(&["\"delivered\""], SOON);

    // Spans that were opened, in order; the connections' other doings (handshake, probes) leave more `read` and `write` between them.
    let log = hub.log();
    let opened: Vec<String> = log[before..]
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["fields"]["message"] == "new")
        .filter_map(|line| line["span"]["name"].as_str().map(ToOwned::to_owned))
        .collect();
    let mut rest = opened.iter();
    for span in documented() {
        assert!(rest.any(|opened| *opened == span), "no `{span}` at its place in {opened:?}");
    }
}
