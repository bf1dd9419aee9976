//! Certificates that live as long as a test, and clients that speak TLS.

use std::{
    io::{self, BufRead as _, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

/// Signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// How a [`RawClient`](crate::RawClient) begins TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Without SSLRequest.
    pub direct: bool,
    /// The server that is asked for; none: `localhost`.
    pub server_name: Option<String>,
    /// Protocols offered in ALPN.
    pub alpn: Vec<String>,
    /// Shown to a server that asks.
    pub identity: Option<Certified>,
    /// TLS 1.2 only.
    pub old: bool,
}

impl Authority {
    /// A fresh one.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate with this common name, for these hosts.
    pub fn certify(&self, common_name: &str, hosts: &[&str]) -> Result<Certified> {
        self.certify_key(common_name, hosts, &KeyPair::generate()?)
    }

    fn certify_key(&self, common_name: &str, hosts: &[&str], key: &KeyPair) -> Result<Certified> {
        let certificate = params(common_name, hosts)?.signed_by(key, &self.issuer)?;
        Ok(Certified { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(common_name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

impl Certified {
    /// A certificate that nobody but itself has signed.
    pub fn self_signed(common_name: &str, hosts: &[&str]) -> Result<Self> {
        Self::self_signed_with(common_name, hosts, &KeyPair::generate()?)
    }

    /// The same with a key of Ed25519.
    pub fn self_signed_ed25519(common_name: &str, hosts: &[&str]) -> Result<Self> {
        Self::self_signed_with(common_name, hosts, &KeyPair::generate_for(&rcgen::PKCS_ED25519)?)
    }

    fn self_signed_with(common_name: &str, hosts: &[&str], key: &KeyPair) -> Result<Self> {
        let certificate = params(common_name, hosts)?.self_signed(key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Writes `NAME.crt` and `NAME.key`; their paths.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        use std::os::unix::fs::PermissionsExt as _;
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&certificate, &self.certificate)?;
        std::fs::write(&key, &self.key)?;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
        Ok((certificate, key))
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => &stream.sock,
        }
    }

    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                stream.conn.peer_certificates()?.first().map(|certificate| certificate.to_vec())
            }
        }
    }

    /// Waits for something to read; whether there is something, and not the end.
    pub(crate) fn wait(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(tcp) => tcp.peek(&mut [0]).map(|length| length > 0),
            Self::Tls(stream) => stream.fill_buf().map(|bytes| !bytes.is_empty()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// How a client begins TLS; whatever certificate the server has is good.
pub fn client_config(options: &TlsOptions) -> Result<ClientConfig> {
    let versions: &[&SupportedProtocolVersion] =
        if options.old { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    let mut config = match &options.identity {
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
            builder.with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = options.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(config)
}

/// TLS over a connection.
pub(crate) fn secure(tcp: TcpStream, options: &TlsOptions) -> Result<Stream> {
    let config = client_config(options)?;
    let name = options.server_name.clone().unwrap_or_else(|| "localhost".to_owned());
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(name)?)?;
    let mut stream = StreamOwned::new(connection, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).context("TLS handshake")?;
    }
    Ok(Stream::Tls(Box::new(stream)))
}

#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
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
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
