//! Pooler processes behind a balancer, as the pods of a Deployment are behind their Service.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use pgpooler_test_support::{Pooler, PoolerOptions};
use rustix::process::Signal;

use super::balancer::Balancer;

/// The metric that counts how clients left.
const LEFT: &str = "pgpooler_clients_left_total";
/// In the line of the log that names the applications whose clients stayed.
const DEADLINE: &str = "the drain's deadline has come";
/// What an end may take behind the deadline: long transactions are cancelled, all are told.
const END: Duration = Duration::from_secs(15);

/// What a pooler's drain was like.
#[derive(Debug, Clone)]
pub(super) struct Drain {
    /// SIGTERM, in milliseconds since 1970.
    pub(super) from_ms: u64,
    /// The end of the process.
    pub(super) to_ms: u64,
    /// What it said at the deadline about those who were still there, if it came to that.
    pub(super) deadline: Option<String>,
    /// Clients by application and way, as the pooler counted them.
    pub(super) left: BTreeMap<(String, String), u64>,
}

/// As many as there are now.
#[derive(Debug)]
pub(super) struct Replicas {
    program: PathBuf,
    options: PoolerOptions,
    drain_timeout: Duration,
    balancer: Balancer,
    running: Vec<Pooler>,
    /// What those that are gone did.
    pub(super) drains: Vec<Drain>,
}

impl Replicas {
    /// So many, ready.
    pub(super) fn start(
        program: &Path,
        options: PoolerOptions,
        drain_timeout: Duration,
        count: usize,
    ) -> Result<Self> {
        let options = options.setting("drain_timeout", &format!("\"{}s\"", drain_timeout.as_secs()));
        let balancer = Balancer::start()?;
        let mut all = Self {
            program: program.to_owned(),
            options,
            drain_timeout,
            balancer,
            running: Vec::new(),
            drains: Vec::new(),
        };
        all.add(count)?;
        Ok(all)
    }

    /// Where clients connect.
    pub(super) fn port(&self) -> u16 {
        self.balancer.port()
    }

    /// Starts more, each ready before clients come to it.
    pub(super) fn add(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let pooler = Pooler::start(&self.program, &self.options)?;
            self.balancer.add(pooler.port(), pooler.http_port());
            self.running.push(pooler);
        }
        Ok(())
    }

    /// Sends the oldest away, all at once, and waits for their ends.
    pub(super) fn remove(&mut self, count: usize) -> Result<()> {
        let leaving: Vec<_> = self.running.drain(..count.min(self.running.len())).collect();
        let limit = self.drain_timeout + END;
        let ends: Vec<Result<Drain>> = thread::scope(|scope| {
            let all: Vec<_> =
                leaving.into_iter().map(|pooler| scope.spawn(move || drain(pooler, limit))).collect();
            all.into_iter()
                .map(|end| end.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
                .collect()
        });
        for end in ends {
            self.drains.push(end?);
        }
        Ok(())
    }

    /// As a Deployment does it with `maxSurge: 1` and `maxUnavailable: 0`: each goes when another one is ready.
    pub(super) fn replace_all(&mut self) -> Result<()> {
        for _ in 0..self.running.len() {
            self.add(1)?;
            self.remove(1)?;
        }
        Ok(())
    }

    /// Other settings, for those that run and those that will.
    pub(super) fn reload(&mut self, change: impl FnOnce(PoolerOptions) -> PoolerOptions) -> Result<()> {
        self.options = change(self.options.clone());
        for pooler in &self.running {
            pooler.configure(&self.options)?;
            pooler.signal(Signal::HUP)?;
        }
        Ok(())
    }

    /// The logs of those that run.
    pub(super) fn logs(&self) -> String {
        self.running.iter().map(Pooler::log).collect::<Vec<_>>().join("\n--\n")
    }
}

/// A client that has not left by itself was counted shortly before the end, so the metrics are read until then.
fn drain(mut pooler: Pooler, limit: Duration) -> Result<Drain> {
    let from_ms = now_ms();
    pooler.signal(Signal::TERM)?;
    let mut metrics = String::new();
    let status = loop {
        if let Ok((200, page)) = pooler.http_get("/metrics") {
            metrics = page;
        }
        if let Some(status) = pooler.ended()? {
            break status;
        }
        let log = || format!("still there {limit:?} after SIGTERM; its log:\n{}", pooler.log());
        ensure!(u128::from(now_ms() - from_ms) < limit.as_millis(), log());
        thread::sleep(Duration::from_millis(20));
    };
    ensure!(status.success(), "a drained pooler ended with {status}; its log:\n{}", pooler.log());
    let deadline = pooler.log().lines().find(|line| line.contains(DEADLINE)).map(str::to_owned);
    Ok(Drain { from_ms, to_ms: now_ms(), deadline, left: left(&metrics)? })
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a time for people")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or_default()
}

fn left(metrics: &str) -> Result<BTreeMap<(String, String), u64>> {
    let mut counts = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix(LEFT)?.strip_prefix('{')) {
        let (labels, value) = line.rsplit_once("} ").context("a metric without a value")?;
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let application = label("application").context("no application")?;
        let way = label("way").context("no way")?;
        *counts.entry((application, way)).or_default() += value.trim().parse::<u64>()?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_clients_left_is_read_from_the_metrics() {
        let page = "# TYPE pgpooler_clients_left counter\n\
            pgpooler_clients_left_total{application=\"sqlx\",way=\"silence\"} 3\n\
            pgpooler_clients_left_total{pool=\"p\",application=\"sqlx\",way=\"deadline\"} 1\n\
            pgpooler_clients 7\n";
        let counts = left(page).expect("metrics");
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1, 3]);
        assert!(left("pgpooler_clients_left_total{way=\"silence\"} 3").is_err());
    }
}
