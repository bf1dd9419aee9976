//! Works as a fleet of an application's workers does, until told to stop, and prints one line of JSON.
//!
//! A program that uses it gives its [`Work`]: how its driver does one unit of each kind on a connection from its pool.
//! See the README for what the environment and the line say.

use std::{
    env,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::sync::watch;

const LONG: Duration = Duration::from_secs(2);
/// More errors than a person reads.
const REMEMBERED: usize = 100;

/// A driver with its pool.
pub trait Work: Send + Sync + 'static {
    /// Executes a statement without parameters.
    fn execute(&self, sql: &str) -> impl Future<Output = Result<()>> + Send;
    /// Reads one number.
    fn total(&self, sql: &str) -> impl Future<Output = Result<i64>> + Send;
    /// A statement with a parameter, prepared by name.
    fn prepared(&self, worker: i32) -> impl Future<Output = Result<()>> + Send;
    /// A transaction that executes `sql` with the worker's number and sleeps.
    fn book(&self, sql: &str, worker: i32, sleeps: Duration) -> impl Future<Output = Result<()>> + Send;
}

/// The fleet's name.
pub fn name() -> Result<String> {
    env::args().nth(1).context("the fleet's name is the argument")
}

/// How many there are, each with a connection in the pool.
pub fn workers() -> u32 {
    env::var("FLEET_WORKERS").ok().and_then(|count| count.parse().ok()).unwrap_or(8)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Select,
    Prepared,
    Booking,
    Long,
}

#[derive(Debug, Default)]
struct Tally {
    units: u64,
    failed: u64,
    committed: u64,
    unsure: u64,
    longest: Duration,
    errors: Vec<Value>,
}

/// Runs the workers until a line comes, then reports.
pub async fn run<W: Work>(work: W) -> Result<()> {
    let (name, workers) = (name()?, workers());
    let table = format!("\"fleet {name}\"");
    work.execute(&format!(
        "create table if not exists {table} (worker int primary key, bookings bigint not null)"
    ))
    .await?;
    let last = workers.saturating_sub(1);
    work.execute(&format!(
        "insert into {table} select n, 0 from generate_series(0, {last}) n on conflict do nothing"
    ))
    .await?;
    let total = format!("select coalesce(sum(bookings), 0)::bigint from {table}");
    let before = work.total(&total).await?;

    let (work, tally) = (Arc::new(work), Arc::new(Mutex::new(Tally::default())));
    let (stop, stopped) = watch::channel(false);
    let all: Vec<_> = (0..workers)
        .map(|n| tokio::spawn(worker(work.clone(), tally.clone(), table.clone(), n as i32, stopped.clone())))
        .collect();
    println!("started");
    tokio::task::spawn_blocking(|| io::stdin().read_line(&mut String::new())).await??;
    stop.send(true)?;
    for worker in all {
        worker.await?;
    }
    let ledger = work.total(&total).await? - before;
    println!("{}", tally.lock().unwrap_or_else(PoisonError::into_inner).report(&name, ledger));
    Ok(())
}

async fn worker<W: Work>(
    work: Arc<W>,
    tally: Arc<Mutex<Tally>>,
    table: String,
    n: i32,
    mut stopped: watch::Receiver<bool>,
) {
    let book = format!("update {table} set bookings = bookings + 1 where worker = $1");
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(think()) => {}
        }
        let (unit, start) = (Unit::next(), Instant::now());
        let result = match unit {
            Unit::Select => work.total("select 1::bigint").await.map(drop),
            Unit::Prepared => work.prepared(n).await,
            Unit::Booking | Unit::Long => work.book(&book, n, unit.sleeps()).await,
        };
        tally.lock().unwrap_or_else(PoisonError::into_inner).done(unit, start, result);
    }
}

/// Between two units of a worker: mostly short, now and then long enough for a pool to test.
fn think() -> Duration {
    Duration::from_secs_f64((-(1.0 - fastrand::f64()).ln() / 5.0).min(3.0))
}

impl Unit {
    fn next() -> Self {
        match fastrand::f64() {
            dice if dice < 0.02 => Self::Long,
            dice if dice < 0.4 => Self::Select,
            dice if dice < 0.7 => Self::Booking,
            _ => Self::Prepared,
        }
    }

    fn sleeps(self) -> Duration {
        if self == Self::Long { LONG } else { Duration::ZERO }
    }
}

impl Tally {
    fn done(&mut self, unit: Unit, start: Instant, result: Result<()>) {
        let books = u64::from(matches!(unit, Unit::Booking | Unit::Long));
        self.units += 1;
        self.longest = self.longest.max(start.elapsed().saturating_sub(unit.sleeps()));
        let Err(error) = result else {
            self.committed += books;
            return;
        };
        self.failed += 1;
        self.unsure += books;
        if self.errors.len() < REMEMBERED {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            let unit = format!("{unit:?}").to_lowercase();
            self.errors.push(json!({ "at_ms": at, "unit": unit, "error": format!("{error:#.300}") }));
        }
    }

    fn report(&self, name: &str, ledger: i64) -> Value {
        json!({
            "fleet": name,
            "units": self.units,
            "failed": self.failed,
            "committed": self.committed,
            "unsure": self.unsure,
            "ledger": ledger,
            "longest_ms": self.longest.as_millis() as u64,
            "errors": self.errors,
        })
    }
}
