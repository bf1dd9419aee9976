//! `cargo xtask fuzz`: every target of `pooler-image/core/fuzz` for some minutes, with the pinned toolchain.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{command, ui, workspace};

/// What cargo-fuzz passes to the compiler, but for the sanitizers: they need a nightly, and there is no unsafe code.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
     --cfg fuzzing -Cdebug-assertions=yes -Ccodegen-units=1";

/// An input that takes longer, in seconds, is a finding.
const SLOW: u32 = 10;

/// Arguments of `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Minutes for each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Only these targets, by name.
    #[arg(long, value_delimiter = ',')]
    target: Vec<String>,
}

struct Outcome {
    target: String,
    executions: String,
    corpus: usize,
    found: Vec<String>,
}

/// Runs the targets one after the other; an error if any found something.
pub(crate) fn run(arguments: &FuzzArgs) -> Result<()> {
    let known = targets()?;
    for name in &arguments.target {
        ensure!(known.contains(name), "there is no target {name:?}: {}", known.join(", "));
    }
    let programs = build()?;
    let chosen = known.iter().filter(|name| arguments.target.is_empty() || arguments.target.contains(*name));
    let mut outcomes = Vec::new();
    for name in chosen {
        ui::heading(&format!("{name}: {} minutes", arguments.minutes));
        outcomes.push(fuzz(&programs.join(name), name, arguments.minutes * 60.0)?);
    }
    conclude(&outcomes)
}

fn folder() -> PathBuf {
    workspace::root().join("pooler-image/core/fuzz")
}

fn targets() -> Result<Vec<String>> {
    let entries = fs::read_dir(folder().join("fuzz_targets")).context("the fuzz targets")?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Compiles all targets; the folder that they are in.
fn build() -> Result<PathBuf> {
    // named, so that the flags do not reach build scripts
    let host = host()?;
    let mut cargo = command::cargo(&["build", "--release", "--locked", "--target", &host]);
    command::visibly(cargo.current_dir(folder()).env("RUSTFLAGS", RUSTFLAGS))?;
    Ok(folder().join("target").join(host).join("release"))
}

fn host() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

fn fuzz(program: &Path, name: &str, seconds: f64) -> Result<Outcome> {
    let (corpus, artifacts) = (folder().join("corpus").join(name), folder().join("artifacts").join(name));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let run = Command::new(program)
        .arg(&corpus)
        .arg(workspace::root().join("tests/fuzzing/seeds").join(name))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={}", seconds.ceil().max(1.0)))
        .arg(format!("-timeout={SLOW}"))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let log = String::from_utf8_lossy(&run.stderr).into_owned();
    let executions = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let found = files(&artifacts)?;
    if !run.status.success() {
        let last: Vec<_> = log.lines().rev().take(40).collect();
        last.into_iter().rev().for_each(|line| eprintln!("{line}"));
        ensure!(!found.is_empty(), "{name} ended with {}", run.status);
    }
    Ok(Outcome {
        target: name.to_owned(),
        executions: executions.unwrap_or("?").trim().to_owned(),
        corpus: files(&corpus)?.len(),
        found,
    })
}

fn files(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path().display().to_string()));
    entries.collect()
}

fn conclude(outcomes: &[Outcome]) -> Result<()> {
    let mut rows = vec![["target", "executions", "corpus", "findings"].map(str::to_owned).to_vec()];
    rows.extend(outcomes.iter().map(|outcome| {
        let Outcome { target, executions, corpus, found } = outcome;
        vec![target.clone(), executions.clone(), corpus.to_string(), found.len().to_string()]
    }));
    println!("\n{}\n", ui::table(&rows));
    let found: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.found).collect();
    for path in &found {
        println!("{path}");
    }
    ensure!(found.is_empty(), "{} findings", found.len());
    Ok(())
}
