//! Kills a child process when the process that started it is gone.
//!
//! `Drop` does not run for a static, after an abort or a SIGKILL. A shell that reads a pipe notices all of
//! these, because the kernel closes the other end.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

const SCRIPT: &str = r#"trap '' INT TERM HUP
if ! read -r word; then
    kill -"$2" "$1" 2>/dev/null
    tries=0
    while kill -0 "$1" 2>/dev/null && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    [ -z "$3" ] || rm -rf "$3"
fi"#;

/// Held by the owner of a child process; dropping it without [`release`](Leash::release) kills the child.
#[derive(Debug)]
pub struct Leash(Child);

impl Leash {
    /// `signal` as in kill(1); `folder` is removed when the leash had to act.
    pub fn new(pid: u32, signal: &str, folder: Option<&Path>) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "leash", &pid.to_string(), signal])
            .arg(folder.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // a Ctrl-C must reach the tests and not the leash
            .process_group(0)
            .spawn()
            .context("no shell for the leash")?;
        Ok(Self(shell))
    }

    /// Lets go: the owner ends the child itself.
    pub fn release(mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // the shell may only be missing if somebody killed it, and then there is nothing to let go of
            let _ = pipe.write_all(b"released\n");
        }
        let _ = self.0.wait();
    }
}
