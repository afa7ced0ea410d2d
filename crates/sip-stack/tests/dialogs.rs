//! Dialogs: who makes them, what belongs to them, and what their requests look like.

use bytes::Bytes;
use sip_codec::{Limits, Message, Method, Request, Response, decode_datagram};
use sip_stack::{Dialog, DialogFault};

fn request(text: &str) -> Request {
    match decode_datagram(Bytes::from(text.replace('\n', "\r\n")), &Limits::default()) {
        Ok(Message::Request(request)) => *Box::new(request),
        other => panic!("{other:?}"),
    }
}

fn subscribe(cseq: u32, more: &str) -> Request {
    request(&format!(
        "SUBSCRIBE sip:alice@a.example SIP/2.0\nVia: SIP/2.0/TLS p.b.example;branch=z9hG4bK1\nFrom: \"Bob\" <sip:bob@b.example>;tag=b1\nTo: <sip:alice@a.example>\nCall-ID: c1\nCSeq: {cseq} SUBSCRIBE\nContact: <sip:bob@192.0.2.7:5070;transport=udp>\n{more}Content-Length: 0\n\n"
    ))
}

fn built(dialog: &mut Dialog, method: Method) -> String {
    let via = sip_codec::Via::new(sip_codec::Transport::Tls, sip_codec::Host::new("hub.example").unwrap(), None);
    let request = dialog.request(method).unwrap().via(via.with_branch("z9hG4bKx").unwrap()).build().unwrap();
    String::from_utf8(request.encode().to_vec()).unwrap()
}

#[test]
fn a_request_makes_a_dialog_and_ours_go_back_by_its_routes() {
    let route = "Record-Route: <sip:p2.b.example;lr>, <sip:p1.b.example;lr=on>\n";
    let mut dialog = Dialog::of_request(&subscribe(7, route), "a1").unwrap();
    let notify = built(&mut dialog, Method::Notify);
    assert!(notify.starts_with("NOTIFY sip:bob@192.0.2.7:5070;transport=udp SIP/2.0\r\n"), "{notify}");
    for line in [
        "From: <sip:alice@a.example>;tag=a1",
        "To: \"Bob\" <sip:bob@b.example>;tag=b1",
        "Call-ID: c1",
        "CSeq: 1 NOTIFY",
        "Route: <sip:p2.b.example;lr>",
        "Route: <sip:p1.b.example;lr=on>",
    ] {
        assert!(notify.contains(&format!("\r\n{line}\r\n")), "{line}: {notify}");
    }
    assert!(built(&mut dialog, Method::Notify).contains("CSeq: 2 NOTIFY"));
}

#[test]
fn test_17_a_strict_router_stands_in_front() {
    let route = "Record-Route: <sip:strict.b.example>, <sip:p1.b.example;lr>\n";
    let mut dialog = Dialog::of_request(&subscribe(7, route), "a1").unwrap();
    let notify = built(&mut dialog, Method::Notify);
    assert!(notify.starts_with("NOTIFY sip:strict.b.example SIP/2.0\r\n"), "{notify}");
    assert!(notify.contains("\r\nRoute: <sip:p1.b.example;lr>\r\nRoute: <sip:bob@192.0.2.7:5070;transport=udp>\r\n"), "{notify}");
}

#[test]
fn what_belongs_to_it_is_known_by_call_id_and_both_tags_and_comes_in_order() {
    let mut dialog = Dialog::of_request(&subscribe(7, ""), "a1").unwrap();
    let inside = |cseq: u32, to: &str, from: &str| {
        request(&format!(
            "SUBSCRIBE sip:x@hub.example SIP/2.0\nVia: SIP/2.0/TLS p.b.example;branch=z9hG4bK2\nFrom: <sip:bob@b.example>{from}\nTo: <sip:alice@a.example>{to}\nCall-ID: c1\nCSeq: {cseq} SUBSCRIBE\nContact: <sip:bob@192.0.2.8>\nContent-Length: 0\n\n"
        ))
    };
    assert!(dialog.has(&inside(8, ";tag=a1", ";tag=b1")));
    for (to, from) in [("", ";tag=b1"), (";tag=a2", ";tag=b1"), (";tag=a1", ";tag=b2"), (";tag=a1", "")] {
        assert!(!dialog.has(&inside(8, to, from)), "{to} {from}");
    }
    assert_eq!(dialog.take(&inside(8, ";tag=a1", ";tag=b1")), Ok(()));
    // The target was refreshed.
    assert!(built(&mut dialog, Method::Notify).starts_with("NOTIFY sip:bob@192.0.2.8 SIP/2.0"));
    for late in [8, 7] {
        assert_eq!(dialog.take(&inside(late, ";tag=a1", ";tag=b1")), Err(DialogFault::OutOfOrder));
    }
}

#[test]
fn an_answer_makes_a_dialog_whose_routes_are_reversed() {
    let text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS hub.example;branch=z9hG4bK1\r\nFrom: <sip:alice@a.example>;tag=a1\r\nTo: <sip:bob@b.example>;tag=b1\r\nCall-ID: c1\r\nCSeq: 3 SUBSCRIBE\r\nContact: <sip:s-1@b.example>\r\nRecord-Route: <sip:near;lr>, <sip:far;lr>\r\nContent-Length: 0\r\n\r\n";
    let Ok(Message::Response(response)) = decode_datagram(Bytes::from(text), &Limits::default()) else { panic!("a response") };
    let response: Response = response;
    let mut dialog = Dialog::of_response(&response).unwrap();
    let again = Dialog::of_parts(&dialog.parts()).unwrap();
    assert_eq!(again, dialog);
    let refresh = built(&mut dialog, Method::Subscribe);
    assert!(
        refresh.contains("\r\nRoute: <sip:far;lr>\r\nRoute: <sip:near;lr>\r\n") && refresh.contains("CSeq: 4 SUBSCRIBE"),
        "{refresh}"
    );
    assert!(refresh.starts_with("SUBSCRIBE sip:s-1@b.example SIP/2.0"), "{refresh}");
}

/// A NOTIFY that came by another connection was here before the answer, and tells no route.
#[test]
fn an_answer_tells_the_route_of_a_dialog_that_a_notify_has_made() {
    let notify = request(
        "NOTIFY sip:hub.example SIP/2.0\nVia: SIP/2.0/TLS p;branch=z9hG4bK1\nFrom: <sip:bob@b.example>;tag=b1\nTo: <sip:alice@a.example>;tag=a1\nCall-ID: c1\nCSeq: 1 NOTIFY\nContact: <sip:pool.b.example>\nContent-Length: 0\n\n",
    );
    let answer = |tag: &str| {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS hub.example;branch=z9hG4bK1\r\nFrom: <sip:alice@a.example>;tag=a1\r\nTo: <sip:bob@b.example>;tag={tag}\r\nCall-ID: c1\r\nCSeq: 1 SUBSCRIBE\r\nRecord-Route: <sip:near;lr>, <sip:far;lr>\r\nContent-Length: 0\r\n\r\n"
        );
        let Ok(Message::Response(response)) = decode_datagram(Bytes::from(text), &Limits::default()) else {
            panic!("a response")
        };
        response
    };
    let made = Dialog::of_request(&notify, "a1").unwrap().after(1);
    let mut dialog = made.clone();
    dialog.confirmed(&answer("another"));
    assert_eq!(dialog, made);
    dialog.confirmed(&answer("b1"));
    let refresh = built(&mut dialog, Method::Subscribe);
    assert!(refresh.starts_with("SUBSCRIBE sip:pool.b.example SIP/2.0"), "{refresh}");
    assert!(
        refresh.contains("\r\nRoute: <sip:far;lr>\r\nRoute: <sip:near;lr>\r\n") && refresh.contains("CSeq: 2 SUBSCRIBE"),
        "{refresh}"
    );
}

#[test]
fn what_makes_none_is_told() {
    assert_eq!(Dialog::of_request(&subscribe(1, &"Record-Route: <sip:p;lr>\n".repeat(33)), "a1"), Err(DialogFault::Address));
    assert_eq!(Dialog::of_request(&subscribe(1, "Record-Route: nonsense nonsense\n"), "a1"), Err(DialogFault::Address));
    let untagged = request(
        "SUBSCRIBE sip:alice@a.example SIP/2.0\nVia: SIP/2.0/TLS p;branch=z9hG4bK1\nFrom: <sip:bob@b.example>\nTo: <sip:alice@a.example>\nCall-ID: c1\nCSeq: 1 SUBSCRIBE\nContent-Length: 0\n\n",
    );
    assert_eq!(Dialog::of_request(&untagged, "a1"), Err(DialogFault::Tag));
}
