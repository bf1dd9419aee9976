//! What a node's parts are told: container runtime, pod network, kubelet, kube-proxy, name server. Pure.

use std::path::Path;

use serde_json::{Value, json};

use super::layout::{Layout, Node, POD_BRIDGE};

/// The image of the sandbox container.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// containerd's settings. Its folders are the usual ones, which every machine has of its own.
///
/// `restrict_oom_score_adj`: where root lacks `CAP_SYS_RESOURCE`, runc cannot lower the sandbox's score and every
/// pod would fail.
pub(crate) fn containerd(network_folder: &Path, plugin_folder: &str) -> String {
    format!(
        r#"version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugin_folder}"
conf_dir = "{folder}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
        folder = network_folder.display()
    )
}

/// The pods' network on a node: one bridge, addresses from the node's range, nothing masqueraded.
pub(crate) fn pod_network(node: Node) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": POD_BRIDGE,
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": node.pod_range()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// The kubelet's settings.
pub(crate) fn kubelet(layout: &Layout, node: Node) -> Value {
    let pki = |name: String| layout.pki().join(name);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address(),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki("ca.crt".to_owned())},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki(format!("{}.crt", node.name())),
        "tlsPrivateKeyFile": pki(format!("{}.key", node.name())),
        "clusterDNS": [Node(1).address()],
        "clusterDomain": "cluster.local",
        "resolvConf": layout.root.join("resolv.conf"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}/{}", layout.cgroup(), node.name()),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        // an image that is collected cannot be pulled again
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
    })
}

/// kube-proxy's settings. The nodes' pod ranges have no range in common that leaves out the nodes' own addresses,
/// so what is local traffic is told by the bridge it comes from.
pub(crate) fn proxy(layout: &Layout, node: Node) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "hostnameOverride": node.name(),
        "clientConnection": {"kubeconfig": layout.part_kubeconfig("proxy")},
        "mode": "nftables",
        "detectLocalMode": "BridgeInterface",
        "detectLocal": {"bridgeInterface": POD_BRIDGE},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        // these settings are the whole machine's, not the namespace's
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

/// The name server's settings.
pub(crate) fn corefile(layout: &Layout) -> String {
    format!(
        ".:53 {{\n    bind {address}\n    errors\n    ready {address}:8181\n    kubernetes cluster.local in-addr.arpa {{\n        \
         kubeconfig {kubeconfig}\n        pods verified\n        endpoint_pod_names\n    }}\n    cache 5\n}}\n",
        address = Node(1).address(),
        kubeconfig = layout.part_kubeconfig("coredns").display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_keeps_its_pods_in_the_clusters_cgroup() {
        let layout = Layout::of("dev").unwrap();
        assert_eq!(kubelet(&layout, Node(2))["cgroupRoot"], "/pgpooler-dev/node2");
    }

    #[test]
    fn pods_of_the_second_node_get_addresses_of_its_range() {
        let ranges = &pod_network(Node(2))["plugins"][0]["ipam"]["ranges"];
        assert_eq!(ranges[0][0]["subnet"], "198.18.2.0/24");
    }
}
