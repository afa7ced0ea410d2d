//! Server transactions in virtual time.

mod support;

use sip_codec::{Message, Method, Name, NameAddr, Response, Transport, Uri, Via};
use sip_stack::{Action, Delivery, Flow, FlowId, PeerId, RespondError, Settings};
use support::{Bench, TLS, UDP, ack_of_2xx, answer, decode, draft, from_peer, host};

// sip.md §10 tests 4 and 5
#[test]
fn a_repeated_message_is_delivered_once_and_answered_alike() {
    let mut bench = Bench::new();
    let message = from_peer(Method::Message, "z9hG4bK1");
    bench.receive(UDP, message.clone());
    let (server, _) = bench.delivered();
    for at in [500, 1500] {
        bench.run_to(at);
        bench.receive(UDP, message.clone());
    }
    assert_eq!(bench.told(), [""; 0]);
    bench.respond(server, &answer(&message, 200)).unwrap();
    let first = bench.transmitted();
    bench.run_to(3500);
    bench.receive(UDP, message.clone());
    assert!(bench.transmitted() == first);
    assert_eq!(bench.respond(server, &answer(&message, 404)), Err(RespondError::AlreadyFinal));
}

// Timer J, kept on reliable flows too
#[test]
fn an_answer_is_kept_for_32_seconds_and_follows_the_peer() {
    for flow in [UDP, TLS] {
        let mut bench = Bench::new();
        let message = from_peer(Method::Message, "z9hG4bK1");
        bench.receive(flow, message.clone());
        let (server, _) = bench.delivered();
        bench.respond(server, &answer(&message, 200)).unwrap();
        bench.close(flow.id);
        bench.run_to(31_999);
        bench.told();
        bench.receive(Flow { id: FlowId(9), ..flow }, message.clone());
        assert_eq!(bench.told(), ["31999 9> 200 MESSAGE"]);
        bench.run_to(32_000);
        assert_eq!((bench.layer.server_count(), bench.layer.deadline()), (0, None));
        bench.receive(flow, message);
        assert_eq!(bench.told(), ["32000 request MESSAGE"]);
    }
}

#[test]
fn an_answer_waits_for_a_flow() {
    let mut bench = Bench::new();
    let message = from_peer(Method::Message, "z9hG4bK1");
    bench.receive(TLS, message.clone());
    let (server, _) = bench.delivered();
    bench.close(TLS.id);
    assert_eq!(bench.respond(server, &answer(&message, 202)), Ok(Delivery::Held));
    assert_eq!(bench.told(), [""; 0]);
    bench.reroute(server, Flow { id: FlowId(9), ..TLS });
    assert_eq!(bench.told(), ["0 9> 202 MESSAGE"]);
}

// RFC 4320
#[test]
fn a_slow_answer_is_preceded_by_100_on_udp_only() {
    let mut bench = Bench::new();
    let message = from_peer(Method::Message, "z9hG4bK1");
    bench.receive(UDP, message.clone());
    let (server, _) = bench.delivered();
    for status in [100, 180, 408] {
        assert_eq!(bench.respond(server, &answer(&message, status)), Err(RespondError::NotAllowed));
    }
    bench.run_to(3499);
    assert_eq!(bench.told(), [""; 0]);
    bench.run_to(3500);
    assert_eq!(bench.told(), ["3500 1> 100 MESSAGE"]);
    bench.receive(UDP, message.clone());
    assert_eq!(bench.told(), ["3500 1> 100 MESSAGE"]);
    bench.run_to(31_000);
    bench.respond(server, &answer(&message, 200)).unwrap();
    assert_eq!(bench.told(), ["31000 1> 200 MESSAGE"]);

    let mut bench = Bench::new();
    bench.receive(TLS, message.clone());
    let (server, _) = bench.delivered();
    bench.run_to(31_999);
    assert_eq!(bench.told(), [""; 0]);
    bench.run_to(32_000);
    assert_eq!(bench.respond(server, &answer(&message, 200)), Err(RespondError::Unknown));
    assert_eq!(bench.told(), [""; 0]);
}

// RFC 3261 §8.2.2.2; sip.md §10 test 29
#[test]
fn the_same_request_on_another_way_is_merged() {
    let mut bench = Bench::new();
    bench.receive(UDP, from_peer(Method::Subscribe, "z9hG4bKa"));
    let (first, _) = bench.delivered();
    bench.receive(UDP, from_peer(Method::Subscribe, "z9hG4bKb"));
    assert!(matches!(&bench.said[..], [(_, Action::Request { merged_with: Some(server), .. })] if *server == first));
    bench.told();
    // Of another peer, with a To tag, or with another number it is none
    bench.receive(Flow { peer: PeerId(2), ..UDP }, from_peer(Method::Subscribe, "z9hG4bKc"));
    let via = |branch: &str| Via::new(Transport::Udp, host("peer.example"), None).with_branch(branch).unwrap();
    let tagged = NameAddr::new(Uri::sip(host("b.example"))).with_tag("t").unwrap();
    bench.receive(UDP, draft(Method::Subscribe).to(tagged).via(via("z9hG4bKd")).build().unwrap());
    bench.receive(UDP, draft(Method::Subscribe).cseq(2).via(via("z9hG4bKe")).build().unwrap());
    assert_eq!(bench.told(), ["0 request SUBSCRIBE"; 3]);
}

#[test]
fn branches_of_two_peers_are_two_transactions() {
    let mut bench = Bench::new();
    let message = from_peer(Method::Message, "z9hG4bK1");
    bench.receive(UDP, message.clone());
    let (server, _) = bench.delivered();
    bench.respond(server, &answer(&message, 200)).unwrap();
    bench.told();
    bench.receive(Flow { peer: PeerId(2), ..UDP }, message.clone());
    assert_eq!(bench.told(), ["0 request MESSAGE"]);
    // The cookie in any case, the host too; the rest of the branch exactly
    let with = |branch: &str, name: &str| {
        draft(Method::Message)
            .cseq(1)
            .via(Via::new(Transport::Udp, host(name), None).with_branch(branch).unwrap())
            .build()
            .unwrap()
    };
    bench.receive(UDP, with("Z9HG4BK1", "PEER.example"));
    assert_eq!(bench.told(), ["0 1> 200 MESSAGE"]);
    bench.receive(UDP, with("z9hG4bK1", "other.example"));
    assert_eq!(bench.told(), ["0 request MESSAGE merged"]);
}

// RFC 3261 §17.2.3
#[test]
fn without_the_cookie_the_old_rules_match() {
    let mut bench = Bench::new();
    let old = |number: u32| {
        draft(Method::Message).cseq(number).via(Via::new(Transport::Udp, host("peer.example"), None)).build().unwrap()
    };
    bench.receive(UDP, old(1));
    let (server, request) = bench.delivered();
    bench.respond(server, &answer(&request, 200)).unwrap();
    bench.told();
    bench.receive(UDP, old(1));
    bench.receive(UDP, old(2));
    assert_eq!(bench.told(), ["0 1> 200 MESSAGE", "0 request MESSAGE"]);
}

#[test]
fn old_rules_match_an_ack_and_a_cancel() {
    let mut bench = Bench::new();
    let via = Via::new(Transport::Udp, host("peer.example"), None);
    let invite = draft(Method::Invite).via(via).build().unwrap();
    bench.receive(UDP, invite.clone());
    let (server, _) = bench.delivered();
    bench.receive(UDP, invite.to_cancel());
    assert_eq!(bench.told(), ["0 1> 200 CANCEL", "0 cancelled"]);
    let ended = answer(&invite, 487);
    bench.respond(server, &ended).unwrap();
    bench.receive(UDP, invite.to_ack(&ended));
    bench.told();
    bench.run_to(5000);
    assert_eq!(bench.told(), [""; 0]);
}

// Timers G, H, I
#[test]
fn a_refusal_of_an_invite_is_repeated_until_its_ack() {
    let mut bench = Bench::new();
    let invite = from_peer(Method::Invite, "z9hG4bK1");
    bench.receive(UDP, invite.clone());
    let (server, _) = bench.delivered();
    let busy = answer(&invite, 486);
    bench.respond(server, &busy).unwrap();
    bench.run_to(4000);
    assert_eq!(bench.told(), ["0 1> 486 INVITE", "500 1> 486 INVITE", "1500 1> 486 INVITE", "3500 1> 486 INVITE"]);
    bench.receive(UDP, invite.clone());
    assert_eq!(bench.told(), ["4000 1> 486 INVITE"]);
    bench.receive(UDP, invite.to_ack(&busy));
    bench.receive(UDP, invite.to_ack(&busy));
    bench.receive(UDP, invite.clone());
    bench.run_to(8999);
    assert_eq!((bench.told(), bench.layer.server_count()), (Vec::new(), 1));
    bench.run_to(9000);
    assert_eq!(bench.layer.server_count(), 0);

    let mut bench = Bench::new();
    bench.receive(UDP, invite.clone());
    let (server, _) = bench.delivered();
    bench.respond(server, &busy).unwrap();
    bench.run_to(40_000);
    let told = bench.told();
    assert_eq!(told.last().unwrap(), "32000 not acknowledged");
    assert_eq!(told.len(), 12);

    let mut bench = Bench::new();
    bench.receive(TLS, invite.clone());
    let (server, _) = bench.delivered();
    bench.respond(server, &busy).unwrap();
    bench.run_to(10_000);
    assert_eq!(bench.told(), ["0 2> 486 INVITE"]);
    bench.receive(TLS, invite.to_ack(&busy));
    assert_eq!((bench.layer.server_count(), bench.layer.deadline()), (0, None));
}

#[test]
fn an_invite_is_told_100_soon() {
    let mut bench = Bench::new();
    let invite = from_peer(Method::Invite, "z9hG4bK1");
    bench.receive(TLS, invite.clone());
    let (server, _) = bench.delivered();
    bench.run_to(1000);
    assert_eq!(bench.told(), ["200 2> 100 INVITE"]);
    bench.respond(server, &answer(&invite, 180)).unwrap();
    bench.receive(TLS, invite);
    assert_eq!(bench.told(), ["1000 2> 180 INVITE", "1000 2> 180 INVITE"]);
}

// RFC 6026, timer L; RFC 3261 §13.3.1.4
#[test]
fn a_2xx_is_repeated_on_every_transport_until_its_ack() {
    for flow in [UDP, TLS] {
        let mut bench = Bench::new();
        let invite = from_peer(Method::Invite, "z9hG4bK1");
        bench.receive(flow, invite.clone());
        let (server, _) = bench.delivered();
        bench.respond(server, &answer(&invite, 200)).unwrap();
        bench.run_to(2000);
        let transmitted = format!("{}> 200 INVITE", flow.id.0);
        assert_eq!(bench.told(), [format!("0 {transmitted}"), format!("500 {transmitted}"), format!("1500 {transmitted}")]);
        // Repeats of the INVITE are absorbed, an ACK with another tag is not ours
        bench.receive(flow, invite.clone());
        bench.receive(flow, ack_of_2xx("z9hG4bKx", "other"));
        assert_eq!(bench.told(), ["2000 ack of nothing"]);
        bench.receive(flow, ack_of_2xx("z9hG4bK2", "t1"));
        bench.receive(flow, ack_of_2xx("z9hG4bK2", "t1"));
        bench.run_to(31_999);
        assert_eq!(bench.told(), ["2000 ack", "2000 ack"]);
        assert_eq!(bench.layer.server_count(), 1);
        bench.run_to(32_000);
        assert_eq!(bench.layer.server_count(), 0);
        assert_eq!(bench.told(), [""; 0]);
    }
}

#[test]
fn a_2xx_without_ack_is_told() {
    let mut bench = Bench::new();
    let invite = from_peer(Method::Invite, "z9hG4bK1");
    bench.receive(TLS, invite.clone());
    let (server, _) = bench.delivered();
    bench.respond(server, &answer(&invite, 200)).unwrap();
    bench.run_to(40_000);
    let told = bench.told();
    assert_eq!(told.len(), 12);
    assert_eq!(told.last().unwrap(), "32000 not acknowledged");
}

// RFC 3261 §9.2
#[test]
fn a_cancel_ends_an_invite_only_while_it_waits() {
    let mut bench = Bench::new();
    let invite = from_peer(Method::Invite, "z9hG4bK1");
    bench.receive(UDP, invite.clone());
    let (server, _) = bench.delivered();
    bench.respond(server, &answer(&invite, 180)).unwrap();
    bench.told();
    bench.receive(UDP, invite.to_cancel());
    assert!(matches!(&bench.said[1], (_, Action::Cancelled { server: cancelled }) if *cancelled == server));
    // Same tag as the answers to the INVITE
    let Message::Response(ok) = bench.transmitted() else { panic!() };
    assert_eq!((ok.status(), ok.to().tag()), (200, Some("t1")));
    bench.receive(UDP, invite.to_cancel());
    assert_eq!(bench.told(), ["0 1> 200 CANCEL"]);

    let mut bench = Bench::new();
    bench.receive(UDP, invite.clone());
    let (server, _) = bench.delivered();
    bench.respond(server, &answer(&invite, 200)).unwrap();
    bench.told();
    bench.receive(UDP, invite.to_cancel());
    assert_eq!(bench.told(), ["0 1> 200 CANCEL"]);

    let mut bench = Bench::new();
    bench.receive(UDP, invite.to_cancel());
    assert_eq!(bench.told(), ["0 1> 481 CANCEL"]);
    // Nobody cancels what another peer sent
    bench.receive(UDP, invite.clone());
    bench.told();
    bench.receive(Flow { peer: PeerId(2), ..UDP }, invite.to_cancel());
    assert_eq!(bench.told(), ["0 1> 481 CANCEL"]);
}

// sip.md §10 test 27
#[test]
fn a_cancel_of_a_message_has_no_effect() {
    let mut bench = Bench::new();
    let message = from_peer(Method::Message, "z9hG4bK1");
    bench.receive(UDP, message.clone());
    let (server, _) = bench.delivered();
    bench.receive(UDP, message.to_cancel());
    assert_eq!(bench.told(), ["0 1> 200 CANCEL"]);
    assert_eq!(bench.respond(server, &answer(&message, 202)), Ok(Delivery::Sent));
}

#[test]
fn an_ack_of_nothing_is_not_answered() {
    let mut bench = Bench::new();
    bench.receive(UDP, ack_of_2xx("z9hG4bK2", "t1"));
    assert_eq!(bench.told(), ["0 ack of nothing"]);
    assert_eq!(bench.layer.server_count(), 0);
}

#[test]
fn too_many_requests_are_told_to_come_later() {
    let mut bench = Bench::with(Settings { servers: 3, servers_per_peer: 2, ..Settings::default() });
    let branch = |number: u32| format!("z9hG4bK{number}");
    let other = Flow { peer: PeerId(2), ..UDP };
    let request = |number: u32| {
        draft(Method::Message).cseq(number).via(from_peer(Method::Message, &branch(number)).via().clone()).build().unwrap()
    };
    bench.receive(UDP, request(1));
    bench.receive(UDP, request(2));
    bench.told();
    bench.receive(UDP, request(3));
    let Message::Response(busy) = bench.transmitted() else { panic!() };
    assert_eq!((busy.status(), busy.headers().first(Name::RetryAfter).unwrap().text().as_ref()), (503, "5"));
    bench.receive(other, request(4));
    bench.receive(other, request(5));
    bench.receive(UDP, request(1));
    assert_eq!(bench.told(), ["0 request MESSAGE", "0 1> 503 MESSAGE"]);
    bench.run_to(32_000);
    bench.told();
    bench.receive(UDP, request(6));
    assert_eq!(bench.told(), ["32000 request MESSAGE"]);
}

#[test]
fn answers_of_the_layer_show_where_the_request_came_from() {
    let mut bench = Bench::new();
    let flow = Flow { source: Some("192.0.2.5:4444".parse().unwrap()), ..UDP };
    let via =
        Via::new(Transport::Udp, host("peer.example"), None).with_branch("z9hG4bK1").unwrap().with_param("rport", None).unwrap();
    bench.receive(flow, draft(Method::Cancel).via(via).build().unwrap());
    let Message::Response(response) = bench.transmitted() else { panic!() };
    assert_eq!(response.via().rport(), Some(Some(4444)));
    assert_eq!(response.via().received(), Some("192.0.2.5".parse().unwrap()));
}

#[test]
fn what_was_missed_while_asleep_is_not_made_up() {
    let mut bench = Bench::new();
    let invite = from_peer(Method::Invite, "z9hG4bK1");
    let start = std::time::Instant::now();
    let mut out = Vec::new();
    bench.layer.receive(start, UDP, invite.clone().into(), &mut out);
    let Some(Action::Request { server, .. }) = out.pop() else { panic!() };
    bench.layer.respond(start, server, &Response::to_request(&invite, 486, Some("t"), None).unwrap(), &mut out).unwrap();
    out.clear();
    bench.layer.tick(start + support::ms(20_000), &mut out);
    assert_eq!(out.len(), 1);
    assert!(matches!(&out[0], Action::Transmit { bytes, .. } if matches!(decode(bytes.clone()), Message::Response(_))));
}
