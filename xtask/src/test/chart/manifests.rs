//! kubeconform over everything that the chart renders, and over the plain manifests.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{cluster, workspace};

use super::{read, render, schemas};

const PLAIN: &str = "deploy/pgpooler-operator.yaml";

/// Every object is known, and has no field that is not.
pub(super) fn conform() -> Result<()> {
    let mut documents = render::documents()?;
    documents.extend(serde_saphyr::from_multiple::<Value>(&read(PLAIN)?).context(PLAIN)?);
    let of = |document: &Value, key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let kinds: BTreeSet<_> =
        documents.iter().map(|document| (of(document, "apiVersion"), of(document, "kind"))).collect();
    let folder = tempfile::tempdir()?;
    schemas::write(folder.path(), &kinds.into_iter().collect::<Vec<_>>())?;
    let rendered = folder.path().join("rendered.yaml");
    let text: Vec<_> = documents.iter().map(Value::to_string).collect();
    // JSON is YAML too
    fs::write(&rendered, text.join("\n---\n"))?;
    let summary = kubeconform(folder.path(), &rendered)?;
    let valid = summary.pointer("/summary/valid").and_then(Value::as_u64).unwrap_or(0);
    ensure!(valid == documents.len() as u64, "{valid} of {} objects were looked at", documents.len());
    // that it can say no
    fs::write(&rendered, text.join("\n---\n").replace("\"replicas\":1", "\"replicas\":1,\"replicaz\":1"))?;
    ensure!(
        kubeconform(folder.path(), &rendered).is_err(),
        "kubeconform accepts a field that does not exist"
    );
    Ok(())
}

fn kubeconform(schemas: &std::path::Path, manifest: &std::path::Path) -> Result<Value> {
    let location = schemas.join("{{.ResourceKind}}-{{.ResourceAPIVersion}}.json");
    let mut command = Command::new(cluster::program("kubeconform")?);
    command
        .current_dir(workspace::root())
        .args(["-strict", "-summary", "-output=json", "-schema-location"])
        .arg(location)
        .arg(manifest);
    let done = command.output().context("cannot run kubeconform")?;
    let told = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_str(&told).context("kubeconform's summary")
}
