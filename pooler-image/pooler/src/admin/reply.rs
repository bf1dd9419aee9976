//! What a command answers.

use std::borrow::Cow;

use pgpooler_core::budget::Report;
use pgpooler_core::wire::{ErrorResponse, Severity, SqlState, backend};

use super::budget;
use super::table::Table;
use crate::control::ShutdownMode;

/// What a command answers, before it is bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    notices: Vec<ErrorResponse>,
    table: Option<Table>,
    tag: Cow<'static, str>,
    shutdown: Option<ShutdownMode>,
    budget: Option<Report>,
}

impl Reply {
    /// A command that was carried out; `tag` is that of CommandComplete.
    pub fn done(tag: impl Into<Cow<'static, str>>) -> Self {
        Self { notices: Vec::new(), table: None, tag: tag.into(), shutdown: None, budget: None }
    }

    /// A result of `SHOW`.
    pub fn table(table: Table) -> Self {
        Self { table: Some(table), ..Self::done("SHOW") }
    }

    /// The row of `SHOW BUDGET`.
    pub fn budget(tag: &'static str, report: Report) -> Self {
        Self { table: Some(budget::table(&report)), budget: Some(report), ..Self::done(tag) }
    }

    /// Adds a result.
    #[must_use]
    pub fn rows(self, table: Table) -> Self {
        Self { table: Some(table), ..self }
    }

    /// What it tells of the budget.
    pub fn told(&self) -> Option<&Report> {
        self.budget.as_ref()
    }

    /// Adds a notice.
    #[must_use]
    pub fn notice(self, message: impl Into<Cow<'static, str>>) -> Self {
        self.with(ErrorResponse::new(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, message))
    }

    /// Adds a notice or warning.
    #[must_use]
    pub fn with(mut self, notice: ErrorResponse) -> Self {
        self.notices.push(notice);
        self
    }

    /// The process is to leave once the answer has left.
    #[must_use]
    pub fn then_shutdown(self, mode: ShutdownMode) -> Self {
        Self { shutdown: Some(mode), ..self }
    }

    /// How the process is to leave once the answer has left.
    pub fn shutdown(&self) -> Option<ShutdownMode> {
        self.shutdown
    }

    /// Appends everything up to CommandComplete.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.notices.iter().for_each(|notice| notice.encode(out));
        if let Some(table) = &self.table {
            table.encode(out);
        }
        backend::command_complete(out, self.tag.as_bytes());
    }
}
