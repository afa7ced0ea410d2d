//! Client transactions in virtual time.

mod support;

use sip_codec::{Message, Method, NameAddr, Response, Uri};
use sip_stack::{Flow, FlowId, PeerId, SendError, Settings, Timers};
use support::{Bench, TLS, UDP, answer, decode, draft, host, ms, our_via};

// Timers E and F; sip.md §10 test 6
#[test]
fn a_black_hole_on_udp_sees_eleven_transmissions() {
    let mut bench = Bench::new();
    bench.send(Method::Message, UDP);
    bench.run_to(60_000);
    let expected =
        [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500].map(|at| format!("{at} 1> MESSAGE"));
    let told = bench.told();
    assert_eq!(told[..11], expected);
    assert_eq!(told[11..], ["32000 timed out"]);
    assert_eq!((bench.layer.client_count(), bench.layer.deadline()), (0, None));
}

#[test]
fn a_reliable_flow_sees_one_transmission() {
    let mut bench = Bench::new();
    bench.send(Method::Message, TLS);
    bench.run_to(60_000);
    assert_eq!(bench.told(), ["0 2> MESSAGE", "32000 timed out"]);

    let timers = Timers { reliable_timeout: ms(16_000), ..Timers::default() };
    let mut bench = Bench::with(Settings { timers, ..Settings::default() });
    bench.send(Method::Message, TLS);
    bench.run_to(60_000);
    assert_eq!(bench.told(), ["0 2> MESSAGE", "16000 timed out"]);
}

// Timer E once proceeding
#[test]
fn after_a_provisional_answer_the_pause_is_t2() {
    let mut bench = Bench::new();
    bench.send(Method::Message, UDP);
    bench.run_to(600);
    let request = bench.sent_request();
    bench.receive(UDP, answer(&request, 100));
    bench.run_to(60_000);
    let told = bench.told();
    assert_eq!(told[..4], ["600 response 100", "1500 1> MESSAGE", "5500 1> MESSAGE", "9500 1> MESSAGE"]);
    assert_eq!(told.last().unwrap(), "32000 timed out");
}

// Timer K
#[test]
fn repeats_of_a_final_answer_are_absorbed() {
    let mut bench = Bench::new();
    bench.send(Method::Message, UDP);
    let request = bench.sent_request();
    bench.run_to(100);
    for _ in 0..3 {
        bench.receive(UDP, answer(&request, 200));
    }
    bench.receive(UDP, answer(&request, 404));
    bench.run_to(5099);
    assert_eq!(bench.layer.client_count(), 1);
    bench.run_to(5100);
    assert_eq!(bench.layer.client_count(), 0);
    bench.receive(UDP, answer(&request, 200));
    assert_eq!(bench.told(), ["100 response 200"]);

    let mut bench = Bench::new();
    bench.send(Method::Message, TLS);
    let request = bench.sent_request();
    bench.receive(TLS, answer(&request, 200));
    assert_eq!(bench.told(), ["0 response 200"]);
    assert_eq!((bench.layer.client_count(), bench.layer.deadline()), (0, None));
}

#[test]
fn a_stray_response_is_dropped() {
    let mut bench = Bench::new();
    bench.send(Method::Message, UDP);
    let request = bench.sent_request();
    // From another peer
    bench.receive(Flow { peer: PeerId(9), ..UDP }, answer(&request, 200));
    // Of another method
    bench.receive(
        UDP,
        Response::to_request(&draft(Method::Options).via(request.via().clone()).build().unwrap(), 200, None, None).unwrap(),
    );
    // With a sent-by that is not ours
    let branch = request.via().branch().unwrap();
    let foreign = draft(Method::Message)
        .via(sip_codec::Via::new(sip_codec::Transport::Udp, host("other.example"), Some(5061)).with_branch(branch).unwrap());
    bench.receive(UDP, answer(&foreign.build().unwrap(), 200));
    // RFC 4475 §3.3.10: with a second Via
    let text = String::from_utf8(answer(&request, 200).encode().to_vec()).unwrap().replacen(
        "From:",
        "Via: SIP/2.0/UDP 255.255.255.255\r\nFrom:",
        1,
    );
    bench.receive(UDP, decode(text.into()));
    assert_eq!(bench.told(), [""; 0]);
    // The right one, on another flow of the same peer
    bench.receive(TLS, answer(&request, 202));
    assert_eq!(bench.told(), ["0 response 202"]);
}

// sip.md §10 test 7
#[test]
fn a_flow_that_closes_fails_what_awaits_an_answer() {
    let mut bench = Bench::new();
    bench.send(Method::Message, TLS);
    bench.send(Method::Invite, TLS);
    bench.send(Method::Message, UDP);
    bench.told();
    bench.close(TLS.id);
    assert_eq!(bench.told(), ["0 transport failed", "0 transport failed"]);
    assert_eq!(bench.layer.client_count(), 1);
    bench.close(FlowId(77));
    bench.close(TLS.id);
    assert_eq!(bench.told(), [""; 0]);
}

#[test]
fn requests_under_way_are_limited() {
    let mut bench = Bench::with(Settings { clients: 2, ..Settings::default() });
    bench.send(Method::Message, UDP);
    bench.send(Method::Message, UDP);
    let third = bench.layer.send_request(std::time::Instant::now(), draft(Method::Message), our_via(UDP), UDP, &mut Vec::new());
    assert_eq!(third, Err(SendError::TooMany));
    let ack = bench.layer.send_request(std::time::Instant::now(), draft(Method::Ack), our_via(UDP), UDP, &mut Vec::new());
    assert_eq!(ack, Err(SendError::Ack));
}

#[test]
fn each_try_has_its_own_branch_and_the_same_call() {
    let mut bench = Bench::new();
    bench.send(Method::Message, UDP);
    let first = bench.sent_request();
    bench.send(Method::Message, TLS);
    let second = bench.sent_request();
    assert_ne!(first.via().branch(), second.via().branch());
    assert!(first.via().branch().unwrap().starts_with("z9hG4bK-hub-"));
    assert_eq!((first.call_id(), first.cseq()), (second.call_id(), second.cseq()));
}

// Timers A and B
#[test]
fn an_invite_doubles_until_it_times_out() {
    let mut bench = Bench::new();
    bench.send(Method::Invite, UDP);
    bench.run_to(60_000);
    let expected = [0, 500, 1500, 3500, 7500, 15_500, 31_500].map(|at| format!("{at} 1> INVITE"));
    let told = bench.told();
    assert_eq!(told[..7], expected);
    assert_eq!(told[7..], ["32000 timed out"]);
}

// Timer D
#[test]
fn a_refused_invite_is_acknowledged_each_time() {
    let mut bench = Bench::new();
    bench.send(Method::Invite, UDP);
    let request = bench.sent_request();
    bench.receive(UDP, answer(&request, 180));
    bench.run_to(10_000);
    assert_eq!(bench.told(), ["0 response 180"]);
    bench.receive(UDP, answer(&request, 486));
    assert_eq!(bench.told(), ["10000 1> ACK", "10000 response 486"]);
    bench.receive(UDP, answer(&request, 486));
    let ack = bench.sent_request();
    assert_eq!((ack.to().tag(), ack.via(), ack.cseq().number), (Some("t1"), request.via(), 1));
    bench.run_to(41_999);
    assert_eq!(bench.layer.client_count(), 1);
    bench.run_to(42_000);
    assert_eq!(bench.layer.client_count(), 0);
    assert_eq!(bench.told(), [""; 0]);

    let mut bench = Bench::new();
    bench.send(Method::Invite, TLS);
    let request = bench.sent_request();
    bench.receive(TLS, answer(&request, 486));
    assert_eq!(bench.told(), ["0 2> ACK", "0 response 486"]);
    assert_eq!(bench.layer.client_count(), 0);
}

// RFC 6026, timer M
#[test]
fn every_2xx_of_an_invite_is_told_for_32_seconds() {
    let mut bench = Bench::new();
    bench.send(Method::Invite, TLS);
    let request = bench.sent_request();
    bench.receive(TLS, answer(&request, 200));
    bench.run_to(500);
    bench.receive(TLS, answer(&request, 200));
    bench.receive(TLS, Response::to_request(&request, 200, Some("fork"), None).unwrap());
    bench.receive(TLS, answer(&request, 486));
    assert_eq!(bench.told(), ["0 response 200", "500 response 200", "500 response 200"]);
    bench.close(TLS.id);
    bench.run_to(32_000);
    assert_eq!(bench.told(), [""; 0]);
    assert_eq!(bench.layer.client_count(), 0);
}

#[test]
fn an_invite_that_stays_provisional_is_given_up() {
    let mut bench = Bench::new();
    bench.send(Method::Invite, UDP);
    let request = bench.sent_request();
    bench.receive(UDP, answer(&request, 180));
    bench.run_to(179_999);
    assert_eq!(bench.told(), ["0 response 180"]);
    bench.run_to(180_000);
    assert_eq!(bench.told(), ["180000 timed out"]);
}

// RFC 3261 §9.1
#[test]
fn a_cancel_waits_for_a_provisional_answer() {
    let mut bench = Bench::new();
    let invite = bench.send(Method::Invite, TLS);
    let request = bench.sent_request();
    bench.cancel(invite).unwrap();
    assert_eq!(bench.told(), [""; 0]);
    bench.receive(TLS, answer(&request, 100));
    assert_eq!(bench.said.len(), 2);
    let cancel = bench.sent_request();
    assert_eq!((cancel.method(), cancel.via(), cancel.to().tag()), (&Method::Cancel, request.via(), None));
    bench.cancel(invite).unwrap();
    bench.receive(TLS, answer(&cancel, 200));
    bench.receive(TLS, answer(&request, 487));
    assert_eq!(bench.told(), ["0 2> ACK", "0 response 487"]);
    assert_eq!(bench.cancel(invite), Err(SendError::Unknown));
    let other = bench.send(Method::Message, TLS);
    assert_eq!(bench.cancel(other), Err(SendError::Unknown));
}

#[test]
fn a_cancelled_invite_without_an_end_times_out() {
    let mut bench = Bench::new();
    let invite = bench.send(Method::Invite, TLS);
    let request = bench.sent_request();
    bench.receive(TLS, answer(&request, 180));
    bench.run_to(1000);
    bench.cancel(invite).unwrap();
    bench.run_to(33_000);
    assert_eq!(bench.told(), ["0 response 180", "1000 2> CANCEL", "33000 timed out"]);
    assert_eq!(bench.layer.client_count(), 0);
}

#[test]
fn a_request_may_go_to_a_uri_with_anything_in_it() {
    let mut bench = Bench::new();
    let uri: Uri = "sip:alice@contoso.example;opaque=user:epid:2XcI5E;gruu".parse().unwrap();
    let draft = sip_codec::Request::builder(Method::Message, uri.clone())
        .from(NameAddr::new(uri.clone()))
        .to(NameAddr::new(uri.clone()))
        .call_id("c")
        .unwrap()
        .cseq(2);
    let mut out = Vec::new();
    bench.layer.send_request(std::time::Instant::now(), draft, our_via(TLS), TLS, &mut out).unwrap();
    let [sip_stack::Action::Transmit { bytes, .. }] = &out[..] else { panic!() };
    let Message::Request(sent) = decode(bytes.clone()) else { panic!() };
    assert_eq!(sent.uri(), &uri);
}
