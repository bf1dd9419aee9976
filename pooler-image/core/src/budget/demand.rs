//! What a pod needs: quickly up, slowly down, so that grants do not swing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::protocol::Use;

/// What was needed is remembered for so long: connections in use a moment ago are not given away.
pub(super) const MEMORY: Duration = Duration::from_secs(10);

/// The most that a pod needed within ten seconds.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// Needs in falling order, each with the time until which it counts.
    peaks: VecDeque<(Instant, u32)>,
}

impl Demand {
    /// A pod that has just come: it needs `first` until it shows what it needs.
    pub fn new(first: u32, now: Instant) -> Self {
        Self { peaks: [(now + MEMORY, first)].into() }
    }

    /// It needs so many at `now`: those in use, and one for every client that waits.
    pub fn note(&mut self, usage: &Use, now: Instant) {
        let need = usage.active.saturating_add(usage.waiting);
        while self.peaks.back().is_some_and(|(_, lower)| *lower <= need) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now + MEMORY, need));
    }

    /// The most of late. What was said last counts on, for a pod that says nothing has not changed.
    pub fn need(&mut self, now: Instant) -> u32 {
        while self.peaks.len() > 1 && self.peaks.front().is_some_and(|(until, _)| *until <= now) {
            self.peaks.pop_front();
        }
        self.peaks.front().map_or(0, |(_, need)| *need)
    }

    /// When [`Self::need`] falls next without anything being said.
    pub fn falls_at(&self) -> Option<Instant> {
        (self.peaks.len() > 1).then(|| self.peaks.front().map(|(until, _)| *until)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(active: u32, waiting: u32) -> Use {
        Use { active, waiting, ..Use::default() }
    }

    #[test]
    fn it_rises_at_once_and_falls_after_ten_seconds() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut demand = Demand::default();
        demand.note(&needs(3, 0), at(0));
        demand.note(&needs(5, 7), at(100));
        demand.note(&needs(4, 0), at(200));
        demand.note(&needs(1, 0), at(5000));
        assert_eq!(demand.need(at(5000)), 12);
        assert_eq!(demand.falls_at(), Some(at(10_100)));
        assert_eq!(demand.need(at(10_100)), 4);
        assert_eq!(demand.need(at(10_200)), 1);
        assert_eq!(demand.need(at(99_000)), 1, "silence is no change");
    }

    #[test]
    fn a_load_that_swings_is_a_steady_need() {
        let start = Instant::now();
        let mut demand = Demand::new(0, start);
        let mut seen = Vec::new();
        for step in 0..200u32 {
            let now = start + Duration::from_millis(u64::from(step) * 100);
            demand.note(&needs(if step % 7 == 0 { 20 } else { step % 3 }, 0), now);
            seen.push(demand.need(now));
        }
        assert!(seen.iter().all(|need| *need == 20));
    }
}
