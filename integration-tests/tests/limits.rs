//! A hub with the limits that every hub has unless it is told otherwise, and texts too large for one of its links: between two scripted
//! SIP proxies, through the built binary.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::tls_sip_peer::{SipRequest, TlsSipClient, TlsSipServer};

const SOON: Duration = Duration::from_secs(20);

/// Bob's proxy, which sends, and Dave's, whose link takes 1,300 bytes at a time.
struct World {
    hub: Hub,
    proxy: TlsSipClient,
    /// The messages that come to it.
    came: Receiver<SipRequest>,
    _kept: (HubFiles, TlsSipServer, TlsSipServer),
}

fn world() -> World {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    files.keep_limits();
    let (globex, umbrella) = (ReservedPort::any(), ReservedPort::any());
    files.configure(
        &authority,
        &[
            // The answer waits until it is known what became of a message, however slow the machine is.
            LinkSettings::sip("globex", "globex.example", globex.number()).with("answer_wait = 20000"),
            LinkSettings::sip("umbrella", "umbrella.example", umbrella.number()).with("max_message = 1300"),
        ],
    );
    let globex_identity = authority.issue(&Leaf::sip("globex.example"));
    let umbrella_identity = authority.issue(&Leaf::sip("umbrella.example"));
    let (globex, _) = TlsSipServer::recording(globex, &globex_identity, authority.certificate());
    let (umbrella, received) = TlsSipServer::recording(umbrella, &umbrella_identity, authority.certificate());
    let mut hub = files.start();
    for link in ["globex", "umbrella"] {
        hub.wait_for_line(&["\"up\"", &format!("\"{link}\"")], SOON);
    }
    let proxy = TlsSipClient::connect(files.sip.address(), HUB_DOMAIN, Some(&globex_identity), authority.certificate());
    World { hub, proxy, came: received, _kept: (files, globex, umbrella) }
}

#[test]
fn abuse_25_case_72_a_hub_has_limits_unless_it_is_told_otherwise() {
    let mut world = world();
    let mut say =
        |from: &str, words: &str| world.proxy.message(&format!("sip:{from}@globex.example"), "sip:dave@umbrella.example", words);
    let sent: Vec<u16> = (1..=60).map(|number| say("bob", &format!("words {number}"))).collect();
    assert!(sent[..20].iter().all(|status| *status == 200), "{sent:?}");
    assert!(sent[20..].contains(&480) && sent.iter().all(|status| matches!(status, 200 | 480)), "{sent:?}");
    // Others of his company are not concerned; but who says the same again and again is.
    let sent: Vec<u16> = (1..=7).map(|_| say("carol", "I am away until Monday.")).collect();
    assert_eq!(sent, [200, 200, 200, 200, 200, 482, 482]);
    world.hub.wait_for_line(&["\"refused\"", "\"rate-limited\""], SOON);
    world.hub.wait_for_line(&["\"refused\"", "\"loop\""], SOON);
    world.hub.wait_for_line(&["more messages than are allowed"], SOON);
    world.hub.wait_for_line(&["the same words again and again"], SOON);
}

#[test]
fn case_25_a_text_too_large_for_a_link_arrives_in_parts() {
    let mut world = world();
    let words = "word ".repeat(400);
    assert_eq!(world.proxy.message("sip:bob@globex.example", "sip:dave@umbrella.example", words.trim_end()), 200);
    let parts: Vec<String> = (0..3).map(|_| world.came.recv_timeout(SOON).expect("a part arrives").frame.text()).collect();
    let bare: Vec<&str> = parts
        .iter()
        .zip([" (1/3)", " (2/3)", " (3/3)"])
        .map(|(part, number)| part.strip_suffix(number).expect("a number"))
        .collect();
    assert_eq!(bare.join(" "), words.trim_end());
    // Nothing is cut: the sender is told.
    assert_eq!(world.proxy.message("sip:bob@globex.example", "sip:dave@umbrella.example", &"x".repeat(9_000)), 513);
}
