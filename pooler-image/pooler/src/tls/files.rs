//! Certificates, keys and authorities in PEM files.

use std::io;
use std::path::{Path, PathBuf};

use pgpooler_config::{Document, SYSTEM, TlsMode};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why TLS cannot be had with these files. The message is for whoever wrote them: it says where, never a secret.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{path}: cannot read {what}: {fault}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        what: &'static str,
        /// Why.
        fault: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {what}: {fault}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        what: &'static str,
        /// What is wrong.
        fault: String,
    },
    /// The system trusts nobody.
    #[error("{what}: the system has no certification authorities")]
    NoSystemAuthorities {
        /// The setting that asks for them.
        what: &'static str,
    },
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// The files that a document needs for TLS, as they were read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) clients: Option<ClientFiles>,
    pub(crate) servers: ServerFiles,
    pub(crate) internal: Option<InternalFiles>,
}

/// For clients.
#[derive(Debug)]
pub(crate) struct ClientFiles {
    pub(crate) pair: Pair,
    pub(crate) authorities: Option<Pem>,
}

/// For PostgreSQL.
#[derive(Debug, Default)]
pub(crate) struct ServerFiles {
    pub(crate) pair: Option<Pair>,
    pub(crate) authorities: Authorities,
}

/// For the admin console and for peers.
#[derive(Debug)]
pub(crate) struct InternalFiles {
    pub(crate) pair: Pair,
    pub(crate) authority: Pem,
}

/// Whose certificates are good.
#[derive(Debug, Default)]
pub(crate) enum Authorities {
    #[default]
    Unset,
    System,
    File(Pem),
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: Pem,
    pub(crate) key: Pem,
}

/// One file, with the setting that names it.
pub(crate) struct Pem {
    what: &'static str,
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Gives the content of a file, by the path that the document has for it.
pub type Content<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

impl Files {
    /// Takes what the document names; in errors, relative paths are relative to `folder`.
    pub(crate) fn read(document: &Document, folder: &Path, content: Content<'_>) -> Result<Self, TlsError> {
        let pem = |what, path: &Path| Pem::of(what, folder.join(path), content(path));
        let read =
            |what, path: &Option<PathBuf>| path.as_ref().map(|path| pem(what, path.as_path())).transpose();
        let pair = |certificate, key| -> Result<Option<Pair>, TlsError> {
            let ((cert_name, cert_path), (key_name, key_path)) = (certificate, key);
            let certificate = read(cert_name, cert_path)?;
            Ok(certificate.zip(read(key_name, key_path)?).map(|(certificate, key)| Pair { certificate, key }))
        };
        let internal = pair(
            ("internal_tls_cert_file", &document.internal_tls_cert_file),
            ("internal_tls_key_file", &document.internal_tls_key_file),
        )?;
        let internal = internal.zip(read("internal_tls_ca_file", &document.internal_tls_ca_file)?);
        let internal = internal.map(|(pair, authority)| InternalFiles { pair, authority });
        let mut files = Self { internal, ..Self::default() };
        if document.client_tls_sslmode != TlsMode::Disable {
            let pair = pair(
                ("client_tls_cert_file", &document.client_tls_cert_file),
                ("client_tls_key_file", &document.client_tls_key_file),
            )?;
            let authorities = read("client_tls_ca_file", &document.client_tls_ca_file)?;
            files.clients = pair.map(|pair| ClientFiles { pair, authorities });
        }
        if document.server_tls_sslmode != TlsMode::Disable {
            files.servers.pair = pair(
                ("server_tls_cert_file", &document.server_tls_cert_file),
                ("server_tls_key_file", &document.server_tls_key_file),
            )?;
            files.servers.authorities = match &document.server_tls_ca_file {
                None => Authorities::Unset,
                Some(path) if path.as_os_str() == SYSTEM => Authorities::System,
                Some(path) => Authorities::File(pem("server_tls_ca_file", path.as_path())?),
            };
        }
        Ok(files)
    }

    /// A digest of each file, under the setting that names it.
    pub(crate) fn digests(&self) -> Vec<(&'static str, [u8; 32])> {
        let pairs = self.clients.iter().map(|clients| &clients.pair).chain(&self.servers.pair);
        let pairs = pairs.chain(self.internal.iter().map(|internal| &internal.pair));
        let mut pems: Vec<_> = pairs.flat_map(|pair| [&pair.certificate, &pair.key]).collect();
        pems.extend(self.internal.iter().map(|internal| &internal.authority));
        pems.extend(self.clients.iter().filter_map(|clients| clients.authorities.as_ref()));
        if let Authorities::File(pem) = &self.servers.authorities {
            pems.push(pem);
        }
        pems.into_iter().map(|pem| (pem.what, Sha256::digest(&*pem.bytes).into())).collect()
    }
}

impl Pem {
    fn of(what: &'static str, path: PathBuf, content: io::Result<Vec<u8>>) -> Result<Self, TlsError> {
        match content {
            Ok(bytes) => Ok(Self { what, path, bytes: Zeroizing::new(bytes) }),
            Err(fault) => Err(TlsError::Read { path, what, fault }),
        }
    }

    /// All certificates in it, at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|fault| self.fault(fault.to_string()))?;
        if certificates.is_empty() { Err(self.fault("no certificate in it")) } else { Ok(certificates) }
    }

    /// The first key in it.
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|fault| match fault {
            pem::Error::NoItemsFound => self.fault("no private key in it; one with a passphrase is none"),
            fault => self.fault(fault.to_string()),
        })
    }

    /// All certificates in it as authorities.
    pub(crate) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|fault| self.fault(fault.to_string()))?;
        }
        Ok(roots)
    }

    pub(crate) fn fault(&self, fault: impl Into<String>) -> TlsError {
        TlsError::Content { path: self.path.clone(), what: self.what, fault: fault.into() }
    }
}
