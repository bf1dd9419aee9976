//! Real drivers with their pools as fleets of workers, at work until they are told to stop.
//!
//! One program is one fleet: as many workers as its pool has connections, each doing units of work (a statement, a
//! prepared one, a transaction that books into the fleet's ledger, one that also sleeps for 2 s) with a time to think
//! between them. A unit fails if it ends in an exception; nothing is done twice.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::workspace;

use super::{
    language::{Language, Ready},
    prepare,
};

/// How a pool learns that a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It tests every connection that it hands out, or the driver repeats what a dead one cost.
    Tests,
    /// It tests a connection that was idle for a time.
    TestsIdle,
    /// Its event loop hears of a close while nobody uses the connection.
    Hears,
    /// Not at all: whoever gets the connection pays.
    Never,
}

/// A driver with its pool, set up as its users do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    /// Name of the fleet, which is also its clients' `application_name`.
    pub(crate) name: &'static str,
    /// How its pool learns that a connection was closed.
    pub(crate) notice: Notice,
    language: Language,
    /// The file, without the ending.
    program: &'static str,
}

const fn fleet(name: &'static str, notice: Notice, language: Language, program: &'static str) -> Fleet {
    Fleet { name, notice, language, program }
}

/// All of them.
pub(crate) const FLEETS: &[Fleet] = &[
    fleet("psycopg_pool", Notice::Never, Language::Python, "psycopg_fleet"),
    fleet("psycopg_pool-check", Notice::Tests, Language::Python, "psycopg_fleet"),
    fleet("asyncpg", Notice::Hears, Language::Python, "asyncpg_fleet"),
    fleet("sqlalchemy-pre_ping", Notice::Tests, Language::Python, "sqlalchemy_fleet"),
    fleet("node-postgres", Notice::Hears, Language::Node, "pg_fleet"),
    fleet("pgxpool", Notice::TestsIdle, Language::Go, "pgx_fleet"),
    fleet("pgxpool-ping", Notice::Tests, Language::Go, "pgx_fleet"),
    fleet("lib-pq", Notice::Tests, Language::Go, "pq_fleet"),
    fleet("deadpool-fast", Notice::Hears, Language::Rust, "deadpool_fleet"),
    fleet("deadpool-verified", Notice::Tests, Language::Rust, "deadpool_fleet"),
    fleet("sqlx", Notice::Tests, Language::Rust, "sqlx_fleet"),
    fleet("hikaricp", Notice::TestsIdle, Language::Java, "PgjdbcFleet"),
    fleet("hikaricp-bypass-0", Notice::Tests, Language::Java, "PgjdbcFleet"),
    fleet("dbcp2", Notice::Tests, Language::Java, "PgjdbcFleet"),
];

/// The programs, with all that they need.
#[derive(Debug)]
pub(crate) struct Programs(Vec<Ready>);

impl Programs {
    /// Installs drivers and compiles programs, unless they are there already. `names` as in
    /// [`start`](Fleets::start); only their languages are prepared.
    pub(crate) fn prepare(names: &[&str]) -> Result<Self> {
        let chosen = chosen(names)?;
        let cache = workspace::root().join("target/drivers");
        let languages =
            Language::ALL.iter().filter(|known| chosen.iter().any(|fleet| fleet.language == **known));
        let ready = languages.map(|language| {
            language.ensure_installed()?;
            prepare::told(*language, &cache)
        });
        Ok(Self(ready.collect::<Result<_>>()?))
    }

    fn command(&self, fleet: &Fleet) -> Result<Command> {
        let ready = self.0.iter().find(|ready| ready.language() == fleet.language);
        let mut command = ready.context("its language was not prepared")?.command(fleet.program);
        command.arg(fleet.name).env("PGAPPNAME", fleet.name);
        Ok(command)
    }
}

/// Fleets at work. They end when this value is dropped, or when this process ends.
#[derive(Debug)]
pub(crate) struct Fleets(Vec<Running>);

/// What a fleet says at its end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Report {
    /// Its name.
    pub(crate) fleet: String,
    /// Units of work, failed ones too.
    pub(crate) units: u64,
    /// Units that ended in an exception.
    pub(crate) failed: u64,
    /// Bookings whose COMMIT was confirmed.
    pub(crate) committed: u64,
    /// Bookings that failed, of which nobody knows whether they were committed.
    pub(crate) unsure: u64,
    /// What the ledger has grown by.
    pub(crate) ledger: u64,
    /// The longest that a unit took, in milliseconds, without what it slept itself.
    pub(crate) longest_ms: u64,
    /// The first of the failures.
    pub(crate) errors: Vec<Failure>,
}

/// A unit of work that failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Failure {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The kind of unit.
    pub(crate) unit: String,
    /// The driver's words.
    pub(crate) error: String,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    complaints: File,
}

impl Fleets {
    /// How long a fleet may take to start, and to end: its longest unit waits for a server connection.
    const PATIENCE: Duration = Duration::from_secs(90);

    /// Starts fleets by their names, all for none, and waits until their workers are at work. The environment says
    /// where: `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, perhaps `PGSSLMODE`; and `FLEET_WORKERS` says how
    /// many each has (8 unless it is there).
    pub(crate) fn start(programs: &Programs, names: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let mut fleets = Self(Vec::new());
        for fleet in chosen(names)? {
            let mut command = programs.command(fleet)?;
            let running = Running::new(fleet.name, command.envs(environment.iter().copied()));
            fleets.0.push(running.with_context(|| format!("cannot start the fleet {}", fleet.name))?);
        }
        for running in &mut fleets.0 {
            let first = running.line()?;
            ensure!(first == "started", "{} said {first:?}", running.name);
        }
        Ok(fleets)
    }

    /// Tells all of them to stop, and gives what they say, in the order of their start; an error if one has died.
    pub(crate) fn stop(mut self) -> Result<Vec<Report>> {
        for running in &mut self.0 {
            // the end of its input is the word to stop
            drop(running.child.stdin.take());
        }
        let reports = self.0.iter_mut().map(Running::report);
        reports.collect()
    }
}

impl Running {
    fn new(name: &'static str, command: &mut Command) -> Result<Self> {
        let complaints = tempfile::tempfile()?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let output = child.stdout.take().context("no standard output")?;
        Ok(Self { name, child, lines: lines(output), complaints })
    }

    fn line(&mut self) -> Result<String> {
        let line = self.lines.recv_timeout(Fleets::PATIENCE);
        line.map_err(|_| self.died())
    }

    fn report(&mut self) -> Result<Report> {
        let last = self.line()?;
        serde_json::from_str(&last).with_context(|| format!("{} said {last:?}", self.name))
    }

    fn died(&mut self) -> anyhow::Error {
        let mut complaints = String::new();
        // what can be read is better than nothing
        let _ = self.complaints.rewind().and_then(|()| self.complaints.read_to_string(&mut complaints));
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("ended ({status})"),
            _ => format!("said nothing for {:?}", Fleets::PATIENCE),
        };
        anyhow::anyhow!("the fleet {} {state}: {}", self.name, complaints.trim())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(20));
        }
        // one that has ended cannot be killed, which is as good
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Report {
    /// What is wrong with the ledger, if anything: a booking that was confirmed must be there, and nothing else.
    pub(crate) fn ledger_is_wrong(&self) -> Option<String> {
        let fits = (self.committed..=self.committed + self.unsure).contains(&self.ledger);
        (!fits).then(|| {
            format!(
                "{} bookings confirmed, {} unsure, {} in the ledger",
                self.committed, self.unsure, self.ledger
            )
        })
    }
}

/// The fleets of these names; all for none.
pub(crate) fn chosen(names: &[&str]) -> Result<Vec<&'static Fleet>> {
    let by_name: BTreeMap<_, _> = FLEETS.iter().map(|fleet| (fleet.name, fleet)).collect();
    if names.is_empty() {
        return Ok(FLEETS.iter().collect());
    }
    let mut found = Vec::new();
    for name in names {
        match by_name.get(name) {
            Some(fleet) => found.push(*fleet),
            None => bail!("there is no fleet {name:?}, only {:?}", by_name.keys()),
        }
    }
    Ok(found)
}

/// The lines of a pipe as they come.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(committed: u64, unsure: u64, ledger: u64) -> Report {
        let line = format!(
            r#"{{"fleet": "x", "units": 9, "failed": 1, "committed": {committed}, "unsure": {unsure}, "ledger": {ledger},
                "longest_ms": 12, "errors": [{{"at_ms": 1, "unit": "long", "error": "gone"}}]}}"#
        );
        serde_json::from_str(&line).expect("a report")
    }

    #[test]
    fn a_ledger_has_what_was_confirmed_and_at_most_what_is_unsure() {
        for (ledger, fits) in [(4, false), (5, true), (6, true), (7, false)] {
            assert_eq!(report(5, 1, ledger).ledger_is_wrong().is_none(), fits, "{ledger}");
        }
    }

    #[test]
    fn fleets_are_chosen_by_name() {
        assert_eq!(chosen(&[]).expect("all").len(), FLEETS.len());
        let two = chosen(&["sqlx", "asyncpg"]).expect("two");
        assert_eq!(two.iter().map(|fleet| fleet.name).collect::<Vec<_>>(), ["sqlx", "asyncpg"]);
        assert!(chosen(&["nobody"]).is_err());
    }

    #[test]
    fn a_fleet_that_dies_says_why() {
        let mut command = Command::new("sh");
        let mut running = Running::new("x", command.args(["-c", "echo broken >&2"])).expect("it starts");
        let error = running.report().expect_err("it printed nothing");
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
