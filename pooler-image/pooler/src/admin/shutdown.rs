//! `SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]`.

use super::reply::Reply;
use crate::control::ShutdownMode;

/// The answer comes before the deed: an immediate shutdown leaves no time for one.
pub(super) fn shutdown(mode: ShutdownMode) -> Reply {
    Reply::done("SHUTDOWN").then_shutdown(mode)
}
