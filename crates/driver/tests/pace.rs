//! What a small message costs the driver, over TLS. Not run by default, since it needs a release build and a quiet machine:
//! `cargo test --release -p interchange-driver --test pace -- --ignored --nocapture`

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::authority::Authority;
use common::*;
use interchange_adapter::{Identity, Input, Now, Output, TlsRole, Transport};
use interchange_driver::Tls;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const SIZE: usize = 400;

/// Processor time of the threads with this name, from Linux's scheduler.
fn processor_time(name: &str) -> Duration {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim() == name {
            nanoseconds += read("schedstat").split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(nanoseconds)
}

/// Answers every message with itself, each by an output of its own.
fn echo_messages() -> Box<dyn interchange_adapter::Adapter> {
    let mut rest = bytes::BytesMut::new();
    Box::new(Function(move |_: Now, input: Input, out: &mut Vec<Output>| match input {
        Input::Opened { conn, .. } => {
            out.push(Output::StartTls { conn, role: TlsRole::Server { identity: Identity::Default, alpn: &[] } });
        }
        Input::Received { conn, bytes } => {
            rest.extend_from_slice(&bytes);
            while rest.len() >= SIZE {
                out.push(Output::Send { conn, bytes: rest.split_to(SIZE).freeze() });
            }
        }
        _ => {}
    }))
}

/// The least that could be: one task that reads and writes.
async fn plain_echo(issued: common::authority::Issued) -> std::net::SocketAddr {
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.certificate.clone()], issued.private_key())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..length]).await.unwrap();
            }
        }
    });
    address
}

#[test]
#[ignore = "a measurement"]
fn a_small_message_costs_little() {
    let runtime = |name: &str| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build().unwrap()
    };
    let (driver_runtime, client_runtime) = (runtime("driver"), runtime("client"));
    let authority = Authority::new("The Authority");
    let tls = Tls::new(vec![authority.usual(&["a.example"])], 0, authority.roots()).unwrap();
    let (driver, _ends) = driver_runtime
        .block_on(driver_runtime.spawn(async move {
            start(Options { listen: vec![Transport::Tls], tls: Some(tls), ..Options::default() }, echo_messages).await
        }))
        .unwrap();
    let address = driver.bound()[0].address;
    let plain = driver_runtime.block_on(driver_runtime.spawn(plain_echo(authority.issue(&["a.example"], |_| {})))).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));

    let shapes = [("one in flight", 50_000, 1), ("16 in flight", 400_000, 16), ("512 in flight", 2_000_000, 512)];
    for ((shape, count, window), (who, address)) in
        shapes.into_iter().flat_map(|shape| [(shape, ("plain", plain)), (shape, ("driver", address))])
    {
        let connector = connector.clone();
        let before = processor_time("driver");
        let begun = Instant::now();
        let client = client_runtime.spawn(async move {
            let tcp = TcpStream::connect(address).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let mut stream = connector.connect(ServerName::try_from("a.example").unwrap(), tcp).await.unwrap();
            let mut buffer = vec![b'm'; SIZE * window];
            for _ in 0..count / window {
                stream.write_all(&buffer).await.unwrap();
                stream.read_exact(&mut buffer).await.unwrap();
            }
        });
        client_runtime.block_on(client).unwrap();
        let used = processor_time("driver") - before;
        let each = used.as_secs_f64() * 1e6 / count as f64;
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        println!("{who}, {shape}: {each:.2} µs of processor time a message there and back, {rate:.0} messages/s");
    }
}
