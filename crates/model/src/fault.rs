//! What keeps a link from working, as far as somebody knows it exactly.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One kind of trouble with a link. A closed set: each has a stable label, which programs may act on, and a remedy for every server product
/// (crate `interchange-guide`). The sentence that comes with it names hosts, addresses and names of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The name servers did not say where the server is.
    DnsFailed,
    /// There is no SRV record, and nothing else says where the server is.
    NoService,
    /// The domain's DNS says that the service is not offered there (RFC 2782: a target of `.`).
    ServiceNotOffered,
    /// A host has no address in DNS.
    NoAddress,
    /// The address is of a private network that the hub was not told to dial into.
    AddressNotAllowed,
    /// Nobody listens there.
    PortClosed,
    /// Nobody answers there: a firewall drops it, or the machine is off.
    NoConnection,
    /// The connection stands, and the server says nothing.
    Silent,
    /// The connection broke, or the server ended it.
    Disconnected,
    /// What answers there does not speak the protocol of the link.
    WrongProtocol,
    /// The server offers no TLS, and the link requires it.
    NoTls,
    /// The TLS handshake failed.
    TlsFailed,
    /// The server shows no certificate.
    NoCertificate,
    /// Its certificate has expired.
    CertificateExpired,
    /// Its certificate is not valid yet: also what a wrong clock looks like.
    CertificateNotYetValid,
    /// Its certificate leads to no authority that the hub trusts, or an intermediate certificate is missing.
    CertificateUntrusted,
    /// Its certificate is signed by nobody but itself.
    CertificateSelfSigned,
    /// Its certificate may not be used for TLS.
    CertificateWrongUse,
    /// Its certificate was revoked.
    CertificateRevoked,
    /// Its certificate cannot be read or is wrongly signed.
    CertificateInvalid,
    /// Its certificate names somebody else.
    CertificateName,
    /// Its key is none of those pinned for the link.
    KeyNotPinned,
    /// The server offers no way of authentication that the link allows.
    NoAuthentication,
    /// The server does not believe the hub's certificate, or does not know the hub.
    AuthenticationRefused,
    /// The server did not accept the hub's dialback key.
    DialbackRefused,
    /// The server does not serve the domain.
    HostUnknown,
    /// The server takes what the hub sends, and its answers do not reach the hub.
    NoWayBack,
    /// The server has asked the hub to pause.
    Throttled,
    /// The link's settings have the hub wait for the server to connect, and it has not.
    NotConnected,
    /// The link's settings cannot be used.
    Settings,
    /// The hub's own certificate has expired or is not valid yet.
    OwnCertificateTime,
    /// The hub's own certificate does not name the hub's domain.
    OwnCertificateName,
    /// The hub has no listener where the server could connect.
    NoListener,
    /// The member has no partner, so its people reach nobody but the hub's own user.
    NoPartner,
    /// Messages wait for the link.
    Backlog,
    /// The server refuses messages that the hub delivers.
    MessagesRefused,
    /// Nothing has come from the member's people since the hub started.
    NothingCame,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::DnsFailed,
        Self::NoService,
        Self::ServiceNotOffered,
        Self::NoAddress,
        Self::AddressNotAllowed,
        Self::PortClosed,
        Self::NoConnection,
        Self::Silent,
        Self::Disconnected,
        Self::WrongProtocol,
        Self::NoTls,
        Self::TlsFailed,
        Self::NoCertificate,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateUntrusted,
        Self::CertificateSelfSigned,
        Self::CertificateWrongUse,
        Self::CertificateRevoked,
        Self::CertificateInvalid,
        Self::CertificateName,
        Self::KeyNotPinned,
        Self::NoAuthentication,
        Self::AuthenticationRefused,
        Self::DialbackRefused,
        Self::HostUnknown,
        Self::NoWayBack,
        Self::Throttled,
        Self::NotConnected,
        Self::Settings,
        Self::OwnCertificateTime,
        Self::OwnCertificateName,
        Self::NoListener,
        Self::NoPartner,
        Self::Backlog,
        Self::MessagesRefused,
        Self::NothingCame,
    ];

    /// The stable label: `certificate-expired`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::DnsFailed => "dns-failed",
            Self::NoService => "no-service",
            Self::ServiceNotOffered => "service-not-offered",
            Self::NoAddress => "no-address",
            Self::AddressNotAllowed => "address-not-allowed",
            Self::PortClosed => "port-closed",
            Self::NoConnection => "no-connection",
            Self::Silent => "silent",
            Self::Disconnected => "disconnected",
            Self::WrongProtocol => "wrong-protocol",
            Self::NoTls => "no-tls",
            Self::TlsFailed => "tls-failed",
            Self::NoCertificate => "no-certificate",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotYetValid => "certificate-not-yet-valid",
            Self::CertificateUntrusted => "certificate-untrusted",
            Self::CertificateSelfSigned => "certificate-self-signed",
            Self::CertificateWrongUse => "certificate-wrong-use",
            Self::CertificateRevoked => "certificate-revoked",
            Self::CertificateInvalid => "certificate-invalid",
            Self::CertificateName => "certificate-name",
            Self::KeyNotPinned => "key-not-pinned",
            Self::NoAuthentication => "no-authentication",
            Self::AuthenticationRefused => "authentication-refused",
            Self::DialbackRefused => "dialback-refused",
            Self::HostUnknown => "host-unknown",
            Self::NoWayBack => "no-way-back",
            Self::Throttled => "throttled",
            Self::NotConnected => "not-connected",
            Self::Settings => "settings",
            Self::OwnCertificateTime => "own-certificate-time",
            Self::OwnCertificateName => "own-certificate-name",
            Self::NoListener => "no-listener",
            Self::NoPartner => "no-partner",
            Self::Backlog => "backlog",
            Self::MessagesRefused => "messages-refused",
            Self::NothingCame => "nothing-came",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// A fault, and what it is in this case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Which.
    pub fault: Fault,
    /// One sentence for a person: names and addresses, at most 300 characters. Never a secret, never text of a message, no remote text unescaped.
    pub text: String,
}

impl Trouble {
    /// A fault with its sentence.
    pub fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { fault, text: text.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_one_label_everywhere() {
        let labels: std::collections::BTreeSet<&str> = Fault::ALL.into_iter().map(Fault::label).collect();
        assert_eq!(labels.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.label());
        }
    }
}
