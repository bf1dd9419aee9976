//! `top`: what the pods are doing, every second.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::cli::Top;
use crate::cluster::{Cluster, ClusterError};
use crate::console::{Console, ConsoleError, Keys};
use crate::live::{self, Figures};
use crate::status::is_running;
use crate::table::Align::{Left, Right};
use crate::table::Table;

/// How often figures are asked for.
const EVERY: Duration = Duration::from_secs(1);
/// How often pods are looked for: those that come and go show up a little later.
const PODS_EVERY: u32 = 5;

/// Clears the terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// A pod that is watched.
struct Watched {
    pooler: String,
    pod: Pod,
    console: Option<Console>,
    last: Option<(Instant, Figures)>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Name of the pod.
    pub pod: String,
    /// What it says, and its transactions per second; or why it says nothing.
    pub said: Result<(Figures, u64), String>,
}

/// Prints until it is told to stop, or once.
pub async fn run(
    cluster: &Cluster,
    options: &Top,
    mut print: impl FnMut(&str) -> std::io::Result<()>,
) -> Result<(), ClusterError> {
    let mut watched: BTreeMap<String, Watched> = BTreeMap::new();
    let mut keys: BTreeMap<String, Result<Keys, String>> = BTreeMap::new();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    for round in 0_u32.. {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut stop => return Ok(()),
        }
        if round.is_multiple_of(PODS_EVERY) {
            find(cluster, options, &mut watched).await?;
        }
        for pooler in watched.values().map(|watched| watched.pooler.clone()).collect::<Vec<_>>() {
            if !keys.get(&pooler).is_some_and(Result::is_ok) {
                let read = Keys::read(cluster, &pooler).await;
                keys.insert(pooler, read.map_err(|error| pgpooler_operator::error::chain(&error)));
            }
        }
        let asked = join_all(watched.values_mut().map(|watched| {
            let keys = keys.get(&watched.pooler).cloned();
            async move { line(cluster, watched, keys).await }
        }));
        let lines = tokio::select! {
            lines = asked => lines,
            _ = &mut stop => return Ok(()),
        };
        let clear = if options.once { "" } else { CLEAR };
        // whoever reads has gone: nothing is left to print for
        if print(&format!("{clear}{}", text(&lines))).is_err() || options.once {
            return Ok(());
        }
    }
    Ok(())
}

/// Pods that are there; consoles of those that stay stay open.
async fn find(
    cluster: &Cluster,
    options: &Top,
    watched: &mut BTreeMap<String, Watched>,
) -> Result<(), ClusterError> {
    let mut found = BTreeMap::new();
    for pooler in cluster.find(options.name.as_deref()).await? {
        let pooler = pooler.name_any();
        for pod in cluster.pods(&pooler).await? {
            let name = pod.name_any();
            let known = watched.remove(&name).filter(|known| known.pod.uid() == pod.uid());
            let (console, last) = known.map_or((None, None), |known| (known.console, known.last));
            found.insert(name, Watched { pooler: pooler.clone(), pod, console, last });
        }
    }
    *watched = found;
    Ok(())
}

async fn line(cluster: &Cluster, watched: &mut Watched, keys: Option<Result<Keys, String>>) -> Line {
    let pod = watched.pod.name_any();
    if !is_running(&watched.pod) {
        return Line { pod, said: Err("not running".to_owned()) };
    }
    let said = match keys {
        Some(Ok(keys)) => {
            ask(cluster, watched, &keys).await.map_err(|error| pgpooler_operator::error::chain(&error))
        }
        Some(Err(why)) => Err(why),
        None => Err("not asked yet".to_owned()),
    };
    Line { pod, said }
}

async fn ask(cluster: &Cluster, watched: &mut Watched, keys: &Keys) -> Result<(Figures, u64), ConsoleError> {
    let console = match watched.console.take() {
        Some(console) => console,
        None => Console::open(cluster, &watched.pod, keys).await?,
    };
    // a console that does not answer is not kept
    let figures = live::ask(&console).await?;
    watched.console = Some(console);
    let now = Instant::now();
    let before = watched.last.replace((now, figures.clone()));
    let rate = before.and_then(|(then, before)| rate(&before, &figures, now.duration_since(then)));
    let rate = rate.unwrap_or(figures.average);
    Ok((figures, rate))
}

/// Transactions per second between two answers; `None`: there is no telling, as when the pod was started anew.
pub fn rate(before: &Figures, after: &Figures, elapsed: Duration) -> Option<u64> {
    let done = after.transactions.checked_sub(before.transactions)?;
    let seconds = elapsed.as_secs_f64();
    (seconds > 0.0).then(|| (done as f64 / seconds).round() as u64)
}

/// The table, with a line for all of them.
pub fn text(lines: &[Line]) -> String {
    let mut table = Table::new(&[
        ("POD", Left),
        ("CLIENTS", Right),
        ("ACTIVE", Right),
        ("WAITING", Right),
        ("MAXWAIT", Right),
        ("SERVERS", Right),
        ("LIMIT", Right),
        ("TX/S", Right),
    ]);
    let (mut all, mut rates) = (Figures::default(), 0_u64);
    let mut silent = String::new();
    for Line { pod, said } in lines {
        match said {
            Ok((figures, rate)) => {
                table.row(cells(pod, figures, *rate));
                add(&mut all, figures);
                rates = rates.saturating_add(*rate);
            }
            Err(why) => {
                let _ = writeln!(silent, "{pod}: {why}");
            }
        }
    }
    table.row(cells("all", &all, rates));
    let mut text = String::new();
    table.write(&mut text, 0);
    text.push_str(&silent);
    text
}

fn add(all: &mut Figures, one: &Figures) {
    let pairs = [
        (&mut all.clients, one.clients),
        (&mut all.active, one.active),
        (&mut all.waiting, one.waiting),
        (&mut all.held, one.held),
        (&mut all.limit, one.limit),
    ];
    for (sum, part) in pairs {
        *sum = sum.saturating_add(part);
    }
    all.max_wait = all.max_wait.max(one.max_wait);
}

fn cells(name: &str, figures: &Figures, rate: u64) -> [String; 8] {
    [
        name.to_owned(),
        figures.clients.to_string(),
        figures.active.to_string(),
        figures.waiting.to_string(),
        format!("{:.1}s", figures.max_wait.as_secs_f64()),
        figures.held.to_string(),
        figures.limit.to_string(),
        rate.to_string(),
    ]
}
