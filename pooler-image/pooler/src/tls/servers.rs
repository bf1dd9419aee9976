//! TLS towards PostgreSQL: we are the client.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use pgpooler_config::{Document, TlsMode};
use pgpooler_core::handshake::ALPN;
use pgpooler_trust::{Trust, Verifier};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::clients::certified;
use super::files::{Authorities, Pair, Pem, ServerFiles, TlsError};
use super::{Protocol, Session, VERSIONS, provider};

/// How PostgreSQL is spoken to.
#[derive(Debug, Clone, Default)]
pub struct ServerTls {
    /// Whether, and what its certificate must be.
    pub mode: TlsMode,
    config: Option<Arc<ClientConfig>>,
    /// The last second of our certificate's validity, since 1970, if we have one.
    pub not_after: Option<i64>,
}

impl ServerTls {
    pub(crate) fn build(document: &Document, files: &ServerFiles) -> Result<Self, TlsError> {
        let mode = document.server_tls_sslmode;
        if mode == TlsMode::Disable {
            return Ok(Self::default());
        }
        Self::with(mode, trust(mode, &files.authorities)?, files.pair.as_ref(), &[])
    }

    fn with(mode: TlsMode, trust: Trust, pair: Option<&Pair>, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let provider = provider();
        let verifier = Verifier::new(trust, &provider);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)
            .map_err(TlsError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut not_after = None;
        let mut config = match pair {
            Some(pair) => {
                let (pair, leaf) = certified(pair, &provider)?;
                not_after = Some(leaf.not_after);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
            None => builder.with_no_client_auth(),
        };
        // PostgreSQL resumes nothing
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { mode, config: Some(Arc::new(config)), not_after })
    }

    /// For peers with a certificate of this authority.
    pub(super) fn internal(authority: &Pem) -> Result<Self, TlsError> {
        // the authority itself is no peer
        let trust = Trust::Named { roots: authority.roots()?, known: Vec::new() };
        Self::with(TlsMode::VerifyFull, trust, None, &[ALPN])
    }

    /// For whoever proves otherwise who it is.
    pub(crate) fn of_anybody() -> Result<Self, TlsError> {
        let document = Document { server_tls_sslmode: TlsMode::Require, ..Document::default() };
        Self::build(&document, &ServerFiles::default())
    }

    /// For a connection to the host that a document names so, at this address. None: no TLS with this mode.
    pub fn peer(&self, host: &str, address: IpAddr) -> io::Result<Option<TlsPeer>> {
        let Some(config) = &self.config else { return Ok(None) };
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            // not a name that could be checked or asked for; where nobody checks, it need not be
            Err(error) if self.mode == TlsMode::VerifyFull => return Err(io::Error::other(error)),
            Err(_) => ServerName::from(address),
        };
        Ok(Some(TlsPeer { config: Arc::clone(config), name, protocol: None }))
    }
}

/// How a connection gets its TLS, and another to the same server the same: for requests to cancel.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// What the connection has agreed on.
    pub(crate) protocol: Option<Protocol>,
}

impl TlsPeer {
    /// After the handshake of the first connection.
    pub(crate) fn agreed(self, session: Option<&Session>) -> Self {
        Self { protocol: session.and_then(Session::protocol), ..self }
    }

    /// A fresh one.
    pub fn session(&self) -> io::Result<Session> {
        Session::connect(Arc::clone(&self.config), self.name.clone())
    }
}

/// As PgBouncer: below `verify-ca` a certificate is not looked at, whatever authorities are known.
fn trust(mode: TlsMode, authorities: &Authorities) -> Result<Trust, TlsError> {
    if mode < TlsMode::VerifyCa {
        return Ok(Trust::Anybody);
    }
    let (roots, known) = match authorities {
        Authorities::File(pem) => (pem.roots()?, pem.certificates()?),
        Authorities::Unset | Authorities::System => (system_roots()?, Vec::new()),
    };
    let known_by_name = mode == TlsMode::VerifyFull;
    Ok(if known_by_name { Trust::Named { roots, known } } else { Trust::Authorities { roots, known } })
}

fn system_roots() -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        Err(TlsError::NoSystemAuthorities { what: "server_tls_ca_file" })
    } else {
        Ok(roots)
    }
}
