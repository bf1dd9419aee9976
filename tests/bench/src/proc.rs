//! What the kernel says of a process: CPU time and memory.

use std::{
    fs,
    ops::{AddAssign, Sub},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// CPU time of a process or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cpu {
    /// Nanoseconds, of threads that live.
    pub(crate) nanos: u64,
    /// Seconds in user space, in steps of 10 ms.
    pub(crate) user: f64,
    /// Seconds in the kernel, in steps of 10 ms.
    pub(crate) system: f64,
}

impl Cpu {
    /// Of one process, all its threads.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = stat(pid)?;
        let mut nanos = 0;
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = entry?.path().join("schedstat");
            // a thread may end meanwhile
            let text = fs::read_to_string(path).unwrap_or_default();
            nanos += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        let [user, system, ..] = times(&stat).with_context(|| format!("/proc/{pid}/stat"))?;
        if nanos == 0 {
            // a kernel without the finer account
            nanos = ((user + system) * 1e9) as u64;
        }
        Ok(Self { nanos, user, system })
    }

    /// Of a process and its children, those that have ended included.
    pub(crate) fn of_family(pid: u32) -> Result<Self> {
        let mut sum = Self::of(pid)?;
        let [.., user, system] = times(&stat(pid)?).context("times of children")?;
        sum += Self { nanos: ((user + system) * 1e9) as u64, user, system };
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            sum += Self::of(child).unwrap_or_default();
        }
        Ok(sum)
    }

    /// Seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(before.nanos),
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        self.nanos += other.nanos;
        self.user += other.user;
        self.system += other.system;
    }
}

/// Bytes of memory that a process is responsible for (PSS).
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("memory")?;
    pss(&rollup).context("no Pss in smaps_rollup")
}

/// Share of all cores that is busy while we do nothing.
pub(crate) fn busy_share() -> Result<f64> {
    let read =
        || -> Result<[f64; 2]> { busy_and_all(&fs::read_to_string("/proc/stat")?).context("/proc/stat") };
    let before = read()?;
    std::thread::sleep(Duration::from_millis(300));
    let [busy, all] = read()?;
    let [busy_before, all_before] = before;
    Ok((busy - busy_before) / (all - all_before).max(1.0))
}

/// Ticks of all cores: busy ones, and all of them.
fn busy_and_all(stat: &str) -> Option<[f64; 2]> {
    let fields = stat.lines().next()?.strip_prefix("cpu")?.split_whitespace();
    let ticks: Vec<f64> = fields.take(8).map(|field| field.parse().unwrap_or(0.0)).collect();
    let all: f64 = ticks.iter().sum();
    // idle and waiting for a disk
    Some([all - ticks.get(3)? - ticks.get(4)?, all])
}

fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn stat(pid: u32) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))
}

/// utime, stime, cutime, cstime in seconds.
fn times(stat: &str) -> Option<[f64; 4]> {
    // the name, in brackets, may hold spaces and brackets
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<f64>().map(|time| time / ticks));
    let mut next = || fields.next()?.ok();
    Some([next()?, next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_whatever_the_name_of_the_program() {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 10 20 0 0 300 100 50 25 20 0 1 0";
        assert_eq!(times(stat), Some([300.0, 100.0, 50.0, 25.0].map(|time| time / ticks)));
        assert_eq!(times("7 (a"), None);
    }

    #[test]
    fn cores_are_busy_when_they_are_neither_idle_nor_waiting() {
        assert_eq!(busy_and_all("cpu  10 1 5 100 4 0 2 1 7 7\ncpu0 1\n"), Some([19.0, 123.0]));
    }

    #[test]
    fn memory_is_the_proportional_share() {
        assert_eq!(pss("5600-7ff rollup\nRss: 900 kB\nPss:    12 kB\nPss_Dirty: 3 kB\n"), Some(12_288));
    }

    #[test]
    fn a_process_that_works_uses_time() {
        let before = Cpu::of(std::process::id()).unwrap();
        // the kernel counts in ticks, which a fast machine does not fill with a fixed piece of work
        let (mut sum, began) = (0_u64, std::time::Instant::now());
        while (Cpu::of(std::process::id()).unwrap() - before).nanos == 0 {
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "no time is counted");
            for number in 0..1_000_000_u64 {
                sum = std::hint::black_box(sum ^ number);
            }
        }
    }
}
