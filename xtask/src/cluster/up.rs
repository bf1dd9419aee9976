//! Bringing a cluster up: whatever of it is missing is started, and what is ready is waited for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::families::Need;
use super::layout::{Layout, Node};
use super::machine::{Machine, tail};
use super::programs::{self, Programs};
use super::progress::say;
use super::shell::{self, wait_until};
use super::{certs, cgroups, control_plane, images, network, node, packages, teardown};

const METRICS_SERVER: &str = include_str!("../../../tests/cluster/manifests/metrics-server.yaml");

/// Brings the cluster up to `need`. What runs already is kept; a cluster that was cut off half-way is made anew.
pub(crate) fn up(layout: &Layout, need: Need) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a cluster needs root: sudo -E cargo xtask cluster up");
    ensure!(need.nodes <= 2, "two nodes at most");
    ensure_visible(&[&layout.root, &layout.cache])?;
    let programs = programs::ensure_all(layout, need)?;
    let _lock = programs::lock(layout, &format!("cluster-{}", layout.name))?;
    packages::ensure_installed(need.nodes > 0)?;

    if is_complete(layout, need, &programs)? {
        say(format!("cluster {} is up already", layout.name));
        return add_on(layout, need, &programs);
    }
    prepare(layout)?;
    let first = ensure_machine(layout, Node(1))?;
    say("starting the control plane");
    control_plane::start_api(layout, &first, &programs)?;
    let nodes = start_nodes(layout, need, &programs)?;
    control_plane::wait_for_api(layout, &first, &programs)?;
    control_plane::start_controllers(layout, &first, &programs, need.nodes > 0)?;
    wait_ready(layout, need, &programs, &nodes)?;
    let size =
        ["the control plane only", "1 node", "2 nodes"].get(usize::from(need.nodes)).unwrap_or(&"more nodes");
    say(format!("cluster {} is up: {size}", layout.name));
    add_on(layout, need, &programs)
}

/// A node's machine has these folders of its own and cannot see what lies in the ones outside.
fn ensure_visible(paths: &[&Path]) -> Result<()> {
    let hidden =
        |path: &Path| ["/run", "/var/run", "/var/lib", "/var/log"].iter().any(|own| path.starts_with(own));
    match paths.iter().find(|path| hidden(path)) {
        Some(path) => bail!(
            "{} cannot be seen from inside a node: set PGPOOLER_CLUSTER_STATE and XDG_CACHE_HOME to other folders",
            path.display()
        ),
        None => Ok(()),
    }
}

/// The machines that make up `need.nodes` nodes, with their parts started.
fn start_nodes(layout: &Layout, need: Need, programs: &Programs) -> Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for number in 1..=need.nodes {
        let node = Node(number);
        let machine = ensure_machine(layout, node)?;
        say(format!("starting {}", node.name()));
        cgroups::make(layout, node)?;
        node::write_settings(layout, node)?;
        node::start_runtime(layout, &machine, programs)?;
        node::start_agents(layout, &machine, programs)?;
        machines.push(machine);
    }
    Ok(machines)
}

/// Certificates and settings: made in one go or, when an earlier run was killed over them, made again from nothing.
fn prepare(layout: &Layout) -> Result<()> {
    if layout.prepared().exists() && Machine::find(layout, Node(1)).is_some() {
        return Ok(());
    }
    if teardown::wipe(layout)? {
        say("removed what an earlier run left");
    }
    fs::create_dir_all(layout.node(Node(1)))
        .with_context(|| format!("cannot make {}", layout.root.display()))?;
    certs::make(layout)?;
    certs::write_kubeconfigs(layout)?;
    ensure_machine(layout, Node(1))?;
    fs::write(layout.prepared(), "")?;
    Ok(())
}

/// A node's machine with its network. One that was killed before it had its network is started again.
fn ensure_machine(layout: &Layout, node: Node) -> Result<Machine> {
    let joined = layout.node(node).join("joined");
    if let Some(machine) = Machine::find(layout, node) {
        if joined.exists() {
            return Ok(machine);
        }
        machine.kill();
    }
    let _ = fs::remove_file(&joined);
    let machine = Machine::start(layout, node)?;
    if node == Node(1) {
        network::first(&machine)?;
    } else {
        let first = Machine::find(layout, Node(1)).context("the first node's machine ended")?;
        network::join(&first, &machine)?;
    }
    fs::write(joined, "")?;
    Ok(machine)
}

fn wait_ready(layout: &Layout, need: Need, programs: &Programs, nodes: &[Machine]) -> Result<()> {
    let first = Machine::find(layout, Node(1)).context("the first node's machine ended")?;
    let limit = Duration::from_mins(2);
    let asks = |arguments: &[&str]| kubectl(layout, &first, programs, arguments);
    for machine in nodes {
        let name = machine.node.name();
        let is_ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        // a node that was lost and is back shows its old state until its kubelet reports
        let kubelet = format!("{}:10250", machine.node.address());
        let ready = || {
            Ok(machine.accepts(&kubelet)
                && asks(&["get", "node", &name, "-o", is_ready]).is_ok_and(|status| status == "True"))
        };
        wait_until(&format!("{name} is Ready"), limit, ready)
            .with_context(|| tail(&layout.log(machine.node, "kubelet")))?;
    }
    if need.nodes > 0 {
        let answers = || Ok(first.accepts(&format!("{}:8181", Node(1).address())));
        wait_until("the name server answers", limit, answers)
            .with_context(|| tail(&layout.log(Node(1), "coredns")))?;
    }
    let account = || Ok(asks(&["get", "serviceaccount", "default"]).is_ok());
    wait_until("the default service account is there", limit, account)
        .with_context(|| tail(&layout.log(Node(1), "kube-controller-manager")))
}

/// Whether all that is needed runs and answers, so that `up` has nothing to do.
fn is_complete(layout: &Layout, need: Need, programs: &Programs) -> Result<bool> {
    let parts = |node: Node| match (node, need.nodes) {
        (Node(1), 0) => &["etcd", "kube-apiserver", "kube-controller-manager"][..],
        (Node(1), _) => &[
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "coredns",
        ][..],
        _ => &["kubelet", "kube-proxy"][..],
    };
    for number in 1..=need.nodes.max(1) {
        let node = Node(number);
        let Some(machine) = Machine::find(layout, node) else { return Ok(false) };
        let running = machine.programs();
        for part in parts(node) {
            if !running.contains(programs.path(part)?) {
                return Ok(false);
            }
        }
    }
    let Some(first) = Machine::find(layout, Node(1)) else { return Ok(false) };
    Ok(layout.prepared().exists() && kubectl(layout, &first, programs, &["get", "--raw=/readyz"]).is_ok())
}

fn add_on(layout: &Layout, need: Need, programs: &Programs) -> Result<()> {
    if !need.extras.contains(&"metrics-server") {
        return Ok(());
    }
    ensure!(need.nodes > 0, "metrics-server needs a node");
    let first = Machine::find(layout, Node(1)).context("the first node's machine ended")?;
    let archive = images::metrics_server(layout, programs)?;
    for machine in [Node(1), Node(2)].into_iter().filter_map(|node| Machine::find(layout, node)) {
        node::load(&machine, &archive)?;
    }
    let mut apply = kubectl_command(layout, &first, programs)?;
    shell::output_with_input(apply.args(["apply", "--filename=-"]), METRICS_SERVER)?;
    say("waiting for metrics-server (its first figures take about 45 s)");
    let has_figures = || Ok(kubectl(layout, &first, programs, &["top", "nodes"]).is_ok());
    wait_until("metrics-server has figures", Duration::from_mins(3), has_figures)?;
    say("metrics-server has figures");
    Ok(())
}

fn kubectl(layout: &Layout, first: &Machine, programs: &Programs, arguments: &[&str]) -> Result<String> {
    shell::output(kubectl_command(layout, first, programs)?.args(arguments))
}

fn kubectl_command(layout: &Layout, first: &Machine, programs: &Programs) -> Result<std::process::Command> {
    let mut command = first.network_command(programs.path("kubectl")?);
    command.envs(layout.environment());
    Ok(command)
}
