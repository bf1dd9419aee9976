//! Who is due how many connections when there are too few for all.
//!
//! A pool's *share* is in proportion to its weight, but no less than it keeps and no more than it can use; what others
//! cannot use is shared by weight as well. Shares are rarely whole numbers. A pool has the whole part of its share always,
//! and the rest of it in turns: who has had least for longest is next. So whoever waits is served, and over time each pool
//! has had its share.

use super::PoolId;

/// What a pool can use, what it has, and what it is due of that.
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
    /// How much less than its share it has had, in parts of a connection for one turn.
    pub(super) deficit: i64,
    /// In parts of a connection.
    pub(super) share: i64,
    /// Connections that it is due; see [`turn`].
    pub(super) due: u32,
}

/// One connection, or one connection for one turn: shares are fractions of it.
const ONE: i64 = 1 << 32;

/// Less than this is an error of rounding.
const NOTHING: i64 = ONE >> 12;

/// What is remembered of one pool's good or bad luck at most: in a transaction of a minute it cannot get back to others
/// what it has had too much, and they must not be without for minutes then.
const LONGEST_MEMORY: i64 = 64 * ONE;

impl Claim {
    /// What the pool can use, with nothing that it has or has had.
    pub(super) fn new(pool: PoolId, weight: u32, least: u32, most: u32) -> Self {
        Self { pool, weight, least, most, live: 0, waits: false, deficit: 0, share: 0, due: 0 }
    }

    /// What it has of so much for each unit of weight, and whether it would have more of more.
    fn at(&self, level: i64) -> (i64, bool) {
        let (least, most) = (i64::from(self.least) * ONE, i64::from(self.most.max(self.least)) * ONE);
        let by_weight = level.saturating_mul(i64::from(self.weight));
        (by_weight.clamp(least, most), (least..most).contains(&by_weight))
    }

    /// The part of its share that is less than a connection.
    fn part(&self) -> i64 {
        (self.share + NOTHING) % ONE - NOTHING
    }

    /// What was used by all is compared with the shares of as much: connections that change hands are nobody's for a
    /// while. Who waits for nothing is owed nothing.
    fn note(&mut self, used: i64, whole: i64, turns: i64) {
        if !self.waits {
            self.deficit = 0;
            return;
        }
        let fair = i128::from(self.share) * i128::from(used * ONE) / i128::from(whole.max(1));
        let lost = (fair as i64 - i64::from(self.live) * ONE).saturating_mul(turns);
        self.deficit = self.deficit.saturating_add(lost).clamp(-LONGEST_MEMORY, LONGEST_MEMORY);
    }
}

/// Works out what each claim is due from now on, all together not more than `limit`, and its deficit. `turns`: how many
/// have passed since the last time. The claims come back in another order.
pub(super) fn turn(limit: u32, claims: &mut [Claim], turns: u32) {
    share(limit, claims);
    let used: i64 = claims.iter().map(|claim| i64::from(claim.live)).sum();
    let whole: i64 = claims.iter().map(|claim| claim.share).sum();
    for claim in claims.iter_mut() {
        claim.note(used, whole, i64::from(turns));
        claim.due = ((claim.share + NOTHING) / ONE) as u32;
    }
    let all: u64 = claims.iter().map(|claim| u64::from(claim.due)).sum();
    let rest = u64::from(limit).min(could_use(claims)).saturating_sub(all) as usize;
    if rest > 0 {
        claims.sort_unstable_by_key(|claim| {
            let part = claim.part();
            (part <= 0, std::cmp::Reverse((claim.deficit, part)), claim.pool)
        });
        claims.iter_mut().take(rest).filter(|claim| claim.part() > 0).for_each(|claim| claim.due += 1);
    }
}

/// What each pool keeps, in whole connections: all that it is to keep, or parts by weight if that is more than there is;
/// at least one each, if there are as many. In the order of `claims`, which is that of the pools.
pub(super) fn kept(limit: u32, claims: &[Claim]) -> Vec<u32> {
    let keepers = claims.iter().filter(|claim| claim.least > 0).count();
    let one = u32::from(keepers <= limit as usize);
    let kept = |claim: &Claim| Claim::new(claim.pool, claim.weight, claim.least.min(one), claim.least);
    let mut claims: Vec<Claim> = claims.iter().map(kept).collect();
    turn(limit, &mut claims, 0);
    claims.sort_unstable_by_key(|claim| claim.pool);
    claims.iter().map(|claim| claim.due).collect()
}

fn could_use(claims: &[Claim]) -> u64 {
    claims.iter().map(|claim| u64::from(claim.most)).sum()
}

/// Works out the share of each claim: all that it could use, or the highest level that fits, the same for all, by weight.
fn share(limit: u32, claims: &mut [Claim]) {
    if could_use(claims) <= u64::from(limit) {
        for claim in claims {
            claim.share = i64::from(claim.most) * ONE;
        }
        return;
    }
    let level = highest_that_fits(i64::from(limit) * ONE, claims);
    for claim in claims {
        claim.share = claim.at(level).0;
    }
}

/// The highest level at which all together have not more than `whole`.
fn highest_that_fits(whole: i64, claims: &[Claim]) -> i64 {
    let at = |level: i64| {
        claims.iter().fold((0_i64, 0_i64), |(sum, slope), claim| {
            let (has, grows) = claim.at(level);
            (sum.saturating_add(has), slope + if grows { i64::from(claim.weight) } else { 0 })
        })
    };
    let (mut low, mut high) = (0, whole + ONE);
    let weights: i64 = claims.iter().map(|claim| i64::from(claim.weight)).sum();
    let (mut level, mut along) = (whole / weights.max(1), false);
    while low + 1 < high {
        level = level.clamp(low + 1, high - 1);
        let (width, (sum, slope)) = (high - low, at(level));
        if sum <= whole {
            low = level;
        } else {
            high = level;
        }
        // on along the line, which mostly hits soon; halves where bends make that slow
        along = slope > 0 && (!along || high - low <= width / 2);
        level = if along {
            level.saturating_add((whole - sum).div_euclid(slope))
        } else {
            low + (high - low) / 2
        };
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(pool: u32, weight: u32, least: u32, most: u32) -> Claim {
        Claim { waits: true, ..Claim::new(PoolId(pool), weight, least, most) }
    }

    /// In the order of the pools.
    fn turned(limit: u32, claims: &[Claim], turns: u32) -> Vec<Claim> {
        let mut claims = claims.to_vec();
        turn(limit, &mut claims, turns);
        claims.sort_by_key(|claim| claim.pool);
        claims
    }

    fn due(limit: u32, claims: &[Claim]) -> Vec<u32> {
        turned(limit, claims, 0).iter().map(|claim| claim.due).collect()
    }

    /// What each has had, as a part of a turn, when everybody gets at once what it is due.
    fn over_time(limit: u32, mut claims: Vec<Claim>, turns: u32) -> Vec<f64> {
        let mut had = vec![0_u32; claims.len()];
        for _ in 0..turns {
            claims = turned(limit, &claims, 1);
            for (claim, had) in claims.iter_mut().zip(&mut had) {
                claim.live = claim.due;
                *had += claim.due;
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
            let claims = turned(limit, &claims, 0);
            for one in &claims {
                prop_assert!((one.least..=one.most).contains(&one.due), "{one:?}");
            }
            let could: u32 = claims.iter().map(|claim| claim.most).sum();
            prop_assert_eq!(claims.iter().map(|claim| claim.due).sum::<u32>(), could.min(limit));
        }

        #[test]
        fn the_level_is_the_highest_that_fits(claims in claims(), limit in 0_u32..60) {
            let whole = i64::from(limit) * ONE;
            let sum = |level: i64| claims.iter().map(|claim| claim.at(level).0).sum::<i64>();
            let shared: i64 = turned(limit, &claims, 0).iter().map(|claim| claim.share).sum();
            let (mut low, mut high) = (0, whole + ONE);
            while low + 1 < high {
                let middle = low + (high - low) / 2;
                if sum(middle) <= whole { low = middle } else { high = middle }
            }
            prop_assert_eq!(shared, sum(low));
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
