//! Verifiers that let every certificate through, and the judgement on its chain that is made after the handshake.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use interchange_adapter::{ChainFault, PeerCertificate};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

use super::load::Roots;
use super::peer::Leaf;
use crate::text;

/// Accepts any chain; the proof that the peer holds the private key is checked as usual.
pub(super) struct AcceptAny {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AcceptAny {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl fmt::Debug for AcceptAny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcceptAny")
    }
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for AcceptAny {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    // No list: a client with any certificate shall show it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Judges the chain that a peer showed.
#[derive(Debug)]
pub(super) struct Judge {
    /// `None` when no authority is trusted.
    verifiers: Option<Verifiers>,
}

#[derive(Debug)]
struct Verifiers {
    server: Arc<WebPkiServerVerifier>,
    /// For certificates that are for clients only.
    client: Arc<dyn ClientCertVerifier>,
}

impl Judge {
    pub(super) fn new(roots: Roots, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let (roots, lists) = roots.into_parts();
        if roots.is_empty() {
            return Ok(Self { verifiers: None });
        }
        let roots = Arc::new(roots);
        let lists = || lists.iter().map(|list| list.der.clone());
        // An authority without a list has said nothing. A list past its nextUpdate still counts, with a warning in the log: what it names is
        // revoked, and to refuse everything else would take down every link when one copying job fails.
        let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .with_crls(lists())
            .allow_unknown_revocation_status();
        let client = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .with_crls(lists())
            .allow_unknown_revocation_status();
        let server = server.build().map_err(|error| error.to_string())?;
        let client = client.build().map_err(|error| error.to_string())?;
        Ok(Self { verifiers: Some(Verifiers { server, client }) })
    }

    /// What a certificate proves, now. An error only where the handshake's signature could not have been checked either.
    pub(super) fn examine(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<PeerCertificate, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let key_sha256 = Sha256::digest(parsed.subject_public_key_info().as_ref()).into();
        let read = Leaf::read(leaf);
        let chain = self.chain(leaf, intermediates, UnixTime::now()).map_err(|error| {
            // The library calls a self-signed certificate that says "I am an authority" a misuse, and any other one unknown.
            let own = read.as_ref().is_some_and(Leaf::is_self_issued);
            match fault(&error) {
                ChainFault::Invalid(_) | ChainFault::UnknownAuthority if own => ChainFault::SelfSigned,
                fault => fault,
            }
        });
        // The library looks at the extended usages only.
        let chain = match chain {
            Ok(()) if read.as_ref().is_some_and(|leaf| !leaf.may_sign()) => Err(ChainFault::WrongUse),
            chain => chain,
        };
        Ok(PeerCertificate {
            chain,
            names: read.as_ref().map(Leaf::names_or_common).unwrap_or_default(),
            key_sha256,
            fingerprint: Sha256::digest(leaf.as_ref()).into(),
            subject: read.as_ref().map(Leaf::subject).unwrap_or_default(),
        })
    }

    /// Public authorities issue certificates for servers only, also to servers that act as clients; so either use is enough.
    fn chain(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let Some(verifiers) = &self.verifiers else {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        // The names are for the adapter to judge. The library looks at them last, so a name that no certificate has is the one fault left.
        let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
        match verifiers.server.verify_server_cert(leaf, intermediates, &nobody, &[], now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(()),
            Err(error) if fault(&error) == ChainFault::WrongUse => {
                verifiers.client.verify_client_cert(leaf, intermediates, now).map(|_| ())
            }
            Err(error) => Err(error),
        }
    }
}

fn fault(error: &Error) -> ChainFault {
    use CertificateError as E;
    match error {
        Error::InvalidCertificate(why) => match why {
            E::UnknownIssuer => ChainFault::UnknownAuthority,
            E::Expired | E::ExpiredContext { .. } => ChainFault::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => ChainFault::NotYetValid,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => ChainFault::WrongUse,
            E::Revoked => ChainFault::Revoked,
            other => ChainFault::Invalid(text::escaped(&other.to_string(), 200)),
        },
        other => ChainFault::Invalid(text::escaped(&other.to_string(), 200)),
    }
}
