//! One small file from a domain's own web server, by HTTPS: for proofs of domains.
//!
//! Who runs a domain says where its web server is, so the address is judged like any that is dialled, and the one that was judged is the one that is connected
//! to. Nobody is followed anywhere else: no redirect, no proxy, no other host.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use interchange_model::Domain;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::call::secure;
use crate::tls::Tls;
use crate::{Reach, Resolver, text};

/// For all of it.
const LIMIT: Duration = Duration::from_secs(10);
/// The largest file, in bytes.
const LARGEST: usize = 4096;
/// What is read of its headers, in bytes.
const LARGEST_HEAD: usize = 16 * 1024;

/// The text of a file of at most 4 KiB at `https://DOMAIN:PORT PATH`, within 10 s. The server must show a certificate for the domain that leads to an
/// authority that the hub trusts.
///
/// # Errors
/// One sentence for a person; no text of the server's in it.
pub async fn fetch(
    tls: &Tls,
    resolver: &Resolver,
    reach: &Reach,
    (domain, port): (&Domain, u16),
    path: &str,
) -> Result<String, String> {
    let fetched = timeout(LIMIT, get(tls, resolver, reach, domain, port, path)).await;
    fetched.unwrap_or_else(|_| Err(format!("the web server of {domain} did not answer within {} s", LIMIT.as_secs())))
}

async fn get(tls: &Tls, resolver: &Resolver, reach: &Reach, domain: &Domain, port: u16, path: &str) -> Result<String, String> {
    let addresses = resolver.addresses(domain.as_str()).await?;
    let mut kept = None;
    let allowed = addresses.iter().find(|address| reach.check(**address).map_err(|kind| kept = Some(kind)).is_ok());
    let Some(address) = allowed else {
        return Err(format!("the address of {domain} is {}, and the hub asks only public ones", kept.unwrap_or("none")));
    };
    let address = SocketAddr::new(*address, port);
    let tcp = TcpStream::connect(address).await.map_err(|error| format!("no connection to {address}: {error}"))?;
    let stream = secure(tls, tcp, domain, &["http/1.1"]).await.map_err(|why| format!("the web server of {domain}: {why}"))?;
    let broke = |error: hyper::Error| {
        format!("the web server of {domain} sent what is no HTTP: {}", text::escaped(&error.to_string(), 100))
    };
    let handshake = http1::Builder::new().max_buf_size(LARGEST_HEAD).max_headers(64).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broke)?;
    // Ends with this function.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get(path).header(HOST, domain.as_str()).header(USER_AGENT, "interchange");
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| "the path cannot be asked for".to_owned())?;
    let response = sender.send_request(request).await.map_err(broke)?;
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            return Err(format!(
                "the web server of {domain} leads elsewhere ({status}), where nobody follows: put the file there itself"
            ));
        }
        status => return Err(format!("the web server of {domain} answers {status} for that file")),
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|_| format!("the file is longer than {LARGEST} bytes, or broke off"))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}
