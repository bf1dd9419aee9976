//! Latencies, counted in buckets whose width grows with them.

use std::time::Duration;

/// Buckets of each power of two: a value is known to about 0.4 %.
const STEPS: usize = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Up to 2^42 ns, more than an hour.
const POWERS: usize = 42;

/// Counts of latencies.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * POWERS], total: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(bucket(nanos).min(last)) {
            *count += 1;
        }
        self.total += 1;
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that this share of them (0 to 1) did not exceed; zero if there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(middle(bucket));
            }
        }
        Duration::ZERO
    }
}

/// Below [`STEPS`] each nanosecond has its own; above, [`STEPS`] buckets for each power of two.
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let power = nanos.ilog2() - STEP_BITS;
    (power as usize) * STEPS + (nanos >> power) as usize
}

fn middle(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS - 1;
    let low = ((bucket - power * STEPS) as u64) << power;
    low + (1 << power) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_known_to_one_percent_at_every_size() {
        for nanos in (0..40).flat_map(|power| [1_u64 << power, (1 << power) + (1 << power) / 3]) {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_nanos(nanos));
            let known = histogram.quantile(0.5).as_nanos() as f64;
            assert!((known - nanos as f64).abs() <= nanos as f64 * 0.01, "{nanos} became {known}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_latencies() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        for (share, micros) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let known = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((known - micros).abs() < micros * 0.02, "{share}: {known}");
        }
        assert_eq!(histogram.total(), 1000);
    }

    #[test]
    fn buckets_grow_with_the_value_and_none_is_left_out() {
        let mut last = 0;
        for nanos in 0..100_000_u64 {
            let bucket = bucket(nanos);
            assert!(bucket == last || bucket == last + 1, "{nanos} is in {bucket} after {last}");
            last = bucket;
        }
    }
}
