//! The wall clock: for what people are shown only. It jumps, so nothing is decided by it.

use std::time::SystemTime;

/// Now, by the wall clock.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
