//! `cargo xtask bench`: pgpooler beside PgBouncer and Odyssey on one PostgreSQL.
//!
//! Compiles pgpooler and the harness (`tests/bench`), makes sure that the peers are there, and runs the harness.

mod root;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{command, ui, workspace};

/// Where the published page's figures and plots are; the page is beside it.
const PUBLISHED: &str = "docs/benchmarks";
/// With any of these a run is no page to publish.
const PARTIAL: [&str; 7] =
    ["--only", "--peers", "--clients", "--quick", "--rounds", "--workers", "--pgpooler"];
/// With any of these the harness measures nothing.
const WITHOUT_PEERS: [&str; 4] = ["--help", "-h", "--render", "--version"];

/// Arguments of `cargo xtask bench`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct BenchArgs {
    /// What the harness is told; --help shows what it knows.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Compiles, prepares, measures.
pub(crate) fn run(arguments: &BenchArgs) -> Result<()> {
    let given = Given(&arguments.options);
    let mut packages = vec!["pgpooler-bench"];
    if !given.any(&WITHOUT_PEERS) && !given.any(&["--pgpooler"]) {
        packages.push("pgpooler");
    }
    let programs = build(&packages)?;
    let program = |name: &str| programs.get(name).with_context(|| format!("cargo made no {name}"));
    let mut harness = Command::new(program("pgpooler-bench")?);
    harness.current_dir(workspace::root()).args(&arguments.options);
    harness.arg(format!("--command={}", typed(&arguments.options)));
    if !given.any(&["--out"]) && (given.any(&["--render"]) || !given.any(&PARTIAL)) {
        harness.arg("--out").arg(PUBLISHED);
    }
    if given.any(&WITHOUT_PEERS) {
        return command::visibly(&mut harness);
    }
    if packages.contains(&"pgpooler") {
        harness.arg("--pgpooler").arg(program("pgpooler")?);
    }
    root::tools()?;
    if !given.any(&["--root"]) && !given.all(&["--postgres", "--pgbouncer", "--odyssey"]) {
        harness.arg("--root").arg(root::obtain()?);
    }
    harness.arg(format!("--commit={}", commit()));
    ui::heading("measuring");
    command::visibly(&mut harness)
}

/// The harness's options as they were typed.
struct Given<'a>(&'a [String]);

impl Given<'_> {
    fn has(&self, option: &str) -> bool {
        let is_it = |word: &String| {
            word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        self.0.iter().any(is_it)
    }

    fn any(&self, options: &[&str]) -> bool {
        options.iter().any(|option| self.has(option))
    }

    fn all(&self, options: &[&str]) -> bool {
        options.iter().all(|option| self.has(option))
    }
}

fn build(packages: &[&str]) -> Result<std::collections::BTreeMap<String, PathBuf>> {
    ui::heading(&format!("compiling {} with full optimisation", packages.join(" and ")));
    let mut cargo = command::cargo(&["build", "--locked", "--release", "--bins"]);
    cargo.arg("--message-format=json-render-diagnostics");
    for package in packages {
        cargo.args(["--package", package]);
    }
    command::executables(&mut cargo)
}

fn typed(options: &[String]) -> String {
    ["cargo xtask bench"].into_iter().chain(options.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// The repository's commit, marked when there is more than it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        command::output(Command::new("git").current_dir(workspace::root()).args(arguments))
    };
    let Ok(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|changes| !changes.is_empty());
    format!("{}{}", commit.trim(), if changed { " and changes" } else { "" })
}

/// Whether a program is in `PATH`.
fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder: PathBuf| Path::new(&folder).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_known_with_its_value_behind_a_space_or_an_equals_sign() {
        let options = ["--only=cost", "--rounds", "3"].map(str::to_owned);
        let given = Given(&options);
        assert!(given.has("--only") && given.has("--rounds") && !given.has("--round"));
        assert!(given.any(&["--quick", "--only"]) && !given.all(&["--quick", "--only"]));
        assert_eq!(typed(&options), "cargo xtask bench --only=cost --rounds 3");
    }
}
