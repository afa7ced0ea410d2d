//! UDP: virtual connections.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use interchange_adapter::{CloseReason, ConnId, Identity, Output, Target, TlsRole, Transport, Via};
use interchange_driver::Limits;
use tokio::net::UdpSocket;

async fn puppet(limits: Limits) -> Puppet {
    Puppet::start(Options { listen: vec![Transport::Udp], limits, ..Options::default() }, |_, _| {}).await
}

async fn peer() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

async fn expect_datagram(socket: &UdpSocket, wanted: &[u8], from: SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, sender) = within(socket.recv_from(&mut buffer)).await.unwrap();
    assert_eq!((&buffer[..length], sender), (wanted, from));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_peer_has_a_connection_of_its_own() {
    let mut puppet = puppet(Limits::default()).await;
    let hub = puppet.address();
    let (one, two) = (peer().await, peer().await);
    one.send_to(b"from one", hub).await.unwrap();
    let (first, via) = puppet.opened().await;
    assert_eq!(via, Via::Accepted { transport: Transport::Udp, local: hub, peer: one.local_addr().unwrap() });
    assert_eq!(puppet.received(b"from one").await, first);
    two.send_to(b"from two", hub).await.unwrap();
    let (second, _) = puppet.opened().await;
    assert_eq!(puppet.received(b"from two").await, second);
    assert_ne!(first, second);

    one.send_to(b"again", hub).await.unwrap();
    assert_eq!(puppet.received(b"again").await, first);
    puppet.send(first, "to one").await;
    expect_datagram(&one, b"to one", hub).await;
    puppet.send(second, "to two").await;
    expect_datagram(&two, b"to two", hub).await;

    // Closed: said so with the reason given; the next datagram opens a new one.
    puppet.act([Output::Close { conn: first, why: CloseReason::Malformed }]).await;
    assert_eq!(puppet.closed().await.0, CloseReason::Malformed);
    puppet.send(first, "never").await;
    one.send_to(b"once more", hub).await.unwrap();
    let (third, _) = puppet.opened().await;
    assert_ne!(third, first);
    puppet.received(b"once more").await;

    // There is no TLS on datagrams.
    let role = TlsRole::Server { identity: Identity::Default, alpn: &[] };
    puppet.act([Output::StartTls { conn: third, role }]).await;
    assert_eq!(puppet.closed().await.0, CloseReason::TlsFailed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_leaves_from_the_listener_and_takes_over_the_peer() {
    let mut puppet = puppet(Limits::default()).await;
    let hub = puppet.address();
    let peer = peer().await;
    let address = peer.local_addr().unwrap();
    peer.send_to(b"first", hub).await.unwrap();
    let (accepted, _) = puppet.opened().await;
    puppet.received(b"first").await;

    let conn = ConnId::dialled(1);
    let to = Target::Host { host: "127.0.0.1".into(), port: address.port(), transport: Transport::Udp };
    puppet.act([Output::Dial { conn, to, avoid: Vec::new() }]).await;
    let (why, detail) = puppet.closed().await;
    assert_eq!((why, detail), (CloseReason::Finished, format!("replaced: {address} was dialled")));
    assert_eq!(puppet.opened().await, (conn, Via::Dialled { transport: Transport::Udp, local: hub, peer: address }));
    puppet.send(accepted, "never").await;
    puppet.send(conn, "hello").await;
    expect_datagram(&peer, b"hello", hub).await;
    peer.send_to(b"answer", hub).await.unwrap();
    assert_eq!(puppet.received(b"answer").await, conn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_forgotten_when_idle_or_too_many() {
    let limits = Limits { datagram_peers: 1, datagram_idle: Duration::from_millis(300), ..Limits::default() };
    let mut puppet = puppet(limits).await;
    let (one, two) = (peer().await, peer().await);
    one.send_to(b"one", puppet.address()).await.unwrap();
    puppet.opened().await;
    puppet.received(b"one").await;
    two.send_to(b"two", puppet.address()).await.unwrap();
    assert_eq!(puppet.closed().await.0, CloseReason::Limit);
    puppet.opened().await;
    puppet.received(b"two").await;
    assert_eq!(puppet.closed().await.0, CloseReason::Finished);
    assert_eq!(puppet.driver.stats().open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_udp_cannot_carry_is_dropped_and_counted() {
    let mut puppet = puppet(Limits::default()).await;
    let peer = peer().await;
    peer.send_to(b"hello", puppet.address()).await.unwrap();
    let (conn, _) = puppet.opened().await;
    puppet.received(b"hello").await;
    let too_large = Output::Send { conn, bytes: Bytes::from(vec![0; 70_000]) };
    let fits = Output::Send { conn, bytes: Bytes::from_static(b"fits") };
    puppet.act([too_large, fits]).await;
    expect_datagram(&peer, b"fits", puppet.address()).await;
    assert_eq!(puppet.driver.stats().datagrams_dropped(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_listener_nothing_is_dialled() {
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    let to = Target::Host { host: "127.0.0.1".into(), port: 5060, transport: Transport::Udp };
    puppet.act([Output::Dial { conn: ConnId::dialled(1), to, avoid: Vec::new() }]).await;
    let (why, detail) = puppet.closed().await;
    assert_eq!(why, CloseReason::Unreachable);
    assert!(detail.contains("no UDP listener"), "{detail}");
}
