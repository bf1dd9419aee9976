//! `RELOAD`.

use pgpooler_core::wire::{ErrorResponse, Severity, SqlState};

use super::error::AdminError;
use super::reply::Reply;
use crate::control::Control;

pub(super) async fn reload(control: &dyn Control) -> Result<Reply, AdminError> {
    let outcome = control.reload().await?;
    let mut reply = Reply::done("RELOAD");
    if !outcome.changed.is_empty() {
        reply = reply.notice(format!("changed: {}", outcome.changed.join(", ")));
    }
    if !outcome.needs_restart.is_empty() {
        let message = format!("a restart is needed to change: {}", outcome.needs_restart.join(", "));
        reply =
            reply.with(ErrorResponse::new(Severity::Warning, SqlState::CANT_CHANGE_RUNTIME_PARAM, message));
    }
    Ok(reply)
}
