//! What is written down of each pool, and of each loop's part of it.

use std::time::Instant;

use super::shares::Claim;
use super::{PoolId, PoolTerms};

/// A pool, over all loops.
#[derive(Debug, Default)]
pub(super) struct PoolAccount {
    pub(super) held: u32,
    pub(super) closing: u32,
    pub(super) terms: PoolTerms,
    /// Clients on all loops for which there was no slot.
    pub(super) wants: u32,
    /// Connections that it keeps.
    pub(super) kept: u32,
    /// Connections that it may have while others wait.
    pub(super) due: u32,
    /// See [`Claim::deficit`].
    pub(super) deficit: i64,
    pub(super) ahead: Ahead,
}

/// Whether connections are opened that nobody waits for yet, as far as the pool keeps some.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ahead {
    /// They cannot be: the pool is paused, or its user cannot log in.
    #[default]
    No,
    /// They are: others leave the slots for them.
    Yes,
}

/// One loop's part of a pool.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) held: u32,
    /// Clients that wait for a connection for which there was no slot.
    pub(super) wants: u32,
    /// Since when the first of them has waited; nothing, when it has just been served.
    pub(super) since: Option<Instant>,
}

impl PoolAccount {
    /// Its connections that are not being closed.
    pub(super) fn live(&self) -> u32 {
        self.held.saturating_sub(self.closing)
    }

    pub(super) fn excess(&self, part: Option<(u32, u32)>) -> i64 {
        self.terms.size.in_force(part).map_or(i64::MIN, |size| i64::from(self.held) - i64::from(size))
    }

    pub(super) fn to_close(&self, part: Option<(u32, u32)>) -> u32 {
        self.live().saturating_sub(self.terms.size.in_force(part).unwrap_or(u32::MAX))
    }

    pub(super) fn minimum(&self, pool: PoolId, part: Option<(u32, u32)>) -> Claim {
        let size = self.terms.size.in_force(part).unwrap_or(u32::MAX);
        let least = self.terms.minimum.at_least(part).min(size);
        Claim::new(pool, self.terms.weight.max(1), least, least)
    }

    /// What it can use; `has_room`: it may have more connections.
    pub(super) fn claim(&self, pool: PoolId, part: Option<(u32, u32)>, has_room: bool) -> Claim {
        let most = if has_room { self.live() + self.wants } else { self.live() };
        let size = self.terms.size.in_force(part).unwrap_or(u32::MAX);
        let least = if self.ahead == Ahead::Yes { self.kept } else { self.kept.min(most) };
        Claim {
            live: self.live(),
            waits: self.wants > 0,
            deficit: self.deficit,
            ..Claim::new(pool, self.terms.weight.max(1), least, most.min(size).max(least))
        }
    }

    /// Connections that it keeps, and has not got; none, while they cannot be opened.
    pub(super) fn shortage(&self) -> u32 {
        match self.ahead {
            Ahead::Yes => self.kept.saturating_sub(self.live()),
            Ahead::No => 0,
        }
    }
}
