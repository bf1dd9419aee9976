//! What a reconciliation did not foresee; what it did foresee is a condition.

use crate::apply::ApplyError;
use crate::observe::ObserveError;
use crate::status::StatusError;

/// One variant per step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caches will not be filled any more: the operator ends.
    #[error("the watches have ended")]
    CachesGone,
    /// Observing.
    #[error("cannot observe")]
    Observe(#[from] ObserveError),
    /// Applying.
    #[error("cannot apply")]
    Apply(#[from] ApplyError),
    /// Writing the status.
    #[error(transparent)]
    Status(#[from] StatusError),
}

impl Error {
    /// A closed label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::CachesGone => "caches",
            Self::Observe(_) => "observe",
            Self::Apply(ApplyError::NameConflict { .. }) => "name-conflict",
            Self::Apply(ApplyError::Rejected { .. }) => "rejected",
            Self::Apply(ApplyError::Api { .. }) => "apply",
            Self::Status(_) => "status",
        }
    }

    /// The whole chain on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}
