//! TLS 1.2 and 1.3: the hub's certificates, the authorities it trusts, and handshakes that accept any certificate and record
//! what is wrong with it.
//!
//! The adapter decides what a peer's certificate is good for, so a handshake fails only where TLS itself fails: a bad
//! signature, no common version. A client certificate is asked for, never required.
//!
//! Sessions are not resumed: links live for hours, a full handshake costs a millisecond, and so every connection proves its
//! certificate afresh, is judged by today's date and authorities, and never inherits what was proved under another of the
//! hub's certificates.

mod expiry;
mod identity;
mod load;
mod peer;
mod revocation;
mod verify;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use interchange_adapter::{CloseReason, Identity, TlsPeer, TlsRole};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, CommonState, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

pub use expiry::expiry_is_due;
pub use identity::HubCertificate;
pub use load::{CertificateWarning, Roots, TlsFileError};
pub use peer::peer_certificate_names;
pub use revocation::RevocationWarning;

use identity::{Choice, Identities};
use verify::{AcceptAny, Judge};

use crate::text;

/// The one place that names the cryptography in use.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// The hub's certificates and trusted authorities. Clones share one state, so [`Tls::replace`] reaches all of them: new
/// handshakes use what is new, connections that stand go on.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<RwLock<Arc<State>>>,
}

/// Why certificates cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The index of the default certificate is not one of the list.
    #[error("the default certificate is number {default}, and there are {count}")]
    NoDefault {
        /// The index given, from 0.
        default: usize,
        /// How many certificates there are.
        count: usize,
    },
    /// The TLS library refuses the configuration.
    #[error("TLS cannot be configured: {0}")]
    Configuration(String),
}

#[derive(Debug)]
struct State {
    /// To be cloned and given a certificate; everything costly in it is shared.
    server: ServerConfig,
    client: ClientConfig,
    identities: Arc<Identities>,
    judge: Judge,
}

impl Tls {
    /// The certificates the hub may show, which of them when no name decides, and the authorities that peers' certificates
    /// must lead to. Without any certificate, handshakes as a server fail, and as a client none is shown.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(certificates: Vec<HubCertificate>, default: usize, roots: Roots) -> Result<Self, TlsError> {
        let state = State::new(certificates, default, roots)?;
        Ok(Self { current: Arc::new(RwLock::new(Arc::new(state))) })
    }

    /// Takes new certificates and authorities into use, for all clones, from the next handshake on.
    ///
    /// # Errors
    /// [`TlsError`]; then the old ones stay in use.
    pub fn replace(&self, certificates: Vec<HubCertificate>, default: usize, roots: Roots) -> Result<(), TlsError> {
        let state = Arc::new(State::new(certificates, default, roots)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    fn current(&self) -> Arc<State> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The handshake, and what the peer showed in it; else why not, for a person (it may hold text from outside).
    pub(crate) async fn handshake(&self, tcp: TcpStream, role: &TlsRole) -> Result<(TlsStream<TcpStream>, TlsPeer), Unsecured> {
        let state = self.current();
        let stream: TlsStream<TcpStream> = match role {
            TlsRole::Server { identity, alpn } => {
                if state.identities.is_empty() {
                    return Err(Unsecured::failed("the hub has no certificate to show; configure one"));
                }
                let acceptor = TlsAcceptor::from(Arc::new(state.server_config(identity, alpn)));
                acceptor.accept(tcp).await.map_err(|error| explain(&error))?.into()
            }
            TlsRole::Client { server_name, identity, alpn } => {
                let name = ServerName::try_from(server_name.clone()).map_err(|_| {
                    Unsecured::failed(format!("`{}` is not a name that TLS can ask for", text::escaped(server_name, 100)))
                })?;
                let connector = TlsConnector::from(Arc::new(state.client_config(identity, alpn)));
                connector.connect(name, tcp).await.map_err(|error| explain(&error))?.into()
            }
        };
        let (common, server_name): (&CommonState, Option<String>) = match &stream {
            TlsStream::Server(stream) => {
                let connection = stream.get_ref().1;
                (connection, connection.server_name().map(str::to_owned))
            }
            TlsStream::Client(stream) => (stream.get_ref().1, None),
        };
        let certificate = match common.peer_certificates() {
            Some([leaf, intermediates @ ..]) => {
                Some(state.judge.examine(leaf, intermediates).map_err(|error| Unsecured::failed(error.to_string()))?)
            }
            _ => None,
        };
        let peer = TlsPeer {
            certificate,
            server_name,
            alpn: common.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            version: match common.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "unknown",
            },
        };
        Ok((stream, peer))
    }
}

impl State {
    fn new(certificates: Vec<HubCertificate>, default: usize, roots: Roots) -> Result<Self, TlsError> {
        let count = certificates.len();
        if default >= count && !(count == 0 && default == 0) {
            return Err(TlsError::NoDefault { default, count });
        }
        let configuration = |error: rustls::Error| TlsError::Configuration(error.to_string());
        let identities = Arc::new(Identities::new(certificates, default));
        let accept_any = Arc::new(AcceptAny::new(provider()));

        let mut server = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(configuration)?
            .with_client_cert_verifier(accept_any.clone())
            .with_cert_resolver(Arc::new(Choice::new(identities.clone(), &Identity::Default)));
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(configuration)?
            .dangerous()
            .with_custom_certificate_verifier(accept_any)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();

        let judge = Judge::new(roots, provider()).map_err(TlsError::Configuration)?;
        Ok(Self { server, client, identities, judge })
    }

    fn server_config(&self, identity: &Identity, alpn: &[&str]) -> ServerConfig {
        let mut config = self.server.clone();
        config.cert_resolver = Arc::new(Choice::new(self.identities.clone(), identity));
        config.alpn_protocols = protocols(alpn);
        config
    }

    fn client_config(&self, identity: &Identity, alpn: &[&str]) -> ClientConfig {
        let mut config = self.client.clone();
        config.client_auth_cert_resolver = Arc::new(Choice::new(self.identities.clone(), identity));
        config.alpn_protocols = protocols(alpn);
        config
    }
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// A handshake that failed.
#[derive(Debug)]
pub(crate) struct Unsecured {
    /// `TlsFailed` or `CertificateRefused`.
    pub(crate) why: CloseReason,
    /// The same for a person; it may hold text from outside.
    pub(crate) text: String,
    /// The peer knows no version of TLS, or no cipher suite, that the hub knows.
    pub(crate) is_incompatible: bool,
}

impl Unsecured {
    fn failed(text: impl Into<String>) -> Self {
        Self { why: CloseReason::TlsFailed, text: text.into(), is_incompatible: false }
    }
}

/// Whether a peer ends a connection because of our certificate (RFC 8446 §6.2), and not for any other reason.
pub(crate) fn failure_of(error: &rustls::Error) -> CloseReason {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::AlertReceived(
            Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => CloseReason::CertificateRefused,
        _ => CloseReason::TlsFailed,
    }
}

/// What went wrong in a handshake, and what to check.
fn explain(error: &std::io::Error) -> Unsecured {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Unsecured::failed(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the peer closed the connection during the handshake".to_owned(),
            _ => error.to_string(),
        });
    };
    let is_incompatible = matches!(
        inner,
        rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion)
    );
    let advice = match inner {
        _ if is_incompatible => "; the hub speaks TLS 1.2 and 1.3 only",
        rustls::Error::AlertReceived(_) => "; the peer's log says why it refused",
        rustls::Error::InvalidMessage(_) => "; does the peer speak TLS on this port at once, or only after STARTTLS?",
        _ => "",
    };
    Unsecured { why: failure_of(inner), text: format!("{inner}{advice}"), is_incompatible }
}
