//! What a reconciliation did not foresee; what it did foresee is a condition.

use crate::apply::ApplyError;
use crate::fence::FenceError;
use crate::observe::ObserveError;
use crate::status::StatusError;

/// One variant per step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Observing.
    #[error("cannot observe")]
    Observe(#[from] ObserveError),
    /// Applying.
    #[error("cannot apply")]
    Apply(#[from] ApplyError),
    /// The fence.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// Writing the status.
    #[error(transparent)]
    Status(#[from] StatusError),
}

impl Error {
    /// A closed label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Observe(_) => "observe",
            Self::Apply(ApplyError::NameConflict { .. }) => "name-conflict",
            Self::Apply(ApplyError::Rejected { .. }) => "rejected",
            Self::Apply(ApplyError::Api { .. }) => "apply",
            Self::Fence(_) => "fence",
            Self::Status(_) => "status",
        }
    }
}

/// The whole chain of causes on one line; some libraries repeat the cause in the message.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = error.source();
    }
    text
}
