//! Holds processes on one core for a while.

use anyhow::{Context as _, Result};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// This thread and another process, and what both start, on one core; until the value is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    process: Pid,
    before: CpuSet,
}

impl Pin {
    /// On the last core that we may use: the first has the most interrupts.
    pub(crate) fn to_one_core(process: u32) -> Result<Self> {
        let process = i32::try_from(process).ok().and_then(Pid::from_raw).context("a process")?;
        let before = sched_getaffinity(None).context("our cores")?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|core| before.is_set(*core)).context("no core")?;
        let mut one = CpuSet::new();
        one.set(last);
        let pin = Self { process, before };
        sched_setaffinity(None, &one).context("one core for the load")?;
        sched_setaffinity(Some(process), &one).context("one core for PostgreSQL")?;
        Ok(pin)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // a process that is gone needs no cores
        let _ = sched_setaffinity(None, &self.before);
        let _ = sched_setaffinity(Some(self.process), &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_held_on_one_core_until_the_pin_is_dropped() {
        let before = sched_getaffinity(None).unwrap();
        let pin = Pin::to_one_core(std::process::id()).unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        drop(pin);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
