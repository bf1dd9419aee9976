//! A Query whose statements do more than run: what each does, and how the text differs from what the client wrote.

use std::collections::VecDeque;

use super::edits::Edits;
use super::undo::Undo;
use crate::sql::Effect;
use crate::wire::ErrorResponse;

/// One statement that does more than run.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) effect: Effect,
    /// What its way to the server has changed in the books, should it fail.
    pub(super) undo: Undo,
}

/// One statement of a [`Script`], each answered by one `CommandComplete`.
#[derive(Debug)]
pub(super) enum Part {
    /// The client's.
    Shown(Act),
    /// Ours, behind one of the client's.
    Hidden,
}

/// What is known of a Query beyond its text.
#[derive(Debug, Default)]
pub(super) struct Script {
    parts: VecDeque<Part>,
    edits: Edits,
    refusal: Option<ErrorResponse>,
}

impl Script {
    pub(super) fn new(parts: VecDeque<Part>, edits: Edits) -> Self {
        Self { parts, edits, refusal: None }
    }

    /// For a text that the pool does not allow.
    pub(super) fn refused(error: ErrorResponse) -> Self {
        Self { refusal: Some(error), ..Self::default() }
    }

    /// The statement that runs now is ours.
    pub(super) fn is_hidden(&self) -> bool {
        matches!(self.parts.front(), Some(Part::Hidden))
    }

    /// The statement that runs now is complete.
    pub(super) fn next(&mut self) -> Option<Part> {
        self.parts.pop_front()
    }

    /// A statement has changed the books of statements.
    pub(super) fn changes_statements(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Shown(act) if act.undo.is_something()))
    }

    /// What the client hears instead of the server's complaint.
    pub(super) fn refusal(&self) -> Option<&ErrorResponse> {
        self.refusal.as_ref()
    }

    pub(super) fn edits(&self) -> &Edits {
        &self.edits
    }

    /// Of the statements that did not come to their end, the last first.
    pub(super) fn into_undo(self) -> Vec<Undo> {
        let undo = |part| match part {
            Part::Shown(act) => Some(act.undo),
            Part::Hidden => None,
        };
        self.parts.into_iter().rev().filter_map(undo).collect()
    }
}
