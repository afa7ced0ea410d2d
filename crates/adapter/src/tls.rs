//! TLS, as an adapter sees it: it says which side it is and what name it shows, and learns what the peer proved.
//!
//! The driver checks the chain and the signature of every certificate, and never refuses one by itself: which
//! names and faults are acceptable is the platform's rule and the link's setting, so the adapter decides.

use std::fmt;

use interchange_model::{Domain, Fault};

/// Which side of a handshake to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsRole {
    /// Answer the handshake. A client certificate is asked for and not required.
    Server {
        /// Which of our certificates to show.
        identity: Identity,
        /// Application protocols offered, first best; empty: none.
        alpn: &'static [&'static str],
    },
    /// Begin the handshake.
    Client {
        /// The name the peer is expected to have: sent as SNI. The adapter checks the certificate against it.
        server_name: String,
        /// Which of our certificates to show when asked.
        identity: Identity,
        /// Application protocols offered; empty: none.
        alpn: &'static [&'static str],
    },
}

/// Which of the hub's certificates to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The one whose names include this domain; else the one for the name in the peer's SNI; else the default.
    Domain(Domain),
    /// The one for the name in the peer's SNI; else the default.
    Default,
}

/// What the peer of a finished handshake showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsPeer {
    /// Its certificate, whose private key it has proved to hold; `None` when it showed none.
    pub certificate: Option<PeerCertificate>,
    /// The SNI it sent, when it was the client.
    pub server_name: Option<String>,
    /// The application protocol agreed on.
    pub alpn: Option<String>,
    /// `TLSv1.2` or `TLSv1.3`, for the log.
    pub version: &'static str,
}

/// A peer's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Whether it leads to a trusted authority, is valid now, and may be used for this.
    pub chain: Result<(), ChainFault>,
    /// The names in its subjectAltName extension, in order (RFC 6125 §6.4.4).
    pub names: Vec<PeerName>,
    /// SHA-256 of its SubjectPublicKeyInfo, for pins.
    pub key_sha256: [u8; 32],
    /// SHA-256 of the whole certificate: its fingerprint in a session description (RFC 8122 §5).
    pub fingerprint: [u8; 32],
    /// Subject, for the log: at most 200 characters, control characters escaped.
    pub subject: String,
}

/// A name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerName {
    /// dNSName, lower case; may begin with `*.`.
    Dns(String),
    /// uniformResourceIdentifier, as written: `sip:b.example`.
    Uri(String),
    /// id-on-dnsSRV (RFC 4985), lower case: `_xmpp-server.a.example`.
    Srv(String),
    /// id-on-xmppAddr (RFC 6120 §13.7.1.4), as written.
    XmppAddr(String),
    /// The common name of its subject, lower case: only of a certificate without any subjectAltName, and no proof but where a platform says so.
    Common(String),
}

/// Which rule a chain breaks. A closed set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainFault {
    /// It does not lead to an authority we trust (also: a missing intermediate).
    UnknownAuthority,
    /// It is signed by nobody but itself.
    SelfSigned,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It may not be used for TLS authentication, neither of a server nor of a client.
    WrongUse,
    /// Revoked.
    Revoked,
    /// Anything else: unreadable, bad signature, too long a chain.
    Invalid(String),
}

impl From<&ChainFault> for Fault {
    fn from(fault: &ChainFault) -> Self {
        match fault {
            ChainFault::UnknownAuthority => Fault::CertificateUntrusted,
            ChainFault::SelfSigned => Fault::CertificateSelfSigned,
            ChainFault::Expired => Fault::CertificateExpired,
            ChainFault::NotYetValid => Fault::CertificateNotYetValid,
            ChainFault::WrongUse => Fault::CertificateWrongUse,
            ChainFault::Revoked => Fault::CertificateRevoked,
            ChainFault::Invalid(_) => Fault::CertificateInvalid,
        }
    }
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainFault::UnknownAuthority => {
                f.write_str("it does not lead to a trusted authority (or an intermediate certificate is missing)")
            }
            ChainFault::SelfSigned => f.write_str("it is signed by nobody but itself, and so by no trusted authority"),
            ChainFault::Expired => f.write_str("it has expired"),
            ChainFault::NotYetValid => f.write_str("it is not valid yet"),
            ChainFault::WrongUse => f.write_str("it may not be used for TLS"),
            ChainFault::Revoked => f.write_str("it was revoked"),
            ChainFault::Invalid(why) => write!(f, "it is invalid: {why}"),
        }
    }
}
