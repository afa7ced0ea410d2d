//! TLS: what certificates prove, which of ours is shown, STARTTLS.

mod common;

use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use bytes::Bytes;
use common::authority::{Authority, expired, not_yet, only, self_signed};
use common::*;
use interchange_adapter::{
    ChainFault, CloseReason, ConnId, Identity, Input, Now, Output, PeerName, Target, TlsPeer, TlsRole, Transport,
};
use interchange_driver::{HubCertificate, Roots, Tls};
use interchange_model::Domain;
use rcgen::{ExtendedKeyUsagePurpose as Purpose, KeyUsagePurpose as Usage};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn serve(out: &mut Vec<Output>, conn: ConnId) {
    out.push(Output::StartTls { conn, role: TlsRole::Server { identity: Identity::Default, alpn: &["xmpp-server"] } });
}

/// Starts TLS at once, on both sides, and echoes.
fn direct(input: &Input, out: &mut Vec<Output>) {
    match input {
        Input::Opened { conn, via } if !conn.is_dialled() && via.transport() == Transport::Tls => serve(out, *conn),
        Input::Received { conn, bytes } if !conn.is_dialled() => out.push(Output::Send { conn: *conn, bytes: bytes.clone() }),
        _ => {}
    }
}

async fn tls_puppet(tls: Tls) -> Puppet {
    Puppet::start(Options { listen: vec![Transport::Tls], tls: Some(tls), ..Options::default() }, direct).await
}

fn tls(certificates: Vec<HubCertificate>, roots: Roots) -> Tls {
    Tls::new(certificates, 0, roots).unwrap()
}

/// Dials with TLS, showing the certificate for `identity`: what the server proved.
async fn dial(client: &mut Puppet, number: u64, server: &Puppet, name: &str, identity: Identity) -> TlsPeer {
    let conn = ConnId::dialled(number);
    let to = Target::Host { host: "127.0.0.1".into(), port: server.address().port(), transport: Transport::Tls };
    client.act([Output::Dial { conn, to, avoid: Vec::new() }]).await;
    client.opened().await;
    let role = TlsRole::Client { server_name: name.into(), identity, alpn: &["xmpp-server"] };
    client.act([Output::StartTls { conn, role }]).await;
    client.secured().await
}

/// Both sides' view when a server with one certificate is dialled by a client with another.
async fn meet(server: Tls, client: Tls) -> (TlsPeer, TlsPeer) {
    let mut server = tls_puppet(server).await;
    let mut client = tls_puppet(client).await;
    let seen_by_client = dial(&mut client, 1, &server, "a.example", Identity::Default).await;
    server.opened().await;
    let seen_by_server = server.secured().await;
    client.send(ConnId::dialled(1), "over TLS").await;
    server.received(b"over TLS").await;
    client.received(b"over TLS").await;
    (seen_by_client, seen_by_server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_learn_what_the_other_proved() {
    let authority = Authority::new("The Authority");
    let names = ["a.example", "*.a.example", "sip:a.example", "xmpp:a.example"];
    let server = authority.issue(&names, |_| {});
    let client = authority.usual(&["b.example"]);
    let (server_peer, client_peer) = meet(tls(vec![server.hub()], authority.roots()), tls(vec![client], authority.roots())).await;

    let certificate = server_peer.certificate.unwrap();
    assert_eq!(certificate.chain, Ok(()));
    let dns = |name: &str| PeerName::Dns(name.into());
    let wanted =
        [dns("a.example"), dns("*.a.example"), PeerName::Uri("sip:a.example".into()), PeerName::XmppAddr("a.example".into())];
    assert_eq!(certificate.names, wanted);
    // The subject's line end is escaped.
    assert_eq!(certificate.subject, "CN=test\\n1");
    assert_ne!(certificate.key_sha256, [0; 32]);
    assert_eq!(
        (server_peer.server_name, server_peer.alpn.as_deref(), server_peer.version),
        (None, Some("xmpp-server"), "TLSv1.3")
    );

    let certificate = client_peer.certificate.unwrap();
    assert_eq!((certificate.chain, certificate.names), (Ok(()), vec![dns("b.example")]));
    assert_eq!(client_peer.server_name.as_deref(), Some("a.example"));
    assert_eq!(client_peer.alpn.as_deref(), Some("xmpp-server"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_named_and_none_breaks_the_handshake() {
    let authority = Authority::new("The Authority");
    let stranger = Authority::new("A Stranger");
    let cases = [
        (authority.issue(&["other.example"], |_| {}), Ok(())),
        (authority.issue(&["a.example"], expired), Err(ChainFault::Expired)),
        (authority.issue(&["a.example"], not_yet), Err(ChainFault::NotYetValid)),
        (stranger.issue(&["a.example"], |_| {}), Err(ChainFault::UnknownAuthority)),
        (self_signed(&["a.example"], |_| {}), Err(ChainFault::SelfSigned)),
        (
            self_signed(&["a.example"], |params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            Err(ChainFault::SelfSigned),
        ),
        (authority.issue(&["a.example"], only(Purpose::ServerAuth)), Ok(())),
        (authority.issue(&["a.example"], only(Purpose::ClientAuth)), Ok(())),
        (authority.issue(&["a.example"], only(Purpose::CodeSigning)), Err(ChainFault::WrongUse)),
        (stranger.issue(&["a.example"], only(Purpose::ClientAuth)), Err(ChainFault::UnknownAuthority)),
        // RFC 8446 §4.4.2.2: a key that may only agree on keys signs no handshake.
        (authority.issue(&["a.example"], |params| params.key_usages = vec![Usage::KeyAgreement]), Err(ChainFault::WrongUse)),
        (authority.issue(&["a.example"], |params| params.key_usages = vec![Usage::DigitalSignature]), Ok(())),
        (authority.issue(&[], |_| {}), Ok(())),
    ];
    for (number, (issued, wanted)) in cases.into_iter().enumerate() {
        // The same certificate on both sides: a server's and a client's chain are judged alike.
        let ours = || tls(vec![issued.hub()], authority.roots());
        let (server_peer, client_peer) = meet(ours(), ours()).await;
        assert_eq!(server_peer.certificate.as_ref().unwrap().chain, wanted, "server, case {number}");
        assert_eq!(client_peer.certificate.as_ref().unwrap().chain, wanted, "client, case {number}");
        let names = client_peer.certificate.unwrap().names;
        let (common, alternative): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| matches!(name, PeerName::Common(_)));
        assert_eq!(alternative, issued.hub().names());
        // RFC 6125 §6.4.4: a common name is told where there is no other.
        assert_eq!(common.is_empty(), !alternative.is_empty());
    }
    // Nobody is trusted.
    let ours = || tls(vec![authority.usual(&["a.example"])], Roots::none());
    let (server_peer, client_peer) = meet(ours(), ours()).await;
    assert_eq!(server_peer.certificate.unwrap().chain, Err(ChainFault::UnknownAuthority));
    assert_eq!(client_peer.certificate.unwrap().chain, Err(ChainFault::UnknownAuthority));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_certificate_is_let_in_and_known_as_such() {
    let authority = Authority::new("The Authority");
    let (_, client_peer) =
        meet(tls(vec![authority.usual(&["a.example"])], authority.roots()), tls(vec![], authority.roots())).await;
    assert_eq!(client_peer.certificate, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_chosen_by_domain_then_by_sni_then_by_default() {
    let authority = Authority::new("The Authority");
    let ours = || {
        let names: [&[&str]; 4] = [&["hub.example"], &["b.example", "sip:b.example"], &["*.c.example"], &["xmpp:d.example"]];
        tls(names.iter().map(|names| authority.usual(names)).collect(), authority.roots())
    };
    let mut server = tls_puppet(ours()).await;
    let mut client = tls_puppet(ours()).await;
    let domain = |name: &str| Identity::Domain(Domain::parse(name).unwrap());
    let cases = [
        ("b.example", domain("x.c.example"), "b.example", "*.c.example"),
        ("im.c.example", domain("b.example"), "*.c.example", "b.example"),
        ("im.im.c.example", domain("nobody.example"), "hub.example", "hub.example"),
        ("d.example", domain("d.example"), "d.example", "d.example"),
        ("B.EXAMPLE", Identity::Default, "b.example", "hub.example"),
        ("192.0.2.1", Identity::Default, "hub.example", "hub.example"),
    ];
    let first = |peer: TlsPeer| match peer.certificate.unwrap().names.remove(0) {
        PeerName::Dns(name) | PeerName::XmppAddr(name) => name,
        other => panic!("{other:?}"),
    };
    for (number, (sni, identity, from_server, from_client)) in cases.into_iter().enumerate() {
        let peer = dial(&mut client, number as u64, &server, sni, identity).await;
        assert_eq!(first(peer), from_server, "{sni}");
        server.opened().await;
        assert_eq!(first(server.secured().await), from_client, "{sni}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_serve_new_handshakes_and_old_connections_go_on() {
    let authority = Authority::new("The Authority");
    let ours = tls(vec![authority.usual(&["old.example"])], authority.roots());
    let mut server = tls_puppet(ours.clone()).await;
    let mut client = tls_puppet(tls(vec![], authority.roots())).await;
    let peer = dial(&mut client, 1, &server, "a.example", Identity::Default).await;
    assert_eq!(peer.certificate.unwrap().names, [PeerName::Dns("old.example".into())]);
    server.opened().await;
    server.secured().await;
    ours.replace(vec![authority.usual(&["new.example"])], 0, Roots::none()).unwrap();
    assert!(ours.replace(vec![], 1, Roots::none()).is_err());
    let peer = dial(&mut client, 2, &server, "a.example", Identity::Default).await;
    assert_eq!(peer.certificate.unwrap().names, [PeerName::Dns("new.example".into())]);
    client.send(ConnId::dialled(1), "still").await;
    client.received(b"still").await;
    server.driver.stop();
}

/// An outside TLS client that keeps sessions, as most do.
fn outside_client(authority: &Authority, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let issued = authority.issue(&["b.example"], |_| {});
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![issued.certificate.clone()], issued.private_key())
        .unwrap();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_proves_its_certificate_afresh() {
    let authority = Authority::new("The Authority");
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let mut server = tls_puppet(tls(vec![authority.usual(&["a.example"])], authority.roots())).await;
        let connector = outside_client(&authority, versions);
        for _ in 0..3 {
            let tcp = TcpStream::connect(server.address()).await.unwrap();
            let name = ServerName::try_from("a.example").unwrap();
            let mut stream = within(connector.connect(name, tcp)).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            expect(&mut stream, b"hello").await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
            server.opened().await;
            let peer = server.secured().await;
            assert_eq!(peer.version, if versions[0].version == rustls::ProtocolVersion::TLSv1_3 { "TLSv1.3" } else { "TLSv1.2" });
            assert_eq!(peer.certificate.unwrap().chain, Ok(()));
            server.received(b"hello").await;
            // In good order: close_notify both ways.
            stream.shutdown().await.unwrap();
            assert_eq!(server.closed().await.0, CloseReason::PeerClosed);
            assert_eq!(within(stream.read(&mut [0])).await.unwrap(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_tls_fails_with_a_reason() {
    let authority = Authority::new("The Authority");
    let mut server = tls_puppet(tls(vec![authority.usual(&["a.example"])], authority.roots())).await;
    let mut peer = TcpStream::connect(server.address()).await.unwrap();
    peer.write_all(b"<?xml version='1.0'?>").await.unwrap();
    server.opened().await;
    let (why, detail) = server.closed().await;
    assert_eq!(why, CloseReason::TlsFailed);
    assert!(detail.contains("only after STARTTLS?"), "{detail}");

    // A connection cut in the middle is not a good end.
    let tcp = TcpStream::connect(server.address()).await.unwrap();
    let connector = outside_client(&authority, rustls::ALL_VERSIONS);
    let mut stream = within(connector.connect(ServerName::try_from("a.example").unwrap(), tcp)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    expect(&mut stream, b"hello").await;
    stream.get_mut().0.shutdown().await.unwrap();
    server.opened().await;
    server.secured().await;
    server.received(b"hello").await;
    let (why, detail) = server.closed().await;
    assert_eq!(why, CloseReason::Broken);
    assert!(detail.contains("close_notify"), "{detail}");

    // Without a certificate there is no server.
    let mut bare = tls_puppet(tls(vec![], Roots::none())).await;
    let _peer = TcpStream::connect(bare.address()).await.unwrap();
    bare.opened().await;
    let (why, detail) = bare.closed().await;
    assert_eq!(why, CloseReason::TlsFailed);
    assert!(detail.contains("no certificate"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starttls_secures_a_clear_stream_on_both_sides() {
    let authority = Authority::new("The Authority");
    let reflex: Reflex = |input, out| {
        let Input::Received { conn, bytes } = input else { return };
        match &bytes[..] {
            b"starttls" => {
                out.push(Output::Send { conn: *conn, bytes: Bytes::from_static(b"proceed") });
                serve(out, *conn);
            }
            b"proceed" => {
                let role = TlsRole::Client { server_name: "a.example".into(), identity: Identity::Default, alpn: &[] };
                out.push(Output::StartTls { conn: *conn, role });
                // Sent after `StartTls`, so under TLS.
                out.push(Output::Send { conn: *conn, bytes: Bytes::from_static(b"secret") });
            }
            _ => {}
        }
    };
    let ours = || Some(tls(vec![authority.usual(&["a.example"])], authority.roots()));
    let mut server = Puppet::start(Options { tls: ours(), ..Options::default() }, reflex).await;
    let mut client = Puppet::start(Options { tls: ours(), ..Options::default() }, reflex).await;
    // Over and over: a peer's handshake that is read as clear text would be lost, once in many times.
    for number in 0..100 {
        let conn = ConnId::dialled(number);
        let to = Target::Host { host: "127.0.0.1".into(), port: server.address().port(), transport: Transport::Tcp };
        client
            .act([Output::Dial { conn, to, avoid: Vec::new() }, Output::Send { conn, bytes: Bytes::from_static(b"starttls") }])
            .await;
        server.opened().await;
        server.received(b"starttls").await;
        assert_eq!(server.secured().await.certificate.unwrap().chain, Ok(()));
        server.received(b"secret").await;
        client.opened().await;
        client.received(b"proceed").await;
        assert_eq!(client.secured().await.certificate.unwrap().chain, Ok(()));
        client.act([Output::Close { conn, why: CloseReason::Finished }]).await;
        assert_eq!(client.closed().await.0, CloseReason::Finished);
        assert_eq!(server.closed().await.0, CloseReason::PeerClosed);
    }
}

/// RFC 6120 §5.4.3.3, and CVE-2011-0411 in other protocols.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_in_the_clear_never_comes_out_of_tls() {
    let authority = Authority::new("The Authority");
    let (seen_sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (go, wait) = blocking::channel::<()>();
    let mut wait = Some(wait);
    let options = Options { tls: Some(tls(vec![authority.usual(&["a.example"])], authority.roots())), ..Options::default() };
    let (driver, _ends) = start(options, move || {
        let (seen, wait) = (seen_sender.clone(), wait.take().unwrap());
        Box::new(Function(move |_: Now, input: Input, out: &mut Vec<Output>| {
            if let Input::Received { conn, bytes } = &input {
                if &bytes[..] == b"starttls" {
                    seen.send(input.clone()).unwrap();
                    wait.recv_timeout(Duration::from_secs(20)).unwrap();
                    out.push(Output::Send { conn: *conn, bytes: Bytes::from_static(b"proceed") });
                    serve(out, *conn);
                    return;
                }
                out.push(Output::Send { conn: *conn, bytes: bytes.clone() });
            }
            let _ = seen.send(input);
        }))
    })
    .await;

    let mut tcp = TcpStream::connect(driver.bound()[0].address).await.unwrap();
    tcp.write_all(b"starttls").await.unwrap();
    while !matches!(within(seen.recv()).await, Some(Input::Received { .. })) {}
    // While the adapter thinks, evil comes: some of it is read and waits for the loop, the rest stays in the kernel.
    let evil = vec![b'E'; 40_000];
    tcp.write_all(&evil).await.unwrap();
    // On a worker of the runtime: the adapter blocks the other one, which no real adapter does.
    let stats = driver.stats().clone();
    let read = tokio::spawn(async move {
        while stats.bytes_in() < 3_000 {
            tokio::task::yield_now().await;
        }
    });
    within(read).await.unwrap();
    go.send(()).unwrap();
    expect(&mut tcp, b"proceed").await;
    let connector = outside_client(&authority, rustls::ALL_VERSIONS);
    let mut stream = within(connector.connect(ServerName::try_from("a.example").unwrap(), tcp)).await.unwrap();
    stream.write_all(b"under TLS").await.unwrap();
    expect(&mut stream, b"under TLS").await;
    assert!(matches!(within(seen.recv()).await, Some(Input::Secured { .. })));
    let Some(Input::Received { bytes, .. }) = within(seen.recv()).await else { panic!("nothing received") };
    assert_eq!(&bytes[..], b"under TLS");
}

#[test]
fn files_are_read_with_clear_errors() {
    let authority = Authority::new("The Authority");
    let good = authority.issue(&["a.example"], |_| {});
    let other = authority.issue(&["b.example"], |_| {});
    let old = authority.issue(&["a.example"], expired);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key_pem = good.key.serialize_pem();
    let chain = write("chain.pem", &good.certificate_pem);
    let key = write("key.pem", &key_pem);
    let both = write("both.pem", &format!("{}{key_pem}", good.certificate_pem));
    let now = std::time::SystemTime::now();

    let read = HubCertificate::read(&chain, &key).unwrap();
    assert!(read.stands_for(&Domain::parse("a.example").unwrap()) && !read.stands_for(&Domain::parse("b.example").unwrap()));
    assert_eq!(read.warnings(now), []);
    assert!(HubCertificate::read(&both, &both).is_ok());

    let mut wrong = vec![
        (&chain, folder.path().join("missing.pem"), "missing.pem: cannot be read: No such file"),
        (&chain, chain.clone(), "chain.pem: there is no private key in it, only a certificate"),
        (&key, key.clone(), "key.pem: there is no certificate in it"),
        (&chain, write("other.pem", &other.key.serialize_pem()), "the key does not belong to the first certificate"),
        (&chain, write("text.pem", "hello"), "text.pem: there is no private key in it (expected"),
        (&chain, write("damaged.pem", "-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n"), "damaged"),
        (
            &chain,
            write("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
            "encrypted",
        ),
    ];
    for (chain, key, wanted) in wrong.drain(..) {
        let error = HubCertificate::read(chain, &key).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }

    let expired =
        HubCertificate::read(&write("old.pem", &old.certificate_pem), &write("oldkey.pem", &old.key.serialize_pem())).unwrap();
    let warning = expired.warnings(now).remove(0).to_string();
    assert!(warning.starts_with("the certificate expired ") && warning.ends_with(" days ago"), "{warning}");

    let mut roots = Roots::none();
    assert!(roots.add_file(&key).unwrap_err().to_string().contains("key.pem: there is no certificate"));
    roots.add_file(&chain).unwrap();
    assert_eq!(roots.len(), 1);
    assert!(roots.add(CertificateDer::from(vec![1, 2, 3])).is_err());
    let shown = format!("{read:?}");
    assert!(!shown.contains(key_pem.lines().nth(1).unwrap()) && shown.contains("a.example"), "{shown}");
}
