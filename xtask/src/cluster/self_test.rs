//! Whether the cluster does what tests rely on: a handful of checks, each against the real thing and bounded in time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Cluster;
use super::families::Need;
use super::images;
use super::programs;
use super::progress::say;
use super::shell::{self, wait_until};

const MANIFEST: &str = include_str!("../../../tests/cluster/manifests/self-test.yaml");
const NAMESPACE: &str = "--namespace=self-test";

type Check = fn(&Cluster) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("a Deployment becomes Ready", deployment_is_ready),
    ("a Service answers by its name from a pod, and logs can be read", service_answers_by_name),
    ("a headless Service answers by its name from a pod", headless_service_answers),
    ("a Service answers by its address from the node's network", service_answers_by_address),
    ("exec runs a program in a pod", exec_runs),
    ("PodSecurity restricted refuses a pod that may be root", restricted_refuses),
    ("a ServiceAccount without a role may not read Secrets", rights_are_denied),
    ("a pod over its memory limit is OOMKilled", memory_limit_kills),
    ("a drain moves pods to the other node, held back by the PodDisruptionBudget", drain_moves_pods),
];

/// Runs all checks; an error says how many failed.
pub(crate) fn run(cluster: &Cluster) -> Result<()> {
    let programs = programs::ensure_all(&cluster.layout, Need { nodes: 0, extras: &["probe"] })?;
    cluster.load_image(&images::probe(&cluster.layout, &programs)?)?;
    // what an interrupted run left; its Jobs have ended and would prove nothing
    remove(cluster)?;
    apply(cluster, MANIFEST)?;
    let mut failed = 0;
    for (index, (name, check)) in CHECKS.iter().enumerate() {
        let began = Instant::now();
        match check(cluster) {
            Ok(()) => say(format!("ok      {name} ({:.1} s)", began.elapsed().as_secs_f64())),
            Err(error) => {
                failed += 1;
                say(format!("FAILED  {name}: {error:#}"));
                if index == 0 {
                    // all others need its pods; what they would say is the same, a minute later each
                    break;
                }
            }
        }
    }
    kubectl(cluster, &["delete", "namespace", "self-test", "--wait=false"])?;
    ensure!(failed == 0, "{failed} of {} checks failed", CHECKS.len());
    say(format!("all {} checks passed", CHECKS.len()));
    Ok(())
}

fn deployment_is_ready(cluster: &Cluster) -> Result<()> {
    kubectl(cluster, &["rollout", "status", "deployment/web", NAMESPACE, "--timeout=60s"]).map(drop)
}

fn service_answers_by_name(cluster: &Cluster) -> Result<()> {
    job_says_hello(cluster, "by-name")
}

fn headless_service_answers(cluster: &Cluster) -> Result<()> {
    job_says_hello(cluster, "by-pod-name")
}

fn job_says_hello(cluster: &Cluster, job: &str) -> Result<()> {
    let job = format!("job/{job}");
    let waited = kubectl(cluster, &["wait", "--for=condition=Complete", &job, NAMESPACE, "--timeout=60s"]);
    let logs = kubectl(cluster, &["logs", &job, NAMESPACE])?;
    waited.with_context(|| format!("the pod printed {logs:?}"))?;
    ensure!(logs.starts_with("hello from web-"), "the pod printed {logs:?}");
    Ok(())
}

fn service_answers_by_address(cluster: &Cluster) -> Result<()> {
    let address =
        kubectl(cluster, &["get", "service", "web", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"])?;
    let address = format!("{address}:80").parse()?;
    let answers = || {
        let asked = cluster.in_network(|| {
            let mut connection = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            connection.set_read_timeout(Some(Duration::from_secs(2)))?;
            connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            connection.read_to_string(&mut text)?;
            Ok(text)
        });
        Ok(asked.is_ok_and(|text| text.contains("hello from web-")))
    };
    wait_until("the Service answers", Duration::from_secs(20), answers)
}

fn exec_runs(cluster: &Cluster) -> Result<()> {
    let own = "http://127.0.0.1:8080/";
    let text = kubectl(cluster, &["exec", "deployment/web", NAMESPACE, "--", "/probe", "get", own])?;
    ensure!(text.starts_with("hello from web-"), "the pod printed {text:?}");
    Ok(())
}

fn restricted_refuses(cluster: &Cluster) -> Result<()> {
    let image = format!("--image={}", images::PROBE_IMAGE);
    refused(kubectl(cluster, &["run", "root", &image, NAMESPACE]), "violates PodSecurity")
}

fn rights_are_denied(cluster: &Cluster) -> Result<()> {
    let other = "--as=system:serviceaccount:self-test:default";
    refused(kubectl(cluster, &["get", "secrets", NAMESPACE, other]), "Forbidden")
}

fn refused(answer: Result<String>, reason: &str) -> Result<()> {
    match answer {
        Err(error) if format!("{error:#}").contains(reason) => Ok(()),
        Err(error) => Err(error.context(format!("refused, but not for {reason:?}"))),
        Ok(text) => bail!("was allowed: {text}"),
    }
}

fn memory_limit_kills(cluster: &Cluster) -> Result<()> {
    apply(cluster, GREEDY)?;
    let path = "jsonpath={.status.containerStatuses[0].state.terminated.reason}";
    let killed = || {
        Ok(kubectl(cluster, &["get", "pod", "greedy", NAMESPACE, "-o", path])
            .is_ok_and(|is| is == "OOMKilled"))
    };
    wait_until("the pod is killed", Duration::from_secs(40), killed)
}

fn drain_moves_pods(cluster: &Cluster) -> Result<()> {
    let nodes = kubectl(cluster, &["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"])?;
    if !nodes.contains("node2") {
        say("        (one node only: nothing to drain)");
        return Ok(());
    }
    let places = ["get", "pods", NAMESPACE, "--selector=app=web", "-o", "jsonpath={.items[*].spec.nodeName}"];
    let before = kubectl(cluster, &places)?;
    ensure!(before.contains("node1") && before.contains("node2"), "pods are not spread: {before}");
    let drained = kubectl(cluster, &["drain", "node2", "--ignore-daemonsets", "--force", "--timeout=60s"]);
    let ready = if drained.is_ok() { deployment_is_ready(cluster) } else { Ok(()) };
    let after = kubectl(cluster, &places);
    kubectl(cluster, &["uncordon", "node2"])?;
    drained?;
    ready?;
    let after = after?;
    ensure!(!after.contains("node2"), "pods are still on node2: {after}");
    Ok(())
}

fn remove(cluster: &Cluster) -> Result<()> {
    kubectl(cluster, &["delete", "namespace", "self-test", "--ignore-not-found", "--timeout=60s"]).map(drop)
}

fn apply(cluster: &Cluster, manifest: &str) -> Result<()> {
    shell::output_with_input(&mut cluster.kubectl(["apply", "--filename=-"])?, manifest).map(drop)
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    shell::output(&mut cluster.kubectl(arguments)?)
}

/// Takes more and more memory.
const GREEDY: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: greedy, namespace: self-test}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: greedy
    image: localhost/probe:1
    args: [fill]
    resources: {limits: {memory: 32Mi}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";
