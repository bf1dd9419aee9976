//! Pools of which PostgreSQL takes no more connections.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::PoolId;

/// Nobody has tried for so long: what PostgreSQL said then means nothing.
pub(super) const BAR_FORGOTTEN: Duration = Duration::from_secs(30);

/// Pools whose role or database is at its CONNECTION LIMIT.
#[derive(Debug, Default)]
pub(super) struct Bars(BTreeMap<PoolId, Bar>);

/// Since when PostgreSQL lets a pool have no more connections.
#[derive(Debug)]
struct Bar {
    since: Instant,
    /// When it last said so.
    last: Instant,
}

impl Bars {
    /// PostgreSQL says so now. Returns since when it has.
    pub(super) fn bar(&mut self, pool: PoolId, now: Instant) -> Instant {
        let bar = self.0.entry(pool).or_insert(Bar { since: now, last: now });
        if now.saturating_duration_since(bar.last) > BAR_FORGOTTEN {
            bar.since = now;
        }
        bar.last = now;
        bar.since
    }

    pub(super) fn unbar(&mut self, pool: PoolId) {
        self.0.remove(&pool);
    }

    pub(super) fn contains(&self, pool: PoolId) -> bool {
        self.0.contains_key(&pool)
    }
}
