//! What a user sees of a `PgPooler` on a real cluster, step by step: each test starts where the one before ended.

use std::{
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    fleet::Load,
    image::Image,
    site::{NAMESPACE, OPERATOR_NAMESPACE, Server, Site},
    ui,
};

use super::Count;

const SERVER: Server = Server { name: "orders-db", max_connections: 100, options: "" };
const ORDERS: &str = include_str!("../../../tests/demo/orders.yaml");

/// How long a condition may take to appear.
const PATIENCE: Duration = Duration::from_mins(1);

type Test = fn(&Site) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("a PgPooler becomes Ready and shows its sum", becomes_ready),
    ("300 clients at once are all served within the budget", serves_a_storm),
    ("a cancel request finds its query through the Service", cancels_through_any_pod),
    ("scaling changes the pods and keeps the budget", scales_within_the_budget),
    ("replicas above maxReplicas are refused with what to do", refuses_too_many_replicas),
    ("a rollout under load replaces the pods within the budget", rolls_within_the_budget),
    ("without the operator the pods go on", outlives_the_operator),
    ("more pods than the budget bears become a condition", says_that_the_budget_is_too_small),
    ("a Secret that does not exist becomes a condition", says_that_a_secret_is_missing),
    ("a wrong password becomes a condition and the pods stay", keeps_the_pods_when_the_password_is_wrong),
    ("the right password heals it", heals),
    ("deleting the PgPooler removes what it made", leaves_nothing),
];

/// Runs all, in order.
pub(crate) fn run(site: &Site, postgres: &Image) -> Result<Count> {
    site.run_postgres(SERVER, postgres)?;
    let mut count = Count::default();
    for (name, test) in TESTS {
        match test(site) {
            Ok(()) => {
                ui::say(&format!("{name} ... {}", ui::good("ok")));
                count.passed += 1;
            }
            Err(error) => {
                ui::say(&format!("{name} ... {}\n{error:#}", ui::bad("FAILED")));
                count.failed += 1;
            }
        }
    }
    Ok(count)
}

fn becomes_ready(site: &Site) -> Result<()> {
    site.apply(ORDERS)?;
    site.wait_for_pgpooler("orders")?;
    let columns = site.kubectl(&["get", "pgpooler", "orders"])?;
    for title in ["READY", "BUDGET", "USED", "WAITING", "MAXCONN", "TARGET", "STATUS", "AGE"] {
        ensure!(columns.contains(title), "no column {title} in\n{columns}");
    }
    ensure!(number(site, "/status/budget/maxConnections")? == 100, "max_connections was not read");
    // 80 % of the 97 that ordinary roles have
    ensure!(number(site, "/status/budget/budget")? == 77, "the budget is not 77");
    Ok(())
}

fn serves_a_storm(site: &Site) -> Result<()> {
    let sampler = site.sample(site.address(SERVER.name)?)?;
    let report = site.fleet(site.address("orders")?, &Load::Storm { clients: 300, transactions: 5 })?;
    let peak = sampler.stop()?.peak;
    ensure!(report.failures() == 0, "{:?}", report.errors);
    ensure!(report.transactions.count == 1500, "{} transactions", report.transactions.count);
    ensure!((1..=77).contains(&peak), "{peak} server connections");
    Ok(())
}

/// The Service sends each connection to either pod, so with 20 clients half of the requests reach the other one.
fn cancels_through_any_pod(site: &Site) -> Result<()> {
    ensure!(pods(site)?.len() == 2, "there is one pod only: this would show nothing");
    let report = site.fleet(site.address("orders")?, &Load::Cancel { clients: 20 })?;
    ensure!(report.failures() == 0, "{:?}", report.errors);
    ensure!(report.transactions.count == 20, "{} queries were cancelled", report.transactions.count);
    Ok(())
}

fn scales_within_the_budget(site: &Site) -> Result<()> {
    site.kubectl(&["scale", "pgpooler/orders", "--replicas=1"])?;
    site.kubectl(&["wait", "pgpooler/orders", "--for=jsonpath={.status.replicas}=1", "--timeout=90s"])?;
    site.kubectl(&["scale", "pgpooler/orders", "--replicas=2"])?;
    site.kubectl(&["wait", "pgpooler/orders", "--for=jsonpath={.status.replicas}=2", "--timeout=90s"])?;
    site.wait_for_pgpooler("orders")?;
    serves_a_storm(site)
}

fn refuses_too_many_replicas(site: &Site) -> Result<()> {
    let patch = ["patch", "pgpooler/orders", "--type=merge", "--patch", r#"{"spec":{"replicas":3}}"#];
    let Err(refusal) = site.kubectl(&patch) else { bail!("3 replicas with maxReplicas 2 were accepted") };
    ensure!(format!("{refusal:#}").contains("raise maxReplicas"), "{refusal:#}");
    Ok(())
}

fn rolls_within_the_budget(site: &Site) -> Result<()> {
    let before = pods(site)?;
    let sampler = site.sample(site.address(SERVER.name)?)?;
    let address = site.address("orders")?;
    let load = Load::Ramp { from: 20, to: 60, seconds: 25, pause: 20 };
    let report = thread::scope(|scope| {
        let fleet = scope.spawn(|| site.fleet(address, &load));
        let patch = r#"{"spec":{"podTemplate":{"annotations":{"tests/round":"2"}}}}"#;
        let rolled = site
            .kubectl(&["patch", "pgpooler/orders", "--type=merge", "--patch", patch])
            .and_then(|_| wait_until_replaced(site, &before));
        let report = fleet.join().map_err(|_| anyhow::anyhow!("the fleet panicked"))?;
        rolled.and(report)
    })?;
    let peak = sampler.stop()?.peak;
    ensure!((1..=77).contains(&peak), "{peak} server connections");
    // clients whose pod ends are told so when they look whether their connection is there, and nobody else notices
    ensure!(report.failures() == 0, "{:?}", report.errors);
    ensure!(report.moved >= 20, "only {} clients went to another pod", report.moved);
    Ok(())
}

fn wait_until_replaced(site: &Site, before: &[String]) -> Result<()> {
    let end = Instant::now() + 2 * PATIENCE;
    while Instant::now() < end {
        let now = pods(site)?;
        if !now.iter().any(|pod| before.contains(pod)) {
            return site.wait_for_pgpooler("orders");
        }
        sleep(Duration::from_millis(250));
    }
    bail!("the pods were not replaced; {}", site.why_not(NAMESPACE))
}

fn outlives_the_operator(site: &Site) -> Result<()> {
    let operator = |arguments: &[&str]| {
        let place =
            ["--namespace", OPERATOR_NAMESPACE, "--selector=app.kubernetes.io/name=pgpooler-operator"];
        site.kubectl(&[arguments, &place].concat())
    };
    operator(&["scale", "deployment", "--replicas=0"])?;
    operator(&["wait", "pods", "--for=delete", "--timeout=60s"])?;
    let served = serves_a_storm(site);
    operator(&["scale", "deployment", "--replicas=1"])?;
    operator(&["rollout", "status", "deployment", "--timeout=90s"])?;
    served
}

fn says_that_the_budget_is_too_small(site: &Site) -> Result<()> {
    let tight = "  maxReplicas: 6\n  budget:\n    serverConnections: 5";
    site.apply(&ORDERS.replace("name: orders\n", "name: tight\n").replace("  maxReplicas: 2", tight))?;
    wait_for_reason(site, "tight", "ScaleExceedsBudget")?;
    site.kubectl(&["delete", "pgpooler/tight", "--timeout=60s"]).map(drop)
}

fn says_that_a_secret_is_missing(site: &Site) -> Result<()> {
    site.apply(
        &ORDERS.replace("name: orders\n", "name: nowhere\n").replace("orders-db-app", "no-such-secret"),
    )?;
    wait_for_reason(site, "nowhere", "SecretMissing")?;
    site.kubectl(&["delete", "pgpooler/nowhere", "--timeout=60s"]).map(drop)
}

fn keeps_the_pods_when_the_password_is_wrong(site: &Site) -> Result<()> {
    let before = pods(site)?;
    set_password(site, "wrong")?;
    wait_for_reason(site, "orders", "AuthenticationFailed")?;
    ensure!(pods(site)? == before, "the pods were touched");
    let report = site.fleet(site.address("orders")?, &Load::Storm { clients: 5, transactions: 1 })?;
    ensure!(report.failures() == 0, "the pods that run no longer serve: {:?}", report.errors);
    Ok(())
}

fn heals(site: &Site) -> Result<()> {
    set_password(site, "only-for-the-demo")?;
    site.wait_for_pgpooler("orders")
}

fn leaves_nothing(site: &Site) -> Result<()> {
    site.kubectl(&["delete", "pgpooler/orders", "--timeout=60s"])?;
    let selector = "--selector=app.kubernetes.io/instance=orders";
    let kinds = "deployments,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets,pods";
    site.kubectl(&["wait", kinds, selector, "--for=delete", "--timeout=90s"])?;
    let left = site.kubectl(&["get", kinds, selector, "--output=name"])?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}

/// A number in the status of the pool.
fn number(site: &Site, pointer: &str) -> Result<u64> {
    let object = site.object("pgpooler/orders")?;
    object.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer}"))
}

/// Some condition of the `PgPooler` is false for this reason.
fn wait_for_reason(site: &Site, name: &str, reason: &str) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let is_it = |condition: &Value| condition["reason"] == reason && condition["status"] == "False";
    while Instant::now() < end {
        let object = site.object(&format!("pgpooler/{name}"))?;
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        if conditions.is_some_and(|conditions| conditions.iter().any(is_it)) {
            return Ok(());
        }
        sleep(Duration::from_millis(250));
    }
    bail!("no condition of {name} has the reason {reason}; {}", site.why_not(NAMESPACE))
}

/// Identity and restarts of the pool's pods, those aside that are on their way out.
fn pods(site: &Site) -> Result<Vec<String>> {
    let pods = site.objects("pods", "--selector=app.kubernetes.io/instance=orders")?;
    let stays = |pod: &&Value| pod.pointer("/metadata/deletionTimestamp").is_none();
    let told = |pod: &Value| {
        let part = |pointer| pod.pointer(pointer).map(ToString::to_string).unwrap_or_default();
        format!("{} {}", part("/metadata/uid"), part("/status/containerStatuses/0/restartCount"))
    };
    Ok(pods.iter().filter(stays).map(told).collect())
}

fn set_password(site: &Site, password: &str) -> Result<()> {
    let patch = format!("{{\"stringData\":{{\"password\":\"{password}\"}}}}");
    site.kubectl(&["patch", "secret/orders-db-app", "--type=merge", "--patch", &patch]).map(drop)
}
