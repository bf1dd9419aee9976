//! TLS on both sides.
//!
//! ```text
//! files: what the document names is read -> clients, servers: checked and made ready, one generation
//! records: one connection in memory; session: the same over its socket
//! ```
//!
//! A generation is never changed: a reload makes another, and handshakes under way keep theirs.

mod clients;
mod files;
mod internal;
mod protocol;
mod records;
mod servers;
mod session;

use std::path::Path;
use std::sync::Arc;

use pgpooler_config::Document;
use pgpooler_core::certificate::Certificate;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;

pub use clients::ClientTls;
pub(crate) use clients::Demand;
use files::Files;
pub use files::{Content, TlsError};
pub(crate) use internal::Greeting;
pub use internal::InternalTls;
pub use protocol::Protocol;
pub use servers::{ServerTls, TlsPeer};
pub use session::Session;

/// The versions that we speak.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// One generation of certificates, keys and authorities.
#[derive(Debug, Default)]
pub struct Tls {
    /// Towards clients; none: no TLS.
    pub clients: Option<ClientTls>,
    /// Towards PostgreSQL.
    pub servers: ServerTls,
    /// Towards other poolers, which offer what we offer.
    pub peers: ServerTls,
    /// Inside the fleet; none: peers are spoken to as above.
    pub internal: Option<InternalTls>,
    digests: Vec<(&'static str, [u8; 32])>,
}

impl Tls {
    /// Takes the files that the document names and checks them. Relative paths are relative to `folder`, for whoever reads
    /// an error.
    pub fn load(document: &Document, folder: &Path, content: Content<'_>) -> Result<Self, TlsError> {
        Self::build(document, &Files::read(document, folder, content)?)
    }

    /// The same, if the content of any file differs from what this was made of.
    pub fn renew(
        &self,
        document: &Document,
        folder: &Path,
        content: Content<'_>,
    ) -> Result<Option<Self>, TlsError> {
        let files = Files::read(document, folder, content)?;
        if files.digests() == self.digests {
            return Ok(None);
        }
        Self::build(document, &files).map(Some)
    }

    /// The settings that name files with another content.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let unequal = |one: &Self, two: &Self| {
            let known = two.digests.clone();
            one.digests
                .clone()
                .into_iter()
                .filter(move |digest| !known.contains(digest))
                .map(|(name, _)| name)
        };
        let mut names: Vec<_> = unequal(self, other).chain(unequal(other, self)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn build(document: &Document, files: &Files) -> Result<Self, TlsError> {
        let clients = files.clients.as_ref().map(|files| ClientTls::build(document, files)).transpose()?;
        let servers = ServerTls::build(document, &files.servers)?;
        let peers = if clients.is_some() { ServerTls::of_anybody()? } else { ServerTls::default() };
        let internal = files.internal.as_ref().map(InternalTls::build).transpose()?;
        Ok(Self { clients, servers, peers, internal, digests: files.digests() })
    }
}

/// What a client's certificate says about it, once it was checked against `client_tls_ca_file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The common name of its subject: PostgreSQL's `cert` method compares it with the user.
    pub common_name: Option<String>,
}

impl PeerCertificate {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        // rustls has read it already; should we fail to, nobody is named
        let common_name =
            Certificate::parse(certificate).ok().and_then(|certificate| certificate.common_name);
        Self { common_name }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
