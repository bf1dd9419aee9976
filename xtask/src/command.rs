//! Running other programs: quietly for their output, or visibly as a step of a task.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::workspace;

/// cargo, in the repository.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root()).args(arguments);
    command
}

/// Runs a command whose own output is the progress.
pub(crate) fn visibly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_owned();
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {}", name.display()))?;
    ensure!(status.success(), "{} failed ({status})", shown(command));
    Ok(())
}

/// Runs a command for its standard output; failure carries its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", shown(command)))?;
    let error = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{} failed ({}): {}", shown(command), done.status, error.trim());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs a cargo command with `--message-format=json...`, its progress visible; the programs that it made, by name.
pub(crate) fn executables(cargo: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{} failed ({})", shown(cargo), output.status);
    Ok(parse_executables(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let message = |line: &str| -> Option<(String, PathBuf)> {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message.get("executable")?.as_str()?;
        Some((message.pointer("/target/name")?.as_str()?.to_owned(), path.into()))
    };
    messages.lines().filter_map(message).collect()
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_about_programs_name_an_executable() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"pgpooler"},"executable":"/t/pgpooler"}
not json"#;
        assert_eq!(
            parse_executables(messages),
            BTreeMap::from([("pgpooler".to_owned(), PathBuf::from("/t/pgpooler"))])
        );
    }
}
