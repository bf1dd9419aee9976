//! The commands of `docs/getting-started.md`, in order, on a real cluster: what a reader would paste works.
//!
//! Blocks marked `sh` are one script, so that variables stay; those marked `sh ignore` are left out, and what they would
//! set is set here. `kubectl`, `helm` and `psql` are the cluster's by programs of these names in a folder of their own.

use std::{
    env,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    image::Image,
    site::{NAMESPACE, Server, Site},
    ui, workspace,
};

use super::Count;

const PAGE: &str = include_str!("../../../docs/getting-started.md");
const SERVER: Server = Server { name: "getting-started-db", max_connections: 100, options: "" };
/// Seconds that a reader takes at least for a block: kube-proxy learns up to a second after a pod is Ready that it is.
const READS: u64 = 2;
/// What the script says before each block.
const MARK: &str = "docs-block";

/// Runs them; each block is one test.
pub(crate) fn run(site: &Site, pgpooler: &Image, postgres: &Image) -> Result<Count> {
    site.run_postgres(SERVER, postgres)?;
    let blocks = blocks(PAGE);
    ensure!(blocks.len() > 5, "docs/getting-started.md has {} blocks of commands", blocks.len());
    let folder = tempfile::tempdir()?;
    programs(site, folder.path())?;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script(&blocks)]).current_dir(workspace::root());
    shell.envs(variables(pgpooler));
    let path = env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{}:{path}", folder.path().display()));
    let output = shell.stdin(Stdio::null()).output().context("cannot run /bin/sh")?;
    let count = told(&blocks, &String::from_utf8_lossy(&output.stdout), output.status.success());
    if count.failed > 0 {
        ui::say(&String::from_utf8_lossy(&output.stdout));
        ui::say(&String::from_utf8_lossy(&output.stderr));
        ui::say(&site.why_not("getting-started"));
    }
    Ok(count)
}

/// As the block says that is left out; user, password and database as in tests/demo/postgres.yaml.
fn variables(image: &Image) -> [(&'static str, String); 8] {
    [
        ("IMAGE", image.name.clone()),
        ("TAG", image.tag.clone()),
        ("REPOSITORY", workspace::root().display().to_string()),
        ("DB_HOST", format!("{}.{NAMESPACE}.svc.cluster.local", SERVER.name)),
        ("DB_PORT", "5432".to_owned()),
        ("DB_USER", "app".to_owned()),
        ("DB_PASSWORD", "only-for-the-demo".to_owned()),
        ("DB_NAME", "app".to_owned()),
    ]
}

/// Stops at the first command that fails, and says before each block that it has come so far.
fn script(blocks: &[String]) -> String {
    let mut script = "set -eu\n".to_owned();
    for (number, block) in blocks.iter().enumerate() {
        // writing to a String cannot fail
        // what a command prints may have no line end
        let _ = write!(script, "sleep {READS}\necho\necho {MARK} {number}\n{block}\n");
    }
    let _ = writeln!(script, "echo\necho {MARK} {}", blocks.len());
    script
}

/// Each block that was begun has passed if the next one was.
fn told(blocks: &[String], output: &str, succeeded: bool) -> Count {
    let begun = output.lines().filter(|line| line.starts_with(MARK)).count();
    let passed = begun.saturating_sub(1).min(blocks.len());
    for (number, block) in blocks.iter().enumerate() {
        let outcome = match number {
            number if number < passed => ui::good("ok"),
            number if number == passed => ui::bad("FAILED"),
            _ => ui::bad("not run"),
        };
        ui::say(&format!("getting started: {} ... {outcome}", block.lines().next().unwrap_or_default()));
    }
    let failed = (blocks.len() - passed) as u64;
    Count { passed: passed as u64, failed: if succeeded { failed } else { failed.max(1) } }
}

/// The content of the blocks marked `sh`, and of no others.
fn blocks(page: &str) -> Vec<String> {
    let fences = page.split("\n```").skip(1).step_by(2);
    fences.filter_map(|fence| fence.strip_prefix("sh\n")).map(str::to_owned).collect()
}

/// Programs that run the cluster's in its network, with its kubeconfig.
fn programs(site: &Site, folder: &Path) -> Result<()> {
    let cluster = site.cluster();
    wrapper(folder, "kubectl", &cluster.kubectl::<[&str; 0]>([])?)?;
    wrapper(folder, "helm", &cluster.helm::<[&str; 0]>([])?)?;
    wrapper(folder, "psql", &cluster.netns_command(installed("psql")?)?)
}

/// Where a program is now: beside its namesake in our folder it would find itself.
fn installed(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let place = env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    place.with_context(|| format!("{name} is not installed"))
}

/// A program that runs this command with further arguments and its standard input.
fn wrapper(folder: &Path, name: &str, command: &Command) -> Result<()> {
    let mut line = "#!/bin/sh\nexec env".to_owned();
    for (name, value) in command.get_envs() {
        let value = value.with_context(|| format!("{} is taken away", name.display()))?;
        let assignment = format!("{}={}", name.display(), value.display());
        let _ = write!(line, " {}", quoted(&assignment)?);
    }
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        let _ = write!(line, " {}", quoted(&word.display().to_string())?);
    }
    line.push_str(" \"$@\"\n");
    let path = folder.join(name);
    fs::write(&path, line)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).with_context(|| path.display().to_string())
}

fn quoted(word: &str) -> Result<String> {
    if word.contains('\'') {
        bail!("a quote in {word}");
    }
    Ok(format!("'{word}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_to_be_run_are_taken() {
        let page = "a\n```sh\none\n```\nb\n```sh ignore\ntwo\n```\n```\nthree\n```\n```sh\nfour\n```\n";
        assert_eq!(blocks(page), ["one", "four"]);
    }

    #[test]
    fn the_page_has_blocks_that_a_shell_can_read() {
        let blocks = blocks(PAGE);
        assert!(blocks.len() > 5, "{blocks:?}");
        let parsed = Command::new("/bin/sh").args(["-nc", &script(&blocks)]).status();
        assert!(parsed.is_ok_and(|status| status.success()));
    }

    #[test]
    fn a_block_counts_when_the_next_one_was_begun() {
        let blocks = ["a".to_owned(), "b".to_owned()];
        assert_eq!(told(&blocks, "docs-block 0\ndocs-block 1\n", false), Count { passed: 1, failed: 1 });
        assert_eq!(
            told(&blocks, "docs-block 0\ndocs-block 1\ndocs-block 2\n", true),
            Count { passed: 2, failed: 0 }
        );
    }

    #[test]
    fn a_program_passes_arguments_environment_and_input_on() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "printf '%s ' \"$GREETING\" \"$@\"; cat".replace('\'', "").as_str(), "name"]);
        command.env("GREETING", "a b");
        wrapper(folder.path(), "greet", &command)?;
        let script = "printf in | ./greet x";
        let output = Command::new("/bin/sh").args(["-c", script]).current_dir(folder.path()).output()?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a bxin", "{output:?}");
        Ok(())
    }
}
