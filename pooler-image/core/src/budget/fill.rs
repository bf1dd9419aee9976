//! Sharing out: weighted max-min fairness in whole connections.

/// Who asks for how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Its part compared with others; 0 counts as 1.
    pub weight: u32,
    /// No more than that.
    pub want: u32,
}

/// Shares `total` out so that nobody can get more without somebody getting less who has no more for its weight.
/// Nobody gets more than it wants, and nothing is left while somebody wants more.
pub fn fill(total: u32, claims: &[Claim]) -> Vec<u32> {
    let mut parts = vec![0; claims.len()];
    let mut rest = u64::from(total);
    let mut open: Vec<usize> = (0..claims.len()).filter(|index| claims[*index].want > 0).collect();
    loop {
        let weights = weight_of(claims, &open);
        let fits = |index: &usize| {
            u64::from(claims[*index].want) * weights <= rest * u64::from(claims[*index].weight.max(1))
        };
        let (modest, others): (Vec<usize>, Vec<usize>) = open.iter().partition(|index| fits(index));
        if modest.is_empty() {
            break;
        }
        for index in modest {
            parts[index] = claims[index].want;
            rest -= u64::from(claims[index].want);
        }
        open = others;
    }
    let weights = weight_of(claims, &open);
    let shared = rest;
    for index in &open {
        let part = shared * u64::from(claims[*index].weight.max(1)) / weights;
        parts[*index] = part as u32;
        rest -= part;
    }
    // each of these wants more than it has: what rounding left is fewer than they are
    for index in open.into_iter().take(rest as usize) {
        parts[index] += 1;
    }
    parts
}

fn weight_of(claims: &[Claim], open: &[usize]) -> u64 {
    open.iter().map(|index| u64::from(claims[*index].weight.max(1))).sum()
}

/// Adds `more` to the lowest of `levels`, so that they come as close to each other as possible; none is lowered.
pub fn raise(more: u32, levels: &[u32]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..levels.len()).collect();
    order.sort_by_key(|index| levels[*index]);
    let mut after = levels.to_vec();
    let mut rest = u64::from(more);
    let mut count = 0;
    for (position, index) in order.iter().enumerate() {
        count = position + 1;
        let next = order.get(count).map_or(u64::MAX, |next| u64::from(levels[*next]));
        let level = u64::from(after[*index]);
        let step = (next - level).min(rest / count as u64);
        for lower in &order[..count] {
            after[*lower] += step as u32;
        }
        rest -= step * count as u64;
        if level + step < next {
            break;
        }
    }
    for index in order.iter().take((rest as usize).min(count)) {
        after[*index] += 1;
    }
    after
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn want(want: u32) -> Claim {
        Claim { weight: 1, want }
    }

    #[test]
    fn who_wants_little_gets_it_and_the_others_get_the_same() {
        assert_eq!(fill(10, &[want(2), want(50), want(9)]), [2, 4, 4]);
        assert_eq!(fill(11, &[want(2), want(50), want(9)]), [2, 5, 4]);
        assert_eq!(fill(100, &[want(2), want(50)]), [2, 50]);
        assert_eq!(fill(9, &[Claim { weight: 2, want: 50 }, want(50)]), [6, 3]);
        assert_eq!(fill(5, &[]), Vec::<u32>::new());
    }

    #[test]
    fn the_lowest_are_raised_first() {
        assert_eq!(raise(4, &[1, 5, 2]), [4, 5, 3]);
        assert_eq!(raise(100, &[1, 5]), [53, 53]);
        assert_eq!(raise(1, &[3, 3, 3]), [4, 3, 3]);
        assert_eq!(raise(0, &[3]), [3]);
        assert_eq!(raise(7, &[]), Vec::<u32>::new());
    }

    proptest! {
        #[test]
        fn all_is_shared_out_or_all_are_content(
            total in 0u32..5000, claims in prop::collection::vec((0u32..5, 0u32..500), 0..40)
        ) {
            let claims: Vec<Claim> = claims.into_iter().map(|(weight, want)| Claim { weight, want }).collect();
            let parts = fill(total, &claims);
            let wanted: u32 = claims.iter().map(|claim| claim.want).sum();
            prop_assert_eq!(parts.iter().sum::<u32>(), total.min(wanted));
            for (part, claim) in parts.iter().zip(&claims) {
                prop_assert!(*part <= claim.want);
            }
            for (mine, claim) in parts.iter().zip(&claims) {
                for (other, theirs) in parts.iter().zip(&claims) {
                    // who lacks something has no less for its weight than anybody, but for rounding
                    if *mine < claim.want {
                        let (a, b) = (claim.weight.max(1), theirs.weight.max(1));
                        prop_assert!((u64::from(*mine) + 1) * u64::from(b) + u64::from(a) >= u64::from(*other) * u64::from(a));
                    }
                }
            }
        }

        #[test]
        fn nothing_is_lost_and_nobody_is_lowered(more in 0u32..2000, levels in prop::collection::vec(0u32..300, 1..30)) {
            let after = raise(more, &levels);
            prop_assert_eq!(after.iter().sum::<u32>(), levels.iter().sum::<u32>() + more);
            let lowest = after.iter().min().copied().unwrap_or(0);
            for (old, new) in levels.iter().zip(&after) {
                prop_assert!(new >= old);
                prop_assert!(new == old || *new <= lowest + 1);
            }
        }
    }
}
