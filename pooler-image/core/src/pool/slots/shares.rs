//! Who is due how many connections when there are too few for all.
//!
//! A pool's *share* is in proportion to its weight, but no less than it keeps and no more than it can use; what others
//! cannot use is shared by weight as well. Shares are rarely whole numbers. A pool has the whole part of its share always,
//! and the rest of it in turns: who has had least for longest is next. So whoever waits is served, and over time each pool
//! has had its share.

use std::collections::BTreeMap;

use super::PoolId;

/// What a pool can use, and what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) pool: PoolId,
    pub(super) weight: u32,
    /// Connections that it keeps; not more than `most`.
    pub(super) least: u32,
    /// Connections that it could use.
    pub(super) most: u32,
    /// Connections that it has.
    pub(super) live: u32,
    /// Its clients wait.
    pub(super) waits: bool,
}

/// One connection, or one connection for one turn: shares are fractions of it.
const ONE: i64 = 1 << 32;

/// Less than this is an error of rounding.
const NOTHING: i64 = ONE >> 12;

/// What is remembered of one pool's good or bad luck at most: in a transaction of a minute it cannot get back to others
/// what it has had too much, and they must not be without for minutes then.
const LONGEST_MEMORY: i64 = 64 * ONE;

/// How much less than its share each pool has had.
#[derive(Debug, Default)]
pub(super) struct Deficits(BTreeMap<PoolId, i64>);

impl Deficits {
    /// Connections that each claim is due from now on, in order; together not more than `limit`. `turns`: how many have
    /// passed since the last time.
    pub(super) fn turn(&mut self, limit: u32, claims: &[Claim], turns: u32) -> Vec<u32> {
        let shares = shares(limit, claims);
        self.note(claims, &shares, i64::from(turns));
        let mut due: Vec<u32> = shares.iter().map(|share| ((share + NOTHING) / ONE) as u32).collect();
        let could: u64 = claims.iter().map(|claim| u64::from(claim.most)).sum();
        let all: u32 = due.iter().sum();
        let rest = u64::from(limit).min(could).saturating_sub(u64::from(all)) as usize;
        let part = |at: usize| shares.get(at).map_or(0, |share| (share + NOTHING) % ONE - NOTHING);
        let mut next: Vec<usize> = (0..claims.len()).filter(|at| part(*at) > 0).collect();
        let rank = |at: &usize| {
            let pool = claims.get(*at).map(|claim| claim.pool);
            std::cmp::Reverse((pool.map_or(0, |pool| self.of(pool)), part(*at)))
        };
        next.sort_by_key(rank);
        for at in next.into_iter().take(rest) {
            if let Some(due) = due.get_mut(at) {
                *due += 1;
            }
        }
        due
    }

    /// How much less than its share the pool has had.
    pub(super) fn of(&self, pool: PoolId) -> i64 {
        self.0.get(&pool).copied().unwrap_or_default()
    }

    /// What was used is compared with the shares of as much: connections that change hands are nobody's for a while.
    fn note(&mut self, claims: &[Claim], shares: &[i64], turns: i64) {
        let used: i64 = claims.iter().map(|claim| i64::from(claim.live)).sum();
        let whole: i64 = shares.iter().sum();
        let mut noted = BTreeMap::new();
        for (claim, share) in claims.iter().zip(shares).filter(|(claim, _)| claim.waits) {
            let fair = i128::from(*share) * i128::from(used * ONE) / i128::from(whole.max(1));
            let lost = (fair as i64 - i64::from(claim.live) * ONE).saturating_mul(turns);
            let deficit = self.of(claim.pool).saturating_add(lost);
            noted.insert(claim.pool, deficit.clamp(-LONGEST_MEMORY, LONGEST_MEMORY));
        }
        // who waits for nothing is owed nothing
        self.0 = noted;
    }
}

/// What each pool keeps, in whole connections: all that it is to keep, or parts by weight if that is more than there is;
/// at least one each, if there are as many.
pub(super) fn kept(limit: u32, claims: &[Claim]) -> Vec<u32> {
    let keepers = claims.iter().filter(|claim| claim.least > 0).count();
    let one = u32::from(keepers <= limit as usize);
    let kept =
        |claim: &Claim| Claim { least: claim.least.min(one), most: claim.least, waits: false, ..*claim };
    let claims: Vec<Claim> = claims.iter().map(kept).collect();
    Deficits::default().turn(limit, &claims, 0)
}

/// What each claim is due, in parts of a connection.
fn shares(limit: u32, claims: &[Claim]) -> Vec<i64> {
    let at = |level: i64| {
        claims.iter().map(move |claim| {
            let by_weight = level.saturating_mul(i64::from(claim.weight));
            by_weight.clamp(i64::from(claim.least) * ONE, i64::from(claim.most.max(claim.least)) * ONE)
        })
    };
    let whole = i128::from(limit) * i128::from(ONE);
    let fits = |level: i64| at(level).map(i128::from).sum::<i128>() <= whole;
    // the highest level that fits
    let (mut low, mut high) = (0, (i64::from(limit) + 1) * ONE);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    at(low).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(pool: u32, weight: u32, least: u32, most: u32) -> Claim {
        Claim { pool: PoolId(pool), weight, least, most, live: 0, waits: true }
    }

    fn due(limit: u32, claims: &[Claim]) -> Vec<u32> {
        Deficits::default().turn(limit, claims, 0)
    }

    /// What each has had, as a part of a turn, when everybody gets at once what it is due.
    fn over_time(limit: u32, mut claims: Vec<Claim>, turns: u32) -> Vec<f64> {
        let (mut deficits, mut had) = (Deficits::default(), vec![0_u32; claims.len()]);
        for _ in 0..turns {
            let due = deficits.turn(limit, &claims, 1);
            for ((claim, due), had) in claims.iter_mut().zip(due).zip(&mut had) {
                claim.live = due;
                *had += due;
            }
        }
        had.into_iter().map(|had| f64::from(had) / f64::from(turns)).collect()
    }

    #[test]
    fn connections_are_shared_by_weight_and_what_one_does_not_need_is_shared_again() {
        assert_eq!(due(4, &[claim(1, 300, 0, 9), claim(2, 100, 0, 9)]), [3, 1]);
        assert_eq!(due(9, &[claim(1, 300, 0, 2), claim(2, 100, 0, 9), claim(3, 100, 0, 3)]), [2, 4, 3]);
        assert_eq!(due(9, &[claim(1, 300, 0, 2), claim(2, 100, 0, 3)]), [2, 3], "enough for all");
        assert_eq!(due(4, &[claim(1, 1000, 0, 9), claim(2, 1, 2, 9)]), [2, 2], "its minimum");
        assert_eq!(due(0, &[claim(1, 1, 0, 9)]), [0]);
    }

    #[test]
    fn minimums_that_are_too_much_are_scaled_down_by_weight() {
        let claims = [claim(1, 100, 2, 9), claim(2, 100, 1, 9)];
        assert_eq!(kept(9, &claims), [2, 1]);
        assert_eq!(kept(4, &[claim(1, 300, 4, 9), claim(2, 100, 4, 9)]), [3, 1]);
        assert_eq!(kept(0, &claims), [0, 0]);
        assert_eq!(kept(2, &[claim(1, 900, 4, 9), claim(2, 100, 4, 9), claim(3, 1, 0, 9)]), [1, 1, 0]);
    }

    #[test]
    fn parts_of_a_connection_are_had_in_turns() {
        assert_eq!(over_time(5, vec![claim(1, 300, 0, 9), claim(2, 100, 0, 9)], 400), [3.75, 1.25]);
        let one_of_forty = over_time(4, (0..40).map(|pool| claim(pool, 7, 0, 3)).collect(), 400);
        assert!(one_of_forty.iter().all(|had| (had - 0.1).abs() < 0.01), "{one_of_forty:?}");
    }

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let one = (1_u32..=1000, 0_u32..4, 0_u32..20);
        prop::collection::vec(one, 1..12).prop_map(|all| {
            let claims = all.into_iter().zip(0..);
            claims.map(|((weight, least, more), pool)| claim(pool, weight, least, least + more)).collect()
        })
    }

    proptest! {
        #[test]
        fn nobody_is_due_more_than_it_can_use_and_all_together_what_there_is(claims in claims(), limit in 0_u32..60) {
            let kept = kept(limit, &claims);
            prop_assert!(kept.iter().sum::<u32>() <= limit);
            let claims: Vec<_> = claims.iter().zip(&kept).map(|(one, least)| Claim { least: *least, ..*one }).collect();
            let due = due(limit, &claims);
            for (one, due) in claims.iter().zip(&due) {
                prop_assert!((one.least..=one.most).contains(due), "{due} of {one:?}");
            }
            let could: u32 = claims.iter().map(|claim| claim.most).sum();
            prop_assert_eq!(due.iter().sum::<u32>(), could.min(limit));
        }

        #[test]
        fn over_time_each_has_had_its_share(
            weights in prop::collection::vec(1_u32..=100, 1..8),
            limit in 1_u32..12,
        ) {
            let claims: Vec<_> = weights.iter().zip(0..).map(|(weight, pool)| claim(pool, *weight, 0, 99)).collect();
            let all: u32 = weights.iter().sum();
            for (had, weight) in over_time(limit, claims, 2000).into_iter().zip(&weights) {
                let share = f64::from(limit * weight) / f64::from(all);
                prop_assert!((had - share).abs() < 0.02, "{had} instead of {share}");
            }
        }
    }
}
