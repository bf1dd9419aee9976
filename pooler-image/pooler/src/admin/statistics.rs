//! Totals per database, and their averages over the last period. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::report::PoolReport;

/// How many figures a database has.
pub const FIGURES: usize = 12;

/// The figures of one database in PgBouncer's order: assignments, transactions, queries, bytes received, bytes sent,
/// microseconds in transactions, in queries and waiting, Parse by clients, Parse on servers, Bind, logins.
pub type Figures = [u64; FIGURES];

/// Figures by database.
pub type Totals = BTreeMap<String, Figures>;

/// Times are averaged over what took them: transactions, queries, assignments. All else over seconds.
const DIVISORS: [Option<usize>; FIGURES] =
    [None, None, None, None, None, Some(1), Some(2), Some(0), None, None, None, None];

/// Adds the pools of each database up.
pub fn by_database(pools: &[PoolReport]) -> Totals {
    let mut totals = Totals::new();
    for pool in pools {
        let sum = totals.entry(pool.database.clone()).or_default();
        for (sum, figure) in sum.iter_mut().zip(figures(pool)) {
            *sum += figure;
        }
    }
    totals
}

fn figures(pool: &PoolReport) -> Figures {
    let traffic = &pool.traffic;
    [
        traffic.waits.count(),
        traffic.transactions.count(),
        traffic.queries.count(),
        traffic.received,
        traffic.sent,
        traffic.transactions.micros(),
        traffic.queries.micros(),
        traffic.waits.micros(),
        traffic.client_parses,
        traffic.server_parses,
        traffic.binds,
        traffic.client_logins,
    ]
}

/// The totals as they were one and two periods ago, so that an average is over one to two periods, as in PgBouncer.
#[derive(Debug)]
pub struct Window {
    older: Snapshot,
    newer: Snapshot,
}

#[derive(Debug, Clone)]
struct Snapshot {
    at: Instant,
    totals: Totals,
}

impl Window {
    /// A window that opens now, at the start of the process, when every total is zero.
    pub fn new(now: Instant) -> Self {
        let start = Snapshot { at: now, totals: Totals::new() };
        Self { older: start.clone(), newer: start }
    }

    /// Begins a period.
    pub fn rotate(&mut self, now: Instant, totals: Totals) {
        self.older = std::mem::replace(&mut self.newer, Snapshot { at: now, totals });
    }

    /// Averages of `database` up to now, when its totals are `current`.
    pub fn averages(&self, now: Instant, database: &str, current: &Totals) -> Figures {
        let millis = now.saturating_duration_since(self.older.at).as_millis();
        let then = self.older.totals.get(database).copied().unwrap_or_default();
        let current = current.get(database).copied().unwrap_or_default();
        averages_between(then, current, millis)
    }

    /// Averages over all databases together.
    pub fn overall(&self, now: Instant, current: &Totals) -> Figures {
        let millis = now.saturating_duration_since(self.older.at).as_millis();
        averages_between(overall(&self.older.totals), overall(current), millis)
    }
}

/// All databases together.
pub fn overall(totals: &Totals) -> Figures {
    totals
        .values()
        .fold(Figures::default(), |sum, figures| std::array::from_fn(|index| sum[index] + figures[index]))
}

fn averages_between(then: Figures, current: Figures, millis: u128) -> Figures {
    // a pool that was dropped takes its totals along
    let grown: Figures = std::array::from_fn(|index| current[index].saturating_sub(then[index]));
    std::array::from_fn(|index| match DIVISORS[index] {
        Some(events) => grown[index].checked_div(grown[events]).unwrap_or(0),
        None => per_second(grown[index], millis),
    })
}

fn per_second(figure: u64, millis: u128) -> u64 {
    let rate = (u128::from(figure) * 1000).checked_div(millis).unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pool(database: &str, transactions: u64) -> PoolReport {
        let mut pool = PoolReport { database: database.into(), ..PoolReport::default() };
        for _ in 0..transactions {
            pool.traffic.transactions.record(Duration::from_millis(3));
            pool.traffic.waits.record(Duration::from_millis(1));
        }
        pool.traffic.received = transactions * 100;
        pool
    }

    #[test]
    fn the_users_of_a_database_add_up() {
        let totals = by_database(&[pool("a", 2), pool("a", 3), pool("b", 1)]);
        assert_eq!(totals["a"][..4], [5, 5, 0, 500]);
        assert_eq!(totals["a"][5], 15_000);
        assert_eq!(totals["b"][1], 1);
    }

    #[test]
    fn before_the_first_period_ends_averages_are_since_the_start() {
        let start = Instant::now();
        let window = Window::new(start);
        let averages = window.averages(start + 10 * SECOND, "a", &by_database(&[pool("a", 50)]));
        assert_eq!(averages, [5, 5, 0, 500, 0, 3000, 0, 1000, 0, 0, 0, 0]);
    }

    #[test]
    fn later_averages_are_over_the_last_periods_only() {
        let start = Instant::now();
        let mut window = Window::new(start);
        window.rotate(start + 60 * SECOND, by_database(&[pool("a", 600)]));
        window.rotate(start + 120 * SECOND, by_database(&[pool("a", 600)]));
        let averages = window.averages(start + 130 * SECOND, "a", &by_database(&[pool("a", 670)]));
        assert_eq!(averages[1], 1);
    }

    #[test]
    fn over_all_databases_a_time_is_averaged_over_what_took_it_in_any_of_them() {
        let start = Instant::now();
        let window = Window::new(start);
        let current = by_database(&[pool("a", 30), pool("b", 20)]);
        assert_eq!(overall(&current)[1], 50);
        let averages = window.overall(start + 10 * SECOND, &current);
        assert_eq!(averages, [5, 5, 0, 500, 0, 3000, 0, 1000, 0, 0, 0, 0]);
    }

    #[test]
    fn nothing_in_no_time_averages_to_zero() {
        let now = Instant::now();
        let window = Window::new(now);
        assert_eq!(window.averages(now, "a", &by_database(&[pool("a", 5)]))[1], 0);
        assert_eq!(window.averages(now + SECOND, "unknown", &Totals::new()), [0; FIGURES]);
    }

    #[test]
    fn totals_that_shrank_average_to_zero() {
        let start = Instant::now();
        let mut window = Window::new(start);
        window.rotate(start + SECOND, by_database(&[pool("a", 9)]));
        window.rotate(start + 2 * SECOND, Totals::new());
        assert_eq!(window.averages(start + 3 * SECOND, "a", &by_database(&[pool("a", 1)]))[1], 0);
    }
}
