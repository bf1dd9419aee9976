//! What to put right in the books of statements.

use std::sync::Arc;

use super::interner::{Statement, StatementKey};
use super::statements::{Known, Number, Prepared, ServerStatements};

/// What to put right in the books if a message was skipped or failed.
#[derive(Debug)]
pub(super) enum Undo {
    Nothing,
    /// The unnamed statements before one was replaced or dropped.
    Unnamed {
        client: Option<Arc<Statement>>,
        server: Option<StatementKey>,
    },
    /// The client got a name, the server a statement.
    Define {
        name: Arc<[u8]>,
        key: StatementKey,
        number: Number,
    },
    /// The client gave up a name; the server its statement, where that is what was asked.
    Forget {
        known: Known,
        prepared: Option<Prepared>,
    },
    /// The client gave up all names, the server all statements.
    ForgetAll(Box<Forgotten>),
    /// The server got a statement.
    Prepared(StatementKey, Number),
    /// The server gave up a statement.
    Evicted(StatementKey, Prepared),
}

/// What DEALLOCATE ALL takes.
#[derive(Debug)]
pub(super) struct Forgotten {
    pub(super) client: super::ClientStatements,
    pub(super) server: ServerStatements,
}

impl Undo {
    pub(super) fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}
