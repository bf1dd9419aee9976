//! How large the server is, asked on a connection that nobody uses yet.

use std::io;
use std::time::Instant;

use pgpooler_core::measure;
use tokio::io::AsyncWriteExt as _;

use super::{ConnectError, ConnectErrorKind, ServerLogin};
use crate::reactor::timeout_at;
use crate::socket;

/// Asks a new session for `max_connections`. Nothing of it is left on the connection.
///
/// Not cancel-safe: dropping it closes the connection without waiting for the server to have closed it too.
pub(crate) async fn max_connections(
    mut login: ServerLogin,
    deadline: Instant,
) -> Result<(ServerLogin, u32), ConnectError> {
    let kind = match timeout_at(deadline, ask(&mut login)).await {
        Ok(Ok(max_connections)) => return Ok((login, max_connections)),
        Ok(Err(kind)) => kind,
        Err(_) => ConnectErrorKind::Lost(io::ErrorKind::TimedOut.into()),
    };
    Err(ConnectError { kind, stream: Some(login.stream) })
}

async fn ask(login: &mut ServerLogin) -> Result<u32, ConnectErrorKind> {
    let ServerLogin { stream, input, parameters, .. } = login;
    stream.write_all(&measure::request()).await.map_err(ConnectErrorKind::Lost)?;
    loop {
        if socket::read_more(stream, input).await.map_err(ConnectErrorKind::Lost)? == 0 {
            return Err(ConnectErrorKind::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let Some(answer) = measure::answer(input)? else { continue };
        for (name, value) in answer.parameters {
            match parameters.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => parameters.push((name, value)),
            }
        }
        input.drain(..answer.length);
        return Ok(answer.max_connections);
    }
}
