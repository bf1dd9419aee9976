//! Lines in the log about connections that failed: a few for each address, however many there are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Origin;

/// Lines about one address in a period.
const LINES: u32 = 5;

/// The period.
const PERIOD: Duration = Duration::from_mins(1);

/// Addresses that are told apart; the others share their lines.
const MOST_ORIGINS: usize = 1_000;

/// Whether a line is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Written, with how many lines about this address were left out before it.
    Write {
        /// Lines that were not written.
        left_out: u64,
        /// It is the last of the period, and should say so.
        last: bool,
    },
    /// Not written.
    LeaveOut,
}

/// Decides what is written about whom.
#[derive(Debug, Default)]
pub struct Notes {
    lines: HashMap<Origin, Lines>,
    others: Lines,
}

#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Notes {
    /// How long lines about an address are left out at most.
    pub const PERIOD: Duration = PERIOD;

    /// Something could be said about this address.
    pub fn note(&mut self, origin: Origin, now: Instant) -> Note {
        if !self.lines.contains_key(&origin) && self.lines.len() >= MOST_ORIGINS {
            if !self.others.is_over(now) {
                return self.others.note(now);
            }
            // once in a period at most
            self.lines.retain(|_, lines| !lines.is_over(now));
            if self.lines.len() >= MOST_ORIGINS {
                return self.others.note(now);
            }
        }
        self.lines.entry(origin).or_default().note(now)
    }
}

impl Lines {
    fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD)
    }

    fn note(&mut self, now: Instant) -> Note {
        if self.is_over(now) {
            self.since = Some(now);
            self.written = 0;
        }
        if self.written >= LINES {
            self.left_out += 1;
            return Note::LeaveOut;
        }
        self.written += 1;
        Note::Write { left_out: std::mem::take(&mut self.left_out), last: self.written == LINES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(n: u32) -> Origin {
        Origin::from(std::net::IpAddr::from(n.to_be_bytes()))
    }

    fn written(notes: &mut Notes, origin: Origin, times: usize, now: Instant) -> usize {
        (0..times).filter(|_| notes.note(origin, now) != Note::LeaveOut).count()
    }

    #[test]
    fn an_address_has_its_lines_and_the_next_period_tells_how_many_were_left_out() {
        let (mut notes, now) = (Notes::default(), Instant::now());
        assert_eq!(written(&mut notes, origin(1), 100, now), 5);
        assert_eq!(notes.note(origin(2), now), Note::Write { left_out: 0, last: false });
        let later = now + PERIOD;
        assert_eq!(notes.note(origin(1), later), Note::Write { left_out: 95, last: false });
        assert_eq!(written(&mut notes, origin(1), 100, later), 4);
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_memory_and_lines() {
        let (mut notes, now) = (Notes::default(), Instant::now());
        let all: usize = (0..20_000).map(|n| written(&mut notes, origin(n), 10, now)).sum();
        assert_eq!(all, (MOST_ORIGINS + 1) * 5);
        assert_eq!(notes.lines.len(), MOST_ORIGINS);
        // whoever comes later is told apart again
        assert_eq!(written(&mut notes, origin(30_000), 10, now + PERIOD), 5);
        assert!(notes.lines.len() < MOST_ORIGINS);
    }
}
