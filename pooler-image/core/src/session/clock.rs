//! What all loops of a process agree on about statements, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Moments that can be compared across loops: server connections change loops.
#[derive(Debug, Default)]
pub struct Clock {
    now: AtomicU64,
    defined: AtomicU64,
}

impl Clock {
    /// A later moment than all that were told before.
    pub(super) fn now(&self) -> u64 {
        self.now.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What was learnt of functions and triggers is to be learnt again: somebody defines one, or may have done so
    /// past us. To be called every few seconds.
    pub fn doubt_definitions(&self) {
        self.defined.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was called.
    pub(super) fn definitions(&self) -> u64 {
        self.defined.load(Ordering::Relaxed)
    }
}
