//! Checks that need a Kubernetes: its API server alone first, then a node.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::{
    cluster::Cluster,
    command,
    image::Profile,
    site::{OPERATOR_NAMESPACE, Site},
    soak, ui, workspace,
};

use super::{Count, autoscale, chart, counting, docs_commands, pools, rights, whole};

/// A cluster of its own: the developer's stays as it is.
const CLUSTER: &str = "test";
/// Test programs with names like this run in the cluster's network, with the kubeconfig in this variable.
const API_TESTS: &str = "api";
const KUBECONFIG: &str = "PGPOOLER_TEST_KUBECONFIG";

/// The operator's tests against an API server without nodes.
pub(crate) fn api() -> Result<Count> {
    let mut build = command::cargo(&[
        "test",
        "--locked",
        "--no-run",
        "--workspace",
        "--message-format=json-render-diagnostics",
    ]);
    let programs = command::executables(&mut build)?;
    let programs: Vec<_> = programs.iter().filter(|(name, _)| name.starts_with(API_TESTS)).collect();
    ensure!(!programs.is_empty(), "no integration test has a name that begins with {API_TESTS:?}");
    let site = Site::up(CLUSTER, 0)?;
    let mut count = Count::default();
    for (name, path) in programs {
        ui::say(&format!("running {name} against the API server"));
        let mut program = site.cluster().netns_command(path)?;
        program.current_dir(workspace::root()).env(KUBECONFIG, site.cluster().kubeconfig_path());
        count += counting::run(&mut program)?;
    }
    // these tests own the CRD that they applied, and Helm refuses to take over what another owns
    site.kubectl(&["delete", "customresourcedefinitions", "--all", "--timeout=60s"])?;
    Ok(count)
}

/// What the chart renders, before the API server, which knows its schemas better than any copy of them.
pub(crate) fn chart() -> Result<Count> {
    chart::dry_run(&Site::up(CLUSTER, 0)?)
}

/// The operator by Helm, PostgreSQL and pools on one node.
pub(crate) fn pools(ready_made: Option<&Path>) -> Result<Count> {
    let site = Site::up(CLUSTER, 1)?;
    let image = site.load_pgpooler(Profile::Dev, ready_made)?;
    let postgres = site.load_postgres()?;
    site.install_operator(&image)?;
    let mut count = pools::run(&site, &postgres)?;
    count += chart::upgrade::run(&site, &image);
    command::output(
        site.cluster().helm(["uninstall", "pgpooler", "--namespace", OPERATOR_NAMESPACE])?.arg("--wait"),
    )?;
    Ok(count)
}

/// The same, for what stands around the pods, what changes while they run, and an autoscaler.
pub(crate) fn whole(ready_made: Option<&Path>) -> Result<Count> {
    let site = Site::up(CLUSTER, 1)?;
    let image = site.load_pgpooler(Profile::Dev, ready_made)?;
    let postgres = site.load_postgres()?;
    site.install_operator(&image)?;
    let mut count = whole::run(&site, &postgres)?;
    count += autoscale::run(&site, &postgres)?;
    command::output(
        site.cluster().helm(["uninstall", "pgpooler", "--namespace", OPERATOR_NAMESPACE])?.arg("--wait"),
    )?;
    Ok(count)
}

/// What a newcomer does, the operator's installation included.
pub(crate) fn guide(ready_made: Option<&Path>) -> Result<Count> {
    let site = Site::up(CLUSTER, 1)?;
    let image = site.load_pgpooler(Profile::Dev, ready_made)?;
    let postgres = site.load_postgres()?;
    let count = docs_commands::run(&site, &image, &postgres)?;
    let mut uninstall = site.cluster().helm(["uninstall", "pgpooler", "--ignore-not-found"])?;
    command::output(uninstall.args(["--namespace", OPERATOR_NAMESPACE, "--wait"]))?;
    Ok(count)
}

/// The budget's soak.
pub(crate) fn soak(ready_made: Option<&Path>) -> Result<Count> {
    let site = Site::up(CLUSTER, 1)?;
    let image = site.load_pgpooler(Profile::Dev, ready_made)?;
    let postgres = site.load_postgres()?;
    site.install_operator(&image)?;
    Ok(Count { passed: soak::run(&site, &postgres, &image)?, failed: 0 })
}

/// What the operator asked for in all of them.
pub(crate) fn rights() -> Result<Count> {
    rights::run(&Cluster::open(CLUSTER)?.audit_log())
}

/// Removes what the checks above made.
pub(crate) fn down() -> Result<()> {
    let cluster = Cluster::open(CLUSTER)?;
    if cluster.is_up() { cluster.down() } else { Ok(()) }
}
