//! What the fleets lost, and whether they might.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    test::drivers::fleets::{FLEETS, Failure, Notice, Report},
    ui,
};

use super::{Count, replicas::Drain};

/// In which a pooler that drains closes nobody, before the time until its deadline begins.
const SETTLE: Duration = Duration::from_secs(2);
/// Behind the deadline of a drain, until the last of the closed connections was noticed by a pool that tests none.
const AFTERMATH_MS: u64 = 10_000;
/// More losses of a fleet than a person reads.
const SHOWN: usize = 6;

/// What happened to the fleets.
#[derive(Debug)]
pub(super) struct Course<'a> {
    pub(super) drains: &'a [Drain],
    pub(super) drain_timeout: Duration,
    /// From when on a login with the password of the fleets is refused, as by PostgreSQL, in milliseconds since 1970.
    pub(super) new_password_ms: u64,
}

/// One for each fleet.
#[derive(Debug)]
pub(super) struct Verdicts(Vec<Verdict>);

#[derive(Debug)]
struct Verdict {
    report: Report,
    /// How its clients left all poolers together.
    ways: String,
    /// The first of what it lost.
    losses: Vec<String>,
    wrong: Vec<String>,
}

impl Verdicts {
    pub(super) fn new(reports: &[Report], course: &Course<'_>) -> Self {
        Self(reports.iter().map(|report| Verdict::new(report.clone(), course)).collect())
    }

    pub(super) fn count(&self) -> Count {
        let failed = self.0.iter().filter(|verdict| !verdict.wrong.is_empty()).count() as u64;
        Count { passed: self.0.len() as u64 - failed, failed }
    }
}

impl Verdict {
    fn new(report: Report, course: &Course<'_>) -> Self {
        let mut wrong = Vec::new();
        wrong.extend(report.ledger_is_wrong());
        let known = FLEETS.iter().find(|fleet| fleet.name == report.fleet);
        let notice = known.map_or(Notice::Tests, |fleet| fleet.notice);
        let fair = |error: &&Failure| {
            course.refuses_login(error) || notice != Notice::Tests && course.is_at_deadline(error.at_ms)
        };
        let excused = report.errors.iter().filter(fair).count() as u64 + races(notice);
        let lost = report.failed.saturating_sub(excused);
        wrong.extend((lost > 0).then(|| format!("{lost} units failed that should not")));
        if report.units == 0 {
            wrong.push("did nothing".to_owned());
        }
        let losses = report.errors.iter().take(SHOWN).map(|error| course.loss(error)).collect();
        Self { ways: course.ways(&report.fleet), losses, report, wrong }
    }

    fn cells(&self) -> Vec<String> {
        let Report { fleet, units, failed, longest_ms, .. } = &self.report;
        let numbers = [units, failed, longest_ms].map(ToString::to_string);
        [vec![fleet.clone()], numbers.to_vec(), vec![self.ways.clone()]].concat()
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = ["fleet", "units", "failed", "longest ms", "how its clients left"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(self.0.iter().map(Verdict::cells));
        writeln!(to, "{}", ui::table(&rows))?;
        for verdict in &self.0 {
            for wrong in &verdict.wrong {
                writeln!(to, "{}: {} {wrong}", verdict.report.fleet, ui::bad("FAILED"))?;
            }
            for line in &verdict.losses {
                writeln!(to, "{}: {line}", verdict.report.fleet)?;
            }
        }
        Ok(())
    }
}

/// How many units may fail since what the client sent and what the pooler did were under way at the same time: a pool
/// that tests is not hurt by that, one that only hears of a close is, once in some hundred of them on a machine that is
/// busy. A close in a wrong place costs dozens.
fn races(notice: Notice) -> u64 {
    u64::from(notice == Notice::Hears)
}

impl Course<'_> {
    fn is_at_deadline(&self, at_ms: u64) -> bool {
        let timeout = (SETTLE + self.drain_timeout).as_millis() as u64;
        self.drains.iter().any(|drain| (drain.from_ms + timeout..drain.to_ms + AFTERMATH_MS).contains(&at_ms))
    }

    /// A pool that opens a further connection with the old password hears of it what PostgreSQL would say.
    fn refuses_login(&self, error: &Failure) -> bool {
        error.at_ms >= self.new_password_ms && error.error.contains("password authentication failed")
    }

    /// When, seen from the last SIGTERM before it, and what.
    fn loss(&self, error: &Failure) -> String {
        let since = self.drains.iter().filter_map(|drain| error.at_ms.checked_sub(drain.from_ms)).min();
        let when =
            since.map_or_else(|| "before any SIGTERM".to_owned(), |ms| format!("{ms} ms after a SIGTERM"));
        format!("a {} unit, {when}: {}", error.unit, error.error)
    }

    fn ways(&self, fleet: &str) -> String {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for ((application, way), count) in self.drains.iter().flat_map(|drain| &drain.left) {
            if application == fleet && *count > 0 {
                *counts.entry(way).or_default() += count;
            }
        }
        counts.iter().map(|(way, count)| format!("{way} {count}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(fleet: &str, losses: &[(u64, &str)]) -> Verdict {
        let failure = |(at_ms, error): &(u64, &str)| Failure {
            at_ms: *at_ms,
            unit: "select".to_owned(),
            error: (*error).to_owned(),
        };
        let errors: Vec<_> = losses.iter().map(failure).collect();
        let report = Report {
            fleet: fleet.to_owned(),
            units: 10,
            failed: errors.len() as u64,
            committed: 5,
            unsure: 0,
            ledger: 5,
            longest_ms: 3,
            errors,
        };
        let left = [((fleet.to_owned(), "silence".to_owned()), 2)].into();
        let drain = Drain { from_ms: 1_000_000, to_ms: 1_018_000, deadline: None, left };
        let course = Course {
            drains: &[drain.clone(), drain],
            drain_timeout: Duration::from_secs(15),
            new_password_ms: 1_050_000,
        };
        Verdict::new(report, &course)
    }

    #[test]
    fn a_pool_that_tests_may_lose_nothing() {
        assert_eq!(verdict("sqlx", &[(1_017_500, "closed")]).wrong.len(), 1);
        assert!(verdict("sqlx", &[]).wrong.is_empty());
    }

    #[test]
    fn a_pool_that_never_tests_may_lose_at_the_deadline_only() {
        assert!(verdict("psycopg_pool", &[(1_017_500, "closed"), (1_019_000, "closed")]).wrong.is_empty());
        assert_eq!(verdict("psycopg_pool", &[(1_016_900, "closed"), (1_017_500, "closed")]).wrong.len(), 1);
    }

    #[test]
    fn a_pool_that_only_hears_may_lose_at_the_deadline_and_a_race() {
        assert!(verdict("asyncpg", &[(1_005_000, "closed"), (1_017_500, "closed")]).wrong.is_empty());
        assert_eq!(verdict("asyncpg", &[(1_005_000, "closed"), (1_006_000, "closed")]).wrong.len(), 1);
        assert_eq!(verdict("hikaricp", &[(1_005_000, "closed")]).wrong.len(), 1);
    }

    #[test]
    fn nobody_logs_in_with_the_old_password_once_it_is_known() {
        let refused = "FATAL: password authentication failed for user \"app\"";
        assert!(verdict("sqlx", &[(1_050_001, refused)]).wrong.is_empty());
        assert_eq!(verdict("sqlx", &[(1_049_999, refused)]).wrong.len(), 1);
        assert_eq!(verdict("sqlx", &[(1_050_001, "closed")]).wrong.len(), 1);
    }

    #[test]
    fn ways_are_added_up() {
        assert_eq!(verdict("sqlx", &[]).ways, "silence 4");
    }
}
