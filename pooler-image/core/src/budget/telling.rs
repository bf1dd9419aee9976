//! When a pod tells without being asked: at once when clients wait, seldom when nothing happens.

use std::time::Duration;

use super::protocol::Report;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// While clients wait, or connections above the limit are being closed.
    pub pressed: Duration,
    /// While figures change.
    pub busy: Duration,
    /// When nothing happens.
    pub rest: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            pressed: Duration::from_millis(200),
            busy: Duration::from_secs(2),
            rest: Duration::from_secs(20),
        }
    }
}

/// Whether `now` is worth telling to who was told `last` so long ago.
pub fn is_worth_telling(last: &Report, now: &Report, since: Duration, rhythm: &Rhythm) -> bool {
    let changed = last.phase != now.phase
        || last.stamp != now.stamp
        || last.limit != now.limit
        || last.max_connections != now.max_connections
        || last.usage.refused != now.usage.refused;
    let begins_to_wait = last.usage.waiting == 0 && now.usage.waiting > 0;
    let is_back_at_limit = last.usage.held > last.limit && now.usage.held <= now.limit;
    let pressed = now.usage.waiting > 0 || last.usage.held > last.limit || now.usage.held > now.limit;
    let figures = last.usage != now.usage;
    changed
        || begins_to_wait
        || is_back_at_limit
        || (pressed && figures && since >= rhythm.pressed)
        || (figures && since >= rhythm.busy)
        || since >= rhythm.rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Phase, Stamp, Use};

    fn report(limit: u32, usage: Use) -> Report {
        Report {
            incarnation: 1,
            uptime: 0,
            number: 1,
            stamp: Stamp::default(),
            phase: Phase::Serving,
            floor: 1,
            limit,
            max_connections: Some(100),
            usage,
            clients: None,
        }
    }

    fn tells(last: &Report, now: &Report, millis: u64) -> bool {
        is_worth_telling(last, now, Duration::from_millis(millis), &Rhythm::default())
    }

    #[test]
    fn nothing_new_is_told_seldom() {
        let idle = report(9, Use { held: 3, ..Use::default() });
        assert!(!tells(&idle, &idle, 19_999));
        assert!(tells(&idle, &idle, 20_000));
    }

    #[test]
    fn the_first_client_that_waits_is_told_at_once_and_the_next_soon() {
        let idle = report(9, Use { held: 9, active: 9, ..Use::default() });
        let one = report(9, Use { waiting: 1, ..idle.usage });
        let two = report(9, Use { waiting: 2, ..idle.usage });
        assert!(tells(&idle, &one, 0));
        assert!(!tells(&one, &two, 199));
        assert!(tells(&one, &two, 200));
    }

    #[test]
    fn what_is_given_back_is_told_as_it_goes_and_at_its_end_at_once() {
        let [eight, seven, five] = [8, 7, 5].map(|held| report(5, Use { held, ..Use::default() }));
        assert!(!tells(&eight, &seven, 100));
        assert!(tells(&eight, &seven, 200));
        assert!(tells(&seven, &five, 0));
    }

    #[test]
    fn a_refusal_by_the_server_is_told_at_once() {
        let before = report(9, Use::default());
        let after = report(9, Use { refused: 1, ..Use::default() });
        assert!(tells(&before, &after, 0));
    }
}
