//! Why a command was not carried out, and what the client is told.

use pgpooler_config::BundleError;
use pgpooler_core::budget::Refused;
use pgpooler_core::wire::{ErrorResponse, SqlState};
use thiserror::Error;

use super::budget::pairs;
use crate::control::{ControlError, RefusedOrder};
use crate::reload::ReloadError;
use crate::settings::SetError;

/// A command of PgBouncer's that has no place here.
#[derive(Debug, PartialEq, Eq)]
pub struct NotSupported {
    /// Its words.
    pub name: &'static str,
    /// Why.
    pub why: &'static str,
}

/// A command that was not carried out. The session goes on.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Not a command.
    #[error("invalid command '{0}', use SHOW HELP;")]
    Syntax(String),
    /// A command of PgBouncer's that this console does not have.
    #[error("{} is not supported", .0.name)]
    NotSupported(&'static NotSupported),
    /// A command for one database without its name.
    #[error("a database is required")]
    DatabaseRequired,
    /// What is to be done with the console cannot be done with it.
    #[error("cannot {0} admin db: {1}")]
    Console(&'static str, String),
    /// Not the id of a client.
    #[error("invalid client pointer supplied")]
    NoClientId,
    /// The settings are as before.
    #[error(transparent)]
    Set(#[from] SetError),
    /// Parse, Bind and the like.
    #[error("the admin console does not speak the extended query protocol")]
    ExtendedProtocol,
    /// A command for `admin_users` from one of `stats_users`.
    #[error("admin access needed")]
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
    /// The settings are as before.
    #[error("configuration refused, the one in force stays: {0}")]
    Configure(#[source] ReloadError),
    /// What was pushed cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl AdminError {
    /// What the client is told.
    pub fn response(&self) -> ErrorResponse {
        let response = ErrorResponse::error(self.sqlstate(), self.to_string());
        let response = match self {
            // for the operator, which learns from it who has spoken since
            Self::Order(order) => response.detail(pairs(&order.report)),
            Self::NeedsAdmin(name) => response.detail(format!("{name} is for users of admin_users.")),
            Self::NotSupported(command) => response.detail(command.why),
            _ => response,
        };
        match self.hint() {
            Some(hint) => response.hint(hint),
            None => response,
        }
    }

    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Syntax(_) | Self::DatabaseRequired => SqlState::SYNTAX_ERROR,
            Self::NotSupported(_) | Self::ExtendedProtocol | Self::Console(..) => {
                SqlState::FEATURE_NOT_SUPPORTED
            }
            Self::NoClientId | Self::Set(SetError::Invalid { .. }) => SqlState::INVALID_PARAMETER_VALUE,
            Self::Set(SetError::Unknown(_)) => SqlState::UNDEFINED_OBJECT,
            Self::Set(SetError::NeedsRestart(_) | SetError::NamesFile(_)) => {
                SqlState::CANT_CHANGE_RUNTIME_PARAM
            }
            Self::Set(SetError::Unavailable(_)) => SqlState::INTERNAL_ERROR,
            Self::NeedsAdmin(_) => SqlState::INSUFFICIENT_PRIVILEGE,
            Self::Control(error) => control_sqlstate(error),
            Self::Order(order) => refused_sqlstate(order.refused),
            Self::Configure(ReloadError::Outdated(refused)) => refused_sqlstate(*refused),
            // config_file_error
            Self::Reload(_) | Self::Configure(_) | Self::Bundle(_) => {
                SqlState::parse(b"F0000").unwrap_or(SqlState::INTERNAL_ERROR)
            }
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotSupported(_) => Some("SHOW HELP lists the commands."),
            Self::Set(SetError::Unknown(_)) => Some("SHOW CONFIG lists the settings."),
            Self::Set(SetError::NeedsRestart(_)) => Some("Change the configuration document, then restart."),
            Self::Set(SetError::NamesFile(_)) => Some("Change the configuration document, then RELOAD."),
            Self::NoClientId => Some("The column id of SHOW CLIENTS has them."),
            Self::ExtendedProtocol => Some("Use the simple query protocol, as psql does."),
            Self::Syntax(_)
            | Self::DatabaseRequired
            | Self::Console(..)
            | Self::Set(SetError::Invalid { .. } | SetError::Unavailable(_))
            | Self::NeedsAdmin(_)
            | Self::Control(_)
            | Self::Order(_)
            | Self::Reload(_)
            | Self::Configure(_)
            | Self::Bundle(_) => None,
        }
    }
}

fn refused_sqlstate(refused: Refused) -> SqlState {
    match refused {
        Refused::NotLower(_) => SqlState::INSUFFICIENT_PRIVILEGE,
        Refused::Superseded(_) | Refused::NotClaimed(_) | Refused::Outdated(_) => {
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
        }
    }
}

fn control_sqlstate(error: &ControlError) -> SqlState {
    match error {
        ControlError::NoSuchDatabase(_) => SqlState::INVALID_CATALOG_NAME,
        ControlError::AlreadyPaused
        | ControlError::NotPaused
        | ControlError::PausedByDocument
        | ControlError::DatabaseNotPaused(_)
        | ControlError::Resumed => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        ControlError::NoSuchClient => SqlState::UNDEFINED_OBJECT,
        ControlError::ShuttingDown => SqlState::ADMIN_SHUTDOWN,
    }
}
