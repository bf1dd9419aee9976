//! Container runtime, kubelet, kube-proxy on every node; the name server on the first.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::control_plane::start;
use super::images;
use super::layout::{Layout, Node};
use super::machine::{Machine, tail};
use super::node_config;
use super::programs::Programs;
use super::shell::{self, wait_until};

/// containerd's socket, in the machine.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Writes what the node's parts are told.
pub(crate) fn write_settings(layout: &Layout, node: Node) -> Result<()> {
    let folder = layout.node(node);
    let network = folder.join("cni");
    fs::create_dir_all(&network)?;
    write_if_new(&network.join("10-pods.conflist"), &node_config::pod_network(node).to_string())?;
    write_if_new(&folder.join("containerd.toml"), &node_config::containerd(&network, plugin_folder()))?;
    write_if_new(&folder.join("kubelet.json"), &node_config::kubelet(layout, node).to_string())?;
    write_if_new(&folder.join("proxy.json"), &node_config::proxy(layout, node).to_string())?;
    // names outside the cluster have no server: no uplink leads to one
    write_if_new(&layout.root.join("resolv.conf"), "")?;
    write_if_new(&layout.root.join("Corefile"), &node_config::corefile(layout))
}

/// Leaves a file alone that says the same already: kube-proxy ends itself when its settings are written.
fn write_if_new(path: &Path, text: &str) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Starts the container runtime unless it runs, and gives it the sandbox image unless it has it: an earlier `up` may
/// have been killed between the two.
pub(crate) fn start_runtime(layout: &Layout, machine: &Machine, programs: &Programs) -> Result<()> {
    let containerd = Path::new("containerd");
    let log = layout.log(machine.node, "containerd");
    if !machine.runs(containerd) {
        let settings = layout.node(machine.node).join("containerd.toml").display().to_string();
        machine.run(containerd, &["--config".to_owned(), settings], &log)?;
    }
    let listed = || shell::output(ctr(machine).args(["images", "ls", "--quiet"]));
    wait_until("containerd answers", Duration::from_secs(30), || Ok(listed().is_ok()))
        .with_context(|| tail(&log))?;
    if listed()?.lines().any(|image| image == node_config::PAUSE_IMAGE) {
        return Ok(());
    }
    load(machine, &images::pause(layout, programs)?)
}

/// Starts what does not run yet of kubelet, kube-proxy and, on the first node, the name server.
pub(crate) fn start_agents(layout: &Layout, machine: &Machine, programs: &Programs) -> Result<()> {
    let node = machine.node;
    let folder = layout.node(node);
    let kubelet = [
        format!("--config={}", folder.join("kubelet.json").display()),
        format!("--kubeconfig={}", layout.part_kubeconfig(&node.name()).display()),
        format!("--hostname-override={}", node.name()),
        format!("--node-ip={}", node.address()),
    ];
    start(layout, machine, programs, "kubelet", &kubelet)?;
    let proxy = [format!("--config={}", folder.join("proxy.json").display())];
    start(layout, machine, programs, "kube-proxy", &proxy)?;
    if node == Node(1) {
        let corefile = ["-conf".to_owned(), layout.root.join("Corefile").display().to_string()];
        start(layout, machine, programs, "coredns", &corefile)?;
    }
    Ok(())
}

/// Imports an image archive on a node.
pub(crate) fn load(machine: &Machine, archive: &Path) -> Result<()> {
    // opened out here: the machine has a /run, /var/lib and /var/log of its own
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let done = ctr(machine).args(["images", "import", "-"]).stdin(file).output()?;
    anyhow::ensure!(
        done.status.success(),
        "{} cannot import {}: {}",
        machine.node.name(),
        archive.display(),
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(())
}

fn ctr(machine: &Machine) -> Command {
    let mut command = machine.command("ctr");
    command.args(["--address", SOCKET, "--namespace", "k8s.io"]);
    command
}

fn plugin_folder() -> &'static str {
    let debian = "/usr/lib/cni";
    if Path::new(debian).join("bridge").exists() { debian } else { "/opt/cni/bin" }
}
