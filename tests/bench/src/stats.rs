//! Medians, and ratios between values of the same round.

use std::collections::BTreeMap;

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(middle - 1).map(|lower| f64::midpoint(*lower, upper))
}

/// The lowest value.
pub(crate) fn lowest(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    values.into_iter().min_by(f64::total_cmp)
}

/// The highest value.
pub(crate) fn highest(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    values.into_iter().max_by(f64::total_cmp)
}

/// Each value divided by the other's of the same round; rounds that one of them lacks are left out.
pub(crate) fn ratios(values: &BTreeMap<usize, f64>, base: &BTreeMap<usize, f64>) -> Vec<f64> {
    let of_round = |round: &usize| base.get(round).filter(|value| **value > 0.0);
    values.iter().filter_map(|(round, value)| Some(value / of_round(round)?)).collect()
}

/// With six digits: more than any measurement here is good for.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn six_digits_are_kept() {
        assert_eq!(
            [12.345_678_9, 0.0, 1_234_567.0].map(|value| rounded(value).to_string()),
            ["12.3457", "0", "1234570"]
        );
    }

    #[test]
    fn ratios_are_taken_within_a_round_only() {
        let ours = BTreeMap::from([(1, 5.0), (2, 8.0), (4, 1.0)]);
        let theirs = BTreeMap::from([(2, 10.0), (1, 10.0), (3, 7.0), (4, 0.0)]);
        assert_eq!(ratios(&ours, &theirs), [0.5, 0.8]);
    }

    #[test]
    fn extremes_of_nothing_are_nothing() {
        assert_eq!((lowest([]), highest([])), (None, None));
        assert_eq!((lowest([2.0, 1.0]), highest([2.0, 1.0])), (Some(1.0), Some(2.0)));
    }
}
