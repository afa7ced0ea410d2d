//! Connections that no adapter asks for, to servers that the hub itself asks something. The address is judged like any that is dialled, and the one that
//! was judged is the one that is connected to.

use interchange_adapter::{Identity, PeerName, TlsRole, dns_name_matches};
use interchange_model::Domain;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::dial::connect_host;
use crate::tls::Tls;
use crate::{Reach, Resolver, text};

/// Calls servers; nobody but those whose addresses may be dialled.
#[derive(Debug, Clone)]
pub struct Caller {
    tls: Tls,
    resolver: Resolver,
    reach: Reach,
}

impl Caller {
    /// With the authorities that servers' certificates must lead to.
    #[must_use]
    pub fn new(tls: Tls, resolver: Resolver, reach: Reach) -> Self {
        Self { tls, resolver, reach }
    }

    /// Connects to a host, a name or an address: each of its addresses is tried for 5 s, each begun a little after the one before it.
    ///
    /// # Errors
    /// One sentence for a person.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        connect_host(&self.resolver, &self.reach, host, port).await
    }

    /// TLS on a connection. The server must show a certificate for this name that leads to an authority.
    ///
    /// # Errors
    /// One sentence for a person.
    pub async fn secure(&self, tcp: TcpStream, name: &Domain) -> Result<TlsStream<TcpStream>, String> {
        secure(&self.tls, tcp, name, &[]).await
    }
}

/// TLS with a server that must prove its name.
pub(crate) async fn secure(
    tls: &Tls,
    tcp: TcpStream,
    name: &Domain,
    alpn: &'static [&'static str],
) -> Result<TlsStream<TcpStream>, String> {
    let role = TlsRole::Client { server_name: name.as_str().to_owned(), identity: Identity::Default, alpn };
    let (stream, peer) = tls.handshake(tcp, &role).await.map_err(|why| format!("no TLS: {}", text::escaped(&why.text, 200)))?;
    let certificate = peer.certificate.ok_or("it shows no certificate")?;
    certificate.chain.map_err(|fault| format!("its certificate proves nothing: {fault}"))?;
    let is_named = |shown: &PeerName| matches!(shown, PeerName::Dns(shown) if dns_name_matches(shown, name, true));
    if !certificate.names.iter().any(is_named) {
        return Err(format!("its certificate does not name {name}"));
    }
    Ok(stream)
}
