//! How large the server is and what it is, asked on a connection that nobody uses yet.

use std::io;

use pgpooler_config::TargetRole;
use pgpooler_core::measure::Question;
use pgpooler_core::session::IN_HOT_STANDBY;
use tokio::io::AsyncWriteExt as _;

use super::{ConnectErrorKind, ConnectRequest, Shell};
use crate::socket;

/// Asks a new session for what must be known of the server: its `max_connections`, and whether it is in recovery.
/// Nothing of it is left on the connection. An error if it is not what it must be.
///
/// Not cancel-safe: what has been answered would be lost.
pub(super) async fn measure(
    shell: &mut Shell,
    request: &ConnectRequest<'_>,
    parameters: &mut Vec<(String, String)>,
) -> Result<(Option<u32>, Option<bool>), ConnectErrorKind> {
    let wanted = request.target.role;
    let recovery = wanted != TargetRole::Any && in_recovery(parameters).is_none() && may_query(request);
    let question = Question { max_connections: request.measures, recovery };
    let Shell { stream, input, .. } = shell;
    let asked = question.request();
    if !asked.is_empty() {
        stream.write_all(&asked).await.map_err(ConnectErrorKind::Lost)?;
    }
    let measured = loop {
        if let Some(measured) = question.answer(input)? {
            break measured;
        }
        if socket::read_more(stream, input).await.map_err(ConnectErrorKind::Lost)? == 0 {
            return Err(ConnectErrorKind::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
    };
    for (name, value) in measured.parameters {
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => parameters.push((name, value)),
        }
    }
    input.drain(..measured.length);
    let found = measured.in_recovery.or_else(|| in_recovery(parameters));
    match found.map(role) {
        Some((standby, found)) if !wanted.admits(standby) => {
            Err(ConnectErrorKind::WrongRole { found, wanted })
        }
        _ => Ok((measured.max_connections, found)),
    }
}

fn role(in_recovery: bool) -> (bool, TargetRole) {
    (in_recovery, if in_recovery { TargetRole::Standby } else { TargetRole::Primary })
}

/// As the login reported it: PostgreSQL 14 and later do.
fn in_recovery(parameters: &[(String, String)]) -> Option<bool> {
    let reported = parameters.iter().find(|(name, _)| name == IN_HOT_STANDBY);
    reported.map(|(_, value)| value == "on")
}

/// A physical walsender knows no SELECT; before PostgreSQL 14 nobody knows what its server is.
fn may_query(request: &ConnectRequest<'_>) -> bool {
    !request.settings.iter().any(|(name, value)| name == "replication" && value != "database")
}
