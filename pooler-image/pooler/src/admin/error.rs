//! Why a command was not carried out, and what the client is told.

use pgpooler_core::budget::Refused;
use pgpooler_core::wire::{ErrorResponse, SqlState};
use thiserror::Error;

use super::budget::pairs;
use crate::control::{ControlError, RefusedOrder};
use crate::reload::ReloadError;

/// A command that was not carried out. The session goes on.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Not a command.
    #[error("invalid command \"{0}\"")]
    Syntax(String),
    /// A command of PgBouncer's that this console does not have.
    #[error("{0} is not supported")]
    NotSupported(String),
    /// `SET` of something that is in the document.
    #[error("\"{0}\" cannot be set on the console")]
    Set(String),
    /// Parse, Bind and the like.
    #[error("the admin console does not speak the extended query protocol")]
    ExtendedProtocol,
    /// A command for `admin_users` from one of `stats_users`.
    #[error("permission denied: {0} needs a user of admin_users")]
    NeedsAdmin(&'static str),
    /// The process refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// What the process may hold is as before.
    #[error(transparent)]
    Order(#[from] RefusedOrder),
    /// The settings are as before.
    #[error("reload failed, the settings in force stay: {0}")]
    Reload(#[from] ReloadError),
}

impl AdminError {
    /// What the client is told.
    pub fn response(&self) -> ErrorResponse {
        let response = ErrorResponse::error(self.sqlstate(), self.to_string());
        let response = match self {
            // for the operator, which learns from it who has spoken since
            Self::Order(order) => response.detail(pairs(&order.report)),
            _ => response,
        };
        match self.hint() {
            Some(hint) => response.hint(hint),
            None => response,
        }
    }

    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Syntax(_) => SqlState::SYNTAX_ERROR,
            Self::NotSupported(_) | Self::ExtendedProtocol => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Set(_) => SqlState::CANT_CHANGE_RUNTIME_PARAM,
            Self::NeedsAdmin(_) => SqlState::INSUFFICIENT_PRIVILEGE,
            Self::Control(error) => control_sqlstate(error),
            Self::Order(order) => match order.refused {
                Refused::NotLower(_) => SqlState::INSUFFICIENT_PRIVILEGE,
                Refused::Superseded(_) | Refused::NotClaimed(_) | Refused::Outdated(_) => {
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
                }
            },
            // config_file_error
            Self::Reload(_) => SqlState::parse(b"F0000").unwrap_or(SqlState::INTERNAL_ERROR),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Syntax(_) | Self::NotSupported(_) => Some("SHOW HELP lists the commands."),
            Self::Set(_) => Some("Change the configuration document, then RELOAD."),
            Self::ExtendedProtocol => Some("Use the simple query protocol, as psql does."),
            Self::NeedsAdmin(_) | Self::Control(_) | Self::Order(_) | Self::Reload(_) => None,
        }
    }
}

fn control_sqlstate(error: &ControlError) -> SqlState {
    match error {
        ControlError::NoSuchDatabase(_) => SqlState::INVALID_CATALOG_NAME,
        ControlError::AlreadyPaused | ControlError::NotPaused | ControlError::DatabaseNotPaused(_) => {
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
        }
        ControlError::ShuttingDown => SqlState::ADMIN_SHUTDOWN,
    }
}
