//! Whether a connection to PostgreSQL gets TLS, and what is tried when it does not: libpq's rules.

use std::io;

use pgpooler_config::TlsMode;
use pgpooler_core::wire::frontend;
use tokio::io::AsyncWriteExt as _;

use super::{ConnectErrorKind, Refused};
use crate::socket;
use crate::tls::TlsPeer;
use crate::transport::Transport;

/// How an attempt begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Plain,
    /// With TLS, and without if the server has none.
    TlsIfOffered,
    Tls,
}

/// What the server has answered to SSLRequest.
#[derive(Debug)]
pub(crate) enum Answer {
    /// TLS is there.
    Secured,
    Declined,
    /// Neither yes nor no: an ErrorResponse, or its beginning.
    Error(Vec<u8>),
}

/// The first attempt with this mode.
pub(super) fn first(mode: TlsMode) -> Attempt {
    match mode {
        TlsMode::Disable | TlsMode::Allow => Attempt::Plain,
        TlsMode::Prefer => Attempt::TlsIfOffered,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => Attempt::Tls,
    }
}

/// Another attempt on a new connection, where the first was refused because of TLS or could be.
pub(super) fn second(mode: TlsMode, error: &Refused<Transport>) -> Option<Attempt> {
    let secured = error.stream.as_ref().is_some_and(|stream| stream.tls().is_some());
    let unauthorized = error.kind.sqlstate().is_some_and(|sqlstate| sqlstate.as_str().starts_with("28"));
    match mode {
        TlsMode::Allow if unauthorized => Some(Attempt::Tls),
        TlsMode::Prefer if matches!(error.kind, ConnectErrorKind::Tls(_)) => Some(Attempt::Plain),
        TlsMode::Prefer if unauthorized && secured => Some(Attempt::Plain),
        _ => None,
    }
}

/// Asks the server for TLS. Not cancel-safe.
pub(crate) async fn ask(stream: &mut Transport, peer: &TlsPeer) -> Result<Answer, ConnectErrorKind> {
    let mut request = Vec::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(ConnectErrorKind::Lost)?;
    let mut answer = Vec::new();
    let length = socket::read_more(stream, &mut answer).await.map_err(ConnectErrorKind::Lost)?;
    match answer.first() {
        // a man in the middle can have put it there (CVE-2021-23222)
        Some(b'S') if length > 1 => return Err(ConnectErrorKind::EarlyData),
        Some(b'S') => {}
        Some(b'N') if length == 1 => return Ok(Answer::Declined),
        Some(b'E') => return Ok(Answer::Error(answer)),
        Some(_) => return Err(ConnectErrorKind::NotPostgres),
        None => return Err(ConnectErrorKind::Lost(io::ErrorKind::UnexpectedEof.into())),
    }
    begin(stream, peer).await?;
    Ok(Answer::Secured)
}

/// Begins TLS without asking. Not cancel-safe.
pub(super) async fn begin(stream: &mut Transport, peer: &TlsPeer) -> Result<(), ConnectErrorKind> {
    let session = peer.session().map_err(ConnectErrorKind::Tls)?;
    stream.secure(session).await.map_err(ConnectErrorKind::Tls)
}
