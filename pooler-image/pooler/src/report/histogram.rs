//! Durations in fixed buckets, cheap enough to record one per transaction.

use std::time::Duration;

/// Upper bounds of the buckets in microseconds, inclusive; what is longer counts in the last bucket, which has no bound.
pub const BOUNDS: [u64; 20] = [
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
];

/// How many durations fell into each bucket, and their sum.
///
/// Plain integers: each loop has its own and they are added up when somebody asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BOUNDS.len() + 1],
    micros: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket] += 1;
        self.micros = self.micros.saturating_add(micros);
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum in microseconds.
    pub fn micros(&self) -> u64 {
        self.micros
    }

    /// Durations per bucket, not cumulated, in the order of [`BOUNDS`] with the unbounded one last.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// Adds another loop's durations.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += count;
        }
        self.micros = self.micros.saturating_add(other.micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_equal_to_a_bound_counts_in_that_bucket() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_micros(50));
        histogram.record(Duration::from_micros(51));
        assert_eq!(histogram.buckets()[..2], [1, 1]);
        assert_eq!(histogram.micros(), 101);
    }

    #[test]
    fn the_shortest_and_the_longest_duration_have_a_bucket() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.buckets()[0], 1);
        assert_eq!(histogram.buckets()[BOUNDS.len()], 1);
        assert_eq!(histogram.count(), 2);
    }

    #[test]
    fn merged_histograms_hold_the_durations_of_both() {
        let (mut one, mut two) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_millis(3));
        two.record(Duration::from_millis(3));
        two.record(Duration::from_secs(1));
        one.merge(&two);
        assert_eq!(one.count(), 3);
        assert_eq!(one.micros(), 1_006_000);
    }
}
