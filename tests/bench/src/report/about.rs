//! Where and when a run was, and of what.

use std::{
    collections::BTreeMap,
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// The circumstances of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Day of the run, UTC.
    pub(crate) date: String,
    /// What was typed.
    pub(crate) command: String,
    /// State of the repository.
    pub(crate) commit: String,
    /// Cores that the run might use.
    pub(crate) cores: usize,
    /// Model of the processor.
    pub(crate) processor: String,
    /// Memory, GiB.
    pub(crate) memory: f64,
    /// Kernel.
    pub(crate) kernel: String,
    /// What each program says of itself.
    pub(crate) versions: BTreeMap<String, String>,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Share of all cores that others kept busy before each round.
    pub(crate) disturbance: Vec<f64>,
}

impl About {
    /// Of this machine, now.
    pub(crate) fn here(command: String, commit: String, rounds: usize) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        #[expect(clippy::disallowed_methods, reason = "a date for people")]
        let now = SystemTime::now();
        let days = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
        Self {
            date: civil(days as i64),
            command,
            commit,
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory: gibibytes(&read("/proc/meminfo")).unwrap_or(0.0),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            versions: BTreeMap::new(),
            rounds,
            disturbance: Vec::new(),
        }
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(':')?;
    Some(value.trim().to_owned())
}

fn gibibytes(meminfo: &str) -> Option<f64> {
    let kilobytes: f64 = field(meminfo, "MemTotal")?.split(' ').next()?.parse().ok()?;
    Some((kilobytes / f64::from(1 << 20)).round())
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> String {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let dates = [0, 11_016, 11_017, 20_515, 20_785].map(civil);
        assert_eq!(dates, ["1970-01-01", "2000-02-29", "2000-03-01", "2026-03-03", "2026-11-28"]);
    }

    #[test]
    fn the_machine_is_read_from_the_kernels_files() {
        assert_eq!(field("a: 1\nmodel name\t: Fast (R)\n", "model name").as_deref(), Some("Fast (R)"));
        assert_eq!(gibibytes("MemTotal:       24689880 kB\n"), Some(24.0));
    }
}
