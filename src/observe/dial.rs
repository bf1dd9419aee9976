//! The way to a target: its name, its addresses, its TLS.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pgpooler_trust::{Trust, Verifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::api::{Reason, TlsMode};
use crate::plan::target::{Host, Target, Tls};

use super::session::{Failure, failure};

/// How long a name or a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What negotiates TLS on a connection to a target.
pub(super) type Connect = <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::TlsConnect;

/// A connection to the first address that answers.
pub(super) async fn dial(host: &Host) -> Result<TcpStream, Failure> {
    let lookup = timeout(PATIENCE, tokio::net::lookup_host((host.name.as_str(), host.port))).await;
    let found: Vec<_> = match lookup {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(not_resolved(host, &error.to_string())),
        Err(_) => return Err(not_resolved(host, "the name server does not answer")),
    };
    let mut last = "the name has no address".to_owned();
    for place in found {
        match timeout(PATIENCE, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => {
                // without it small queries wait for acknowledgements; a socket that cannot is still a socket
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = String::from("no answer in 5 s"),
        }
    }
    let address = host.address();
    Err(failure(
        Reason::Unreachable,
        format!("cannot connect to {address}: {last}; check host and port and that it runs"),
    ))
}

fn not_resolved(host: &Host, why: &str) -> Failure {
    let text = format!("host `{}` has no address: {why}; check spec.target.host or the Secret", host.name);
    failure(Reason::NotResolved, text)
}

/// TLS with a target, as its pods would have it.
pub(super) fn tls(target: &Target, host: &Host) -> Result<(Connect, SslMode), Failure> {
    let mode = match target.tls.mode {
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCA | TlsMode::VerifyFull => SslMode::Require,
    };
    let config = config(&target.tls).map_err(|error| {
        failure(Reason::CertificateInvalid, format!("TLS with {}: {error}", host.address()))
    })?;
    let mut connect = MakeRustlsConnect::new(config);
    // a name that cannot be checked, such as one with `_`, does for whoever does not check it
    let connector =
        MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connect, &host.name).or_else(|error| {
            let checks = target.tls.mode == TlsMode::VerifyFull;
            if checks {
                Err(error)
            } else {
                MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connect, "postgresql")
            }
        });
    connector.map(|connector| (connector, mode)).map_err(|error| {
        failure(Reason::SpecInvalid, format!("`{}` is no name for a certificate: {error}", host.name))
    })
}

fn config(tls: &Tls) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(trust(tls)?, &provider);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.0.as_bytes()).map_err(io::Error::other)?;
            builder.with_client_auth_cert(certificates(&certificate.0)?, key).map_err(io::Error::other)
        }
    }
}

fn trust(tls: &Tls) -> io::Result<Trust> {
    if !tls.mode.verifies() {
        return Ok(Trust::Anybody);
    }
    let known = tls.ca.as_ref().map(|ca| certificates(&ca.0)).transpose()?.unwrap_or_default();
    let mut roots = RootCertStore::empty();
    // what is no authority may still be the server's own certificate
    roots.add_parsable_certificates(known.iter().cloned());
    Ok(match tls.mode {
        TlsMode::VerifyFull => Trust::Named { roots, known },
        _ => Trust::Authorities { roots, known },
    })
}

fn certificates(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(io::Error::other)
}

/// What a failed login means if it failed in the handshake of TLS.
pub(super) fn refusal(error: &tokio_postgres::Error, address: &str) -> Option<Failure> {
    let source = error.source()?;
    let is_tls = error.to_string().contains("TLS")
        || source.downcast_ref::<io::Error>().is_some_and(|error| {
            error.get_ref().is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some())
        });
    is_tls.then(|| {
        let text = format!("TLS with {address} failed: {source}; check spec.target.tls");
        failure(Reason::TlsFailed, text)
    })
}
