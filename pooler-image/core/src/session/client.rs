//! What a client keeps between transactions.

use std::sync::Arc;

use super::Settings;
use super::statements::{ClientStatements, Statement};

/// Whose names for prepared statements a server connection knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Ours: statements are shared by all clients of a pool (transaction mode).
    Shared,
    /// The client's own: it has the server connection to itself (session mode).
    Own,
}

/// A logged-in client.
#[derive(Debug)]
pub struct Client {
    pub(super) naming: Naming,
    pub(super) settings: Settings,
    pub(super) statements: ClientStatements,
    pub(super) unnamed: Option<Arc<Statement>>,
    pub(super) leaving: bool,
}

impl Client {
    /// A client with these settings of its own.
    pub fn new(naming: Naming, settings: Settings) -> Self {
        Self { naming, settings, statements: ClientStatements::default(), unnamed: None, leaving: false }
    }

    /// Whose names for statements its server connections know. Settled at login.
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// Its settings as far as they differ from the server's defaults.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many prepared statements it has names for.
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// It has sent Terminate: what is owed to it is delivered, nothing more is read from it.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }
}
