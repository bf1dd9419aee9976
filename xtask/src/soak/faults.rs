//! What is done to poolers and operators.

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{command, site::OPERATOR_NAMESPACE};

use super::Stage;

const OPERATOR: &str = "--selector=app.kubernetes.io/name=pgpooler-operator";

/// Two of six, at once.
pub(super) fn kill_poolers(stage: &mut Stage<'_>) -> Result<()> {
    for pod in stage.pods()?.iter().take(2) {
        kill(&uid(pod)?, "pgpooler", Signal::KILL)?;
    }
    stage.pause(3)?;
    stage.wait_for_pods(6)?;
    super::all_is_given_out(stage)
}

/// The one that leads.
pub(super) fn kill_operator(stage: &mut Stage<'_>) -> Result<()> {
    for pod in stage.operators()? {
        kill(&uid(&pod)?, "pgpooler-operator", Signal::KILL)?;
    }
    stage.pause(5)?;
    stage.wait(|budget| budget["budget"] == 77)?;
    super::all_is_given_out(stage)
}

/// The first one sleeps until the second one leads, and then finds itself still talking to pods.
pub(super) fn two_operators(stage: &mut Stage<'_>) -> Result<()> {
    stage.site.set_operators(stage.image, 2)?;
    let first = stage.leader()?;
    let pods = stage.operators()?;
    let leader = pods.iter().find(|pod| pod["metadata"]["name"] == first).context("the leader's pod")?;
    kill(&uid(leader)?, "pgpooler-operator", Signal::STOP)?;
    let taken_over = stage.wait_for_leader(|leader| leader != first);
    kill(&uid(leader)?, "pgpooler-operator", Signal::CONT)?;
    taken_over?;
    stage.pause(5)?;
    super::all_is_given_out(stage)?;
    stage.site.set_operators(stage.image, 1)
}

/// Pods and PostgreSQL reach each other, the operator reaches PostgreSQL only.
pub(super) fn partition(stage: &mut Stage<'_>) -> Result<()> {
    let operators = stage.operators()?;
    let address = operators.first().and_then(|pod| pod.pointer("/status/podIP")).and_then(Value::as_str);
    let rule = format!("ip saddr {} tcp dport 6432 drop", address.context("the operator's address")?);
    stage.nft("add table ip soak")?;
    stage.nft("add chain ip soak forward { type filter hook forward priority -200; }")?;
    stage.nft(&format!("add rule ip soak forward {rule}"))?;
    stage.pause(15)?;
    stage.nft("delete table ip soak")?;
    stage.pause(5)?;
    super::all_is_given_out(stage)
}

impl Stage<'_> {
    fn operators(&self) -> Result<Vec<Value>> {
        let mut kubectl = self.site.cluster().kubectl(["--namespace", OPERATOR_NAMESPACE, "get", "pods"])?;
        let text = command::output(kubectl.args([OPERATOR, "--output=json"]))?;
        let list: Value = serde_json::from_str(&text)?;
        list["items"].as_array().cloned().context("kubectl gave no list")
    }

    fn leader(&self) -> Result<String> {
        let mut kubectl =
            self.site.cluster().kubectl(["--namespace", OPERATOR_NAMESPACE, "get", "leases"])?;
        command::output(kubectl.arg("--output=jsonpath={.items[0].spec.holderIdentity}"))
    }

    fn wait_for_leader(&self, is_it: impl Fn(&str) -> bool) -> Result<()> {
        for _ in 0..120 {
            let leader = self.leader()?;
            if !leader.is_empty() && is_it(&leader) {
                return Ok(());
            }
            sleep(Duration::from_millis(500));
        }
        bail!("nobody took over")
    }

    fn nft(&self, rule: &str) -> Result<()> {
        command::output(self.site.cluster().netns_command("nft")?.arg(rule)).map(drop)
    }
}

fn uid(pod: &Value) -> Result<String> {
    pod["metadata"]["uid"].as_str().map(str::to_owned).context("a pod without uid")
}

/// Signals the process of this program in a pod of our cluster.
fn kill(pod: &str, program: &str, signal: Signal) -> Result<()> {
    let mut found = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let is_it = read("comm").trim() == program.get(..program.len().min(15)).unwrap_or(program);
        if is_it && read("cgroup").contains(pod) {
            kill_process(Pid::from_raw(pid).context("a process number")?, signal)?;
            found += 1;
        }
    }
    ensure!(found == 1, "{found} processes {program} in pod {pod}");
    Ok(())
}
