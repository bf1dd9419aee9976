//! How fast an address may fail.

use std::time::{Duration, Instant};

use super::Turn;

/// What an address may fail at once: what it may in this time.
const BURST: Duration = Duration::from_secs(1);

/// An address is served at once again when so much of its burst is left unused: else it would be slowed down anew with
/// its next failure, and all that came between would have been served.
const CALM: Duration = Duration::from_millis(500);

/// How long a connection may wait for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// An address's failures, as a debt of time: each adds its part of a second, and a second takes off a second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// When the debt is paid off.
    debt_until: Option<Instant>,
    /// While it is slowed down: when the next connection has its turn.
    next_turn: Option<Instant>,
}

impl Pace {
    /// When a connection of this address is served; `None`: too many wait.
    pub(super) fn turn(&mut self, failures_per_second: u32, now: Instant) -> Option<Turn> {
        let calm = failures_per_second == 0 || self.debt(now) <= CALM;
        let Some(next_turn) = self.next_turn.filter(|_| !calm) else {
            self.next_turn = None;
            return Some(Turn::Go);
        };
        let turn = next_turn.max(now);
        if turn.saturating_duration_since(now) > LONGEST_WAIT {
            return None;
        }
        self.next_turn = Some(turn + interval(failures_per_second));
        Some(Turn::GoAt(turn))
    }

    /// A login failed. Whether the address is slowed down from now on, and was not before.
    ///
    /// However many fail together, it is over half a second after the last: those behind the same address who have the
    /// right password wait no longer for it.
    pub(super) fn fail(&mut self, failures_per_second: u32, now: Instant) -> bool {
        if failures_per_second == 0 {
            return false;
        }
        let debt = (self.debt(now) + interval(failures_per_second)).min(BURST);
        self.debt_until = Some(now + debt);
        let begins = self.next_turn.is_none() && debt >= BURST;
        if begins {
            self.next_turn = Some(now);
        }
        begins
    }

    /// Nothing needs to be remembered.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        self.debt(now).is_zero()
    }

    fn debt(&self, now: Instant) -> Duration {
        self.debt_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

fn interval(failures_per_second: u32) -> Duration {
    BURST / failures_per_second.max(1)
}
