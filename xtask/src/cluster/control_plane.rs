//! etcd, the API server, the controller manager and the scheduler, on the first node's machine.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

use super::layout::{API_PORT, Layout, Node, SERVICE_RANGE};
use super::machine::{Machine, tail};
use super::programs::Programs;
use super::shell::{self, wait_until};

const FIRST: Node = Node(1);

/// What programs in pods ask for is written down, so that tests can hold it against what they may.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, userGroups: ['system:serviceaccounts:kube-system']}
  - {level: Metadata, userGroups: ['system:serviceaccounts']}
  - {level: None}
";

/// Starts what does not run yet of etcd and the API server, without waiting: nodes can start meanwhile.
pub(crate) fn start_api(layout: &Layout, machine: &Machine, programs: &Programs) -> Result<()> {
    fs::write(layout.audit_policy(), AUDIT_POLICY)?;
    start(layout, machine, programs, "etcd", &etcd(layout))?;
    start(layout, machine, programs, "kube-apiserver", &api_server(layout))
}

/// Waits for the API server.
pub(crate) fn wait_for_api(layout: &Layout, machine: &Machine, programs: &Programs) -> Result<()> {
    let address = format!("{}:{API_PORT}", FIRST.address());
    let kubectl = programs.path("kubectl")?;
    let ready = || {
        let mut command = machine.network_command(kubectl);
        command.arg("--kubeconfig").arg(layout.kubeconfig()).args(["get", "--raw=/readyz"]);
        Ok(machine.accepts(&address) && shell::output(&mut command).is_ok())
    };
    wait_until("the API server is ready", Duration::from_secs(90), ready)
        .with_context(|| tail(&layout.log(FIRST, "kube-apiserver")))
}

/// Starts what does not run yet of the programs that act on the API.
pub(crate) fn start_controllers(
    layout: &Layout,
    machine: &Machine,
    programs: &Programs,
    nodes: bool,
) -> Result<()> {
    start(layout, machine, programs, "kube-controller-manager", &controller_manager(layout))?;
    if nodes {
        start(layout, machine, programs, "kube-scheduler", &scheduler(layout))?;
    }
    Ok(())
}

/// Starts a program of the machine unless it runs.
pub(crate) fn start(
    layout: &Layout,
    machine: &Machine,
    programs: &Programs,
    name: &str,
    arguments: &[String],
) -> Result<()> {
    let program = programs.path(name)?;
    if machine.runs(program) {
        return Ok(());
    }
    machine
        .run(program, arguments, &layout.log(machine.node, name))
        .with_context(|| format!("cannot start {name}"))
}

fn etcd(layout: &Layout) -> Vec<String> {
    let data = layout.node(FIRST).join("etcd").display().to_string();
    let (client, peer) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
    arguments(&[
        ("name", "etcd"),
        ("data-dir", &data),
        ("listen-client-urls", client),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer),
        ("initial-advertise-peer-urls", peer),
        ("initial-cluster", &format!("etcd={peer}")),
        // nothing here is worth keeping through a power failure, and its disk is shared with compilers
        ("unsafe-no-fsync", "true"),
        ("log-level", "warn"),
    ])
}

fn api_server(layout: &Layout) -> Vec<String> {
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    let port = API_PORT.to_string();
    arguments(&[
        ("etcd-servers", "http://127.0.0.1:2379"),
        ("advertise-address", &FIRST.address()),
        ("secure-port", &port),
        ("service-cluster-ip-range", SERVICE_RANGE),
        ("authorization-mode", "Node,RBAC"),
        ("enable-admission-plugins", "NodeRestriction"),
        ("anonymous-auth", "false"),
        ("allow-privileged", "true"),
        ("client-ca-file", &pki("ca.crt")),
        ("tls-cert-file", &pki("apiserver.crt")),
        ("tls-private-key-file", &pki("apiserver.key")),
        ("kubelet-client-certificate", &pki("apiserver-kubelet.crt")),
        ("kubelet-client-key", &pki("apiserver-kubelet.key")),
        // a node's name resolves nowhere
        ("kubelet-preferred-address-types", "InternalIP"),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        ("service-account-key-file", &pki("tokens.pub")),
        ("service-account-signing-key-file", &pki("tokens.key")),
        // without a front proxy the controller manager logs a missing CA bundle over and over
        ("requestheader-client-ca-file", &pki("front-proxy-ca.crt")),
        ("requestheader-allowed-names", "front-proxy-client"),
        ("requestheader-username-headers", "X-Remote-User"),
        ("requestheader-group-headers", "X-Remote-Group"),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        ("proxy-client-cert-file", &pki("front-proxy-client.crt")),
        ("proxy-client-key-file", &pki("front-proxy-client.key")),
        ("shutdown-delay-duration", "0s"),
        ("audit-policy-file", &layout.audit_policy().display().to_string()),
        ("audit-log-path", &layout.audit_log().display().to_string()),
        // one file, in megabytes: a minute of it is a few hundred lines
        ("audit-log-maxsize", "1000"),
    ])
}

fn controller_manager(layout: &Layout) -> Vec<String> {
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    arguments(&[
        ("kubeconfig", &layout.part_kubeconfig("controller-manager").display().to_string()),
        ("leader-elect", "false"),
        ("bind-address", "127.0.0.1"),
        ("root-ca-file", &pki("ca.crt")),
        ("service-account-private-key-file", &pki("tokens.key")),
        ("cluster-signing-cert-file", &pki("ca.crt")),
        ("cluster-signing-key-file", &pki("ca.key")),
    ])
}

fn scheduler(layout: &Layout) -> Vec<String> {
    let kubeconfig = layout.part_kubeconfig("scheduler").display().to_string();
    arguments(&[
        ("kubeconfig", &kubeconfig),
        ("authentication-kubeconfig", &kubeconfig),
        ("authorization-kubeconfig", &kubeconfig),
        ("leader-elect", "false"),
        ("bind-address", "127.0.0.1"),
    ])
}

fn arguments(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
