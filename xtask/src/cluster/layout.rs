//! Where everything of a cluster is: folders, names, addresses. Pure but for reading the environment once.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The API server's port on the first node's address.
pub(crate) const API_PORT: u16 = 6443;
/// The range of Service addresses; from 198.18.0.0/15, which RFC 2544 reserves for benchmarks, as all others here.
pub(crate) const SERVICE_RANGE: &str = "198.19.0.0/16";
/// The first address of that range, which the `kubernetes` Service takes.
pub(crate) const SERVICE_FIRST: &str = "198.19.0.1";
/// Node addresses are in this range.
pub(crate) const NODE_PREFIX: u8 = 24;
/// The bridge between pods of one node.
pub(crate) const POD_BRIDGE: &str = "cni0";

/// The places of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The cluster's name.
    pub(crate) name: String,
    /// Its state; `down` removes it.
    pub(crate) root: PathBuf,
    /// What outlives clusters: built programs, locks.
    pub(crate) cache: PathBuf,
}

/// A node: 1 carries the control plane too, 2 is the one that tests drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node(pub(crate) u8);

impl Layout {
    /// The layout of the cluster of this name.
    pub(crate) fn of(name: &str) -> Result<Self> {
        ensure!(
            (1..=20).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            "a cluster's name is 1 to 20 lower-case letters and digits, not {name:?}"
        );
        Ok(Self {
            name: name.to_owned(),
            root: state_root().join(format!("pgpooler-cluster-{name}")),
            cache: cache_root(),
        })
    }

    /// The user's way in: administrator rights.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// What kubectl and helm are told: this cluster only, and no cache that outlives it (a cache is kept by server
    /// address, and the next cluster has the same one).
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let home = self.root.join("home");
        vec![
            ("KUBECONFIG", self.kubeconfig()),
            ("KUBECACHEDIR", home.join("kube")),
            ("HELM_CACHE_HOME", home.join("helm-cache")),
            ("HELM_CONFIG_HOME", home.join("helm-config")),
            ("HELM_DATA_HOME", home.join("helm-data")),
        ]
    }

    /// A part's own kubeconfig.
    pub(crate) fn part_kubeconfig(&self, part: &str) -> PathBuf {
        self.root.join(format!("{part}.kubeconfig"))
    }

    /// Certificates and keys.
    pub(crate) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// Written last of the preparations: without it the folder is what a killed `up` left.
    pub(crate) fn prepared(&self) -> PathBuf {
        self.root.join("prepared")
    }

    /// A node's own folder.
    pub(crate) fn node(&self, node: Node) -> PathBuf {
        self.root.join(node.name())
    }

    /// The name of the cluster's cgroup in every hierarchy.
    pub(crate) fn cgroup(&self) -> String {
        format!("pgpooler-{}", self.name)
    }

    /// Where a part logs.
    pub(crate) fn log(&self, node: Node, part: &str) -> PathBuf {
        self.node(node).join(format!("{part}.log"))
    }

    /// What is written into the log of requests.
    pub(crate) fn audit_policy(&self) -> PathBuf {
        self.root.join("audit.yaml")
    }

    /// Requests of programs in pods, a line of JSON each.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.log(Node(1), "audit")
    }

    /// The argument by which a node's first process is found again, however the last command ended.
    pub(crate) fn marker(&self, node: Node) -> String {
        format!("pgpooler-cluster:{}:{}", self.root.display(), node.name())
    }
}

impl Node {
    /// Its name in Kubernetes.
    pub(crate) fn name(self) -> String {
        format!("node{}", self.0)
    }

    /// Its address.
    pub(crate) fn address(self) -> String {
        format!("198.18.0.{}", self.0)
    }

    /// The range of its pods.
    pub(crate) fn pod_range(self) -> String {
        format!("198.18.{}.0/24", self.0)
    }
}

/// The API server's URL, valid inside the cluster's network namespaces.
pub(crate) fn api_url() -> String {
    format!("https://{}:{API_PORT}", Node(1).address())
}

/// The folder of the Go modules and manifests that the cluster is made of.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster")
}

/// Short, since sockets lie below it; not under /run, /var/lib or /var/log, which every node has of its own.
fn state_root() -> PathBuf {
    env::var_os("PGPOOLER_CLUSTER_STATE").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// What outlives clusters, of this user.
pub(crate) fn cache_root() -> PathBuf {
    let of_user = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(of_user)
        .unwrap_or_else(|| PathBuf::from("/tmp"))
        .join("pgpooler")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_leave_the_folder_is_refused() {
        assert!(Layout::of("../etc").is_err());
        assert!(Layout::of("").is_err());
        assert!(Layout::of("dev").is_ok());
    }

    #[test]
    fn nodes_have_addresses_and_pod_ranges_of_their_own() {
        assert_eq!(
            (Node(2).address().as_str(), Node(2).pod_range().as_str()),
            ("198.18.0.2", "198.18.2.0/24")
        );
    }
}
