//! One pool, on one loop: what lies idle and who waits.

use std::collections::VecDeque;
use std::time::Instant;

use super::{ClientId, Place, PoolLimits, ServerId};

#[derive(Debug)]
pub(super) struct Idle {
    pub(super) server: ServerId,
    pub(super) since: Instant,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) client: ClientId,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) limits: PoolLimits,
    /// The next one to be taken is the last.
    pub(super) idle: VecDeque<Idle>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) connecting: u32,
    pub(super) open: u32,
    pub(super) paused: bool,
    pub(super) retry_at: Option<Instant>,
    /// A want is registered with the process's account.
    pub(super) lacking: bool,
}

/// Logins to PostgreSQL that one loop has under way at most: more at once only make each other slower.
const PARALLEL_LOGINS: u32 = 16;

impl Pool {
    pub(super) fn is_spare(&self) -> bool {
        self.waiting.is_empty() || self.paused
    }

    /// After a failure one login tries whether others will succeed.
    pub(super) fn parallel_logins(&self) -> u32 {
        if self.retry_at.is_some() && self.connecting > 0 { 0 } else { PARALLEL_LOGINS }
    }

    /// Since when the first of those has waited.
    pub(super) fn lacks_since(&self) -> Option<Instant> {
        let served = (self.connecting as usize).saturating_add(self.idle.len());
        self.waiting.get(served).map(|waiting| waiting.since)
    }

    /// Clients that neither an idle connection nor one being opened will serve.
    pub(super) fn lacks(&self) -> u32 {
        if self.paused {
            return 0;
        }
        (self.waiting.len() as u32).saturating_sub(self.connecting + self.idle.len() as u32)
    }
}
