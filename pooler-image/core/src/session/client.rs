//! What a client keeps between transactions.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Settings;
use super::interner::{Interner, Statement};
use super::statements::ClientStatements;

/// Whose names for prepared statements a server connection knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Ours: statements are shared by all clients of a pool (transaction mode).
    Shared,
    /// The client's own: it has the server connection to itself (session mode).
    Own,
}

/// What a client has a server connection for; then it goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unit {
    /// A transaction, or all that there is (session mode).
    #[default]
    Transaction,
    /// A statement: a Query, or what an extended-protocol client sends up to its Sync. The next one is not sent before
    /// its ReadyForQuery, and a transaction block ends the client.
    Statement,
}

/// What becomes of session state that cannot be brought from one server connection to another: LISTEN, temporary
/// tables, advisory locks ...
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SessionState {
    /// It is wiped off when the transaction ends.
    Reset,
    /// Its client keeps the server connection until it is gone.
    #[default]
    Pin,
    /// Statements that make such state are refused; what gets through is wiped off.
    Reject,
}

/// A logged-in client.
#[derive(Debug)]
pub struct Client {
    pub(super) naming: Naming,
    pub(super) unit: Unit,
    pub(super) policy: SessionState,
    /// What RESET goes back to.
    pub(super) startup: Settings,
    pub(super) settings: Settings,
    /// The last that were shared with others: the same as `settings`, unless these have changed since.
    pub(super) shared: Settings,
    pub(super) statements: ClientStatements,
    pub(super) unnamed: Option<Arc<Statement>>,
    /// Names that it has given by SQL, on the server connection that it is pinned to. Few clients ever do.
    #[expect(clippy::box_collection, reason = "two words less for each of ten thousand clients")]
    pub(super) prepared_by_sql: Option<Box<BTreeSet<Box<[u8]>>>>,
    /// Tells clients apart on a server connection; 0: it has not been linked yet.
    pub(super) serial: u64,
    pub(super) leaving: bool,
}

impl Client {
    /// A client with these settings of its own.
    pub fn new(naming: Naming, settings: Settings, policy: SessionState) -> Self {
        Self {
            naming,
            unit: Unit::default(),
            policy,
            startup: settings.clone(),
            shared: Settings::default(),
            settings,
            statements: ClientStatements::default(),
            unnamed: None,
            prepared_by_sql: None,
            serial: 0,
            leaving: false,
        }
    }

    /// The same client, having server connections for so long.
    #[must_use]
    pub fn by(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    /// Whose names for statements its server connections know. Settled at login.
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// Its settings as far as they differ from the server's defaults.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes its settings in the server's own spelling, where that is known.
    pub fn spell<'a>(&mut self, reported: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, value) in reported {
            if !name.eq_ignore_ascii_case("application_name")
                && self.settings.get(&name.to_ascii_lowercase()).is_some()
            {
                self.settings.note(name, value);
            }
        }
    }

    /// Keeps its settings in memory together with all who have the same: at checkout their place is compared.
    pub fn share(&mut self, interner: &mut Interner) {
        if !self.settings.is(&self.shared) {
            let is_startup = self.settings.is(&self.startup);
            self.settings = interner.share(&self.settings);
            self.shared = self.settings.clone();
            self.startup = if is_startup { self.settings.clone() } else { interner.share(&self.startup) };
        }
    }

    /// How many prepared statements it has names for.
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// It has closed its side of the connection: no more is to be read from it.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// It has sent Terminate, or closed its side: what is owed to it is delivered, nothing more is read from it.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }
}
