//! The checks of a server, on messages of RFC 4475 and our own.

mod support;

use sip_codec::{ContentType, Method, Name, Request, Value};
use sip_stack::Rules;
use support::{draft, host};

fn rules() -> Rules {
    Rules {
        encodings: Vec::new(),
        methods: vec![Method::Message, Method::Subscribe, Method::Options, Method::Invite],
        known_methods: vec![Method::Register],
        extensions: vec!["timer".into()],
        proxy_extensions: vec!["ms-benotify".into()],
        accept: vec!["text/plain".into(), "application/sdp".into()],
        own_hosts: vec![host("hub.example")],
        accept_sips: false,
    }
}

fn request(change: impl FnOnce(sip_codec::RequestBuilder) -> sip_codec::RequestBuilder) -> Request {
    let via = sip_codec::Via::new(sip_codec::Transport::Tls, host("peer.example"), None).with_branch("z9hG4bK1").unwrap();
    change(draft(Method::Message)).via(via).build().unwrap()
}

fn with(name: Name, value: &str) -> Request {
    request(|draft| draft.header(name, Value::new(value).unwrap()).unwrap())
}

/// Status and the header that goes with it.
fn outcome(request: &Request) -> (u16, String) {
    let refused = rules().check_request(request).and_then(|()| rules().check_content(request));
    match refused {
        Ok(()) => (200, String::new()),
        Err(refused) => {
            let response = refused.to_response(request, "t1", None).unwrap();
            assert_eq!((response.status(), response.to().tag()), (refused.status, Some("t1")));
            let header = refused.headers.first().map(|(name, value)| format!("{}: {}", name.as_str(), value.text()));
            (refused.status, header.unwrap_or_default())
        }
    }
}

#[test]
fn each_check_has_its_answer() {
    let allow = "Allow: MESSAGE, SUBSCRIBE, OPTIONS, INVITE";
    let uri = |text: &str| {
        let base = request(|draft| draft);
        let bytes =
            String::from_utf8(base.encode().to_vec()).unwrap().replacen("sip:bob@b.example SIP", &format!("{text} SIP"), 1);
        match support::decode(bytes.into()) {
            sip_codec::Message::Request(request) => request,
            sip_codec::Message::Response(_) => panic!(),
        }
    };
    let method = |method: Method| {
        let via = sip_codec::Via::new(sip_codec::Transport::Tls, host("peer.example"), None);
        draft(method).via(via).build().unwrap()
    };
    let body = |kind: &str, subtype: &str| request(|draft| draft.body(ContentType::new(kind, subtype).unwrap(), "x"));
    for (request, status, header) in [
        (request(|draft| draft), 200, ""),
        (request(|draft| draft.max_forwards(0)), 483, ""),
        (
            draft(Method::Message)
                .via(sip_codec::Via::new(sip_codec::Transport::Tls, host("HUB.example"), None))
                .build()
                .unwrap(),
            482,
            "",
        ),
        (method(Method::Register), 405, allow),
        (method(Method::new("NEGOTIATE").unwrap()), 501, allow),
        (uri("sips:bob@b.example"), 416, ""),
        (uri("tel:+49"), 416, ""),
        (with(Name::Require, "timer, 100rel"), 420, "Unsupported: 100rel"),
        (with(Name::Require, "Timer"), 200, ""),
        (with(Name::ProxyRequire, "ms-benotify"), 200, ""),
        (with(Name::ProxyRequire, "x"), 420, "Unsupported: x"),
        (body("text", "plain"), 200, ""),
        (body("text", "rtf"), 415, "Accept: text/plain, application/sdp"),
        (
            request(|draft| {
                draft
                    .header(Name::ContentEncoding, Value::new("gzip").unwrap())
                    .unwrap()
                    .body(ContentType::new("text", "plain").unwrap(), "x")
            }),
            415,
            "Accept-Encoding: identity",
        ),
    ] {
        assert_eq!(outcome(&request), (status, header.to_owned()), "{request:?}");
    }
}

// RFC 4475 §3.3: what the codec takes and a server refuses
#[test]
fn torture_messages_that_are_the_servers_to_refuse() {
    for (name, status) in
        [("unkscm", 416), ("novelsc", 416), ("bext01", 420), ("invut", 415), ("zeromf", 483), ("sdp01", 200), ("unksm2", 405)]
    {
        let path = format!("{}/../sip-codec/tests/vectors/{name}.sip", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let text: String = text.lines().skip(1).flat_map(|line| [line, "\r\n"]).collect();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let text = text.replace("<<length>>", &body.len().to_string());
        match support::decode(text.into()) {
            sip_codec::Message::Request(request) => assert_eq!(outcome(&request).0, status, "{name}"),
            sip_codec::Message::Response(_) => panic!("{name}"),
        }
    }
}
