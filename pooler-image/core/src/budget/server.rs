//! What is believed of the server beyond what it says: places that it hides, and places that others need.

use std::time::{Duration, Instant};

/// So long after a refusal hidden places are given back, one at a time.
const QUIET: Duration = Duration::from_mins(10);
/// Between two that are given back.
const STEP: Duration = Duration::from_mins(1);
/// The most that others used is remembered for so long.
const FOREIGN_MEMORY: Duration = Duration::from_hours(24);
/// In so many parts: memory stays small, and forgetting is gradual.
const PARTS: usize = 24;

/// What is believed of one server.
#[derive(Debug, Clone, Default)]
pub struct Belief {
    hidden: u32,
    refused_at: Option<Instant>,
    returned_at: Option<Instant>,
    /// Most sessions of others, in each part of the memory, latest last.
    foreign: Vec<(Instant, u32)>,
}

impl Belief {
    /// PostgreSQL was full (SQLSTATE 53300) while `known` places were in use as far as anybody could see, of `usable` in
    /// all: what lacks is hidden, by the service or by sessions that nobody sees.
    pub fn refused(&mut self, usable: u32, known: u32, now: Instant) {
        let lacking = usable.saturating_sub(self.hidden).saturating_sub(known).max(1);
        // one storm of refusals is one lesson
        let fresh =
            self.refused_at.is_none_or(|last| now.saturating_duration_since(last) >= Duration::from_secs(2));
        if fresh {
            self.hidden = self.hidden.saturating_add(lacking).min(usable);
        }
        self.refused_at = Some(now);
        self.returned_at = None;
    }

    /// Places of the usable ones that are not to be had.
    pub fn hidden(&mut self, now: Instant) -> u32 {
        let Some(refused_at) = self.refused_at else { return self.hidden };
        let mut next = self.returned_at.map_or(refused_at + QUIET, |last| last + STEP);
        while self.hidden > 0 && next <= now {
            self.hidden -= 1;
            self.returned_at = Some(next);
            next += STEP;
        }
        self.hidden
    }

    /// So many sessions of others were seen.
    pub fn note_foreign(&mut self, sessions: u32, now: Instant) {
        let part = FOREIGN_MEMORY / PARTS as u32;
        match self.foreign.last_mut() {
            Some((began, most)) if now.saturating_duration_since(*began) < part => {
                *most = sessions.max(*most);
            }
            _ => self.foreign.push((now, sessions)),
        }
        self.foreign.retain(|(began, _)| now.saturating_duration_since(*began) < FOREIGN_MEMORY);
    }

    /// The most sessions of others within a day.
    pub fn foreign_peak(&self) -> u32 {
        self.foreign.iter().map(|(_, most)| *most).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_hides_five_places_is_learnt_from_one_storm() {
        let now = Instant::now();
        let mut belief = Belief::default();
        for millis in 0..100 {
            belief.refused(97, 92, now + Duration::from_millis(millis));
        }
        assert_eq!(belief.hidden(now), 5);
        belief.refused(97, 92, now + Duration::from_secs(5));
        assert_eq!(belief.hidden(now), 6, "it was not enough");
    }

    #[test]
    fn what_was_believed_is_tried_again_after_ten_quiet_minutes_one_by_one() {
        let now = Instant::now();
        let mut belief = Belief::default();
        belief.refused(97, 92, now);
        assert_eq!(belief.hidden(now + Duration::from_secs(599)), 5);
        assert_eq!(belief.hidden(now + Duration::from_mins(11)), 3);
        assert_eq!(belief.hidden(now + Duration::from_hours(1)), 0);
    }

    #[test]
    fn the_peak_of_others_counts_for_a_day() {
        let now = Instant::now();
        let mut belief = Belief::default();
        belief.note_foreign(30, now);
        for hour in 1..=23 {
            belief.note_foreign(5, now + Duration::from_hours(hour));
        }
        assert_eq!(belief.foreign_peak(), 30);
        belief.note_foreign(6, now + Duration::from_hours(24));
        assert_eq!(belief.foreign_peak(), 6);
        assert!(belief.foreign.len() <= PARTS + 1);
    }
}
