//! The budget under everything that can happen to it, on a real cluster: what PostgreSQL has seen must never be more
//! than the budget, and no client may ever hear that there are too many.
//!
//! Two witnesses: `pg_stat_activity`, looked at every 50 ms, and the server's own log of every connection, which misses
//! none however short it was.

mod faults;
mod log;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    fleet::{Load, Report},
    image::Image,
    site::{NAMESPACE, Server, Site},
    ui,
};

use log::Log;

const SERVER: Server = Server {
    name: "soak-db",
    max_connections: 100,
    options: "-c log_connections=on -c log_disconnections=on -c log_line_prefix='%n [%p] '",
};
const POOLER: &str = include_str!("../../../tests/demo/soak.yaml");
const NAME: &str = "soak";
/// 80 % of what ordinary roles have, with 100 and with 60 `max_connections`.
const BUDGETS: [(u64, u64); 2] = [(100, 77), (60, 45)];
/// How long a condition may take to appear.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a step works with.
pub(crate) struct Stage<'a> {
    site: &'a Site,
    image: &'a Image,
    log: Log,
}

type Step = fn(&mut Stage<'_>) -> Result<()>;

const STEPS: &[(&str, Step)] = &[
    ("one pod under load", |stage| stage.pause(8)),
    ("scaled to six", |stage| stage.scale(6)),
    ("all of the budget is given out", all_is_given_out),
    ("a rolling update under long transactions", |stage| stage.roll(1)),
    ("a second one", |stage| stage.roll(2)),
    ("a third one", |stage| stage.roll(3)),
    ("kill -9 of two poolers", faults::kill_poolers),
    ("kill -9 of the operator", faults::kill_operator),
    ("two operators, the first one asleep while the second one takes over", faults::two_operators),
    ("the operator cut off from the pods", faults::partition),
    ("PostgreSQL restarts with 60 connections", |stage| stage.restart_postgres(60)),
    ("and with 100 again", |stage| stage.restart_postgres(100)),
    ("scaled to two", |stage| stage.scale(2)),
    ("all of it is given out again", all_is_given_out),
];

/// Runs it, and says what was seen. How many checks held.
pub(crate) fn run(site: &Site, postgres: &Image, image: &Image) -> Result<u64> {
    site.run_postgres(SERVER, postgres)?;
    site.apply(POOLER)?;
    site.wait_for_pgpooler(NAME)?;
    let mut stage = Stage { site, image, log: Log::default() };
    let sampler = site.sample(site.address(SERVER.name)?)?;
    let load = Load::Persist { from: 50, to: 500, grow: 120, seconds: 540, pause: 100 };
    let fleet = site.start_fleet(site.address(NAME)?, &load)?;
    for (name, step) in STEPS {
        step(&mut stage).with_context(|| name.to_string()).map_err(|error| explained(site, &error))?;
        ui::say(&format!("{name} ... {}", ui::good("ok")));
    }
    let report = fleet.stop()?;
    lone_busy_pod(&mut stage)?;
    let seen = sampler.stop()?;
    stage.log.read(&stage.server_log()?);
    ui::say(&format!("{} looks at pg_stat_activity, peaks {:?}", seen.count, seen.peak_by_size));
    ui::say(&format!(
        "{} connections in PostgreSQL's log, peaks {:?}, {} refused",
        stage.log.connections, stage.log.peaks, stage.log.refused
    ));
    tell_clients(&report);
    for (size, budget) in BUDGETS {
        let most = seen.peak_by_size.get(&size).copied().unwrap_or(0);
        ensure!((1..=budget).contains(&most), "{most} sessions of {budget} with {size} connections");
        let logged = stage.log.peaks.get(&size).copied().unwrap_or(0);
        ensure!(
            (1..=budget).contains(&logged),
            "{logged} logged sessions of {budget} with {size} connections"
        );
    }
    ensure!(report.failures_with("53300") == 0, "clients heard 53300: {:?}", report.errors);
    site.kubectl(&["delete", &format!("pgpooler/{NAME}"), "--timeout=90s"])?;
    Ok(STEPS.len() as u64 + 2)
}

fn explained(site: &Site, error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}\n{}", site.why_not(NAMESPACE))
}

fn tell_clients(report: &Report) {
    ui::say(&format!(
        "{} clients, {} of them told to go elsewhere, {} logins, {} transactions, {} failures",
        report.clients,
        report.moved,
        report.logins.count,
        report.transactions.count,
        report.failures()
    ));
    for (text, count) in &report.errors {
        ui::say(&format!("  {count} x {text}"));
    }
}

/// At rest nothing is left but the floors of pods that could still come.
fn all_is_given_out(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait(|budget| {
        let of = |name: &str| budget[name].as_u64().unwrap_or(0);
        of("granted") + of("aside") == of("budget") && of("charged") + of("aside") <= of("budget")
    })
}

/// One pod of six has all the clients.
fn lone_busy_pod(stage: &mut Stage<'_>) -> Result<()> {
    stage.scale(6)?;
    let pods = stage.pods()?;
    let address = pods.first().and_then(|pod| pod.pointer("/status/podIP")).and_then(Value::as_str);
    let address = format!("{}:6432", address.context("a pod without an address")?).parse()?;
    let sampler = stage.site.sample(stage.site.address(SERVER.name)?)?;
    let load = Load::Persist { from: 150, to: 150, grow: 1, seconds: 60, pause: 1 };
    let fleet = stage.site.start_fleet(address, &load)?;
    stage.pause(20)?;
    fleet.stop()?;
    let peak = sampler.stop()?.peak;
    ui::say(&format!("a lone busy pod of six reached {peak} of 77"));
    ensure!((54..=77).contains(&peak), "a lone busy pod of six reached {peak} of 77");
    Ok(())
}

impl Stage<'_> {
    fn pause(&self, seconds: u64) -> Result<()> {
        sleep(Duration::from_secs(seconds));
        ensure!(self.site.cluster().is_up(), "the cluster is gone");
        Ok(())
    }

    fn scale(&self, replicas: u64) -> Result<()> {
        self.site.kubectl(&["scale", &format!("pgpooler/{NAME}"), &format!("--replicas={replicas}")])?;
        self.wait_for_pods(replicas)
    }

    /// So many pods are ready, and no other is left.
    fn wait_for_pods(&self, replicas: u64) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let status = self.status()?;
            if status["readyReplicas"] == replicas && self.pods()?.len() as u64 == replicas {
                return Ok(());
            }
            sleep(Duration::from_millis(500));
        }
        bail!("there are not {replicas} pods")
    }

    fn roll(&self, number: u64) -> Result<()> {
        let patch =
            format!("{{\"spec\":{{\"podTemplate\":{{\"annotations\":{{\"soak/roll\":\"{number}\"}}}}}}}}");
        self.site.kubectl(&["patch", &format!("pgpooler/{NAME}"), "--type=merge", "--patch", &patch])?;
        let end = Instant::now() + PATIENCE * 2;
        let wanted = number.to_string();
        let is_new =
            |pod: &Value| pod["metadata"]["annotations"]["soak/roll"].as_str() == Some(wanted.as_str());
        while Instant::now() < end {
            let pods = self.pods()?;
            if pods.len() == 6 && pods.iter().all(is_new) && self.status()?["readyReplicas"] == 6 {
                return Ok(());
            }
            sleep(Duration::from_millis(500));
        }
        bail!("the pods are not replaced")
    }

    fn restart_postgres(&mut self, max_connections: u64) -> Result<()> {
        // the next process begins a log of its own
        self.log.read(&self.server_log()?);
        let order = format!("echo {max_connections} > /data/max_connections; kill -INT 1");
        self.site.kubectl(&["exec", &format!("deploy/{}", SERVER.name), "--", "sh", "-c", &order])?;
        self.log.restarted(max_connections);
        self.wait(|budget| budget["maxConnections"] == max_connections)?;
        let budget = BUDGETS.iter().find(|(size, _)| *size == max_connections).map_or(0, |(_, most)| *most);
        self.wait(|sum| sum["budget"] == budget && sum["used"].as_u64() > Some(budget / 2))
    }

    fn server_log(&self) -> Result<String> {
        self.site.kubectl(&["logs", &format!("deploy/{}", SERVER.name), "--tail=-1"])
    }

    fn status(&self) -> Result<Value> {
        Ok(self.site.object(&format!("pgpooler/{NAME}"))?["status"].clone())
    }

    fn pods(&self) -> Result<Vec<Value>> {
        self.site.objects("pods", &format!("--selector=app.kubernetes.io/instance={NAME}"))
    }

    /// Until `status.budget` is so.
    fn wait(&self, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut budget = Value::Null;
        while Instant::now() < end {
            budget = self.status()?["budget"].clone();
            if is_so(&budget) {
                return Ok(());
            }
            sleep(Duration::from_millis(500));
        }
        bail!("status.budget stays {budget}")
    }
}
