//! The chart rendered by Helm, with every set of values in `ci/`.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{cluster, command, workspace};

use super::CHART;

/// Sets of values: `ci/NAME-values.yaml`.
pub(crate) const VALUES: [&str; 4] = ["default", "full", "namespaced", "alone"];
/// Where what they give is kept.
const GOLDEN: &str = "tests/chart/golden";
const IMAGE: &str = "image.repository=registry.example.org/pgpooler";

/// Values that Helm must refuse, and what it must say.
const REFUSED: &[(&str, &str)] = &[
    ("replicas=3", "replicas"),
    ("replicaCount=2", "replicaCount"),
    ("metrics.podMonitor.labelz.a=b", "labelz"),
    ("image.digest=latest", "digest"),
    ("log.format=xml", "format"),
    ("serviceAccount.create=false", "serviceAccount.name is required"),
    ("leaderElection.enabled=false,replicas=2", "two operators would command the same pods"),
    (
        "metrics.prometheusRule.enabled=true,metrics.prometheusRule.disabled={NoSuchAlert}",
        "no rule NoSuchAlert",
    ),
    ("image.repository=", "image.repository is required"),
];

/// `helm lint --strict`.
pub(super) fn lint() -> Result<()> {
    for name in VALUES {
        command::output(helm(&["lint", "--strict", CHART, "--values"])?.arg(values(name)))
            .with_context(|| format!("values {name}"))?;
    }
    Ok(())
}

/// A mistake is told, not rendered.
pub(super) fn refusals() -> Result<()> {
    for (set, said) in REFUSED {
        let mut helm = helm(&["template", "pgpooler", CHART, "--set", IMAGE, "--set", set])?;
        let done = helm.output().context("cannot run helm")?;
        let error = String::from_utf8_lossy(&done.stderr);
        ensure!(!done.status.success(), "--set {set} was accepted");
        ensure!(error.contains(said), "--set {set} was refused without a word of {said:?}: {error}");
    }
    Ok(())
}

/// `helm template` with a set of values.
pub(crate) fn template(name: &str) -> Result<String> {
    let mut helm = helm(&["template", "pgpooler", CHART, "--namespace=pgpooler-system", "--values"])?;
    command::output(helm.arg(values(name)))
}

/// What is rendered with every set of values, one document each.
pub(super) fn documents() -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for name in VALUES {
        let rendered: Vec<Value> = serde_saphyr::from_multiple(&template(name)?)
            .with_context(|| format!("what is rendered with the values {name} is no YAML"))?;
        documents.extend(rendered.into_iter().filter(|document| !document.is_null()));
    }
    Ok(documents)
}

/// What is kept of each set of values, by path.
pub(crate) fn golden() -> Result<Vec<(String, String)>> {
    let each = |name: &&str| Ok((format!("{GOLDEN}/{name}.yaml"), abridged(&template(name)?)));
    let mut files: Vec<_> = VALUES.iter().map(each).collect::<Result<_>>()?;
    files.push((format!("{GOLDEN}/NOTES.txt"), notes()?));
    Ok(files)
}

/// What Helm says after an installation.
fn notes() -> Result<String> {
    let mut helm = helm(&["install", "pgpooler", CHART, "--namespace=pgpooler-system", "--dry-run=client"])?;
    let told = command::output(helm.arg("--values").arg(values("default")))?;
    let (_, notes) = told.split_once("\nNOTES:\n").context("the chart has no NOTES")?;
    Ok(notes.to_owned())
}

/// Helm, which needs no cluster for what is done here; the user's own settings do not count.
pub(crate) fn helm(arguments: &[&str]) -> Result<Command> {
    let home = workspace::root().join("dist/helm");
    let mut command = Command::new(cluster::program("helm")?);
    command.current_dir(workspace::root()).args(arguments);
    for (variable, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(variable, home.join(folder));
    }
    // nothing listens there: what is rendered must not depend on a cluster
    command.env("KUBECONFIG", "/dev/null");
    Ok(command)
}

fn values(name: &str) -> PathBuf {
    workspace::root().join(CHART).join(format!("ci/{name}-values.yaml"))
}

/// Without what is a copy of another file: it would hide what has changed.
fn abridged(rendered: &str) -> String {
    let documents: Vec<_> = rendered.split("\n---\n").map(shortened).collect();
    let mut text = documents.join("\n---\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn shortened(document: &str) -> String {
    let cut = |at: &str, instead: &str| match document.split_once(at) {
        Some((before, _)) => format!("{before}{instead}"),
        None => document.to_owned(),
    };
    if document.contains("/templates/crds.yaml") {
        return cut("\nspec:\n", "\n# spec: as in files/crds");
    }
    if document.contains("/templates/dashboard.yaml") {
        return cut("\n  pgpooler.json: |\n", "\n  # pgpooler.json: as files/dashboard.json");
    }
    document.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_files_are_left_out_and_all_else_stays() {
        let rendered = "---\n# Source: c/templates/crds.yaml\nmetadata:\n  name: a\nspec:\n  long: 1\n---\n\
                        # Source: c/templates/service.yaml\nspec:\n  short: 1\n";
        assert_eq!(
            abridged(rendered),
            "---\n# Source: c/templates/crds.yaml\nmetadata:\n  name: a\n# spec: as in files/crds\n---\n\
             # Source: c/templates/service.yaml\nspec:\n  short: 1\n"
        );
    }
}
