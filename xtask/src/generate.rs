//! `cargo xtask generate`: what is checked in and follows from the code.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{command, ui, workspace};

/// The CRD, and the copy that the chart installs: Helm reads no file outside a chart.
const CRD: [&str; 2] =
    ["crds/pgpoolers.pgpooler.dev.yaml", "charts/pgpooler-operator/files/crds/pgpoolers.pgpooler.dev.yaml"];

/// Arguments of `cargo xtask generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Write nothing, and fail if something is out of date.
    #[arg(long)]
    check: bool,
}

/// Writes the generated files, or compares them.
pub(crate) fn run(arguments: &GenerateArgs) -> Result<()> {
    if arguments.check {
        return check();
    }
    let crd = crd()?;
    for path in stale(&crd) {
        write(path, &crd)?;
        ui::say(&format!("wrote {path}"));
    }
    ui::say("generated files are current");
    Ok(())
}

/// An error if something is out of date.
pub(crate) fn check() -> Result<()> {
    let stale = stale(&crd()?);
    if !stale.is_empty() {
        bail!("out of date: {}; run cargo xtask generate", stale.join(", "));
    }
    Ok(())
}

fn crd() -> Result<String> {
    // as `cargo test --workspace` builds it, so that nothing is compiled twice
    let arguments =
        ["build", "--locked", "--workspace", "--bins", "--message-format=json-render-diagnostics"];
    let programs = command::executables(&mut command::cargo(&arguments))?;
    let operator = programs.get("pgpooler-operator").context("cargo built no operator")?;
    command::output(Command::new(operator).arg("crd")).context("the operator did not print its CRD")
}

fn stale(crd: &str) -> Vec<&'static str> {
    let is_current =
        |path: &str| fs::read_to_string(workspace::root().join(path)).is_ok_and(|found| found == crd);
    CRD.into_iter().filter(|path| !is_current(path)).collect()
}

fn write(path: &str, text: &str) -> Result<()> {
    let path = workspace::root().join(path);
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    fs::write(&path, text).with_context(|| path.display().to_string())
}
