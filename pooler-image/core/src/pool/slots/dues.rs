//! What pools are due, what they keep, and what they lack of that.

use std::time::{Duration, Instant};

use super::accounts::PoolAccount;
use super::shares::{self, Claim};
use super::{PoolId, Slots};

/// How long a pool has what it is due; then it may be another's turn. Long enough that connections are not opened and
/// closed all the time, short enough that whoever waits for a turn does not wait long.
pub const TURN: Duration = Duration::from_millis(200);

/// Of turns in which nobody looked, no more count: it was quiet then.
const MOST_TURNS: u32 = 5;

/// Whether what pools are due is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dues {
    /// Since then, for a turn.
    Known(Instant),
    /// Something has changed; they were known last since then.
    Stale(Option<Instant>),
}

/// What pools are due.
impl Slots {
    pub(super) fn changed(&mut self) {
        if let Dues::Known(since) = self.dues {
            self.dues = Dues::Stale(Some(since));
        }
    }

    /// Works out what pools are due, when that has changed or their turn is over.
    pub(super) fn settle(&mut self, now: Instant) {
        let turns = |since: Instant| {
            let passed = now.saturating_duration_since(since);
            if passed < TURN {
                0
            } else {
                u32::try_from(passed.as_millis() / TURN.as_millis()).unwrap_or(u32::MAX)
            }
        };
        let (since, turns) = match self.dues {
            Dues::Known(since) if turns(since) == 0 => return,
            Dues::Stale(Some(since)) if turns(since) == 0 => (since, 0),
            Dues::Known(since) | Dues::Stale(Some(since)) => (now, turns(since).min(MOST_TURNS)),
            Dues::Stale(None) => (now, 0),
        };
        self.claim();
        shares::turn(self.terms.limit, &mut self.claims, turns);
        for account in self.pools.values_mut() {
            (account.due, account.deficit) = (0, 0);
        }
        for claim in &self.claims {
            if let Some(account) = self.pools.get_mut(&claim.pool) {
                (account.due, account.deficit) = (claim.due, claim.deficit);
            }
        }
        self.dues = Dues::Known(since);
    }

    /// In the same buffer each time: clients that have to wait come here often.
    fn claim(&mut self) {
        let (part, bars) = (self.terms.part, &self.bars);
        let claims = self.pools.iter().map(|(pool, one)| {
            let has_room = one.excess(part) < 0 && !bars.contains(*pool);
            one.claim(*pool, part, has_room)
        });
        self.claims.clear();
        self.claims.extend(claims.filter(|claim| claim.most > 0));
    }

    /// Works out what pools keep: all their minimums, or as much of them as there is. One connection is left to those
    /// that keep none: they could not be served otherwise.
    pub(super) fn share_minimums(&mut self) {
        self.changed();
        self.pressure = None;
        let part = self.terms.part;
        let claims: Vec<Claim> = self.pools.iter().map(|(pool, one)| one.minimum(*pool, part)).collect();
        let limit = self.terms.limit;
        let mut kept = shares::kept(limit, &claims);
        if kept.contains(&0) && kept.iter().sum::<u32>() == limit {
            kept = shares::kept(limit.saturating_sub(1), &claims);
        }
        for (account, kept) in self.pools.values_mut().zip(kept) {
            account.kept = kept;
        }
    }

    /// Connections that the pool keeps, and has not got; none, while they cannot be opened.
    pub(super) fn shortage(&self, pool: PoolId) -> u32 {
        self.pools.get(&pool).map_or(0, PoolAccount::shortage)
    }

    /// How many connections a pool has above its size, closing ones included; negative: room for so many.
    pub(super) fn pool_excess(&self, pool: PoolId) -> i64 {
        let Some(account) = self.pools.get(&pool) else { return i64::MIN };
        account.excess(self.terms.part)
    }

    /// The pool may have more connections: a slot would help those who want one.
    pub(super) fn has_room(&self, pool: PoolId) -> bool {
        self.pool_excess(pool) < 0 && !self.is_barred(pool)
    }
}
