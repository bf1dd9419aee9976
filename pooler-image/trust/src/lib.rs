//! Whether a server's certificate will do, as libpq decides it: for the pooler's connections and for the operator's own
//! sessions alike.

use pgpooler_core::certificate::{Certificate, Names};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Which certificates will do.
#[derive(Debug)]
pub enum Trust {
    /// All: an eavesdropper is kept out, an impostor is not.
    Anybody,
    /// Of these authorities, or one of these themselves.
    Authorities {
        /// Those that sign.
        roots: RootCertStore,
        /// Certificates that are good themselves.
        known: Vec<CertificateDer<'static>>,
    },
    /// The same, and with the name of the host.
    Named {
        /// Those that sign.
        roots: RootCertStore,
        /// Certificates that are good themselves.
        known: Vec<CertificateDer<'static>>,
    },
}

/// Decides it for TLS handshakes.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Decides so, with the algorithms of `provider`.
    pub fn new(trust: Trust, provider: &CryptoProvider) -> Self {
        Self { trust, algorithms: provider.signature_verification_algorithms }
    }

    /// Signed by one of the authorities. As with OpenSSL, a certificate is also good if it stands among them itself.
    fn check_chain(
        &self,
        (roots, known): (&RootCertStore, &[CertificateDer<'_>]),
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let chained = ParsedCertificate::try_from(leaf).and_then(|parsed| {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
        });
        if chained.is_err() && known.contains(leaf) {
            let not_after = read(leaf)?.not_after;
            let over = u64::try_from(not_after).is_ok_and(|not_after| not_after < now.as_secs());
            return if over { Err(CertificateError::Expired.into()) } else { Ok(()) };
        }
        chained
    }
}

/// The host's name among the certificate's names; without any, as its common name.
fn check_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let named = ParsedCertificate::try_from(leaf).and_then(|parsed| verify_server_name(&parsed, name));
    let Err(error) = named else { return Ok(()) };
    let certificate = read(leaf)?;
    if certificate.names == Names::CommonNameOnly && certificate.is_named(&name.to_str()) {
        return Ok(());
    }
    Err(error)
}

fn read<'a>(leaf: &'a CertificateDer<'_>) -> Result<Certificate<'a>, Error> {
    Certificate::parse(leaf).map_err(|_| CertificateError::BadEncoding.into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Anybody => {}
            Trust::Authorities { roots, known } => {
                self.check_chain((roots, known), leaf, intermediates, now)?;
            }
            Trust::Named { roots, known } => {
                self.check_chain((roots, known), leaf, intermediates, now)?;
                check_name(leaf, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    /// By the key alone: a certificate of X.509 version 1 is none to rustls, and PostgreSQL's manual shows how to make one.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(read(leaf)?.key);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
