//! What a fleet has seen, as numbers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::connection::Failure;

/// What one client has seen; merged into the fleet's.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    logins: Vec<u32>,
    transactions: Vec<u32>,
    errors: BTreeMap<Failure, u64>,
    moved: u64,
}

impl Tally {
    /// Notes a client that was told to go when it looked whether its connection is there.
    pub(crate) fn moved(&mut self) {
        self.moved += 1;
    }

    /// Notes a login that took this long.
    pub(crate) fn login(&mut self, since: Instant) {
        self.logins.push(micros(since.elapsed()));
    }

    /// Notes a transaction that took this long.
    pub(crate) fn transaction(&mut self, since: Instant) {
        self.transactions.push(micros(since.elapsed()));
    }

    /// Notes a failure.
    pub(crate) fn failure(&mut self, failure: Failure) {
        *self.errors.entry(failure).or_default() += 1;
    }

    /// Adds another client's.
    pub(crate) fn merge(&mut self, other: Self) {
        self.logins.extend(other.logins);
        self.transactions.extend(other.transactions);
        self.moved += other.moved;
        for (failure, count) in other.errors {
            *self.errors.entry(failure).or_default() += count;
        }
    }

    /// The summary, for a fleet of this size that began then.
    pub(crate) fn report(self, clients: u64, began: Instant) -> Report {
        Report {
            clients,
            moved: self.moved,
            seconds: began.elapsed().as_secs_f64(),
            logins: Latency::of(self.logins),
            transactions: Latency::of(self.transactions),
            errors: self.errors.into_iter().map(|(failure, count)| (failure.to_string(), count)).collect(),
        }
    }
}

/// What a fleet has seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Clients, most at once.
    pub(crate) clients: u64,
    /// How often a client was told to go when it looked whether its connection is there, and came again.
    #[serde(default)]
    pub(crate) moved: u64,
    /// From the first connect to the last close.
    pub(crate) seconds: f64,
    /// Connect to first `ReadyForQuery`.
    pub(crate) logins: Latency,
    /// First byte sent to last byte read.
    pub(crate) transactions: Latency,
    /// How often each failure was seen.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Report {
    /// All failures together.
    pub(crate) fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Failures whose text contains this.
    pub(crate) fn failures_with(&self, part: &str) -> u64 {
        self.errors.iter().filter(|(text, _)| text.contains(part)).map(|(_, count)| count).sum()
    }
}

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Measurements.
    pub(crate) count: u64,
    /// Arithmetic mean.
    pub(crate) mean: f64,
    /// Median.
    pub(crate) p50: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Latency {
    fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |share: f64| {
            let index = (share * micros.len() as f64).ceil() as usize;
            micros.get(index.saturating_sub(1)).map_or(0.0, |value| f64::from(*value) / 1000.0)
        };
        let sum: u64 = micros.iter().map(|value| u64::from(*value)).sum();
        let count = micros.len() as u64;
        let mean = sum as f64 / 1000.0 / count.max(1) as f64;
        Self { count, mean, p50: at(0.50), p99: at(0.99), max: at(1.0) }
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements_by_nearest_rank() {
        let latency = Latency::of((1..=100).rev().map(|value| value * 1000).collect());
        assert_eq!((latency.p50, latency.p99, latency.max, latency.mean), (50.0, 99.0, 100.0, 50.5));
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
