//! What all loops of a process agree on about statements, without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Moments that can be compared across loops: server connections change loops.
#[derive(Debug, Default)]
pub struct Clock {
    now: AtomicU64,
    defined: AtomicU64,
    /// The value of `defined` when a client of ours last began or ended to define something.
    by_clients: AtomicU64,
    /// Shared with every transaction that may have defined something and is not over.
    defining: Arc<()>,
}

/// A transaction that may define a function or a trigger. Until it is over, nobody else sees what it will have changed.
#[derive(Debug)]
pub(super) struct Defining(#[allow(dead_code, reason = "it is there to be dropped")] Arc<()>);

impl Clock {
    /// A later moment than all that were told before.
    pub(super) fn now(&self) -> u64 {
        self.now.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What was learnt of functions and triggers is to be learnt again: somebody may have defined one past us. To be
    /// called every few seconds.
    pub fn doubt_definitions(&self) {
        self.defined.fetch_add(1, Ordering::AcqRel);
    }

    /// A client of ours defines something; what was learnt before does not hold from now on.
    pub(super) fn define(&self) -> Defining {
        let defining = Defining(Arc::clone(&self.defining));
        self.overthrow();
        defining
    }

    /// Its transaction is over.
    pub(super) fn defined(&self, defining: Defining) {
        drop(defining);
        self.overthrow();
    }

    fn overthrow(&self) {
        let now = self.defined.fetch_add(1, Ordering::AcqRel) + 1;
        self.by_clients.fetch_max(now, Ordering::AcqRel);
    }

    /// What somebody who asks now will have learnt: everything up to this number of definitions. None, while a
    /// transaction defines something that the answer will not show.
    pub(super) fn definitions(&self) -> Option<u64> {
        // in this order: whoever made that number holds `defining` already
        let definitions = self.defined.load(Ordering::Acquire);
        (Arc::strong_count(&self.defining) == 1).then_some(definitions)
    }

    /// What was learnt earlier than this does not hold.
    pub(super) fn defined_by_clients(&self) -> u64 {
        self.by_clients.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_learnt_while_somebody_defines() {
        let clock = Clock::default();
        assert_eq!(clock.definitions(), Some(0));
        let (first, second) = (clock.define(), clock.define());
        assert_eq!((clock.definitions(), clock.defined_by_clients()), (None, 2));
        clock.defined(first);
        assert_eq!((clock.definitions(), clock.defined_by_clients()), (None, 3));
        drop(second);
        assert_eq!(clock.definitions(), Some(3), "a connection that is lost defines no longer");
        clock.doubt_definitions();
        assert_eq!((clock.definitions(), clock.defined_by_clients()), (Some(4), 3));
    }
}
