//! Look-ups, against a name server of our own.

mod common;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use common::*;
use interchange_adapter::{CloseReason, ConnId, Output, Target, Transport};
use interchange_driver::{Reach, Resolver};
use interchange_model::Domain;
use tokio::net::{TcpListener, UdpSocket};

/// What the name server knows of one name.
#[derive(Clone)]
enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// Priority, port, target.
    Srv(u16, u16, &'static str),
    Fails,
}

/// A name server on loopback that knows these names and answers NXDOMAIN for all others.
async fn name_server(records: Vec<(&'static str, Record)>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut known: HashMap<&'static str, Vec<Record>> = HashMap::new();
    for (name, record) in records {
        known.entry(name).or_default().push(record);
    }
    tokio::spawn(async move {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let _ = socket.send_to(&answer(&query[..length], &known), from).await;
        }
    });
    address
}

/// RFC 1035 §4.1: header, question, answers.
fn answer(query: &[u8], known: &HashMap<&'static str, Vec<Record>>) -> Vec<u8> {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..at + 1 + length].to_vec()).unwrap());
        at += 1 + length;
    }
    let question = &query[12..at + 5];
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let name = labels.join(".").to_ascii_lowercase();
    let records = known.get(name.as_str());
    let fails = records.is_some_and(|records| records.iter().any(|record| matches!(record, Record::Fails)));
    let code = if fails {
        2
    } else if records.is_none() {
        3
    } else {
        0
    };
    let mut answers = Vec::new();
    let mut count = 0_u16;
    for record in records.into_iter().flatten() {
        let data = match record {
            Record::A(address) if kind == 1 => address.octets().to_vec(),
            Record::Aaaa(address) if kind == 28 => address.octets().to_vec(),
            Record::Srv(priority, port, target) if kind == 33 => {
                let mut data = [priority.to_be_bytes(), [0, 0], port.to_be_bytes()].concat();
                for label in target.split('.').filter(|label| !label.is_empty()) {
                    data.push(u8::try_from(label.len()).unwrap());
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                data
            }
            _ => continue,
        };
        count += 1;
        answers.extend_from_slice(&[0xc0, 12]);
        answers.extend_from_slice(&kind.to_be_bytes());
        answers.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        answers.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        answers.extend_from_slice(&data);
    }
    let mut message = query[..2].to_vec();
    message.extend_from_slice(&[0x81, 0x80 | code, 0, 1]);
    message.extend_from_slice(&count.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(question);
    message.extend_from_slice(&answers);
    message
}

async fn puppet(records: Vec<(&'static str, Record)>) -> Puppet {
    let server = name_server(records).await;
    let resolver = Some(Resolver::with_name_servers(&[server]).unwrap());
    Puppet::start(Options { resolver, ..Options::default() }, |_, _| {}).await
}

fn srv(domain: &str, fallback_port: Option<u16>) -> Target {
    Target::Srv { service: "xmpp-server", domain: Domain::parse(domain).unwrap(), transport: Transport::Tcp, fallback_port }
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port on which nobody listens: taken, and given back.
fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_are_tried_in_their_order_until_one_answers() {
    let (first, first_port) = listener().await;
    let (second, second_port) = listener().await;
    let dead = dead_port();
    let mut puppet = puppet(vec![
        ("_xmpp-server._tcp.a.example", Record::Srv(30, second_port, "second.a.example")),
        ("_xmpp-server._tcp.a.example", Record::Srv(20, first_port, "first.a.example")),
        ("_xmpp-server._tcp.a.example", Record::Srv(10, dead, "dead.a.example")),
        ("_xmpp-server._tcp.a.example", Record::Srv(5, first_port, "missing.a.example")),
        ("first.a.example", Record::A(HERE)),
        ("second.a.example", Record::A(HERE)),
        ("dead.a.example", Record::A(HERE)),
    ])
    .await;
    puppet.act([Output::Dial { conn: ConnId::dialled(1), to: srv("a.example", None), avoid: Vec::new() }]).await;
    let (_, via) = puppet.opened().await;
    assert_eq!(via.peer(), first.local_addr().unwrap());
    drop(first);
    puppet.act([Output::Dial { conn: ConnId::dialled(2), to: srv("a.example", None), avoid: Vec::new() }]).await;
    // The first listener is gone: its connection closes, and the next target is taken.
    loop {
        if let interchange_adapter::Input::Opened { via, .. } = puppet.next().await {
            assert_eq!(via.peer(), second.local_addr().unwrap());
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_to_be_avoided_are_tried_after_all_others() {
    let ((first, first_port), (second, second_port)) = (listener().await, listener().await);
    let mut puppet = puppet(vec![
        ("_xmpp-server._tcp.a.example", Record::Srv(0, first_port, "one.example")),
        ("_xmpp-server._tcp.a.example", Record::Srv(9, second_port, "one.example")),
        ("one.example", Record::A(HERE)),
    ])
    .await;
    let (first, second) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    let both = vec![first, second];
    for (number, avoid, wanted) in [(1, vec![], first), (2, vec![first], second), (3, vec![second], first), (4, both, first)] {
        puppet.act([Output::Dial { conn: ConnId::dialled(number), to: srv("a.example", None), avoid }]).await;
        assert_eq!(puppet.opened().await.1.peer(), wanted, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_domain_itself_serves_where_no_record_says_otherwise() {
    let (listener, port) = listener().await;
    let mut puppet = puppet(vec![
        ("a.example", Record::A(HERE)),
        // Known, without SRV records.
        ("_xmpp-server._tcp.c.example", Record::A(HERE)),
        ("c.example", Record::A(HERE)),
    ])
    .await;
    for (number, domain) in ["a.example", "c.example"].into_iter().enumerate() {
        puppet.act([Output::Dial { conn: ConnId::dialled(number as u64), to: srv(domain, Some(port)), avoid: Vec::new() }]).await;
        assert_eq!(puppet.opened().await.1.peer(), listener.local_addr().unwrap());
    }
    puppet.act([Output::Dial { conn: ConnId::dialled(9), to: srv("a.example", None), avoid: Vec::new() }]).await;
    let (why, detail) = puppet.closed().await;
    assert_eq!(why, CloseReason::Unresolved);
    assert!(detail.contains("there is no record _xmpp-server._tcp.a.example (SRV)"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_to_fail_has_its_sentence() {
    let dead = dead_port();
    let mut puppet = puppet(vec![
        ("_xmpp-server._tcp.none.example", Record::Srv(0, 0, ".")),
        ("none.example", Record::A(HERE)),
        ("_xmpp-server._tcp.fails.example", Record::Fails),
        ("fails.example", Record::A(HERE)),
        ("inside.example", Record::A(Ipv4Addr::new(10, 0, 0, 1))),
        ("dead.example", Record::A(HERE)),
        ("empty.example", Record::Srv(0, 0, "a.example")),
        ("_xmpp-server._tcp.half.example", Record::Srv(0, 5269, "missing.example")),
        ("_xmpp-server._tcp.half.example", Record::Srv(1, dead, "dead.example")),
    ])
    .await;
    let host = |host: &str, port| Target::Host { host: host.into(), port, transport: Transport::Tcp };
    let refused = format!("no connection to any address of dead.example: 127.0.0.1:{dead}: Connection refused");
    let cases = [
        (srv("none.example", Some(5269)), CloseReason::Unresolved, "none.example does not offer this service"),
        (srv("fails.example", Some(5269)), CloseReason::Unresolved, "looking up _xmpp-server._tcp.fails.example (SRV) failed"),
        (srv("missing.example", Some(5269)), CloseReason::Unresolved, "the name missing.example does not exist in DNS"),
        (host("missing.example", 1), CloseReason::Unresolved, "the name missing.example does not exist in DNS"),
        (host("empty.example", 1), CloseReason::Unresolved, "the name empty.example has no address in DNS"),
        (host("bad name\n", 1), CloseReason::Unresolved, "bad name\\n"),
        (host("inside.example", 1), CloseReason::Unreachable, "inside.example is 10.0.0.1, a private address"),
        (host("dead.example", dead), CloseReason::Unreachable, refused.as_str()),
        (
            srv("half.example", None),
            CloseReason::Unreachable,
            "missing.example does not exist in DNS; check its spelling; no connection",
        ),
    ];
    for (number, (to, wanted, part)) in cases.into_iter().enumerate() {
        puppet.act([Output::Dial { conn: ConnId::dialled(number as u64), to, avoid: Vec::new() }]).await;
        let (why, detail) = puppet.closed().await;
        assert!(why == wanted && detail.contains(part), "{number}: {why}: {detail}");
        assert!(detail.chars().count() <= 300);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_that_is_silent_is_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = Some(Resolver::with_name_servers(&[silent.local_addr().unwrap()]).unwrap());
    let options = Options { resolver, reach: Some(Reach::public()), ..Options::default() };
    let mut puppet = Puppet::start(options, |_, _| {}).await;
    puppet.act([Output::Dial { conn: ConnId::dialled(1), to: srv("a.example", Some(5269)), avoid: Vec::new() }]).await;
    let (why, detail) = puppet.closed().await;
    assert_eq!(why, CloseReason::Unresolved);
    assert!(detail.contains("_xmpp-server._tcp.a.example (SRV) failed"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_over_udp_takes_an_address_that_its_socket_can_reach() {
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = peer.local_addr().unwrap().port();
    let server = name_server(vec![
        ("both.example", Record::Aaaa(Ipv6Addr::LOCALHOST)),
        ("both.example", Record::A(HERE)),
        ("six.example", Record::Aaaa(Ipv6Addr::LOCALHOST)),
    ])
    .await;
    let resolver = Some(Resolver::with_name_servers(&[server]).unwrap());
    let options = Options { listen: vec![Transport::Udp], resolver, reach: Some(Reach::everywhere()), ..Options::default() };
    let mut puppet = Puppet::start(options, |_, _| {}).await;
    let host = |host: &str| Target::Host { host: host.into(), port, transport: Transport::Udp };
    puppet.act([Output::Dial { conn: ConnId::dialled(1), to: host("both.example"), avoid: Vec::new() }]).await;
    assert_eq!(puppet.opened().await.1.peer(), peer.local_addr().unwrap());
    puppet.act([Output::Dial { conn: ConnId::dialled(2), to: host("six.example"), avoid: Vec::new() }]).await;
    let (why, detail) = puppet.closed().await;
    assert_eq!(why, CloseReason::Unreachable);
    assert!(detail.contains("six.example has no IPv4 address"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_address_does_not_hold_up_a_living_one() {
    let (listener, port) = listener().await;
    // Nobody listens on ::1 at this port; both families are tried.
    let server = name_server(vec![("a.example", Record::Aaaa(Ipv6Addr::LOCALHOST)), ("a.example", Record::A(HERE))]).await;
    let resolver = Some(Resolver::with_name_servers(&[server]).unwrap());
    let options = Options { resolver, reach: Some(Reach::everywhere()), ..Options::default() };
    let mut puppet = Puppet::start(options, |_, _| {}).await;
    let to = Target::Host { host: "a.example".into(), port, transport: Transport::Tcp };
    puppet.act([Output::Dial { conn: ConnId::dialled(1), to, avoid: Vec::new() }]).await;
    assert_eq!(puppet.opened().await.1.peer(), listener.local_addr().unwrap());
}
