//! Which entries of the queue of owed replies have changed the books of statements ahead of their replies.
//!
//! The books change when a message is sent, and are put right when the server turns out to have failed or skipped it.
//! What the client sends in a later batch of the same pipeline must not be read by books that may yet be put right: it
//! waits. Entries are known by their number in the order of sending.

use std::collections::VecDeque;

/// The numbers of entries that are still in the queue.
#[derive(Debug, Default)]
pub(super) struct Changes {
    named: VecDeque<u64>,
    unnamed: VecDeque<u64>,
    /// All before this one are of batches whose end has been sent.
    batch: u64,
}

/// What an entry has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Changed {
    #[default]
    Nothing,
    Named,
    Unnamed,
    Both,
}

impl Changes {
    pub(super) fn pushed(&mut self, number: u64, changed: Changed, ends_batch: bool) {
        if matches!(changed, Changed::Named | Changed::Both) {
            self.named.push_back(number);
        }
        if matches!(changed, Changed::Unnamed | Changed::Both) {
            self.unnamed.push_back(number);
        }
        if ends_batch {
            self.batch = number + 1;
        }
    }

    pub(super) fn popped(&mut self, number: u64) {
        for numbers in [&mut self.named, &mut self.unnamed] {
            if numbers.front() == Some(&number) {
                numbers.pop_front();
            }
        }
    }

    /// An entry that has changed nothing was taken out; those behind it move up.
    pub(super) fn removed(&mut self, number: u64) {
        let moved = self.named.iter_mut().chain(&mut self.unnamed).chain([&mut self.batch]);
        moved.filter(|later| **later > number).for_each(|later| *later -= 1);
    }

    /// The books of named statements may yet be put right for an earlier batch.
    pub(super) fn named_is_open(&self) -> bool {
        self.named.front().is_some_and(|number| *number < self.batch)
    }

    /// The same for the unnamed statement, and this batch has not parsed one of its own.
    pub(super) fn unnamed_is_open(&self) -> bool {
        let open = self.unnamed.front().is_some_and(|number| *number < self.batch);
        open && self.unnamed.back().is_some_and(|number| *number < self.batch)
    }

    /// The first entry that has changed the unnamed statement.
    pub(super) fn first_unnamed(&self) -> Option<u64> {
        self.unnamed.front().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_open_for_later_batches_until_its_reply_has_come() {
        let mut changes = Changes::default();
        changes.pushed(0, Changed::Named, false);
        assert!(!changes.named_is_open(), "its own batch knows it");
        changes.pushed(1, Changed::Nothing, true);
        assert!(changes.named_is_open());
        changes.popped(0);
        assert!(!changes.named_is_open());
    }

    #[test]
    fn a_batch_that_parses_an_unnamed_statement_need_not_wait_for_another() {
        let mut changes = Changes::default();
        changes.pushed(0, Changed::Unnamed, false);
        changes.pushed(1, Changed::Nothing, true);
        assert!(changes.unnamed_is_open());
        changes.pushed(2, Changed::Unnamed, false);
        assert!(!changes.unnamed_is_open());
    }
}
