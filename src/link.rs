//! A session on the admin console of one pod, over the TLS of its fleet.
//!
//! The certificate proves that it is a pod of this `PgPooler`, the password that we are its operator.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pgpooler_config::INTERNAL_SERVER_NAME;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Notification};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::names;

/// The database that is the admin console.
const CONSOLE: &str = "pgpooler";

/// PostgreSQL's protocol in ALPN; a server takes no direct TLS connection without it.
const ALPN: &[u8] = b"postgresql";

/// How long a pod may take to accept a connection: an address that is gone does not answer at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How long the TLS handshake and the login may take together.
const LOGIN_LIMIT: Duration = Duration::from_secs(5);

/// No session on a pod's admin console. The text is who was to be reached.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The authority's certificate is none.
    #[error("the authority of the pods cannot be read")]
    Authority(#[source] io::Error),
    /// Nobody listens, or no way there.
    #[error("cannot connect to {0}")]
    Unreachable(String, #[source] io::Error),
    /// No answer in time.
    #[error("{0} did not answer in time")]
    Silent(String),
    /// The TLS handshake failed: another authority, or no TLS of the fleet at all.
    #[error("TLS with {0} failed")]
    Tls(String, #[source] io::Error),
    /// The pod knows another password, or other administrators.
    #[error("{0} refuses the login")]
    Authentication(String, #[source] tokio_postgres::Error),
    /// The login failed otherwise.
    #[error("no login at {0}")]
    Login(String, #[source] tokio_postgres::Error),
}

/// Drives a session, which stands still unless this is polled, and yields the notifications that arrive. It ends with the
/// connection, and with an error if that broke; dropping it closes the connection.
#[must_use = "the session stands still unless this is polled"]
pub struct Driver<S = TcpStream> {
    connection: Connection<TlsStream<S>, NoTlsStream>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Driver<S> {
    type Item = Result<Notification, tokio_postgres::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    return Poll::Ready(Some(Ok(notification)));
                }
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    tracing::debug!(notice = notice.message(), "notice of a pod");
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Logs in to the admin console at this address. `ca_pem`: the only authority whose certificates are good.
///
/// Cancel-safe: dropping it closes the connection. Takes no longer than seven seconds.
pub async fn connect(
    address: SocketAddr,
    ca_pem: &[u8],
    password: &str,
) -> Result<(Client, Driver), LinkError> {
    let peer = address.to_string();
    let stream = match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|error| LinkError::Unreachable(peer.clone(), error))?,
        Err(_) => return Err(LinkError::Silent(peer)),
    };
    // without it small commands wait for acknowledgements; a socket that cannot is still a socket
    let _ = stream.set_nodelay(true);
    over(stream, &peer, ca_pem, password).await
}

/// The same over a connection that is there already, such as one that the API server forwards. `peer`: who is at its
/// other end, for errors.
///
/// Cancel-safe: dropping it closes the connection. Takes no longer than five seconds.
pub async fn over<S>(
    stream: S,
    peer: &str,
    ca_pem: &[u8],
    password: &str,
) -> Result<(Client, Driver<S>), LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connector = TlsConnector::from(Arc::new(trusting(ca_pem).map_err(LinkError::Authority)?));
    let login = timeout(LOGIN_LIMIT, login(connector, stream, peer, password));
    login.await.unwrap_or_else(|_| Err(LinkError::Silent(peer.to_owned())))
}

async fn login<S>(
    connector: TlsConnector,
    stream: S,
    peer: &str,
    password: &str,
) -> Result<(Client, Driver<S>), LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = peer.to_owned();
    let failed = |error| LinkError::Tls(peer.clone(), error);
    let name = ServerName::try_from(INTERNAL_SERVER_NAME).map_err(|error| failed(io::Error::other(error)))?;
    let stream = connector.connect(name, stream).await.map_err(failed)?;
    let mut config = tokio_postgres::Config::new();
    config
        .user(names::ADMIN_USER)
        .password(password)
        .dbname(CONSOLE)
        .application_name(names::APPLICATION_NAME)
        // it is there already
        .ssl_mode(SslMode::Disable);
    match config.connect_raw(stream, NoTls).await {
        Ok((client, connection)) => Ok((client, Driver { connection })),
        Err(error) if is_refusal(&error) => Err(LinkError::Authentication(peer, error)),
        Err(error) => Err(LinkError::Login(peer, error)),
    }
}

fn trusting(ca_pem: &[u8]) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other("no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
    error.code().is_some_and(|code| codes.contains(code))
}
