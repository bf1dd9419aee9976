//! What must be done before the next client may have a server connection.

use super::Holds;

/// What must be done before the next client may have the connection; each includes the ones above it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dirt {
    /// Nothing.
    #[default]
    None,
    /// Session state must be wiped off: settings, cursors, LISTEN, temporary tables ...
    Session,
    /// Also prepared statements that are not in our books.
    Statements,
    /// Nothing wipes it off: the connection must be closed.
    Connection,
}

impl Dirt {
    pub(super) fn of(holds: Holds) -> Self {
        if holds.is_empty() {
            Self::None
        } else if holds.contains(Holds::LOAD) {
            Self::Connection
        } else if holds.contains(Holds::PREPARE) {
            Self::Statements
        } else {
            Self::Session
        }
    }

    /// What wipes it off. DISCARD ALL would take our own prepared statements with it, so it is used only
    /// where there may be others.
    pub(super) fn reset_sql(self) -> &'static str {
        match self {
            Self::None | Self::Session => {
                "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;\
                 SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES"
            }
            Self::Statements | Self::Connection => "DISCARD ALL",
        }
    }
}
