//! Links, addresses and routes of a node, as one batch of `ip` commands. No way leads out of the cluster.
//!
//! ```text
//! node1: lo, node0 (bridge with the node's address), cni0 (pods)      no uplink, no default route
//!           |  a port of node0 is one end of a veth pair
//! node2: lo, eth0 (the other end, with the node's address), cni0 (pods)
//! ```

use anyhow::{Context, Result};

use super::layout::{NODE_PREFIX, Node, SERVICE_RANGE};
use super::machine::Machine;
use super::shell;

/// Sets up the first node's network, or returns at once when it is there.
pub(crate) fn first(machine: &Machine) -> Result<()> {
    if exists(machine, "node0") {
        return Ok(());
    }
    apply(machine, &first_batch())
}

/// Joins the second node to the first.
pub(crate) fn join(first: &Machine, second: &Machine) -> Result<()> {
    if exists(second, "eth0") {
        return Ok(());
    }
    apply(first, &join_batch(second.node, &second.first_pid()))?;
    apply(second, &second_batch(second.node))
}

fn exists(machine: &Machine, link: &str) -> bool {
    shell::output(machine.network_command("ip").args(["link", "show", "dev", link])).is_ok()
}

fn apply(machine: &Machine, batch: &str) -> Result<()> {
    const SETTINGS: &str = "echo 1 > /proc/sys/net/ipv4/ip_forward
        [ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables";
    shell::output(machine.command("sh").args(["-ec", SETTINGS])).context("cannot let the node forward")?;
    shell::output_with_input(machine.network_command("ip").args(["-batch", "-"]), batch).map(drop)
}

/// A bridge without ports stands in for a dummy device, which some kernels do not have. The route for Services lets
/// a connect from the node itself reach the translation rules at all: without it there is no route to refuse.
fn first_batch() -> String {
    let address = Node(1).address();
    format!(
        "link set lo up\n\
         link add node0 type bridge\n\
         addr add {address}/{NODE_PREFIX} dev node0\n\
         link set node0 up\n\
         route replace {SERVICE_RANGE} dev node0\n"
    )
}

fn join_batch(node: Node, pid: &str) -> String {
    let (name, address, pods) = (node.name(), node.address(), node.pod_range());
    format!(
        "link add to-{name} type veth peer name eth0 netns {pid}\n\
         link set to-{name} master node0\n\
         link set to-{name} up\n\
         route replace {pods} via {address} dev node0\n"
    )
}

fn second_batch(node: Node) -> String {
    let (address, first, first_pods) = (node.address(), Node(1).address(), Node(1).pod_range());
    format!(
        "link set lo up\n\
         addr add {address}/{NODE_PREFIX} dev eth0\n\
         link set eth0 up\n\
         route replace {first_pods} via {first} dev eth0\n\
         route replace {SERVICE_RANGE} dev eth0\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_node_gets_a_default_route() {
        for batch in [first_batch(), join_batch(Node(2), "1"), second_batch(Node(2))] {
            assert!(!batch.contains("default"), "{batch}");
        }
    }

    #[test]
    fn each_node_knows_the_way_to_the_others_pods() {
        assert!(join_batch(Node(2), "7").contains("route replace 198.18.2.0/24 via 198.18.0.2"));
        assert!(second_batch(Node(2)).contains("route replace 198.18.1.0/24 via 198.18.0.1"));
    }
}
