//! What runs: parts with pid and memory, nodes with their state.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::Cluster;
use super::layout::Node;
use super::machine::{Machine, Process};
use super::shell;

/// Prints the cluster's parts and nodes to standard output.
pub(crate) fn print(cluster: &Cluster) {
    let machines: Vec<_> =
        [Node(1), Node(2)].into_iter().filter_map(|node| Machine::find(&cluster.layout, node)).collect();
    // a reader that stops early, as head does, is no error
    let _ = std::io::stdout().write_all(text(cluster, &machines).as_bytes());
}

fn text(cluster: &Cluster, machines: &[Machine]) -> String {
    if machines.is_empty() {
        return format!("cluster {} is down\n", cluster.layout.name);
    }
    let parts =
        table(&machines.iter().map(|machine| (machine.node, machine.processes())).collect::<Vec<_>>());
    let asked =
        cluster.kubectl(["get", "nodes", "-o", "wide"]).and_then(|mut command| shell::output(&mut command));
    let nodes = match asked {
        Ok(nodes) if nodes.is_empty() => "no nodes: the control plane only\n".to_owned(),
        Ok(nodes) => nodes,
        Err(error) => format!("the API server does not answer: {error:#}\n"),
    };
    let (state, kubeconfig) = (cluster.layout.root.display(), cluster.kubeconfig_path());
    format!("{parts}\n{nodes}\nstate {state}, kubeconfig {}\n", kubeconfig.display())
}

/// One line per part, shims of pods summed, and the sum of memory.
fn table(nodes: &[(Node, Vec<Process>)]) -> String {
    let mut text = format!("{:<6} {:<26} {:>8} {:>8}\n", "NODE", "PART", "PID", "MIB");
    let mut all = 0;
    for (node, processes) in nodes {
        for process in processes {
            let Some(name) = process.command.first().and_then(|program| Path::new(program).file_name())
            else {
                continue;
            };
            let name = name.to_string_lossy();
            all += process.resident_kib;
            if !matches!(name.as_ref(), "sh" | "sleep" | "containerd-shim-runc-v2") {
                let mib = process.resident_kib / 1024;
                // writing to a String cannot fail
                let _ = writeln!(text, "{:<6} {name:<26} {:>8} {mib:>8}", node.name(), process.pid);
            }
        }
    }
    let _ = writeln!(text, "{:<6} {:<26} {:>8} {:>8}", "", "together, pods' shims too", "", all / 1024);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shims_have_no_line_but_count() {
        let process = |name: &str| Process { pid: 1, command: vec![name.to_owned()], resident_kib: 2048 };
        let text =
            table(&[(Node(1), vec![process("/bin/etcd"), process("/usr/bin/containerd-shim-runc-v2")])]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().last().unwrap().ends_with(" 4"), "{text}");
    }
}
