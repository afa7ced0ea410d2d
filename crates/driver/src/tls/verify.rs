//! Verifiers that let every certificate through, and the judgement on its chain that is made after the handshake.

use std::fmt;
use std::sync::Arc;

use interchange_adapter::{ChainFault, PeerCertificate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

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
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    /// For certificates that are for clients only; `None` when no authority is trusted.
    client: Option<Arc<dyn ClientCertVerifier>>,
}

impl Judge {
    pub(super) fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let roots = Arc::new(roots);
        let client = if roots.is_empty() {
            None
        } else {
            let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
            Some(builder.build().map_err(|error| error.to_string())?)
        };
        Ok(Self { roots, algorithms: provider.signature_verification_algorithms, client })
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
        let chain = self.chain(leaf, &parsed, intermediates, UnixTime::now()).map_err(|error| {
            // The library calls a self-signed certificate that says "I am an authority" a misuse; to a person it is unknown.
            let own = read.as_ref().is_some_and(Leaf::is_self_issued);
            match fault(&error) {
                ChainFault::Invalid(_) if own => ChainFault::UnknownAuthority,
                fault => fault,
            }
        });
        Ok(PeerCertificate {
            chain,
            names: read.as_ref().map(Leaf::names).unwrap_or_default(),
            key_sha256,
            subject: read.as_ref().map(Leaf::subject).unwrap_or_default(),
        })
    }

    /// Public authorities issue certificates for servers only, also to servers that act as clients; so either use is enough.
    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let as_server = verify_server_cert_signed_by_trust_anchor(parsed, &self.roots, intermediates, now, self.algorithms.all);
        match (as_server, &self.client) {
            (Err(error), Some(client)) if fault(&error) == ChainFault::WrongUse => {
                client.verify_client_cert(leaf, intermediates, now).map(|_| ())
            }
            (result, _) => result,
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
