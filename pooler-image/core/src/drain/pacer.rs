//! One client after the other.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The time between two clients of one pool, when there is enough of it: its callers do not notice then, while two dozen
/// at once cost one of them a second (measured with `psycopg_pool`).
pub const LONGEST_INTERVAL: Duration = Duration::from_millis(250);

/// The part of the time left that one round of all clients would take at the interval of the moment: since the interval
/// grows again as they leave, ten thousand have left after three quarters of the time.
const PART: u32 = 8;

/// The time between two clients of a pool that has so many of them, when all have to be gone in `left` (none: they need
/// not be).
pub fn interval(clients: u32, left: Option<Duration>) -> Duration {
    let share = left.map(|left| left / PART / clients.max(1));
    share.map_or(LONGEST_INTERVAL, |share| share.min(LONGEST_INTERVAL))
}

/// When whose last client left.
#[derive(Debug)]
pub struct Pacer<K> {
    last: HashMap<K, Instant>,
}

impl<K> Default for Pacer<K> {
    fn default() -> Self {
        Self { last: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone> Pacer<K> {
    /// Whether a client of this pool may leave now; if so, it counts as having left.
    pub fn lets_go(&mut self, pool: &K, clients: u32, left: Option<Duration>, now: Instant) -> bool {
        let interval = interval(clients, left);
        match self.last.get_mut(pool) {
            Some(last) if now.saturating_duration_since(*last) < interval => false,
            Some(last) => {
                *last = now;
                true
            }
            None => {
                self.last.insert(pool.clone(), now);
                true
            }
        }
    }

    /// Forgets what makes no difference any more.
    pub fn trim(&mut self, now: Instant) {
        self.last.retain(|_, last| now.saturating_duration_since(*last) < LONGEST_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Asks every `step`, for pools of `clients` each, until all have left or the time is over; when each left.
    fn play(clients: u32, time: Duration, step: Duration) -> Vec<Duration> {
        let (begin, mut pacer, mut stay) = (Instant::now(), Pacer::default(), clients);
        let (mut at, mut departures) = (Duration::ZERO, Vec::new());
        while at < time && stay > 0 {
            if pacer.lets_go(&"pool", stay, Some(time.saturating_sub(at)), begin + at) {
                stay -= 1;
                departures.push(at);
            }
            at += step;
        }
        departures
    }

    #[test]
    fn pools_do_not_wait_for_each_other() {
        let (mut pacer, now) = (Pacer::default(), Instant::now());
        assert!(pacer.lets_go(&1, 10, None, now));
        assert!(!pacer.lets_go(&1, 9, None, now + LONGEST_INTERVAL / 2));
        assert!(pacer.lets_go(&2, 10, None, now));
        pacer.trim(now + LONGEST_INTERVAL);
        assert!(pacer.last.is_empty());
    }

    #[test]
    fn ten_thousand_of_one_pool_leave_in_time() {
        let time = Duration::from_mins(5);
        let departures = play(10_000, time, Duration::from_millis(1));
        assert_eq!(departures.len(), 10_000);
        assert!(departures.last().unwrap() < &(time * 3 / 4));
    }

    proptest! {
        #[test]
        fn never_two_within_an_interval_and_all_before_the_end(
            clients in 1..2000_u32, seconds in 5..600_u64, step in 1..5_u64,
        ) {
            let time = Duration::from_secs(seconds);
            let step = Duration::from_millis(step);
            // nobody can leave more often than is asked
            prop_assume!(step * clients * PART < time);
            let departures = play(clients, time, step);
            prop_assert_eq!(departures.len() as u32, clients);
            for (n, pair) in departures.windows(2).enumerate() {
                let stay = clients - 1 - n as u32;
                let between = pair[1].saturating_sub(pair[0]);
                prop_assert!(between >= interval(stay, Some(time.saturating_sub(pair[1]))));
            }
        }

        #[test]
        fn the_interval_grows_as_clients_leave(clients in 2..10_000_u32, millis in 1..600_000_u64) {
            let left = Duration::from_millis(millis);
            let now = interval(clients, Some(left));
            prop_assert!(now <= LONGEST_INTERVAL);
            prop_assert!(interval(clients - 1, Some(left.saturating_sub(now))) >= now);
        }
    }
}
