//! What a text does to its session: the result of a scan.

use std::ops::Range;

use super::marks::Marks;

/// What a text does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// Of all its statements together.
    pub marks: Marks,
    /// Empty unless one of them has an effect that outlives its transaction or names a prepared statement; then all of
    /// them, in order, since each is answered by one `CommandComplete`.
    pub statements: Vec<Statement>,
}

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// From its first token to the end of its last, without the semicolon.
    pub span: Range<usize>,
    /// What it does to the session, as far as that can be said exactly.
    pub effect: Effect,
    /// What it may do besides.
    pub marks: Marks,
}

/// What a statement does to the session that it runs in, if it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that can be named; see its [`Marks`].
    Plain,
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END, PREPARE TRANSACTION, each also AND CHAIN.
    Commit,
    /// ROLLBACK, ABORT, also AND CHAIN.
    Rollback,
    /// SAVEPOINT, RELEASE, ROLLBACK TO.
    Savepoint,
    /// SET for the session.
    Set {
        /// Lower-case; the parts of a custom name are joined by a dot.
        name: String,
        /// What each argument says: an identifier folded, a literal without quotes, a number with its sign.
        values: Vec<String>,
    },
    /// `SELECT set_config(name, value, false)` and nothing else.
    SetConfig {
        /// Lower-case.
        name: String,
        /// As given: PostgreSQL takes a list apart itself.
        value: String,
    },
    /// RESET, SET TO DEFAULT.
    Reset {
        /// Lower-case.
        name: String,
    },
    /// RESET ALL.
    ResetAll,
    /// DISCARD ALL.
    DiscardAll,
    /// PREPARE.
    Prepare {
        /// Of the new statement.
        name: Name,
    },
    /// EXECUTE, also behind EXPLAIN and CREATE TABLE AS.
    Execute {
        /// Of the statement that runs.
        name: Name,
    },
    /// DEALLOCATE.
    Deallocate {
        /// Of the statement that goes.
        name: Name,
    },
    /// DEALLOCATE ALL.
    DeallocateAll,
}

/// The name of a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As PostgreSQL knows it: folded or unquoted, cut to 63 bytes at the end of a UTF-8 character.
    pub text: Vec<u8>,
    /// Its token in the text, quotes included.
    pub span: Range<usize>,
}

impl Effect {
    /// Whether it must be told with the rest of its text.
    pub(super) fn is_told(&self) -> bool {
        !matches!(self, Self::Plain | Self::Begin | Self::Commit | Self::Rollback)
    }

    /// Whether it begins, ends or divides a transaction.
    pub(super) fn is_control(&self) -> bool {
        matches!(self, Self::Begin | Self::Commit | Self::Rollback | Self::Savepoint)
    }
}
