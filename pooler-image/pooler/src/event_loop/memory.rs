//! What a loop holds for peers that do not take it, and how much of that there may be.
//!
//! Counted per thread, which is per loop, so that nothing is shared on the path of a transaction. Nothing is ever
//! thrown away: a loop that holds too much reads less, until those who are owed bytes have taken them.

use std::cell::Cell;

use crate::event_loop::client::{ClientConn, ClientShared};
use crate::event_loop::pool::Pool;
use crate::event_loop::server::{ServerConn, ServerShared};
use crate::report::Sizes;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Sets how many bytes this loop may hold before it reads less.
pub(crate) fn limit(most: usize) {
    MOST.set(most);
}

/// Bytes that this loop holds.
pub(crate) fn held() -> usize {
    HELD.get()
}

/// What one of each takes.
pub(crate) fn sizes() -> Sizes {
    Sizes {
        client: size_of::<ClientConn>() + size_of::<ClientShared>(),
        server: size_of::<ServerConn>() + size_of::<ServerShared>(),
        pool: size_of::<Pool>(),
    }
}

/// It holds as much as it may.
pub(crate) fn is_short() -> bool {
    HELD.get() >= MOST.get()
}

/// One buffer's part of what a loop holds; taken off when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(usize);

impl Held {
    /// The buffer has so many bytes of memory now.
    pub(crate) fn is_now(&mut self, bytes: usize) {
        if self.0 != bytes {
            HELD.set(HELD.get() - self.0 + bytes);
            self.0 = bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.is_now(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_buffer_held_is_given_back_with_it() {
        let (mut one, mut two) = (Held::default(), Held::default());
        one.is_now(100);
        two.is_now(50);
        one.is_now(70);
        assert_eq!(held(), 120);
        limit(120);
        assert!(is_short());
        drop(one);
        assert_eq!(held(), 50);
        assert!(!is_short());
    }
}
