//! TLS towards clients: we are the server.

use std::io;
use std::sync::Arc;

use pgpooler_config::{Document, TlsMode};
use pgpooler_core::certificate::Certificate;
use pgpooler_core::handshake::ALPN;
use pgpooler_core::scram::EndPoint;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::files::{ClientFiles, Pair, Pem, TlsError};
use super::{Session, VERSIONS, provider};

/// What clients are offered, and what they must have.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ServerConfig>,
    pub(crate) demand: Demand,
    /// What SCRAM binds a login to; none for certificates that have no such thing.
    pub(crate) end_point: Option<EndPoint>,
    /// The last second of our certificate's validity, since 1970.
    pub not_after: i64,
}

/// What a client must have to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Demand {
    Nothing,
    Encryption,
    /// Of a known authority.
    Certificate,
}

impl ClientTls {
    /// For a client that asks for TLS. `begun`: what was read of its first message.
    pub fn session(&self, begun: Vec<u8>) -> io::Result<Session> {
        Session::accept(Arc::clone(&self.config), begun)
    }

    pub(crate) fn build(document: &Document, files: &ClientFiles) -> Result<Self, TlsError> {
        let demand = match document.client_tls_sslmode {
            TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer => Demand::Nothing,
            TlsMode::Require => Demand::Encryption,
            TlsMode::VerifyCa | TlsMode::VerifyFull => Demand::Certificate,
        };
        Self::with(&files.pair, files.authorities.as_ref(), demand)
    }

    /// With this certificate.
    pub(super) fn with(pair: &Pair, authorities: Option<&Pem>, demand: Demand) -> Result<Self, TlsError> {
        let provider = provider();
        let (pair, leaf) = certified(pair, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)
            .map_err(TlsError::Setup)?;
        let builder = match authorities {
            Some(pem) => builder.with_client_cert_verifier(client_verifier(pem, provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // as in PostgreSQL, nothing is resumed: no PostgreSQL client asks for it
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), demand, end_point: leaf.end_point, not_after: leaf.not_after })
    }
}

/// A client may come without a certificate: what that means is told when it is known who it is.
fn client_verifier(
    pem: &Pem,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(pem.roots()?), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|fault| pem.fault(fault.to_string()))
}

/// What is known of our own certificate.
pub(super) struct Leaf {
    pub(super) end_point: Option<EndPoint>,
    pub(super) not_after: i64,
}

/// Reads a certificate with its key, and checks that they belong together.
pub(super) fn certified(pair: &Pair, provider: &CryptoProvider) -> Result<(CertifiedKey, Leaf), TlsError> {
    let Pair { certificate, key } = pair;
    let chain = certificate.certificates()?;
    let signing =
        provider.key_provider.load_private_key(key.key()?).map_err(|fault| key.fault(fault.to_string()))?;
    let leaf = chain
        .first()
        .map(|leaf| Certificate::parse(leaf))
        .ok_or_else(|| certificate.fault("no certificate in it"))?;
    let leaf = leaf.map_err(|fault| certificate.fault(fault.to_string()))?;
    // an X.509 certificate of version 1 is none to rustls, but clients take it: compared here, not there
    if signing.public_key().is_some_and(|public| public.as_ref() != leaf.key) {
        return Err(key.fault("not the key of the certificate"));
    }
    let leaf = Leaf { end_point: leaf.end_point().map(Into::into), not_after: leaf.not_after };
    Ok((CertifiedKey::new(chain, signing), leaf))
}
